//! The flow table: a row for a key, found in one of two buckets, written by whoever claims its slot.

use super::key::Key;
use super::{Flows, InForce, Words};
use thalweg_abi::flow::{self, WAYS, kind, slot, state, word};

/// Buckets of a key's hash.
#[inline(always)]
fn buckets<C: Flows>(cells: &C, hash: u64) -> [u32; 2] {
    flow::buckets(hash, cells.masks() as u32)
}

/// The way that a key takes if it is free: a lookup reads its row beside its slot, not behind it.
#[inline(always)]
const fn preferred(hash: u64) -> u32 {
    // The highest bits of the half that chooses buckets: no table is so large that they do.
    hash as u32 >> (32 - WAYS.ilog2())
}

/// Bit 0 is set if a value below 2^63 is zero. Comparisons would be branches, on which the processor
/// guesses and the verifier multiplies.
#[inline(always)]
const fn is_zero(value: u64) -> u64 {
    value.wrapping_sub(1) >> 63
}

/// The ways of a bucket, a bit each, whose slots are this word where the mask has bits.
#[inline(always)]
fn ways<W: Words>(slots: &W, word: u64, mask: u64) -> u64 {
    let mut ways = 0;
    for way in 0..WAYS as usize {
        ways |= is_zero((slots.get(way) ^ word) & mask) << way;
    }
    ways
}

/// Bits of slot words that are looked at, without the highest, which no word has.
const ALL: u64 = u64::MAX >> 1;
/// The tag of slot words.
const TAG: u64 = slot::tag(u64::MAX);

/// Set bits of ways.
#[inline(always)]
const fn count(ways: u64) -> u32 {
    let pairs = ways - (ways >> 1 & 0x55);
    let nibbles = (pairs & 0x33) + (pairs >> 2 & 0x33);
    (nibbles + (nibbles >> 4)) as u32 & 15
}

/// The lowest of ways; [`WAYS`] if there is none.
#[inline(always)]
const fn lowest(ways: u64) -> u32 {
    count((ways & ways.wrapping_neg()).wrapping_sub(1) & 0xff)
}

/// The row of a key, counted from 1; 0 if there is none. Rows that have outlived their time are found as
/// well.
#[inline(always)]
pub fn find<C: Flows>(cells: &C, key: &Key, hash: u64) -> u32 {
    let [first, _] = buckets(cells, hash);
    let way = preferred(hash);
    let index = first * WAYS + way;
    let live = slot::LIVE | flow::tag(hash);
    let found = if cells.slots(first).is_some_and(|slots| slots.get(way as usize) == live)
        && cells.flow(index).is_some_and(|row| has_key(&row, key))
    {
        index + 1
    } else {
        cells.find_elsewhere(key, hash)
    };
    // One path for the verifier, wherever the row was.
    cells.blur(found.into()) as u32
}

/// As [`find`], in all ways of both buckets. Asked for by [`Flows::find_elsewhere`]: rare but for new flows.
#[inline(always)]
pub fn find_elsewhere<C: Flows>(cells: &C, key: &Key, hash: u64) -> u32 {
    let [first, second] = buckets(cells, hash);
    match find_in(cells, key, hash, first) {
        0 => find_in(cells, key, hash, second),
        found => found,
    }
}

#[inline(always)]
fn find_in<C: Flows>(cells: &C, key: &Key, hash: u64, bucket: u32) -> u32 {
    let Some(slots) = cells.slots(bucket) else { return 0 };
    let mut ways = ways(&slots, slot::LIVE | flow::tag(hash), ALL);
    for _ in 0..WAYS {
        ways = cells.blur(ways) & 0xff;
        if ways == 0 {
            break;
        }
        let index = bucket * WAYS + (lowest(ways) & (WAYS - 1));
        if cells.flow(index).is_some_and(|row| has_key(&row, key)) {
            return index + 1;
        }
        ways &= ways - 1;
    }
    0
}

#[inline(always)]
fn has_key<W: Words>(row: &W, key: &Key) -> bool {
    let mut other = 0;
    for (at, word) in key.iter().enumerate() {
        other |= row.get(at) ^ word;
    }
    other == 0
}

