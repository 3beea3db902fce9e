//! What frames do to what was told.

use crate::words::{PORT, lsp, message, object, route};
use proptest::prelude::*;
use std::collections::BTreeMap;
use thalweg_fpm::read::ReadError;
use thalweg_fpm::table::Table;
use thalweg_model::fpm::{Fpm, FpmUpdate};
use thalweg_model::host::{NextHopObject, RouteKey, RouteKind};
use thalweg_netlink::message::{Messages, raw, route as wire};

/// A table and what it passed on.
#[derive(Default)]
struct Stage {
    table: Table,
    told: Fpm,
}

impl Stage {
    fn take(&mut self, octets: &[u8]) {
        assert_eq!(self.table.take(octets), Ok(Some(PORT)));
    }

    /// Passes on what there is; each update must be news. Returns what is asked for.
    fn pass_on(&mut self, limit: usize) -> Vec<RouteKey> {
        let mut all = Vec::new();
        while self.table.is_touched() {
            let (updates, asked) = self.table.changes(limit);
            for update in updates {
                assert!(self.told.apply(update.clone()), "no news: {update:?}");
            }
            assert!(asked.iter().all(|key| self.told.routes.contains_key(key)), "asked too early");
            all.extend(asked);
        }
        all
    }

    /// Prefixes with their objects.
    fn routes(&mut self) -> BTreeMap<String, Option<u32>> {
        self.pass_on(100);
        self.told.routes.iter().map(|(key, route)| (key.prefix.to_string(), route.object)).collect()
    }
}

/// An object is gone.
fn object_gone(port: u32, id: u32) -> Vec<u8> {
    let header = [raw::AF_INET, 0, 11, 0, 0, 0, 0, 0];
    message(port, raw::DELNEXTHOP, &header, &[(1, &id.to_ne_bytes())])
}

#[test]
fn routes_objects_and_labels_come_and_go() {
    let mut stage = Stage::default();
    stage.take(&object(PORT, 7, 1));
    stage.take(&route(PORT, raw::NEWROUTE, 1, 7));
    stage.take(&lsp(PORT, raw::NEWROUTE, 100, 200));
    assert_eq!(stage.pass_on(100).len(), 1);
    let (key, told) = stage.told.routes.first_key_value().unwrap();
    assert_eq!((key.prefix.to_string().as_str(), key.metric, key.table), ("10.0.1.0/24", 20, 254));
    assert_eq!((told.protocol.as_str(), told.object), ("bgp", Some(7)));
    assert!(matches!(&stage.told.nexthops[&7], NextHopObject::Single(hop) if hop.link == 2));
    let label = &stage.told.labels[&100];
    assert_eq!((label.protocol.as_str(), label.nexthops[0].labels.as_slice()), ("ldp", &[200][..]));
    stage.take(&[route(PORT, raw::DELROUTE, 1, 7), object_gone(PORT, 7)].concat());
    stage.take(&lsp(PORT, raw::DELROUTE, 100, 200));
    stage.pass_on(100);
    assert_eq!(stage.told, Fpm::default());
}

#[test]
fn a_route_that_is_taken_back_and_told_in_one_frame_never_leaves() {
    let mut stage = Stage::default();
    stage.take(&route(PORT, raw::NEWROUTE, 1, 7));
    stage.pass_on(100);
    let pair = [route(PORT, raw::DELROUTE, 1, 7), route(PORT, raw::NEWROUTE, 1, 8)].concat();
    stage.take(&pair);
    let (updates, _) = stage.table.changes(100);
    assert!(matches!(updates.as_slice(), [FpmUpdate::Route(_, route)] if route.object == Some(8)));
}

