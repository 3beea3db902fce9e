//! Prefixes and addresses of both families as one compact, ordered key.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_model::Prefix;

/// Number of a RIB within the compiler.
pub type RibId = u16;

/// A prefix in a RIB: 24 octets for either family, address bits left-aligned.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct NetKey {
    /// The RIB.
    pub rib: RibId,
    /// Whether the family is IPv6.
    pub v6: bool,
    high: u64,
    low: u64,
    /// Length in bits.
    pub len: u8,
}

impl Hash for NetKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let rest = u64::from(self.rib) << 16 | u64::from(self.v6) << 8 | u64::from(self.len);
        state.write_u64(self.high);
        state.write_u64(self.low ^ rest << 32);
    }
}

impl NetKey {
    /// The key of a prefix.
    pub fn new(rib: RibId, prefix: Prefix) -> Self {
        let (v6, bits) = aligned(prefix.address());
        Self { rib, v6, high: (bits >> 64) as u64, low: bits as u64, len: prefix.len() }
    }

    /// The prefix of length `len` around `address`.
    pub fn around(rib: RibId, address: IpAddr, len: u8) -> Self {
        Self::new(rib, Prefix::containing(address, len))
    }

    /// The prefix.
    pub fn prefix(self) -> Prefix {
        Prefix::containing(self.address(), self.len)
    }

    fn address(self) -> IpAddr {
        let bits = u128::from(self.high) << 64 | u128::from(self.low);
        match self.v6 {
            true => Ipv6Addr::from_bits(bits).into(),
            false => Ipv4Addr::from_bits((bits >> 96) as u32).into(),
        }
    }

    /// First and last address as keys.
    pub fn span(self) -> (AddrKey, AddrKey) {
        let bits = u128::from(self.high) << 64 | u128::from(self.low);
        let host = u128::MAX.checked_shr(u32::from(self.len)).unwrap_or(0);
        let key = |bits| AddrKey { rib: self.rib, v6: self.v6, bits };
        (key(bits), key(bits | host))
    }
}

/// An address in a RIB, ordered so that a prefix is a range.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct AddrKey {
    rib: RibId,
    v6: bool,
    bits: u128,
}

impl AddrKey {
    /// The key of an address.
    pub fn new(rib: RibId, address: IpAddr) -> Self {
        let (v6, bits) = aligned(address);
        Self { rib, v6, bits }
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        match self.v6 {
            true => Ipv6Addr::from_bits(self.bits).into(),
            false => Ipv4Addr::from_bits((self.bits >> 96) as u32).into(),
        }
    }
}

fn aligned(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(a) => (false, u128::from(a.to_bits()) << 96),
        IpAddr::V6(a) => (true, a.to_bits()),
    }
}

/// Whether an address is a group, which the packet core leaves to the kernel.
pub fn is_multicast(prefix: Prefix) -> bool {
    match prefix {
        Prefix::V4(p) => p.len() >= 4 && p.address().is_multicast(),
        Prefix::V6(p) => p.len() >= 8 && p.address().is_multicast(),
    }
}

/// Whether an IPv6 address has link scope (fe80::/10), so that only its link tells who is meant.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.segments()[0] & 0xffc0 == 0xfe80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_range_of_its_addresses() {
        for (prefix, inside, outside) in [
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.4"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "ffff::", "0.0.0.0"),
            ("::1/128", "::1", "::2"),
        ] {
            let key = NetKey::new(3, prefix.parse().unwrap());
            assert_eq!(key.prefix().to_string(), prefix);
            let (first, last) = key.span();
            let range = first..=last;
            assert!(range.contains(&AddrKey::new(3, inside.parse().unwrap())), "{prefix}");
            assert!(!range.contains(&AddrKey::new(3, outside.parse().unwrap())), "{prefix}");
            assert!(!range.contains(&AddrKey::new(4, inside.parse().unwrap())), "{prefix}");
        }
    }
}
