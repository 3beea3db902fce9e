//! A language for packets, close to tcpdump and iproute2: text to frames and frames to text.
//!
//! ```text
//! eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53 len 12
//! eth0 < vlan 100 ip6 2001:db8::9 > 2001:db8:2::7 hlim 1 tcp 1000 > 80 syn
//! eth0 < mpls 100 tc 3 ttl 64 / 200 ttl 62 ip 10.0.0.9 > 10.0.2.7 icmp echo
//! eth0 < arp who-has 10.0.0.1 tell 10.0.0.9
//! ```
//!
//! A frame is a list of headers from the outside in, each with its options behind it; lengths,
//! types and checksums are right unless an option says otherwise. The bytes are built here, with
//! nothing but the RFCs, so that tests do not judge the data plane by its own header layouts.
//! docs/packets.md lists every word.
//!
//! [`describe`] is the inverse: its text, parsed again, gives the same bytes, always.
#![forbid(unsafe_code)]

mod describe;
mod encode;
mod error;
mod layer;
mod parse;
mod sum;
mod tokens;

pub use describe::describe;
pub use error::Error;

use layer::Frame;
use thalweg_wire::Mac;

/// Source link address of a frame that names none.
pub const SENDER: Mac = Mac([0x02, 0, 0, 0, 0xff, 0x01]);

/// A line `LINK < FRAME`: a frame and where it arrives.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Name of the link that the frame arrives at.
    pub link: String,
    frame: Frame,
}

impl Line {
    /// Reads `LINK < FRAME`.
    ///
    /// # Errors
    ///
    /// [`Error`]: what was expected, and at which column.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::line(text)
    }

    /// The frame's bytes. `own` is the address of the link it arrives at, and the destination unless
    /// the text names another.
    pub fn bytes(&self, own: Mac) -> Vec<u8> {
        encode::frame(&self.frame, own)
    }
}

/// Reads a frame without the link it arrives at. `own` is the destination unless the text names
/// another.
///
/// # Errors
///
/// [`Error`]: what was expected, and at which column.
pub fn frame(text: &str, own: Mac) -> Result<Vec<u8>, Error> {
    parse::frame(text).map(|frame| encode::frame(&frame, own))
}

#[cfg(test)]
mod tests;
