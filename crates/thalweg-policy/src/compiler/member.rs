//! Somebody whom selectors may mean: a pod, a host or a set of addresses.

use crate::model::Policy;
use crate::object::PolicyKind;
use crate::selector::Labels;
use crate::world::{Endpoint, PodEntry, Set};
use std::net::IpAddr;
use thalweg_model::Prefix;
use thalweg_model::cluster::NamedPort;

/// Somebody with labels.
#[derive(Clone, Debug)]
pub(super) enum Member {
    Pod(PodEntry),
    Host(Box<Endpoint>),
    Set(Box<Set>),
}

impl Labels for Member {
    fn label(&self, key: &str) -> Option<&str> {
        match self {
            Self::Pod(pod) => pod.label(key),
            Self::Host(host) => host.labels.label(key),
            Self::Set(set) => set.labels.label(key),
        }
    }
}

impl Member {
    /// Whether a policy is about it; a profile is, where a host lists it.
    pub fn is_subject(&self, policy: &Policy) -> bool {
        match (policy.id.kind, self) {
            (PolicyKind::Profile, Self::Host(host)) => host.profiles.contains(&policy.id.name.name),
            (PolicyKind::Profile, Self::Pod(_) | Self::Set(_)) => false,
            _ => policy.subject.selects(self),
        }
    }

    /// Its own addresses; those of sets are [`Self::nets`].
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Pod(pod) => &pod.pod().addresses,
            Self::Host(host) => &host.addresses,
            Self::Set(_) => &[],
        }
    }

    /// Prefixes of a set.
    pub fn nets(&self) -> &[Prefix] {
        match self {
            Self::Set(set) => &set.nets,
            Self::Pod(_) | Self::Host(_) => &[],
        }
    }

    /// Its ports with names.
    pub fn ports(&self) -> &[NamedPort] {
        match self {
            Self::Pod(pod) => &pod.pod().ports,
            Self::Host(host) => &host.ports,
            Self::Set(_) => &[],
        }
    }

    /// All that it says of named ports: name, address, protocol and number.
    pub fn named(&self) -> impl Iterator<Item = (&str, (IpAddr, u8, u16))> {
        self.ports().iter().flat_map(|port| {
            let at = |address: &IpAddr| (*address, port.protocol.number(), port.port);
            self.addresses().iter().map(move |address| (port.name.as_str(), at(address)))
        })
    }

    /// Whether nothing that policies see is another.
    pub fn is_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pod(a), Self::Pod(b)) => a.is_alike(b),
            (Self::Host(a), Self::Host(b)) => a == b,
            (Self::Set(a), Self::Set(b)) => a == b,
            _ => false,
        }
    }
}
