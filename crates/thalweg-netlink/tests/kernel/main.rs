//! Live state against the kernel: after every command, what the source told must be what a fresh
//! reading shows.

mod lab;
mod stories;
