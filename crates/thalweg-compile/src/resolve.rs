//! Resolution: from what a source says to adjacencies, through other routes where need be.
//!
//! Every target is resolved from the ground facts alone (links, neighbors, candidates of covering
//! prefixes), never from what other targets resolved to, so the result does not depend on the order
//! of events. A gateway on no connected prefix goes through the longest covering prefix that has
//! candidates; the route itself is passed over, and coming back to a prefix on the way is a loop.

use crate::buckets::gcd;
use crate::key::{AddrKey, NetKey, RibId, is_link_local};
use crate::links::{self, Links};
use crate::relief::relieve;
use crate::rib::{Class, Rib};
use crate::sessions::Sessions;
use crate::target::{
    Dress, Fact, Hop, Hops, Issue, Member, Outcome, State, TargetKey, Targets, Way,
};
use crate::vrfs::{Ribs, Vrfs};
use crate::{kernel, neighbor, tunnels};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::NextHopRow;
use thalweg_abi::nexthop::{MAX_PUSH, flag, kind};
use thalweg_model::host::NextHopObject;
use thalweg_model::{HostState, Teller};
use thalweg_wire::Lse;

/// Prefixes on the way from a gateway to an adjacency.
const DEPTH: usize = 32;
/// Next hops looked at for one target.
const BUDGET: u32 = 20_000;
/// Weights of recursive groups are made whole up to this common denominator.
const COMMON: u64 = 1 << 20;

/// Everything a resolution reads.
pub struct Resolver<'a> {
    /// Links, addresses, neighbors, next hop objects.
    pub host: &'a HostState,
    /// Candidates.
    pub rib: &'a Rib,
    /// Keys of the candidates' targets.
    pub targets: &'a Targets,
    /// MTU and row limits of links.
    pub links: &'a Links,
    /// VRF devices.
    pub vrfs: &'a Vrfs,
    /// Numbers of VRFs.
    pub ribs: &'a Ribs,
    /// Numbers of BFD sessions.
    pub sessions: &'a Sessions,
}

/// Why a next hop cannot be used.
#[derive(Clone, Debug)]
struct Fault {
    what: String,
    remedy: &'static str,
}

fn fault<T>(what: String, remedy: &'static str) -> Result<T, Fault> {
    Err(Fault { what, remedy })
}

/// What a next hop object stands for.
enum Expanded {
    Hops(Vec<Hop>),
    Blackhole,
    Missing,
}

/// State of one resolution.
#[derive(Default)]
struct Run {
    facts: BTreeSet<Fact>,
    stack: Vec<NetKey>,
    looked: u32,
}

