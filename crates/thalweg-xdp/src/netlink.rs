//! Netlink as far as hooks need it: a request built in place, its replies, the kernel's own words.

use libc::{
    NETLINK_GENERIC, NETLINK_ROUTE, NLA_TYPE_MASK, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN,
};
use netlink_sys::{Socket, SocketAddr};
use std::io;

/// Octets of `struct nlmsghdr`.
const HEADER: usize = 16;
/// A reply fits in what the kernel fills at once (NLMSG_GOODSIZE and more).
const ROOM: usize = 1 << 16;

/// A refusal: the error number and, where the kernel says more, its words.
#[derive(Debug)]
pub struct Refusal {
    /// The error number.
    pub error: io::Error,
    /// What the kernel says about it (`NLMSGERR_ATTR_MSG`); empty for nothing.
    pub words: String,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { error, words: String::new() }
    }
}

/// One reply.
#[derive(Debug)]
pub struct Reply {
    /// Type of the message.
    pub kind: u16,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// A message to the kernel.
pub struct Request {
    octets: Vec<u8>,
}

impl Request {
    /// A message of a type with flags beside request and acknowledge, and its fixed part.
    pub fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let mut octets = vec![0; HEADER];
        octets[4..6].copy_from_slice(&kind.to_ne_bytes());
        let answer = if flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
        let flags = (flags | NLM_F_REQUEST | answer) as u16;
        octets[6..8].copy_from_slice(&flags.to_ne_bytes());
        octets[8] = 1;
        octets.extend_from_slice(fixed);
        Self { octets }
    }

    /// Adds an attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        push(&mut self.octets, kind, value);
        self
    }

    fn finished(mut self) -> Vec<u8> {
        let len = self.octets.len() as u32;
        self.octets[..4].copy_from_slice(&len.to_ne_bytes());
        self.octets
    }
}

/// Attributes as the value of one.
pub fn nested(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (kind, value) in attributes {
        push(&mut octets, *kind, value);
    }
    octets
}

