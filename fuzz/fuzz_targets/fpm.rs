//! Any octets as what zebra sends over FPM: no panic, nothing of a frame that makes no sense, and
//! every acknowledgement whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg_fpm::frame::Frames;
use thalweg_fpm::table::Table;
use thalweg_model::fpm::Fpm;
use thalweg_netlink::message::Messages;

fuzz_target!(|data: &[u8]| {
    let (mut frames, mut table, mut told) = (Frames::default(), Table::default(), Fpm::default());
    frames.room().extend_from_slice(data);
    while let Ok(Some(frame)) = frames.next_frame() {
        let before = (table.size(), table.is_touched());
        if table.take(frame).is_err() {
            assert_eq!((table.size(), table.is_touched()), before);
            break;
        }
        // Passed on in small steps, each of which is news.
        let (updates, asked) = table.changes(3);
        for update in updates {
            assert!(told.apply(update));
        }
        for key in asked {
            assert!(told.routes.contains_key(&key));
            let answer = table.acknowledge(&key, true).expect("what is asked for is there");
            assert!(Messages(&answer).is_whole());
        }
    }
    table.begin();
    table.sweep();
    while table.is_touched() {
        table.changes(3).0.into_iter().for_each(|update| assert!(told.apply(update)));
    }
    assert_eq!(told, Fpm::default());
});
