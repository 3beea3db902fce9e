//! Full tables: the real one where it is at hand, else made up in its likeness.

use crate::plain::Route;
use crate::{apply, used};
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader};
use thalweg_abi::{GroupId, VrfId};
use thalweg_image::sample::{self, SplitMix};
use thalweg_image::{Capacity, Limits, Memory, NoReaders, Writer};
use thalweg_wire::{Prefix4, Prefix6};

const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/prefixes.txt.gz");

fn tables() -> (Vec<Prefix4>, Vec<Prefix6>) {
    let Ok(file) = File::open(REAL) else {
        return (sample::table4(300_000, 1), sample::table6(80_000, 1));
    };
    let (mut table4, mut table6) = (Vec::new(), Vec::new());
    for line in BufReader::new(GzDecoder::new(file)).lines().map_while(Result::ok) {
        table4.extend(line.parse::<Prefix4>().ok());
        table6.extend(line.parse::<Prefix6>().ok());
    }
    (table4, table6)
}

/// Compares answers at the edges of prefixes and anywhere with the longest match in the RIB copy,
/// which the properties compare with the plainest way.
fn check<P: Route>(writer: &Writer, table: &[P], random: &mut SplitMix) {
    for _ in 0..20_000 {
        let prefix = table[random.below(table.len() as u64) as usize];
        let low = u128::from(random.next()) << 64 | u128::from(random.next());
        let within = prefix.first() + (low & (prefix.last() - prefix.first()));
        let edges = [prefix.first().wrapping_sub(1), prefix.last().wrapping_add(1)];
        for bits in [prefix.first(), prefix.last(), within, low].into_iter().chain(edges) {
            let address = P::address(bits);
            let right = P::longest(writer, VrfId(0), address);
            let group = right.map_or(GroupId::NONE, |(_, group)| group);
            let found = P::lookup(writer.memory(), VrfId(0), address);
            assert_eq!(found, group, "{address:?} has {right:?}");
        }
    }
}

/// Loads a table, changes some of it, takes it out again.
fn follow<P: Route>(writer: &mut Writer, table: &[P]) {
    let mut random = SplitMix(4);
    let start = used(writer);
    let mut group = |modulo| GroupId(random.below(modulo) as u16 + 1);
    let load = table.iter().map(|prefix| prefix.change(VrfId(0), group(256))).collect();
    assert!(apply(writer, load).failures.is_empty());
    let mut random = SplitMix(5);
    check(writer, table, &mut random);
    for _ in 0..2000 {
        let prefix = table[random.below(table.len() as u64) as usize];
        let group = GroupId(random.below(3) as u16);
        assert!(apply(writer, vec![prefix.change(VrfId(0), group)]).failures.is_empty());
    }
    check(writer, table, &mut random);
    let gone = table.iter().map(|prefix| prefix.change(VrfId(0), GroupId::NONE)).collect();
    assert!(apply(writer, gone).failures.is_empty());
    assert_eq!(used(writer), start);
}

#[test]
fn full_tables_answer_right_and_leave_no_trace() {
    let (table4, table6) = tables();
    let capacity = Capacity::for_limits(&Limits {
        ipv4_routes: table4.len() as u32,
        ipv6_routes: table6.len() as u32,
        ..crate::LIMITS
    });
    let mut writer = Writer::new(Memory::heap(&capacity), Box::new(NoReaders));
    follow(&mut writer, &table4);
    follow(&mut writer, &table6);
}

#[test]
fn made_up_tables_have_the_asked_size_and_order() {
    for count in [0, 1, 10, 1000, 50_000] {
        let (table4, table6) = (sample::table4(count, 1), sample::table6(count, 1));
        assert!(table4.len() == count && table4.is_sorted_by(|one, two| one < two));
        assert!(table6.len() == count && table6.is_sorted_by(|one, two| one < two));
    }
    assert_eq!(sample::table4(500, 9), sample::table4(500, 9));
    assert_ne!(sample::table4(500, 9), sample::table4(500, 10));
}
