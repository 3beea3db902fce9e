//! Packets that are for nobody, and sessions that come and go.

use super::*;
use thalweg_wire::bfd::Diagnostic;
use zerocopy::IntoBytes;

fn wanted(name: &str, link: u32, peer: &str) -> Wanted {
    let settings = Settings {
        transmit: 50_000,
        receive: 50_000,
        multiplier: 3,
        hold_up: 0,
        passive: false,
        key: None,
    };
    let (peer, device) = (peer.parse().unwrap(), format!("eth{link}"));
    Wanted { name: name.into(), link, device, peer, local: None, settings, before: None }
}

fn packet(state: State, mine: u32, yours: u32) -> Vec<u8> {
    let header = Bfd {
        version_diagnostic: Bfd::first(Diagnostic::NONE),
        state_flags: Bfd::second(state, 0),
        multiplier: 3,
        len: 24,
        my_discriminator: mine.into(),
        your_discriminator: yours.into(),
        desired_min_tx: 50_000.into(),
        required_min_rx: 50_000.into(),
        required_min_echo_rx: 0.into(),
    };
    header.as_bytes().to_vec()
}

fn one() -> (Engine, u32, (u32, IpAddr)) {
    let mut engine = Engine::new(1);
    engine.set(&[wanted("a", 7, "10.0.0.2")], 0);
    let id = engine.entries().next().unwrap().0;
    (engine, id, (7, "10.0.0.2".parse().unwrap()))
}

#[test]
fn what_contradicts_itself_is_malformed() {
    let good = packet(State::Down, 5, 0);
    assert_eq!(checked(&good), Some(&good[..]));
    let with = |at: usize, octet: u8| {
        let mut bad = good.clone();
        bad[at] = octet;
        checked(&bad).is_none()
    };
    assert!(with(0, 0x40) && with(0, 0), "another version");
    assert!(with(1, 0x41), "multipoint");
    assert!(with(1, 0xc0) && with(1, 0x80), "up, to nobody");
    assert!(with(1, 0x44), "no room for the authentication it claims");
    assert!(with(2, 0), "no multiplier");
    assert!(with(3, 23) && with(3, 25), "length");
    assert!(with(7, 0), "from nobody");
    assert!(checked(&good[..23]).is_none() && checked(&[]).is_none());
    let longer = [good.clone(), vec![0; 4]].concat();
    assert_eq!(checked(&longer), Some(&good[..]), "what stands behind does not count");
}

#[test]
fn a_packet_needs_a_session_its_neighbor_and_a_full_ttl() {
    let (mut engine, id, place) = one();
    let down = packet(State::Down, 5, 0);
    assert_eq!(engine.receive(place, Some(254), &down, 1), Err(Reason::Ttl));
    assert_eq!(engine.receive(place, None, &down, 1), Err(Reason::Ttl));
    assert_eq!(engine.receive((8, place.1), Some(255), &down, 1), Err(Reason::Unknown));
    let other = (7, "10.0.0.3".parse().unwrap());
    assert_eq!(engine.receive(other, Some(255), &down, 1), Err(Reason::Unknown));
    let to_us = packet(State::Up, 5, id);
    assert_eq!(engine.receive(other, Some(255), &to_us, 1), Err(Reason::Source));
    let to_nobody = packet(State::Up, 5, id ^ 1);
    assert_eq!(engine.receive(place, Some(255), &to_nobody, 1), Err(Reason::Unknown));
    assert_eq!(engine.entries[&id].status().state, State::Down);
    assert_eq!(engine.receive(place, Some(255), &down, 1), Ok(()));
    assert_eq!(engine.entries[&id].status().state, State::Init);
    let dropped: Vec<u64> = engine.dropped().map(|(_, count)| count).collect();
    assert_eq!(dropped, [2, 0, 3, 1, 0]);
}

#[test]
fn who_ends_a_session_tells_the_neighbor_for_a_while() {
    let (mut engine, id, place) = one();
    engine.receive(place, Some(255), &packet(State::Down, 5, 0), 1).unwrap();
    engine.receive(place, Some(255), &packet(State::Init, 5, id), 2).unwrap();
    engine.advance(3);
    assert!(engine.reports().iter().any(|report| report.status.path));
    engine.set(&[], 1_000);
    let sent = engine.advance(1_000);
    assert_eq!(sent.len(), 1);
    assert_eq!(Bfd::ref_from_bytes(&sent[0].octets).unwrap().state(), State::AdminDown);
    assert!(engine.entries().all(|(_, entry)| !entry.is_wanted()));
    engine.advance(4_000_000);
    assert_eq!((engine.entries().count(), engine.due(), engine.addresses.len()), (0, None, 0));
}

#[test]
fn a_session_that_comes_back_takes_the_place_of_the_one_that_leaves() {
    let (mut engine, id, _) = one();
    engine.set(&[], 1_000);
    engine.set(&[wanted("b", 7, "10.0.0.2")], 2_000);
    let all: Vec<_> = engine.entries().map(|(id, entry)| (id, entry.wanted.name.clone())).collect();
    assert_eq!(all.len(), 1);
    assert!(all[0].0 != id && all[0].1 == "b");
    engine.set(&[wanted("b", 7, "10.0.0.9"), wanted("c", 7, "10.0.0.2")], 3_000);
    assert_eq!(engine.entries().filter(|(_, entry)| entry.is_wanted()).count(), 2);
}

#[test]
fn other_settings_keep_the_session() {
    let (mut engine, id, _) = one();
    let mut next = wanted("a", 7, "10.0.0.2");
    next.settings.transmit = 10_000;
    engine.set(&[next], 5);
    assert_eq!(engine.entries().map(|(id, _)| id).collect::<Vec<_>>(), [id]);
}

#[test]
fn numbers_come_back_from_before_unless_they_are_taken() {
    let before = Remembered {
        discriminator: 99,
        remote_discriminator: 0,
        remote: Default::default(),
        sequence: 1,
        anchor: None,
        path: true,
    };
    let mut engine = Engine::new(1);
    let mut all = [wanted("a", 7, "10.0.0.2"), wanted("b", 7, "10.0.0.3")];
    all.iter_mut().for_each(|wanted| wanted.before = Some(before));
    engine.set(&all, 0);
    assert_eq!(engine.entries().count(), 2);
    assert!(engine.entries().any(|(id, _)| id == 99));
}

#[test]
fn where_sequence_numbers_go_on_is_reported_when_it_changes() {
    let mut engine = Engine::new(1);
    let mut keyed = wanted("a", 7, "10.0.0.2");
    keyed.settings.key = crate::Key::new(thalweg_model::intent::BfdAuthKind::Sha1, 1, b"k");
    engine.set(&[keyed], 0);
    let news = |engine: &mut Engine| engine.reports().iter().map(|r| r.news).collect::<Vec<_>>();
    assert_eq!(news(&mut engine), [true]);
    engine.advance(1);
    assert_eq!(news(&mut engine), [false], "the first packet");
    engine.advance(2_000_000);
    assert!(news(&mut engine).is_empty(), "the next one follows the clock");
}
