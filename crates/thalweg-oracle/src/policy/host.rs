//! What hosts say, gate by gate, read from `HostEndpoint` objects and nodes each time.

use super::who::{Holder, Host, Who, hosts};
use super::{Answer, Asked, Policies, Question, Why, Word};
use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_model::cluster::{ObjectName, Protocol};
use thalweg_model::policy::ToHost;
use thalweg_policy::object::calico::Action;
use thalweg_policy::object::{PolicyId, PolicyKind};

/// Where a packet comes to a host, or leaves it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gate<'q> {
    /// An interface with its addresses.
    Network(&'q str, &'q [IpAddr]),
    /// A pod of the host.
    Pod(&'q ObjectName),
    /// The host itself.
    Host,
}

/// Who says what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// The pod or host endpoint.
    pub who: String,
    /// Whether it is about what comes to it.
    pub ingress: bool,
    /// What it says.
    pub answer: Answer,
    /// Whether that is the last word, since an untracked policy let it pass.
    pub untracked: bool,
}

impl Policies<'_> {
    /// The host endpoint that stands for an interface of a node.
    pub fn stands_for(&self, node: &str, interface: &str, addresses: &[IpAddr]) -> Option<String> {
        let all = hosts(self.objects, self.cluster);
        let here = || all.iter().filter(|one| one.node == node);
        let named = here().find(|one| one.interface.as_deref() == Some(interface));
        let by_address = here().find(|one| {
            one.interface.is_none() && addresses.iter().any(|of| one.addresses.contains(of))
        });
        let for_all = here().find(|one| one.interface.as_deref() == Some("*"));
        named.or(by_address).or(for_all).map(|one| one.name.clone())
    }

    /// All that is said of a packet on its way through a node with these addresses, up to the last word.
    pub fn pass(
        &self,
        (node, addresses): (&str, &BTreeSet<IpAddr>),
        [from, to]: [Gate<'_>; 2],
        arrived: &Question,
        packet: &Question,
    ) -> Vec<Said> {
        let mut said: Vec<Said> = Vec::new();
        if from == to && matches!(from, Gate::Pod(_)) {
            return said;
        }
        let local = from == Gate::Host || to == Gate::Host;
        let is_own = |one: IpAddr| {
            addresses.contains(&one) || ["0.0.0.0", "255.255.255.255"].contains(&&*one.to_string())
        };
        let comes_to_host = is_own(arrived.destination);
        let leaves_host = is_own(arrived.source);
        let for_all = self.stands_for(node, "no such interface", &[]);
        let plain = |who: String, ingress, answer| Said { who, ingress, answer, untracked: false };
        // What is said where the packet comes in.
        if let Gate::Network(interface, addresses) = from
            && let Some(host) = self.stands_for(node, interface, addresses)
        {
            said.push(self.at_network(&host, true, [local, comes_to_host], arrived, packet));
        }
        if let Gate::Pod(pod) = from {
            let answer = self.ask(Some(pod), None, packet).0.unwrap();
            said.push(plain(pod.to_string(), false, answer));
            if said.iter().all(|one| one.answer.allowed) {
                match (to, &for_all) {
                    (Gate::Host, _) => {
                        said.push(self.to_host(pod, &for_all, comes_to_host, arrived, packet));
                    }
                    (_, Some(all)) => {
                        let first = self.stage(all, Asked::PreDnat, true, comes_to_host, arrived);
                        let answer =
                            first.unwrap_or_else(|| self.stage_of_all(all, true, false, packet));
                        said.push(plain(format!("host {all}"), true, answer));
                    }
                    (_, None) => {}
                }
            }
        }
        if said.iter().any(|one| !one.answer.allowed || one.untracked) {
            return said;
        }
        // And where it leaves.
        if let Gate::Network(interface, addresses) = to
            && let Some(host) = self.stands_for(node, interface, addresses)
        {
            said.push(self.at_network(&host, false, [local, leaves_host], arrived, packet));
        }
        if let Gate::Pod(pod) = to {
            if from == Gate::Host {
                let answer = Answer { allowed: true, why: Why::OwnNode };
                said.push(plain(pod.to_string(), true, answer));
                return said;
            }
            if let Some(all) = &for_all {
                let answer = self.stage_of_all(all, false, false, packet);
                said.push(plain(format!("host {all}"), false, answer.clone()));
                if !answer.allowed {
                    return said;
                }
            }
            let answer = self.ask(None, Some(pod), packet).1.unwrap();
            said.push(plain(pod.to_string(), true, answer));
        }
        said
    }

    fn at_network(
        &self,
        host: &str,
        ingress: bool,
        [local, own]: [bool; 2],
        arrived: &Question,
        packet: &Question,
    ) -> Said {
        let who = format!("host {host}");
        let said = |answer, untracked| Said { who: who.clone(), ingress, answer, untracked };
        if let Some(answer) = self.stage(host, Asked::Untracked, ingress, own, arrived) {
            let last = answer.allowed;
            return said(answer, last);
        }
        if ingress && let Some(answer) = self.stage(host, Asked::PreDnat, true, own, arrived) {
            return said(answer, false);
        }
        said(self.stage_of_all(host, ingress, local, packet), false)
    }

    /// What a pod says to its host.
    fn to_host(
        &self,
        pod: &ObjectName,
        for_all: &Option<String>,
        own: bool,
        arrived: &Question,
        packet: &Question,
    ) -> Said {
        let said = |who, allowed, why| Said {
            who,
            ingress: true,
            answer: Answer { allowed, why },
            untracked: false,
        };
        let first = for_all
            .as_ref()
            .and_then(|all| Some((all, self.stage(all, Asked::PreDnat, true, own, arrived)?)));
        if let Some((all, answer)) = &first
            && !answer.allowed
        {
            return said(format!("host {all}"), false, answer.why.clone());
        }
        match (self.objects.settings.to_host, for_all) {
            (ToHost::Drop, _) => said(pod.to_string(), false, Why::ToHost),
            (ToHost::Return, Some(all)) => {
                let normal = || self.stage_of_all(all, true, true, packet);
                let answer = first.map_or_else(normal, |(_, answer)| answer);
                said(format!("host {all}"), answer.allowed, answer.why)
            }
            _ => said(pod.to_string(), true, Why::ToHost),
        }
    }

    /// Whether a packet is for a port that stays open.
    fn stays_open(&self, ingress: bool, packet: &Question) -> bool {
        let settings = &self.objects.settings;
        let ports = if ingress { &settings.fail_safe_in } else { &settings.fail_safe_out };
        packet.ports.is_some_and(|(_, to)| is_in(ports, packet.protocol, to))
    }

    /// What the stages in front say, if anything. Whose the packet is they tell by its address.
    fn stage(
        &self,
        host: &str,
        asked: Asked,
        ingress: bool,
        own: bool,
        packet: &Question,
    ) -> Option<Answer> {
        if own && self.stays_open(ingress, packet) {
            return None;
        }
        if own && asked == Asked::Untracked {
            // An answer of such a port on the other side.
            let settings = &self.objects.settings;
            let other = if ingress { &settings.fail_safe_out } else { &settings.fail_safe_in };
            if packet.ports.is_some_and(|(from, _)| is_in(other, packet.protocol, from)) {
                return None;
            }
        }
        self.tiers_say(self.host_holder(host)?, asked, ingress, packet)
    }

    /// What decides at last: for what ends or begins here fail-safe ports, policies and profiles, for what
    /// passes policies about that.
    fn stage_of_all(&self, host: &str, ingress: bool, local: bool, packet: &Question) -> Answer {
        let open = Answer { allowed: true, why: Why::Nobody };
        let Some(holder) = self.host_holder(host) else { return open };
        if !local {
            let said = self.tiers_say(holder, Asked::Forwarded, ingress, packet);
            return said.unwrap_or(open);
        }
        if self.stays_open(ingress, packet) {
            return Answer { allowed: true, why: Why::FailSafe };
        }
        let said = self.tiers_say(holder, Asked::Normal, ingress, packet);
        said.unwrap_or_else(|| self.profiles_say(host, ingress, packet))
    }

    fn host_holder(&self, host: &str) -> Option<&Holder> {
        self.everybody.iter().find(|one| one.who == Who::Host(host.into()))
    }

    fn profiles_say(&self, host: &str, ingress: bool, packet: &Question) -> Answer {
        let nobody = |allowed| Answer { allowed, why: Why::Nobody };
        let all: Vec<Host> = hosts(self.objects, self.cluster);
        let host = all.iter().find(|one| one.name == host).unwrap();
        for (at, name) in host.profiles.iter().enumerate() {
            // Who lists one twice asks it once.
            if host.profiles[..at].contains(name) {
                continue;
            }
            if name == "projectcalico-default-allow" {
                return nobody(true);
            }
            if let Some(namespace) = name.strip_prefix("kns.") {
                return nobody(self.objects.namespaces.contains_key(namespace));
            }
            if let Some(account) = name.strip_prefix("ksa.") {
                let has = |known: &ObjectName| format!("{}.{}", known.namespace, known.name);
                match self.objects.accounts.keys().any(|known| has(known) == account) {
                    true => continue,
                    false => return nobody(false),
                }
            }
            let Some(profile) = self.objects.profiles.get(name.as_str()) else {
                return nobody(false);
            };
            let rules = if ingress { &profile.ingress } else { &profile.egress };
            if let Some(answer) = self.profile_says(name, rules, packet) {
                return answer;
            }
        }
        nobody(false)
    }

    fn profile_says(
        &self,
        name: &str,
        rules: &[thalweg_policy::object::calico::Rule],
        packet: &Question,
    ) -> Option<Answer> {
        let id = PolicyId { kind: PolicyKind::Profile, name: ObjectName::new("", name) };
        for (at, rule) in rules.iter().enumerate() {
            if rule.left_out || !self.is_about(rule, "", packet) {
                continue;
            }
            if rule.action == Action::Log {
                self.log(&id, at + 1);
                continue;
            }
            let allowed = rule.action == Action::Allow;
            return Some(Answer { allowed, why: Why::Rule(id, at + 1) });
        }
        None
    }

    /// Walks the tiers for one endpoint and direction; none where nobody decides.
    pub(super) fn tiers_say(
        &self,
        holder: &Holder,
        asked: Asked,
        ingress: bool,
        packet: &Question,
    ) -> Option<Answer> {
        for (name, end) in self.tiers() {
            let mut any = false;
            let mut passed = false;
            for (id, object) in self.of_tier(&name) {
                if !self.applies(id, object, holder, asked, ingress) {
                    continue;
                }
                any = true;
                let rule = |number| Why::Rule(id.clone(), number);
                match self.word(id, object, ingress, packet) {
                    Word::Allow(at) => return Some(Answer { allowed: true, why: rule(at) }),
                    Word::Deny(at) => return Some(Answer { allowed: false, why: rule(at) }),
                    Word::Pass => {
                        passed = true;
                        break;
                    }
                    Word::Nothing => {}
                }
            }
            let ends = matches!(asked, Asked::Normal | Asked::Forwarded);
            if any && !passed && ends && end == thalweg_policy::object::EndAction::Deny {
                return Some(Answer { allowed: false, why: Why::EndOfTier(name) });
            }
        }
        None
    }
}

fn is_in(ports: &[(Protocol, u16)], protocol: u8, port: u16) -> bool {
    ports.iter().any(|(of, number)| of.number() == protocol && *number == port)
}
