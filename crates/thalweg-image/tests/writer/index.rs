//! The index over frontends and backends: whatever it was told it tells.

use crate::apply;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use thalweg_abi::service::{self, IndexWord, PROBES};
use thalweg_abi::{FrontendRow, TableId};
use thalweg_image::change::{Frontend, FrontendKey};
use thalweg_image::{BackendSet, Capacity, Change, Limits, Memory, NoReaders, SetId, Writer};

/// A writer with room for so many frontends, and the set of nobody.
fn writer(frontends: u32) -> Writer {
    let limits = Limits { links: 2, vrfs: 1, frontends, backends: 1, ..Limits::default() };
    let memory = Memory::heap(&Capacity::for_limits(&limits));
    let mut writer = Writer::new(memory, Box::new(NoReaders));
    let nobody = Change::Backends(SetId(0), BackendSet::default());
    assert!(apply(&mut writer, vec![nobody]).failures.is_empty());
    writer
}

fn key(number: u32) -> FrontendKey {
    FrontendKey::new(Ipv4Addr::from_bits(number.wrapping_mul(0x9e37_79b9)).into(), 80, 6)
}

fn add(number: u32) -> Change {
    Change::Frontend(key(number), Frontend::default())
}

/// Whether a reader finds a frontend, as programs look for it: no further than an empty cell.
fn finds(memory: &Memory, number: u32) -> bool {
    let (view, wanted) = (memory.in_force(), key(number));
    let hash = service::key(wanted.address, wanted.port, wanted.protocol);
    let mask = memory.cells(TableId::Index) - 1;
    let first = service::first_place(hash, mask);
    let places = (0..PROBES).map(|probe| first.wrapping_add(probe) & mask);
    let words = places.map(|place| IndexWord(view.u64(TableId::Index, place).unwrap()));
    let mut words = words.take_while(|word| !word.is_empty()).filter(|word| word.is_for(hash));
    words.any(|word| {
        let row: FrontendRow = view.row(TableId::Frontends, word.row()).unwrap();
        (row.address, row.port) == (wanted.address, wanted.port)
    })
}

#[test]
fn an_index_holds_what_tables_are_made_for() {
    // With the backend a power of two, so that the index is a quarter full; a part is kept for changes.
    let mut writer = writer((1 << 16) - 1);
    let count = 64_500;
    let applied = apply(&mut writer, (0..count).map(add).collect());
    assert!(applied.failures.is_empty(), "{} do not fit", applied.failures.len());
    let memory = writer.memory().clone();
    assert_eq!(memory.cells(TableId::Index), 1 << 18);
    assert!((0..count).all(|number| finds(&memory, number)));
    assert!(memory.audit().damages.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn readers_find_what_is_there_and_nothing_else(
        steps in prop::collection::vec((0u32..200, any::<bool>()), 0..400),
    ) {
        let mut writer = writer(63);
        let mut there: BTreeSet<u32> = BTreeSet::new();
        for (number, comes) in steps {
            if comes && (there.len() < 50 || there.contains(&number)) {
                prop_assert!(apply(&mut writer, vec![add(number)]).failures.is_empty());
                there.insert(number);
            } else {
                apply(&mut writer, vec![Change::RemoveFrontend(key(number))]);
                there.remove(&number);
            }
            let memory = writer.memory().clone();
            for other in 0..200 {
                prop_assert_eq!(finds(&memory, other), there.contains(&other), "{}", other);
            }
        }
    }
}