/// The row of a key that may be stamped with these tables. Its slot is only looked at where the key is not
/// in the row that it prefers.
#[inline(always)]
pub fn find_stamped<C: Flows>(
    cells: &C,
    key: &Key,
    hash: u64,
    in_force: InForce,
) -> Option<C::Row> {
    let [first, _] = flow::buckets(hash, in_force.mask);
    match cells.flow(first * WAYS + preferred(hash)) {
        Some(row) if is_stamped(&row, key, in_force.stamp) => Some(row),
        _ => cells.flow(cells.find_elsewhere(key, hash).wrapping_sub(1)),
    }
}

/// Whether a row is a key's and was stamped with these tables: then it is in use. Asked once more behind
/// other reads of the row, it says that those were of the same flow.
#[inline(always)]
pub fn is_stamped<W: Words>(row: &W, key: &Key, stamp: u64) -> bool {
    has_key(row, key) && row.get(word::STAMP) == stamp
}

/// Stamps a row in use. One that another processor takes out meanwhile is left without.
#[inline(always)]
pub fn stamp<C: Flows>(cells: &C, row: &C::Row, found: u32, hash: u64, stamp: u64) {
    row.set(word::STAMP, stamp);
    if !still_holds(cells, found, hash) {
        row.set(word::STAMP, 0);
    }
}

/// Whether the slot of a row that [`find`] has found is still the same flow's.
#[inline(always)]
fn still_holds<C: Flows>(cells: &C, found: u32, hash: u64) -> bool {
    let index = found.wrapping_sub(1);
    let slots = cells.slots(index / WAYS);
    slots.is_some_and(|slots| slots.get((index % WAYS) as usize) == slot::LIVE | flow::tag(hash))
}

/// Whether a row has outlived its time.
#[inline(always)]
pub fn is_expired<W: Words>(row: &W, now: u32) -> bool {
    let seen = row.get(word::SEEN);
    // Another processor's clock may be a second ahead.
    let idle = now.wrapping_sub(seen as u32) as i32;
    idle > 0 && idle as u32 > (seen >> 32) as u32
}

/// Writes a row for a key that has none. The number of the row, from 1; 0 if there is no room, or if
/// another processor writes the same key.
///
/// `fill` stores all words but the key's and the stamp, which comes last. Both of two processors that
/// write one key at once give up: at least one of them sees the other's claim, since each claims before
/// it looks.
#[inline(always)]
pub fn insert<C: Flows>(
    cells: &C,
    key: &Key,
    hash: u64,
    now: u32,
    stamped: u64,
    fill: impl FnOnce(&C::Row),
) -> u32 {
    let claimed = cells.blur(cells.take(hash, now).into()) as u32;
    let Some(row) = cells.flow(claimed.wrapping_sub(1)) else { return 0 };
    put(&row, key, fill);
    let found = cells.publish(claimed, hash);
    if found != 0 && stamped != 0 {
        stamp(cells, &row, found, hash, stamped);
    }
    found
}

/// Writes what a row says that was claimed.
#[inline(always)]
pub fn put<W: Words>(row: &W, key: &Key, fill: impl FnOnce(&W)) {
    row.set(word::STAMP, 0);
    for (at, value) in key.iter().enumerate() {
        row.set(at, *value);
    }
    fill(row);
}

/// Has the processor fetch what [`Home::claim_free`] of two hashes will read, and the rows that are claimed if
/// they are free: all at once. Rows first, since finding out where their pages are takes longest.
#[inline(always)]
pub fn fetch<C: Flows>(cells: &C, hashes: [u64; 2], mask: u32) {
    let buckets = hashes.map(|hash| flow::buckets(hash, mask));
    let row = |at: usize| cells.flow(buckets[at][0] * WAYS + preferred(hashes[at]));
    // Written out: Linux 6.1 refuses the loops that the compiler makes of them.
    let (one, other) = (row(0), row(1));
    look(one, word::STAMP);
    look(other, word::STAMP);
    let [[a, b], [c, d]] = buckets.map(|pair| pair.map(|bucket| cells.slots(bucket)));
    look(a, 0);
    look(b, 0);
    look(c, 0);
    look(d, 0);
}

/// Reads a word for the sake of having it near.
#[inline(always)]
fn look<W: Words>(words: Option<W>, at: usize) {
    if let Some(words) = words {
        words.get(at);
    }
}

/// Both buckets that a key may be in.
pub struct Home<S> {
    hash: u64,
    buckets: [u32; 2],
    slots: [S; 2],
}

