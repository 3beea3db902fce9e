//! Host endpoints of this node: which they are, and for which links they stand.

use super::member::Member;
use super::{Compiler, Pass};
use crate::decide::host::{OWN, is_own};
use crate::object::Objects;
use crate::world::{Endpoint, EndpointName, stands_for, stands_for_all};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The host whose packets are decided here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ThisHost {
    /// The name of its node; without one it has no host endpoints.
    pub node: Option<String>,
    /// Its own addresses. What is for one of them on a port that stays open is not asked of policies that come
    /// before translation.
    pub addresses: BTreeSet<IpAddr>,
}

impl ThisHost {
    /// Whether an address is one of this host; which of those that mean any host are.
    pub fn is_own(&self, address: IpAddr) -> bool {
        is_own(&self.addresses, address)
    }
}

impl Compiler {
    /// The host endpoint that stands for an interface of this node with these addresses
    /// ([`World::host_at`](crate::World::host_at)).
    pub fn host_at(&self, interface: &str, addresses: &[IpAddr]) -> Option<usize> {
        stands_for(|| self.hosts(), interface, addresses)
    }

    /// The host endpoint for all interfaces of this node, and for what its pods send and receive
    /// ([`World::host_of_all`](crate::World::host_of_all)).
    pub fn host_of_all(&self) -> Option<usize> {
        stands_for_all(self.hosts())
    }

    /// The name of the host endpoint that tables know by a number.
    pub fn host(&self, endpoint: usize) -> Option<&str> {
        match self.members.get(endpoint).filter(|_| self.here.contains_key(&endpoint))? {
            Member::Host(host) => match &host.name {
                EndpointName::Host(name) => Some(name),
                EndpointName::Pod(_) => None,
            },
            Member::Pod(_) | Member::Set(_) => None,
        }
    }

    /// Takes over addresses of this host and ports that stay open. Where these are others, so may be what every
    /// host endpoint comes to.
    pub(super) fn settle_hosts(&mut self, objects: &Objects, host: &ThisHost, pass: &mut Pass) {
        let (old, new) = (&self.ground.world.settings, &objects.settings);
        let is_other = old.fail_safe_in != new.fail_safe_in
            || old.fail_safe_out != new.fail_safe_out
            || self.host.addresses != host.addresses;
        if is_other {
            let hosts: Vec<usize> = self.hosts().map(|(number, _)| number).collect();
            pass.dirty.extend(hosts);
        }
        self.ground.world.settings = new.clone();
        let always = OWN.into_iter().map(IpAddr::V4);
        self.live.set_own(always.chain(host.addresses.iter().copied()));
    }

    /// The host endpoints of this node, by name.
    fn hosts(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        self.members.hosts().filter(|(number, _)| self.here.contains_key(number))
    }
}