#[test]
fn bits_outside_of_a_prefix_do_not_make_another_route() {
    let mut stage = Stage::default();
    let header = [raw::AF_INET, 24, 0, 0, 254, 186, 0, 1, 0, 0, 0, 0];
    let metric = 20u32.to_ne_bytes();
    let list: &[(u16, &[u8])] = &[(1, &[10, 0, 1, 77]), (6, &metric), (30, &[7, 0, 0, 0])];
    stage.take(&message(PORT, raw::NEWROUTE, &header, list));
    let asked = stage.pass_on(10);
    assert!(stage.table.acknowledge(&asked[0], true).is_some());
    stage.take(&route(PORT, raw::DELROUTE, 1, 7));
    assert!(stage.routes().is_empty());
}

#[test]
fn octets_that_mean_nothing_are_no_news() {
    let mut stage = Stage::default();
    stage.take(&route(PORT, raw::NEWROUTE, 1, 7));
    stage.pass_on(10);
    let mut again = route(PORT, raw::NEWROUTE, 1, 7);
    // A flag of `struct rtmsg` behind the header of the message.
    again[16 + 9] = 0x40;
    stage.take(&again);
    assert_eq!(stage.table.changes(10).0, []);
}

#[test]
fn what_the_kernel_has_by_itself_is_passed_over() {
    let mut stage = Stage::default();
    let connected = |kind| {
        let header = [raw::AF_INET, 24, 0, 0, 254, 2, 0, 1, 0, 0, 0, 0];
        message(PORT, kind, &header, &[(1, &[10, 0, 1, 0]), (4, &2u32.to_ne_bytes())])
    };
    stage.take(&connected(raw::NEWROUTE));
    assert!(stage.routes().is_empty());
    stage.take(&route(PORT, raw::NEWROUTE, 1, 7));
    assert_eq!(stage.routes().len(), 1);
    stage.take(&connected(raw::NEWROUTE));
    assert!(stage.routes().is_empty(), "zebra follows the kernel's route now, and so do we");
    let by_source = {
        let header = [raw::AF_INET6, 64, 64, 0, 254, 186, 0, 1, 0, 0, 0, 0];
        message(PORT, raw::NEWROUTE, &header, &[(1, &[0x20; 16]), (2, &[0x20; 16])])
    };
    stage.take(&by_source);
    stage.take(&message(PORT, raw::NEWNEIGH, &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]));
    assert_eq!((stage.routes().len(), stage.table.others), (0, 2));
}

#[test]
fn blackholes_tables_and_labels_on_routes() {
    let mut stage = Stage::default();
    let red = 1000u32.to_ne_bytes();
    let hole = [raw::AF_INET6, 48, 0, 0, 0, 196, 0, 6, 0, 0, 0, 0];
    let to = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stage.take(&message(PORT, raw::NEWROUTE, &hole, &[(1, &to), (15, &red)]));
    let push = [12, 0, 1, 0, 0x00, 0x06, 0x40, 0x00, 0x00, 0x0c, 0x81, 0x00];
    let header = [raw::AF_INET, 16, 0, 0, 254, 186, 0, 1, 0, 0, 0, 0];
    let link = 2u32.to_ne_bytes();
    let list: &[(u16, &[u8])] =
        &[(1, &[10, 9, 0, 0]), (5, &[192, 0, 2, 1]), (4, &link), (21, &[1, 0]), (22, &push)];
    stage.take(&message(PORT, raw::NEWROUTE, &header, list));
    stage.pass_on(100);
    let mut routes = stage.told.routes.iter();
    let (key, route) = routes.next().unwrap();
    assert_eq!((key.table, route.nexthops[0].labels.as_slice()), (254, &[100, 200][..]));
    let (key, route) = routes.next().unwrap();
    assert_eq!((key.table, key.prefix.to_string().as_str()), (1000, "2001:db8:1::/48"));
    assert_eq!((route.kind, route.protocol.as_str()), (RouteKind::Blackhole, "static"));
}

