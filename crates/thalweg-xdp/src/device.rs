//! What the kernel says of a device: kind, other end, XDP programs, and what its driver can do.

use crate::netlink::{Refusal, Request, Talk, attributes, family, find, number, text};
use crate::peer::Peer;
use libc::{IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO, IFLA_XDP, RTM_GETLINK};
use std::io;

/// Values from include/uapi/linux/netdev.h.
mod generic {
    pub const DEV_GET: u8 = 1;
    pub const DEV_IFINDEX: u16 = 1;
    pub const DEV_XDP_FEATURES: u16 = 3;
    /// Octets of `struct genlmsghdr`.
    pub const HEADER: usize = 4;
}

/// Namespace number of the other end, set when that is elsewhere (include/uapi/linux/if_link.h).
const IFLA_LINK_NETNSID: u16 = 37;
/// Program ids in `IFLA_XDP`: attached in any one mode, native, generic.
const XDP_PROGRAMS: [u16; 3] = [4, 5, 6];
/// Octets of `struct ifinfomsg`.
const IFINFO: usize = 16;

const VETH: &str = "veth";

/// What a driver can do with XDP: bits of `enum netdev_xdp_act`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Features(pub u64);

impl Features {
    /// Programs can be attached natively.
    pub const fn native(self) -> bool {
        self.0 & 1 != 0
    }

    /// Frames that a program redirects here leave (`NDO_XMIT`).
    pub const fn transmits(self) -> bool {
        self.0 & 1 << 2 != 0
    }
}

/// A device in the network namespace of the calling thread.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Device {
    /// Interface index.
    pub index: u32,
    /// Name of the link.
    pub name: String,
    /// Kind as `ip -d link` names it; empty for hardware.
    pub kind: String,
    /// The other end of a veth; none for others.
    pub peer: Option<Peer>,
    /// Ids of the XDP programs on it, in any mode.
    pub programs: Vec<u32>,
    /// What the driver can do; none on kernels before 6.3.
    pub features: Option<Features>,
}

impl Device {
    /// Whether it is one end of a pair, whose other end decides what may be redirected to it.
    pub fn is_veth(&self) -> bool {
        self.kind == VETH
    }
}

/// Asks the kernel about devices; one socket for each of the two families.
pub struct Devices {
    route: Talk,
    netdev: Option<(Talk, u16)>,
}

impl Devices {
    /// Opens both sockets in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// The kernel's, when it gives no sockets.
    pub fn new() -> io::Result<Self> {
        let generic = Talk::generic()?;
        let netdev = family(&generic, "netdev").ok().flatten().map(|(id, _)| (generic, id));
        Ok(Self { route: Talk::route()?, netdev })
    }

    /// Whether the kernel tells what drivers can do.
    pub fn know_features(&self) -> bool {
        self.netdev.is_some()
    }

