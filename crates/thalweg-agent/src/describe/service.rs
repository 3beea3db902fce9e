//! Everything about one service.

use super::{Draft, yes};
use crate::brain::Brain;
use crate::cluster;
use crate::plane::Counts;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::{Kind, Reason};
use thalweg_api::Fault;
use thalweg_api::cluster::{BackendView, ServiceView};
use thalweg_api::view::DescribeView;
use thalweg_compile::Compiler;
use thalweg_image::Memory;
use thalweg_model::cluster::{
    Distribution, Endpoint, EndpointSlice, Family, Service, ServicePort, ServiceType, TrafficPolicy,
};
use thalweg_model::{ObjectName, Problem, Severity};

/// Why packets of services are dropped or refused. They are counted for all services together.
const REASONS: [Reason; 8] = [
    Reason::NoBackend,
    Reason::NoService,
    Reason::SourceRange,
    Reason::NoFlow,
    Reason::FlowsFull,
    Reason::NoFirstFragment,
    Reason::NatPorts,
    Reason::NatUnfit,
];

/// Describes a service, `NAME` or `NAMESPACE/NAME`; also one that is set aside for its errors.
///
/// # Errors
///
/// [`Fault`] when there is none of that name.
pub fn service(
    brain: &Brain,
    compiler: &Compiler,
    memory: Option<&Memory>,
    counts: &Counts,
    name: &str,
) -> Result<DescribeView, Fault> {
    let name = cluster::object_name(name);
    let found = compiler.intent().cluster.services.get(&name);
    let slices = slices_of(compiler, &name);
    let problems = problems(brain, &name, &slices);
    if found.is_none() && problems.is_empty() {
        return Err(super::missing("service", &name.to_string()));
    }
    let mut draft = Draft::new("service", &name);
    let mut frontends = cluster::services_of(compiler, |f| cluster::is_of(f, &name));
    let own = problems.iter().filter(|problem| is_of_service(problem)).count();
    frontends.iter_mut().for_each(|frontend| frontend.problems = own as u32);
    let possible = found.is_some() && compiler.limits().flows > 0;
    draft.field("In force", in_force(possible, frontends.is_empty(), &problems));
    if let Some(service) = found {
        settings(&mut draft, service);
        let backends = cluster::backends_of(compiler, memory, |f| cluster::is_of(f, &name));
        let flows: u32 = backends.iter().map(|backend| backend.flows).sum();
        if memory.is_some() {
            draft.field("Flows", flows);
        }
        draft.section("Frontends", frontends.iter().map(frontend_line));
        draft.section("Backends", backends.iter().map(backend_line));
        draft.section("Endpoints that are no backends", idle(service, &slices, &backends));
        (draft.0.frontends, draft.0.backends) = (frontends, backends);
    }
    draft.section("Dropped or refused, all services together", drops(counts));
    draft.0.problems = problems;
    Ok(draft.0)
}

/// How much of a service is in force: what is wrong with it takes frontends from it, or all.
fn in_force(possible: bool, none: bool, problems: &[Problem]) -> &'static str {
    let is_own = |problem: &Problem| problem.severity == Severity::Error && is_of_service(problem);
    match problems.iter().any(is_own) {
        _ if !possible => yes(false),
        true if none => yes(false),
        true => "partly",
        false => yes(true),
    }
}

/// Whether a problem is of a service itself, not of its slices.
fn is_of_service(problem: &Problem) -> bool {
    problem.object.as_ref().is_some_and(|key| key.kind == "Service")
}

/// What the object says, where it is not what most say.
fn settings(draft: &mut Draft, service: &Service) {
    let kind = match service.kind {
        ServiceType::ClusterIp if service.cluster_ips.is_empty() => "ClusterIP, headless",
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
        ServiceType::ExternalName => "ExternalName",
    };
    let local = |policy| (policy == TrafficPolicy::Local).then_some("Local");
    let distribution = match service.distribution {
        Distribution::Even => None,
        Distribution::SameZone => Some("PreferSameZone"),
        Distribution::SameNode => Some("PreferSameNode"),
    };
    let ranges: Vec<String> = service.source_ranges.iter().map(ToString::to_string).collect();
    draft
        .field("Type", kind)
        .some("Affinity", service.affinity.map(|time| format!("ClientIP, {} s", time.as_secs())))
        .some("Internal traffic policy", local(service.internal))
        .some("External traffic policy", local(service.external))
        .some("Distribution", distribution)
        .some("Source ranges", (!ranges.is_empty()).then(|| ranges.join(", ")))
        .some("Serves before it is ready", service.publish_not_ready.then_some("yes"));
}

