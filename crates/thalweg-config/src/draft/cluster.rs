//! Objects of Kubernetes while they are being read, and what must hold between them.

use super::Kind;
use crate::foreign::Meta;
use crate::report::{Path, Report};
use crate::sources::Span;
use crate::suggest;
use crate::tree::short;
use std::collections::{BTreeMap, HashMap};
use thalweg_model::Key;
use thalweg_model::cluster::{
    Cluster, EndpointSlice, IpPool, Node, ObjectName, Pod, Protocol, Service, ServiceSettings,
};

/// A port of all nodes that a service asks for.
pub(crate) struct PortClaim {
    pub port: u16,
    pub protocol: Protocol,
    /// Where it stands.
    pub at: Span,
}

/// The node ports of a service.
struct Claims {
    /// Creation, then place: who comes first keeps a port.
    age: (u64, Span),
    name: ObjectName,
    ports: Vec<PortClaim>,
}

/// Everything that was read so far.
#[derive(Default)]
pub(crate) struct ClusterDraft {
    cluster: Cluster,
    claims: Vec<Claims>,
    /// Pods with an interface, where that stands.
    interfaces: Vec<(Span, ObjectName)>,
    /// Kinds that are not read, where the first stands, and how many there are.
    strange: BTreeMap<String, (Span, usize)>,
}

impl ClusterDraft {
    /// Adds a `Service` with its node ports.
    pub fn service(&mut self, meta: &Meta, service: Service, ports: Vec<PortClaim>) {
        if !ports.is_empty() {
            let age = (service.created.unwrap_or(u64::MAX), meta.at);
            self.claims.push(Claims { age, name: meta.name.clone(), ports });
        }
        self.cluster.services.insert(meta.name.clone(), service);
    }

    /// Adds an `EndpointSlice`.
    pub fn slice(&mut self, meta: &Meta, slice: EndpointSlice) {
        self.cluster.slices.insert(meta.name.clone(), slice);
    }

    /// Adds a `Node`.
    pub fn node(&mut self, meta: &Meta, node: Node) {
        self.cluster.nodes.insert(meta.name.name.clone(), node);
    }

    /// Adds a `Pod`, whose interface is named at `at`.
    pub fn pod(&mut self, meta: &Meta, pod: Pod, at: Span) {
        if pod.interface.is_some() {
            self.interfaces.push((at, meta.name.clone()));
        }
        self.cluster.pods.insert(meta.name.clone(), pod);
    }

    /// Adds an `IPPool`.
    pub fn pool(&mut self, meta: &Meta, pool: IpPool) {
        self.cluster.pools.insert(meta.name.name.clone(), pool);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        let Cluster { services, slices, nodes, pods, pools } = &self.cluster;
        self.strange.is_empty()
            && services.is_empty()
            && slices.is_empty()
            && nodes.is_empty()
            && pods.is_empty()
            && pools.is_empty()
    }

    /// Counts an object of a kind that is not read.
    pub fn strange(&mut self, kind: &str, at: Span) {
        self.strange.entry(kind.into()).or_insert((at, 0)).1 += 1;
    }

    /// The cluster without those that are wrong beside others.
    pub fn finish(mut self, settings: &ServiceSettings, report: &mut Report) -> Cluster {
        self.check_node_ports(settings.node_ports, report);
        self.check_interfaces(report);
        report.object = None;
        self.tell_strange(report);
        self.cluster
    }

    fn check_node_ports(&mut self, range: (u16, u16), report: &mut Report) {
        self.claims.sort_by_key(|claims| claims.age);
        let mut taken: HashMap<(u16, Protocol), (usize, Span)> = HashMap::new();
        for (index, claims) in self.claims.iter().enumerate() {
            let before = report.errors();
            report.object = Some(key(Kind::Service, &claims.name));
            let spec = Path::Field(&Path::Root, "spec");
            for claim in &claims.ports {
                let (port, protocol) = (claim.port, claim.protocol);
                if !(range.0..=range.1).contains(&port) {
                    let what = format!("node port {port} is none of {}-{}", range.0, range.1);
                    let remedy =
                        "choose one of those, or widen spec.services.nodePortRange of the Router";
                    report.error(claim.at, &spec.below("ports"), what, remedy);
                } else if let Some((owner, at)) = taken.get(&(port, protocol)) {
                    let owner = key(Kind::Service, &self.claims[*owner].name);
                    let place = report.origin(*at);
                    let what = format!(
                        "node port {port} {protocol} already belongs to {owner} at {place}"
                    );
                    let remedy = "give one of them another node port";
                    report.error(claim.at, &spec.below("ports"), what, remedy);
                }
            }
            if report.errors() > before {
                self.cluster.services.remove(&claims.name);
                continue;
            }
            let ports = claims.ports.iter();
            taken.extend(ports.map(|claim| ((claim.port, claim.protocol), (index, claim.at))));
        }
    }

    /// An interface belongs to one pod of its node.
    fn check_interfaces(&mut self, report: &mut Report) {
        self.interfaces.sort();
        let mut taken: HashMap<(Option<String>, String), (Span, ObjectName)> = HashMap::new();
        for (at, name) in std::mem::take(&mut self.interfaces) {
            let Some(pod) = self.cluster.pods.get(&name) else { continue };
            let Some(interface) = &pod.interface else { continue };
            let place = (pod.node.clone(), interface.clone());
            let Some((first, owner)) = taken.get(&place) else {
                taken.insert(place, (at, name));
                continue;
            };
            let (owner, first) = (key(Kind::Pod, owner), report.origin(*first));
            report.object = Some(key(Kind::Pod, &name));
            let what = format!("`{}` already belongs to {owner} at {first}", short(interface));
            let path = Path::Field(&Path::Root, "metadata.annotations");
            report.error(at, &path, what, "name the interface of one pod only");
            self.cluster.pods.remove(&name);
        }
    }

    fn tell_strange(&self, report: &mut Report) {
        for (kind, (at, count)) in &self.strange {
            let known = Kind::FOREIGN.iter().map(|(name, _)| *name);
            let remedy = match suggest::nearest(kind, known.clone()) {
                Some(near) => format!("did you mean `{near}`? else nothing is to be done"),
                None => format!("of Kubernetes, {} are read", suggest::list(known)),
            };
            let what = match count {
                1 => format!("an object of kind `{}` is ignored", short(kind)),
                _ => format!("{count} objects of kind `{}` are ignored", short(kind)),
            };
            report.warning(*at, &Path::Field(&Path::Root, "kind"), what, remedy);
        }
    }
}

fn key(kind: Kind, name: &ObjectName) -> Key {
    Key { kind: kind.name().into(), name: name.to_string() }
}