    /// The device with an index; none when there is none.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn get(&self, index: u32) -> io::Result<Option<Device>> {
        let Some(body) = self.link(index)? else { return Ok(None) };
        let rows = body.get(IFINFO..).unwrap_or_default();
        let info = find(rows, IFLA_LINKINFO).unwrap_or_default();
        let kind = find(info, IFLA_INFO_KIND).map(text).unwrap_or_default();
        Ok(Some(Device {
            index,
            name: find(rows, IFLA_IFNAME).map(text).unwrap_or_default(),
            peer: (kind == VETH).then(|| peer(rows)),
            kind,
            programs: programs(find(rows, IFLA_XDP).unwrap_or_default()),
            features: self.features(index),
        }))
    }

    /// Indices of all devices, in the kernel's order.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn indices(&self) -> io::Result<Vec<u32>> {
        let request = Request::new(RTM_GETLINK, libc::NLM_F_DUMP, &[0; IFINFO]);
        let replies = self.route.ask(request).map_err(|refusal| refusal.error)?;
        let index = |body: &[u8]| body.get(4..8).map(|octets| number(octets) as u32);
        Ok(replies.iter().filter_map(|reply| index(&reply.body)).collect())
    }

    /// Attributes of a link as the kernel writes them (`IFLA_*`).
    pub(crate) fn rows(&self, index: u32) -> io::Result<Option<Vec<u8>>> {
        Ok(self.link(index)?.map(|body| body.get(IFINFO..).unwrap_or_default().to_vec()))
    }

    fn link(&self, index: u32) -> io::Result<Option<Vec<u8>>> {
        let mut fixed = [0; IFINFO];
        fixed[4..8].copy_from_slice(&index.to_ne_bytes());
        match self.route.ask(Request::new(RTM_GETLINK, 0, &fixed)) {
            Ok(replies) => Ok(replies.into_iter().next().map(|reply| reply.body)),
            Err(Refusal { error, .. }) if is_gone(&error) => Ok(None),
            Err(Refusal { error, .. }) => Err(error),
        }
    }

    fn features(&self, index: u32) -> Option<Features> {
        let (talk, id) = self.netdev.as_ref()?;
        let request = Request::new(*id, 0, &[generic::DEV_GET, 1, 0, 0])
            .attribute(generic::DEV_IFINDEX, &index.to_ne_bytes());
        let replies = talk.ask(request).ok()?;
        let body = replies.first()?.body.get(generic::HEADER..)?;
        Some(Features(find(body, generic::DEV_XDP_FEATURES).map(number)?))
    }
}

/// Name of the device with an index, or the index in words.
pub(crate) fn name(index: u32) -> String {
    let device = Devices::new().and_then(|devices| devices.get(index)).ok().flatten();
    device.map_or_else(|| format!("with index {index}"), |device| format!("`{}`", device.name))
}

/// Whether an error says that there is no such device.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO | libc::EINVAL))
}

fn peer(rows: &[u8]) -> Peer {
    let value = |kind| find(rows, kind).map(|value| number(value) as u32);
    Peer::look(value(IFLA_LINK).unwrap_or(0), value(IFLA_LINK_NETNSID))
}

fn programs(xdp: &[u8]) -> Vec<u32> {
    let mut ids: Vec<u32> = attributes(xdp)
        .filter(|(kind, _)| XDP_PROGRAMS.contains(kind))
        .map(|(_, value)| number(value) as u32)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Hears when what a driver can do changes, for example a veth whose other end turns GRO on: the
/// moment to reconcile.
pub struct FeatureWatch {
    talk: Talk,
}

impl FeatureWatch {
    /// Opens the watch in the network namespace of the calling thread; none before Linux 6.3.
    ///
    /// # Errors
    ///
    /// The kernel's, when it gives no socket.
    pub fn new() -> io::Result<Option<Self>> {
        let talk = Talk::generic()?;
        let Ok(Some((_, Some(group)))) = family(&talk, "netdev") else { return Ok(None) };
        talk.join(group)?;
        talk.socket().set_non_blocking(true)?;
        Ok(Some(Self { talk }))
    }

    /// Takes what has been said so far; whether it was anything. Never waits: wait until the
    /// descriptor is readable first.
    pub fn drain(&self) -> bool {
        let mut any = false;
        loop {
            let mut buffer = Vec::with_capacity(4096);
            match self.talk.socket().recv(&mut buffer, 0) {
                Ok(_) => any = true,
                // Overrun: something was said, and lost.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => any = true,
                Err(_) => return any,
            }
        }
    }
}

impl std::os::fd::AsRawFd for FeatureWatch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.talk.socket().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_there_and_index_zero_is_not() {
        let devices = Devices::new().unwrap();
        let lo = devices.get(1).unwrap().unwrap();
        assert_eq!((lo.name.as_str(), lo.is_veth()), ("lo", false));
        assert_eq!(devices.get(0).unwrap(), None);
        assert_eq!(devices.get(0x7fff_ffff).unwrap(), None);
        if devices.know_features() {
            assert_eq!(lo.features, Some(Features(0)), "the loopback has no XDP of its own");
        }
    }
}