fn push(octets: &mut Vec<u8>, kind: u16, value: &[u8]) {
    octets.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
    octets.extend_from_slice(&kind.to_ne_bytes());
    octets.extend_from_slice(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
}

/// The attributes in `octets`, by type; ends at the first that is cut short.
pub fn attributes(octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & NLA_TYPE_MASK as u16;
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub fn find(octets: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(octets).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// An attribute's value as a number of 1, 2, 4 or 8 octets in host order; 0 for other lengths.
pub fn number(value: &[u8]) -> u64 {
    match *value {
        [a] => a.into(),
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        _ => 0,
    }
}

/// An attribute's value as text, up to its zero octet.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|octet| *octet == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A socket in the network namespace of the thread that opens it.
pub struct Talk {
    socket: Socket,
}

impl Talk {
    /// For links, qdiscs and filters.
    pub fn route() -> io::Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    /// For families by name.
    pub fn generic() -> io::Result<Self> {
        Self::open(NETLINK_GENERIC)
    }

    /// For tables of nftables.
    pub fn netfilter() -> io::Result<Self> {
        Self::open(libc::NETLINK_NETFILTER)
    }

    fn open(protocol: i32) -> io::Result<Self> {
        let mut socket = Socket::new(protocol as isize)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Words are a courtesy: without them the number has to do.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        Ok(Self { socket })
    }

    /// Hears what is said to a multicast group from now on.
    pub fn join(&self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    /// The socket, to wait for something to be readable.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Sends a request and collects its replies.
    pub fn ask(&self, request: Request) -> Result<Vec<Reply>, Refusal> {
        self.socket.send(&request.finished(), 0)?;
        let mut replies = Vec::new();
        loop {
            if self.receive(&mut replies)? {
                return Ok(replies);
            }
        }
    }

    /// Reads one datagram; says whether the answer is complete.
    fn receive(&self, replies: &mut Vec<Reply>) -> Result<bool, Refusal> {
        let mut buffer = Vec::with_capacity(ROOM);
        self.socket.recv(&mut buffer, 0)?;
        let mut rest = &buffer[..];
        while let Some((kind, body, next)) = message(rest) {
            match i32::from(kind) {
                NLMSG_ERROR => return refusal(body).map(|()| true),
                NLMSG_DONE => return Ok(true),
                NLMSG_OVERRUN => return Err(io::Error::from_raw_os_error(libc::ENOBUFS).into()),
                _ => replies.push(Reply { kind, body: body.to_vec() }),
            }
            rest = next;
        }
        Ok(false)
    }
}

/// Values from include/uapi/linux/genetlink.h.
mod generic {
    pub const CONTROL: u16 = 0x10;
    pub const GET_FAMILY: u8 = 3;
    pub const FAMILY_ID: u16 = 1;
    pub const FAMILY_NAME: u16 = 2;
    pub const GROUPS: u16 = 7;
    pub const GROUP_NAME: u16 = 1;
    pub const GROUP_ID: u16 = 2;
    /// Octets of `struct genlmsghdr`.
    pub const HEADER: usize = 4;
}

/// Number of a generic family, and of its group of changes (`mgmt`) if it has one; none if the
/// kernel does not have the family.
pub fn family(talk: &Talk, name: &str) -> Result<Option<(u16, Option<u32>)>, Refusal> {
    let request = Request::new(generic::CONTROL, 0, &[generic::GET_FAMILY, 1, 0, 0])
        .attribute(generic::FAMILY_NAME, format!("{name}\0").as_bytes());
    let replies = talk.ask(request)?;
    let rows = replies.first().and_then(|reply| reply.body.get(generic::HEADER..));
    let rows = rows.unwrap_or_default();
    let groups = find(rows, generic::GROUPS).unwrap_or_default();
    let is_changes =
        |group: &&[u8]| find(group, generic::GROUP_NAME).map(text).as_deref() == Some("mgmt");
    let changes = attributes(groups).map(|(_, group)| group).find(is_changes);
    let group = changes.and_then(|group| find(group, generic::GROUP_ID));
    let id = find(rows, generic::FAMILY_ID).map(|value| number(value) as u16);
    Ok(id.map(|id| (id, group.map(|value| number(value) as u32))))
}

/// The first message in `octets`: type, body, and what comes after it.
fn message(octets: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let len = u32::from_ne_bytes(octets.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(octets.get(4..6)?.try_into().ok()?);
    let body = octets.get(HEADER..len)?;
    Some((kind, body, octets.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// `struct nlmsgerr`: a negative error number, the header of the request (its body is left out, as
/// asked), and attributes of which the first has the words.
fn refusal(body: &[u8]) -> Result<(), Refusal> {
    const WORDS: u16 = 1;
    let code = body.get(..4).map_or(0, |octets| number(octets) as u32 as i32);
    if code == 0 {
        return Ok(());
    }
    let words = body.get(4 + HEADER..).and_then(|octets| find(octets, WORDS));
    Err(Refusal {
        error: io::Error::from_raw_os_error(-code),
        words: words.map(text).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_written_and_cut_ones_end_the_list() {
        let mut octets = nested(&[(1, b"bpf\0"), (2 | 0x8000, &7u32.to_ne_bytes()), (3, b"x")]);
        let read: Vec<_> = attributes(&octets).map(|(kind, value)| (kind, value.len())).collect();
        assert_eq!(read, [(1, 4), (2, 4), (3, 1)]);
        assert_eq!(find(&octets, 1).map(text).as_deref(), Some("bpf"));
        assert_eq!(find(&octets, 2).map(number), Some(7));
        for len in 0..octets.len() {
            octets.truncate(octets.len() - 1);
            assert!(attributes(&octets).count() <= 3, "{len}");
        }
        assert_eq!(attributes(&[0, 0, 0, 0, 9]).count(), 0, "a length below its own header");
    }

    #[test]
    fn the_kernel_names_what_it_does_not_have() {
        let talk = Talk::route().unwrap();
        let mut fixed = [0; 16];
        fixed[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let refusal = talk.ask(Request::new(libc::RTM_GETLINK, 0, &fixed)).unwrap_err();
        assert_eq!(refusal.error.raw_os_error(), Some(libc::ENODEV));
    }
}
