//! Policies: from objects to lines of table `policy`, each time those that differ.

mod addresses;
mod causes;
mod family;
mod gates;
mod hosts;
mod lines;
mod root;
mod store;

pub(crate) use causes::Numbers;
pub use causes::{Cause, Logged};

use crate::compiler::Compiler;
use crate::pods;
use causes::Causes;
use hosts::Hosts;
use lines::{FIRST, Layout, Local, Wanted};
use root::Root;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use thalweg_abi::link::flag;
use thalweg_abi::policy::Line;
use thalweg_image::Change;
use thalweg_model::cluster::{Cluster, ObjectName, Pod};
use thalweg_model::policy::ToHost;
use thalweg_model::{Catalog, Intent, PolicySettings, Problem, Severity};
use thalweg_policy::model::Direction;
use thalweg_policy::table::Tables;
use thalweg_policy::{Objects, Resolution, ThisHost, Verdict};

/// What policies come to, and what of it is in force.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    pub(crate) objects: Objects,
    /// Lines in force, without zeros at their end.
    force: Vec<Line>,
    pub(crate) numbers: Numbers,
    /// What objects come to, which follows them.
    compiler: thalweg_policy::Compiler,
    /// The lines in force, as far as they can follow.
    layout: Option<Layout>,
    /// The pods whose packets are decided here, of `pods` on `node`.
    local: BTreeSet<ObjectName>,
    /// Pods of this node of which no link is known, so that nobody asks policies about them here.
    unguarded: BTreeSet<ObjectName>,
    pods: Catalog<ObjectName, Pod>,
    node: Option<String>,
    /// By interface the number of a local record of the workload there, plus one.
    links: BTreeMap<String, u32>,
    /// By endpoint the line of the gate that this host has where it stands.
    gates: BTreeMap<usize, u32>,
    /// Workloads whose rules have no room.
    closed: BTreeSet<ObjectName>,
    /// Whether those of this host itself have none.
    hosts_closed: bool,
    /// Whether there was no room even for addresses, so that those before stay in force.
    stuck: bool,
    /// Whether anything was changed that they depend on.
    todo: bool,
}

impl Policies {
    /// Where policies begin; 0 where there are none.
    pub fn first_line(&self) -> u32 {
        if self.force.is_empty() { 0 } else { FIRST }
    }

    /// The number of a local record of the workload at an interface, plus one; 0 for none.
    pub fn record_of(&self, interface: &str) -> u32 {
        self.links.get(interface).copied().unwrap_or(0)
    }

    /// Notes that something changed that policies depend on.
    pub fn note(&mut self) {
        self.todo = true;
    }

    /// Puts other lines in the place of those in force: the change, if they differ. Without `changed`, any
    /// may be others.
    fn replace(&mut self, lines: &[Line], changed: Option<BTreeSet<u32>>) -> Option<Change> {
        let len = lines.len().max(self.force.len()) as u32;
        self.force.resize(len as usize, Line::default());
        let mut written = Vec::new();
        let mut put = |at: u32| {
            let line = lines.get(at as usize).copied().unwrap_or_default();
            if let Some(place) = self.force.get_mut(at as usize).filter(|place| **place != line) {
                *place = line;
                written.push((at, line));
            }
        };
        match changed {
            Some(changed) => changed.into_iter().for_each(&mut put),
            None => (0..len).for_each(&mut put),
        }
        self.force.truncate(lines.len());
        (!written.is_empty()).then_some(Change::Policy(written))
    }
}

impl Compiler {
    /// Replaces the objects that policies are made of.
    pub fn set_policies(&mut self, objects: Objects) {
        let before = std::mem::replace(&mut self.policies.objects, objects);
        if before != self.policies.objects {
            self.policies.note();
        }
    }

    /// The objects that policies are made of.
    pub fn policy_objects(&self) -> &Objects {
        &self.policies.objects
    }

    /// Notes whether policies must be looked at again.
    pub(crate) fn note_policies(&mut self, old: &Intent) {
        let (old, new) = ((&old.cluster, &old.router), (&self.intent.cluster, &self.intent.router));
        if !old.0.pods.differences(&new.0.pods).is_empty()
            || !old.0.services.differences(&new.0.services).is_empty()
            || !old.0.slices.differences(&new.0.slices).is_empty()
            || old.0.nodes != new.0.nodes
            || old.1.node != new.1.node
            || old.1.policy != new.1.policy
        {
            self.policies.note();
        }
    }

