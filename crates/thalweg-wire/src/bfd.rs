//! BFD control packets (RFC 5880 §4): the header, and what an authentication section says.

use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// UDP port of single hop control packets (RFC 5881 §4).
pub const PORT: u16 = 3784;
/// The version that RFC 5880 defines.
pub const VERSION: u8 = 1;
/// Octets of a control packet without authentication.
pub const LEN: usize = size_of::<Bfd>();

/// The mandatory section: 24 octets (RFC 5880 §4.1).
#[derive(
    Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq, Unaligned,
)]
#[repr(C)]
pub struct Bfd {
    /// Version in the upper 3 bits, diagnostic in the lower 5.
    pub version_diagnostic: u8,
    /// State in the upper 2 bits, then [`flag`]s.
    pub state_flags: u8,
    /// Intervals without a packet after which the sender is taken for gone.
    pub multiplier: u8,
    /// Octets of the control packet, authentication included.
    pub len: u8,
    /// The sender's number of the session, not zero.
    pub my_discriminator: U32,
    /// The receiver's number of the session as last heard; zero while unknown.
    pub your_discriminator: U32,
    /// Shortest interval at which the sender would like to send, microseconds.
    pub desired_min_tx: U32,
    /// Shortest interval between packets that the sender can take, microseconds; zero asks for none.
    pub required_min_rx: U32,
    /// The same for echo packets; zero asks for none.
    pub required_min_echo_rx: U32,
}

/// Flags of a control packet (RFC 5880 §4.1).
pub mod flag {
    /// P: an answer with [`FINAL`] is asked for.
    pub const POLL: u8 = 0x20;
    /// F: answers a packet with [`POLL`].
    pub const FINAL: u8 = 0x10;
    /// C: the sender's BFD outlives its control plane.
    pub const INDEPENDENT: u8 = 0x08;
    /// A: an authentication section follows.
    pub const AUTHENTICATED: u8 = 0x04;
    /// D: the sender asks to be sent no periodic packets.
    pub const DEMAND: u8 = 0x02;
    /// M: reserved for point to multipoint; zero.
    pub const MULTIPOINT: u8 = 0x01;
}

/// State of a session as its end tells it (RFC 5880 §4.1).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum State {
    /// Held down by a person.
    AdminDown = 0,
    /// Down.
    #[default]
    Down = 1,
    /// The other end was heard.
    Init = 2,
    /// Both ends hear each other.
    Up = 3,
}

impl State {
    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdminDown => "admin-down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        }
    }
}

/// Why a session last left the state Up (RFC 5880 §4.1): 5 bits.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Diagnostic(pub u8);

impl Diagnostic {
    /// Nothing to tell.
    pub const NONE: Self = Self(0);
    /// No packets for the detection time.
    pub const TIME_EXPIRED: Self = Self(1);
    /// The other end said that the session is down.
    pub const NEIGHBOR_DOWN: Self = Self(3);
    /// The path is known to be down by other means.
    pub const PATH_DOWN: Self = Self(5);
    /// Held down by a person.
    pub const ADMIN_DOWN: Self = Self(7);

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "none",
            1 => "time-expired",
            2 => "echo-failed",
            3 => "neighbor-down",
            4 => "forwarding-reset",
            5 => "path-down",
            6 => "concatenated-path-down",
            7 => "admin-down",
            8 => "reverse-concatenated-path-down",
            _ => "reserved",
        }
    }
}

impl Bfd {
    /// Version.
    pub const fn version(&self) -> u8 {
        self.version_diagnostic >> 5
    }

    /// Diagnostic.
    pub const fn diagnostic(&self) -> Diagnostic {
        Diagnostic(self.version_diagnostic & 0x1f)
    }

    /// State.
    pub const fn state(&self) -> State {
        match self.state_flags >> 6 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }

    /// Whether a [`flag`] is set.
    pub const fn has(&self, flag: u8) -> bool {
        self.state_flags & flag != 0
    }

    /// Version 1 with a diagnostic: the first octet.
    pub const fn first(diagnostic: Diagnostic) -> u8 {
        VERSION << 5 | diagnostic.0 & 0x1f
    }

    /// State and flags: the second octet.
    pub const fn second(state: State, flags: u8) -> u8 {
        (state as u8) << 6 | flags & 0x3f
    }
}

/// Types of authentication (RFC 5880 §4.1).
pub mod auth {
    /// Simple Password (§4.2).
    pub const SIMPLE: u8 = 1;
    /// Keyed MD5 (§4.3).
    pub const KEYED_MD5: u8 = 2;
    /// Meticulous Keyed MD5 (§4.3).
    pub const METICULOUS_MD5: u8 = 3;
    /// Keyed SHA1 (§4.4).
    pub const KEYED_SHA1: u8 = 4;
    /// Meticulous Keyed SHA1 (§4.4).
    pub const METICULOUS_SHA1: u8 = 5;
    /// Octets of the longest Simple Password.
    pub const LONGEST_PASSWORD: usize = 16;
    /// Octets of an MD5 digest and key.
    pub const MD5: usize = 16;
    /// Octets of a SHA1 digest and key.
    pub const SHA1: usize = 20;
}

/// The fixed part of a digest section: 8 octets, the digest follows (RFC 5880 §4.3, §4.4).
#[derive(
    Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq, Unaligned,
)]
#[repr(C)]
pub struct DigestHeader {
    /// One of [`auth`].
    pub kind: u8,
    /// Octets of the section: 24 for MD5, 28 for SHA1.
    pub len: u8,
    /// Which key.
    pub key_id: u8,
    /// Zero.
    pub reserved: u8,
    /// Grows, so that old packets are worth nothing.
    pub sequence: U32,
}

