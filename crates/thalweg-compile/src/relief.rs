//! Members of a group relieve each other: each has another one as its backup in advance, so that the
//! state of a link alone moves its flows, whatever the next plan has to compute.
//!
//! The data plane takes one backup and no further, so a backup is the row of a member without a
//! backup of its own: nothing can lead in a circle. What a member is asked to carry besides its own
//! flows is spread over all members by other devices.

use crate::target::{Member, Way};
use thalweg_abi::NextHopRow;
use thalweg_abi::nexthop::kind;

/// Gives each member that has no backup another one that does not fail with it: by another device
/// where there is one, else by another watch. `is_up` tells whether a link is.
pub fn relieve(members: &mut [Member], is_up: impl Fn(u32) -> bool) {
    if members.len() < 2 {
        return;
    }
    let able = |member: &Member| {
        let sends = member.alive && member.row.kind == kind::ADJACENT;
        sends && matches!(member.way, Way::Neighbor(link, _) if is_up(link))
    };
    let plain = |member: &Member| {
        let row = NextHopRow { backup: 0, ..member.row };
        Member { backup: None, relief: true, row, ..member.clone() }
    };
    let able: Vec<Member> = members.iter().filter(|member| able(member)).map(plain).collect();
    assign(members, &able, |row| row.device);
    assign(members, &able, |row| row.watch);
}

/// Assigns to members without a backup one of `able` for which `risk` is another.
fn assign(members: &mut [Member], able: &[Member], risk: impl Fn(&NextHopRow) -> u32) {
    let mut able: Vec<&Member> = able.iter().collect();
    able.sort_by_key(|member| (risk(&member.row), member.way, &member.dress));
    // The choice depends on who is in the group, not on their order.
    let mut poor: Vec<&mut Member> =
        members.iter_mut().filter(|m| m.backup.is_none() && m.row.watch != 0).collect();
    poor.sort_by(|a, b| {
        let key = |m: &Member| (risk(&m.row), m.way);
        key(a).cmp(&key(b)).then_with(|| a.dress.cmp(&b.dress))
    });
    let mut turn = 0;
    for member in poor {
        let own = risk(&member.row);
        let start = able.partition_point(|other| risk(&other.row) < own);
        let end = able.partition_point(|other| risk(&other.row) <= own);
        let others = able.len() - (end - start);
        if others > 0 {
            let chosen = able[(end + turn % others) % able.len()];
            member.backup = Some(Box::new(chosen.clone()));
            turn += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Dress;
    use std::net::IpAddr;

    /// A member over a link with its device, and whether its neighbor is known.
    fn member(link: u32, device: u32, known: bool) -> Member {
        let kind = if known { kind::ADJACENT } else { kind::UNRESOLVED };
        let row = NextHopRow { kind, link, device, watch: link, ..NextHopRow::default() };
        let way = Way::Neighbor(link, IpAddr::from([10, 0, link as u8, 1]));
        let dress = Dress { labels: vec![link], ..Dress::default() };
        Member { way, dress, weight: 1, alive: true, backup: None, relief: false, row }
    }

    /// The link of each member's backup, 0 for none.
    fn reliefs(mut members: Vec<Member>, up: impl Fn(u32) -> bool) -> Vec<u32> {
        relieve(&mut members, up);
        let backup = |member: &Member| {
            let backup = member.backup.as_deref()?;
            assert!(backup.backup.is_none() && backup.relief && backup.row.backup == 0);
            assert_eq!(backup.dress.labels, [backup.row.link], "labels of its own");
            Some(backup.row.link)
        };
        members.iter().map(|member| backup(member).unwrap_or(0)).collect()
    }

    #[test]
    fn a_relief_fails_with_nobody_it_relieves() {
        let all = |_| true;
        assert_eq!(reliefs(vec![member(1, 1, true)], all), [0]);
        assert_eq!(reliefs(vec![member(1, 1, true), member(1, 1, true)], all), [0, 0]);
        assert_eq!(reliefs(vec![member(1, 1, true), member(2, 2, true)], all), [2, 1]);
        // VLANs of one device only where there is nothing better.
        assert_eq!(reliefs(vec![member(7, 1, true), member(8, 1, true)], all), [8, 7]);
        let three = vec![member(7, 1, true), member(8, 1, true), member(2, 2, true)];
        assert_eq!(reliefs(three, all), [2, 2, 7]);
    }

    #[test]
    fn only_who_can_send_relieves() {
        let three = || vec![member(1, 1, true), member(2, 2, false), member(3, 3, true)];
        assert_eq!(reliefs(three(), |_| true), [3, 1, 1]);
        assert_eq!(reliefs(three(), |link| link != 3), [0, 1, 1]);
    }

    #[test]
    fn what_a_device_carried_is_spread_over_the_others() {
        let many = (0..6).map(|i| member(10 + i, 1 + i / 3, true)).chain([member(2, 9, true)]);
        let mut found = reliefs(many.collect(), |_| true)[..3].to_vec();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 3, "one each: {found:?}");
    }

    #[test]
    fn a_backup_that_was_asked_for_stays() {
        let mut members = vec![member(1, 1, true), member(2, 2, true)];
        members[0].backup = Some(Box::new(member(1, 1, true)));
        relieve(&mut members, |_| true);
        assert_eq!(members[0].backup.as_deref().map(|b| (b.row.link, b.relief)), Some((1, false)));
        assert_eq!(members[1].backup.as_deref().map(|backup| backup.row.link), Some(1));
    }
}
