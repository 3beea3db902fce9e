//! What is wrong at the moment: every object with its place, the value and the way out.

use crate::compiler::Compiler;
use crate::plan::route_change;
use crate::pool::Pool;
use crate::rib::Source;
use crate::slab::NIL;
use crate::target::{Issue, State, Target};
use std::collections::BTreeSet;
use thalweg_abi::{GroupId, VrfId};
use thalweg_image::{Change, Failure};
use thalweg_model::{Key, Origin, Prefix, Problem, Severity, Teller};

impl Compiler {
    /// Everything that is wrong at the moment, worst first within each object's place.
    pub fn problems(&self) -> Vec<Problem> {
        let mut all: BTreeSet<Problem> = BTreeSet::new();
        all.extend(self.vrfs.problems.iter().cloned());
        all.extend(self.links.problems.iter().cloned());
        all.extend(self.session_problems());
        all.extend(self.limits_problem());
        self.findings(&mut all);
        self.issues(&mut all);
        self.learned_problems(&mut all);
        self.lsp_problems(&mut all);
        self.service_problems(&mut all);
        self.service_gaps(&mut all);
        self.policy_problems(&mut all);
        all.extend(self.room_problems());
        all.extend(self.refused.values().map(|(problem, _)| problem.clone()));
        let mut all: Vec<Problem> = all.into_iter().collect();
        all.sort_by(|a, b| {
            (&a.origin, b.severity, &a.object).cmp(&(&b.origin, a.severity, &b.object))
        });
        all
    }

    fn limits_problem(&self) -> Option<Problem> {
        let mut wished = self.intent.router.limits.clone();
        // What nobody asked for was chosen by what there was at the start.
        for (wish, used) in [
            (&mut wished.frontends, self.limits.frontends),
            (&mut wished.backends, self.limits.backends),
            (&mut wished.ring_slots, self.limits.ring_slots),
            (&mut wished.policy_lines, self.limits.policy_lines),
            (&mut wished.flows, self.limits.flows),
        ] {
            if *wish == 0 {
                *wish = used;
            }
        }
        let differs = wished != self.limits && !self.intent.origins.is_empty();
        let (key, origin) = self.intent.router_object()?;
        differs.then(|| Problem {
            severity: Severity::Warning,
            origin: origin.clone(),
            object: Some(key.clone()),
            field: Some("spec.limits".into()),
            what: "the tables in use have other sizes".into(),
            remedy: "restart the agent to make tables of the new sizes".into(),
        })
    }

    /// What is wrong with objects by themselves.
    fn findings(&self, all: &mut BTreeSet<Problem>) {
        for (is_label, name) in self.index.faulty() {
            let (kind, findings) = match is_label {
                true => ("LabelRoute", self.labels.get(name).map(|entry| &entry.findings)),
                false => ("Route", self.routes.get(name).map(|entry| &entry.findings)),
            };
            all.extend(findings.into_iter().flatten().map(|f| {
                let (field, what, remedy) = (f.field.clone(), f.what.clone(), f.remedy.clone());
                self.of_object(kind, name, f.severity, Some(field), what, remedy)
            }));
        }
    }

    /// What is wrong with that to which objects lead.
    fn issues(&self, all: &mut BTreeSet<Problem>) {
        for (index, target) in self.targets.troubled() {
            let mut report = |kind, name: &str| {
                all.extend(graded(target).map(|(issue, severity)| {
                    let (what, remedy) = (issue.what.clone(), issue.remedy.clone());
                    self.of_object(kind, name, severity, field_of(issue), what, remedy)
                }));
            };
            let labels = self.index.by_target.get(&index);
            labels.into_iter().flatten().for_each(|name| report("LabelRoute", name));
            if !self.index.is_of_routes(index) {
                continue;
            }
            for node in self.rib.nodes_of(index, false) {
                let offers = self.rib.candidates(node).map(|(_, offer)| offer);
                let ours = offers.filter(|o| o.target == index && o.source == Source::Intent);
                let names = ours.filter_map(|offer| self.route_names.get(offer.data));
                names.for_each(|name| report("Route", name));
            }
        }
    }

    pub(crate) fn of_object(
        &self,
        kind: &str,
        name: &str,
        severity: Severity,
        field: Option<String>,
        what: String,
        remedy: String,
    ) -> Problem {
        Problem {
            severity,
            origin: self.intent.origin(kind, name),
            object: Some(Key { kind: kind.into(), name: name.into() }),
            field,
            what,
            remedy,
        }
    }

