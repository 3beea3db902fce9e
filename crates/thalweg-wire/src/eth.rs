//! Ethernet II and its VLAN tags (IEEE 802.3, 802.1Q).

use core::fmt;
use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A 48-bit link address, in the order it has on the wire.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    FromBytes,
    Hash,
    Immutable,
    IntoBytes,
    KnownLayout,
    Ord,
    PartialEq,
    PartialOrd,
    Unaligned,
)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All zero: "not known".
    pub const ZERO: Self = Self([0; 6]);
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// The group bit of IEEE 802.3 §3.2.3: set for multicast and for broadcast.
    #[inline(always)]
    pub const fn is_group(&self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The address as a number in the low 48 bits, for one compare instead of six. The order of the
    /// octets is the machine's.
    #[inline(always)]
    pub const fn as_u64(&self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        (u16::from_ne_bytes([e, f]) as u64) << 32 | u32::from_ne_bytes([a, b, c, d]) as u64
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl core::str::FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut octets = [0u8; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or(MacError)?;
            if part.len() != 2 {
                return Err(MacError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| MacError)?;
        }
        match parts.next() {
            Some(_) => Err(MacError),
            None => Ok(Self(octets)),
        }
    }
}

/// The text is not six two-digit hexadecimal octets with colons between them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MacError;

impl fmt::Display for MacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a link address is six octets such as 02:00:00:00:00:01")
    }
}

impl core::error::Error for MacError {}

/// The type field of Ethernet II, host order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// 802.1Q customer tag.
    pub const VLAN: Self = Self(0x8100);
    /// 802.1ad service tag (the outer one of QinQ).
    pub const QINQ: Self = Self(0x88a8);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86dd);
    /// MPLS with downstream-assigned label (RFC 5332).
    pub const MPLS: Self = Self(0x8847);
    /// MPLS with upstream-assigned label (RFC 5332); never forwarded here.
    pub const MPLS_UPSTREAM: Self = Self(0x8848);

    /// Whether a VLAN tag follows.
    #[inline(always)]
    pub const fn is_vlan(self) -> bool {
        self.0 == Self::VLAN.0 || self.0 == Self::QINQ.0
    }
}

/// Destination, source, type: 14 octets.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Receiver.
    pub destination: Mac,
    /// Sender.
    pub source: Mac,
    /// What follows; see [`EtherType`].
    pub ethertype: U16,
}

/// What follows the two addresses of a tagged frame after its TPID: priority, VLAN id, next type.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VlanTag {
    /// PCP (3 bits), DEI (1), VLAN id (12).
    pub tci: U16,
    /// Type of what follows the tag.
    pub ethertype: U16,
}

impl VlanTag {
    /// The VLAN id, 0 to 4095; 0 means "priority only".
    #[inline(always)]
    pub fn vid(&self) -> u16 {
        self.tci.get() & 0xfff
    }
}
