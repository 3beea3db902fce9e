//! The kinds of objects.

use thalweg_model::Key;
use thalweg_policy::object::PolicyKind;

/// The kinds of objects.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Router,
    Link,
    Vrf,
    Route,
    LabelRoute,
    BfdSession,
    Service,
    EndpointSlice,
    Node,
    Pod,
    IpPool,
    ServiceCidr,
    Policy(PolicyKind),
    Tier,
    NetworkSet,
    GlobalNetworkSet,
    HostEndpoint,
    Namespace,
    ServiceAccount,
}

impl Kind {
    /// Our own kinds as `kind` spells them.
    pub const ALL: [(&str, Self); 6] = [
        ("Router", Self::Router),
        ("Link", Self::Link),
        ("Vrf", Self::Vrf),
        ("Route", Self::Route),
        ("LabelRoute", Self::LabelRoute),
        ("BfdSession", Self::BfdSession),
    ];

    /// The kinds of Kubernetes.
    pub const FOREIGN: [(&str, Self); 12] = [
        ("Service", Self::Service),
        ("EndpointSlice", Self::EndpointSlice),
        ("Node", Self::Node),
        ("Pod", Self::Pod),
        ("IPPool", Self::IpPool),
        ("ServiceCIDR", Self::ServiceCidr),
        ("Namespace", Self::Namespace),
        ("ServiceAccount", Self::ServiceAccount),
        ("Tier", Self::Tier),
        ("NetworkSet", Self::NetworkSet),
        ("GlobalNetworkSet", Self::GlobalNetworkSet),
        ("HostEndpoint", Self::HostEndpoint),
    ];

    /// As `kind` spells it.
    pub fn name(self) -> &'static str {
        if let Self::Policy(kind) = self {
            return kind.name();
        }
        let mut all = Self::ALL.iter().chain(&Self::FOREIGN);
        all.find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// As an object spells its kind: of two groups that use one word, both do.
    pub fn word(self) -> &'static str {
        self.name().split('.').next().unwrap_or_default()
    }

    /// Words of all kinds that are not ours.
    pub fn foreign_words() -> impl Iterator<Item = &'static str> + Clone {
        let policies = PolicyKind::ALL.iter().filter(|(_, kind)| *kind != PolicyKind::Calico);
        Self::FOREIGN.iter().map(|(name, _)| *name).chain(policies.map(|(name, _)| *name))
    }

    /// Whether an object is one of Kubernetes.
    pub fn is_foreign_key(key: &Key) -> bool {
        Self::FOREIGN.iter().any(|(name, _)| *name == key.kind)
            || PolicyKind::ALL.iter().any(|(name, _)| *name == key.kind)
    }
}
