//! A frame to what it says. A frame counts as a whole: one message that makes no sense spoils it.
//!
//! zebra also tells what it has from the kernel (routes of protocol `kernel`): those count as gone,
//! since the kernel tells them itself, and better.

use thalweg_model::host::{LabelRoute, NextHopObject};
use thalweg_netlink::message::{Attributes, Message, Messages, label, nexthop, raw, route};

/// `RTPROT_KERNEL`: a route that the kernel made, or that zebra learned from it.
const KERNEL: u8 = 2;

/// What one message says.
#[derive(Debug)]
pub enum Word<'a> {
    /// A route is there.
    Route(route::Parsed<'a>),
    /// A route is gone.
    RouteGone(route::Destination),
    /// A next hop object is there.
    NextHop(u32, NextHopObject),
    /// A next hop object is gone.
    NextHopGone(u32),
    /// A label is bound.
    Label(u32, LabelRoute),
    /// A label is no longer bound.
    LabelGone(u32),
    /// Nothing for us: bridge entries, routes by source.
    Other,
}

/// Why a frame makes no sense.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// Octets that are no message.
    #[error("a frame of {len} octets that are not whole netlink messages")]
    Framing {
        /// Octets of the frame.
        len: usize,
    },
    /// A message whose content makes no sense.
    #[error("a netlink message of type {kind} and {len} octets that makes no sense")]
    Message {
        /// `nlmsg_type`.
        kind: u16,
        /// Octets behind the header.
        len: usize,
    },
}

/// What the messages of a frame say, with the netlink port of the process that sent them.
///
/// # Errors
///
/// [`ReadError`] when any of it makes no sense; nothing of the frame counts then.
pub fn read(frame: &[u8]) -> Result<(Vec<Word<'_>>, Option<u32>), ReadError> {
    let messages = Messages(frame);
    if !messages.is_whole() {
        return Err(ReadError::Framing { len: frame.len() });
    }
    let mut words = Vec::new();
    let mut port = None;
    for message in messages {
        port = Some(message.port);
        let len = message.body.len();
        words.push(word(&message).ok_or(ReadError::Message { kind: message.kind, len })?);
    }
    Ok((words, port))
}

fn word<'a>(message: &Message<'a>) -> Option<Word<'a>> {
    match message.kind {
        raw::NEWROUTE | raw::DELROUTE => {
            let (header, attributes) = whole::<12>(message)?;
            match header[0] {
                raw::AF_INET | raw::AF_INET6 => ip_route(message, header),
                raw::AF_MPLS => lsp(message),
                _ => Some(Word::Other),
            }
            .filter(|_| attributes.is_whole())
        }
        raw::NEWNEXTHOP => {
            let (header, attributes) = whole::<8>(message)?;
            match nexthop::parse(message) {
                Some((id, object)) if attributes.is_whole() => Some(Word::NextHop(id, object)),
                // Objects of bridges.
                None if header[0] == AF_BRIDGE => Some(Word::Other),
                _ => None,
            }
        }
        raw::DELNEXTHOP => nexthop::id(message).map(Word::NextHopGone),
        _ => Some(Word::Other),
    }
}

/// `AF_BRIDGE`.
const AF_BRIDGE: u8 = 7;

/// The family header and the attributes.
fn whole<'a, const N: usize>(message: &Message<'a>) -> Option<(&'a [u8; N], Attributes<'a>)> {
    message.split::<N>()
}

fn ip_route<'a>(message: &Message<'a>, header: &[u8; 12]) -> Option<Word<'a>> {
    let [_, _, source_len, _, _, protocol, ..] = *header;
    if source_len != 0 {
        return Some(Word::Other);
    }
    let parsed = route::parse(message)?;
    match message.kind {
        raw::NEWROUTE if protocol != KERNEL => parsed.body().map(|_| Word::Route(parsed)),
        _ => Some(Word::RouteGone(parsed.destination)),
    }
}

fn lsp<'a>(message: &Message<'a>) -> Option<Word<'a>> {
    let (label, route) = label::parse(message)?;
    match message.kind {
        raw::DELROUTE => Some(Word::LabelGone(label)),
        _ => Some(Word::Label(label, route)),
    }
}
