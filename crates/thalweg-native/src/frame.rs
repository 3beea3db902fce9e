//! A frame in a vector.

use thalweg_abi::shelf::{HEADER, ROOM};
use thalweg_core::flow::Words;
use thalweg_core::{Frame, Offset};
use thalweg_wire::Header;

/// Octets kept free in front, like the kernel's headroom for XDP.
const HEADROOM: usize = 256;

/// A frame in a vector, with headroom like a kernel buffer's.
#[derive(Clone, Debug)]
pub struct VecFrame {
    bytes: Vec<u8>,
    start: usize,
    tailroom: bool,
    /// Whether octets can be taken off the front.
    shrinks: bool,
    /// Frames that were kept and arrive once more, with their interfaces.
    arriving: Vec<(u32, Vec<u8>)>,
}

impl VecFrame {
    /// A copy of a frame.
    pub fn new(frame: &[u8]) -> Self {
        let mut bytes = vec![0; HEADROOM];
        bytes.extend_from_slice(frame);
        Self { bytes, start: HEADROOM, tailroom: true, shrinks: true, arriving: Vec::new() }
    }

    /// A copy of a frame in a buffer that ends where the frame does, as veth makes them.
    pub fn without_tailroom(frame: &[u8]) -> Self {
        Self { tailroom: false, ..Self::new(frame) }
    }

    /// A copy of a frame in a socket buffer, where nothing comes off the front (docs/decisions/0008).
    pub fn at_tc(frame: &[u8]) -> Self {
        Self { shrinks: false, ..Self::new(frame) }
    }

    /// The frame as it is now.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Kept fragments that arrive at their interfaces once more, behind this frame.
    pub fn take_arriving(&mut self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut self.arriving)
    }

    /// The frame as it is now.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }
}

impl Frame for VecFrame {
    fn octets(&self) -> u32 {
        (self.bytes.len() - self.start) as u32
    }

    fn header<H: Header>(&self, at: Offset) -> Option<&H> {
        let from = self.bytes.get(self.start + at.get() as usize..)?;
        H::ref_from_prefix(from).ok().map(|(header, _)| header)
    }

    fn header_mut<H: Header>(&mut self, at: Offset) -> Option<&mut H> {
        let from = self.bytes.get_mut(self.start + at.get() as usize..)?;
        H::mut_from_prefix(from).ok().map(|(header, _)| header)
    }

    fn grow_head(&mut self, by: u32) -> bool {
        let Some(start) = self.start.checked_sub(by as usize) else { return false };
        self.start = start;
        true
    }

    fn shrink_head(&mut self, by: u32) -> bool {
        // The kernel refuses to leave less than an Ethernet header (`bpf_xdp_adjust_head`).
        if !self.shrinks || (by + 14) > self.octets() {
            return false;
        }
        self.start += by as usize;
        true
    }

    fn copy_out<W: Words>(&self, row: &W) -> u32 {
        if self.bytes().len() > ROOM {
            return 0;
        }
        for (at, octets) in self.bytes().chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..octets.len()].copy_from_slice(octets);
            row.set(HEADER + at, u64::from_ne_bytes(word));
        }
        self.octets()
    }

    fn put_aside(&mut self) -> bool {
        true
    }

    fn arrive<W: Words>(&mut self, row: &W, octets: u32, device: u32) -> bool {
        let words = (0..octets.div_ceil(8) as usize).map(|at| row.get(HEADER + at));
        let mut frame: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        frame.truncate(octets as usize);
        self.arriving.push((device, frame));
        true
    }

    fn set_octets(&mut self, octets: u32) -> bool {
        if octets < 14 || octets > self.octets() && !self.tailroom {
            return false;
        }
        self.bytes.resize(self.start + octets as usize, 0);
        true
    }
}
