//! Workloads: what pods on this host mean for links and routes.

use crate::catalog::Edit;
use crate::intent::{Link, NextHop, Route, RouteAction, Rpf};
use crate::{Intent, Key, ObjectName, Origin, Prefix};
use std::sync::Arc;

/// Any other route to the same prefix wins.
const LAST: u32 = u32::MAX;

/// Name of the link and of the routes that a pod makes.
fn name_of(pod: &ObjectName) -> String {
    format!("pod/{pod}")
}

impl Intent {
    /// The intent with a link for the interface of each pod on this host, and a route to each of its
    /// addresses. What a `Link` object says of an interface by name goes first.
    pub fn with_workloads(mut self) -> Self {
        let (mut origins, mut routes) = (Vec::new(), Vec::new());
        let mut links = Vec::new();
        for (name, pod) in &self.cluster.pods {
            let Some(interface) = pod.interface.as_ref().filter(|_| !pod.host_network) else {
                continue;
            };
            if self.router.node.is_some() && pod.node.is_some() && self.router.node != pod.node {
                continue;
            }
            let origin = self.origin("Pod", &name.to_string());
            let own = name_of(name);
            let link = Link {
                interfaces: vec![interface.clone()],
                // A workload speaks for its own addresses alone.
                rpf: Rpf::Strict,
                workload: true,
                ..Link::default()
            };
            let key = Key { kind: "Link".into(), name: own.clone() };
            origins.push(Edit::Set(Arc::new((key, origin.clone()))));
            links.push((own.clone(), link));
            for address in &pod.addresses {
                let route = Route {
                    vrf: "default".into(),
                    prefix: Prefix::host(*address),
                    metric: 0,
                    // Its own gateway: the neighbor is the workload itself.
                    action: RouteAction::Forward(vec![NextHop {
                        via: Some(*address),
                        onlink: true,
                        dev: Some(interface.clone()),
                        ..NextHop::default()
                    }]),
                };
                let route_name = format!("{own}[{address}]");
                let key = Key { kind: "Route".into(), name: route_name.clone() };
                origins.push(Edit::Set(Arc::new((key, origin.clone()))));
                routes.push(Edit::Set(Arc::new((route_name, route))));
            }
        }
        self.links.extend(links);
        self.origins.edit(origins);
        self.routes.edit(routes);
        self.with_service_cidrs().with_tunnels()
    }

    /// With a route that discards what goes to addresses allotted to services but not taken by any: those
    /// of a service are translated before routes are asked. Ranges of `ServiceCIDR` objects count like
    /// those of the `Router` object.
    fn with_service_cidrs(mut self) -> Self {
        let router = self.router_object();
        let origin = router.map(|(_, origin)| origin.clone()).unwrap_or_default();
        let own = self.router.services.service_cidrs.clone();
        for prefix in own {
            self.discard(prefix, origin.clone());
        }
        let objects = self.cluster.service_cidrs.clone();
        for (name, prefixes) in &objects {
            let origin = self.origin("ServiceCIDR", name);
            for prefix in prefixes {
                if !self.router.services.service_cidrs.contains(prefix) {
                    self.router.services.service_cidrs.push(*prefix);
                    self.discard(*prefix, origin.clone());
                }
            }
        }
        self
    }

    fn discard(&mut self, prefix: Prefix, origin: Origin) {
        let route =
            Route { vrf: "default".into(), prefix, metric: LAST, action: RouteAction::Blackhole };
        let name = format!("service-cidr/{prefix}");
        self.origins.insert(Key { kind: "Route".into(), name: name.clone() }, origin);
        self.routes.insert(name, route);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_objects_count_like_those_of_the_router() {
        let prefix = |text: &str| text.parse::<Prefix>().unwrap();
        let mut intent = Intent::default();
        intent.router.services.service_cidrs = vec![prefix("10.96.0.0/16")];
        let more = vec![prefix("10.96.0.0/16"), prefix("fd96::/112")];
        intent.cluster.service_cidrs.insert("kubernetes".into(), more);
        let made = intent.with_workloads();
        let all = [prefix("10.96.0.0/16"), prefix("fd96::/112")];
        assert_eq!(made.router.services.service_cidrs, all);
        for prefix in all {
            let route = &made.routes[&format!("service-cidr/{prefix}")];
            assert_eq!((route.prefix, &route.action), (prefix, &RouteAction::Blackhole));
        }
    }
}
