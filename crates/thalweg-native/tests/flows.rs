//! The flow table: against a map that cannot be wrong, when it is full, and under many writers at once.

use std::collections::{HashMap, HashSet};
use std::sync::Barrier;
use std::sync::atomic::Ordering;
use thalweg_abi::TableId;
use thalweg_abi::flow::{WAYS, WORDS, hash, slot, state, tail, word};
use thalweg_core::Tables;
use thalweg_core::flow::{self, Flows, Key, Words, reversed};
use thalweg_image::sample::SplitMix;
use thalweg_image::{Capacity, Limits, Memory, NoReaders, Writer};
use thalweg_native::{CellsAt, MemoryCells};

const SEED: u64 = 0x1234_5678_9abc_def1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// A table with room for so many flows, in both directions.
fn table(flows: u32) -> MemoryCells {
    let memory = Memory::heap(&Capacity::for_limits(&Limits { flows, ..Limits::default() }));
    // The writer says how large the tables are.
    drop(Writer::new(memory.clone(), Box::new(NoReaders)));
    MemoryCells::new(memory)
}

fn cells(table: &MemoryCells) -> CellsAt<'_> {
    table.at(table.epoch())
}

/// A key of the fourth or sixth version of IP.
fn key(number: u32, protocol: u8) -> Key {
    let (number, ports) = (u64::from(number), 0x3039_0050 + number);
    match number % 3 {
        0 => [0x2001_0db8 << 32, number, 0x2001_0db8 << 32, 1, tail(ports, 0, protocol, 6)],
        _ => [0, 0x0a00_0000 + number, 0, 0x0a60_0001, tail(ports, 0, protocol, 4)],
    }
}

/// Puts a row for a key: its number, or 0. The row's words tell of the key, so that a mixture shows.
fn put(cells: &CellsAt<'_>, key: &Key, now: u32, lives: u32, state: u8) -> u32 {
    flow::insert(cells, key, hash(*key, SEED), now, cells.stamp(), |row| {
        row.set(word::NEW_SOURCE, key[1] ^ key[4]);
        row.set(word::STATE, state.into());
        row.set(word::SEEN, u64::from(lives) << 32 | u64::from(now));
        row.set(word::BACKEND, key[3] ^ key[4]);
    })
}

fn find(cells: &CellsAt<'_>, key: &Key) -> u32 {
    flow::find(cells, key, hash(*key, SEED))
}

fn stamped<'t>(cells: &CellsAt<'t>, key: &Key) -> Option<<CellsAt<'t> as Flows>::Row> {
    flow::find_stamped(cells, key, hash(*key, SEED), cells.in_force())
}

/// All rows in use, by key.
fn live(table: &MemoryCells) -> HashMap<Key, Vec<u32>> {
    let slots = table.memory().words(TableId::FlowSlots);
    let flows = table.memory().words(TableId::Flows);
    let mut rows: HashMap<Key, Vec<u32>> = HashMap::new();
    for (index, word) in slots.iter().enumerate() {
        let word = word.load(Ordering::Acquire);
        assert!(word == slot::EMPTY || word & slot::LIVE != 0, "slot {index} is left half written");
        if word == slot::EMPTY {
            continue;
        }
        let key: Key = std::array::from_fn(|at| flows[index * WORDS + at].load(Ordering::Acquire));
        assert_eq!(slot::tag(word), thalweg_abi::flow::tag(hash(key, SEED)), "tag of row {index}");
        rows.entry(key).or_default().push(index as u32 + 1);
    }
    rows
}

fn assert_whole(cells: &CellsAt<'_>, found: u32, key: &Key) {
    let row = cells.flow(found - 1).expect("a row that was found");
    assert_eq!(std::array::from_fn::<u64, 5, _>(|at| row.get(at)), *key);
    assert_eq!(row.get(word::NEW_SOURCE), key[1] ^ key[4]);
    assert_eq!(row.get(word::BACKEND), key[3] ^ key[4]);
}

#[test]
fn the_table_holds_what_a_map_holds() {
    let table = table(512);
    let cells = cells(&table);
    let mut random = SplitMix(1);
    let mut oracle: HashMap<Key, u32> = HashMap::new();
    for step in 0..60_000 {
        let key = key(random.below(600) as u32, TCP);
        match random.below(3) {
            0 => {
                let row = put(&cells, &key, 1, 100, state::ESTABLISHED);
                match oracle.get(&key) {
                    Some(_) => assert_eq!(row, 0, "step {step}: a second row for a key"),
                    None => assert_ne!(row, 0, "step {step}: no room with {} rows", oracle.len()),
                }
                oracle.entry(key).or_insert(row);
            }
            1 => {
                let found = find(&cells, &key);
                assert_eq!(found, oracle.get(&key).copied().unwrap_or(0), "step {step}");
                let stamped = stamped(&cells, &key);
                assert_eq!(stamped.is_some(), found != 0, "step {step}: by its stamp");
                assert!(stamped.is_none_or(|row| flow::is_stamped(&row, &key, cells.stamp())));
                if found != 0 {
                    assert_whole(&cells, found, &key);
                }
            }
            _ => {
                if let Some(found) = oracle.remove(&key) {
                    flow::take_out(&cells, found, hash(key, SEED));
                }
                assert_eq!(find(&cells, &key), 0, "step {step}");
            }
        }
    }
    let rows: HashMap<Key, u32> =
        live(&table).into_iter().map(|(key, rows)| (key, rows[0])).collect();
    assert_eq!(rows, oracle);
}

