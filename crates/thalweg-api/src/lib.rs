//! The control socket: requests, replies and views.
//!
//! A client writes one [`Request`] as a line of JSON to the agent's unix socket and reads one
//! [`Reply`] as a line of JSON; with [`Request::watch`] it reads a reply now and one after each
//! change, until it closes the connection. A connection may carry several requests, one after the
//! other. [`Client`] does this for blocking callers.
//!
//! Views are plain values with names instead of numbers wherever there is a name, so what a script
//! reads with `-o json` is what people see in the tables.
#![forbid(unsafe_code)]

pub mod client;
pub mod cluster;
pub mod drops;
pub mod log;
pub mod message;
pub mod moment;
pub mod policy;
pub mod view;

pub use client::{Client, ClientError};
pub use message::{
    Answer, Call, Code, EventQuery, Fault, MAX_PAGE, Reply, Request, RouteQuery, VERSION,
};
pub use thalweg_model as model;
