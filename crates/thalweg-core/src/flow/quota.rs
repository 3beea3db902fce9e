//! How many flows a workload may have begun at once.
//!
//! Each workload has as many *tokens* as it may have flows, and a flow that it begins takes one: the number
//! of the flow's row and its tag. Whether a token is free is seen at that row: it is, once the row is
//! another's or has outlived its time. So nothing is to be counted when a flow ends, however it ends, and
//! packets of known flows know nothing of tokens.
//!
//! Tokens lie in rows of the flow table that are no packet's ([`NO_PACKET`]), some to each. A flow looks in
//! few of them, chosen by its key: of a workload that has nearly all it may have, some flows are refused
//! before the last token is taken, and none beyond.

use super::key::{Key, reversed};
use super::track::{Tracked, leaving};
use super::{Flows, Words, table};
use crate::packet::Packet;
use thalweg_abi::flow::{self, NO_PACKET, QUOTA_TOKENS, WAYS, kind, slot, tail, word};
use thalweg_abi::link;

/// Bits of a tail's family octet, beside [`NO_PACKET`].
const QUOTA: u64 = 0x30;
/// Rows that a flow looks for a token in.
const TRIES: u32 = 8;
/// Seconds that a row of tokens lives: longer than a flow may without a packet.
const TIME: u64 = 604_800 + 1;

/// A workload has no token for another flow.
pub const NONE: u32 = u32::MAX;

/// The key of the row number `row` of the tokens of a link.
#[inline(always)]
const fn key(link: u32, row: u32) -> Key {
    [0, link as u64, 0, row as u64, tail(0, 0, 0, 6) | NO_PACKET | QUOTA]
}

/// Looks for a token for the flow that a packet begins, and notes its place. [`NONE`] if there is none; else
/// any other number.
///
/// `row` is [`look`]: in the kernel, a function of its own.
#[inline(always)]
pub fn admit<C: Flows>(
    cells: &C,
    packet: &Packet,
    tracked: &mut Tracked,
    row: impl Fn(&Packet, &mut Tracked, u32) -> u32,
) -> u32 {
    tracked.token = 0;
    let Some(settings) = cells.settings() else { return NONE };
    let quota = settings.quota;
    if quota == 0 || !packet.link_has(link::flag::WORKLOAD) {
        return 0;
    }
    let rows = (quota - 1) / QUOTA_TOKENS + 1;
    let hash = flow::hash(tracked.key, settings.seed);
    let start = (hash >> 32) as u32;
    let mut at = 0;
    for _ in 0..TRIES {
        let found = row(packet, tracked, start.wrapping_add(at).checked_rem(rows).unwrap_or(0));
        if found != NONE {
            return found;
        }
        at = cells.blur(u64::from(at + 1)) as u32 & 15;
        if at >= rows {
            break;
        }
    }
    NONE
}

/// [`admit`], with plain calls.
#[inline(always)]
pub fn admit_here<C: Flows>(cells: &C, packet: &Packet, tracked: &mut Tracked) -> u32 {
    admit(cells, packet, tracked, |packet, tracked, row| {
        look(cells, packet, tracked, row, |tracked, token, at| is_taken(cells, tracked, token, at))
    })
}