    /// Policies as they are resolved for the workloads of this host
    /// ([`thalweg_policy::Compiler::resolution`]).
    pub fn policies(&self) -> &Resolution {
        self.policies.compiler.resolution()
    }

    /// What a number of the data plane stands for ([`thalweg_abi::policy::cause`]).
    pub fn policy_cause(&self, number: u32) -> Option<&Cause> {
        self.policies.numbers.cause(number)
    }

    /// All that can decide, with the numbers that it is counted by.
    pub fn policy_causes(&self) -> impl Iterator<Item = (u32, &Cause)> {
        self.policies.numbers.iter()
    }

    /// Workloads without room for their rules: they are closed.
    pub fn policy_closed(&self) -> impl Iterator<Item = &ObjectName> {
        self.policies.closed.iter()
    }

    /// Endpoints of this host without room for their rules: they are closed but for ports that always stay
    /// open.
    pub fn policy_closed_hosts(&self) -> impl Iterator<Item = &str> {
        let closed = self.policies.gates.keys().filter(|_| self.policies.hosts_closed);
        closed.filter_map(|endpoint| self.policies.compiler.host(*endpoint))
    }

    /// Lines of policies in force, and how many there is room for.
    pub fn policy_room(&self) -> (u32, u32) {
        (self.policies.force.len() as u32, self.limits.policy_lines)
    }

    /// The change to table `policy`, if there is any.
    pub(crate) fn policy_change(&mut self) -> Option<Change> {
        if !std::mem::take(&mut self.policies.todo) || self.limits.flows == 0 {
            return None;
        }
        let change = self.follow_policies();
        let is_other = |link: &&u32| {
            let row = self.published.links.get(*link);
            let told = row.map(|row| (row.policy, row.flags & flag::UNTRACKED));
            told.is_some_and(|told| told != self.link_policy(**link))
        };
        let touched: Vec<u32> = self.host.links.keys().filter(is_other).copied().collect();
        self.pending.links.extend(touched);
        change
    }

    fn follow_policies(&mut self) -> Option<Change> {
        self.policies.closed.clear();
        (self.policies.hosts_closed, self.policies.stuck) = (false, false);
        self.find_local();
        if self.says_nothing() {
            self.policies.compiler = thalweg_policy::Compiler::default();
            self.policies.layout = None;
            self.policies.links.clear();
            self.policies.gates.clear();
            return self.policies.replace(&[], None);
        }
        let mut compiler = std::mem::take(&mut self.policies.compiler);
        let own = self.own_locals();
        let node = self.intent.router.node.clone();
        let host = ThisHost { node, addresses: own.keys().copied().collect() };
        let Policies { objects, local, .. } = &self.policies;
        compiler.update(objects, &self.intent.cluster, local, &host);
        let mut locals = own;
        locals.extend(pod_locals(&compiler));
        let mut hosts = Hosts::new(&compiler, &self.standing(&compiler));
        let (mut layout, is_held) = self.fit(&compiler, &mut locals, &mut hosts);
        if layout.lines().len() as u32 > self.limits.policy_lines {
            self.policies.stuck = true;
            self.policies.compiler = compiler;
            return None;
        }
        self.policies.links = links(&locals, &self.intent.cluster, &self.policies.local);
        self.policies.gates = hosts.lines(&layout);
        self.policies.hosts_closed = hosts.closed;
        self.policies.compiler = compiler;
        let changed = layout.take_changed();
        let change = self.policies.replace(layout.lines(), is_held.then_some(changed));
        // Where some are closed, there may be room for others the next time.
        let is_whole = self.policies.closed.is_empty() && !self.policies.hosts_closed;
        self.policies.layout = Some(layout).filter(|_| is_whole);
        change
    }

    /// Whether everything may pass: no policy is there, no host endpoint, which denies without one, and no
    /// setting.
    fn says_nothing(&self) -> bool {
        self.policies.objects.policies.is_empty()
            && self.host_endpoints().next().is_none()
            && self.policies.objects.settings.to_host != ToHost::Drop
    }