fn slices_of<'a>(
    compiler: &'a Compiler,
    name: &ObjectName,
) -> Vec<(&'a ObjectName, &'a EndpointSlice)> {
    let all = compiler.intent().cluster.slices.iter();
    all.filter(|(key, slice)| key.namespace == name.namespace && slice.service == name.name)
        .collect()
}

/// How many problems services have, by their names.
pub fn problems_of_services(brain: &Brain) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for problem in brain.config_problems.iter().cloned().chain(brain.problems()) {
        if let Some(key) = problem.object.filter(|key| key.kind == "Service") {
            *counts.entry(key.name).or_insert(0) += 1;
        }
    }
    counts
}

/// What is wrong with the service or its slices.
fn problems(
    brain: &Brain,
    name: &ObjectName,
    slices: &[(&ObjectName, &EndpointSlice)],
) -> Vec<Problem> {
    let about = |problem: &Problem| {
        problem.object.as_ref().is_some_and(|key| match &key.kind[..] {
            "Service" => key.name == name.to_string(),
            "EndpointSlice" => slices.iter().any(|(slice, _)| key.name == slice.to_string()),
            _ => false,
        })
    };
    brain.config_problems.iter().cloned().chain(brain.problems()).filter(about).collect()
}

fn frontend_line(view: &ServiceView) -> String {
    let ServiceView { frontend, protocol, class, internal, external, .. } = view;
    let port = spaced(&view.port);
    let word = |empty: &str| if empty == "drop" { "dropped" } else { "refused" };
    let (inside, outside) = (word(&view.empty), word(&view.empty_external));
    let rest = match (internal, external) {
        (0, 0) if inside == outside => format!(": new flows are {inside}"),
        (0, 0) => format!(": new flows of workloads are {inside}, from outside {outside}"),
        (0, _) => format!(": new flows of workloads are {inside}"),
        (_, 0) => format!(": new flows from outside are {outside}"),
        _ => String::new(),
    };
    format!(
        "{port}{frontend}/{protocol} {class}, backends: {internal} internal, {external} external{rest}"
    )
}

fn backend_line(view: &BackendView) -> String {
    let BackendView { backend, protocol, state, share, flows, .. } = view;
    let port = spaced(&view.port);
    let node = view.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    format!("{port}{backend}/{protocol} {state}{node}, {share:.1} % of new flows, {flows} flows")
}

/// The name of a port in front of its line.
fn spaced(port: &str) -> String {
    if port.is_empty() { String::new() } else { format!("{port} ") }
}

