//! Tests of the mirror with messages made by hand: what cannot be staged on a kernel at will.

use super::*;
use crate::message::{Messages, request};
use std::net::Ipv4Addr;
use thalweg_model::HostState;

/// A mirror and what it told.
#[derive(Default)]
struct Stage {
    mirror: Mirror,
    host: HostState,
}

/// `struct rtmsg` and attributes of an IPv4 route through link 3.
fn route(kind: u16, flags: u16, prefix: [u8; 4], via: [u8; 4]) -> Vec<u8> {
    let header = [raw::AF_INET, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    request(kind, flags, 0, &header, &[(1, &prefix), (5, &via), (4, &3u32.to_ne_bytes())])
}

/// A route with a next hop object.
fn route_by_object(prefix: [u8; 4], id: u32) -> Vec<u8> {
    let header = [raw::AF_INET, 24, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    request(raw::NEWROUTE, 0, 0, &header, &[(1, &prefix), (30, &id.to_ne_bytes())])
}

fn nexthop(kind: u16, flags: u16, id: u32) -> Vec<u8> {
    let link = 3u32.to_ne_bytes();
    request(
        kind,
        flags,
        0,
        &[raw::AF_INET, 0, 0, 0, 0, 0, 0, 0],
        &[(1, &id.to_ne_bytes()), (5, &link)],
    )
}

impl Stage {
    fn event(&mut self, octets: &[u8], how: How) {
        for message in Messages(octets) {
            self.mirror.event(&message, how);
        }
    }

    fn list(&mut self, listing: Listing, octets: &[Vec<u8>]) {
        self.mirror.begin();
        for message in octets.iter().flat_map(|o| Messages(o)) {
            self.mirror.listed(&message, listing);
        }
        self.mirror.end(listing);
    }

    fn tell(&mut self) -> Vec<Update> {
        let updates = self.mirror.changes(usize::MAX);
        for update in updates.clone() {
            assert!(self.host.apply(update.clone()), "no news: {update:?}");
        }
        assert!(!self.mirror.is_touched());
        updates
    }

    /// Gateways by prefix and instance, as told.
    fn told(&mut self) -> Vec<String> {
        self.tell();
        let hop = |route: &thalweg_model::host::Route| match route.object {
            Some(id) => format!("object {id}"),
            None => route.nexthops[0].via.unwrap().to_string(),
        };
        let routes = self.host.routes.iter();
        routes.map(|(key, route)| format!("{} {}", key.prefix, hop(route))).collect()
    }
}

const ALL4: Scope = Scope { v4: true, table: None, link: None };
const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const C: [u8; 4] = [10, 0, 0, 3];
const NET: [u8; 4] = [10, 1, 0, 0];

#[test]
fn a_listing_takes_away_what_it_does_not_show() {
    let mut stage = Stage::default();
    let other = [10, 2, 0, 0];
    let first = [route(raw::NEWROUTE, 0, NET, A), route(raw::NEWROUTE, 0, other, A)];
    stage.list(Listing::Routes(ALL4), &first);
    assert_eq!(stage.told(), ["10.1.0.0/24 10.0.0.1", "10.2.0.0/24 10.0.0.1"]);
    stage.list(Listing::Routes(ALL4), &first);
    assert!(stage.tell().is_empty(), "nothing is new");
    stage.list(Listing::Routes(ALL4), &first[1..]);
    assert_eq!(stage.told(), ["10.2.0.0/24 10.0.0.1"]);
}

#[test]
fn a_listing_by_link_leaves_others_alone() {
    let mut stage = Stage::default();
    stage.list(Listing::Routes(ALL4), &[route(raw::NEWROUTE, 0, NET, A)]);
    stage.list(Listing::Routes(Scope { link: Some(4), ..ALL4 }), &[]);
    assert_eq!(stage.told(), ["10.1.0.0/24 10.0.0.1"]);
    stage.list(Listing::Routes(Scope { link: Some(3), ..ALL4 }), &[]);
    assert!(stage.told().is_empty());
}

#[test]
fn replayed_news_that_is_outdated_does_no_harm() {
    let mut stage = Stage::default();
    // A was there; then A went, B came, was replaced by C: the listing shows C only.
    stage.list(Listing::Routes(ALL4), &[route(raw::NEWROUTE, 0, NET, C)]);
    stage.event(&route(raw::DELROUTE, 0, NET, A), How::Replayed);
    stage.event(&route(raw::NEWROUTE, 0, NET, B), How::Replayed);
    stage.event(&route(raw::NEWROUTE, raw::F_REPLACE, NET, C), How::Replayed);
    stage.mirror.replayed();
    // C counts as known, so B is left over; the mirror knows that it does not know.
    let table = Listing::Routes(Scope { table: Some(254), ..ALL4 });
    assert_eq!(stage.mirror.take_doubts(), BTreeSet::from([table]));
    stage.list(table, &[route(raw::NEWROUTE, 0, NET, C)]);
    assert_eq!(stage.told(), ["10.1.0.0/24 10.0.0.3"]);
    assert!(!stage.mirror.is_doubtful());
}

#[test]
fn a_removal_that_matches_nothing_is_looked_into() {
    let mut stage = Stage::default();
    stage.event(&route(raw::NEWROUTE, 0, NET, A), How::Live);
    stage.event(&route(raw::DELROUTE, 0, NET, B), How::Live);
    let table = Listing::Routes(Scope { table: Some(254), ..ALL4 });
    assert_eq!(stage.mirror.take_doubts(), BTreeSet::from([table]));
    stage.event(&route(raw::DELROUTE, 0, [10, 9, 0, 0], B), How::Live);
    stage.event(&route(raw::DELROUTE, 0, NET, A), How::Live);
    stage.event(&route(raw::DELROUTE, 0, NET, A), How::Live);
    assert!(!stage.mirror.is_doubtful());
    assert!(stage.told().is_empty());
}

#[test]
fn routes_go_with_their_object_and_do_not_come_back_with_its_number() {
    let mut stage = Stage::default();
    let (one, two) = ([10, 1, 0, 0], [10, 2, 0, 0]);
    stage.event(&nexthop(raw::NEWNEXTHOP, raw::F_CREATE | raw::F_EXCL, 7), How::Live);
    stage.event(&route_by_object(one, 7), How::Live);
    stage.event(&route_by_object(two, 7), How::Live);
    assert_eq!(stage.told().len(), 2);
    stage.event(&nexthop(raw::DELNEXTHOP, 0, 7), How::Live);
    stage.event(&nexthop(raw::NEWNEXTHOP, raw::F_CREATE | raw::F_EXCL, 7), How::Live);
    stage.event(&route_by_object(two, 7), How::Live);
    assert_eq!(stage.told(), ["10.2.0.0/24 object 7"]);
    stage.event(&nexthop(raw::NEWNEXTHOP, raw::F_CREATE | raw::F_REPLACE, 7), How::Live);
    assert_eq!(stage.told(), ["10.2.0.0/24 object 7"]);
    stage.event(&nexthop(raw::NEWNEXTHOP, raw::F_CREATE | raw::F_EXCL, 7), How::Live);
    assert!(stage.told().is_empty(), "made anew, so it was gone");
}

#[test]
fn a_large_change_is_told_in_pieces() {
    let mut stage = Stage::default();
    for n in 0..1000u32 {
        let prefix = Ipv4Addr::from(0x0a00_0000 + (n << 8)).octets();
        stage.event(&route(raw::NEWROUTE, 0, prefix, A), How::Live);
    }
    for left in (0..10).rev() {
        assert_eq!(stage.mirror.changes(100).len(), 100);
        assert_eq!(stage.mirror.backlog(), left * 100);
    }
    assert!(!stage.mirror.is_touched());
}

#[test]
fn many_links_are_listed_as_a_whole() {
    let mut mirror = Mirror::default();
    for link in 0..20 {
        mirror.doubts.insert(Listing::Routes(Scope { link: Some(link), ..ALL4 }));
    }
    assert_eq!(mirror.take_doubts(), BTreeSet::from([Listing::Routes(ALL4)]));
    assert!(!mirror.is_doubtful());
}

/// An MPLS route through link 3.
fn lsp(kind: u16, label: u32, via: [u8; 4]) -> Vec<u8> {
    let header = [raw::AF_MPLS, 20, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
    let entry = (label << 12 | 0x100).to_be_bytes();
    let via: Vec<u8> = [raw::AF_INET, 0].into_iter().chain(via).collect();
    request(kind, 0, 0, &header, &[(1, &entry), (18, &via), (4, &3u32.to_ne_bytes())])
}

#[test]
fn mpls_routes_are_followed_and_swept() {
    let mut stage = Stage::default();
    let labels = |stage: &Stage| -> Vec<u32> { stage.host.labels.keys().copied().collect() };
    stage.list(Listing::Labels, &[lsp(raw::NEWROUTE, 100, A), lsp(raw::NEWROUTE, 200, A)]);
    stage.event(&lsp(raw::NEWROUTE, 300, B), How::Live);
    stage.tell();
    assert_eq!(labels(&stage), [100, 200, 300]);
    assert_eq!(stage.host.labels[&300].nexthops[0].via, Some(B.into()));
    stage.event(&lsp(raw::DELROUTE, 100, A), How::Live);
    stage.list(Listing::Labels, &[lsp(raw::NEWROUTE, 300, C)]);
    stage.tell();
    assert_eq!(labels(&stage), [300]);
    assert_eq!(stage.host.labels[&300].nexthops[0].via, Some(C.into()));
    assert!(stage.told().is_empty(), "a label is no prefix");
}
