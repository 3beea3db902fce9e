//! Everything that is not a route: groups, next hops, labels, links, settings.

use crate::{LIMITS, apply, capacity, used};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use thalweg_abi::group::LinksWord;
use thalweg_abi::{
    GroupId, GroupWord, IlmWord, LinkRow, NextHopId, NextHopRow, SettingsRow, TableId, VrfId,
};
use thalweg_image::change::GroupMembers;
use thalweg_image::{Capacity, Change, Grace, Memory, NoReaders, Plan, Plane, Writer};
use thalweg_wire::Prefix4;

fn writer() -> Writer {
    Writer::new(Memory::heap(&Capacity::for_limits(&LIMITS)), Box::new(NoReaders))
}

fn nexthop(id: u32, backup: u32) -> Change {
    Change::NextHop(NextHopId(id), NextHopRow { kind: 1, link: id, backup, ..Default::default() })
}

fn group(id: u16, buckets: &[u32], links: &[u32]) -> Change {
    let buckets = buckets.iter().copied().map(NextHopId).collect();
    Change::Group(GroupId(id), GroupMembers { buckets, links: links.to_vec() })
}

fn word(writer: &Writer, id: u16) -> GroupWord {
    GroupWord(writer.memory().in_force().u64(TableId::Groups, id.into()).expect("a group"))
}

#[test]
fn a_group_of_one_needs_no_buckets_and_others_have_theirs_in_a_row() {
    let mut writer = writer();
    let plan =
        vec![nexthop(1, 0), nexthop(2, 1), group(5, &[2], &[3]), group(6, &[1, 2, 1, 2], &[])];
    assert!(apply(&mut writer, plan).failures.is_empty());
    assert_eq!(word(&writer, 5), GroupWord::single(2));
    let six = word(&writer, 6);
    assert_eq!(six.mask(), 3);
    let memory = writer.memory().in_force();
    let buckets = (0..4).map(|at| memory.u32(TableId::Buckets, six.first() + at));
    assert!(buckets.eq([1, 2, 1, 2].map(Some)));
    assert_eq!(memory.u64(TableId::GroupLinks, 5), Some(3));
    let row: NextHopRow = memory.row(TableId::NextHops, 2).expect("a next hop");
    assert_eq!((row.link, row.backup), (2, 1));
}

#[test]
fn links_of_a_group_fit_a_word_or_are_any() {
    let mut writer = writer();
    let links: [(&[u32], u64); 5] = [
        (&[], 0),
        (&[7, 7, 2], 7 << 16 | 2),
        (&[1, 2, 3, 0xfffe], 0xfffe << 48 | 3 << 32 | 2 << 16 | 1),
        (&[1, 2, 3, 4, 5], LinksWord::ANY.0),
        (&[0xffff], LinksWord::ANY.0),
    ];
    for (links, word) in links {
        let plan = vec![nexthop(1, 0), group(1, &[1], links)];
        assert!(apply(&mut writer, plan).failures.is_empty());
        assert_eq!(writer.memory().in_force().u64(TableId::GroupLinks, 1), Some(word), "{links:?}");
    }
}

#[test]
fn what_is_freed_is_zero_after_a_grace_period_and_leaves_no_trace() {
    let mut writer = writer();
    let start = used(&writer);
    let plan = vec![nexthop(1, 0), nexthop(2, 0), group(1, &[1, 2], &[1]), group(2, &[1], &[1])];
    assert!(apply(&mut writer, plan).failures.is_empty());
    let plan = vec![
        Change::FreeGroup(GroupId(1)),
        Change::FreeGroup(GroupId(2)),
        Change::FreeNextHop(NextHopId(1)),
        Change::FreeNextHop(NextHopId(2)),
    ];
    let before = writer.memory().epoch();
    assert!(apply(&mut writer, plan).failures.is_empty());
    let memory = writer.memory().clone();
    let row = || memory.in_force().row(TableId::NextHops, 1);
    let old = GroupWord(memory.at(before).u64(TableId::Groups, 1).unwrap_or(0));
    assert!(!word(&writer, 1).exists() && old.exists() && memory.holds(before));
    assert_ne!(row(), Some(NextHopRow::default()), "a reader may still be looking");
    writer.settle();
    assert!(!memory.holds(before));
    assert_eq!(row(), Some(NextHopRow::default()));
    assert_eq!(used(&writer), start);
}

#[derive(Clone, Default)]
struct Counted(Arc<AtomicU32>);

