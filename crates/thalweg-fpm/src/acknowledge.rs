//! The answer to a route: the route itself, with a flag that says whether packets follow it.
//!
//! zebra from FRR 8.5 on takes `RTM_NEWROUTE` with `RTM_F_OFFLOAD` or `RTM_F_OFFLOAD_FAILED`
//! (`include/uapi/linux/rtnetlink.h`) as what became of a route it sent; older ones read it and do
//! nothing.

use thalweg_netlink::message::route::Destination;
use thalweg_netlink::message::{raw, request};

/// `RTM_F_OFFLOAD`: in the data plane.
pub const OFFLOAD: u32 = 0x4000;
/// `RTM_F_OFFLOAD_FAILED`: not in the data plane.
pub const OFFLOAD_FAILED: u32 = 0x2000_0000;
const RTA_DST: u16 = 1;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;

/// The message for a route with the body that
/// [`body_key`](thalweg_netlink::message::route::Parsed::body_key) gathered.
pub fn message(to: &Destination, metric: u32, body: &[u8], in_force: bool) -> Vec<u8> {
    let (address, len) = to.prefix();
    let (head, mut rest) = match body.split_first_chunk::<8>() {
        Some((head, rest)) => (*head, rest),
        None => ([0; 8], &[][..]),
    };
    let [family, protocol, scope, kind, flags @ ..] = head;
    let outcome = if in_force { OFFLOAD } else { OFFLOAD_FAILED };
    let [a, b, c, d] =
        (u32::from_ne_bytes(flags) & !(OFFLOAD | OFFLOAD_FAILED) | outcome).to_ne_bytes();
    // `RT_TABLE_UNSPEC` leaves it to the attribute.
    let short = u8::try_from(to.table).unwrap_or(0);
    let header = [family, len, 0, 0, short, protocol, scope, kind, a, b, c, d];
    let (metric, table) = (metric.to_ne_bytes(), to.table.to_ne_bytes());
    let mut attributes: Vec<(u16, &[u8])> =
        vec![(RTA_DST, address), (RTA_PRIORITY, &metric), (RTA_TABLE, &table)];
    while let Some(([k, l, m, n], value)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([*m, *n])).min(value.len());
        let (value, more) = value.split_at(len);
        attributes.push((u16::from_ne_bytes([*k, *l]), value));
        rest = more;
    }
    request(raw::NEWROUTE, 0, 0, &header, &attributes)
}
