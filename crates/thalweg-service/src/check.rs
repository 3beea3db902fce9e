//! How many endpoints a load balancer is told that this node has.

use crate::choose::Place;
use crate::endpoints::{self, Condition};
use crate::resolve::has_family;
use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_model::cluster::{EndpointSlice, Family, Service, ServiceType, TrafficPolicy};

/// What is to be answered at the `healthCheckNodePort` of a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Check {
    /// TCP port of this node.
    pub port: u16,
    /// Endpoints on this node that are ready for new flows, by address; of two families that with more.
    /// As in kube-proxy, endpoints that are ending do not count: balancers are to turn away.
    pub local: u32,
}

impl Check {
    /// That of a service, if it has one: a load balancer's under `externalTrafficPolicy: Local`.
    pub(crate) fn of(
        service: &Service,
        slices: &[&EndpointSlice],
        place: Place<'_>,
    ) -> Option<Self> {
        let port = service.health_check_port.filter(|port| *port != 0)?;
        let applies =
            service.kind == ServiceType::LoadBalancer && service.external == TrafficPolicy::Local;
        let count = |family| ready_here(service, family, slices, place);
        let local = [Family::V4, Family::V6].map(count).into_iter().max().unwrap_or(0);
        applies.then_some(Self { port, local })
    }
}

fn ready_here(
    service: &Service,
    family: Family,
    slices: &[&EndpointSlice],
    place: Place<'_>,
) -> u32 {
    if !has_family(service, family) {
        return 0;
    }
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    for port in &service.ports {
        let all = endpoints::gather(service, port, family, slices);
        let ready = all.iter().filter(|candidate| {
            candidate.condition == Condition::Ready
                && candidate.has_weight()
                && place.is_local(candidate.endpoint)
        });
        addresses.extend(ready.map(|candidate| candidate.address));
    }
    addresses.len().try_into().unwrap_or(u32::MAX)
}
