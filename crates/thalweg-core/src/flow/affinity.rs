//! Clients that keep their backend (`sessionAffinity: ClientIP`): a row of the flow table each, whose key is
//! the client and the frontend.
//!
//! Such a row is no packet's: bit [`flow::NO_PACKET`] of its key says so. The backend stands in it by its
//! address and port, and is looked for among those that serve now; if it is not among them, the client
//! gets another. When the table is full, these rows give way as half-open connections do.

use super::key::Key;
use super::service::{MAX_STEPS, at_least, choice_of, frontend_of};
use super::track::{Tracked, served};
use super::{Flows, Words, table};
use crate::packet::{Packet, flag};
use thalweg_abi::flow::{self, kind, word};
use thalweg_abi::link;
use thalweg_abi::service::Choice;

/// Gives a packet that begins a flow to the backend that its client has been given before, if that serves
/// still; else remembers the one that [`super::track`] chose. Either way the client's time begins anew.
#[inline(always)]
pub fn keep<C: Flows>(cells: &C, packet: &mut Packet, tracked: &mut Tracked) {
    let [a, b, c, d, tail] = tracked.key;
    let port = (tail >> 32) as u16;
    let found = frontend_of(cells, [c, d], port, packet.protocol());
    let Some(row) = cells.frontend(found.wrapping_sub(1)) else { return };
    let Some(settings) = cells.settings() else { return };
    let (choice, count) = choice_of(&row, packet);
    let key = key_of_client([a, b, c, d, tail], packet.link_has(link::flag::WORKLOAD));
    let (hash, now) = (flow::hash(key, settings.seed), cells.now());
    let seen = u64::from(row.affinity) << 32 | u64::from(now);
    let known = table::find(cells, &key, hash);
    if let Some(client) = cells.flow(known.wrapping_sub(1)) {
        let [e, f] = [client.get(word::NEW_DESTINATION), client.get(word::NEW_DESTINATION + 1)];
        let port = (client.get(word::REWRITE) >> 32) as u16;
        let at = match table::is_expired(&client, now) {
            true => 0,
            false => member(cells, &choice, count, [e, f], port),
        };
        if let Some(backend) = cells.backend(at.wrapping_sub(1)) {
            client.set(word::SEEN, seen);
            packet.source = [a, b];
            packet.flags &= !u64::from(flag::BELIEVED);
            served(packet, tracked, row.address, at - 1, &backend);
            return;
        }
        table::forget(cells, known, hash);
    }
    let (backend, port) = (packet.destination, packet.ports() as u16);
    table::insert(cells, &key, hash, now, 0, |client| {
        client.set(word::NEW_SOURCE, a);
        client.set(word::NEW_SOURCE + 1, b);
        client.set(word::NEW_DESTINATION, backend[0]);
        client.set(word::NEW_DESTINATION + 1, backend[1]);
        client.set(word::REWRITE, u64::from(port) << 32 | u64::from(kind::AFFINITY));
        client.set(word::STATE, 0);
        client.set(word::SEEN, seen);
        client.set(word::WAY, 0);
        client.set(word::BACKEND, 0);
        client.set(word::OCTETS, 0);
    });
}

/// The key of a client of a frontend. Clients inside and outside may have different backends.
#[inline(always)]
const fn key_of_client([a, b, c, d, tail]: Key, inside: bool) -> Key {
    let port = tail >> 32 & 0xffff | (inside as u64) << 16;
    [a, b, c, d, port << 32 | tail & 0xffff_ffff | flow::NO_PACKET]
}

/// The row of a backend of a choice by address and port, counted from 1; 0 if it takes no new flows of this
/// choice. Rows of a choice ascend by address and port.
#[inline(never)]
fn member<C: Flows>(cells: &C, choice: &Choice, count: u32, address: [u64; 2], port: u16) -> u32 {
    let (mut low, mut high) = (0, count & 0xffff);
    for _ in 0..MAX_STEPS {
        if low >= high {
            break;
        }
        let middle = (low + high) >> 1;
        let Some(row) = cells.backend(choice.backends.wrapping_add(middle)) else { return 0 };
        let same = row.address == address;
        let below = if same { row.port < port } else { at_least(address, row.address) };
        if below {
            low = middle + 1;
        } else {
            high = middle;
        }
        (low, high) = (cells.blur(low.into()) as u32, cells.blur(high.into()) as u32);
    }
    let at = choice.backends.wrapping_add(low);
    match cells.backend(at) {
        Some(row)
            if low < count && row.address == address && row.port == port && row.weight != 0 =>
        {
            at + 1
        }
        _ => 0,
    }
}
