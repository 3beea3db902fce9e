//! Routes: `RTM_NEWROUTE`, `RTM_DELROUTE`.
//!
//! Most routes of a full table differ in their prefix only. A message is therefore split into its
//! destination, read at once, and everything else, gathered as octets by which a body that was
//! read before is found again.

use super::{Attribute, Attributes, Message, ip, label, names, raw};
use crate::exporter::{ExportHop, ExportKey, ExportWay, METRIC, PROTOCOL};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_model::Prefix;
use thalweg_model::host::{NextHop, Route, RouteKey, RouteKind};

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_NEWDST: u16 = 19;
const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
const RTAX_MTU: u16 = 2;

const RTNH_F_DEAD: u32 = 1;
const RTNH_F_ONLINK: u32 = 4;
const RTNH_F_LINKDOWN: u32 = 16;
const RTM_F_CLONED: u32 = 0x200;
const RTPROT_RA: u8 = 9;
const RTN_UNICAST: u8 = 1;
const RT_SCOPE_LINK: u8 = 253;
/// Octets of `rtm_protocol` and what follows it in the header.
const PROTOCOL_AT: usize = 5;
const ENCAP_MPLS: u16 = 1;
const MPLS_DST: u16 = 1;
const MPLS_TTL: u16 = 2;

/// What a route is for: the kernel's key without what tells equal ones apart.
///
/// Small and flat, as there are a million of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Destination {
    /// Whether this is of IPv4.
    pub v4: bool,
    /// Routing table.
    pub table: u32,
    /// Address in network order; IPv4 uses the first four.
    octets: [u8; 16],
    /// Length of the prefix.
    len: u8,
    /// TOS; IPv4 only.
    tos: u8,
    /// Priority.
    metric: u32,
}

impl From<&RouteKey> for Destination {
    fn from(key: &RouteKey) -> Self {
        let mut octets = [0; 16];
        let v4 = match key.prefix.address() {
            IpAddr::V4(address) => {
                octets[..4].copy_from_slice(&address.octets());
                true
            }
            IpAddr::V6(address) => {
                octets = address.octets();
                false
            }
        };
        let (len, tos, metric) = (key.prefix.len(), key.tos, key.metric);
        Self { v4, table: key.table, octets, len, tos, metric }
    }
}

impl Destination {
    /// The same without its metric, and the metric: zebra has one route for each prefix.
    pub fn split_metric(self) -> (Self, u32) {
        (Self { metric: 0, ..self }, self.metric)
    }

    /// Address in network order, and the length of the prefix.
    pub fn prefix(&self) -> (&[u8], u8) {
        (if self.v4 { &self.octets[..4] } else { &self.octets }, self.len)
    }

    /// The model's key of the `instance`th route for this destination.
    pub fn key(&self, instance: u32) -> RouteKey {
        let address: IpAddr = match self.v4 {
            true => {
                let [a, b, c, d, ..] = self.octets;
                Ipv4Addr::new(a, b, c, d).into()
            }
            false => Ipv6Addr::from(self.octets).into(),
        };
        let prefix = Prefix::containing(address, self.len);
        RouteKey { table: self.table, prefix, metric: self.metric, tos: self.tos, instance }
    }
}

/// Everything of a route but its destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    /// As the model has it.
    pub route: Route,
    /// Whether it is of IPv4.
    pub v4: bool,
    /// Preferred source address; an IPv4 route dies with it.
    pub source: Option<IpAddr>,
    /// Learned from a router advertisement: never joined into a multipath route by older kernels.
    pub advertised: bool,
    /// Scope and metrics as octets: they tell IPv4 routes apart, and mean nothing else here.
    pub rest: Vec<u8>,
}

/// A route message, its destination read, its body still octets.
#[derive(Clone, Copy, Debug)]
pub struct Parsed<'a> {
    /// What the route is for.
    pub destination: Destination,
    header: &'a [u8; 12],
    attributes: Attributes<'a>,
}