impl Grace for Counted {
    fn wait(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_freed_number_is_used_again_only_after_a_grace_period() {
    let waits = Counted::default();
    let memory = Memory::heap(&Capacity::for_limits(&LIMITS));
    let mut writer = Writer::new(memory, Box::new(waits.clone()));
    apply(&mut writer, vec![nexthop(1, 0), group(1, &[1], &[])]);
    apply(&mut writer, vec![Change::FreeGroup(GroupId(1)), Change::FreeNextHop(NextHopId(1))]);
    assert_eq!(waits.0.load(Ordering::Relaxed), 0);
    apply(&mut writer, vec![nexthop(1, 0), group(1, &[1], &[])]);
    assert_eq!(waits.0.load(Ordering::Relaxed), 1);
    writer.settle();
    assert!(word(&writer, 1).exists());
}

#[test]
fn what_a_left_out_change_still_uses_is_not_freed() {
    let mut writer =
        Writer::new(Memory::heap(&capacity(&[(TableId::Fib4Leaves, 0)])), Box::new(NoReaders));
    let route = |group| Change::Route4(VrfId(0), "10.0.0.0/19".parse().expect("a prefix"), group);
    let within = Change::Route4(VrfId(0), "10.0.1.0/24".parse().expect("a prefix"), GroupId(2));
    let plan =
        vec![nexthop(1, 2), nexthop(2, 0), nexthop(3, 0), group(1, &[1], &[]), group(2, &[3], &[])];
    assert!(apply(&mut writer, plan).failures.is_empty());
    assert!(apply(&mut writer, vec![route(GroupId(1))]).failures.is_empty());
    let plan = vec![
        within,
        Change::FreeGroup(GroupId(1)),
        Change::FreeNextHop(NextHopId(1)),
        Change::FreeNextHop(NextHopId(2)),
    ];
    let failures = apply(&mut writer, plan).failures;
    let tables: Vec<_> = failures.iter().map(|failure| failure.table).collect();
    let nexthops = TableId::NextHops;
    assert_eq!(tables, [TableId::Fib4Leaves, TableId::Groups, nexthops, nexthops]);
    let plan = vec![
        route(GroupId::NONE),
        Change::FreeGroup(GroupId(1)),
        Change::FreeNextHop(NextHopId(1)),
        Change::FreeNextHop(NextHopId(2)),
    ];
    assert!(apply(&mut writer, plan).failures.is_empty());
}

#[test]
fn what_lies_beyond_the_tables_is_left_out_with_numbers() {
    let mut writer = writer();
    let plan = vec![
        Change::Link(16, LinkRow::default()),
        Change::Vlan { page: 2, vid: 1, link: 1 },
        Change::Vlan { page: 1, vid: 4096, link: 1 },
        nexthop(100_000, 0),
        group(1, &[100_000], &[]),
        group(1, &[1, 1, 1], &[]),
        group(1, &[], &[]),
        group(0, &[1], &[]),
        group(601, &[1], &[]),
        Change::Label(64, IlmWord::forward(GroupId(1), 0)),
        Change::Own(vec![0; 65]),
        Change::Route4(VrfId(3), "10.0.0.0/8".parse().expect("a prefix"), GroupId(1)),
        Change::Route6(VrfId(0), "2001:db8::/32".parse().expect("a prefix"), GroupId(0x8000)),
    ];
    let asked = plan.len();
    let failures = apply(&mut writer, plan).failures;
    assert_eq!(failures.len(), asked, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.capacity > 0));
}

#[test]
fn labels_links_and_settings_stand_where_readers_look() {
    let mut writer = writer();
    let link = LinkRow { flags: 1, mtu: 1500, ..LinkRow::default() };
    let changes = vec![
        Change::Settings(SettingsRow { seed: 7, ..SettingsRow::default() }),
        Change::Link(3, link),
        Change::Vlan { page: 1, vid: 100, link: 9 },
        Change::Label(20, IlmWord::lookup(VrfId(1), IlmWord::PIPE)),
        Change::Own(vec![5; 64]),
    ];
    let plan = Plan { generation: 42, changes };
    assert!(writer.apply(&plan).expect("a writer always works").failures.is_empty());
    let memory = writer.memory().in_force();
    let settings: SettingsRow = memory.row(TableId::Settings, 0).expect("settings");
    assert_eq!((settings.seed, writer.memory().generation()), (7, 42));
    let link: LinkRow = memory.row(TableId::Links, 3).expect("a link");
    assert_eq!((link.flags, link.mtu), (1, 1500));
    assert_eq!(memory.u32(TableId::Vlans, 4096 + 100), Some(9));
    assert_eq!(memory.u64(TableId::Lfib, 20).map(IlmWord), Some(IlmWord::lookup(VrfId(1), 1)));
    assert_eq!(memory.u64(TableId::Own, 63), Some(5));
    let plan = Plan { generation: 43, changes: Vec::new() };
    assert!(writer.apply(&plan).is_ok());
    let settings: SettingsRow =
        writer.memory().in_force().row(TableId::Settings, 0).expect("settings");
    assert_eq!((settings.seed, writer.memory().generation()), (7, 43));
}

#[test]
fn a_plan_waits_for_readers_when_room_runs_out_in_its_middle() {
    let waits = Counted::default();
    let memory = Memory::heap(&capacity(&[(TableId::Fib4Leaves, 32)]));
    let mut writer = Writer::new(memory, Box::new(waits.clone()));
    let route = |at: u8, group| {
        let prefix = Prefix4::containing([10, 0, at, 0].into(), 24);
        Change::Route4(VrfId(0), prefix, GroupId(group))
    };
    // Changes of other kinds between the routes keep them from being one batch.
    let label = |at: u32| Change::Label(at, IlmWord::default());
    let plan = (0..9).flat_map(|at| [route(at, 1 + u16::from(at)), label(at.into())]).collect();
    assert!(apply(&mut writer, plan).failures.is_empty());
    assert!(waits.0.load(Ordering::Relaxed) > 0);
}

#[test]
fn states_that_are_taken_down_beside_the_writer_add_up_and_foreign_stores_do_not() {
    let memory = Memory::heap(&capacity(&[]));
    let mut writer = Writer::new(memory.clone(), Box::new(NoReaders));
    assert!(writer.set_state(3, true) && memory.take_down(3) && writer.set_state(4, true));
    assert_eq!(memory.audit().damages, []);
    memory.words(TableId::States)[3].store(1, Ordering::Relaxed);
    let found = memory.audit().damages;
    assert_eq!(found.iter().map(|damage| damage.table).collect::<Vec<_>>(), [TableId::States]);
}