#[test]
fn a_new_connection_takes_nothing_away_until_it_is_swept() {
    let mut stage = Stage::default();
    stage.table.begin();
    for n in 0..3 {
        stage.take(&object(PORT, n.into(), 1));
        stage.take(&route(PORT, raw::NEWROUTE, n, n.into()));
        stage.take(&lsp(PORT, raw::NEWROUTE, 100 + u32::from(n), 200));
    }
    assert_eq!(stage.routes().len(), 3);
    stage.table.begin();
    assert_eq!((stage.routes().len(), stage.table.stale()), (3, 9));
    stage.take(&object(PORT, 1, 1));
    stage.take(&route(PORT, raw::NEWROUTE, 1, 1));
    stage.take(&lsp(PORT, raw::NEWROUTE, 101, 200));
    assert_eq!(stage.table.changes(100).0, [], "told again as it was");
    assert_eq!((stage.routes().len(), stage.table.stale()), (3, 6));
    assert_eq!(stage.table.sweep(), 6);
    assert_eq!(stage.routes(), BTreeMap::from([("10.0.1.0/24".into(), Some(1))]));
    assert_eq!((stage.told.nexthops.len(), stage.told.labels.len()), (1, 1));
    assert_eq!((stage.table.stale(), stage.table.sweep()), (0, 0));
}

#[test]
fn objects_leave_after_the_routes_that_need_them() {
    let mut stage = Stage::default();
    stage.take(&object(PORT, 7, 1));
    (0..50).for_each(|n| stage.take(&route(PORT, raw::NEWROUTE, n, 7)));
    stage.pass_on(100);
    (0..50).for_each(|n| stage.take(&route(PORT, raw::DELROUTE, n, 7)));
    stage.take(&object_gone(PORT, 7));
    let mut gone = Vec::new();
    while stage.table.is_touched() {
        let (updates, _) = stage.table.changes(10);
        gone.push(updates.contains(&FpmUpdate::NextHopGone(7)));
    }
    assert_eq!(gone, [false, false, false, false, true]);
}

#[test]
fn each_route_is_asked_for_once_and_acknowledged_as_it_was_told() {
    let mut stage = Stage::default();
    (0..40).for_each(|n| stage.take(&route(PORT, raw::NEWROUTE, n, 7)));
    let asked = stage.pass_on(7);
    assert_eq!(asked.len(), 40);
    let told = route(PORT, raw::NEWROUTE, 3, 7);
    let told = wire::parse(&Messages(&told).next().unwrap()).unwrap();
    let key = told.destination.key(0);
    let answer = stage.table.acknowledge(&key, true).unwrap();
    let messages: Vec<_> = Messages(&answer).collect();
    assert!(Messages(&answer).is_whole() && messages.len() == 1);
    assert_eq!((messages[0].kind, messages[0].flags), (raw::NEWROUTE, raw::F_REQUEST));
    let flags = u32::from_ne_bytes(messages[0].body[8..12].try_into().unwrap());
    assert_eq!(flags, 0x4000, "RTM_F_OFFLOAD");
    let parsed = wire::parse(&messages[0]).unwrap();
    assert_eq!(parsed.destination, told.destination);
    assert_eq!(parsed.body().unwrap().route, told.body().unwrap().route);
}

#[test]
fn what_is_not_in_force_is_said_once_and_asked_for_again() {
    let mut stage = Stage::default();
    stage.take(&route(PORT, raw::NEWROUTE, 3, 7));
    let asked = stage.pass_on(10);
    let failed = stage.table.acknowledge(&asked[0], false).unwrap();
    let flags = u32::from_ne_bytes(failed[24..28].try_into().unwrap());
    assert_eq!(flags, 0x2000_0000, "RTM_F_OFFLOAD_FAILED");
    assert_eq!(stage.table.ask_again(10), asked);
    assert_eq!(stage.table.acknowledge(&asked[0], false), None, "said already");
    assert!(stage.table.acknowledge(&asked[0], true).is_some());
    assert!(stage.table.ask_again(10).is_empty());
    stage.take(&route(PORT, raw::DELROUTE, 3, 7));
    assert_eq!(stage.table.acknowledge(&asked[0], true), None, "gone by now");
}

