//! What is exported, compared with what docs/metrics.md says is.

use super::super::snapshot::Device;
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thalweg_abi::{Counter, Kind, Reason, TableId, Verdict};
use thalweg_api::policy::PoliciesView;
use thalweg_api::view::{HookView, SessionsView};
use thalweg_image::Occupancy;
use thalweg_xdp::EventCounts;

const DOCUMENT: &str = include_str!("../../../../../docs/metrics.md");

/// A snapshot in which every family has a value; the names of its link and VRF are hostile.
fn full() -> Snapshot {
    let compiler = crate::brain::tests::compiled(crate::brain::tests::HOST);
    let mut links: Vec<_> = compiler.links().into_iter().filter(|link| link.ours).collect();
    links.truncate(1);
    links[0].name = "et\"h\\0\n".into();
    let hook = HookView { link: "eth0".into(), attached: true, ..HookView::default() };
    let device = Device { received: [1, 2, 3, 4], sent: [5, 6, 7, 8] };
    Snapshot {
        status: thalweg_api::view::StatusView {
            version: "0.1.0".into(),
            hooks: vec![hook],
            sessions: Some(SessionsView {
                dropped: BTreeMap::from([("ttl".into(), 3)]),
                ..SessionsView::default()
            }),
            ..Default::default()
        },
        counts: vec![(
            Verdict::new(Kind::Drop, Reason::ALL[20]),
            Counter { packets: 7, bytes: 700 },
        )],
        tables: vec![
            Occupancy { table: TableId::Links, used: 2, capacity: 4096, bytes: 8 },
            Occupancy { table: TableId::Flows, used: 0, capacity: 8192, bytes: 8 },
        ],
        devices: BTreeMap::from([(links[0].name.clone(), device)]),
        links,
        sessions: vec![SessionView { name: "spine-1".into(), ..SessionView::default() }],
        vrfs: compiler.vrfs(),
        events: EventCounts { taken: 5, left_out: 4, lost: 3 },
        policies: Some(PoliciesView {
            lines: 40,
            room: 65_536,
            closed: Vec::new(),
            hits: vec![PolicyHits {
                kind: "NetworkPolicy".into(),
                policy: "shop/db".into(),
                direction: "ingress".into(),
                rule: 1,
                hits: 9,
            }],
        }),
    }
}

fn exported() -> String {
    let record = Record::default();
    record.plan(12, Duration::from_millis(3), Some(1));
    record.plan(12, Duration::from_millis(3), None);
    let services = Services {
        rows: 8192,
        used: 9,
        flows: 4,
        translated: 1,
        nat: Nat {
            ports: 13_616,
            addresses: vec![Outside {
                address: "192.0.2.1".into(),
                flows: 3,
                most: 2,
                mappings: 1,
            }],
            left_out: 4,
        },
        services: vec![("shop/web".into(), 3)],
        backends: vec![BackendSums {
            service: "shop/web".into(),
            port: "http".into(),
            protocol: "TCP".into(),
            backend: "10.1.0.3:8080".into(),
            flows: 3,
            share: 0.5,
        }],
        left_out: [2, 7],
    };
    text(Arc::new(full()), Some(Arc::new(services)), &record).unwrap()
}

/// Families by name, with their type.
fn families(text: &str) -> BTreeSet<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let split = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    lines.filter_map(split).collect()
}

#[test]
fn the_document_lists_what_is_exported() {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `thalweg_"));
    let read = |line: &str| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let name = cells.next()?.trim_matches('`').to_owned();
        Some((name, cells.next()?.to_owned()))
    };
    let documented: BTreeSet<_> = rows.filter_map(read).collect();
    let suffixed = families(&exported()).into_iter().map(|(name, kind)| match &kind[..] {
        "counter" => (format!("{name}_total"), kind),
        "info" => (format!("{name}_info"), kind),
        _ => (name, kind),
    });
    let exported: BTreeSet<_> = suffixed.collect();
    let missing: Vec<_> = exported.difference(&documented).collect();
    let gone: Vec<_> = documented.difference(&exported).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not documented: {missing:?}\ngone: {gone:?}");
}

#[test]
fn names_of_links_cannot_forge_lines() {
    let text = exported();
    let line = text.lines().find(|line| line.starts_with("thalweg_link_up")).unwrap();
    assert!(line.contains(r#"link="et\"h\\0\n""#), "{line}");
    for line in text.lines() {
        assert!(line.starts_with("# ") || line.starts_with("thalweg_"), "{line}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn values_are_as_they_were() {
    let text = exported();
    for line in [
        "thalweg_link_received_octets_total{link=\"et\\\"h\\\\0\\n\"} 1",
        "thalweg_link_sent_drops_total{link=\"et\\\"h\\\\0\\n\"} 8",
        "thalweg_table_capacity{table=\"links\"} 4096.0",
        "thalweg_plans_total{result=\"refused\"} 1",
        "thalweg_plan_steps_unfit_total 1",
        "thalweg_plan_seconds_count 2",
        "thalweg_ready 0.0",
        "thalweg_flow_rows 8192.0",
        "thalweg_flow_rows_used 9.0",
        "thalweg_flows 4.0",
        "thalweg_flows_translated 1.0",
        "thalweg_nat_ports 13616.0",
        "thalweg_nat_ports_used{address=\"192.0.2.1\"} 2.0",
        "thalweg_nat_flows{address=\"192.0.2.1\"} 3.0",
        "thalweg_nat_mappings{address=\"192.0.2.1\"} 1.0",
        "thalweg_nat_addresses_left_out 4.0",
        "thalweg_table_used{table=\"flows\"} 9.0",
        "thalweg_service_flows{service=\"shop/web\"} 3.0",
        "thalweg_services_left_out 2.0",
        "thalweg_backends_left_out 7.0",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
    assert!(text.contains("plane=\"\",verdict=\"drop\""), "{text}");
    let backend = "{service=\"shop/web\",port=\"http\",protocol=\"TCP\",backend=\"10.1.0.3:8080\"}";
    assert!(text.contains(&format!("thalweg_backend_flows{backend} 3.0\n")), "{text}");
    assert!(text.contains(&format!("thalweg_backend_share{backend} 0.5\n")), "{text}");
    let without = super::text(Arc::new(full()), None, &Record::default()).unwrap();
    for family in ["flow_rows", "services_left_out", "backends_left_out"] {
        assert!(!without.contains(family), "{without}");
    }
}
