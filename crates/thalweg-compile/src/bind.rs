//! Intent objects in the RIB and in the label table.

use crate::compiler::Compiler;
use crate::key::NetKey;
use crate::objects::{self, Mention, RouteEntry};
use crate::plan::Draft;
use crate::rib::{Class, Offer, Source};
use crate::target::State;
use std::collections::BTreeSet;
use thalweg_abi::IlmWord;
use thalweg_image::Change;
use thalweg_model::intent::{Route, TtlModel};

impl Compiler {
    pub(crate) fn rebuild_routes(&mut self) {
        for name in std::mem::take(&mut self.pending.routes) {
            let Some(route) = self.intent.routes.get(&name) else {
                if let Some(entry) = self.routes.remove(&name) {
                    self.index.settle_route(&name, entry.target, None);
                    self.withdraw(&entry);
                    self.route_names.remove(entry.number);
                }
                continue;
            };
            let twin = self.route_twin(&name, route);
            let (found, findings) = objects::route(&name, route, &self.intent, &self.names(), twin);
            let metric = route.metric;
            let found = found.map(|(key, target)| (key, self.targets.intern(target)));
            self.offer_route(name, metric, found, findings);
        }
    }

    /// The route object that is in force in this one's place: of those with one VRF, prefix and metric the
    /// first whose interfaces are there, for what leads nowhere must not be in others' way.
    fn route_twin(&self, name: &str, route: &Route) -> Option<&str> {
        let twins = self.index.twins(route)?;
        let is_there = |mention| match mention {
            Mention::Device(device) => self.names.contains_key(device),
            Mention::Session(_) => true,
        };
        let stands = |twin: &&String| {
            let twin = self.intent.routes.get(*twin);
            twin.is_some_and(|twin| objects::route_mentions(twin).into_iter().all(is_there))
        };
        let owner = twins.iter().find(stands).or(twins.first())?;
        Some(owner.as_str()).filter(|owner| *owner != name)
    }

    pub(crate) fn offer_route(
        &mut self,
        name: String,
        metric: u32,
        found: Option<(NetKey, u32)>,
        findings: Vec<objects::Finding>,
    ) {
        let old = match self.routes.remove(&name) {
            Some(old) => old,
            None => {
                RouteEntry { number: self.route_names.insert(name.clone()), ..Default::default() }
            }
        };
        let number = old.number;
        let mut entry = RouteEntry { number, findings, ..RouteEntry::default() };
        if let Some((key, target)) = found {
            let offer = Offer {
                class: Class::Route,
                metric,
                source: Source::Intent,
                instance: 0,
                data: number,
                target,
            };
            let node = self.rib.find(key);
            let same = old.candidate.filter(|candidate| {
                self.rib.offer(*candidate) == Some(&offer)
                    && node.is_some_and(|n| self.rib.candidates(n).any(|(c, _)| c == *candidate))
            });
            entry.target = Some(target);
            entry.candidate = same;
            if same.is_none() {
                self.withdraw(&old);
                entry.candidate = Some(self.rib.add(key, offer));
            }
        } else {
            self.withdraw(&old);
        }
        self.index.settle_route(&name, old.target, Some(&entry));
        self.routes.insert(name, entry);
    }

    pub(crate) fn withdraw(&mut self, entry: &RouteEntry) {
        if let Some(candidate) = entry.candidate {
            self.remove_candidate(candidate);
        }
    }

    pub(crate) fn rebuild_labels(&mut self) {
        for name in std::mem::take(&mut self.pending.labels) {
            let mut entry = objects::LabelEntry::default();
            if let Some(label) = self.intent.labels.get(&name) {
                let twin = self.index.label_twin(&name, label.label.get());
                let limit = self.limits.labels;
                let (found, findings) =
                    objects::label(label, &self.intent, &self.names(), twin, limit);
                entry.findings = findings;
                entry.valid = found.is_some();
                match found {
                    Some(Ok(target)) => entry.target = Some(self.targets.intern(target)),
                    Some(Err(rib)) => entry.lookup = Some(rib),
                    None => {}
                }
            }
            self.set_label(name, entry);
        }
    }

    pub(crate) fn set_label(&mut self, name: String, entry: objects::LabelEntry) {
        if let Some(target) = entry.target {
            self.hold_target(target, 1);
            self.index.by_target.entry(target).or_default().insert(name.clone());
        }
        let target = entry.target;
        self.index.settle(true, &name, !entry.findings.is_empty());
        let old = match self.intent.labels.contains_key(&name) {
            true => self.labels.insert(name.clone(), entry),
            false => self.labels.remove(&name),
        };
        if let Some(old) = old.and_then(|old| old.target) {
            self.hold_target(old, -1);
            if Some(old) != target
                && let Some(names) = self.index.by_target.get_mut(&old)
            {
                names.remove(&name);
                if names.is_empty() {
                    self.index.by_target.remove(&old);
                }
            }
        }
        self.pending.words.insert(name);
    }

    pub(crate) fn mark_words(&mut self, target: u32) {
        if let Some(names) = self.index.by_target.get(&target) {
            self.pending.words.extend(names.iter().cloned());
        }
        self.mark_lsps(target);
    }

    /// Finds the words of labels anew.
    pub(crate) fn label_words(&mut self, draft: &mut Draft) {
        let mut numbers: BTreeSet<u32> = std::mem::take(&mut self.pending.lost_labels);
        for name in std::mem::take(&mut self.pending.words) {
            if let Some(label) = self.intent.labels.get(&name) {
                numbers.insert(label.label.get());
            }
            self.employ_label(&name);
        }
        for number in numbers {
            self.employ_lsp(number);
            let word = self.label_word(number).unwrap_or_default();
            let old = self.published.labels.get(&number).copied().unwrap_or_default();
            if old != word {
                draft.labels.push(Change::Label(number, word));
                match word == IlmWord::default() {
                    true => self.published.labels.remove(&number),
                    false => self.published.labels.insert(number, word),
                };
            }
        }
    }

    /// Takes a label's target in use, or lets go of the one it had.
    pub(crate) fn employ_label(&mut self, name: &str) {
        let wanted = self
            .labels
            .get(name)
            .and_then(|entry| entry.target)
            .filter(|target| self.targets.state(*target) != State::Unresolvable);
        let before = self.published.label_targets.get(name).copied();
        if wanted == before {
            return;
        }
        match wanted.filter(|target| self.employ(*target, before)) {
            Some(target) => self.published.label_targets.insert(name.to_owned(), target),
            None => self.published.label_targets.remove(name),
        };
        if let Some(before) = before {
            self.unuse(before);
        }
    }

    pub(crate) fn label_word(&self, number: u32) -> Option<IlmWord> {
        let Some(name) = self.index.label_owner(number) else {
            return self.lsp_word(number);
        };
        let (entry, label) = (self.labels.get(name)?, self.intent.labels.get(name)?);
        let flags = match label.ttl_model {
            Some(TtlModel::Pipe) => IlmWord::PIPE,
            Some(TtlModel::Uniform) => 0,
            None => IlmWord::LINK,
        };
        if let Some(rib) = entry.lookup {
            return self.ribs.vrf(rib).map(|vrf| IlmWord::lookup(vrf, flags));
        }
        let target = self.published.label_targets.get(name)?;
        self.groups.get(*target).map(|group| IlmWord::forward(group.id, flags))
    }
}
