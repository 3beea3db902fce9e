//! Calico's policies in the words of the model.

use super::{ACCOUNT, OF_ACCOUNT, OF_NAMESPACE};
use crate::model::{Policy, Rule, Side, Stage};
use crate::object::calico::{self, Accounts, Action, Entity};
use crate::object::{PolicyId, PolicyKind, Profile};
use crate::selector::{NAMESPACE, Selector, Term};
use thalweg_model::cluster::Family;

/// ICMP by its number in an IP header.
const ICMP: u8 = 1;
/// ICMPv6.
const ICMP6: u8 = 58;

/// A `NetworkPolicy`, or a `GlobalNetworkPolicy` where the namespace is empty. Name and place are left out.
pub fn policy(namespace: &str, spec: &calico::Policy) -> Policy {
    let within = (!namespace.is_empty()).then(|| Selector::is(NAMESPACE, namespace));
    let namespaces =
        spec.namespaces.as_ref().map(|of| of.with_prefix(OF_NAMESPACE, Some(NAMESPACE)));
    // Hosts have no service account, so that a policy for all accounts is not about them.
    let accounts = spec.accounts.as_ref().map(|of| of.with_prefix(OF_ACCOUNT, Some(ACCOUNT)));
    let parts = [within, namespaces, Some(spec.selector.clone()), accounts];
    let rules = |all: &[calico::Rule]| rules(namespace, all).collect();
    Policy {
        id: PolicyId { kind: PolicyKind::Global, name: Default::default() },
        origin: Default::default(),
        order: spec.order,
        subject: Selector::and(parts.into_iter().flatten()),
        stage: match (spec.do_not_track, spec.pre_dnat) {
            (true, _) => Stage::Untracked,
            (_, true) => Stage::PreDnat,
            _ => Stage::Normal,
        },
        forwarded: spec.apply_on_forward,
        ingress: spec.applies_ingress.then(|| rules(&spec.ingress)),
        egress: spec.applies_egress.then(|| rules(&spec.egress)),
    }
}

/// A `Profile`. Name and place are left out, and whom it is about. It has no next tier to pass to: that
/// denies.
pub fn profile(profile: &Profile) -> Policy {
    let rules = |all: &[calico::Rule]| {
        let mut made: Vec<Rule> = rules("", all).collect();
        let passes = made.iter_mut().filter(|rule| rule.action == Action::Pass);
        passes.for_each(|rule| rule.action = Action::Deny);
        made
    };
    Policy {
        id: PolicyId { kind: PolicyKind::Profile, name: Default::default() },
        origin: Default::default(),
        order: None,
        subject: Selector::all(),
        stage: Stage::Normal,
        forwarded: false,
        ingress: Some(rules(&profile.ingress)),
        egress: Some(rules(&profile.egress)),
    }
}

fn rules(namespace: &str, rules: &[calico::Rule]) -> impl Iterator<Item = Rule> {
    let rules = rules.iter().zip(1..).filter(|(rule, _)| !rule.left_out);
    rules.map(move |(one, number)| rule(namespace, one, number))
}

fn rule(namespace: &str, rule: &calico::Rule, number: usize) -> Rule {
    let implied = match rule.protocol {
        Some(ICMP) => Some(Family::V4),
        Some(ICMP6) => Some(Family::V6),
        _ => None,
    };
    Rule {
        place: rule.place,
        number,
        action: rule.action,
        family: rule.family.or(implied),
        protocol: rule.protocol,
        not_protocol: rule.not_protocol,
        icmp: rule.icmp,
        not_icmp: rule.not_icmp,
        source: side(namespace, &rule.source),
        destination: side(namespace, &rule.destination),
    }
}

fn side(namespace: &str, entity: &Entity) -> Side {
    Side {
        nets: entity.nets.clone(),
        not_nets: entity.not_nets.clone(),
        selector: selector(namespace, entity),
        not_selector: entity.not_selector.clone(),
        ports: entity.ports.clone(),
        not_ports: entity.not_ports.clone(),
        service: entity.service.clone(),
    }
}

/// Everybody whom an entity may mean. As soon as it speaks of labels at all (`notSelector` included), it
/// is limited to the namespace of its policy, or to those that it names.
fn selector(namespace: &str, entity: &Entity) -> Option<Selector> {
    let accounts = entity.accounts.as_ref().map(accounts);
    let speaks = entity.selector.is_some()
        || entity.not_selector.is_some()
        || entity.namespaces.is_some()
        || accounts.is_some();
    let within = match &entity.namespaces {
        Some(of) => Some(of.with_prefix(OF_NAMESPACE, Some(NAMESPACE))),
        None => (!namespace.is_empty() && speaks).then(|| Selector::is(NAMESPACE, namespace)),
    };
    let parts: Vec<Selector> =
        [within, accounts, entity.selector.clone()].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| Selector::and(parts))
}

fn accounts(accounts: &Accounts) -> Selector {
    let names = || accounts.names.iter().cloned().collect();
    let named = (!accounts.names.is_empty()).then(|| Term::In(ACCOUNT.into(), names()).into());
    let of = accounts.selector.as_ref().map(|of| of.with_prefix(OF_ACCOUNT, None));
    Selector::and([of, named].into_iter().flatten())
}
