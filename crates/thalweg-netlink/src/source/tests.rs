//! Listings that the kernel interrupts, made by hand: it cannot be asked to.

use super::*;

const NEIGHBORS: Listing = Listing::Neighbors;

/// `struct ndmsg` and attributes of 10.0.0.`last` on link 3, reachable.
fn neighbor(flags: u16, sequence: u32, last: u8) -> Vec<u8> {
    let header = [raw::AF_INET, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 1];
    let attributes: [(u16, &[u8]); 2] = [(1, &[10, 0, 0, last]), (2, &[2, 0, 0, 0, 0, last])];
    message::request(raw::NEWNEIGH, flags, sequence, &header, &attributes)
}

fn done(flags: u16, sequence: u32, code: i32) -> Vec<u8> {
    message::request(raw::DONE, flags, sequence, &code.to_ne_bytes(), &[])
}

/// What becomes of a listing in these pieces, and the neighbors known then.
fn list(mirror: &mut Mirror, sequence: u32, overrun: bool, pieces: &[Vec<u8>]) -> Option<Listed> {
    let mut course = Course { listing: NEIGHBORS, sequence, torn: overrun };
    mirror.begin();
    let mut ended = None;
    for piece in pieces {
        assert_eq!(ended, None, "nothing comes behind the end");
        ended = course.take(piece, mirror).unwrap();
    }
    if ended == Some(Listed::Whole) {
        mirror.end(NEIGHBORS);
    }
    ended
}

fn known(mirror: &mut Mirror, host: &mut HostState) -> Vec<String> {
    mirror.changes(usize::MAX).into_iter().for_each(|update| assert!(host.apply(update)));
    host.neighbors.keys().map(|(_, address)| address.to_string()).collect()
}

#[test]
fn an_interrupted_listing_is_torn_wherever_the_mark_stands() {
    let interrupted = raw::F_DUMP_INTR;
    for (first, second, end) in [(interrupted, 0, 0), (0, interrupted, 0), (0, 0, interrupted)] {
        let pieces = [
            [neighbor(first, 7, 1), neighbor(second, 7, 2)].concat(),
            neighbor(0, 7, 3),
            done(end, 7, 0),
        ];
        assert_eq!(list(&mut Mirror::default(), 7, false, &pieces), Some(Listed::Torn));
    }
    let end = [done(0, 7, 0)];
    assert_eq!(list(&mut Mirror::default(), 7, true, &end), Some(Listed::Torn), "overrun");
    assert_eq!(list(&mut Mirror::default(), 7, false, &end), Some(Listed::Whole));
    let busy = [done(0, 7, -Errno::INTR.raw_os_error())];
    assert_eq!(list(&mut Mirror::default(), 7, false, &busy), Some(Listed::Torn));
}

#[test]
fn the_mark_of_another_listing_does_not_count_and_its_end_is_none() {
    let before = [neighbor(raw::F_DUMP_INTR, 6, 9), done(raw::F_DUMP_INTR, 6, 0)].concat();
    let (mut mirror, mut host) = (Mirror::default(), HostState::default());
    assert_eq!(list(&mut mirror, 7, false, std::slice::from_ref(&before)), None);
    let pieces = [before, neighbor(0, 7, 1), done(0, 7, 0)];
    assert_eq!(list(&mut mirror, 7, false, &pieces), Some(Listed::Whole));
    assert_eq!(known(&mut mirror, &mut host), ["10.0.0.1"]);
}

#[test]
fn what_a_torn_listing_left_out_stays_until_a_whole_one_leaves_it_out() {
    let (mut mirror, mut host) = (Mirror::default(), HostState::default());
    let both = [neighbor(0, 1, 1), neighbor(0, 1, 2), done(0, 1, 0)];
    assert_eq!(list(&mut mirror, 1, false, &both), Some(Listed::Whole));
    let torn = [neighbor(raw::F_DUMP_INTR, 2, 3), done(0, 2, 0)];
    assert_eq!(list(&mut mirror, 2, false, &torn), Some(Listed::Torn));
    assert_eq!(known(&mut mirror, &mut host), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let whole = [neighbor(0, 3, 2), neighbor(0, 3, 3), done(0, 3, 0)];
    assert_eq!(list(&mut mirror, 3, false, &whole), Some(Listed::Whole));
    assert_eq!(known(&mut mirror, &mut host), ["10.0.0.2", "10.0.0.3"]);
}
