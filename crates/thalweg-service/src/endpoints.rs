//! The endpoints of one port of a service in one family, out of all its slices.

use crate::here::is_usable;
use std::net::IpAddr;
use thalweg_model::cluster::{Endpoint, EndpointSlice, Family, Service, ServicePort};

/// What an endpoint is good for, best first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Condition {
    /// Serves.
    Ready,
    /// Serves while nobody is ready (KEP-1669).
    Leaving,
    /// Serves nobody.
    Useless,
}

/// An endpoint with the port that its slice says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) condition: Condition,
    pub(crate) endpoint: &'a Endpoint,
}

impl Candidate<'_> {
    /// Whether it may get new flows while it is in the condition to.
    pub(crate) fn has_weight(&self) -> bool {
        self.endpoint.weight > 0
    }
}

fn condition(service: &Service, endpoint: &Endpoint) -> Condition {
    if endpoint.ready || service.publish_not_ready {
        Condition::Ready
    } else if endpoint.serving && endpoint.terminating {
        Condition::Leaving
    } else {
        Condition::Useless
    }
}

/// The address that an endpoint is reached at, if it can be. Of several, the API counts the first.
pub(crate) fn address(slice: &EndpointSlice, endpoint: &Endpoint) -> Option<IpAddr> {
    let first = endpoint.addresses.first().copied();
    first.filter(|address| Family::of(*address) == slice.family && is_usable(*address))
}

/// All endpoints that could serve a port, by address and port, each once. Slices come by name, and each
/// says itself which of its ports has the service port's name.
///
/// Where slices contradict each other about one address and port, the better condition counts: a
/// controller that moves an endpoint to another slice shows it twice, and it serves throughout. Between
/// equal ones the slice whose name comes first counts, and in it what stands first.
pub(crate) fn gather<'a>(
    service: &Service,
    port: &ServicePort,
    family: Family,
    slices: &[&'a EndpointSlice],
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for slice in slices.iter().filter(|slice| slice.family == family) {
        let serves = |other: &&thalweg_model::cluster::EndpointPort| {
            other.name == port.name && other.protocol == port.protocol && other.port != 0
        };
        let Some(target) = slice.ports.iter().find(serves) else { continue };
        found.extend(slice.endpoints.iter().filter_map(|endpoint| {
            let condition = condition(service, endpoint);
            let address = address(slice, endpoint)?;
            Some(Candidate { address, port: target.port, condition, endpoint })
                .filter(|_| condition != Condition::Useless)
        }));
    }
    // Stable: what was found first stays first among equals.
    found.sort_by_key(|candidate| (candidate.address, candidate.port, candidate.condition));
    found.dedup_by_key(|candidate| (candidate.address, candidate.port));
    found
}
