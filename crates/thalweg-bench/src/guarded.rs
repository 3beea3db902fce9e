//! A node whose policies are in force, without an agent: compiler, tables, program at the links.

use crate::Measured;
use crate::image;
use crate::network::index;
use crate::object::Object;
use crate::pods::{CLIENT, Node, PODS, address};
use crate::rules::pods;
use aya::programs::XdpMode;
use std::net::{IpAddr, Ipv4Addr};
use thalweg_abi::TableId;
use thalweg_compile::Compiler;
use thalweg_config::Loaded;
use thalweg_image::Capacity;
use thalweg_model::Prefix;
use thalweg_model::host::{Link, Neighbor, NextHop, Route, RouteKey, RouteKind, Update};
use thalweg_model::intent::Limits;
use thalweg_wire::{Mac, Prefix4};

/// Flows that there is room for.
const FLOWS: u32 = 1 << 20;
/// The program at the links.
pub const PROGRAM: &str = "thalweg_flow_xdp";

/// A node, and the program with its tables.
pub struct Guarded {
    /// The node; the link of [`CLIENT`] leads everywhere else.
    pub node: Node,
    /// The program.
    pub real: Object,
    /// Lines of policies in force.
    pub lines: u32,
}

/// Objects in files; what is wrong with them is an error.
pub fn parse(files: &[(String, String)]) -> Measured<Loaded> {
    let loaded = thalweg_config::parse(files);
    let wrong =
        |problem: &&thalweg_model::Problem| problem.severity == thalweg_model::Severity::Error;
    match loaded.problems.iter().find(wrong) {
        None => Ok(loaded),
        Some(problem) => Err(problem.to_string().into()),
    }
}

/// Limits with room for so many lines of policies and flows, and for little else.
pub fn limits(lines: u32, flows: u32) -> Limits {
    Limits {
        links: 1024,
        sessions: 16,
        vrfs: 1,
        ipv4_routes: 1 << 12,
        ipv6_routes: 1 << 10,
        labels: 16,
        nexthops: 1 << 12,
        groups: 1 << 12,
        vlan_links: 0,
        frontends: 64,
        backends: 64,
        ring_slots: 4096,
        flows,
        policy_lines: lines,
    }
}

/// Tables for limits.
pub fn capacity(limits: &Limits) -> Capacity {
    Capacity::for_limits(&thalweg_compile::table_limits(limits))
}

/// Makes sure that no workload is without its rules for want of room.
pub fn fits(compiler: &Compiler) -> Measured<()> {
    let problems = compiler.problems();
    let closed = problems.iter().find(|problem| problem.what.contains("no room"));
    closed.map_or(Ok(()), |problem| Err(problem.to_string().into()))
}

impl Guarded {
    /// A node with its pods and these objects, and room for so many lines.
    pub fn new(files: &[(String, String)], lines: u32) -> Measured<Self> {
        let node = Node::new()?;
        let mut files = files.to_vec();
        files.push(("pods.yaml".to_owned(), pods()));
        let Loaded { mut intent, policies, .. } = parse(&files)?;
        intent.router.unlisted_links = true;
        let limits = limits(lines, FLOWS);
        intent.router.limits = limits.clone();
        let mut compiler = Compiler::new(limits.clone());
        compiler.set_policies(policies);
        compiler.set_intent(intent);
        for pod in PODS {
            for update in link(&node, pod)? {
                compiler.update_host(update);
            }
        }
        compiler.update_host(default(node.router.inside(|| index("pod0"))?));
        let capacity = capacity(&limits);
        let mut writer = image::writer(&capacity);
        image::apply(&mut writer, &compiler.plan())?;
        fits(&compiler)?;
        let mut real = Object::flows(&capacity)?;
        real.copy(writer.memory(), &TableId::ALL, false)?;
        Ok(Self { node, real, lines: compiler.policy_room().0 })
    }

    /// Puts the program at the link that packets come by.
    pub fn attach(&mut self) -> Measured<()> {
        let Self { node, real, .. } = self;
        node.router.inside(|| {
            real.program(PROGRAM)?.attach("pod0", XdpMode::Driver)?;
            Ok(())
        })
    }
}

/// The link of a pod on the node's side, and the pod behind it.
fn link(node: &Node, pod: usize) -> Measured<[Update; 2]> {
    let name = format!("pod{pod}");
    let number = node.router.inside(|| index(&name))?;
    let neighbor = Neighbor {
        link: number,
        address: address(pod).into(),
        mac: Some(Mac([2, 0, 0, 0, 0x0a, pod as u8])),
        state: "permanent".to_owned(),
    };
    let link = Link {
        index: number,
        name,
        mac: Mac(mac(pod)),
        mtu: 1500,
        up: true,
        kind: "veth".to_owned(),
        medium: "ether".to_owned(),
        ..Link::default()
    };
    Ok([Update::Link(link), Update::Neighbor(neighbor)])
}

/// The link address of the node towards a pod.
pub fn mac(pod: usize) -> [u8; 6] {
    [2, 0, 0, 0, 9, pod as u8]
}

/// The route to everybody else.
fn default(link: u32) -> Update {
    let nexthop = NextHop {
        via: Some(IpAddr::from(address(CLIENT))),
        link,
        weight: 1,
        labels: Vec::new(),
        ttl: None,
        encap: None,
        onlink: true,
        dead: false,
    };
    let prefix = Prefix::V4(Prefix4::containing(Ipv4Addr::UNSPECIFIED, 0));
    let key = RouteKey { table: 254, prefix, metric: 0, tos: 0, instance: 0 };
    let route = Route {
        kind: RouteKind::Unicast,
        protocol: "static".to_owned(),
        nexthops: vec![nexthop],
        object: None,
        mtu: None,
    };
    Update::Route(key, route)
}
