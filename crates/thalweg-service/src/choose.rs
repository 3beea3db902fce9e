//! Which endpoints are backends: readiness first, then topology (KEP-1669, KEP-2433, KEP-3015), as
//! kube-proxy does it (`pkg/proxy/topology.go`).

use crate::endpoints::{Candidate, Condition};
use thalweg_model::cluster::{Distribution, Endpoint};

/// Where this node is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) node: &'a str,
    pub(crate) zone: Option<&'a str>,
}

impl Place<'_> {
    /// Whether an endpoint is on this node.
    pub(crate) fn is_local(self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_deref() == Some(self.node)
    }

    fn is_near(self, endpoint: &Endpoint) -> bool {
        self.zone.is_some() && endpoint.zone.as_deref() == self.zone
    }

    fn is_meant(self, endpoint: &Endpoint) -> bool {
        self.zone.is_some_and(|zone| endpoint.for_zones.contains(zone))
    }
}

/// What clients of this node are to prefer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Preference {
    None,
    HintedNode,
    HintedZone,
    SameNode,
    SameZone,
}

impl Preference {
    fn takes(self, place: Place<'_>, endpoint: &Endpoint) -> bool {
        match self {
            Self::None => true,
            Self::HintedNode => endpoint.for_nodes.contains(place.node),
            Self::HintedZone => place.is_meant(endpoint),
            Self::SameNode => place.is_local(endpoint),
            Self::SameZone => place.is_near(endpoint),
        }
    }

    /// What holds for ready endpoints. Hints are the controller's word and come first: those for nodes,
    /// then those for zones, each only where every endpoint has some and one of them means us. Without
    /// usable hints, the service's own wish is read from where endpoints are, if any is there.
    fn among<'a>(
        place: Place<'_>,
        distribution: Distribution,
        ready: impl Iterator<Item = &'a Endpoint> + Clone,
    ) -> Self {
        let leaves_some = |preference: &Self| ready.clone().any(|e| preference.takes(place, e));
        let by_node = ready.clone().all(|endpoint| !endpoint.for_nodes.is_empty());
        let by_zone = ready.clone().all(|endpoint| !endpoint.for_zones.is_empty());
        let node = distribution == Distribution::SameNode;
        let zone = distribution != Distribution::Even;
        let order = [
            (by_node, Self::HintedNode),
            (by_zone, Self::HintedZone),
            (node, Self::SameNode),
            (zone, Self::SameZone),
        ];
        let possible = order.into_iter().filter(|(holds, _)| *holds).map(|(_, p)| p);
        possible.into_iter().find(leaves_some).unwrap_or(Self::None)
    }
}

/// Candidates that serve.
pub(crate) type Chosen<'a> = Vec<Candidate<'a>>;

/// Whether anybody in the cluster could serve new flows.
pub(crate) fn is_served(all: &[Candidate<'_>]) -> bool {
    all.iter().any(Candidate::has_weight)
}

/// Who serves under the policy `Cluster`.
pub(crate) fn cluster<'a>(
    all: &[Candidate<'a>],
    place: Place<'_>,
    distribution: Distribution,
) -> Chosen<'a> {
    let chosen = in_condition(all, |_| true);
    let is_ready = |candidate: &&Candidate<'_>| candidate.condition == Condition::Ready;
    let weighty = chosen.iter().filter(|candidate| candidate.has_weight());
    if !weighty.clone().all(|candidate| is_ready(&candidate)) {
        return chosen;
    }
    let preference = Preference::among(place, distribution, weighty.map(|c| c.endpoint));
    chosen.into_iter().filter(|candidate| preference.takes(place, candidate.endpoint)).collect()
}

/// Who serves under the policy `Local`: topology has no say.
pub(crate) fn local<'a>(all: &[Candidate<'a>], place: Place<'_>) -> Chosen<'a> {
    in_condition(all, |endpoint| place.is_local(endpoint))
}

/// Of a set the ready ones; the leaving ones where none of those may have new flows. Ready ones of
/// weight 0 are named in either case, for the flows that they have.
fn in_condition<'a>(all: &[Candidate<'a>], belongs: impl Fn(&Endpoint) -> bool) -> Chosen<'a> {
    let set = || all.iter().filter(|candidate| belongs(candidate.endpoint));
    let ready = |candidate: &Candidate<'_>| candidate.condition == Condition::Ready;
    let some_ready = set().any(|candidate| ready(candidate) && candidate.has_weight());
    set().filter(|candidate| ready(candidate) || !some_ready).copied().collect()
}
