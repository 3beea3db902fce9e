//! Time is told, never taken.

use crate::brain::tests::{HOST, config};
use crate::brain::{Brain, Event};
use std::time::{Duration, Instant};
use thalweg_model::{HostState, Update, host};

/// A brain with both links held for 5 s, unless they say otherwise, and a link that is up.
fn running(router: &str, link: &str) -> (Brain, host::Link) {
    let host: HostState = thalweg_netlink::file::from_yaml(HOST).unwrap();
    let eth1 = host.links[&3].clone();
    let mut brain = Brain::new("lan.yaml".into(), 7);
    brain.handle(files(router, link));
    brain.compiler.as_mut().unwrap().load_host(host);
    brain.handle(Event::HostComplete);
    (brain, eth1)
}

fn files(router: &str, link: &str) -> Event {
    let text = config("10.0.1.254").replace("[eth0, eth1]", &format!("[eth0, eth1]{link}"))
        + &format!(
            "---\napiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {{name: router}}\n\
             spec: {{burst: 7{router}}}\n"
        );
    let loaded = thalweg_config::parse(&[("lan.yaml".into(), text)]);
    assert!(loaded.is_ok(), "{:?}", loaded.problems);
    Event::Config(Box::new(loaded))
}

/// Tells of a link's states; how others see them, and what is told.
fn tell(brain: &mut Brain, link: &host::Link, ups: &[bool], now: Instant) -> (Vec<bool>, usize) {
    let update = |up: &bool| Update::Link(host::Link { up: *up, ..link.clone() });
    let (event, notes) = brain.screen(Event::Host(ups.iter().map(update).collect()), now);
    let Event::Host(updates) = &event else { panic!("{event:?}") };
    let up = |update: &Update| matches!(update, Update::Link(link) if link.up);
    let seen = updates.iter().map(up).collect();
    brain.handle(event);
    (seen, notes.len())
}

fn is_up(brain: &Brain) -> bool {
    brain.compiler.as_ref().unwrap().host_facts().links[&3].up
}

/// Lets time pass; whether the link is used then.
fn passes(brain: &mut Brain, now: Instant) -> bool {
    let event = brain.release(now);
    brain.handle(event);
    is_up(brain)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_link_that_comes_up_again_is_used_when_it_stayed_up() {
    let (mut brain, link) = running("", ", holdUp: 5s");
    let start = Instant::now();
    assert_eq!(tell(&mut brain, &link, &[true], start), (vec![true], 0), "it was never down");
    assert_eq!(tell(&mut brain, &link, &[false], start), (vec![false], 0));
    assert_eq!(brain.hold_ends(), None);
    assert_eq!(tell(&mut brain, &link, &[true], start), (vec![false], 1));
    assert_eq!(brain.hold_ends(), Some(start + 5 * SECOND));
    let left = |brain: &Brain, now| brain.holds.left(3, brain.compiler.as_ref().unwrap(), now);
    assert_eq!(left(&brain, start + 2 * SECOND - SECOND / 4), Some(4));
    // Other news of it neither ends nor renews the hold, and is not lost.
    let other = host::Link { mtu: 1400, ..link.clone() };
    assert_eq!(tell(&mut brain, &other, &[true], start + 2 * SECOND), (vec![false], 0));
    assert!(!passes(&mut brain, start + 5 * SECOND - SECOND / 1000));
    assert!(passes(&mut brain, start + 5 * SECOND));
    assert_eq!(brain.compiler.as_ref().unwrap().host_facts().links[&3].mtu, 1400);
    assert_eq!((brain.hold_ends(), left(&brain, start)), (None, None));
}

#[test]
fn each_flap_begins_anew() {
    let (mut brain, link) = running(", holdUp: 5s", "");
    let start = Instant::now();
    // Also within one batch of news.
    assert_eq!(tell(&mut brain, &link, &[false, true], start), (vec![false, false], 1));
    let later = start + 4 * SECOND;
    assert_eq!(tell(&mut brain, &link, &[false, true], later), (vec![false, false], 1));
    assert!(!passes(&mut brain, start + 6 * SECOND));
    tell(&mut brain, &link, &[false], start + 7 * SECOND);
    assert!(!passes(&mut brain, start + 60 * SECOND), "it is down");
    assert_eq!(brain.hold_ends(), None);
    tell(&mut brain, &link, &[true], start + 60 * SECOND);
    let gone = Event::Host(vec![Update::LinkGone(3)]);
    let (event, _) = brain.screen(gone, start + 61 * SECOND);
    brain.handle(event);
    assert_eq!(brain.hold_ends(), None, "a link that is gone waits for nothing");
    assert_eq!(tell(&mut brain, &link, &[true], later), (vec![true], 0), "another one, then");
}

#[test]
fn the_link_overrides_the_router_and_both_may_change_meanwhile() {
    let (mut brain, link) = running(", holdUp: 5s", ", holdUp: 0s");
    let start = Instant::now();
    assert_eq!(tell(&mut brain, &link, &[false, true], start), (vec![false, true], 0));
    brain.handle(files(", holdUp: 1m", ""));
    assert_eq!(tell(&mut brain, &link, &[false, true], start), (vec![false, false], 1));
    assert_eq!(brain.hold_ends(), Some(start + 60 * SECOND));
    brain.handle(files(", holdUp: 1m", ", holdUp: 2s"));
    assert_eq!(brain.hold_ends(), Some(start + 2 * SECOND));
    brain.handle(files("", ""));
    assert!(passes(&mut brain, start));
}

#[test]
fn what_is_not_held_passes_as_it_came() {
    let (mut brain, link) = running("", "");
    let start = Instant::now();
    assert_eq!(tell(&mut brain, &link, &[false, true], start), (vec![false, true], 0));
    let address = "10.0.1.254".parse().unwrap();
    let (event, _) = brain.screen(Event::Host(vec![Update::NeighborGone(3, address)]), start);
    assert!(matches!(event, Event::Host(updates) if updates == [Update::NeighborGone(3, address)]));
    assert!(matches!(brain.screen(Event::Overrun, start).0, Event::Overrun));
}