    /// Settings of policies. Objects have those that were read with them.
    fn policy_settings(&self) -> PolicySettings {
        let rejects = self.intent.router.policy.rejects;
        PolicySettings { rejects, ..self.policies.objects.settings.clone() }
    }

    /// Finds the pods whose packets are decided here, by those that are others than before.
    fn find_local(&mut self) {
        let Policies { pods, node, local, unguarded, .. } = &mut self.policies;
        let (now, on) = (&self.intent.cluster.pods, &self.intent.router.node);
        if node != on {
            (*pods, *node) = (Catalog::default(), on.clone());
            local.clear();
            unguarded.clear();
        }
        let put = |names: &mut BTreeSet<ObjectName>, name: &ObjectName, is: bool| match is {
            true => names.insert(name.clone()),
            false => names.remove(name),
        };
        for one in pods.differences(now) {
            let is =
                |of: fn(&Intent, &Pod) -> bool| one.new.is_some_and(|pod| of(&self.intent, pod));
            put(local, one.key, is(pods::is_here));
            put(unguarded, one.key, is(pods::is_unguarded));
        }
        *pods = now.clone();
    }

    /// Addresses of this host: whoever speaks from them reaches its workloads.
    fn own_locals(&self) -> BTreeMap<IpAddr, Local> {
        let own = self.host.addresses.values().map(|address| address.address);
        own.filter(|address| !address.is_loopback()).map(|own| (own, lines::HOST)).collect()
    }

    /// The lines, and if need be some workloads without room for their rules, from the largest on, and last
    /// this host itself; and whether they are those in force that followed.
    fn fit(
        &mut self,
        compiler: &thalweg_policy::Compiler,
        locals: &mut BTreeMap<IpAddr, Local>,
        hosts: &mut Hosts<'_>,
    ) -> (Layout, bool) {
        let (tables, resolution) = (compiler.tables(), compiler.resolution());
        let moved = &compiler.change().sets;
        let mut held = self.policies.layout.take();
        let settings = self.policy_settings();
        let mut root = Root::is_worth(self.limits.policy_lines);
        loop {
            let numbers = &mut self.policies.numbers;
            let mut causes = Causes { resolution, numbers };
            let is_held = held.is_some();
            let mut layout = held.take().unwrap_or_default();
            let wanted = Wanted { locals, hosts, settings: &settings, root };
            layout.update(tables, moved, wanted, &mut causes);
            let fits = layout.lines().len() as u32 <= self.limits.policy_lines;
            match is_held {
                true if fits && !layout.is_loose() => return (layout, true),
                // From nothing it takes less room.
                true => continue,
                false if fits => return (layout, false),
                false if root => {
                    root = false;
                    continue;
                }
                false => {}
            }
            let size = |local: &Local| {
                let cells = |row: &u32| tables.rows[*row as usize].len();
                let rows = |set: &u32| -> usize {
                    tables.sets[*set as usize].rows().iter().map(cells).sum()
                };
                local.sets.iter().flatten().map(rows).max()
            };
            let open = locals.iter().filter(|(_, local)| !local.closed);
            let largest = open.filter_map(|(at, local)| Some((size(local)?, *at))).max();
            let Some((_, largest)) = largest else {
                if !hosts.closed && !hosts.forks.is_empty() {
                    hosts.closed = true;
                    continue;
                }
                // Not even addresses fit: nothing that is local is told apart any more.
                return (lines::all_closed(locals, hosts, &settings, &mut causes), false);
            };
            let pods = &self.intent.cluster.pods;
            let has = |name: &&ObjectName| {
                pods.get(*name).is_some_and(|pod| pod.addresses.contains(&largest))
            };
            let name = self.policies.local.iter().find(has).cloned();
            self.policies.closed.extend(name);
            locals.entry(largest).and_modify(|local| local.closed = true);
        }
    }

