//! This host among the endpoints that policies are about: where packets of its traffic come in and leave.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use thalweg_model::Intent;
use thalweg_policy::World;
use thalweg_policy::decide::host::{Gate, Way};
use thalweg_policy::world::EndpointName;

/// A host with its pods and interfaces.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// Its name among the nodes; a host without one has no host endpoints.
    node: Option<String>,
    /// Addresses of its pods, with the numbers of their endpoints.
    pods: HashMap<IpAddr, usize>,
    /// Addresses of the host itself.
    own: BTreeSet<IpAddr>,
    /// Interfaces with their addresses.
    interfaces: BTreeMap<String, Vec<IpAddr>>,
}

impl Here {
    /// The host of an intent. `interfaces` are those that are known, with their addresses: offline none.
    pub fn new(
        intent: &Intent,
        world: &World,
        interfaces: impl IntoIterator<Item = (String, Vec<IpAddr>)>,
    ) -> Self {
        let node = intent.router.node.clone();
        let interfaces: BTreeMap<String, Vec<IpAddr>> = interfaces.into_iter().collect();
        let mut own: BTreeSet<IpAddr> = interfaces.values().flatten().copied().collect();
        own.extend(intent.own_node().iter().flat_map(|(_, node)| &node.addresses));
        let mut pods = HashMap::new();
        for (at, endpoint) in world.endpoints.iter().enumerate() {
            let EndpointName::Pod(name) = &endpoint.name else { continue };
            let pod = intent.cluster.pods.get(name);
            let elsewhere = node.is_some() && endpoint.node.is_some() && node != endpoint.node;
            if !elsewhere && pod.is_some_and(|pod| pod.interface.is_some()) {
                pods.extend(endpoint.addresses.iter().map(|address| (*address, at)));
            }
        }
        Self { node, pods, own, interfaces }
    }

    /// Whether an address is one of the host itself.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// The way of a packet: who it is from, by which interface it comes in, who it is for, and by which
    /// interface it leaves. Interfaces that are not known have the endpoint for all of them.
    pub fn way(
        &self,
        world: &World,
        (source, from): (IpAddr, Option<&str>),
        (destination, to): (IpAddr, Option<&str>),
    ) -> Way<'_> {
        let all = self.node.as_deref().and_then(|node| world.host_of_all(node));
        let own = &self.own;
        let [from, to] =
            [(source, from), (destination, to)].map(|(at, by)| self.gate(world, at, by));
        Way { from, to, all, own }
    }

    fn gate(&self, world: &World, address: IpAddr, interface: Option<&str>) -> Gate {
        match self.pods.get(&address) {
            Some(pod) => Gate::Pod(*pod),
            None if self.is_own(address) => Gate::Host,
            None => Gate::Network(self.network(world, interface)),
        }
    }

    /// The host endpoint that stands for an interface.
    fn network(&self, world: &World, interface: Option<&str>) -> Option<usize> {
        let node = self.node.as_deref()?;
        match interface {
            Some(name) => {
                let addresses = self.interfaces.get(name).map_or(&[][..], Vec::as_slice);
                world.host_at(node, name, addresses)
            }
            None => world.host_of_all(node),
        }
    }

    /// The host endpoint that stands for the interface with an address of the host. Where that interface is
    /// not known, it is the one that has the address, or the one for all.
    pub fn host_with(&self, world: &World, address: IpAddr) -> Option<usize> {
        let has = |(_, all): &(&String, &Vec<IpAddr>)| all.contains(&address);
        match self.interfaces.iter().find(has) {
            Some((name, _)) => self.network(world, Some(name)),
            None => world.host_at(self.node.as_deref()?, "", &[address]),
        }
    }
}
