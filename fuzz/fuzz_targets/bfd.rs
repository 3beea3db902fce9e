//! Any octets as BFD packets: no panic, nobody comes up without a key, and what is due ends.
//!
//! The input is a sequence of packets, each behind an octet that says how long it is and one that
//! says how much time passes before it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;
use thalweg_bfd::{Engine, Key, Settings, Wanted, engine};
use thalweg_model::intent::BfdAuthKind;

fn wanted(name: &str, peer: [u8; 4], key: Option<Key>) -> Wanted {
    Wanted {
        name: name.into(),
        link: 2,
        device: "eth0".into(),
        peer: IpAddr::from(peer),
        local: None,
        settings: Settings {
            transmit: 10_000,
            receive: 10_000,
            multiplier: 3,
            hold_up: 0,
            passive: false,
            key,
        },
        before: None,
    }
}

fuzz_target!(|data: &[u8]| {
    let mut engine = Engine::new(1);
    let key = Key::new(BfdAuthKind::MeticulousSha1, 1, b"nobody knows it");
    engine.set(&[wanted("open", [10, 0, 0, 2], None), wanted("shut", [10, 0, 0, 3], key)], 0);
    let (mut rest, mut now) = (data, 0);
    while let [len, pause, more @ ..] = rest {
        let (packet, after) = more.split_at(usize::from(*len).min(more.len()));
        rest = after;
        now += u64::from(*pause) * 1_000;
        if let Some(whole) = engine::checked(packet) {
            assert!(whole.len() >= 24 && packet.starts_with(whole));
        }
        for last in [2, 3] {
            let from = (2, IpAddr::from([10, 0, 0, last]));
            let _ = engine.receive(from, Some(255), packet, now);
            assert!(engine.receive(from, Some(254), packet, now).is_err());
        }
        let sent = engine.advance(now);
        // Answers to two packets, two changes, and two by the clock.
        assert!(sent.len() <= 6, "{}", sent.len());
        assert!(engine.due().is_none_or(|due| due > now));
        let shut = engine.entries().find(|(_, entry)| entry.wanted.name == "shut");
        assert!(shut.is_some_and(|(_, entry)| !entry.status().path && entry.received == 0));
    }
});
