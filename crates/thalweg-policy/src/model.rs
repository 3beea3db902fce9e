//! One ordered model of all policies: tiers → policies → rules → what a rule asks of both sides.
//!
//! Selectors are over effective labels here: those of the namespace begin with `pcns.`, those of the
//! service account with `pcsa.`, and what limits a policy to its namespace is part of its selector.

use crate::object::calico::{Action, Icmp};
use crate::object::kubernetes::PortMatch;
use crate::object::{EndAction, Place, PolicyId};
use crate::selector::Selector;
use std::cmp::Ordering;
use std::sync::Arc;
use thalweg_model::cluster::{Family, ObjectName};
use thalweg_model::{Origin, Prefix};

/// All tiers, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    /// The tiers.
    pub tiers: Vec<Tier>,
}

impl Model {
    /// All policies in order, each with the number of its tier.
    pub fn policies(&self) -> impl Iterator<Item = (usize, &Arc<Policy>)> {
        let tiers = self.tiers.iter().enumerate();
        tiers.flat_map(|(at, tier)| tier.policies.iter().map(move |policy| (at, policy)))
    }
}

/// A tier with its policies, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Its order; none comes last.
    pub order: Option<f64>,
    /// What is done where one of its policies applies and none decides.
    pub end: EndAction,
    /// The policies.
    pub policies: Vec<Arc<Policy>>,
}

impl Tier {
    /// Which of two tiers is asked first.
    pub fn before(&self, other: &Self) -> Ordering {
        by_order(self.order, other.order).then_with(|| self.name.cmp(&other.name))
    }
}

/// Of tiers and policies, the lower order goes first, and none goes last.
pub fn by_order(a: Option<f64>, b: Option<f64>) -> Ordering {
    a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY))
}

/// A direction, as the endpoint sees it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Direction {
    /// To the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

impl Direction {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// Where in the life of a packet a policy is asked.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Stage {
    /// What ends or begins at the endpoint; at a host also what passes it, if `forwarded`.
    #[default]
    Normal,
    /// Before services are translated (`preDNAT`), at hosts only.
    PreDnat,
    /// Without any memory of flows (`doNotTrack`), at hosts only.
    Untracked,
}

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Which object it is.
    pub id: PolicyId,
    /// Where that stands.
    pub origin: Origin,
    /// Its order within the tier.
    pub order: Option<f64>,
    /// Whom it is about.
    pub subject: Selector,
    /// Where it is asked.
    pub stage: Stage,
    /// Whether it is also about what hosts pass on.
    pub forwarded: bool,
    /// What it says of ingress; none where it says nothing.
    pub ingress: Option<Vec<Rule>>,
    /// What it says of egress.
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    /// Which of two policies of a tier is asked first.
    pub fn before(&self, other: &Self) -> Ordering {
        let names = || {
            let names = self.id.short().cmp(&other.id.short());
            names.then(self.id.kind.cmp(&other.id.kind))
        };
        by_order(self.order, other.order).then_with(names)
    }

    /// Its rules of a direction, if it applies there.
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// A rule. Everything that it asks must hold; of a list, one is enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Where it stands in the file of its policy.
    pub place: Place,
    /// Its number within the list of the object, from 1. Several rules may have been made of one.
    pub number: usize,
    /// What it does.
    pub action: Action,
    /// The family it is about.
    pub family: Option<Family>,
    /// The protocol it is about.
    pub protocol: Option<u8>,
    /// The protocol it is not about.
    pub not_protocol: Option<u8>,
    /// Type and code of ICMP.
    pub icmp: Option<Icmp>,
    /// Type and code of ICMP that it is not about.
    pub not_icmp: Option<Icmp>,
    /// The source.
    pub source: Side,
    /// The destination.
    pub destination: Side,
}

/// What a rule asks of one side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// The address is in one of these; empty asks nothing.
    pub nets: Vec<Prefix>,
    /// The address is in none of these.
    pub not_nets: Vec<Prefix>,
    /// The address belongs to somebody whom this selects.
    pub selector: Option<Selector>,
    /// The address belongs to nobody whom this selects.
    pub not_selector: Option<Selector>,
    /// The port is one of these; empty asks nothing.
    pub ports: Vec<PortMatch>,
    /// The port is none of these.
    pub not_ports: Vec<PortMatch>,
    /// The address (of a destination: with protocol and port) is that of somebody who serves this.
    pub service: Option<ObjectName>,
}
