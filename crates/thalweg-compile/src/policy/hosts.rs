//! Hosts: for which links their endpoints stand, and what these say there.

use super::lines::Layout;
use super::{Policies, rows_of};
use crate::compiler::Compiler;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::link::flag;
use thalweg_abi::policy::gate;
use thalweg_model::{Key, Problem, Severity};
use thalweg_policy::Verdict;
use thalweg_policy::decide::Cause;
use thalweg_policy::model::{Direction, Stage};
use thalweg_policy::object::HostEndpoint;
use thalweg_policy::resolve::ChainKind;
use thalweg_policy::table::{Cell, Fork, Tables};

/// What stands for all interfaces.
const ALL: &str = "*";

/// One of the questions that an endpoint is asked: the word of its gate ([`gate`]), and the direction.
pub(super) type Question = (usize, Direction);

/// What the endpoints of this host say at its links.
#[derive(Debug, Default)]
pub(super) struct Hosts<'a> {
    /// What each says by its number; what lets everything pass is left out.
    pub forks: BTreeMap<usize, BTreeMap<Question, &'a Fork>>,
    /// The endpoint for all interfaces.
    pub all: Option<usize>,
    /// Whether there is no room for what they say.
    pub closed: bool,
}

impl<'a> Hosts<'a> {
    /// What endpoints say that stand for links, and the one for all interfaces.
    pub fn new(compiler: &'a thalweg_policy::Compiler, standing: &BTreeSet<usize>) -> Self {
        let (tables, all) = (compiler.tables(), compiler.host_of_all());
        let mut forks: BTreeMap<usize, BTreeMap<Question, &Fork>> = BTreeMap::new();
        for (endpoint, kind, fork) in tables.forks() {
            let counts = standing.contains(&endpoint) || all == Some(endpoint);
            if counts && !lets_all_pass(tables, fork) {
                forks.entry(endpoint).or_default().insert(question(kind), fork);
            }
        }
        Self { forks, all, closed: false }
    }

    /// The sets that are asked, each with its direction.
    pub fn sets(&self) -> impl Iterator<Item = (u32, Direction)> {
        let open = self.forks.values().filter(|_| !self.closed);
        open.flatten().flat_map(|((_, direction), fork)| {
            let all = fork.by_class().values().copied().chain([fork.others()]);
            all.map(|set| (set, *direction))
        })
    }

    /// Lines of the gates.
    pub fn lines(&self, layout: &Layout) -> BTreeMap<usize, u32> {
        self.forks.keys().map(|endpoint| (*endpoint, layout.gate(*endpoint))).collect()
    }
}

fn question(kind: ChainKind) -> Question {
    let word = match (kind.stage, kind.forwarded) {
        (Stage::Untracked, _) => gate::UNTRACKED,
        (Stage::PreDnat, _) => gate::BEFORE,
        (Stage::Normal, false) => gate::LOCAL,
        (Stage::Normal, true) => gate::FORWARD,
    };
    (word, kind.direction)
}

/// Whether a fork has nothing to say. What a rule allows is said: it is counted, and of untracked policies it
/// is the last word. What a rule logs is said as well.
fn lets_all_pass(tables: &Tables, fork: &Fork) -> bool {
    let passes = |cell: &Cell| match cell.decision.verdict {
        _ if !cell.logs.is_empty() => false,
        Verdict::Next => true,
        Verdict::Allow => !matches!(cell.decision.cause, Cause::Rule { .. }),
        Verdict::Deny => false,
    };
    let mut sets = fork.by_class().values().copied().chain([fork.others()]);
    sets.all(|set| rows_of(tables, set).all(|row| tables.rows[row as usize].iter().all(passes)))
}

impl Policies {
    /// Whether policies of hosts count at all.
    pub fn guards_hosts(&self) -> bool {
        !self.objects.hosts.is_empty() || self.objects.settings.auto_hosts
    }

    /// The line of the gate at a link with this name and these addresses, and the flag of one that has
    /// something to say of every packet that comes in; 0 where everything may pass.
    pub fn gate_at(&self, interface: &str, addresses: &[IpAddr]) -> (u32, u32) {
        if self.gates.is_empty() {
            return (0, 0);
        }
        let endpoint = self.compiler.host_at(interface, addresses);
        let gate = endpoint.and_then(|endpoint| self.gates.get(&endpoint)).copied().unwrap_or(0);
        let line = self.force.get(gate as usize).filter(|_| gate != 0);
        let untracked = line.is_some_and(|line| line[gate::UNTRACKED] as u32 != 0);
        (gate, if untracked { flag::UNTRACKED } else { 0 })
    }
}

impl Compiler {
    /// What a link's row says of policies ([`thalweg_abi::LinkRow::policy`]), and which flag that takes.
    pub(crate) fn link_policy(&self, index: u32) -> (u32, u32) {
        let Some(link) = self.host.links.get(&index) else { return (0, 0) };
        match self.links.is_workload(index) {
            true => (self.policies.record_of(&link.name), 0),
            false if self.is_gate(index) => {
                self.policies.gate_at(&link.name, &self.addresses_of(index))
            }
            false => (0, 0),
        }
    }

