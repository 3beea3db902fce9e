//! Nodes that come, move and go: who is reached through a tunnel, and who may send by one.

use crate::fixture::{World, world};
use crate::maps::Maps;
use std::collections::BTreeMap;
use std::net::IpAddr;
use thalweg_abi::tunnel::{self, TunnelRow, protocol};
use thalweg_abi::{BackendRow, GroupId, VrfId, nexthop};
use thalweg_compile::Compiler;
use thalweg_image::{Change, SetId};
use thalweg_model::TunnelSettings;
use thalweg_model::cluster::Node;

const HOST: &str = "link 2 eth0
addr eth0 192.0.2.1/24
kernel 192.0.2.0/24 nexthop dev eth0
kernel 198.51.100.0/24 nexthop via 192.0.2.254 dev eth0
neigh 192.0.2.2 eth0 02:00:00:00:00:02
neigh 192.0.2.254 eth0 02:00:00:00:00:fe
ours eth0";

/// A compiler with its plane, and the nodes that the plane knows.
struct Lab {
    world: World,
    compiler: Compiler,
    maps: Maps,
    sets: BTreeMap<SetId, Vec<BackendRow>>,
}

impl Lab {
    fn new() -> Self {
        let mut world = world(HOST);
        world.intent.router.limits.flows = 1024;
        world.intent.router.node = Some("own".into());
        world.intent.router.tunnel = Some(TunnelSettings::default());
        let mut compiler = Compiler::new(world.intent.limits());
        compiler.load_host(world.host.clone());
        let mut lab = Self { world, compiler, maps: Maps::default(), sets: BTreeMap::new() };
        lab.node("own", "192.0.2.1", "10.1.1.0/24");
        lab
    }

    fn node(&mut self, name: &str, address: &str, pods: &str) {
        let node = Node {
            addresses: vec![address.parse().unwrap()],
            pod_cidrs: vec![pods.parse().unwrap()],
            zone: None,
        };
        self.world.intent.cluster.nodes.insert(name.into(), node);
        self.step();
    }

    fn step(&mut self) {
        self.compiler.set_intent(self.world.intent.clone());
        let plan = self.compiler.plan();
        self.maps.apply(&plan);
        for change in &plan.changes {
            match change {
                Change::Backends(id, set) => {
                    assert!(self.sets.insert(*id, set.backends.clone()).is_none());
                }
                Change::FreeBackends(id) => assert!(self.sets.remove(id).is_some()),
                _ => {}
            }
        }
    }

    /// The outer headers of packets to some pods, and the link address of who gets them.
    fn tunnel_to(&self, pods: &str) -> Option<(TunnelRow, [u8; 6])> {
        let group = self.maps.routes.get(&(VrfId::default(), pods.parse().unwrap()))?;
        self.tunnel_of(*group)
    }

    fn tunnel_of(&self, group: GroupId) -> Option<(TunnelRow, [u8; 6])> {
        let hop = self.maps.nexthops.get(&self.maps.groups.get(&group)?.buckets[0].0)?;
        assert_ne!(hop.flags & nexthop::flag::TUNNEL, 0);
        assert_eq!(hop.mtu, 1450, "what a link of 1,500 octets leaves room for");
        let outer = self.maps.nexthops.get(&hop.backup)?;
        Some((*TunnelRow::of(outer)?, hop.addresses[..6].try_into().unwrap()))
    }

    /// Checks that these nodes and no others may send, and that answers go where packets to their pods do.
    fn knows(&self, nodes: &[(&str, &str)]) {
        let known: Vec<&BackendRow> = self.sets.values().flatten().collect();
        assert_eq!(known.len(), nodes.len(), "{known:?}");
        for (address, pods) in nodes {
            let address = halves(address);
            let row = known.iter().find(|row| row.address == address).expect("the node is known");
            assert_eq!(row.id, tunnel::node_id(address));
            let (tunnel, mac) = self.tunnel_to(pods).expect("its pods are reached");
            assert_eq!(self.tunnel_of(GroupId(row.node as u16)), Some((tunnel, mac)));
            assert_eq!(tunnel::halves(tunnel.remote), address);
            assert_eq!(tunnel::halves(tunnel.local), halves("192.0.2.1"));
            let kind = (tunnel.protocol, tunnel.port, tunnel.vni, tunnel.room);
            assert_eq!(kind, (protocol::VXLAN, 4789, 1, 50));
        }
    }
}