impl Resolver<'_> {
    /// Resolves a target.
    pub fn resolve(&self, key: &TargetKey) -> Outcome {
        let mut run = Run::default();
        if let TargetKey::Hops(Hops { own: Some(own), .. }) = key {
            run.stack.push(*own);
        }
        let (members, mut issues) = self.members(key, &mut run);
        let (state, mut members) = choose(members);
        for member in &mut members {
            self.finish(member, &mut run, &mut issues);
        }
        // A next hop through a tunnel names its outer headers in the place of a backup.
        if state == State::Alive && members.iter().all(|m| m.dress.tunnel.is_none()) {
            let up = |link| self.host.links.get(&link).is_some_and(|link| link.up);
            relieve(&mut members, up);
        }
        issues.dedup();
        Outcome { state, members, issues, facts: run.facts }
    }

    fn members(&self, key: &TargetKey, run: &mut Run) -> (Vec<Member>, Vec<Issue>) {
        match key {
            TargetKey::Way(way) => self.without_hops(*way, run),
            TargetKey::Hops(Hops { rib, hops, .. }) => self.hops(hops, *rib, run),
            TargetKey::Object { teller, id, rib, mtu, only } => {
                self.object((*teller, *id), *rib, (*mtu, *only), run)
            }
        }
    }

    fn without_hops(&self, way: Way, run: &mut Run) -> (Vec<Member>, Vec<Issue>) {
        if let Way::Lookup(rib) = way {
            run.facts.insert(Fact::Rib(rib));
            if self.ribs.vrf(rib).is_none() {
                let what = "the VRF to look up in is not in force".to_owned();
                return (Vec::new(), vec![issue(None, &Fault { what, remedy: "add the VRF" })]);
            }
        }
        (vec![member(way, Dress::default(), true)], Vec::new())
    }

    fn object(
        &self,
        id: (Teller, u32),
        rib: RibId,
        (mtu, only): (Option<u32>, Option<IpAddr>),
        run: &mut Run,
    ) -> (Vec<Member>, Vec<Issue>) {
        match self.expand(id, mtu, run) {
            Expanded::Hops(hops) => {
                let hops: Vec<Hop> = hops.into_iter().map(|hop| hop.for_only(only)).collect();
                self.hops(&hops, rib, run)
            }
            Expanded::Blackhole => self.without_hops(Way::Blackhole, run),
            Expanded::Missing => {
                let what = format!("next hop object {} does not exist", id.1);
                let remedy = match id.0 {
                    Teller::Kernel => "add it with ip nexthop",
                    Teller::Fpm => "`show nexthop-group rib` in vtysh lists those there are",
                };
                (Vec::new(), vec![issue(None, &Fault { what, remedy })])
            }
        }
    }

    /// The next hops of an object, members of a group one by one.
    fn expand(&self, (teller, id): (Teller, u32), mtu: Option<u32>, run: &mut Run) -> Expanded {
        let objects = match teller {
            Teller::Kernel => &self.host.nexthops,
            Teller::Fpm => &self.host.fpm.nexthops,
        };
        run.facts.insert(Fact::Object(teller, id));
        let members = match objects.get(&id) {
            None => return Expanded::Missing,
            Some(NextHopObject::Blackhole) => return Expanded::Blackhole,
            Some(NextHopObject::Single(hop)) => return Expanded::Hops(vec![kernel::hop(hop, mtu)]),
            Some(NextHopObject::Group(members)) => members,
        };
        let mut hops = Vec::new();
        let mut blackhole = false;
        for (id, weight) in members {
            run.facts.insert(Fact::Object(teller, *id));
            match objects.get(id) {
                Some(NextHopObject::Single(hop)) => {
                    hops.push(Hop { weight: (*weight).max(1), ..kernel::hop(hop, mtu) });
                }
                Some(NextHopObject::Blackhole) => blackhole = true,
                Some(NextHopObject::Group(_)) | None => {}
            }
        }
        if blackhole { Expanded::Blackhole } else { Expanded::Hops(hops) }
    }

    /// Resolves next hops one by one and multiplies their shares.
    fn hops(&self, hops: &[Hop], rib: RibId, run: &mut Run) -> (Vec<Member>, Vec<Issue>) {
        let mut issues = Vec::new();
        let mut parts = Vec::new();
        for (position, hop) in hops.iter().enumerate() {
            match self.hop(hop, rib, run) {
                Ok(members) => parts.push((u64::from(hop.weight.max(1)), members)),
                Err(fault) => issues.push(issue(Some(position), &fault)),
            }
            if let Some(backup) = &hop.backup
                && let Err(fault) = self.hop(backup, rib, run)
            {
                let what = format!("backup: {}", fault.what);
                let warning =
                    Issue { fatal: false, ..issue(Some(position), &Fault { what, ..fault }) };
                issues.push(warning);
            }
        }
        (product(parts), issues)
    }

    fn hop(&self, hop: &Hop, rib: RibId, run: &mut Run) -> Result<Vec<Member>, Fault> {
        run.looked += 1;
        if run.looked > BUDGET {
            return fault(
                format!("its gateways lead to more than {BUDGET} next hops"),
                "resolve gateways through fewer routes",
            );
        }
        let mut members = match (hop.link, hop.via) {
            (0, None) => {
                return fault("it has neither gateway nor link".into(), "add via or dev");
            }
            (0, Some(via)) => self.recurse(via, rib, run)?,
            (link, via) => {
                run.facts.insert(Fact::Link(link));
                match (self.vrfs.device(link), via) {
                    (Some(rib), None) => vec![member(Way::Lookup(rib), Dress::default(), true)],
                    (Some(rib), Some(via)) => self.recurse(via, rib, run)?,
                    (None, None) => {
                        let header =
                            |link| self.host.links.get(&link).is_some_and(links::has_header);
                        let only = hop.only.filter(|_| header(link));
                        let only = only.map(|only| Way::Neighbor(link, only));
                        vec![self.on_link(only.unwrap_or(Way::Link(link)), link, run)]
                    }
                    (None, Some(via)) => vec![self.direct(hop, link, via, rib, run)?],
                }
            }
        };
        for found in &mut members {
            self.dress(found, hop, rib, run)?;
        }
        Ok(members)
    }

    /// Puts what a next hop adds around what it resolved to.
    fn dress(&self, found: &mut Member, hop: &Hop, rib: RibId, run: &mut Run) -> Result<(), Fault> {
        found.dress = clothe(&hop.dress, &found.dress)?;
        found.alive &= self.is_heard(hop.dress.session, run);
        if let Some(backup) = &mut found.backup {
            backup.dress = clothe(&hop.dress, &backup.dress)?;
        }
        if let Some(wish) = &hop.backup
            && let Ok(others) = self.hop(wish, rib, run)
        {
            let (_, others) = choose(others);
            found.backup =
                others.into_iter().next().map(|m| Box::new(Member { backup: None, ..m }));
        }
        if hop.dead {
            found.alive = false;
        }
        found.alive |= found.backup.as_ref().is_some_and(|backup| backup.alive);
        Ok(())
    }

    /// Whether the way to the neighbor of a session works; without one nobody asks.
    fn is_heard(&self, session: u32, run: &mut Run) -> bool {
        if session == 0 {
            return true;
        }
        run.facts.insert(Fact::Session(session));
        let name = self.sessions.name(session);
        name.and_then(|name| self.host.sessions.get(name)).copied().unwrap_or_default()
    }

    fn on_link(&self, way: Way, link: u32, run: &mut Run) -> Member {
        run.facts.insert(Fact::Link(link));
        member(way, Dress::default(), self.host.links.get(&link).is_some_and(|link| link.up))
    }

    fn direct(
        &self,
        hop: &Hop,
        link: u32,
        via: IpAddr,
        rib: RibId,
        run: &mut Run,
    ) -> Result<Member, Fault> {
        if !hop.onlink && !is_link_local(via) && !self.is_connected(link, via, rib, run) {
            let name = self.link_name(link);
            return fault(
                format!("gateway {via} is on no connected prefix of {name}"),
                "correct the gateway, add onlink: true, or leave out dev to find it through \
                 other routes",
            );
        }
        Ok(self.on_link(Way::Neighbor(link, via), link, run))
    }

    /// Whether an address lies on a link, by the link's addresses or by a route out of the link.
    fn is_connected(&self, link: u32, via: IpAddr, rib: RibId, run: &mut Run) -> bool {
        run.facts.insert(Fact::Addresses(link));
        if neighbor::is_on_link(self.host, link, via) {
            return true;
        }
        run.facts.insert(Fact::Covers(AddrKey::new(rib, via)));
        let Some(node) = self.rib.covers(rib, via).find(|node| self.rib.is_explicit(*node)) else {
            return false;
        };
        self.rib.candidates(node).any(|(_, offer)| {
            self.targets.get(offer.target).is_some_and(|t| self.is_out_of(&t.key, link, run))
        })
    }

    /// Whether a target names destinations directly on a link.
    fn is_out_of(&self, key: &TargetKey, link: u32, run: &mut Run) -> bool {
        let out_of = |hops: &[Hop]| hops.iter().any(|hop| hop.link == link && hop.via.is_none());
        match key {
            TargetKey::Way(_) => false,
            TargetKey::Hops(Hops { hops, .. }) => out_of(hops),
            TargetKey::Object { teller, id, mtu, .. } => {
                matches!(self.expand((*teller, *id), *mtu, run), Expanded::Hops(hops) if out_of(&hops))
            }
        }
    }

    /// Resolves a gateway through the routes of a RIB.
    fn recurse(&self, via: IpAddr, rib: RibId, run: &mut Run) -> Result<Vec<Member>, Fault> {
        run.facts.insert(Fact::Covers(AddrKey::new(rib, via)));
        let itself = run.stack.last().copied();
        let covers = self.rib.covers(rib, via).filter(|node| self.rib.is_explicit(*node));
        let cover = covers
            .filter_map(|node| Some((node, self.rib.node(node)?.key)))
            .find(|(_, key)| Some(*key) != itself);
        let Some((node, key)) = cover else {
            return fault(
                format!("no route leads to gateway {via}"),
                "add a route to the gateway, or name its link in dev",
            );
        };
        if let Some(start) = run.stack.iter().position(|other| *other == key) {
            return fault(cycle(&run.stack[start..], key), "let one of them name its link in dev");
        }
        if run.stack.len() >= DEPTH {
            return fault(
                format!("gateway {via} is more than {DEPTH} routes away from a link"),
                "resolve gateways through fewer routes",
            );
        }
        run.stack.push(key);
        let found = self.through(node, run);
        run.stack.pop();
        match found {
            Ok(members) => members.into_iter().map(|m| towards(m, via, key)).collect(),
            Err(cause) if cause.what.starts_with(LOOP) => Err(cause),
            Err(cause) => fault(
                format!("gateway {via} resolves through {}: {}", key.prefix(), cause.what),
                cause.remedy,
            ),
        }
    }

    /// The next hops of the candidate that is in force at a prefix.
    fn through(&self, node: u32, run: &mut Run) -> Result<Vec<Member>, Fault> {
        let mut dead = None;
        let mut cause = None;
        for offer in self.rib.ranked(node).into_iter().filter(|o| o.class != Class::Neighbor) {
            let Some(target) = self.targets.get(offer.target) else { continue };
            let (members, issues) = self.members(&target.key, run);
            match choose(members) {
                (State::Alive, members) => return Ok(members),
                (State::Dead, members) => dead = dead.or(Some(members)),
                (State::Unresolvable, _) => cause = cause.or(issues.into_iter().next()),
            }
        }
        dead.ok_or_else(|| Fault {
            what: cause.map_or_else(|| "it has no next hops".into(), |issue| issue.what),
            remedy: "repair that route, or give the gateway another one",
        })
    }

    /// Makes the rows of a chosen member.
    fn finish(&self, member: &mut Member, run: &mut Run, issues: &mut Vec<Issue>) {
        member.row = self.row(member.way, &member.dress, run, issues);
        if member.dress.tunnel.is_some() {
            member.backup = None;
            tunnels::dress(&mut member.row, &member.dress);
        }
        if let Some(backup) = &mut member.backup {
            backup.row = self.row(backup.way, &backup.dress, run, issues);
        }
    }

    fn row(&self, way: Way, dress: &Dress, run: &mut Run, issues: &mut Vec<Issue>) -> NextHopRow {
        let plain = |kind, link| NextHopRow { kind, link, ..NextHopRow::default() };
        match way {
            Way::Neighbor(link, via) => self.link_row(link, Some(via), dress, run, issues),
            Way::Link(link) => self.link_row(link, None, dress, run, issues),
            Way::Deliver => plain(kind::DELIVER, 0),
            Way::Broadcast(link) => plain(kind::BROADCAST, link),
            Way::Blackhole => plain(kind::BLACKHOLE, 0),
            Way::Unreachable => plain(kind::UNREACHABLE, 0),
            Way::Prohibit => plain(kind::PROHIBIT, 0),
            Way::Throw => plain(kind::THROW, 0),
            Way::Lookup(rib) => {
                run.facts.insert(Fact::Rib(rib));
                match self.ribs.vrf(rib) {
                    Some(vrf) => plain(kind::LOOKUP, u32::from(vrf.0)),
                    None => plain(kind::THROW, 0),
                }
            }
        }
    }

    /// The row of a way out of a link: an adjacency if its neighbor is known.
    fn link_row(
        &self,
        link: u32,
        via: Option<IpAddr>,
        dress: &Dress,
        run: &mut Run,
        issues: &mut Vec<Issue>,
    ) -> NextHopRow {
        run.facts.insert(Fact::Link(link));
        let mut row = NextHopRow {
            kind: kind::UNRESOLVED,
            link,
            device: link,
            watch: match dress.session {
                0 => link,
                session => self.sessions.state(session),
            },
            ..Default::default()
        };
        let Some(facts) = self.host.links.get(&link) else { return row };
        let mtu = self.links.mtu(facts);
        row.mtu = dress.mtu.map_or(mtu, |limit| limit.min(mtu));
        let warning = |what: String, remedy: &str| Issue {
            hop: None,
            fatal: false,
            what,
            remedy: remedy.into(),
        };
        if !self.links.has_row(link) {
            issues.push(warning(
                format!(
                    "interface {} has index {link}, beyond table links; packets for it go to the \
                     kernel",
                    facts.name
                ),
                "raise spec.limits.links of the Router object and restart the agent",
            ));
            // Row 0 of table links stands for the kernel, which is always up.
            (row.link, row.device) = (0, 0);
            if dress.session == 0 {
                row.watch = 0;
            }
            return row;
        }
        run.facts.extend(links::lowers(facts, self.host).map(Fact::Link));
        let egress = match links::egress(facts, self.host) {
            Ok(egress) if via.is_some() && !dress.kernel => egress,
            // The kernel sends it, by the same device as others.
            Ok(egress) => return NextHopRow { device: egress.device, ..row },
            Err(_) if via.is_none() || dress.kernel => return row,
            Err(reason) => {
                issues.push(warning(
                    format!("{reason}; packets for it go to the kernel"),
                    "nothing, if the kernel is to send them",
                ));
                return row;
            }
        };
        row.device = egress.device;
        if self.links.is_workload(link) {
            row.flags |= flag::WORKLOAD;
        }
        let Some(via) = via else { return row };
        run.facts.insert(Fact::Neighbor(link, via));
        let neighbor = self.host.neighbors.get(&(link, via)).and_then(neighbor::resolved);
        let Some(mac) = neighbor else { return row };
        row.kind = kind::ADJACENT;
        row.addresses[..6].copy_from_slice(&mac.0);
        row.addresses[6..].copy_from_slice(&egress.mac.0);
        row.tags = egress.tags.len() as u8;
        for (slot, tag) in row.vlans.iter_mut().zip(&egress.tags) {
            *slot = *tag;
        }
        // Only a veth has a far end that frames can be given to.
        if row.flags & flag::WORKLOAD != 0 && facts.kind == "veth" {
            row.flags |= flag::STRAIGHT;
        }
        dress_row(row, dress)
    }

    fn link_name(&self, link: u32) -> String {
        self.host.links.get(&link).map_or_else(|| format!("link {link}"), |link| link.name.clone())
    }
}

