//! MPLS label stack entries (RFC 3032, RFC 5462).

use core::fmt;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// One label stack entry: label (20 bits), TC (3), S (1), TTL (8).
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Lse(pub U32);

impl Lse {
    /// Bottom of stack, in the entry as a number.
    pub const BOTTOM: u32 = 0x100;

    /// Builds an entry. `label` above 20 bits and `class` above 3 bits are cut.
    #[inline(always)]
    pub fn new(label: u32, class: u8, bottom: bool, ttl: u8) -> Self {
        let s = if bottom { Self::BOTTOM } else { 0 };
        Self(((label << 12) | (u32::from(class & 7) << 9) | s | u32::from(ttl)).into())
    }

    /// The label, 0 to 2^20 − 1, reserved ones included.
    #[inline(always)]
    pub fn label(self) -> u32 {
        self.0.get() >> 12
    }

    /// Traffic class (once EXP), 0 to 7.
    #[inline(always)]
    pub fn class(self) -> u8 {
        (self.0.get() >> 9) as u8 & 7
    }

    /// Whether this is the last entry of the stack.
    #[inline(always)]
    pub fn is_bottom(self) -> bool {
        self.0.get() & Self::BOTTOM != 0
    }

    /// Hops left.
    #[inline(always)]
    pub fn ttl(self) -> u8 {
        self.0.get() as u8
    }
}

/// Special-purpose labels (RFC 7274).
pub mod reserved {
    /// IPv4 explicit null.
    pub const IPV4_NULL: u32 = 0;
    /// Router alert.
    pub const ROUTER_ALERT: u32 = 1;
    /// IPv6 explicit null.
    pub const IPV6_NULL: u32 = 2;
    /// Implicit null: never on the wire.
    pub const IMPLICIT_NULL: u32 = 3;
    /// Entropy label indicator (RFC 6790).
    pub const ENTROPY: u32 = 7;
    /// Generic associated channel (RFC 5586).
    pub const GAL: u32 = 13;
    /// OAM alert.
    pub const OAM_ALERT: u32 = 14;
    /// Extension: the next entry is an extended special-purpose label.
    pub const EXTENSION: u32 = 15;
    /// The first label that is not reserved.
    pub const FIRST_FREE: u32 = 16;
}

/// An MPLS label that may be allotted: 16 to 1 048 575 (RFC 3032 §2.1).
///
/// The reserved values are not labels here.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Label(u32);

impl Label {
    /// Reads a label as a control plane would write it.
    ///
    /// # Errors
    ///
    /// [`LabelError`] for 0 to 15 and for anything above 20 bits.
    pub const fn new(value: u32) -> Result<Self, LabelError> {
        match value {
            0..=15 => Err(LabelError::Reserved(value)),
            16..=0xf_ffff => Ok(Self(value)),
            _ => Err(LabelError::TooLarge(value)),
        }
    }

    /// The number, 16 to 1 048 575.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a number is no label.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LabelError {
    /// 0 to 15 have meanings of their own.
    Reserved(u32),
    /// A label has 20 bits.
    TooLarge(u32),
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(value) => {
                write!(f, "label {value} is reserved (RFC 7274); use 16 to 1048575")
            }
            Self::TooLarge(value) => {
                write!(f, "label {value} does not fit 20 bits; use 16 to 1048575")
            }
        }
    }
}

impl core::error::Error for LabelError {}
