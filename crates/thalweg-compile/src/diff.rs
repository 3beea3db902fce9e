//! What would change between two compiled states, in words.

use crate::compiler::Compiler;
use crate::view::{NextHopView, RouteState};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use thalweg_abi::link::flag;
use thalweg_abi::nexthop::kind;
use thalweg_model::intent::IcmpSource;

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// What holds it: `routes`, `labels`, `groups`, `next hops`, `links`, `VRFs` or `settings`.
    pub table: &'static str,
    /// What it is about: `route default 10.0.0.0/8`.
    pub what: String,
    /// In force before.
    pub before: Option<String>,
    /// In force after.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match (&self.before, &self.after) {
            (None, Some(after)) => f.write_str(format!("+ {what} {after}").trim_end()),
            (Some(before), None) => f.write_str(format!("- {what} {before}").trim_end()),
            (Some(before), Some(after)) => write!(f, "~ {what} {before} -> {after}"),
            (None, None) => write!(f, "= {what}"),
        }
    }
}

/// Everything in force by table and name, in words.
type Digest = BTreeMap<(&'static str, String), String>;

/// The differences between two compiled states, by table and name.
pub fn diff(old: &Compiler, new: &Compiler) -> Vec<Difference> {
    let (mut before, after) = (old.digest(), new.digest());
    let mut differences = Vec::new();
    for (key, after) in after {
        let before = before.remove(&key);
        if before.as_ref() != Some(&after) {
            let (table, what) = key;
            differences.push(Difference { table, what, before, after: Some(after) });
        }
    }
    let gone = before.into_iter().map(|((table, what), before)| Difference {
        table,
        what,
        before: Some(before),
        after: None,
    });
    differences.extend(gone);
    differences.sort_by(|a, b| (a.table, &a.what).cmp(&(b.table, &b.what)));
    differences
}

/// The flags of a link row as words.
pub fn flag_words(flags: u32) -> Vec<&'static str> {
    let words = [
        (flag::UP, "up"),
        (flag::IPV4, "ipv4"),
        (flag::IPV6, "ipv6"),
        (flag::MPLS, "mpls"),
        (flag::RPF_STRICT, "rpf-strict"),
        (flag::RPF_LOOSE, "rpf-loose"),
        (flag::SOURCE_ROUTE, "source-route"),
        (flag::DIRECTED_BROADCAST, "directed-broadcast"),
        (flag::KERNEL_ANSWERS, "kernel-answers"),
        (flag::PIPE, "pipe"),
    ];
    words.into_iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| word).collect()
}

impl Compiler {
    /// A compiler for another intent and other policies on the same host, for `diff`.
    pub fn what_if(
        &self,
        intent: thalweg_model::Intent,
        policies: thalweg_policy::Objects,
    ) -> Self {
        let mut other = Self::new(self.limits.clone());
        other.set_seed(self.seed);
        other.load_host(self.host());
        other.set_policies(policies);
        other.set_intent(intent);
        other.plan();
        other
    }

    /// Everything in force, in words, without numbers that mean nothing to people.
    fn digest(&self) -> Digest {
        let mut all = Digest::new();
        all.insert(("settings", "settings".into()), self.settings_words());
        for link in self.links().into_iter().filter(|link| link.ours) {
            let flags = flag_words(link.row.map_or(0, |row| row.flags)).join(" ");
            let words = format!("vrf {} mtu {} {flags}", link.vrf, link.mtu);
            all.insert(("links", format!("link {}", link.name)), words.trim_end().into());
        }
        for vrf in self.vrfs() {
            let table = vrf.table.map_or("none".into(), |table| table.to_string());
            all.insert(("VRFs", format!("vrf {}", vrf.name)), format!("table {table}"));
        }
        for route in self.routes(None) {
            if route.state == RouteState::InForce {
                let what = format!("route {} {}", route.vrf, route.prefix);
                all.insert(("routes", what), route.action);
            }
        }
        for label in self.labels().into_iter().filter(|label| label.word.is_some()) {
            all.insert(("labels", format!("label {}", label.label)), label.action);
        }
        self.hops_words(&mut all);
        all
    }

    /// Groups and next hops by what they do: their numbers mean nothing.
    fn hops_words(&self, all: &mut Digest) {
        let words = |hop: NextHopView| match hop.row.kind {
            kind::ADJACENT => (hop.action, "resolved"),
            kind::UNRESOLVED => (hop.action, "not resolved"),
            _ => (hop.action, ""),
        };
        // Rows that differ in the member that relieves them do the same.
        let hops: BTreeSet<_> = self.nexthops().into_iter().map(words).collect();
        for (action, state) in hops {
            note(all, "next hops", format!("next hop {action}"), state);
        }
        for group in self.groups().into_iter().filter(|group| group.members.len() > 1) {
            let mut members: Vec<_> = group
                .members
                .iter()
                .map(|member| {
                    format!("{} ({} of {})", member.action, member.buckets, group.buckets)
                })
                .collect();
            members.sort();
            note(all, "groups", format!("group {}", members.join(", ")), "");
        }
    }

    fn settings_words(&self) -> String {
        let router = &self.intent.router;
        let icmp = match router.icmp {
            IcmpSource::Thalweg => "thalweg",
            IcmpSource::Kernel => "kernel",
        };
        let (icmp_rate, punt_rate, burst) = (router.icmp_rate, router.punt_rate, router.burst);
        let mut words =
            format!("icmp {icmp} icmp-rate {icmp_rate} punt-rate {punt_rate} burst {burst}");
        if let Some(seed) = router.hash_seed {
            words.push_str(&format!(" hash-seed {seed}"));
        }
        words
    }
}

/// Notes something that may be there more than once.
fn note(all: &mut Digest, table: &'static str, what: String, state: &str) {
    match all.entry((table, what)) {
        std::collections::btree_map::Entry::Vacant(entry) => {
            entry.insert(state.into());
        }
        std::collections::btree_map::Entry::Occupied(mut entry) => {
            let states = entry.get_mut();
            states.push_str(" and ");
            states.push_str(if state.is_empty() { "once more" } else { state });
        }
    }
}
