//! Services as a whole: the rules one by one, any cluster against the oracle, any history against a
//! start from nothing.

mod bad;
mod dice;
mod history;
mod oracle;
mod rules;
mod topology;
mod world;
