//! Floating addresses of pods: which of them hold, and the rows that lead to the pods and back.

use crate::compiler::Compiler;
use crate::nat::Lead;
use crate::pods::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_abi::service::{FLOATING, flag};
use thalweg_image::FrontendKey;
use thalweg_model::cluster::{Family, Pod, Protocol};
use thalweg_model::{Intent, ObjectName, Problem, Severity};
use thalweg_service::{Choice, Frontend, Here, Resolver};

/// The field of pods that names them.
const FIELD: &str = "metadata.annotations.cni.projectcalico.org/floatingIPs";

/// An address that a pod asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    pod: ObjectName,
    address: IpAddr,
    /// The pod's own address of the family; none where nothing leads to it here.
    target: Option<IpAddr>,
    /// Why it does not get the address.
    refused: Option<Refusal>,
}

/// Floating addresses of all pods, and what of them is in force on this host.
#[derive(Debug, Default)]
pub(crate) struct Floating {
    claims: Vec<Claim>,
    held: Vec<Held>,
    refused: Vec<(ObjectName, Refusal)>,
}

/// A floating address in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The pod that has it.
    pub pod: ObjectName,
    /// The address that others use.
    pub address: IpAddr,
    /// The pod's own.
    pub target: IpAddr,
}

/// What pods ask for: of two that want one address, the first by name has it.
pub(crate) fn of(intent: &Intent) -> Vec<Claim> {
    let cluster = &intent.cluster;
    let asking: Vec<_> = cluster.pods.iter().filter(|(_, pod)| !pod.floating.is_empty()).collect();
    if asking.is_empty() {
        return Vec::new();
    }
    let wanted: BTreeSet<IpAddr> =
        asking.iter().flat_map(|(_, pod)| pod.floating.clone()).collect();
    let mut owners: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (name, node) in cluster.nodes.iter() {
        let own = node.addresses.iter().filter(|address| wanted.contains(*address));
        owners.extend(own.map(|address| (*address, format!("Node/{name}"))));
    }
    for (name, pod) in cluster.pods.iter() {
        let own = pod.addresses.iter().filter(|address| wanted.contains(*address));
        owners.extend(own.map(|address| (*address, format!("Pod/{name} as its own"))));
    }
    let mut claims = Vec::new();
    for (name, pod) in asking {
        for address in &pod.floating {
            let claim = claim(intent, name, pod, *address, &owners);
            if claim.refused.is_none() {
                owners.insert(*address, format!("Pod/{name}"));
            }
            claims.push(claim);
        }
    }
    claims
}

fn claim(
    intent: &Intent,
    name: &ObjectName,
    pod: &Pod,
    address: IpAddr,
    owners: &BTreeMap<IpAddr, String>,
) -> Claim {
    let target = pod.addresses.iter().find(|own| Family::of(**own) == Family::of(address));
    let services = &intent.router.services.service_cidrs;
    let refused = if let Some(owner) = owners.get(&address) {
        let what = format!("{address} already belongs to {owner}");
        Some((FIELD, what, "give the pod another floating address"))
    } else if let Some(range) = services.iter().find(|range| range.contains(address)) {
        let what = format!("{address} is an address of services: it lies within {range}");
        Some((FIELD, what, "take one outside of spec.services.serviceCIDRs of the Router"))
    } else if target.is_none() && !pod.addresses.is_empty() {
        let what = format!("the pod has no address of the family of {address}");
        Some((FIELD, what, "leave it out, or give the pod an address of that family"))
    } else {
        None
    };
    let target = target.copied().filter(|_| crate::pods::is_here(intent, pod));
    Claim { pod: name.clone(), address, target, refused }
}

impl Floating {
    /// Takes over what pods ask for; returns whether that is anything new.
    pub(crate) fn set(&mut self, claims: Vec<Claim>) -> bool {
        let changed = self.claims != claims;
        self.claims = claims;
        changed
    }

    /// Whether a pod of this host asks for an address and may have it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.claims.iter().any(|claim| claim.refused.is_none() && claim.target.is_some())
    }

    /// Adds the rows of those that hold: what a service or this host has stays theirs.
    pub(crate) fn lead(
        &mut self,
        services: &Resolver,
        here: &Here,
        leads: &mut BTreeMap<FrontendKey, Lead>,
    ) {
        (self.held, self.refused) = (Vec::new(), Vec::new());
        for claim in &self.claims {
            let mut refused = claim.refused.clone();
            if refused.is_none() && here.holds(claim.address) {
                let what = format!("{} is an address of this host's links", claim.address);
                let remedy = "take it off the link; `ip neigh add proxy` lets a link answer for it";
                refused = Some((FIELD, what, remedy));
            }
            if let Some(vip) = services.vip(claim.address).filter(|_| refused.is_none()) {
                let owner = vip.services.first().map(ObjectName::to_string).unwrap_or_default();
                let what = format!("{} already belongs to Service/{owner}", claim.address);
                refused = Some((FIELD, what, "give one of them another address"));
            }
            match (refused, claim.target) {
                (Some(refused), _) => self.refused.push((claim.pod.clone(), refused)),
                (None, None) => {}
                (None, Some(target)) => {
                    let (pod, address) = (claim.pod.clone(), claim.address);
                    leads.extend(rows(&pod, address, target));
                    self.held.push(Held { pod, address, target });
                }
            }
        }
    }
}

/// The row of the floating address, which leads to the pod, and that of the pod's own, which leads back.
fn rows(pod: &ObjectName, address: IpAddr, target: IpAddr) -> [(FrontendKey, Lead); 2] {
    let inward = Lead { flags: flag::FLOATING, choice: Some(only(pod, target)) };
    let outward = Lead { flags: 0, choice: Some(only(pod, address)) };
    [(FrontendKey::new(address, 0, 0), inward), (FrontendKey::new(target, 0, FLOATING), outward)]
}

/// The choice of one address with any port.
fn only(pod: &ObjectName, address: IpAddr) -> Choice {
    let key = thalweg_service::FrontendKey { address, port: 0, protocol: Protocol::Tcp };
    Frontend::of_pod(pod.clone(), key, address, 0).internal
}

impl Compiler {
    /// Floating addresses in force on this host, by pod.
    pub fn floating(&self) -> impl Iterator<Item = &Held> {
        self.services.nat.floating.held.iter()
    }

    /// Floating addresses that pods cannot have.
    pub(crate) fn floating_problems(&self, all: &mut BTreeSet<Problem>) {
        for (pod, (field, what, remedy)) in &self.services.nat.floating.refused {
            let (name, field) = (pod.to_string(), Some((*field).into()));
            let (what, remedy) = (what.clone(), (*remedy).into());
            all.insert(self.of_object("Pod", &name, Severity::Error, field, what, remedy));
        }
    }
}
