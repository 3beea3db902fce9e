//! What can go wrong between us and the kernel, and the way out.

use std::io;
use std::net::IpAddr;

/// Why host state could not be read, followed or written to a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No netlink socket.
    #[error(
        "cannot open a netlink socket: {0}; the process needs AF_NETLINK (systemd: \
         RestrictAddressFamilies=AF_NETLINK) and a free file descriptor"
    )]
    Socket(#[source] io::Error),
    /// An existing socket failed.
    #[error("netlink socket failed: {0}; restart to read everything again")]
    Io(#[from] io::Error),
    /// The kernel refused to list something.
    #[error("the kernel refused to list {what}: {error}; {remedy}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A neighbor could not be asked for or given up.
    #[error("neighbor {address} on link {link}: {error}; {remedy}")]
    Neighbor {
        /// Interface index.
        link: u32,
        /// The neighbor's address.
        address: IpAddr,
        /// The kernel's answer.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// Routes of ours could not be listed.
    #[error("the kernel does not show its routes: {error}; run as root or with CAP_NET_ADMIN")]
    Routes {
        /// The kernel's answer.
        error: io::Error,
    },
    /// A route could not be written into the kernel's table, or taken out.
    #[error("kernel route {prefix} in table {table}: {error}; {remedy}")]
    Route {
        /// The prefix.
        prefix: thalweg_model::Prefix,
        /// The table.
        table: u32,
        /// The kernel's answer.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The pair of interfaces for what this host itself sends could not be made or taken out.
    #[error("interface {name}, for what this host sends into tunnels: {error}; {remedy}")]
    Pair {
        /// The end that routes name.
        name: String,
        /// The kernel's answer.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The network namespace could not be entered.
    #[error("network namespace `{name}` ({path}): {error}; {remedy}")]
    Namespace {
        /// As the user gave it.
        name: String,
        /// The file that was tried.
        path: String,
        /// The kernel's answer.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A host state file is not YAML of the right shape.
    #[error("host state: {0}; `thalweg get host -o yaml` writes a valid file")]
    Yaml(String),
    /// A value of a host state file makes no sense.
    #[error("host state, line {line}: {object}: {what}; {remedy}")]
    Value {
        /// Line from 1, of the item or value.
        line: u64,
        /// The item, as `route 10.0.0.0/24`.
        object: String,
        /// What is wrong, with the value.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The source's task is gone, with the runtime that ran it.
    #[error("the netlink source has ended; start it again")]
    Ended,
}