impl<S: Words> Home<S> {
    /// Those of a hash.
    #[inline(always)]
    pub fn of<C: Flows<Slots = S>>(cells: &C, hash: u64, mask: u32) -> Option<Self> {
        let [first, second] = flow::buckets(hash, mask);
        let (Some(one), Some(other)) = (cells.slots(first), cells.slots(second)) else {
            return None;
        };
        Some(Self { hash, buckets: [first, second], slots: [one, other] })
    }

    /// How many rows with the tag of the hash there are or are being written. If both buckets are one, each
    /// is counted twice.
    #[inline(always)]
    fn tagged(&self) -> u32 {
        let tag = flow::tag(self.hash);
        count(ways(&self.slots[0], tag, TAG)) + count(ways(&self.slots[1], tag, TAG))
    }

    /// Whether nobody has written the key of the hash, nor writes it.
    #[inline(always)]
    pub fn has_none(&self) -> bool {
        self.tagged() == 0
    }

    /// Whether a row that was claimed is the only one that may be the key's.
    #[inline(always)]
    pub fn has_one(&self) -> bool {
        self.tagged() == if self.buckets[0] == self.buckets[1] { 2 } else { 1 }
    }

    /// A free row of the first bucket or of the emptier one, counted from 1; 0 if both are full.
    #[inline(always)]
    fn free(&self) -> u32 {
        let [first, second] = self.buckets;
        let free = [0, 1].map(|at: usize| ways(&self.slots[at], slot::EMPTY, ALL));
        let [in_first, in_second] = free.map(count);
        let takes_first = in_first > WAYS / 2 || in_first >= in_second;
        let (bucket, free) = if takes_first { (first, free[0]) } else { (second, free[1]) };
        if free == 0 {
            return 0;
        }
        let way = preferred(self.hash);
        let way = if free >> way & 1 != 0 { way } else { lowest(free) };
        bucket * WAYS + way + 1
    }

    /// Claims a free row: its number, from 1; 0 for none.
    #[inline(always)]
    pub fn claim_free<C: Flows<Slots = S>>(&self, cells: &C) -> u32 {
        let free = self.free();
        let index = cells.blur(free.wrapping_sub(1).into()) as u32;
        let pending = slot::PENDING | flow::tag(self.hash);
        let claimed =
            free != 0 && cells.claim(index / WAYS, (index % WAYS) as usize, slot::EMPTY, pending);
        if claimed { index + 1 } else { 0 }
    }

    /// [`stamp`] of a row in use.
    #[inline(always)]
    pub fn stamp<C: Flows<Slots = S>>(&self, cells: &C, row: &C::Row, found: u32, value: u64) {
        stamp(cells, row, found, self.hash, value);
    }

    /// Puts a claimed row in use, or gives it back.
    #[inline(always)]
    pub fn settle<C: Flows<Slots = S>>(&self, cells: &C, claimed: u32, in_use: bool) {
        let index = claimed.wrapping_sub(1);
        let word = if in_use { slot::LIVE | flow::tag(self.hash) } else { slot::EMPTY };
        if let Some(slots) = cells.slots(index / WAYS) {
            slots.set((index % WAYS) as usize, word);
        }
    }
}

/// Claims a slot for a hash: a free one of the first bucket or of the emptier one, else one whose flow has
/// outlived its time or that others need more. The number of its row, from 1; 0 for none.
///
/// Asked for by [`Flows::take`], as [`publish`] and [`weakest`].
#[inline(always)]
pub fn claim<C: Flows>(cells: &C, hash: u64, now: u32) -> u32 {
    let Some(home) = Home::of(cells, hash, cells.masks() as u32) else { return 0 };
    let (index, word) = match home.free() {
        0 => match cells.weakest(hash, now, 0) {
            0 => return 0,
            weak => ((weak >> 32) as u32 - 1, slot::LIVE | slot::tag(weak)),
        },
        free => (free - 1, slot::EMPTY),
    };
    let index = cells.blur(index.into()) as u32;
    let pending = slot::PENDING | flow::tag(hash);
    let claimed = cells.claim(index / WAYS, (index % WAYS) as usize, word, pending);
    if claimed { index + 1 } else { 0 }
}