/// Looks for a free token in one row of a link's, which is made if it is not there. [`NONE`] if all are
/// taken.
///
/// `taken` is [`is_taken`]: in the kernel, a function of its own.
#[inline(always)]
pub fn look<C: Flows>(
    cells: &C,
    packet: &Packet,
    tracked: &mut Tracked,
    row: u32,
    taken: impl Fn(&mut Tracked, u64, u32) -> bool,
) -> u32 {
    let Some(settings) = cells.settings() else { return NONE };
    let now = cells.now();
    tracked.work[0] = key(packet.link(), row);
    let hash = flow::hash(tracked.work[0], settings.seed);
    let found = match table::find(cells, &tracked.work[0], hash) {
        0 => table::insert(cells, &tracked.work[0], hash, now, 0, |row| clear(row, now)),
        found => found,
    };
    let Some(tokens) = cells.flow(found.wrapping_sub(1)) else {
        // The table is full, or another processor makes the row at this moment: that is no reason to refuse.
        return 0;
    };
    tokens.set(word::SEEN, TIME << 32 | u64::from(now));
    let here = settings.quota.wrapping_sub(row.wrapping_mul(QUOTA_TOKENS)).min(QUOTA_TOKENS);
    let mut at = 0;
    for _ in 0..QUOTA_TOKENS {
        if at >= here {
            break;
        }
        if !taken(tracked, tokens.get(place(at)), found << 3 | at) {
            tracked.token = u64::from(found) << 3 | u64::from(at);
            return 0;
        }
        at = cells.blur(u64::from(at + 1)) as u32 & 7;
    }
    NONE
}

/// The word of a token.
#[inline(always)]
const fn place(at: u32) -> usize {
    // Behind the words that all rows have in common; the last three backwards, since what is masked may be
    // one more than there is, for all that Linux 6.1 knows.
    let at = at as usize & 7;
    if at < 4 { word::NEW_SOURCE + at } else { word::OCTETS + 4 - at }
}

/// Whether the flow of a token lives, which lies at `at` ([`mark`]).
#[inline(always)]
pub fn is_taken<C: Flows>(cells: &C, tracked: &mut Tracked, token: u64, at: u32) -> bool {
    let (seed, now) = (cells.settings().map_or(0, |row| row.seed), cells.now());
    let index = (token as u32).wrapping_sub(1);
    let tag = token >> 32;
    let slots = cells.slots(index / WAYS);
    let lives = slots.is_some_and(|row| row.get((index % WAYS) as usize) == slot::LIVE | tag);
    if !lives {
        return false;
    }
    let Some(row) = cells.flow(index) else { return false };
    // The flow may have ended and begun anew in the same row, by another token.
    if row.get(word::STATE) as u32 >> 8 != at & MARK {
        return false;
    }
    if !table::is_expired(&row, now) {
        return true;
    }
    // A flow lives as long as packets come from either side.
    let tail = row.get(word::TAIL);
    tracked.work[1] = reversed(leaving(&row, &[0, 0, 0, 0, tail]));
    let other = table::find(cells, &tracked.work[1], flow::hash(tracked.work[1], seed));
    cells.flow(other.wrapping_sub(1)).is_some_and(|row| !table::is_expired(&row, now))
}

/// What of a token's place its flow's row tells.
const MARK: u32 = 0xff_ffff;

/// The place of the token that a flow takes, as its row tells it beside its state.
#[inline(always)]
pub const fn mark(tracked: &Tracked) -> u64 {
    tracked.token & MARK as u64
}

/// Gives the token that was found to the row of a flow.
#[inline(always)]
pub fn take<C: Flows>(cells: &C, tracked: &Tracked, found: u32, hash: u64) {
    let tokens = cells.flow((tracked.token >> 3).wrapping_sub(1) as u32);
    if let Some(tokens) = tokens.filter(|_| tracked.token != 0 && found != 0) {
        tokens.set(place(tracked.token as u32), flow::tag(hash) << 32 | u64::from(found));
    }
}

#[inline(always)]
fn clear<W: Words>(row: &W, now: u32) {
    row.set(word::NEW_SOURCE, 0);
    row.set(word::NEW_SOURCE + 1, 0);
    row.set(word::NEW_DESTINATION, 0);
    row.set(word::NEW_DESTINATION + 1, 0);
    row.set(word::REWRITE, u64::from(kind::QUOTA));
    row.set(word::STATE, 0);
    row.set(word::SEEN, TIME << 32 | u64::from(now));
    row.set(word::WAY, 0);
    row.set(word::BACKEND, 0);
    row.set(word::OCTETS, 0);
}