const LOOP: &str = "gateways lead in a circle: ";

fn cycle(stack: &[NetKey], back: NetKey) -> String {
    let names: Vec<_> = stack.iter().chain([&back]).map(|key| key.prefix().to_string()).collect();
    format!("{LOOP}{}", names.join(" → "))
}

fn issue(hop: Option<usize>, fault: &Fault) -> Issue {
    Issue { hop, fatal: true, what: fault.what.clone(), remedy: fault.remedy.into() }
}

fn member(way: Way, dress: Dress, alive: bool) -> Member {
    Member { way, dress, weight: 1, alive, backup: None, relief: false, row: NextHopRow::default() }
}

/// A covering route's member with the gateway it is to lead to.
fn towards(member: Member, via: IpAddr, key: NetKey) -> Result<Member, Fault> {
    let way = match member.way {
        Way::Link(link) => Way::Neighbor(link, via),
        way @ (Way::Neighbor(..) | Way::Blackhole | Way::Unreachable | Way::Prohibit) => way,
        Way::Deliver => {
            return fault(
                format!("gateway {via} is an address of this host"),
                "correct the gateway",
            );
        }
        Way::Broadcast(_) => {
            return fault(format!("gateway {via} is a broadcast address"), "correct the gateway");
        }
        Way::Throw | Way::Lookup(_) => {
            let prefix = key.prefix();
            return fault(
                format!("gateway {via} resolves through {prefix}, which leads to another lookup"),
                "give the gateway a route with next hops",
            );
        }
    };
    Ok(Member { way, ..member })
}

