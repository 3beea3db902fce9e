//! Policies against the oracle, over random worlds; `THALWEG_WORLDS=100000` makes it thorough.

mod history;
mod oracle;
mod random;
mod selector;
