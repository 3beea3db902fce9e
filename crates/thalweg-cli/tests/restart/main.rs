//! Agents are killed and follow each other under a stream of numbered packets: none is lost, none is
//! answered otherwise, and nothing is left behind.

mod flows;
mod kill;
mod lab;
mod refuse;
mod upgrade;
