//! The crate from outside: frames made by hand, over memory and over TCP.

mod seeds;
mod server;
mod table;
mod words;
