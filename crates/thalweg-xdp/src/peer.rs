//! The other end of a veth: what it leaves undone in the frames that it sends.
//!
//! A veth carries a frame as its sender's kernel holds it. With offloads on, which is the default,
//! that kernel leaves the checksum to the device and sends segments far beyond the MTU. Socket
//! buffers carry the note of what is left to do, native XDP frames do not.

use crate::namespace;
use crate::netlink::{Request, Talk, attributes, family, find, nested, number, text};
use libc::{IFLA_IFNAME, RTM_GETLINK, RTM_GETNSID};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Values from include/uapi/linux/ethtool_netlink.h.
mod ethtool {
    pub const FEATURES_GET: u8 = 11;
    pub const HEADER: u16 = 1;
    pub const HEADER_INDEX: u16 = 1;
    pub const ACTIVE: u16 = 4;
    pub const BITS: u16 = 3;
    pub const BIT_NAME: u16 = 2;
}

const CHECKSUMS: [&str; 4] =
    ["tx-checksum-ip-generic", "tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-sctp"];
const SEGMENTS: [&str; 3] = ["tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-udp-segmentation"];

/// Attributes of `RTM_GETNSID` (include/uapi/linux/net_namespace.h).
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// What a sender leaves to the link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offloads {
    /// Checksums of TCP, UDP or SCTP.
    pub checksums: bool,
    /// Cutting into segments that fit the MTU.
    pub segments: bool,
}

/// The other end of a veth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// How to name it in a message.
    pub name: String,
    /// What it leaves to the link; none if it is out of sight.
    pub offloads: Option<Offloads>,
}

impl Peer {
    /// The device with an index in the namespace that ours knows under a number, or in ours.
    pub fn look(index: u32, nsid: Option<u32>) -> Self {
        let Some(nsid) = nsid else { return Self::here(index, "") };
        let hidden = || Self {
            name: format!("its other end (index {index} in a network namespace out of sight)"),
            offloads: None,
        };
        let Some(path) = find_namespace(nsid) else { return hidden() };
        let place = match path.parent() == Some(Path::new("/run/netns")) {
            true => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            false => path.display().to_string(),
        };
        namespace::run_at(&path, || Self::here(index, &place)).unwrap_or_else(|_| hidden())
    }

    fn here(index: u32, place: &str) -> Self {
        let name = device_name(index).unwrap_or_else(|| format!("index {index}"));
        let name = match place {
            "" => format!("`{name}`"),
            _ => format!("`{name}` in network namespace {place}"),
        };
        Self { name, offloads: offloads(index) }
    }
}

fn device_name(index: u32) -> Option<String> {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    let replies = Talk::route().ok()?.ask(Request::new(RTM_GETLINK, 0, &fixed)).ok()?;
    find(replies.first()?.body.get(16..)?, IFLA_IFNAME).map(text)
}

/// What the device with an index in this thread's namespace leaves to the link.
fn offloads(index: u32) -> Option<Offloads> {
    let on = features_on(index)?;
    let any = |names: &[&str]| on.iter().any(|name| names.contains(&name.as_str()));
    Some(Offloads { checksums: any(&CHECKSUMS), segments: any(&SEGMENTS) })
}

/// Features of the device with an index in this thread's namespace that are on, by the kernel's names
/// (`ethtool -k` translates some of them).
pub(crate) fn features_on(index: u32) -> Option<Vec<String>> {
    let talk = Talk::generic().ok()?;
    let (id, _) = family(&talk, "ethtool").ok()??;
    let header = nested(&[(ethtool::HEADER_INDEX, &index.to_ne_bytes())]);
    let request = Request::new(id, 0, &[ethtool::FEATURES_GET, 1, 0, 0])
        .attribute(ethtool::HEADER | libc::NLA_F_NESTED as u16, &header);
    let replies = talk.ask(request).ok()?;
    let active = find(replies.first()?.body.get(4..)?, ethtool::ACTIVE)?;
    let bits = find(active, ethtool::BITS).unwrap_or_default();
    Some(attributes(bits).filter_map(|(_, bit)| find(bit, ethtool::BIT_NAME).map(text)).collect())
}

/// A path that opens the namespace which ours knows under a number.
fn find_namespace(nsid: u32) -> Option<PathBuf> {
    let talk = Talk::route().ok()?;
    namespace::find(|path| {
        let Ok(file) = File::open(path) else { return false };
        let request = Request::new(RTM_GETNSID, 0, &[0; 4])
            .attribute(NETNSA_FD, &file.as_raw_fd().to_ne_bytes());
        let replies = talk.ask(request).unwrap_or_default();
        let body = replies.first().and_then(|reply| reply.body.get(4..)).unwrap_or_default();
        find(body, NETNSA_NSID).map(number) == Some(u64::from(nsid))
    })
}
