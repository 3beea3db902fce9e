//! Counts of a table and of frontends that the test makes.

use super::*;
use std::sync::atomic::Ordering;
use thalweg_abi::flow::{WORDS, slot, tail};
use thalweg_compile::service::{Backend, Empty, FrontendKey, Goal};
use thalweg_model::cluster::Protocol;
use thalweg_model::intent::Limits;

fn backend(id: u64, weight: u16) -> Backend {
    Backend {
        id,
        address: format!("10.1.0.{id}").parse().unwrap(),
        port: 8080,
        weight,
        node: None,
        local: false,
        terminating: false,
    }
}

fn frontend(name: &str, class: Class, backends: &[Backend]) -> Arc<Frontend> {
    let choice = Choice {
        backends: backends.into(),
        empty: Empty::Reject,
        masquerade: false,
        goal: Goal::Steady,
    };
    let address = "10.96.0.10".parse().unwrap();
    Arc::new(Frontend {
        key: FrontendKey { address, port: 80, protocol: Protocol::Tcp },
        service: ObjectName::new("shop", name),
        port_name: "http".into(),
        class,
        internal: choice.clone(),
        external: choice,
        ranges: Vec::new(),
        affinity: None,
    })
}

fn lent(frontends: Vec<Arc<Frontend>>) -> Lent {
    let limits = Limits { flows: 1024, ..Limits::default() };
    let memory = Memory::heap(&crate::plane::capacity(&limits));
    Lent { memory, frontends, ring: 251, nat: LentNat::default() }
}

/// Writes a row; its family octet and its kind say what it is.
fn put(lent: &Lent, at: usize, backend: u64, family: u8, kind: u32) {
    let mut row = [0; WORDS];
    row[word::TAIL] = tail(at as u32, 0, 6, family);
    row[word::REWRITE] = u64::from(kind);
    row[word::SEEN] = 60 << 32 | u64::from(cluster::clock());
    row[word::BACKEND] = backend;
    let words = &lent.memory.words(TableId::Flows)[at * WORDS..(at + 1) * WORDS];
    words.iter().zip(row).for_each(|(to, word)| to.store(word, Ordering::SeqCst));
    lent.memory.words(TableId::FlowSlots)[at].store(slot::LIVE | 1, Ordering::SeqCst);
}

#[test]
fn one_scan_counts_flows_by_service_and_backend() {
    let both = [backend(3, 1), backend(4, 3)];
    let lent = lent(vec![
        frontend("web", Class::NodePort, &both),
        frontend("web", Class::ClusterIp, &both),
        frontend("idle", Class::ClusterIp, &[]),
        frontend("pod", Class::HostPort, &[backend(9, 1)]),
    ]);
    put(&lent, 1, 3, 4, kind::SERVICE);
    put(&lent, 2, 3, 4, kind::SERVICE | kind::ANSWERS);
    put(&lent, 3, 4, 4, kind::SERVICE | kind::NAT);
    put(&lent, 4, 3, 4 | NO_PACKET as u8, kind::AFFINITY);
    put(&lent, 5, 0, 4, 0);
    // The number of a node, not of a backend.
    put(&lent, 6, 4, 4, kind::TUNNEL);
    let all = Services::count(&lent, &mut Shares::default());
    assert_eq!((all.used, all.flows, all.translated), (6, 4, 1));
    assert_eq!(all.rows, lent.memory.cells(TableId::Flows));
    assert_eq!(all.services, [("shop/idle".into(), 0), ("shop/web".into(), 2)]);
    let told: Vec<_> = all.backends.iter().map(|of| (&of.backend[..], of.flows)).collect();
    assert_eq!(told, [("10.1.0.3:8080", 1), ("10.1.0.4:8080", 1)]);
    let [one, three] = [all.backends[0].share, all.backends[1].share];
    assert!((one - 0.25).abs() < 0.01 && (one + three - 1.0).abs() < 1e-9, "{one} {three}");
}

#[test]
fn shares_are_computed_once_and_forgotten_with_their_backends() {
    let mut shares = Shares::default();
    let mut lent = lent(vec![frontend("web", Class::ClusterIp, &[backend(3, 1), backend(4, 1)])]);
    let first = Services::count(&lent, &mut shares);
    assert_eq!(shares.known.len(), 1);
    // What is known is not computed again, or this would not show.
    shares.known.values_mut().for_each(|known| *known = Arc::new([12.5, 87.5]));
    assert_eq!(Services::count(&lent, &mut shares).backends[0].share, 0.125);
    lent.ring = 509;
    let again = Services::count(&lent, &mut shares);
    assert!((again.backends[0].share - first.backends[0].share).abs() < 0.02, "another ring");
    lent.frontends.clear();
    Services::count(&lent, &mut shares);
    assert!(shares.known.is_empty());
}

#[test]
fn series_are_bounded_and_what_is_left_out_is_counted() {
    let some: Vec<_> = (1..=11).map(|id| backend(id, 1)).collect();
    let name = |number| format!("s{number:04}");
    let lent =
        lent((0..SERVICES + 3).map(|n| frontend(&name(n), Class::ClusterIp, &some)).collect());
    let all = Services::count(&lent, &mut Shares::default());
    assert_eq!((all.services.len(), all.backends.len()), (SERVICES, BACKENDS));
    assert_eq!(all.left_out, [3, (SERVICES * 11 - BACKENDS) as u64]);
    assert_eq!(all.services[0].0, "shop/s0000");
}