    /// Routes that were learned and cannot be in force as they are: one finding per target, with
    /// an example.
    fn learned_problems(&self, all: &mut BTreeSet<Problem>) {
        for (index, target) in self.targets.troubled() {
            let mut example = None;
            let mut more = 0u32;
            let mut teller = Teller::Kernel;
            for node in self.rib.nodes_of(index, false) {
                let offers = self.rib.candidates(node).map(|(_, offer)| offer);
                let told = offers.filter(|o| o.target == index).find_map(|o| match o.source {
                    Source::Fpm => Some(Teller::Fpm),
                    Source::Kernel | Source::KernelLocal => Some(Teller::Kernel),
                    _ => None,
                });
                if let Some(told) = told {
                    more += 1;
                    teller = told;
                    let prefix = self.rib.node(node).map(|node| node.key.prefix());
                    example = example.min(prefix).or(prefix);
                }
            }
            let Some(example) = example else { continue };
            for (issue, severity) in graded(target) {
                let also = if more > 1 { format!(" and {} more", more - 1) } else { String::new() };
                all.insert(Problem {
                    severity,
                    origin: origin_of(teller),
                    object: None,
                    field: None,
                    what: format!("route {example}{also}: {}", issue.what),
                    remedy: issue.remedy.clone(),
                });
            }
        }
    }

    /// Labels that were learned and cannot be in force as they are: one finding per target.
    fn lsp_problems(&self, all: &mut BTreeSet<Problem>) {
        let mut report = |teller, severity, what, remedy: &str| {
            let (origin, remedy) = (origin_of(teller), remedy.to_owned());
            all.insert(Problem { severity, origin, object: None, field: None, what, remedy });
        };
        for (index, target) in self.targets.troubled() {
            let mut labels = self.lsps.to(index);
            let Some(label) = labels.next() else { continue };
            let more = labels.count();
            let of = |teller| self.lsps.target(label, teller) == Some(index);
            let teller = if of(Teller::Fpm) { Teller::Fpm } else { Teller::Kernel };
            let also = if more > 0 { format!(" and {more} more") } else { String::new() };
            for (issue, severity) in graded(target) {
                let what = format!("label {label}{also}: {}", issue.what);
                report(teller, severity, what, &issue.remedy);
            }
        }
        let mut beyond = self.lsps.beyond(self.limits.labels);
        if let Some((label, teller)) = beyond.next() {
            let more = beyond.count();
            let also = if more > 0 { format!(" and {more} more") } else { String::new() };
            let last = self.limits.labels.saturating_sub(1);
            report(
                teller,
                Severity::Error,
                format!("label {label}{also}: beyond the label table, which ends at {last}"),
                "raise spec.limits.labels of the Router object and restart the agent",
            );
        }
    }

    /// Numbers that are used up.
    fn room_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let (groups, most_groups) = self.groups.usage();
        let (rows, most_rows) = self.rows.usage();
        let wanting: u32 = self.pending.starved.iter().map(|t| self.rib.users(*t).max(1)).sum();
        let mut report = |what: String| {
            problems.push(Problem {
                severity: Severity::Error,
                origin: Origin::default(),
                object: None,
                field: None,
                what,
                remedy: "raise spec.limits of the Router object and restart the agent, or let \
                         routes share next hops"
                    .into(),
            });
        };
        if wanting > 0 {
            report(format!(
                "{wanting} routes or labels are not in force for want of next hop groups: {groups} \
                 of {most_groups} groups and {rows} of {most_rows} next hops are in use"
            ));
        }
        if !self.pending.stale.is_empty() {
            report(format!(
                "{} next hop groups keep outdated next hops: {rows} of {most_rows} next hops are in \
                 use",
                self.pending.stale.len()
            ));
        }
        problems
    }

    /// Notes what the plane could not take; it is tried again when there is more room.
    ///
    /// Call it after each plan, before the next: numbers that the plan freed stay unused while the
    /// plane may still follow them.
    pub fn refused(&mut self, failures: &[Failure]) {
        if !failures.is_empty() {
            self.pools().into_iter().for_each(Pool::hold);
        }
        for failure in failures {
            let Some(identity) = identity(&failure.change) else { continue };
            let (object, origin) = self.culprit(&failure.change);
            let problem = Problem {
                severity: Severity::Error,
                origin,
                object,
                field: None,
                what: format!(
                    "{identity} did not fit: table {} holds {} of {} cells",
                    failure.table.name(),
                    failure.used,
                    failure.capacity
                ),
                remedy: "raise spec.limits of the Router object and restart the agent".into(),
            };
            self.refused.insert(identity, (problem, failure.change.clone()));
        }
    }

    /// Whether the plane could not take the route that is in force.
    pub(crate) fn is_refused(&self, vrf: VrfId, prefix: Prefix) -> bool {
        !self.refused.is_empty()
            && identity(&route_change(vrf, prefix, GroupId::NONE))
                .is_some_and(|identity| self.refused.contains_key(&identity))
    }

    /// The object behind a change.
    fn culprit(&self, change: &Change) -> (Option<Key>, Origin) {
        let route = |vrf: VrfId, prefix: Prefix| {
            let name = self.owner(vrf, prefix)?;
            Some(Key { kind: "Route".into(), name })
        };
        let object = match change {
            Change::Route4(vrf, prefix, _) => route(*vrf, Prefix::V4(*prefix)),
            Change::Route6(vrf, prefix, _) => route(*vrf, Prefix::V6(*prefix)),
            Change::Label(label, _) => self
                .index
                .label_owner(*label)
                .map(|name| Key { kind: "LabelRoute".into(), name: name.into() }),
            _ => None,
        };
        let origin = match (&object, change) {
            (Some(key), _) => self.intent.origin(&key.kind, &key.name),
            (None, Change::Route4(..) | Change::Route6(..)) => kernel(),
            _ => Origin::default(),
        };
        (object, origin)
    }

    /// Adds refused changes again where a plan frees something, and forgets those it overrides.
    pub(crate) fn retry_refused(&mut self, changes: &mut Vec<Change>) {
        if self.refused.is_empty() {
            return;
        }
        let mut room = 0;
        for change in changes.iter() {
            if let Some(identity) = identity(change) {
                self.refused.remove(&identity);
            }
            room += usize::from(frees(change));
        }
        if room == 0 {
            return;
        }
        let again: Vec<String> = self.refused.keys().take(16 + 4 * room).cloned().collect();
        for identity in again {
            let Some((_, change)) = self.refused.remove(&identity) else { continue };
            changes.extend(self.current(change));
        }
    }

    /// A change as it would be made now.
    fn current(&self, change: Change) -> Option<Change> {
        match change {
            Change::Route4(vrf, prefix, _) => self.current_route(vrf, Prefix::V4(prefix)),
            Change::Route6(vrf, prefix, _) => self.current_route(vrf, Prefix::V6(prefix)),
            Change::Label(label, _) => {
                self.published.labels.get(&label).map(|word| Change::Label(label, *word))
            }
            Change::Group(id, _) => {
                self.groups.image_of(id).map(|members| Change::Group(id, members))
            }
            Change::NextHop(id, _) => self.rows.get(id).map(|row| Change::NextHop(id, *row)),
            Change::Link(link, _) => {
                self.published.links.get(&link).map(|row| Change::Link(link, *row))
            }
            other => Some(other),
        }
    }

    fn current_route(&self, vrf: VrfId, prefix: Prefix) -> Option<Change> {
        let rib = self.vrfs.iter().find(|(_, found)| found.id == vrf)?.1.rib;
        let node = self.rib.find(crate::key::NetKey::new(rib, prefix))?;
        let force = self.rib.node(node)?.force;
        let group = self.groups.get(force).map_or(GroupId::NONE, |group| group.id);
        (force != NIL).then(|| route_change(vrf, prefix, group))
    }
}

