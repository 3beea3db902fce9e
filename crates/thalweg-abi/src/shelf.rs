//! The shelf: fragments that came before the first of their packet, kept as frames until that comes.
//!
//! It has [`BOARDS`] boards of [`PLACES`] places. A packet's key chooses the board; on it, each frame takes
//! the place behind the last one, whatever is there: the oldest goes. So its memory is bounded, and a flood
//! of fragments costs nobody anything but other fragments that came too early.
//!
//! A board has a word for each place ([`place`]) behind one that says which is next. The frames lie in a
//! table of their own: a header of words ([`word`]), and the octets as they came.

/// Boards of the shelf, a power of two.
pub const BOARDS: u32 = 4;
/// Places of a board.
pub const PLACES: u32 = 63;
/// Places that fragments of one packet take at most: 65,535 octets in pieces of 1,480 are 45.
pub const MOST: u32 = 48;
/// Octets of the largest frame that is kept: 9,216 in a link header with two tags.
pub const ROOM: usize = 9_280;
/// Seconds that a fragment waits for its first.
pub const TIME: u32 = 3;

/// Words of a board.
pub const BOARD: usize = PLACES as usize + 1;
/// A board as the kernel map holds it.
pub type Board = [u64; BOARD];
/// Words in front of the octets of a frame.
pub const HEADER: usize = 8;
/// Words of a kept frame with its header.
pub const WORDS: usize = HEADER + ROOM / 8;
/// A kept frame as the kernel map holds it.
pub type KeptRow = [u64; WORDS];

/// Places of words on a board.
pub mod board {
    /// Number of the place that is taken next, from 1; behind the last comes the first.
    pub const NEXT: usize = 0;
    /// The first place.
    pub const FIRST: usize = 1;
}

/// Words of places: the tag of the packet's key (low half), seconds (16 bits), the state.
pub mod place {
    /// Nothing is here.
    pub const EMPTY: u64 = 0;
    /// A frame is being copied.
    pub const PENDING: u64 = 1 << 48;
    /// A frame is here.
    pub const KEPT: u64 = 2 << 48;
    /// What tells places of one packet from others.
    pub const OF_PACKET: u64 = 3 << 48 | 0xffff_ffff;

    /// The word of a frame that came now.
    #[inline(always)]
    pub const fn kept(tag: u64, now: u32) -> u64 {
        KEPT | (now as u64 & 0xffff) << 32 | tag
    }

    /// Whether the first may still come.
    #[inline(always)]
    pub const fn is_fresh(word: u64, now: u32) -> bool {
        // Another processor's clock may be a second ahead.
        (now as u16).wrapping_sub((word >> 32) as u16) as i16 <= super::TIME as i16
    }
}

/// Places of words in a kept frame's header; in front of them stands the key.
pub mod word {
    /// Interface index of the hook that the frame came by.
    pub const DEVICE: usize = 5;
    /// Octets of the frame.
    pub const OCTETS: usize = 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_tells_for_how_long_it_is_good() {
        for now in [0, 5, 0xffff, 0x1_0000, 0x1_0001, u32::MAX] {
            let word = place::kept(0xffff_ffff, now);
            assert_eq!(word & place::OF_PACKET, place::KEPT | 0xffff_ffff);
            assert!(place::is_fresh(word, now) && place::is_fresh(word, now.wrapping_add(TIME)));
            assert!(place::is_fresh(word, now.wrapping_sub(1)), "a clock behind");
            assert!(!place::is_fresh(word, now.wrapping_add(TIME + 1)));
        }
    }

    #[test]
    fn rows_are_words() {
        assert_eq!(size_of::<KeptRow>(), HEADER * 8 + ROOM);
        const { assert!(ROOM >= 9_216 + 14 + 8) };
    }
}