    /// Whether packets come from the network through a link of ours, or leave to it. What arrives at the
    /// passage is of this host's own stack.
    fn is_gate(&self, link: u32) -> bool {
        self.links.get(link).is_some_and(|link| link.ours && !link.wish.workload && !link.wish.host)
    }

    /// The endpoints that stand for links of this host.
    pub(super) fn standing(&self, compiler: &thalweg_policy::Compiler) -> BTreeSet<usize> {
        let links = self.host.links.values().filter(|link| self.is_gate(link.index));
        links
            .filter_map(|link| compiler.host_at(&link.name, &self.addresses_of(link.index)))
            .collect()
    }

    /// Host endpoints of objects that are about this host.
    pub(super) fn host_endpoints(&self) -> impl Iterator<Item = (&String, &HostEndpoint)> {
        let on = self.intent.router.node.as_deref();
        self.policies.objects.hosts.iter().filter(move |(_, host)| on == Some(&*host.node))
    }

    /// What host endpoints ask for and do not get.
    pub(super) fn host_problems(&self, all: &mut BTreeSet<Problem>) {
        let hosts = &self.policies.objects.hosts;
        if self.intent.router.node.is_none() {
            let what =
                "the Router object does not say which node this is: no HostEndpoint stands for it";
            let remedy = "name it in spec.node of the Router object";
            let first = hosts.keys().next();
            all.extend(
                first.map(|name| self.of_host(name, Severity::Warning, what.into(), remedy)),
            );
        }
        if self.limits.flows == 0 {
            let what = "the agent started without services, workloads and host endpoints, so its tables \
                        have no room for flows: everything passes";
            let remedy = "restart the agent";
            let first = self.host_endpoints().next();
            all.extend(
                first.map(|(name, _)| self.of_host(name, Severity::Error, what.into(), remedy)),
            );
            return;
        }
        let compiler = &self.policies.compiler;
        let standing = self.standing(compiler);
        let stands = |name: &str| {
            let mut names = standing.iter().filter_map(|endpoint| compiler.host(*endpoint));
            names.any(|one| one == name)
        };
        for (name, host) in self.host_endpoints() {
            if host.interface.as_deref() != Some(ALL) && !stands(name) {
                let (why, remedy) = self.why_idle(host);
                let what = format!("it stands for no link of this host: {why}");
                all.insert(self.of_host(name, Severity::Warning, what, remedy));
            }
        }
        for name in self.policy_closed_hosts() {
            let what = format!(
                "there is no room for the policies that apply to it ({} lines): what they are about is \
                 denied, but for ports that always stay open",
                self.limits.policy_lines
            );
            let remedy = "raise spec.limits.policyLines of the Router object and restart the agent";
            all.insert(self.of_host(name, Severity::Error, what, remedy));
        }
    }

    /// Why an endpoint stands for no link, and what may help.
    fn why_idle(&self, host: &HostEndpoint) -> (String, &'static str) {
        let Some(name) = &host.interface else {
            let why = "none that is routed here has one of its addresses, or others stand for them";
            return (why.into(), "correct spec.expectedIPs, or name the interface");
        };
        let Some(link) = self.host.link_named(name) else {
            let why = format!("there is no interface {name} (yet)");
            return (why, "correct the name, or create the interface");
        };
        let standing = self.links.get(link.index);
        match standing.filter(|standing| standing.ours) {
            None => {
                let reason = standing.map_or("not ours", |standing| &standing.reason);
                let why =
                    format!("{name} is not routed by Thalweg ({reason}), and everything passes");
                (why, "name the interface in a Link object, or guard it by other means")
            }
            Some(standing) if standing.wish.workload => {
                let why = format!("{name} leads to a workload");
                (why, "write policies that select the pod")
            }
            Some(_) => {
                let other = self.host_endpoint_at(link.index).unwrap_or("another one");
                (format!("HostEndpoint/{other} stands for {name}"), "remove one of them")
            }
        }
    }

    /// The name of the host endpoint that stands for a link, if one does.
    pub fn host_endpoint_at(&self, link: u32) -> Option<&str> {
        let (compiler, found) = (&self.policies.compiler, self.host.links.get(&link)?);
        let endpoint = compiler.host_at(&found.name, &self.addresses_of(link));
        compiler.host(endpoint.filter(|_| self.is_gate(link))?)
    }

    fn of_host(&self, name: &str, severity: Severity, what: String, remedy: &str) -> Problem {
        let object = self.policies.objects.hosts.get(name);
        Problem {
            severity,
            origin: object.map(|host| host.origin.clone()).unwrap_or_default(),
            object: Some(Key { kind: "HostEndpoint".into(), name: name.into() }),
            field: None,
            what,
            remedy: remedy.into(),
        }
    }
}