fn kernel() -> Origin {
    origin_of(Teller::Kernel)
}

/// Where something stands that no file names.
pub(crate) fn origin_of(teller: Teller) -> Origin {
    let file = match teller {
        Teller::Kernel => "kernel",
        Teller::Fpm => "fpm",
    };
    Origin { file: file.into(), line: 0, column: 0 }
}

/// Issues of a target; those that leave a next hop out are errors only if nothing is left.
fn graded(target: &Target) -> impl Iterator<Item = (&Issue, Severity)> {
    let unusable = target.outcome.state == State::Unresolvable;
    target.outcome.issues.iter().map(move |issue| {
        let severity = if issue.fatal && unusable { Severity::Error } else { Severity::Warning };
        (issue, severity)
    })
}

fn field_of(issue: &Issue) -> Option<String> {
    issue.hop.map(|hop| format!("spec.nextHops[{hop}]"))
}

fn frees(change: &Change) -> bool {
    matches!(
        change,
        Change::Route4(_, _, GroupId::NONE)
            | Change::Route6(_, _, GroupId::NONE)
            | Change::FreeGroup(_)
            | Change::FreeNextHop(_)
            | Change::RemoveFrontend(_)
            | Change::FreeBackends(_)
    )
}

/// What a change is about, in words; none for what frees or always fits.
fn identity(change: &Change) -> Option<String> {
    Some(match change {
        Change::Link(link, _) => format!("link {link}"),
        Change::Vlan { page, vid, .. } => format!("VLAN {vid} of page {page}"),
        Change::NextHop(id, _) => format!("next hop {}", id.0),
        Change::Group(id, _) => format!("next hop group {}", id.0),
        Change::Route4(VrfId(0), prefix, _) => format!("route {prefix}"),
        Change::Route6(VrfId(0), prefix, _) => format!("route {prefix}"),
        Change::Route4(vrf, prefix, _) => format!("route {prefix} of VRF {}", vrf.0),
        Change::Route6(vrf, prefix, _) => format!("route {prefix} of VRF {}", vrf.0),
        Change::Label(label, _) => format!("label {label}"),
        Change::Backends(id, _) => format!("backends {}", id.0),
        Change::Frontend(key, _) => format!("frontend {}", key),
        // What does not fit is left out before: [`crate::policy`].
        Change::Policy(_)
        | Change::Settings(_)
        | Change::Own(_)
        | Change::FreeGroup(_)
        | Change::FreeNextHop(_)
        | Change::RemoveFrontend(_)
        | Change::FreeBackends(_) => return None,
    })
}