fn clothe(own: &Dress, outer: &Dress) -> Result<Dress, Fault> {
    let dress = own.under(outer);
    if dress.labels.len() > MAX_PUSH {
        return fault(
            format!("{} labels would be pushed, more than {MAX_PUSH}", dress.labels.len()),
            "use fewer labels here or on the route that resolves the gateway",
        );
    }
    Ok(dress)
}

fn dress_row(mut row: NextHopRow, dress: &Dress) -> NextHopRow {
    row.labels = dress.labels.len() as u8;
    for (slot, label) in row.stack.iter_mut().zip(&dress.labels) {
        *slot = Lse::new(*label, 0, false, 0).0.get().to_be_bytes();
    }
    if let Some(ttl) = dress.pipe {
        row.flags |= flag::PIPE;
        row.ttl = ttl;
    }
    if let Some(class) = dress.class {
        row.flags |= flag::CLASS;
        row.class = class;
    }
    if dress.entropy {
        row.flags |= flag::ENTROPY;
    }
    row
}

/// The members to use: those that work, or all when none does.
fn choose(mut members: Vec<Member>) -> (State, Vec<Member>) {
    if members.is_empty() {
        return (State::Unresolvable, members);
    }
    if !members.iter().any(|member| member.alive) {
        return (State::Dead, members);
    }
    members.retain(|member| member.alive);
    (State::Alive, members)
}

