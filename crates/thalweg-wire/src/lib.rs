//! Headers, field types and checksums exactly as the RFCs define them: values and bytes, no I/O.
//!
//! Every header is a plain struct of big-endian fields that can be laid over packet memory at any
//! address ([`Header`]). Nothing here knows tables, policy or a kernel.
#![no_std]
#![forbid(unsafe_code)]

pub mod arp;
pub mod bfd;
pub mod checksum;
pub mod crc32c;
pub mod eth;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod l4;
pub mod mpls;
pub mod prefix;
pub mod sctp;

pub use eth::{EtherType, Ethernet, Mac, VlanTag};
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use mpls::{Label, LabelError, Lse};
pub use prefix::{Prefix4, Prefix6, PrefixError};
pub use zerocopy::big_endian::{U16, U32};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Anything that may be laid over packet bytes: any bit pattern is valid, alignment is 1 and there
/// is no padding.
pub trait Header: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned> Header for T {}