/// Reads the destination; `None` for what is no route of ours: cached entries, other families, and
/// routes for certain sources (IPv6 subtrees), which a lookup by destination cannot express.
pub fn parse<'a>(message: &Message<'a>) -> Option<Parsed<'a>> {
    let (header, attributes) = message.split::<12>()?;
    let [family, len, source_len, tos, table, ..] = *header;
    let v4 = family == raw::AF_INET;
    let width = if v4 { 32 } else { 128 };
    // What was written from here is not learned back.
    let wanted = (v4 || family == raw::AF_INET6) && header[PROTOCOL_AT] != PROTOCOL;
    if !wanted || len > width || source_len != 0 || flags(header) & RTM_F_CLONED != 0 {
        return None;
    }
    let tos = if v4 { tos } else { 0 };
    let mut to = Destination { v4, len, tos, table: table.into(), metric: 0, octets: [0; 16] };
    for attribute in attributes {
        match attribute.kind {
            RTA_DST => to.octets.get_mut(..attribute.value.len())?.copy_from_slice(attribute.value),
            RTA_PRIORITY => to.metric = attribute.u32()?,
            RTA_TABLE => to.table = attribute.u32()?,
            _ => {}
        }
    }
    Some(Parsed { destination: to, header, attributes })
}

/// The key of a route that was written from here; none for anybody else's.
pub fn ours(message: &Message<'_>) -> Option<ExportKey> {
    if message.kind != raw::NEWROUTE {
        return None;
    }
    let (header, attributes) = message.split::<12>()?;
    let [family, len, _, _, table, protocol, ..] = *header;
    if protocol != PROTOCOL {
        return None;
    }
    let mut table = u32::from(table);
    let mut address: IpAddr = match family {
        raw::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        raw::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    for attribute in attributes {
        match attribute.kind {
            RTA_DST => address = attribute.ip()?,
            RTA_TABLE => table = attribute.u32()?,
            _ => {}
        }
    }
    Some(ExportKey { table, prefix: Prefix::containing(address, len) })
}

/// `struct rtmsg` of a route that is written from here.
pub fn header(key: ExportKey, hops: &[ExportHop]) -> [u8; 12] {
    let v4 = key.prefix.address().is_ipv4();
    let family = if v4 { raw::AF_INET } else { raw::AF_INET6 };
    let direct = !hops.is_empty() && hops.iter().all(|hop| hop.via.is_none());
    let scope = if v4 && direct { RT_SCOPE_LINK } else { 0 };
    // The gateway was found to be on its link already.
    let flags = if hops.len() == 1 && !direct { RTNH_F_ONLINK as u8 } else { 0 };
    [family, key.prefix.len(), 0, 0, 0, PROTOCOL, scope, RTN_UNICAST, flags, 0, 0, 0]
}

/// Attributes of a route that is written from here, next hops after what it is known by.
pub fn attributes(key: ExportKey, way: &ExportWay) -> Vec<(u16, Vec<u8>)> {
    let hops = &way.hops[..];
    let mut all = vec![
        (RTA_DST, octets(key.prefix.address())),
        (RTA_TABLE, key.table.to_ne_bytes().to_vec()),
        (RTA_PRIORITY, METRIC.to_ne_bytes().to_vec()),
    ];
    all.extend(way.source.map(|source| (RTA_PREFSRC, octets(source))));
    all.extend(way.mtu.map(|mtu| {
        let head = [8u16.to_ne_bytes(), RTAX_MTU.to_ne_bytes()].concat();
        (RTA_METRICS, [head, mtu.to_ne_bytes().to_vec()].concat())
    }));
    match hops {
        [] => {}
        [only] => {
            all.push((RTA_OIF, only.link.to_ne_bytes().to_vec()));
            all.extend(only.via.map(|via| gateway(key.prefix, via)));
        }
        many => all.push((RTA_MULTIPATH, many.iter().flat_map(|hop| member(key, hop)).collect())),
    }
    all
}

/// A gateway of the prefix's family, or (RFC 8950) of the other one.
fn gateway(prefix: Prefix, via: IpAddr) -> (u16, Vec<u8>) {
    if prefix.address().is_ipv4() == via.is_ipv4() {
        return (RTA_GATEWAY, octets(via));
    }
    let family = u16::from(if via.is_ipv4() { raw::AF_INET } else { raw::AF_INET6 });
    let mut value = family.to_ne_bytes().to_vec();
    value.extend(octets(via));
    (RTA_VIA, value)
}

/// `struct rtnexthop` with its gateway.
fn member(key: ExportKey, hop: &ExportHop) -> Vec<u8> {
    let nested = hop.via.map(|via| gateway(key.prefix, via));
    let flags = if nested.is_some() { RTNH_F_ONLINK as u8 } else { 0 };
    let mut octets = vec![0, 0, flags, hop.weight.saturating_sub(1).min(255) as u8];
    octets.extend(hop.link.to_ne_bytes());
    if let Some((kind, value)) = nested {
        octets.extend((value.len() as u16 + 4).to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.extend(&value);
        octets.resize(octets.len().next_multiple_of(4), 0);
    }
    let len = (octets.len() as u16).to_ne_bytes();
    octets[..2].copy_from_slice(&len);
    octets
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

impl Parsed<'_> {
    /// Gathers the octets that make the body into `key`.
    pub fn body_key(&self, key: &mut Vec<u8>) {
        key.clear();
        let [family, _, _, _, _, protocol, scope, kind, flags @ ..] = *self.header;
        key.extend_from_slice(&[family, protocol, scope, kind]);
        key.extend_from_slice(&flags);
        for attribute in self.attributes {
            // Cache details, times and marks are no part of what a route does.
            if let RTA_OIF | RTA_GATEWAY | RTA_PREFSRC | RTA_METRICS | RTA_MULTIPATH | RTA_VIA
            | RTA_ENCAP_TYPE | RTA_ENCAP | RTA_NH_ID = attribute.kind
            {
                key.extend_from_slice(&attribute.kind.to_ne_bytes());
                key.extend_from_slice(&(attribute.value.len() as u16).to_ne_bytes());
                key.extend_from_slice(attribute.value);
            }
        }
    }

    /// Reads the body; `None` when it makes no sense.
    pub fn body(&self) -> Option<Body> {
        let [_, _, _, _, _, protocol, scope, kind, ..] = *self.header;
        let mut kind = route_kind(kind)?;
        let mut body = Body {
            route: Route {
                kind,
                protocol: names::protocol(protocol).into_owned(),
                nexthops: Vec::new(),
                object: None,
                mtu: None,
            },
            v4: self.destination.v4,
            source: None,
            advertised: protocol == RTPROT_RA,
            rest: vec![scope],
        };
        for attribute in self.attributes {
            match attribute.kind {
                RTA_PREFSRC => body.source = attribute.ip(),
                RTA_NH_ID => body.route.object = attribute.u32().filter(|id| *id != 0),
                RTA_METRICS => {
                    body.rest.extend_from_slice(attribute.value);
                    body.route.mtu =
                        attribute.nested().find(|a| a.kind == RTAX_MTU).and_then(|a| a.u32());
                }
                RTA_MULTIPATH => {
                    body.route.nexthops = multipath(attribute.value, HopKind::Ip)?;
                }
                _ => {}
            }
        }
        let discards = matches!(
            kind,
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw
        );
        if body.route.object.is_some() {
            // The object says where to go, or that it discards; what the kernel copies from it
            // into the route depends on a sysctl (`nexthop_compat_mode`).
            body.route.nexthops.clear();
            if kind == RouteKind::Blackhole {
                kind = RouteKind::Unicast;
            }
        } else if discards {
            body.route.nexthops.clear();
        } else if body.route.nexthops.is_empty() {
            let flags = flags(self.header);
            body.route.nexthops.push(hop(self.attributes, flags, 0, 0, HopKind::Ip)?);
        }
        if !body.v4 {
            // A message lists siblings from the one it is about; a dump from the first.
            body.route.nexthops.sort_by_key(|hop| (hop.via, hop.link));
        }
        body.route.kind = kind;
        Some(body)
    }
}

impl Body {
    /// Whether a member leaves through this link.
    pub fn uses(&self, link: u32) -> bool {
        self.route.nexthops.iter().any(|hop| hop.link == link)
    }

    /// Whether this is the same IPv4 route to the kernel (`fib_find_info`), dead or alive.
    pub fn same_v4(&self, other: &Self) -> bool {
        let alike = |a: &NextHop, b: &NextHop| same_hop(a, b) && a.weight == b.weight;
        let (a, b) = (&self.route, &other.route);
        a.kind == b.kind
            && a.protocol == b.protocol
            && a.object == b.object
            && self.source == other.source
            && self.rest == other.rest
            && a.nexthops.len() == b.nexthops.len()
            && a.nexthops.iter().zip(&b.nexthops).all(|(a, b)| alike(a, b))
    }

    /// Whether the kernel would join this IPv6 route with others of its prefix and metric into a
    /// multipath route (`rt6_qualify_for_ecmp`).
    pub fn joins(&self) -> bool {
        let hops = &self.route.nexthops;
        !self.advertised && !hops.is_empty() && hops.iter().all(|hop| hop.via.is_some())
    }

    /// Whether both IPv6 routes have a member in common, which the kernel rules out for two that
    /// are there at the same time (`rt6_duplicate_nexthop`).
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.route.object, other.route.object) {
            (None, None) => {}
            (a, b) => return a == b,
        }
        match (self.route.nexthops.is_empty(), other.route.nexthops.is_empty()) {
            // Routes that discard stand on the loopback link.
            (true, true) => true,
            (true, false) => other.uses(1),
            (false, true) => self.uses(1),
            (false, false) => {
                let has = |hop| other.route.nexthops.iter().any(|b| same_hop(hop, b));
                self.route.nexthops.iter().any(has)
            }
        }
    }

    /// This route without the members of `gone`; `None` when none is left.
    pub fn without(&self, gone: &Self) -> Option<Self> {
        let mut left = self.clone();
        left.route.nexthops.retain(|hop| !gone.route.nexthops.iter().any(|g| same_hop(hop, g)));
        (!left.route.nexthops.is_empty()).then_some(left)
    }
}

