//! Prefixes: an address and a length, host bits zero (RFC 4632, RFC 4291).

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

macro_rules! prefix {
    ($name:ident, $addr:ty, $bits:ty, $width:literal, $what:literal) => {
        #[doc = concat!("An ", $what, " prefix: host bits are zero by construction.")]
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name {
            bits: $bits,
            len: u8,
        }

        impl $name {
            /// The whole address space: `/0`.
            pub const ALL: Self = Self { bits: 0, len: 0 };

            /// A prefix from its address and length.
            ///
            /// # Errors
            ///
            /// [`PrefixError::Length`] above the address width, [`PrefixError::HostBits`] when the
            /// address has bits outside the length.
            pub const fn new(address: $addr, len: u8) -> Result<Self, PrefixError> {
                if len > $width {
                    return Err(PrefixError::Length);
                }
                let bits = address.to_bits();
                if bits & Self::mask(len) != bits {
                    return Err(PrefixError::HostBits);
                }
                Ok(Self { bits, len })
            }

            /// The prefix of length `len` that contains `address`; `len` above the width is cut.
            pub const fn containing(address: $addr, len: u8) -> Self {
                let len = if len > $width { $width } else { len };
                Self { bits: address.to_bits() & Self::mask(len), len }
            }

            /// The prefix that holds just this address.
            pub const fn host(address: $addr) -> Self {
                Self { bits: address.to_bits(), len: $width }
            }

            const fn mask(len: u8) -> $bits {
                match len {
                    0 => 0,
                    len => <$bits>::MAX << ($width - len as u32),
                }
            }

            /// The first address.
            pub const fn address(self) -> $addr {
                <$addr>::from_bits(self.bits)
            }

            /// The first address as a number.
            pub const fn bits(self) -> $bits {
                self.bits
            }

            /// The length in bits.
            #[expect(clippy::len_without_is_empty, reason = "a prefix always holds an address")]
            pub const fn len(self) -> u8 {
                self.len
            }

            /// The last address as a number.
            pub const fn last(self) -> $bits {
                self.bits | !Self::mask(self.len)
            }

            /// Whether `address` lies inside.
            pub const fn contains(self, address: $addr) -> bool {
                address.to_bits() & Self::mask(self.len) == self.bits
            }

            /// Whether `other` lies wholly inside, itself included.
            pub const fn covers(self, other: Self) -> bool {
                self.len <= other.len && other.bits & Self::mask(self.len) == self.bits
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.address(), self.len)
            }
        }

        impl FromStr for $name {
            type Err = PrefixError;

            fn from_str(text: &str) -> Result<Self, PrefixError> {
                let (address, len) = text.split_once('/').ok_or(PrefixError::Syntax)?;
                if len.is_empty() || !len.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(PrefixError::Syntax);
                }
                let address = address.parse().map_err(|_| PrefixError::Syntax)?;
                Self::new(address, len.parse().map_err(|_| PrefixError::Length)?)
            }
        }
    };
}

prefix!(Prefix4, Ipv4Addr, u32, 32, "IPv4");
prefix!(Prefix6, Ipv6Addr, u128, 128, "IPv6");

/// Why a text or a pair is no prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PrefixError {
    /// Not `address/length`.
    Syntax,
    /// The length exceeds the address width.
    Length,
    /// Bits are set outside the length.
    HostBits,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "a prefix is written address/length",
            Self::Length => "the length exceeds the address width",
            Self::HostBits => "bits are set outside the prefix length",
        })
    }
}

impl core::error::Error for PrefixError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_refused() {
        assert_eq!("10.0.0.1/24".parse::<Prefix4>(), Err(PrefixError::HostBits));
        assert_eq!("10.0.0.0/33".parse::<Prefix4>(), Err(PrefixError::Length));
        assert_eq!("2001:db8::1/64".parse::<Prefix6>(), Err(PrefixError::HostBits));
        assert_eq!("10.0.0.0".parse::<Prefix4>(), Err(PrefixError::Syntax));
    }

    #[test]
    fn edges_of_length() {
        let all: Prefix4 = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(Ipv4Addr::BROADCAST));
        let one: Prefix6 = "::1/128".parse().unwrap();
        assert!(one.contains(Ipv6Addr::LOCALHOST) && !one.contains(Ipv6Addr::UNSPECIFIED));
        assert!(all.covers(Prefix4::host(Ipv4Addr::LOCALHOST)));
        assert_eq!(one.to_string(), "::1/128");
    }

    extern crate std;
    use std::string::ToString;
}