/// Members of all next hops with shares multiplied. A next hop without living members gives its
/// share to the others.
fn product(parts: Vec<(u64, Vec<Member>)>) -> Vec<Member> {
    let any = parts.iter().flat_map(|(_, members)| members).any(|member| member.alive);
    let parts: Vec<(u64, Vec<Member>)> = parts
        .into_iter()
        .map(|(weight, mut members)| {
            members.retain(|member| member.alive || !any);
            (weight, members)
        })
        .filter(|(_, members)| !members.is_empty())
        .collect();
    let sum = |members: &[Member]| members.iter().map(|member| member.weight).sum::<u64>().max(1);
    let common = parts.iter().try_fold(1u64, |common, (_, members)| {
        let sum = sum(members);
        (common / gcd(common, sum)).checked_mul(sum).filter(|common| *common <= COMMON)
    });
    let common = common.unwrap_or(COMMON);
    let mut all: Vec<Member> = Vec::new();
    for (weight, members) in parts {
        let sum = sum(&members);
        all.extend(members.into_iter().map(|member| {
            let weight = (weight * member.weight * common / sum).max(1);
            Member { weight, ..member }
        }));
    }
    let mut all = merged(all);
    let divisor = all.iter().fold(0, |divisor, member| gcd(divisor, member.weight)).max(1);
    for member in &mut all {
        member.weight /= divisor;
    }
    all
}

/// One member for each that stands for the same, with their weights added up.
fn merged(members: Vec<Member>) -> Vec<Member> {
    let mut first = BTreeMap::new();
    let mut extra = vec![0; members.len()];
    for (at, member) in members.iter().enumerate() {
        let original = *first.entry(member.identity()).or_insert(at);
        if original != at {
            extra[original] += member.weight;
        }
    }
    let kept: BTreeSet<usize> = first.into_values().collect();
    let members = members.into_iter().zip(extra).enumerate();
    members
        .filter(|(at, _)| kept.contains(at))
        .map(|(_, (member, extra))| Member { weight: member.weight + extra, ..member })
        .collect()
}