fn same_hop(a: &NextHop, b: &NextHop) -> bool {
    (a.via, a.link, &a.labels, a.ttl, &a.encap) == (b.via, b.link, &b.labels, b.ttl, &b.encap)
}

/// `RTM_F_*` and `RTNH_F_*` of a route.
pub(super) fn flags(header: &[u8; 12]) -> u32 {
    u32::from_ne_bytes([header[8], header[9], header[10], header[11]])
}

/// On-link by decree, and dead or without carrier.
pub fn hop_flags(flags: u32) -> (bool, bool) {
    (flags & RTNH_F_ONLINK != 0, flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN) != 0)
}

fn route_kind(number: u8) -> Option<RouteKind> {
    Some(match number {
        1 => RouteKind::Unicast,
        2 => RouteKind::Local,
        3 => RouteKind::Broadcast,
        4 => RouteKind::Anycast,
        5 => RouteKind::Multicast,
        6 => RouteKind::Blackhole,
        7 => RouteKind::Unreachable,
        8 => RouteKind::Prohibit,
        9 => RouteKind::Throw,
        _ => return None,
    })
}

/// What route a member belongs to, which decides what its labels are called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum HopKind {
    /// IPv4 or IPv6: labels are an encapsulation.
    Ip,
    /// MPLS: labels take the place of the one that led here.
    Mpls,
}