#[test]
fn a_row_outlives_its_time_by_no_second() {
    let table = table(64);
    let cells = cells(&table);
    let key = key(1, UDP);
    let found = put(&cells, &key, 1000, 60, state::NONE);
    let row = cells.flow(found - 1).expect("a row");
    // The second before: another processor's clock is behind.
    for now in [999, 1000, 1060] {
        assert!(!flow::is_expired(&row, now), "at {now}");
    }
    assert!(flow::is_expired(&row, 1061) && flow::is_expired(&row, 9000));
    row.set(word::SEEN, 60 << 32 | 1061);
    assert!(!flow::is_expired(&row, 1061), "a packet gives it its time back");
}

/// Fills a table with keys of one kind until nothing has gone in for long.
fn fill(cells: &CellsAt<'_>, from: u32, protocol: u8, state: u8) -> Vec<Key> {
    let (mut keys, mut refused) = (Vec::new(), 0);
    for number in from.. {
        let key = key(number, protocol);
        match put(cells, &key, 1000, 60, state) {
            0 => refused += 1,
            _ => {
                keys.push(key);
                refused = 0;
            }
        }
        if refused > 2000 {
            break;
        }
    }
    keys
}

#[test]
fn what_a_full_table_holds_stays_and_nothing_else_comes_in() {
    let table = table(128);
    let cells = cells(&table);
    let keys = fill(&cells, 0, TCP, state::ESTABLISHED);
    assert_eq!(keys.len() as u32, table.memory().cells(TableId::Flows), "every row is used");
    for number in 1_000_000..1_000_500 {
        assert_eq!(put(&cells, &key(number, TCP), 1000, 60, state::SYN), 0);
    }
    for key in &keys {
        assert_whole(&cells, find(&cells, key), key);
    }
    assert_eq!(live(&table).len(), keys.len());
}

#[test]
fn a_full_table_gives_up_half_open_flows_first() {
    let table = table(128);
    let cells = cells(&table);
    let established: Vec<Key> = (0..100).map(|number| key(number, TCP)).collect();
    for key in &established {
        assert_ne!(put(&cells, key, 1000, 60, state::ESTABLISHED), 0);
    }
    // A flood of SYN: it always finds room, and takes it from its like alone.
    for number in 1_000..10_000 {
        let key = key(number, TCP);
        let found = put(&cells, &key, 1000, 60, state::SYN);
        assert_ne!(found, 0, "flow {number}");
        assert_whole(&cells, find(&cells, &key), &key);
    }
    for key in &established {
        assert_whole(&cells, find(&cells, key), key);
    }
    let rows = live(&table);
    assert!(rows.values().all(|rows| rows.len() == 1));
    assert!(rows.len() as u32 > table.memory().cells(TableId::Flows) * 9 / 10);
}

#[test]
fn a_full_table_gives_up_flows_that_are_over() {
    let states = [state::CLOSED, state::RESET, state::NONE, state::SYN_ACK];
    for (protocol, over) in [TCP, SCTP].into_iter().flat_map(|number| states.map(|s| (number, s))) {
        let table = table(64);
        let cells = cells(&table);
        let keys = fill(&cells, 0, protocol, state::ESTABLISHED);
        let row = cells.flow(find(&cells, &keys[5]) - 1).expect("a row");
        row.set(word::STATE, over.into());
        let all = fill(&cells, 1_000_000, protocol, state::ESTABLISHED);
        assert_eq!(all.len(), 1, "after {over} of {protocol}");
        assert_eq!(find(&cells, &keys[5]), 0);
        assert_eq!(live(&table).len(), keys.len());
    }
}

#[test]
fn rows_that_have_outlived_their_time_are_used_again() {
    let table = table(64);
    let cells = cells(&table);
    let old = fill(&cells, 0, UDP, state::ESTABLISHED);
    assert_eq!(put(&cells, &key(1_000_000, UDP), 1060, 60, state::NONE), 0, "all live");
    let new: Vec<Key> = (2_000_000..2_000_020).map(|number| key(number, UDP)).collect();
    for key in &new {
        assert_ne!(put(&cells, key, 1061, 60, state::NONE), 0);
        assert_whole(&cells, find(&cells, key), key);
    }
    let rows = live(&table);
    assert_eq!(rows.len(), old.len());
    assert!(new.iter().all(|key| rows.contains_key(key)));
}

