//! Next hop objects: `RTM_NEWNEXTHOP`, `RTM_DELNEXTHOP` (`linux/nexthop.h`).

use super::route::{Encapsulation, hop_flags};
use super::{Message, raw};
use thalweg_model::host::{NextHop, NextHopObject};

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP_TYPE: u16 = 7;
const NHA_ENCAP: u16 = 8;
const NHA_FDB: u16 = 11;

/// Reads a next hop object and its id; `None` for those of bridges.
pub fn parse(message: &Message<'_>) -> Option<(u32, NextHopObject)> {
    let (header, attributes) = message.split::<8>()?;
    let flags = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    let (mut id, mut group, mut blackhole) = (None, None, false);
    let (mut via, mut link) = (None, 0);
    let mut encapsulation = Encapsulation::default();
    for attribute in attributes {
        match attribute.kind {
            NHA_ID => id = attribute.u32(),
            NHA_GROUP => group = Some(members(attribute.value)),
            NHA_BLACKHOLE => blackhole = true,
            NHA_OIF => link = attribute.u32()?,
            NHA_GATEWAY => via = attribute.ip(),
            NHA_ENCAP_TYPE => encapsulation.kind = attribute.u16()?,
            NHA_ENCAP => encapsulation.value = attribute.value,
            NHA_FDB => return None,
            _ => {}
        }
    }
    let object = match (group, blackhole) {
        (Some(members), _) => NextHopObject::Group(members),
        (None, true) => NextHopObject::Blackhole,
        (None, false) => {
            let (onlink, dead) = hop_flags(flags);
            let (labels, ttl, encap) = encapsulation.read();
            NextHopObject::Single(NextHop {
                via,
                link,
                weight: 1,
                labels,
                ttl,
                encap,
                onlink,
                dead,
            })
        }
    };
    Some((id?, object))
}

/// The id alone, which is all that matters when the object is gone.
pub fn id(message: &Message<'_>) -> Option<u32> {
    let (_, mut attributes) = message.split::<8>()?;
    attributes.find(|a| a.kind == NHA_ID)?.u32()
}

/// Members of a group: `struct nexthop_grp`, 8 octets each.
fn members(value: &[u8]) -> Vec<(u32, u16)> {
    let (entries, _) = value.as_chunks::<8>();
    let member = |entry: &[u8; 8]| {
        let [a, b, c, d, low, high, _, _] = *entry;
        // The upper octet of a weight came with Linux 6.12 and was zero before.
        let weight = u16::from_le_bytes([low, high]).saturating_add(1);
        (u32::from_ne_bytes([a, b, c, d]), weight)
    };
    entries.iter().map(member).collect()
}

/// The header of a request for all next hop objects.
pub const LIST: [u8; 8] = [raw::AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0];