/// Puts a row that was claimed and written in use, unless its key has another. The row's number, or 0.
#[inline(always)]
pub fn publish<C: Flows>(cells: &C, claimed: u32, hash: u64) -> u32 {
    let (tag, index) = (flow::tag(hash), claimed.wrapping_sub(1));
    let Some(home) = Home::of(cells, hash, cells.masks() as u32) else { return 0 };
    let alone = home.has_one() || is_alone(cells, hash, index);
    let Some(slots) = cells.slots(index / WAYS) else { return 0 };
    let word = if alone { slot::LIVE | tag } else { slot::EMPTY };
    slots.set((index % WAYS) as usize, word);
    if alone { claimed } else { 0 }
}

/// Whether no other slot holds or claims the key of a row. A function of its own: all but never called.
#[inline(never)]
fn is_alone<C: Flows>(cells: &C, hash: u64, index: u32) -> bool {
    let [first, second] = buckets(cells, hash);
    let mut at = 0;
    for _ in 0..2 * WAYS {
        let bucket = if at < WAYS { first } else { second };
        let other = bucket * WAYS + (at & (WAYS - 1));
        if other != index && has_key_of(cells, hash, other, index) {
            return false;
        }
        at = cells.blur(u64::from(at + 1)) as u32 & (2 * WAYS - 1);
    }
    true
}

/// Whether a slot holds or claims the key of another row.
#[inline(always)]
fn has_key_of<C: Flows>(cells: &C, hash: u64, other: u32, index: u32) -> bool {
    let tag = flow::tag(hash);
    let slots = cells.slots(other / WAYS);
    let word = slots.map_or(0, |slots| slots.get((other % WAYS) as usize));
    if slot::tag(word) != tag {
        return false;
    }
    let (Some(row), Some(own)) = (cells.flow(other), cells.flow(index)) else { return false };
    // What is being written may be the same key, which cannot be read yet.
    word == slot::PENDING | tag || has_key(&row, &[0, 1, 2, 3, 4].map(|at| own.get(at)))
}

/// A slot in two full buckets whose flow has outlived its time, or is half open or closing: its row from 1
/// (high half) and its tag, or 0. Only flows with a translated source are looked at, or only others, as
/// `nat` says ([`kind::NAT`] or 0): of those, both rows go together ([`super::nat::make_room`]). Needed by
/// full tables only.
#[inline(always)]
pub fn weakest<C: Flows>(cells: &C, hash: u64, now: u32, nat: u32) -> u64 {
    let [first, second] = buckets(cells, hash);
    let (mut at, mut found) = (0, 0);
    for _ in 0..2 * WAYS {
        let bucket = if at < WAYS { first } else { second };
        let (way, index) = (at & (WAYS - 1), bucket * WAYS + (at & (WAYS - 1)));
        let word = cells.slots(bucket).map_or(0, |slots| slots.get(way as usize));
        let row = if word & slot::LIVE != 0 { cells.flow(index) } else { None };
        if let Some(row) = row
            && row.get(word::REWRITE) as u32 & kind::NAT == nat
        {
            let place = u64::from(index + 1) << 32 | slot::tag(word);
            if is_expired(&row, now) {
                return place;
            }
            if is_weak(row.get(word::STATE) as u8, row.get(word::TAIL)) {
                found = place;
            }
        }
        at = cells.blur(u64::from(at + 1)) as u32 & (2 * WAYS - 1);
        found = cells.blur(found);
    }
    found
}

/// TCP or SCTP that is not established, or is no more; and what a frontend knows of a client.
#[inline(always)]
pub const fn is_weak(state: u8, tail: u64) -> bool {
    if tail & flow::NO_PACKET != 0 {
        return true;
    }
    let established = matches!(state, state::ESTABLISHED | state::FIN | state::FIN_BACK);
    super::state::is_connection((tail >> 8) as u8) && !established
}

/// Takes a row out.
#[inline(always)]
pub fn forget<C: Flows>(cells: &C, found: u32, hash: u64) {
    let index = found.wrapping_sub(1);
    let live = slot::LIVE | flow::tag(hash);
    if cells.claim(index / WAYS, (index % WAYS) as usize, live, slot::EMPTY)
        && let Some(row) = cells.flow(index)
    {
        // Whoever has taken the row meanwhile has it stamped again by the next packet.
        row.set(word::STAMP, 0);
    }
}