/// Members of a route: `struct rtnexthop` with attributes, one behind the other.
pub(super) fn multipath(mut value: &[u8], kind: HopKind) -> Option<Vec<NextHop>> {
    let mut hops = Vec::new();
    while let Some(header) = value.first_chunk::<8>() {
        let [len_low, len_high, flags, weight, link @ ..] = *header;
        let len = usize::from(u16::from_ne_bytes([len_low, len_high]));
        let attributes = Attributes(value.get(8..len)?);
        hops.push(hop(attributes, flags.into(), weight, u32::from_ne_bytes(link), kind)?);
        value = value.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(hops)
}

/// A member from its attributes; `weight` as the kernel counts, from 0.
pub(super) fn hop(
    attributes: Attributes<'_>,
    flags: u32,
    weight: u8,
    link: u32,
    kind: HopKind,
) -> Option<NextHop> {
    let (mut via, mut link, mut swapped) = (None, link, Vec::new());
    let mut encapsulation = Encapsulation::default();
    for attribute in attributes {
        match attribute.kind {
            RTA_OIF => link = attribute.u32()?,
            RTA_GATEWAY => via = attribute.ip(),
            RTA_VIA => via = other_family(&attribute),
            RTA_NEWDST if kind == HopKind::Mpls => swapped = label::stack(&attribute)?,
            RTA_ENCAP_TYPE => encapsulation.kind = attribute.u16()?,
            RTA_ENCAP => encapsulation.value = attribute.value,
            _ => {}
        }
    }
    let (labels, ttl, encap) = match kind {
        HopKind::Ip => encapsulation.read(),
        HopKind::Mpls => (swapped, None, None),
    };
    let (onlink, dead) = hop_flags(flags);
    let weight = u16::from(weight) + 1;
    Some(NextHop { via, link, weight, labels, ttl, encap, onlink, dead })
}

/// `struct rtvia`: a gateway of another family than the route's (RFC 8950).
fn other_family(attribute: &Attribute<'_>) -> Option<IpAddr> {
    ip(attribute.value.get(2..)?)
}

/// What a route or object puts in front of a packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encapsulation<'a> {
    /// `LWTUNNEL_ENCAP_*`, 0 for none.
    pub kind: u16,
    /// Attributes of that kind.
    pub value: &'a [u8],
}

