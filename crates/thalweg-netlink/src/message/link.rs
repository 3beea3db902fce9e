//! Links: `RTM_NEWLINK`, `RTM_DELLINK`.

use super::{Attribute, Message, names, raw};
use thalweg_model::host::Link;
use thalweg_wire::Mac;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
const IFLA_VRF_TABLE: u16 = 1;

const IFF_UP: u32 = 0x1;
const IFF_RUNNING: u32 = 0x40;
const IFF_LOWER_UP: u32 = 0x1_0000;
const OPERSTATE_UNKNOWN: u8 = 0;
const OPERSTATE_UP: u8 = 6;

/// A link, with the facts that tell when the kernel has touched its routes.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The link.
    pub link: Link,
    /// Flags and operational state; routes change in silence when these do.
    pub state: (u32, u8),
}

impl Parsed {
    /// Whether the link is up with carrier, whatever protocols above it say.
    pub fn has_carrier(&self) -> bool {
        self.state.0 == IFF_UP | IFF_RUNNING | IFF_LOWER_UP
    }
}

/// Reads a link; `None` for other messages of the same type (bridge ports, wireless events).
pub fn parse(message: &Message<'_>) -> Option<Parsed> {
    let (header, attributes) = message.split::<16>()?;
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let mut link = Link { index: index(message)?, ..Link::default() };
    link.medium = names::medium(u16::from_ne_bytes([header[2], header[3]]));
    let mut operstate = OPERSTATE_UNKNOWN;
    let mut elsewhere = false;
    for attribute in attributes {
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text(),
            IFLA_ADDRESS => link.mac = attribute.value.try_into().map(Mac).unwrap_or(Mac::ZERO),
            IFLA_MTU => link.mtu = attribute.u32()?,
            IFLA_LINK => link.lower = attribute.u32().filter(|index| *index != 0),
            IFLA_LINK_NETNSID => elsewhere = true,
            IFLA_MASTER => link.master = attribute.u32().filter(|index| *index != 0),
            IFLA_OPERSTATE => operstate = attribute.u8()?,
            IFLA_LINKINFO => info(&mut link, &attribute),
            _ => {}
        }
    }
    if link.name.is_empty() {
        return None;
    }
    if elsewhere {
        // An index of another namespace says nothing here.
        link.lower = None;
    }
    link.up = flags & (IFF_UP | IFF_LOWER_UP) == IFF_UP | IFF_LOWER_UP
        && matches!(operstate, OPERSTATE_UP | OPERSTATE_UNKNOWN);
    Some(Parsed { link, state: (flags & (IFF_UP | IFF_RUNNING | IFF_LOWER_UP), operstate) })
}

/// The index of the link a message is about; `None` when it is about a bridge port.
pub fn index(message: &Message<'_>) -> Option<u32> {
    let (header, _) = message.split::<16>()?;
    let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    (header[0] == raw::AF_UNSPEC && index != 0).then_some(index)
}

/// Whether links of this kind come in pairs, each below the other.
pub fn is_paired(link: &Link) -> bool {
    matches!(link.kind.as_str(), "veth" | "vxcan" | "netkit")
}

fn info(link: &mut Link, info: &Attribute<'_>) {
    // The kernel puts the kind first, but nothing says it must.
    let kind = info.nested().find(|a| a.kind == IFLA_INFO_KIND);
    link.kind = kind.map(|a| a.text()).unwrap_or_default();
    let Some(data) = info.nested().find(|a| a.kind == IFLA_INFO_DATA) else { return };
    match link.kind.as_str() {
        "vlan" => {
            let find = |kind| data.nested().find(|a| a.kind == kind);
            let id = find(IFLA_VLAN_ID).and_then(|a| a.u16());
            // Kernels before 3.10 know 802.1Q only and do not say so.
            let tpid = find(IFLA_VLAN_PROTOCOL).and_then(|a| a.u16()).map_or(0x8100, u16::from_be);
            link.vlan = id.map(|id| (id, tpid));
        }
        "vrf" => {
            let table = data.nested().find(|a| a.kind == IFLA_VRF_TABLE);
            link.vrf_table = table.and_then(|a| a.u32());
        }
        _ => {}
    }
}
