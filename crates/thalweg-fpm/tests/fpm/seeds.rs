//! What fuzzing begins with, among it what zebra of FRR 8.4 sent to a listener.

use std::path::PathBuf;
use thalweg_fpm::frame::{FrameError, Frames};
use thalweg_fpm::table::{Size, Table};
use thalweg_model::fpm::Fpm;

/// A table that has taken the frames of a seed, what it passed on, and what was left.
fn take(name: &str) -> (Table, Fpm, Result<usize, String>) {
    let seeds = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/fpm");
    let (mut frames, mut table, mut told) = (Frames::default(), Table::default(), Fpm::default());
    frames.room().extend(std::fs::read(seeds.join(name)).unwrap());
    let end = loop {
        match frames.next_frame() {
            Ok(Some(frame)) => {
                table.take(frame).unwrap();
            }
            Ok(None) => break Ok(frames.pending()),
            Err(error) => break Err(error.to_string()),
        }
    };
    for update in table.changes(100).0 {
        assert!(told.apply(update));
    }
    (table, told, end)
}

#[test]
#[cfg(target_endian = "little")]
fn a_dump_as_zebra_sends_it() {
    let (table, told, end) = take("zebra-dump");
    assert_eq!(end, Ok(0));
    // The sixth frame is a connected prefix, which is the kernel's.
    assert_eq!(table.size(), Size { routes: 2, nexthops: 5, labels: 0 });
    let (key, route) = told.routes.first_key_value().unwrap();
    assert_eq!((key.prefix.to_string().as_str(), key.metric, key.table), ("20.0.0.0/24", 20, 254));
    assert_eq!((route.protocol.as_str(), route.object), ("bgp", Some(11)));
    assert!(told.nexthops.contains_key(&11));
}

#[test]
#[cfg(target_endian = "little")]
fn every_seed_is_what_it_says() {
    let (_, told, end) = take("routes");
    assert_eq!((end, told.routes.len(), told.nexthops.len()), (Ok(0), 3, 0));
    let (_, told, end) = take("lsps");
    assert_eq!((end, told.labels.keys().copied().collect::<Vec<_>>()), (Ok(0), vec![101]));
    assert_eq!((told.labels[&101].nexthops.len(), told.labels[&101].propagate), (2, Some(false)));
    let (_, told, end) = take("route-withdrawn");
    assert_eq!((end, told), (Ok(0), Fpm::default()));
    let (table, _, end) = take("cut");
    assert_eq!((end, table.size().routes), (Ok(20), 1));
    assert_eq!(take("protobuf").2, Err(FrameError::Type(2).to_string()));
}
