//! A table that changes between looks.

use super::*;
use std::sync::atomic::Ordering;
use thalweg_abi::TableId;
use thalweg_abi::flow::{slot, tail};
use thalweg_compile::service::{Backend, Choice, Class, Empty, FrontendKey, Goal};
use thalweg_model::cluster::Protocol;
use thalweg_model::intent::Limits;

struct Lab {
    scene: Scene,
    follower: Follower,
}

impl Lab {
    fn new(state: Option<&str>) -> Self {
        let limits = Limits { flows: 1024, ..Limits::default() };
        let scene = Scene {
            memory: Memory::heap(&crate::plane::capacity(&limits)),
            frontends: Vec::new(),
            links: BTreeMap::new(),
            addresses: None,
            service: None,
        };
        let wanted = FlowFollow { state: state.map(Into::into), ..FlowFollow::default() };
        Self { scene, follower: Follower::new(&wanted) }
    }

    fn put(&self, at: usize, port: u32, state: u8, octets: u64) {
        self.put_kind(at, port, state, octets, 0);
    }

    fn put_kind(&self, at: usize, port: u32, state: u8, octets: u64, kind: u32) {
        let mut row = [0; WORDS];
        row[word::SOURCE + 1] = 0x0a00_0002;
        row[word::DESTINATION + 1] = 0x0a00_0003;
        row[word::NEW_SOURCE..word::REWRITE].copy_from_slice(&[0, 0x0a00_0002, 0, 0x0a00_0003]);
        row[word::TAIL] = tail(port << 16 | 80, 0, 6, 4);
        row[word::REWRITE] = u64::from(port << 16 | 80) << 32 | u64::from(kind);
        row[word::STATE] = u64::from(state);
        row[word::OCTETS] = octets;
        row[word::SEEN] = 60 << 32 | u64::from(cluster::clock());
        let words = &self.scene.memory.words(TableId::Flows)[at * WORDS..(at + 1) * WORDS];
        words.iter().zip(row).for_each(|(to, word)| to.store(word, Ordering::SeqCst));
        self.slot(at, slot::LIVE | 1);
    }

    fn slot(&self, at: usize, word: u64) {
        self.scene.memory.words(TableId::FlowSlots)[at].store(word, Ordering::SeqCst);
    }

    /// What a look tells, in short.
    fn look(&mut self) -> Vec<String> {
        let page = self.follower.look(&self.scene, "now");
        let line = |change: FlowChange| {
            let FlowChange { change, before, flow, .. } = change;
            let before = before.map(|before| format!("{before} to ")).unwrap_or_default();
            format!("{change} {} {before}{}", flow.source, flow.state)
        };
        page.changes.into_iter().map(line).collect()
    }
}

#[test]
fn what_begins_changes_and_ends_is_told_once() {
    let mut lab = Lab::new(None);
    lab.put(3, 1, state::ESTABLISHED, 9);
    assert!(lab.look().is_empty(), "what is there at first is no news");
    lab.put(4, 2, state::SYN, 0);
    lab.put_kind(5, 2, state::SYN, 0, kind::ANSWERS);
    assert_eq!(lab.look(), ["begun 10.0.0.2:2 syn-sent"]);
    assert!(lab.look().is_empty());
    lab.put(4, 2, state::ESTABLISHED, 100);
    assert_eq!(lab.look(), ["changed 10.0.0.2:2 syn-sent to established"]);
    // It moves to another row: nothing has happened to it.
    lab.slot(4, slot::EMPTY);
    lab.put(8, 2, state::ESTABLISHED, 110);
    assert!(lab.look().is_empty());
    lab.slot(8, slot::EMPTY);
    lab.put(9, 3, state::SYN, 0);
    assert_eq!(lab.look(), ["ended 10.0.0.2:2 established", "begun 10.0.0.2:3 syn-sent"]);
    // Another one in the row of one that went, and one that outlived its time.
    lab.put(9, 4, state::SYN, 0);
    lab.scene.memory.words(TableId::Flows)[3 * WORDS + word::SEEN].store(0, Ordering::SeqCst);
    let mut told = lab.look();
    told.sort();
    let ended = ["ended 10.0.0.2:1 established", "ended 10.0.0.2:3 syn-sent"];
    assert_eq!(told, [&["begun 10.0.0.2:4 syn-sent"], &ended[..]].concat());
}

