//! MPLS routes: `RTM_NEWROUTE`, `RTM_DELROUTE` of `AF_MPLS` (`net/mpls/af_mpls.c`).

use super::route::{self, HopKind};
use super::{Attribute, Message, names, raw};
use thalweg_model::host::{LabelRoute, NextHop};

const RTA_DST: u16 = 1;
const RTA_MULTIPATH: u16 = 9;
const RTA_TTL_PROPAGATE: u16 = 26;
/// `RTN_UNICAST`, the only type there is.
const UNICAST: u8 = 1;

/// Reads an MPLS route: its incoming label and what it does. A removal may leave out where it went.
///
/// `None` for other families and for what makes no sense.
pub fn parse(message: &Message<'_>) -> Option<(u32, LabelRoute)> {
    let (header, attributes) = message.split::<12>()?;
    let [family, len, _, _, _, protocol, _, kind, ..] = *header;
    if family != raw::AF_MPLS || len != 20 || kind != UNICAST {
        return None;
    }
    let (mut label, mut hops, mut propagate) = (None, None, None);
    for attribute in attributes {
        match attribute.kind {
            RTA_DST => label = stack(&attribute)?.first().copied(),
            RTA_MULTIPATH => hops = Some(route::multipath(attribute.value, HopKind::Mpls)?),
            RTA_TTL_PROPAGATE => propagate = attribute.u8().map(|propagate| propagate != 0),
            _ => {}
        }
    }
    let flags = route::flags(header);
    let hops = match hops {
        Some(hops) => hops,
        None => vec![route::hop(attributes, flags, 0, 0, HopKind::Mpls)?],
    };
    let route = LabelRoute {
        protocol: names::protocol(protocol).into_owned(),
        nexthops: hops.into_iter().filter(leads).collect(),
        propagate,
    };
    Some((label?, route))
}

/// Whether a next hop says where to go: a removal has one that does not.
fn leads(hop: &NextHop) -> bool {
    hop.via.is_some() || hop.link != 0
}

/// Labels of an attribute, outermost first: label stack entries in network order (RFC 3032).
pub(super) fn stack(attribute: &Attribute<'_>) -> Option<Vec<u32>> {
    let (entries, rest) = attribute.value.as_chunks::<4>();
    let label = |entry: &[u8; 4]| u32::from_be_bytes(*entry) >> 12;
    (rest.is_empty() && !entries.is_empty()).then(|| entries.iter().map(label).collect())
}

/// A request for all MPLS routes.
pub fn list(sequence: u32) -> Vec<u8> {
    let mut header = [0; 12];
    header[0] = raw::AF_MPLS;
    super::request(raw::GETROUTE, raw::F_DUMP, sequence, &header, &[])
}
