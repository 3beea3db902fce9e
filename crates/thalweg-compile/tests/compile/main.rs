//! The compiler from outside: journeys, and random histories against the oracle.

mod fixture;
mod journeys;
mod learned;
mod maps;
mod nodes;
mod oracle;
mod rings;
