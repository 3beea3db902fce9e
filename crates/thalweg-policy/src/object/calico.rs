//! Policies of Calico: one shape for `GlobalNetworkPolicy` and `NetworkPolicy`.

use super::Place;
use super::kubernetes::PortMatch;
use crate::selector::Selector;
use thalweg_model::Prefix;
use thalweg_model::cluster::{Family, ObjectName};

/// `GlobalNetworkPolicy` or `NetworkPolicy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// `spec.tier`.
    pub tier: String,
    /// `spec.order`; none comes last.
    pub order: Option<f64>,
    /// `spec.selector`.
    pub selector: Selector,
    /// `spec.namespaceSelector`, of global ones.
    pub namespaces: Option<Selector>,
    /// `spec.serviceAccountSelector`.
    pub accounts: Option<Selector>,
    /// Whether `spec.types` has `Ingress`.
    pub applies_ingress: bool,
    /// Whether `spec.types` has `Egress`.
    pub applies_egress: bool,
    /// `spec.ingress`.
    pub ingress: Vec<Rule>,
    /// `spec.egress`.
    pub egress: Vec<Rule>,
    /// `spec.doNotTrack`.
    pub do_not_track: bool,
    /// `spec.preDNAT`.
    pub pre_dnat: bool,
    /// `spec.applyOnForward`.
    pub apply_on_forward: bool,
}

/// `action` of a rule.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// Let it through, and ask nobody else.
    #[default]
    Allow,
    /// Discard it, and ask nobody else.
    Deny,
    /// Write it down and go on with the next rule.
    Log,
    /// Go on with the next tier.
    Pass,
}

/// A rule. Everything that it says must hold; of a list, one is enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Where it stands.
    pub place: Place,
    /// `action`.
    pub action: Action,
    /// `ipVersion`.
    pub family: Option<Family>,
    /// `protocol`, by its number.
    pub protocol: Option<u8>,
    /// `notProtocol`.
    pub not_protocol: Option<u8>,
    /// `icmp`.
    pub icmp: Option<Icmp>,
    /// `notICMP`.
    pub not_icmp: Option<Icmp>,
    /// `source`.
    pub source: Entity,
    /// `destination`.
    pub destination: Entity,
    /// Whether it is wrong and about nobody, since half of a rule that allows allows too much. It keeps
    /// its number.
    pub left_out: bool,
}

/// Type and code of ICMP or ICMPv6.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Icmp {
    /// `type`; none is any.
    pub kind: Option<u8>,
    /// `code`; none is any.
    pub code: Option<u8>,
}

/// One side of what a rule is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entity {
    /// `nets`.
    pub nets: Vec<Prefix>,
    /// `notNets`.
    pub not_nets: Vec<Prefix>,
    /// `selector`.
    pub selector: Option<Selector>,
    /// `notSelector`.
    pub not_selector: Option<Selector>,
    /// `namespaceSelector`.
    pub namespaces: Option<Selector>,
    /// `ports`.
    pub ports: Vec<PortMatch>,
    /// `notPorts`.
    pub not_ports: Vec<PortMatch>,
    /// `serviceAccounts`.
    pub accounts: Option<Accounts>,
    /// `services`.
    pub service: Option<ObjectName>,
}

/// Service accounts: both conditions must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accounts {
    /// `names`; empty for all.
    pub names: Vec<String>,
    /// `selector`.
    pub selector: Option<Selector>,
}
