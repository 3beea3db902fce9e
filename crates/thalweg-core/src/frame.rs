//! Packet memory: the only way to touch a frame's bytes.

use crate::flow::Words;
use thalweg_wire::{Header, U16, checksum, crc32c};

/// A place in a frame, in octets from its start: at most [`Offset::MAX`] by construction, which is
/// what lets the kernel's verifier accept it as an index into packet memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offset(u32);

impl Offset {
    /// The largest offset.
    pub const MAX: u32 = 0x7ff;

    /// An offset; bits above [`Offset::MAX`] are cut.
    #[inline(always)]
    pub const fn new(octets: u32) -> Self {
        Self(octets & Self::MAX)
    }

    /// The number of octets.
    #[inline(always)]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The shortest frame of Ethernet, without its checksum (IEEE 802.3 §4.2.3.3).
pub const SHORTEST: u32 = 60;

/// A frame as it lies on the link, from its destination address on.
///
/// Headers are borrowed from the frame, and moving its ends takes it mutably: a stale header
/// reference is a compile error here, where the kernel's verifier would refuse the program.
pub trait Frame {
    /// Octets in the frame.
    fn octets(&self) -> u32;

    /// Octets of L4 payload in each segment that the kernel will cut this frame into before it
    /// leaves; 0 if the frame leaves as it is.
    #[inline(always)]
    fn segment(&self) -> u32 {
        0
    }

    /// Whether more has been put behind a packet that ends at `end` than makes the frame the shortest one: it does
    /// not leave like that (RFC 1812 §5.2.2).
    #[inline(always)]
    fn is_padded(&self, end: u32) -> bool {
        let octets = self.octets();
        octets > end && octets > SHORTEST && self.segment() == 0
    }

    /// The header at `at`; none if the frame ends before it does.
    fn header<H: Header>(&self, at: Offset) -> Option<&H>;

    /// The header at `at` for writing; none if the frame ends before it does.
    fn header_mut<H: Header>(&mut self, at: Offset) -> Option<&mut H>;

    /// Repairs the checksum of an L4 header at `at`, which covers addresses and ports that were changed:
    /// adds `pseudo` (of what only the pseudo header has) and `data`. Of UDP (`optional`), zero says that
    /// there is none. False if the frame ends before.
    #[inline(always)]
    fn repair(&mut self, at: Offset, pseudo: u16, data: u16, optional: bool) -> bool {
        let Some(field) = self.header_mut::<U16>(at) else { return false };
        let old = field.get();
        if optional && old == 0 {
            return true;
        }
        let new = checksum::update(checksum::update(old, 0xffff, pseudo), 0xffff, data);
        *field = if optional && new == 0 { 0xffff } else { new }.into();
        true
    }

    /// [`crc32c::change`]; in the kernel a function of its own.
    #[inline(always)]
    fn crc32c(difference: u32, octets: u32) -> u32 {
        crc32c::change(difference, octets)
    }

    /// Puts `by` octets of any content in front. False leaves the frame as it was.
    fn grow_head(&mut self, by: u32) -> bool;

    /// Takes `by` octets off the front. False leaves the frame as it was.
    fn shrink_head(&mut self, by: u32) -> bool;

    /// Makes room for `room` octets of outer headers of a tunnel between link header and packet. What stands
    /// there and in front of it afterwards has any content. False leaves the frame as it was.
    #[inline(always)]
    fn wrap(&mut self, room: u32, _family: u8, _protocol: u8) -> bool {
        self.grow_head(room)
    }

    /// Takes `octets` between link header and packet out, of which the packet left has this family. The link
    /// header has any content afterwards. False leaves the frame as it was.
    #[inline(always)]
    fn unwrap(&mut self, octets: u32, _family: u8) -> bool {
        self.shrink_head(octets)
    }

    /// Copies the frame behind the header of a row of the shelf: octets, or 0 where it is too large or the hook
    /// cannot do so.
    #[inline(always)]
    fn copy_out<W: Words>(&self, _row: &W) -> u32 {
        0
    }

    /// Gets ready for [`Frame::arrive`]. False where the hook cannot do so.
    #[inline(always)]
    fn put_aside(&mut self) -> bool {
        false
    }

    /// Has the frame of `octets` in a row of the shelf arrive at the hook of `device` once more, when this
    /// one has gone its way. This one may have any content afterwards. False if that failed.
    #[inline(always)]
    fn arrive<W: Words>(&mut self, _row: &W, _octets: u32, _device: u32) -> bool {
        false
    }

    /// Brings the frame back that was put aside. False if that failed: it must be dropped then.
    #[inline(always)]
    fn take_back(&mut self) -> bool {
        true
    }

    /// Cuts the frame to `octets`, or extends it with zeros. False leaves the frame as it was.
    fn set_octets(&mut self, octets: u32) -> bool;
}