impl Encapsulation<'_> {
    /// Labels with their TTL, or the name of what only the kernel can do.
    pub fn read(self) -> (Vec<u32>, Option<u8>, Option<String>) {
        let (mut labels, mut ttl) = (Vec::new(), None);
        match self.kind {
            0 => return (labels, ttl, None),
            ENCAP_MPLS => {}
            other => return (labels, ttl, Some(names::encap(other))),
        }
        for attribute in Attributes(self.value) {
            match attribute.kind {
                MPLS_DST => {
                    let (entries, _) = attribute.value.as_chunks::<4>();
                    labels = entries.iter().map(|lse| u32::from_be_bytes(*lse) >> 12).collect();
                }
                MPLS_TTL => ttl = attribute.u8().filter(|ttl| *ttl != 0),
                _ => {}
            }
        }
        // An encapsulation without labels must not pass for none at all.
        let encap = labels.is_empty().then(|| names::encap(ENCAP_MPLS));
        (labels, ttl, encap)
    }
}

/// A request for the routes of a family, of one table or through one link if given.
pub fn list(sequence: u32, v4: bool, table: Option<u32>, link: Option<u32>) -> Vec<u8> {
    let mut header = [0; 12];
    header[0] = if v4 { raw::AF_INET } else { raw::AF_INET6 };
    let table = table.map(u32::to_ne_bytes);
    let link = link.map(u32::to_ne_bytes);
    let mut attributes: Vec<(u16, &[u8])> = Vec::new();
    attributes.extend(table.as_ref().map(|t| (RTA_TABLE, &t[..])));
    attributes.extend(link.as_ref().map(|l| (RTA_OIF, &l[..])));
    super::request(raw::GETROUTE, raw::F_DUMP, sequence, &header, &attributes)
}
