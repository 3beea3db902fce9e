//! The kinds of objects.

use thalweg_model::Key;

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
    pub const FOREIGN: [(&str, Self); 6] = [
        ("Service", Self::Service),
        ("EndpointSlice", Self::EndpointSlice),
        ("Node", Self::Node),
        ("Pod", Self::Pod),
        ("IPPool", Self::IpPool),
        ("ServiceCIDR", Self::ServiceCidr),
    ];

    /// As `kind` spells it.
    pub fn name(self) -> &'static str {
        let mut all = Self::ALL.iter().chain(&Self::FOREIGN);
        all.find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether an object is one of Kubernetes.
    pub fn is_foreign_key(key: &Key) -> bool {
        Self::FOREIGN.iter().any(|(name, _)| *name == key.kind)
    }
}