/// Endpoints that serve nobody, and why.
fn idle(
    service: &Service,
    slices: &[(&ObjectName, &EndpointSlice)],
    backends: &[BackendView],
) -> Vec<String> {
    let address =
        |view: &BackendView| view.backend.parse().ok().map(|at: std::net::SocketAddr| at.ip());
    let serving: BTreeSet<IpAddr> = backends.iter().filter_map(address).collect();
    let mut lines = BTreeSet::new();
    for (name, slice) in slices {
        for endpoint in &slice.endpoints {
            let Some(address) = endpoint.addresses.first() else { continue };
            if serving.contains(address) {
                continue;
            }
            let why = why(service, slice, endpoint);
            let node = endpoint.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
            lines.insert((*address, format!("{address}{node}: {why} (EndpointSlice/{name})")));
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Why an endpoint serves nobody.
fn why(service: &Service, slice: &EndpointSlice, endpoint: &Endpoint) -> &'static str {
    let of_family = |address: &IpAddr| Family::of(*address) == slice.family;
    let leads = |port: &ServicePort| {
        let mut ports = slice.ports.iter();
        ports.any(|other| (&other.name, other.protocol) == (&port.name, port.protocol))
    };
    match (endpoint.ready || service.publish_not_ready, endpoint.terminating) {
        (true, _) if !service.cluster_ips.iter().any(of_family) => {
            "ready, but the service has no cluster IP of its family"
        }
        (true, _) if !service.ports.iter().any(leads) => {
            "ready, but no port of its slice has the name and protocol of one of the service"
        }
        (true, _) => "ready, but none that this node sends to (policies, topology)",
        (false, true) if endpoint.serving => "terminating, and others are ready",
        (false, true) => "terminating",
        (false, false) => "not ready",
    }
}

/// What was dropped or refused for reasons that services give.
fn drops(counts: &Counts) -> Vec<String> {
    let refused = |kind| matches!(kind, Kind::Drop | Kind::Answer);
    let counted = counts.iter().filter(|(verdict, count)| {
        refused(verdict.kind()) && REASONS.contains(&verdict.reason()) && count.packets > 0
    });
    counted
        .map(|(verdict, count)| {
            let word = if verdict.kind() == Kind::Drop { "dropped" } else { "refused" };
            format!("{}: {} packets {word}", verdict.reason().name(), count.packets)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_model::cluster::EndpointPort;

    #[test]
    fn who_finds_no_backend_is_told_what_becomes_of_whom() {
        let line = |(internal, external), (empty, outside): (&str, &str)| {
            let (empty, empty_external) = (empty.into(), outside.into());
            let view =
                ServiceView { internal, external, empty, empty_external, ..Default::default() };
            let line = frontend_line(&view);
            line.split_once("external").map(|(_, rest)| rest.to_owned()).unwrap_or_default()
        };
        assert_eq!(line((1, 1), ("reject", "drop")), "");
        assert_eq!(line((1, 0), ("reject", "drop")), ": new flows from outside are dropped");
        assert_eq!(line((0, 1), ("drop", "reject")), ": new flows of workloads are dropped");
        assert_eq!(line((0, 0), ("reject", "reject")), ": new flows are refused");
        let both = ": new flows of workloads are refused, from outside dropped";
        assert_eq!(line((0, 0), ("reject", "drop")), both);
    }

    /// The one endpoint is on another node: by the frontend's own word, not by one made up here.
    #[test]
    fn who_comes_from_outside_under_a_local_policy_is_told_to_be_dropped() {
        let text = "apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: this}
spec: {node: one}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.96.0.1, externalTrafficPolicy: Local, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.9}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.1.2.3], nodeName: two}]
";
        let loaded = thalweg_config::parse(&[("lab.yaml".into(), text.into())]);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let mut compiler = Compiler::new(loaded.intent.limits());
        compiler.set_intent(loaded.intent);
        compiler.plan();
        let views = cluster::services_of(&compiler, |frontend| frontend.key.port == 80);
        let view = views.iter().find(|view| view.frontend == "192.0.2.9:80").unwrap();
        assert_eq!((&*view.empty, &*view.empty_external), ("reject", "drop"));
        let line = frontend_line(view);
        assert!(
            line.ends_with("1 internal, 0 external: new flows from outside are dropped"),
            "{line}"
        );
    }

    /// Slices that are written by hand often name another port than the service does.
    #[test]
    fn who_is_ready_and_serves_nobody_is_told_why() {
        let port = |name: &str| ServicePort { name: name.into(), ..ServicePort::default() };
        let service = Service {
            cluster_ips: vec!["10.96.0.1".parse().unwrap()],
            ports: vec![port("http")],
            ..Service::default()
        };
        let endpoint = Endpoint {
            addresses: vec!["10.1.2.3".parse().unwrap()],
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            zone: None,
            for_zones: Default::default(),
            for_nodes: Default::default(),
            weight: 1,
        };
        let why = |family, name: &str| {
            let ports = vec![EndpointPort { name: name.into(), port: 80, ..Default::default() }];
            let slice =
                EndpointSlice { service: "web".into(), family, ports, endpoints: Vec::new() };
            super::why(&service, &slice, &endpoint)
        };
        assert!(why(Family::V4, "").contains("the name and protocol"));
        assert!(why(Family::V6, "http").contains("no cluster IP of its family"));
        assert!(why(Family::V4, "http").contains("policies, topology"));
    }

    #[test]
    fn a_service_that_lost_its_address_is_not_in_force() {
        let problem = |kind: &str, severity| Problem {
            severity,
            object: Some(thalweg_model::Key { kind: kind.into(), name: "shop/web".into() }),
            origin: Default::default(),
            field: None,
            what: String::new(),
            remedy: String::new(),
        };
        let taken = [problem("Service", Severity::Error)];
        let others =
            [problem("Service", Severity::Warning), problem("EndpointSlice", Severity::Error)];
        assert_eq!(in_force(true, true, &taken), "no");
        assert_eq!(in_force(true, false, &taken), "partly");
        assert_eq!(in_force(true, true, &others), "yes", "headless");
        assert_eq!(in_force(false, false, &others), "no");
    }
}
