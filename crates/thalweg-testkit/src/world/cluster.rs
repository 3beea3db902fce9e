//! Pods, services and their endpoints.

use super::World;
use super::words::Words;
use std::net::{IpAddr, SocketAddr};
use thalweg_model::cluster::{
    Endpoint, EndpointPort, EndpointSlice, Family, HostPort, IpPool, Node, Pod, Protocol, Service,
    ServicePort, ServiceType, TrafficPolicy,
};
use thalweg_model::{ObjectName, Prefix, TunnelProtocol, TunnelSettings};

fn name(words: &mut Words) -> Result<ObjectName, String> {
    Ok(ObjectName::new("default", words.word("a name")?))
}

/// `object NAME {…}`: what policies are made of, as a line of YAML. The name is the journey's own.
pub fn object(world: &mut World, rest: &str) -> Result<(), String> {
    let (name, text) = rest.split_once(' ').ok_or("an object needs a name and a text")?;
    world.objects.insert(name.to_owned(), text.to_owned());
    world.policies().map(|_| ())
}

/// `pod NAME ADDRESS[,ADDRESS] dev LINK [label KEY=VALUE]… [hostport PORT:PORT/PROTOCOL]… [floating ADDRESS]…`.
pub fn pod(world: &mut World, words: &mut Words, gone: bool) -> Result<(), String> {
    let name = name(words)?;
    if gone {
        world.intent.cluster.pods.remove(&name).ok_or("there is no such pod")?;
        return Ok(());
    }
    let addresses = words.word("addresses")?.split(',');
    let addresses: Result<Vec<IpAddr>, _> = addresses.map(str::parse).collect();
    let addresses = addresses.map_err(|_| "a pod needs `ADDRESS[,ADDRESS]`")?;
    words.expect("dev")?;
    let interface = Some(words.word("a link")?.to_owned());
    // The pod makes the link a workload's.
    let own = interface.clone().unwrap_or_default();
    world.intent.links.retain(|_, link| !link.interfaces.contains(&own));
    let mut pod = Pod { addresses, interface, ..Pod::default() };
    while let Some(word) = words.take() {
        match word {
            "label" => {
                let (key, value) =
                    words.word("KEY=VALUE")?.split_once('=').ok_or("no KEY=VALUE")?;
                pod.labels.insert(key.to_owned(), value.to_owned());
            }
            "floating" => pod.floating.push(words.value("an address")?),
            "hostport" => pod.host_ports.push(host_port(words.word("PORT:PORT/PROTOCOL")?)?),
            other => return Err(format!("`{other}` says nothing of a pod")),
        }
    }
    world.intent.cluster.pods.insert(name, pod);
    Ok(())
}

fn host_port(word: &str) -> Result<HostPort, String> {
    let wrong = || format!("`{word}` is no PORT:PORT/PROTOCOL");
    let (ports, protocol) = word.split_once('/').ok_or_else(wrong)?;
    let (host_port, port) = ports.split_once(':').ok_or_else(wrong)?;
    let known = Protocol::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(protocol));
    Ok(HostPort {
        address: None,
        host_port: host_port.parse().map_err(|_| wrong())?,
        port: port.parse().map_err(|_| wrong())?,
        protocol: known.ok_or_else(wrong)?.1,
    })
}

/// `pool NAME PREFIX [nat]`.
pub fn pool(world: &mut World, words: &mut Words, gone: bool) -> Result<(), String> {
    let name = words.word("a name")?.to_owned();
    if gone {
        world.intent.cluster.pools.remove(&name).ok_or("there is no such pool")?;
        return Ok(());
    }
    let cidr = words.value("a prefix")?;
    let pool = IpPool { cidr, nat_outgoing: words.accept("nat"), disabled: false };
    world.intent.cluster.pools.insert(name, pool);
    Ok(())
}

/// `service NAME ADDRESS:PORT/PROTOCOL [nodeport N] [external ADDRESS] [affinity SECONDS] [for PREFIX] [local]`.
pub fn service(world: &mut World, words: &mut Words, gone: bool) -> Result<(), String> {
    let name = name(words)?;
    if gone {
        world.intent.cluster.services.remove(&name).ok_or("there is no such service")?;
        return Ok(());
    }
    let (at, protocol) = frontend(words.word("ADDRESS:PORT/PROTOCOL")?)?;
    let mut service = Service { cluster_ips: vec![at.ip()], ..Service::default() };
    let mut port = ServicePort { protocol, port: at.port(), ..ServicePort::default() };
    while let Some(word) = words.take() {
        match word {
            "nodeport" => {
                port.node_port = Some(words.value("a port")?);
                service.kind = ServiceType::NodePort;
            }
            "affinity" => {
                let seconds = words.value("seconds")?;
                service.affinity = Some(std::time::Duration::from_secs(seconds));
            }
            "for" => service.source_ranges.push(words.value("a prefix")?),
            "external" => service.external_ips.push(words.value("an address")?),
            "local" => {
                (service.internal, service.external) = (TrafficPolicy::Local, TrafficPolicy::Local);
            }
            other => return Err(format!("`{other}` says nothing of a service")),
        }
    }
    service.ports.push(port);
    world.intent.cluster.services.insert(name, service);
    Ok(())
}