#[test]
fn a_frame_with_one_message_that_makes_no_sense_does_nothing() {
    let good = route(PORT, raw::NEWROUTE, 1, 7);
    let bad: [(&str, Vec<u8>); 6] = [
        ("cut", good[..good.len() - 1].to_vec()),
        ("length", message(PORT, raw::NEWROUTE, &[2, 33, 0, 0, 254, 186, 0, 1, 0, 0, 0, 0], &[])),
        ("no family header", message(PORT, raw::NEWROUTE, &[2, 24], &[])),
        ("type", message(PORT, raw::NEWROUTE, &[2, 24, 0, 0, 254, 186, 0, 99, 0, 0, 0, 0], &[])),
        ("object without id", message(PORT, raw::NEWNEXTHOP, &[2, 0, 11, 0, 0, 0, 0, 0], &[])),
        ("no label", message(PORT, raw::NEWROUTE, &[28, 20, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0], &[])),
    ];
    for (name, bad) in bad {
        let mut table = Table::default();
        assert!(table.take(&[good.clone(), bad].concat()).is_err(), "{name}");
        assert!(!table.is_touched(), "{name}");
    }
    let error = Table::default().take(&[0; 5]).unwrap_err();
    assert_eq!(error, ReadError::Framing { len: 5 });
    assert_eq!(Table::default().take(&[]), Ok(None));
}

proptest! {
    #[test]
    fn octets_of_no_kind_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut table = Table::default();
        if table.take(&octets).is_err() {
            prop_assert!(!table.is_touched());
        }
    }

    #[test]
    fn frames_cut_or_changed_do_no_harm(
        which in 0usize..4, at in 0usize..120, value in any::<u8>(), len in 0usize..120,
    ) {
        let mut octets = [
            route(PORT, raw::NEWROUTE, 1, 7),
            object(PORT, 7, 1),
            lsp(PORT, raw::NEWROUTE, 100, 200),
            route(PORT, raw::DELROUTE, 1, 7),
        ][which].clone();
        if let Some(octet) = octets.get_mut(at) {
            *octet = value;
        }
        octets.truncate(len);
        let mut table = Table::default();
        let _ = table.take(&octets);
        let (_, asked) = table.changes(10);
        for key in asked {
            let answer = table.acknowledge(&key, true).unwrap();
            prop_assert!(Messages(&answer).is_whole());
        }
    }

    #[test]
    fn after_any_history_everything_was_passed_on(
        steps in prop::collection::vec((0u8..8, 0u16..6, 1u32..4), 1..60), limit in 1usize..5,
    ) {
        let mut stage = Stage::default();
        let mut model: BTreeMap<u16, (u32, bool)> = BTreeMap::new();
        for (step, n, id) in steps {
            match step {
                0..=2 => {
                    stage.take(&route(PORT, raw::NEWROUTE, n, id));
                    model.insert(n, (id, true));
                }
                3 => {
                    stage.take(&route(PORT, raw::DELROUTE, n, id));
                    model.remove(&n);
                }
                4 => stage.take(&object(PORT, id, n as u8)),
                5 => stage.take(&object_gone(PORT, id)),
                6 => {
                    stage.table.begin();
                    model.values_mut().for_each(|entry| entry.1 = false);
                }
                _ => {
                    stage.table.sweep();
                    model.retain(|_, entry| entry.1);
                }
            }
            if n % 2 == 0 {
                let (updates, _) = stage.table.changes(limit);
                for update in updates {
                    stage.told.apply(update);
                }
            }
        }
        stage.pass_on(limit);
        let told: BTreeMap<String, Option<u32>> = stage.routes();
        let wanted = model.iter().map(|(n, (id, _))| (format!("10.0.{n}.0/24"), Some(*id)));
        prop_assert_eq!(told, wanted.collect::<BTreeMap<_, _>>());
    }
}
