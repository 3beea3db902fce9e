//! Policies against the oracle, over random worlds; `THALWEG_WORLDS=100000` makes it thorough.

mod chosen;
mod history;
mod hosts;
mod matrix;
mod oracle;
mod order;
mod random;
mod selector;
mod staged;
