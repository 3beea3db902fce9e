//! Intent objects by what they have in common, so that a change finds all it concerns.

use crate::compiler::Pending;
use crate::objects::{self, Mention, RouteEntry};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_model::Prefix;
use thalweg_model::intent::{LabelRoute, Route};

/// Objects by what they mention: whether it is a label, and its name.
type Users = BTreeMap<String, BTreeSet<(bool, String)>>;

/// Intent objects by what they have in common.
#[derive(Debug, Default)]
pub(crate) struct ObjectIndex {
    routes: BTreeMap<(String, Prefix, u32), BTreeSet<String>>,
    labels: BTreeMap<u32, BTreeSet<String>>,
    devices: Users,
    sessions: Users,
    /// Labels by target.
    pub(crate) by_target: BTreeMap<u32, BTreeSet<String>>,
    /// How many routes lead to each target.
    route_targets: BTreeMap<u32, usize>,
    /// Objects with findings.
    faulty: BTreeSet<(bool, String)>,
}

impl ObjectIndex {
    pub(crate) fn learn_route(&mut self, name: &str, route: &Route, todo: &mut Pending) {
        let key = (route.vrf.clone(), route.prefix, route.metric);
        let twins = self.routes.entry(key).or_default();
        twins.insert(name.into());
        todo.routes.extend(twins.iter().cloned());
        for mention in objects::route_mentions(route) {
            self.note(mention, (false, name.into()));
        }
    }

    pub(crate) fn forget_route(&mut self, name: &str, route: &Route, todo: &mut Pending) {
        let key = (route.vrf.clone(), route.prefix, route.metric);
        if let Some(twins) = self.routes.get_mut(&key) {
            todo.routes.extend(twins.iter().cloned());
            twins.remove(name);
            if twins.is_empty() {
                self.routes.remove(&key);
            }
        }
        for mention in objects::route_mentions(route) {
            self.forget(mention, &(false, name.into()));
        }
    }

    pub(crate) fn learn_label(&mut self, name: &str, label: &LabelRoute, todo: &mut Pending) {
        let twins = self.labels.entry(label.label.get()).or_default();
        twins.insert(name.into());
        todo.labels.extend(twins.iter().cloned());
        for mention in objects::label_mentions(label) {
            self.note(mention, (true, name.into()));
        }
    }

    pub(crate) fn forget_label(&mut self, name: &str, label: &LabelRoute, todo: &mut Pending) {
        let number = label.label.get();
        todo.lost_labels.insert(number);
        if let Some(twins) = self.labels.get_mut(&number) {
            todo.labels.extend(twins.iter().cloned());
            twins.remove(name);
            if twins.is_empty() {
                self.labels.remove(&number);
            }
        }
        for mention in objects::label_mentions(label) {
            self.forget(mention, &(true, name.into()));
        }
    }

    fn note(&mut self, mention: Mention, user: (bool, String)) {
        let (map, name) = self.users(mention);
        map.entry(name.into()).or_default().insert(user);
    }

    fn forget(&mut self, mention: Mention, user: &(bool, String)) {
        let (map, name) = self.users(mention);
        if let Some(users) = map.get_mut(name) {
            users.remove(user);
            if users.is_empty() {
                map.remove(name);
            }
        }
    }

    fn users<'n>(&mut self, mention: Mention<'n>) -> (&mut Users, &'n str) {
        match mention {
            Mention::Device(name) => (&mut self.devices, name),
            Mention::Session(name) => (&mut self.sessions, name),
        }
    }

    /// Notes what became of a route; none is gone.
    pub(crate) fn settle_route(&mut self, name: &str, old: Option<u32>, new: Option<&RouteEntry>) {
        let target = new.and_then(|entry| entry.target);
        if old != target {
            if let Some(target) = target {
                *self.route_targets.entry(target).or_default() += 1;
            }
            if let Some(count) = old.and_then(|old| self.route_targets.get_mut(&old)) {
                *count -= 1;
            }
            if let Some(old) = old.filter(|old| self.route_targets.get(old) == Some(&0)) {
                self.route_targets.remove(&old);
            }
        }
        self.settle(false, name, new.is_some_and(|entry| !entry.findings.is_empty()));
    }

    /// Notes whether an object has findings.
    pub(crate) fn settle(&mut self, is_label: bool, name: &str, faulty: bool) {
        if !faulty && self.faulty.is_empty() {
            return;
        }
        let key = (is_label, name.to_owned());
        if faulty {
            self.faulty.insert(key)
        } else {
            self.faulty.remove(&key)
        };
    }

    /// Objects with findings: whether it is a label, and its name.
    pub(crate) fn faulty(&self) -> impl Iterator<Item = (bool, &str)> {
        self.faulty.iter().map(|(is_label, name)| (*is_label, name.as_str()))
    }

    /// Whether routes of files lead to a target.
    pub(crate) fn is_of_routes(&self, target: u32) -> bool {
        self.route_targets.contains_key(&target)
    }

    /// Targets of routes and labels of files.
    pub(crate) fn targets(&self) -> impl Iterator<Item = u32> {
        self.route_targets.keys().chain(self.by_target.keys()).copied()
    }

    /// Notes the objects that mention an interface or a session.
    pub(crate) fn mark(&self, mention: Mention, todo: &mut Pending) {
        let users = match mention {
            Mention::Device(name) => self.devices.get(name),
            Mention::Session(name) => self.sessions.get(name),
        };
        for (is_label, name) in users.into_iter().flatten() {
            match is_label {
                true => todo.labels.insert(name.clone()),
                false => todo.routes.insert(name.clone()),
            };
        }
    }

    /// Route objects with the VRF, prefix and metric of this one, by name; none where it is alone.
    pub(crate) fn twins(&self, route: &Route) -> Option<&BTreeSet<String>> {
        let twins = self.routes.get(&(route.vrf.clone(), route.prefix, route.metric))?;
        (twins.len() > 1).then_some(twins)
    }

    /// Names of routes that mention an interface.
    pub(crate) fn routes_by(&self, device: &str) -> impl Iterator<Item = &str> {
        let users = self.devices.get(device).into_iter().flatten();
        users.filter(|(is_label, _)| !is_label).map(|(_, name)| name.as_str())
    }

    /// The label object that binds the same label and comes first.
    pub(crate) fn label_twin(&self, name: &str, label: u32) -> Option<&str> {
        self.labels.get(&label)?.first().map(String::as_str).filter(|first| *first != name)
    }

    /// The object in force for a label.
    pub(crate) fn label_owner(&self, label: u32) -> Option<&str> {
        self.labels.get(&label)?.first().map(String::as_str)
    }
}