#[test]
fn one_key_never_has_two_rows_whoever_writes_it() {
    const WRITERS: u64 = 4;
    const ROUNDS: u32 = 400;
    let table = table(256);
    let barrier = Barrier::new(WRITERS as usize);
    let lookups = || {
        let cells = cells(&table);
        for (key, rows) in live(&table) {
            assert_eq!(rows.len(), 1, "rows of {key:?}");
            assert_eq!(find(&cells, &key), rows[0]);
            assert_whole(&cells, rows[0], &key);
        }
    };
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (table, barrier, lookups) = (&table, &barrier, &lookups);
            scope.spawn(move || {
                let cells = cells(table);
                let mut random = SplitMix(writer);
                for round in 0..ROUNDS {
                    barrier.wait();
                    // All write the same few keys in the same order, so that they meet.
                    for number in 0..40 {
                        let key = key(round % 5 * 1000 + number, TCP);
                        let found = put(&cells, &key, 1, 100, state::SYN);
                        if found != 0 && random.below(4) == 0 {
                            flow::take_out(&cells, found, hash(key, SEED));
                        }
                    }
                    if barrier.wait().is_leader() {
                        lookups();
                    }
                }
            });
        }
    });
}

#[test]
fn one_key_never_has_two_rows_in_a_full_table() {
    const WRITERS: u32 = 4;
    let table = table(64);
    let barrier = Barrier::new(WRITERS as usize);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let cells = cells(&table);
                for round in 0..200 {
                    barrier.wait();
                    for number in 0..200 {
                        let key = key(round * 50 + number, TCP);
                        if find(&cells, &key) == 0 {
                            put(&cells, &key, 1, 100, state::SYN);
                        }
                    }
                    if barrier.wait().is_leader() {
                        let rows = live(&table);
                        assert!(rows.values().all(|rows| rows.len() == 1), "round {round}");
                    }
                }
            });
        }
    });
}

#[test]
fn a_key_that_another_processor_is_writing_is_given_up() {
    let table = table(64);
    let cells = cells(&table);
    let key = key(1, UDP);
    let [first, second] = thalweg_abi::flow::buckets(hash(key, SEED), cells.masks() as u32);
    let pending = slot::PENDING | thalweg_abi::flow::tag(hash(key, SEED));
    for (bucket, way) in (0..8).flat_map(|way| [(first, way), (second, way)]) {
        assert!(cells.claim(bucket, way, slot::EMPTY, pending));
        assert_eq!(put(&cells, &key, 1, 60, state::NONE), 0, "while way {way} is written");
        assert_eq!(find(&cells, &key), 0);
        // What was written before the claim was seen counts for nothing.
        assert!(stamped(&cells, &key).is_none());
        assert!(cells.claim(bucket, way, pending, slot::EMPTY));
    }
    assert!(live(&table).is_empty(), "what was claimed is free again");
    assert_ne!(put(&cells, &key, 1, 60, state::NONE), 0);
}

#[test]
fn only_rows_in_use_are_stamped() {
    let table = table(64);
    let cells = cells(&table);
    let key = key(1, UDP);
    let hash = hash(key, SEED);
    let found = put(&cells, &key, 1, 60, state::NONE);
    let row = cells.flow(found - 1).expect("a row");
    assert!(flow::is_stamped(&row, &key, cells.stamp()));
    assert!(!flow::is_stamped(&row, &reversed(key), cells.stamp()));
    flow::take_out(&cells, found, hash);
    assert!(!flow::is_stamped(&row, &key, cells.stamp()), "taken out");
    flow::stamp(&cells, &row, found, hash, cells.stamp());
    assert!(!flow::is_stamped(&row, &key, cells.stamp()), "too late");
    assert!(stamped(&cells, &key).is_none());
}

#[test]
fn keys_of_one_direction_and_its_answers_differ_and_come_back() {
    for number in 0..100 {
        let key = key(number, UDP);
        assert_ne!(reversed(key), key);
        assert_eq!(reversed(reversed(key)), key);
    }
    let table = table(64);
    let cells = cells(&table);
    let key = key(1, UDP);
    let rows = [key, reversed(key)].map(|key| put(&cells, &key, 1, 60, state::NONE));
    assert_eq!(rows.iter().collect::<HashSet<_>>().len(), 2);
    assert_eq!([key, reversed(key)].map(|key| find(&cells, &key)), rows);
    assert!(rows.iter().all(|row| *row <= table.memory().cells(TableId::FlowSlots) * WAYS));
}