    /// Whose rules had no room, and what guards nothing.
    pub(crate) fn policy_problems(&self, all: &mut BTreeSet<Problem>) {
        self.host_problems(all);
        all.extend(self.stuck_problem());
        all.extend(self.unguarded_problem());
        for name in &self.policies.closed {
            let what = format!(
                "there is no room for the policies that apply to it ({} lines): it reaches nobody and \
                 nobody reaches it",
                self.limits.policy_lines
            );
            let remedy = "raise spec.limits.policyLines of the Router object and restart the agent";
            let name = name.to_string();
            all.insert(self.of_object("Pod", &name, Severity::Error, None, what, remedy.into()));
        }
    }

    /// That policies are asked about pods of this node nowhere: one that nobody told the link of would
    /// otherwise be as open as before, with all its policies called in force.
    fn unguarded_problem(&self) -> Option<Problem> {
        let mut policies = self.policies.objects.policies.keys();
        policies.find(|id| id.kind.of_staged().is_none())?;
        let first = self.policies.unguarded.first()?.to_string();
        let what = match self.policies.unguarded.len() {
            1 => "no interface of it is known, so that policies about it are not in force".into(),
            many => format!(
                "no interface of it and of {} more pods of this node is known, so that policies about them \
                 are not in force",
                many - 1
            ),
        };
        let remedy = "name the host's side of the veth in the annotation `thalweg.io/interface`";
        let field = Some("metadata.annotations".into());
        Some(self.of_object("Pod", &first, Severity::Warning, field, what, remedy.into()))
    }

    /// That not even addresses had room.
    fn stuck_problem(&self) -> Option<Problem> {
        let router = self.intent.router_object();
        self.policies.stuck.then(|| Problem {
            severity: Severity::Error,
            origin: router.map(|(_, origin)| origin.clone()).unwrap_or_default(),
            object: router.map(|(key, _)| key.clone()),
            field: Some("spec.limits.policyLines".into()),
            what: format!(
                "there is no room even for the addresses that policies are about ({} lines): those before \
                 stay in force, and nothing new is guarded",
                self.limits.policy_lines
            ),
            remedy: "raise it and restart the agent".into(),
        })
    }
}

/// Addresses of workloads of this host with their sets. Of two with one address the first by name counts.
fn pod_locals(compiler: &thalweg_policy::Compiler) -> BTreeMap<IpAddr, Local> {
    let tables = compiler.tables();
    let mut locals: BTreeMap<IpAddr, (&ObjectName, Local)> = BTreeMap::new();
    for (at, address, direction, set) in tables.endpoints() {
        let Some(name) = compiler.pod(at) else { continue };
        let (first, local) = locals.entry(address).or_insert((name, Local::default()));
        if name < *first {
            (*first, *local) = (name, Local::default());
        }
        if *first == name {
            let place = if direction == Direction::Ingress { 0 } else { 1 };
            local.sets[place] = Some(set).filter(|set| !allows_all(tables, *set));
        }
    }
    locals.into_iter().map(|(address, (_, local))| (address, local)).collect()
}

/// By interface the number of a record of the workload there, plus one: records go by address.
fn links(
    locals: &BTreeMap<IpAddr, Local>,
    cluster: &Cluster,
    here: &BTreeSet<ObjectName>,
) -> BTreeMap<String, u32> {
    let numbers: HashMap<IpAddr, u32> = locals.keys().copied().zip(1..).collect();
    let here = here.iter().filter_map(|name| cluster.pods.get(name));
    let record = |pod: &Pod| {
        let number = pod.addresses.iter().find_map(|address| numbers.get(address))?;
        Some((pod.interface.clone()?, *number))
    };
    here.filter_map(record).collect()
}

/// Whether a set has nothing to say.
fn allows_all(tables: &Tables, set: u32) -> bool {
    let is_open = |row: u32| match &tables.rows[row as usize][..] {
        [cell] => cell.decision.verdict == Verdict::Allow && cell.logs.is_empty(),
        _ => false,
    };
    rows_of(tables, set).all(is_open)
}

/// Rows of a set that some class may lead to. Groups that no address is in may still be there.
fn rows_of(tables: &Tables, set: u32) -> impl Iterator<Item = u32> {
    let set = &tables.sets[set as usize];
    let groups: BTreeSet<u32> = set.groups().values().copied().chain([0]).collect();
    let len = (set.protocols().len() + 1) * set.sources().len();
    groups
        .into_iter()
        .flat_map(move |group| set.rows().iter().skip(group as usize * len).take(len).copied())
}