#[test]
fn a_flow_that_counts_from_nothing_is_another_one() {
    let mut lab = Lab::new(None);
    lab.put(3, 1, state::CLOSED, 900);
    lab.look();
    lab.put(3, 1, state::SYN, 0);
    assert_eq!(lab.look(), ["ended 10.0.0.2:1 closed", "begun 10.0.0.2:1 syn-sent"]);
}

#[test]
fn only_flows_in_the_wanted_state_are_told() {
    let mut lab = Lab::new(Some("established"));
    lab.look();
    lab.put(3, 1, state::SYN, 0);
    assert!(lab.look().is_empty());
    lab.put(3, 1, state::ESTABLISHED, 9);
    assert_eq!(lab.look(), ["changed 10.0.0.2:1 syn-sent to established"]);
    lab.put(3, 1, state::RESET, 99);
    assert!(lab.look().is_empty());
}

#[test]
fn addresses_and_backends_choose_what_is_followed() {
    let mut lab = Lab::new(None);
    lab.scene.addresses = Some(HashSet::from(["10.0.0.9".parse().unwrap()]));
    lab.look();
    lab.put(3, 1, state::SYN, 0);
    assert!(lab.look().is_empty());
    lab.scene.addresses = Some(HashSet::from(["10.0.0.3".parse().unwrap()]));
    assert_eq!(lab.look(), ["begun 10.0.0.2:1 syn-sent"]);
    lab.scene.service = Some(ObjectName::new("shop", "web"));
    assert_eq!(lab.look(), ["ended 10.0.0.2:1 syn-sent"], "it has no backend of the service");
}

/// A frontend of `shop/web` with one backend of this number.
fn frontend(class: Class, id: u64) -> Arc<Frontend> {
    let backend = Backend {
        id,
        address: "10.0.0.3".parse().unwrap(),
        port: 80,
        weight: 1,
        node: None,
        local: true,
        terminating: false,
    };
    let choice = Choice {
        backends: [backend].into(),
        empty: Empty::Reject,
        masquerade: false,
        goal: Goal::Steady,
    };
    let address = "10.96.0.10".parse().unwrap();
    Arc::new(Frontend {
        key: FrontendKey { address, port: 80, protocol: Protocol::Tcp },
        service: ObjectName::new("shop", "web"),
        port_name: "http".into(),
        class,
        internal: choice.clone(),
        external: choice,
        ranges: Vec::new(),
        affinity: None,
    })
}

#[test]
fn flows_of_a_service_are_told_and_not_those_of_a_pod_of_its_name() {
    let mut lab = Lab::new(None);
    lab.scene.frontends = vec![frontend(Class::ClusterIp, 7), frontend(Class::HostPort, 8)];
    lab.scene.service = Some(ObjectName::new("shop", "web"));
    lab.look();
    for (at, backend) in [(3, 7), (4, 8), (5, 9), (6, 0)] {
        lab.put(at, at as u32, state::SYN, 0);
        let words = lab.scene.memory.words(TableId::Flows);
        words[at * WORDS + word::BACKEND].store(backend, Ordering::SeqCst);
    }
    let page = lab.follower.look(&lab.scene, "now");
    let told: Vec<_> = page.changes.iter().map(|c| (&c.flow.source[..], &c.flow.service)).collect();
    assert_eq!(told, [("10.0.0.2:3", &Some("shop/web".to_owned()))]);
}

#[test]
fn memory_is_bounded_and_what_does_not_fit_is_counted() {
    let mut lab = Lab::new(None);
    lab.follower.most = 2;
    (0..5).for_each(|at| lab.put(at, at as u32, state::SYN, 0));
    assert!(lab.look().is_empty());
    assert_eq!((lab.follower.left_out, lab.follower.known.len()), (3, 2));
    // There is room for some: that they were there before is known, that they are new is not.
    (0..2).for_each(|at| lab.slot(at, slot::EMPTY));
    assert_eq!(lab.look().len(), 2, "both that were known have ended");
    assert_eq!(lab.look(), Vec::<String>::new());
    assert_eq!((lab.follower.left_out, lab.follower.known.len()), (1, 2));
    lab.slot(2, slot::EMPTY);
    lab.slot(3, slot::EMPTY);
    lab.look();
    lab.look();
    assert_eq!(lab.follower.left_out, 0);
    lab.put(9, 9, state::SYN, 0);
    assert_eq!(lab.look(), ["begun 10.0.0.2:9 syn-sent"]);
}
