//! The shelf: what came before the first fragment of its packet waits there ([`thalweg_abi::shelf`]).
//!
//! Of a fragment that is put there and a first that goes by at the same moment, at least one sees the other:
//! the first writes its row and then looks at the shelf, the other looks for that row once more when it is
//! there. Both have a store in between that processors keep in order.

use super::track::Tracked;
use super::{Flows, Words, table};
use crate::frame::Frame;
use thalweg_abi::flow::{hash, tag};
use thalweg_abi::shelf::{self, BOARD, BOARDS, MOST, PLACES, board, place};

/// The fragment waits for its first.
pub const KEPT: u32 = 1;
/// Its first has come meanwhile: it is to be decided anew.
pub const AGAIN: u32 = 2;
/// It cannot be kept: too large, the hook has no socket buffers, or others of its packet take their share.
pub const NO_PLACE: u32 = 0;

/// Places that are tried when other processors take them at the same time.
const TRIES: u32 = 4;

/// The hash of the key of a packet's fragments, in [`Tracked::quote`].
#[inline(always)]
fn hash_of<C: Flows>(cells: &C, tracked: &Tracked) -> u64 {
    hash(tracked.quote, cells.settings().map_or(0, |row| row.seed))
}

/// The board of a hash.
#[inline(always)]
const fn board_of(hash: u64) -> u32 {
    hash as u32 & (BOARDS - 1)
}

/// Fragments of a hash that wait. A function of its own: asked at two places.
#[inline(never)]
fn count<C: Flows>(cells: &C, hash: u64, now: u32) -> u32 {
    let Some(places) = cells.board(board_of(hash)) else { return 0 };
    let (mut at, mut found) = (board::FIRST, 0);
    for _ in 0..PLACES {
        found += u32::from(is_of(places.get(at), hash, now));
        at = cells.blur(at as u64 + 1) as usize & (BOARD - 1);
        found = cells.blur(found.into()) as u32;
    }
    found
}

/// Whether a frame of this hash lies at a place, and its first may still come.
#[inline(always)]
const fn is_of(word: u64, hash: u64, now: u32) -> bool {
    ((word ^ (place::KEPT | tag(hash))) & place::OF_PACKET == 0) & place::is_fresh(word, now)
}

/// Whether fragments of a first one's packet wait. Asked when its row is written.
#[inline(always)]
pub fn waits<C: Flows>(cells: &C, tracked: &Tracked) -> bool {
    let hash = hash_of(cells, tracked);
    let Some(places) = cells.board(board_of(hash)) else { return false };
    // In order with what whoever keeps one does; see above.
    let next = places.get(board::NEXT);
    let _ = cells.claim_place(board_of(hash), board::NEXT, next, next);
    count(cells, hash, cells.now()) != 0
}

/// Keeps a fragment that came by the hook of `device`: [`KEPT`], [`AGAIN`] or [`NO_PLACE`].
#[inline(always)]
pub fn keep<F: Frame, C: Flows>(frame: &F, cells: &C, tracked: &Tracked, device: u32) -> u32 {
    let (hash, now) = (hash_of(cells, tracked), cells.now());
    let at = match tracked.quote[4] {
        0 => 0,
        _ => cells.blur(claim(cells, hash, now).into()) as u32 & (BOARD as u32 - 1),
    };
    if at == 0 {
        return NO_PLACE;
    }
    let row = board_of(hash) * PLACES + at - board::FIRST as u32;
    let (Some(places), Some(row)) = (cells.board(board_of(hash)), cells.kept(row)) else {
        return NO_PLACE;
    };
    let octets = frame.copy_out(&row);
    if octets == 0 {
        places.set(at as usize, place::EMPTY);
        return NO_PLACE;
    }
    for (at, value) in tracked.quote.iter().enumerate() {
        row.set(at, *value);
    }
    row.set(shelf::word::DEVICE, device.into());
    row.set(shelf::word::OCTETS, octets.into());
    let (board, kept) = (board_of(hash), place::kept(tag(hash), now));
    let _ = cells.claim_place(board, at as usize, place::PENDING | tag(hash), kept);
    let found = table::find(cells, &tracked.quote, hash);
    let come = cells.flow(found.wrapping_sub(1)).is_some_and(|row| !table::is_expired(&row, now));
    if come && cells.claim_place(board, at as usize, kept, place::EMPTY) { AGAIN } else { KEPT }
}

/// Claims the next place of a hash's board; 0 for none. Whatever lies there is lost.
#[inline(never)]
fn claim<C: Flows>(cells: &C, hash: u64, now: u32) -> u32 {
    let board = board_of(hash);
    let Some(places) = cells.board(board) else { return 0 };
    if count(cells, hash, now) >= MOST {
        return 0;
    }
    for _ in 0..TRIES {
        let at = match cells.blur(places.get(board::NEXT)) as usize & (BOARD - 1) {
            0 => board::FIRST,
            at => at,
        };
        places.set(board::NEXT, at as u64 + 1);
        let before = places.get(at);
        let free = before & place::PENDING == 0;
        if free && cells.claim_place(board, at, before, place::PENDING | tag(hash)) {
            if before != place::EMPTY {
                let row = cells.kept(board * PLACES + at as u32 - 1);
                cells.lose(row.map_or(0, |row| row.get(shelf::word::OCTETS) as u32));
            }
            return at as u32;
        }
    }
    0
}

/// Lets the fragments that wait for this first one arrive again, behind it. False if its frame is lost over
/// that.
#[inline(always)]
pub fn release<F: Frame, C: Flows>(frame: &mut F, cells: &C, tracked: &Tracked) -> bool {
    let (hash, now) = (hash_of(cells, tracked), cells.now());
    if !frame.put_aside() {
        return true;
    }
    let mut at = board::FIRST as u32;
    for _ in 0..PLACES {
        let word = cells.board(board_of(hash)).map_or(0, |places| places.get(at as usize));
        if is_of(word, hash, now) {
            send(frame, cells, &tracked.quote, at | board_of(hash) << 8, word);
        }
        at = cells.blur(u64::from(at + 1)) as u32 & (BOARD as u32 - 1);
    }
    frame.take_back()
}

/// Lets the frame at a place (low octet) of a board arrive again, if its key is this one.
#[inline(always)]
fn send<F: Frame, C: Flows>(frame: &mut F, cells: &C, key: &super::Key, where_: u32, word: u64) {
    let (board, at) = (where_ >> 8, where_ & 0xff);
    let Some(row) = cells.kept(board * PLACES + at.saturating_sub(board::FIRST as u32)) else {
        return;
    };
    let mut other = 0;
    for (at, value) in key.iter().enumerate() {
        other |= row.get(at) ^ *value;
    }
    let pending = place::PENDING | word & 0xffff_ffff;
    if other != 0 || !cells.claim_place(board, at as usize, word, pending) {
        return;
    }
    let octets = row.get(shelf::word::OCTETS) as u32;
    if !frame.arrive(&row, octets, row.get(shelf::word::DEVICE) as u32) {
        cells.lose(octets);
    }
    if let Some(places) = cells.board(board) {
        places.set(at as usize, place::EMPTY);
    }
}
