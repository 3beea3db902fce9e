//! Sockets: a process of this host connects to a service, and its kernel to the backend.
//!
//! There is no packet yet, and there will be none of the service: addresses are exchanged once, when a
//! process says where to. Who may be reached is what holds for clients in the cluster; a backend is chosen
//! by the socket, or where clients keep theirs by the client.

use super::Flows;
use super::service::{backend_of, frontend_of, may_be_vip};
use crate::ATTEMPTS;
use thalweg_abi::service::flag;
use thalweg_abi::{FrontendRow, flow, settings};
use thalweg_wire::l4::protocol;

/// Where a process wants to go, and who it is.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Destination, halves as in a packet.
    pub address: [u64; 2],
    /// Destination port.
    pub port: u16,
    /// Protocol number of the socket.
    pub protocol: u8,
    /// The kernel's number of the socket.
    pub socket: u64,
    /// The kernel's number of its network namespace.
    pub namespace: u64,
    /// The kernel's number of the network namespace that the agent serves.
    pub host: u64,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fate {
    /// One of [`fate`].
    pub kind: u32,
    /// Port of the backend, with [`fate::SERVED`].
    pub port: u32,
    /// Its address, halves as in a packet.
    pub address: [u64; 2],
}

/// Kinds of [`Fate`].
pub mod fate {
    /// No service is meant, or packets are to decide: the destination stays.
    pub const LEFT: u32 = 0;
    /// A backend takes the place of the destination.
    pub const SERVED: u32 = 1;
    /// Nobody serves, and the process is told (`ECONNREFUSED`).
    pub const REFUSED: u32 = 2;
    /// Nobody serves, and the service is to say nothing (`EPERM`, as for what a filter drops).
    pub const DROPPED: u32 = 3;
}

/// Who serves a socket, by the tables that `now` gives: those in force.
#[inline(always)]
pub fn serve<C: Flows>(now: impl Fn() -> C, asked: &Asked) -> Fate {
    for _ in 0..ATTEMPTS {
        let cells = now();
        let fate = choose(&cells, asked);
        if cells.holds() {
            return fate;
        }
    }
    without(fate::DROPPED)
}

/// A fate without a backend.
#[inline(always)]
const fn without(kind: u32) -> Fate {
    Fate { kind, port: 0, address: [0; 2] }
}

/// [`serve`] by one version of the tables.
#[inline(always)]
fn choose<C: Flows>(cells: &C, asked: &Asked) -> Fate {
    let Some(settings) = cells.settings() else { return without(fate::LEFT) };
    let ours = asked.namespace == asked.host;
    let is_meant = ours || settings.flags & settings::flag::ALL_SOCKETS != 0;
    if !is_meant || !may_ask(asked) || !may_be_vip(cells, asked.address) {
        return without(fate::LEFT);
    }
    let found = frontend_of(cells, asked.address, asked.port, asked.protocol);
    let Some(row) = cells.frontend(found.wrapping_sub(1)) else {
        return by_address(cells, asked);
    };
    // Of others than this host the source counts, which only packets tell.
    if !ours && row.ranges_len != 0 {
        return without(fate::LEFT);
    }
    if row.internal.size == 0 {
        return without(match row.flags & flag::DROPS_INTERNAL {
            0 => fate::REFUSED,
            _ => fate::DROPPED,
        });
    }
    let at = backend_of(cells, &row.internal, &key_of(asked, &row, settings.seed));
    match cells.backend(at) {
        Some(row) => Fate { kind: fate::SERVED, port: row.port.into(), address: row.address },
        None => without(fate::DROPPED),
    }
}

/// What becomes of a port that no service has: a floating address has all of its workload's.
#[inline(always)]
fn by_address<C: Flows>(cells: &C, asked: &Asked) -> Fate {
    let found = frontend_of(cells, asked.address, 0, 0);
    let Some(row) = cells.frontend(found.wrapping_sub(1)) else { return without(fate::LEFT) };
    if row.flags & flag::FLOATING == 0 {
        return without(fate::REFUSED);
    }
    match cells.backend(row.internal.backends) {
        Some(row) => Fate { kind: fate::SERVED, port: asked.port.into(), address: row.address },
        None => without(fate::DROPPED),
    }
}

/// Sockets that ask for echoes have no ports; and nothing can be sent to port 0, but processes connect to it
/// to learn their own address.
#[inline(always)]
const fn may_ask(asked: &Asked) -> bool {
    matches!(asked.protocol, protocol::TCP | protocol::UDP) && asked.port != 0
}

/// What the backend is chosen by: the socket, or the namespace where clients keep their backend. Namespaces
/// have the same numbers on all hosts, so the seed of this host tells them apart.
#[inline(always)]
const fn key_of(asked: &Asked, row: &FrontendRow, seed: u64) -> super::Key {
    let [high, low] = asked.address;
    let who = if row.affinity == 0 { asked.socket } else { asked.namespace };
    // All four words count in keys of IPv6 alone.
    [who, seed, high, low, flow::tail(asked.port as u32, 0, asked.protocol, 6)]
}

/// The address that the four words of an IPv6 one mean, and its family: 4 for an IPv4 address that is mapped
/// (RFC 4291 §2.5.5.2), 6 for others, 0 for those whose numbers could be taken for IPv4's.
#[inline(always)]
pub const fn address_of([a, b, c, d]: [u32; 4]) -> ([u64; 2], u8) {
    match (a | b, c) {
        (0, 0) => ([0, d as u64], 0),
        (0, 0xffff) => ([0, d as u64], 4),
        _ => ([(a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64], 6),
    }
}

/// The four words that an address has at an IPv6 socket: the inverse of [`address_of`].
#[inline(always)]
pub const fn words_of([high, low]: [u64; 2], family: u8) -> [u32; 4] {
    match family {
        4 => [0, 0, 0xffff, low as u32],
        _ => [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32],
    }
}