/// What an authentication section says (RFC 5880 §4.2 to §4.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Auth<'a> {
    /// A password in the clear, 1 to 16 octets.
    Simple {
        /// Which key.
        key_id: u8,
        /// The password.
        password: &'a [u8],
    },
    /// A digest over packet and key.
    Digest {
        /// One of [`auth`], but [`auth::SIMPLE`].
        kind: u8,
        /// Which key.
        key_id: u8,
        /// Sequence number.
        sequence: u32,
        /// 16 octets for MD5, 20 for SHA1.
        digest: &'a [u8],
    },
}

impl<'a> Auth<'a> {
    /// Reads a section, which must fill `octets` and have the length of its type.
    pub fn parse(octets: &'a [u8]) -> Option<Self> {
        let (&kind, len) = (octets.first()?, *octets.get(1)?);
        if usize::from(len) != octets.len() {
            return None;
        }
        let digest = match kind {
            auth::SIMPLE => {
                let password = octets.get(3..)?;
                let fits = (1..=auth::LONGEST_PASSWORD).contains(&password.len());
                let key_id = *octets.get(2)?;
                return fits.then_some(Self::Simple { key_id, password });
            }
            auth::KEYED_MD5 | auth::METICULOUS_MD5 => auth::MD5,
            auth::KEYED_SHA1 | auth::METICULOUS_SHA1 => auth::SHA1,
            _ => return None,
        };
        let (header, rest) = DigestHeader::ref_from_prefix(octets).ok()?;
        let (key_id, sequence) = (header.key_id, header.sequence.get());
        (rest.len() == digest).then_some(Self::Digest { kind, key_id, sequence, digest: rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Up, Poll, multiplier 3, from 0x01020304 to 0xa0b0c0d0, 50 ms both ways, no echo.
    const PLAIN: [u8; 24] = [
        0x20, 0xe0, 3, 24, 1, 2, 3, 4, 0xa0, 0xb0, 0xc0, 0xd0, 0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50,
        0, 0, 0, 0,
    ];

    #[test]
    fn fields_stand_where_the_rfc_puts_them() {
        let bfd = Bfd::ref_from_bytes(&PLAIN).unwrap();
        assert_eq!((bfd.version(), bfd.diagnostic(), bfd.state()), (1, Diagnostic(0), State::Up));
        assert!(bfd.has(flag::POLL) && !bfd.has(flag::FINAL) && !bfd.has(flag::AUTHENTICATED));
        assert_eq!((bfd.multiplier, bfd.len), (3, 24));
        assert_eq!(bfd.my_discriminator.get(), 0x0102_0304);
        assert_eq!(bfd.your_discriminator.get(), 0xa0b0_c0d0);
        assert_eq!((bfd.desired_min_tx.get(), bfd.required_min_rx.get()), (50_000, 50_000));
        assert_eq!(bfd.required_min_echo_rx.get(), 0);
        assert_eq!(LEN, 24);
    }

    #[test]
    fn the_first_two_octets_are_put_together_as_they_are_taken_apart() {
        assert_eq!(Bfd::first(Diagnostic::TIME_EXPIRED), 0x21);
        assert_eq!(Bfd::second(State::Down, flag::FINAL), 0x50);
        assert_eq!(Bfd::second(State::AdminDown, 0), 0);
        assert_eq!(Bfd::second(State::Init, flag::AUTHENTICATED), 0x84);
        for (octet, state) in
            [(0, State::AdminDown), (0x40, State::Down), (0x80, State::Init), (0xc0, State::Up)]
        {
            let bfd = Bfd { state_flags: octet, ..Bfd::read_from_bytes(&PLAIN).unwrap() };
            assert_eq!(bfd.state(), state);
        }
    }

    #[test]
    fn a_password_has_one_to_sixteen_octets() {
        let section = [1, 7, 9, b'k', b'e', b'y', b'!'];
        let simple = Auth::Simple { key_id: 9, password: b"key!" };
        assert_eq!(Auth::parse(&section), Some(simple));
        assert_eq!(Auth::parse(&section[..6]), None, "its length says more");
        assert_eq!(Auth::parse(&[1, 3, 9]), None);
        let mut long = [b'x'; 20];
        (long[0], long[1]) = (1, 20);
        assert_eq!(Auth::parse(&long), None);
        (long[0], long[1]) = (1, 19);
        assert!(Auth::parse(&long[..19]).is_some());
    }

    #[test]
    fn digests_have_the_length_of_their_kind() {
        let mut octets = [0xaa; 28];
        octets[..8].copy_from_slice(&[4, 28, 2, 0, 0, 0, 1, 2]);
        let expected = Auth::Digest { kind: 4, key_id: 2, sequence: 0x102, digest: &[0xaa; 20] };
        assert_eq!(Auth::parse(&octets), Some(expected));
        octets[0] = auth::KEYED_MD5;
        assert_eq!(Auth::parse(&octets), None);
        octets[1] = 24;
        let expected = Auth::Digest { kind: 2, key_id: 2, sequence: 0x102, digest: &[0xaa; 16] };
        assert_eq!(Auth::parse(&octets[..24]), Some(expected));
        octets[0] = 6;
        assert_eq!(Auth::parse(&octets[..24]), None, "of a kind that nobody defined");
        assert_eq!(Auth::parse(&[]), None);
        assert_eq!(Auth::parse(&[2]), None);
    }
}