fn halves(address: &str) -> [u64; 2] {
    match address.parse().unwrap() {
        IpAddr::V4(four) => [0, u32::from(four).into()],
        IpAddr::V6(six) => [(six.to_bits() >> 64) as u64, six.to_bits() as u64],
    }
}

#[test]
fn nodes_come_move_and_go() {
    let mut lab = Lab::new();
    let rows = lab.maps.nexthops.len();
    lab.knows(&[]);
    lab.node("b", "192.0.2.2", "10.1.2.0/24");
    lab.knows(&[("192.0.2.2", "10.1.2.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.2.0/24").unwrap().1[5], 0x02);
    // Behind a router, reached as any other address there.
    lab.node("c", "198.51.100.3", "10.1.3.0/24");
    lab.knows(&[("192.0.2.2", "10.1.2.0/24"), ("198.51.100.3", "10.1.3.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.3.0/24").unwrap().1[5], 0xfe);
    // One moves.
    lab.node("b", "198.51.100.2", "10.1.2.0/24");
    lab.knows(&[("198.51.100.2", "10.1.2.0/24"), ("198.51.100.3", "10.1.3.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.2.0/24").unwrap().1[5], 0xfe);
    // The router gets another link address: tunnels follow.
    let update = lab.world.update("neigh 192.0.2.254 eth0 02:00:00:00:00:aa");
    lab.compiler.update_host(update);
    lab.step();
    lab.knows(&[("198.51.100.2", "10.1.2.0/24"), ("198.51.100.3", "10.1.3.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.2.0/24").unwrap().1[5], 0xaa);
    // One goes, then all.
    lab.world.intent.cluster.nodes.remove("c");
    lab.step();
    lab.knows(&[("198.51.100.2", "10.1.2.0/24")]);
    assert_eq!(lab.tunnel_to("10.1.3.0/24"), None);
    lab.world.intent.router.tunnel = None;
    lab.step();
    lab.knows(&[]);
    lab.step();
    assert_eq!(lab.maps.nexthops.len(), rows, "nothing is left over");
}

/// The kernel's routes to pods of other nodes lead to a link of ours, and say what fits into the tunnel.
#[test]
fn the_kernel_is_told_what_fits_into_tunnels() {
    let mut lab = Lab::new();
    lab.node("b", "192.0.2.2", "10.1.2.0/24");
    let tell = |lab: &mut Lab, line: &str| {
        let update = lab.world.update(line);
        lab.compiler.update_host(update);
        let plan = lab.compiler.plan();
        let routes = lab.compiler.exports(&plan).into_iter();
        let told = routes.map(|r| (r.prefix.to_string(), r.hops, r.source, r.mtu));
        told.collect::<Vec<_>>()
    };
    assert_eq!(tell(&mut lab, "link 3 eth1"), [], "there is no way into tunnels yet");
    let to = |mtu| {
        let (prefix, hops) = ("10.1.2.0/24".to_owned(), vec![(9, None, 1)]);
        [(prefix, hops, Some("192.0.2.1".parse::<IpAddr>().unwrap()), Some(mtu))]
    };
    assert_eq!(tell(&mut lab, "link 9 thalweg0"), to(1_450));
    assert_eq!(tell(&mut lab, "link 2 eth0 mtu 1400"), to(1_350));
    assert_eq!(tell(&mut lab, "link 2 eth0 mtu 9000"), to(8_950));
}