/// `node NAME ADDRESS[,ADDRESS] [PREFIX[,PREFIX]] [own]`: with `own` it is this one.
pub fn node(world: &mut World, words: &mut Words, gone: bool) -> Result<(), String> {
    let name = words.word("a name")?.to_owned();
    if gone {
        world.intent.cluster.nodes.remove(&name).ok_or("there is no such node")?;
        return Ok(());
    }
    let addresses = words.word("addresses")?.split(',').map(str::parse);
    let addresses: Result<Vec<IpAddr>, _> = addresses.collect();
    let mut node = Node {
        addresses: addresses.map_err(|_| "a node needs `ADDRESS[,ADDRESS]`")?,
        ..Node::default()
    };
    while let Some(word) = words.take() {
        if word == "own" {
            world.intent.router.node = Some(name.clone());
            continue;
        }
        let ranges: Result<Vec<Prefix>, _> = word.split(',').map(str::parse).collect();
        node.pod_cidrs = ranges.map_err(|_| "the pods of a node need `PREFIX[,PREFIX]`")?;
    }
    world.intent.cluster.nodes.insert(name, node);
    Ok(())
}

/// `tunnel PROTOCOL [port N] [vni N] [mtu N] [over ipv6]`, the last of a line.
pub fn tunnel(words: &mut Words) -> Result<TunnelSettings, String> {
    let word = words.word("a protocol")?;
    let known = TunnelProtocol::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    let (_, protocol) = *known.ok_or_else(|| format!("`{word}` is no protocol of tunnels"))?;
    let mut tunnel =
        TunnelSettings { protocol, port: protocol.usual_port(), ..TunnelSettings::default() };
    while let Some(word) = words.take() {
        match word {
            "port" => tunnel.port = words.value("a port")?,
            "vni" => tunnel.vni = words.value("a number")?,
            "mtu" => tunnel.mtu = Some(words.value("octets")?),
            "over" => {
                words.expect("ipv6")?;
                tunnel.underlay = Family::V6;
            }
            other => return Err(format!("`{other}` says nothing of a tunnel")),
        }
    }
    Ok(tunnel)
}

fn frontend(word: &str) -> Result<(SocketAddr, Protocol), String> {
    let wrong = || format!("`{word}` is no ADDRESS:PORT/PROTOCOL");
    let (at, protocol) = word.split_once('/').ok_or_else(wrong)?;
    let known = Protocol::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(protocol));
    Ok((at.parse().map_err(|_| wrong())?, known.ok_or_else(wrong)?.1))
}

/// `endpoints SERVICE [ADDRESS:PORT[@NODE] …]`: all of them; `-` in front of one makes it end.
pub fn endpoints(world: &mut World, words: &mut Words) -> Result<(), String> {
    let name = name(words)?;
    let service = world.intent.cluster.services.get(&name).ok_or("there is no such service")?;
    let protocol = service.ports.first().map_or(Protocol::Tcp, |port| port.protocol);
    let mut slice = EndpointSlice {
        service: name.name.clone(),
        family: Family::V4,
        ports: Vec::new(),
        endpoints: Vec::new(),
    };
    while let Some(word) = words.take() {
        let ends = word.starts_with('-');
        let (word, node) = match word.split_once('@') {
            Some((word, node)) => (word, Some(node.to_owned())),
            None => (word, None),
        };
        let at: SocketAddr = word.trim_start_matches('-').parse().map_err(|_| "ADDRESS:PORT")?;
        slice.family = Family::of(at.ip());
        slice.ports = vec![EndpointPort { protocol, port: at.port(), ..EndpointPort::default() }];
        slice.endpoints.push(Endpoint {
            addresses: vec![at.ip()],
            ready: !ends,
            serving: true,
            terminating: ends,
            node,
            zone: None,
            for_zones: Default::default(),
            for_nodes: Default::default(),
            weight: 1,
        });
    }
    world.intent.cluster.slices.insert(name, slice);
    Ok(())
}
