//! The plane against the kernel: real links, real frames.

mod audit;
mod lab;
mod ladder;
mod leaving;
mod stream;
mod takeover;
