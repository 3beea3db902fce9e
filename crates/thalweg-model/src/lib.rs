//! What people mean, and what the kernel says exists: values without tables, ids or I/O.
//!
//! [`Intent`] is everything users asked for; [`HostState`] is everything the kernel reports. Both
//! are *ground state*: compiled tables derive from them and may be thrown away.
#![forbid(unsafe_code)]

pub mod catalog;
pub mod cluster;
pub mod fpm;
pub mod host;
pub mod intent;
pub mod origin;
pub mod policy;
pub mod problem;
mod room;
pub mod tunnel;
mod workload;

pub use catalog::Catalog;
pub use cluster::{Cluster, ObjectName};
pub use fpm::{FpmUpdate, Teller};
pub use host::{HostState, Update};
pub use intent::Intent;
pub use origin::{Key, Origin};
pub use policy::{PolicySettings, ToHost};
pub use problem::{Problem, Severity};
pub use tunnel::{Tunnel, TunnelProtocol, TunnelSettings};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use thalweg_wire::{Prefix4, Prefix6, PrefixError};

/// A prefix of either family.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Prefix {
    /// IPv4.
    V4(Prefix4),
    /// IPv6.
    V6(Prefix6),
}

impl Prefix {
    /// The prefix that holds just this address.
    pub fn host(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => Self::V4(Prefix4::host(a)),
            IpAddr::V6(a) => Self::V6(Prefix6::host(a)),
        }
    }

    /// The prefix of length `len` that contains `address`; `len` above the width is cut.
    pub fn containing(address: IpAddr, len: u8) -> Self {
        match address {
            IpAddr::V4(a) => Self::V4(Prefix4::containing(a, len)),
            IpAddr::V6(a) => Self::V6(Prefix6::containing(a, len)),
        }
    }

    /// The first address.
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4(p) => p.address().into(),
            Self::V6(p) => p.address().into(),
        }
    }

    /// Length in bits.
    #[expect(clippy::len_without_is_empty, reason = "a prefix always holds an address")]
    pub fn len(self) -> u8 {
        match self {
            Self::V4(p) => p.len(),
            Self::V6(p) => p.len(),
        }
    }

    /// Whether this is `0.0.0.0/0` or `::/0`.
    pub fn is_default(self) -> bool {
        self.len() == 0
    }

    /// Whether `address` is of the same family and inside.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(p), IpAddr::V4(a)) => p.contains(a),
            (Self::V6(p), IpAddr::V6(a)) => p.contains(a),
            _ => false,
        }
    }

    /// The address inside, if there is only one.
    pub fn only(self) -> Option<IpAddr> {
        let width = if self.is_v4() { 32 } else { 128 };
        (self.len() == width).then(|| self.address())
    }

    /// Whether the prefix is of IPv4.
    pub fn is_v4(self) -> bool {
        matches!(self, Self::V4(_))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(p) => p.fmt(f),
            Self::V6(p) => p.fmt(f),
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, _) = text.split_once('/').ok_or(PrefixError::Syntax)?;
        if address.parse::<Ipv4Addr>().is_ok() {
            return text.parse().map(Self::V4);
        }
        if address.parse::<Ipv6Addr>().is_ok() {
            return text.parse().map(Self::V6);
        }
        Err(PrefixError::Syntax)
    }
}
