//! Objects of Kubernetes: what is read of them, and that what is written reads the same.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use thalweg_config::{Loaded, fuzz, parse, render, to_yaml};
use thalweg_model::cluster::*;
use thalweg_model::{Intent, Key, Prefix, TunnelProtocol, TunnelSettings};

fn load(text: &str) -> Loaded {
    parse(&[("lab.yaml".into(), text.into())])
}

#[track_caller]
fn read(text: &str) -> Intent {
    let loaded = load(text);
    let shown = render(&loaded.problems, &loaded.sources, false);
    assert!(loaded.problems.is_empty(), "{shown}");
    loaded.intent
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn web() -> ObjectName {
    ObjectName::new("shop", "web")
}

/// As `kubectl get service,endpointslice,node,pod,ippool -o yaml` prints them.
const LIST: &str = include_str!("cluster/kubectl.yaml");

#[test]
fn a_service_as_kubectl_prints_it() {
    let intent = read(LIST);
    let service = &intent.cluster.services[&web()];
    let expected = Service {
        kind: ServiceType::LoadBalancer,
        cluster_ips: vec![ip("10.96.12.34"), ip("fd00:10:96::beef")],
        external_ips: vec![ip("198.51.100.7")],
        load_balancer_ips: vec![ip("203.0.113.10")],
        source_ranges: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        ports: vec![
            ServicePort {
                name: "http".into(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: Some(30_080),
            },
            ServicePort {
                name: "dns".into(),
                protocol: Protocol::Udp,
                port: 53,
                node_port: Some(30_080),
            },
        ],
        internal: TrafficPolicy::Cluster,
        external: TrafficPolicy::Local,
        affinity: Some(Duration::from_secs(600)),
        distribution: Distribution::SameZone,
        health_check_port: Some(31_234),
        publish_not_ready: true,
        created: Some(1_767_323_045),
    };
    assert_eq!(*service, expected);
    assert_eq!(intent.origin("Service", "shop/web").to_string(), "lab.yaml:19:11");
}

#[test]
fn a_slice_as_kubectl_prints_it() {
    let intent = read(LIST);
    let slice = &intent.cluster.slices[&ObjectName::new("shop", "web-abcde")];
    assert_eq!((slice.service.as_str(), slice.family), ("web", Family::V4));
    let port = EndpointPort { name: "http".into(), protocol: Protocol::Tcp, port: 8_080 };
    assert_eq!(slice.ports, [port]);
    let [first, second] = slice.endpoints.as_slice() else { panic!("{slice:?}") };
    let expected = Endpoint {
        addresses: vec![ip("10.244.1.5")],
        ready: true,
        serving: true,
        terminating: false,
        node: Some("node-1".into()),
        zone: Some("a".into()),
        for_zones: ["a".to_owned()].into(),
        for_nodes: ["node-1".to_owned()].into(),
        weight: 3,
    };
    assert_eq!(*first, expected);
    assert!(!second.ready && second.serving && second.terminating);
    assert_eq!((second.weight, &second.node), (1, &None));
}

#[test]
fn a_node_a_pod_and_a_pool_as_kubectl_prints_them() {
    let intent = read(LIST);
    let node = Node {
        addresses: vec![ip("172.18.0.2"), ip("fc00:f853::2")],
        pod_cidrs: vec!["10.244.1.0/24".parse().unwrap(), "fd00:10:244:1::/64".parse().unwrap()],
        zone: Some("a".into()),
    };
    assert_eq!(intent.cluster.nodes["node-1"], node);
    let pod = Pod {
        addresses: vec![ip("10.244.1.5"), ip("fd00:10:244:1::5")],
        node: Some("node-1".into()),
        interface: Some("veth1".into()),
        mac: Some("02:00:00:00:00:05".parse().unwrap()),
        host_network: false,
        labels: [("app".to_owned(), "web".to_owned())].into(),
        host_ports: vec![HostPort {
            address: None,
            host_port: 8_443,
            port: 443,
            protocol: Protocol::Tcp,
        }],
        floating: vec![ip("192.0.2.50"), ip("2001:db8::50")],
        service_account: Some("default".into()),
        ports: [("http", 8_080), ("https", 443)]
            .map(|(name, port)| NamedPort { name: name.into(), protocol: Protocol::Tcp, port })
            .into(),
    };
    assert_eq!(intent.cluster.pods[&ObjectName::new("shop", "web-1")], pod);
    let pool =
        IpPool { cidr: "10.244.0.0/16".parse().unwrap(), nat_outgoing: true, disabled: false };
    assert_eq!(intent.cluster.pools["default-ipv4"], pool);
}

#[test]
fn what_is_not_said_has_the_defaults_of_the_api() {
    let intent = read(
        "apiVersion: v1
kind: Service
metadata: {name: web, creationTimestamp: null}
spec: {clusterIP: 10.96.0.1, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: '', port: 80}]
endpoints: [{addresses: ['2001:db8::1'], conditions: {ready: null}}, {addresses: ['2001:db8::2'], conditions: {ready: false}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: null
endpoints: null
---
apiVersion: v1
kind: Node
metadata: {name: n}
---
apiVersion: crd.projectcalico.org/v1
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.0.0.0/8}
---
apiVersion: v1
kind: Pod
metadata: {name: many, annotations: {thalweg.io/hostPorts: '30000-30002:8000-8002/udp, 192.0.2.1:443'}}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: more}
spec: {cidrs: [10.97.0.0/16, 'fd97::/112']}
status: {conditions: []}
",
    );
    let ports = &intent.cluster.pods[&ObjectName::new("default", "many")].host_ports;
    let told: Vec<_> = ports.iter().map(|p| (p.address, p.host_port, p.port, p.protocol)).collect();
    let udp = [(30_000, 8_000), (30_001, 8_001), (30_002, 8_002)];
    let mut wished: Vec<_> = udp.map(|(host, own)| (None, host, own, Protocol::Udp)).into();
    wished.push((Some(ip("192.0.2.1")), 443, 443, Protocol::Tcp));
    assert_eq!(told, wished);
    let cidrs = ["10.97.0.0/16", "fd97::/112"].map(|cidr| cidr.parse().unwrap());
    assert_eq!(intent.cluster.service_cidrs["more"], cidrs);
    let service = &intent.cluster.services[&ObjectName::new("default", "web")];
    let port = ServicePort { port: 80, ..ServicePort::default() };
    let expected = Service {
        cluster_ips: vec![ip("10.96.0.1")],
        ports: vec![port],
        affinity: Some(Duration::from_secs(10_800)),
        ..Service::default()
    };
    assert_eq!(*service, expected);
    let slice = &intent.cluster.slices[&ObjectName::new("default", "web-1")];
    let states: Vec<_> =
        slice.endpoints.iter().map(|e| (e.ready, e.serving, e.terminating, e.weight)).collect();
    assert_eq!(states, [(true, true, false, 1), (false, false, false, 1)]);
    assert!(intent.cluster.slices[&ObjectName::new("default", "web-2")].endpoints.is_empty());
    assert!(!intent.cluster.pools["p"].nat_outgoing);
    let key = Key { kind: "Service".into(), name: "default/web".into() };
    assert!(intent.origins.contains_key(&key));
}

#[test]
fn services_that_have_no_address_of_their_own() {
    let intent = read(
        "apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, clusterIPs: [None], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: v1
kind: Service
metadata: {name: proxied}
spec: {type: LoadBalancer, clusterIP: 10.96.0.9, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 203.0.113.1, ipMode: Proxy}, {hostname: lb.example.com}]}}
",
    );
    assert!(intent.cluster.services.values().all(|service| service.load_balancer_ips.is_empty()));
    let headless = &intent.cluster.services[&ObjectName::new("default", "headless")];
    assert!(headless.cluster_ips.is_empty());
    let elsewhere = &intent.cluster.services[&ObjectName::new("default", "elsewhere")];
    assert_eq!(elsewhere.kind, ServiceType::ExternalName);
}

#[test]
fn pods_that_need_no_interface() {
    let intent = read(
        "apiVersion: v1
kind: Pod
metadata: {name: done}
spec: {containers: []}
status: {phase: Succeeded, podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec: {hostNetwork: true, containers: [{name: a, ports: [{containerPort: 80, hostPort: 80}]}]}
status: {phase: Running, podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: sidecar}
spec:
  containers: [{name: a, ports: [{containerPort: 80}, {containerPort: 81, hostPort: 81, hostIP: 0.0.0.0}]}]
  initContainers:
  - {name: b, restartPolicy: Always, ports: [{containerPort: 82, hostPort: 8082, hostIP: 10.1.1.1, protocol: UDP}]}
  - {name: c, ports: [{containerPort: 83, hostPort: 83}]}
",
    );
    let pod = |name| intent.cluster.pods.get(&ObjectName::new("default", name));
    assert_eq!(pod("done"), None);
    assert!(pod("host").unwrap().host_ports.is_empty());
    let ports: Vec<_> = pod("sidecar").unwrap().host_ports.iter().collect();
    assert_eq!((ports.len(), ports[0].address, ports[0].host_port), (2, None, 81));
    assert_eq!((ports[1].address, ports[1].protocol), (Some(ip("10.1.1.1")), Protocol::Udp));
}

#[test]
fn a_router_says_how_services_and_flows_are_carried_out() {
    let intent = read(
        "apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: r}
spec:
  node: node-1
  services:
    serviceCIDRs: [10.96.0.0/12, 'fd00:10:96::/112']
    clusterCIDRs: [10.244.0.0/16]
    nodePortAddresses: [192.0.2.0/24]
    nodePortRange: 20000-22767
    ring: 509
    withoutBackends: Drop
    externalTraffic: Masquerade
    sourceRangesFor: LoadBalancer
    socket: All
  flows:
    limit: 10000000
    perWorkload: 5000
    midFlow: Accept
    timeouts: {tcpSyn: 5s, tcpEstablished: 2h, tcpClosed: 1m, tcpReset: 1s, udp: 2m, icmp: 1s, other: 7s, sctpInit: 3s, sctpEstablished: 4h, sctpClosed: 6s, sctpAborted: 9s}
",
    );
    let router = &intent.router;
    assert_eq!(router.node.as_deref(), Some("node-1"));
    assert_eq!((router.services.ring, router.services.node_ports), (509, (20_000, 22_767)));
    assert_eq!(router.services.service_cidrs.len(), 2);
    assert!(router.services.drop_without_backends && router.services.masquerade_external);
    assert!(!router.services.ranges_for_all);
    assert_eq!(router.services.sockets, SocketScope::All);
    assert_eq!((router.flows.limit, router.flows.per_workload), (10_000_000, Some(5_000)));
    assert!(router.flows.mid_flow);
    let times = &router.flows.timeouts;
    let seconds = [&times.tcp_syn, &times.tcp_established, &times.tcp_closed, &times.tcp_reset];
    assert_eq!(seconds.map(|time| time.as_secs()), [5, 7_200, 60, 1]);
    let seconds =
        [&times.sctp_init, &times.sctp_established, &times.sctp_closed, &times.sctp_aborted];
    assert_eq!(seconds.map(|time| time.as_secs()), [3, 14_400, 6, 9]);
    assert_eq!([&times.udp, &times.icmp, &times.other].map(|time| time.as_secs()), [120, 1, 7]);
    assert_eq!(read(&to_yaml(&intent)).router, intent.router);
}

#[test]
fn a_router_says_whose_sockets_are_served() {
    let sockets = |settings: &str| {
        let head = "apiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {name: r}\n";
        let intent = read(&format!("{head}spec: {{services: {{{settings}}}}}\n"));
        assert_eq!(read(&to_yaml(&intent)).router, intent.router);
        intent.router.services.sockets
    };
    assert_eq!(sockets(""), SocketScope::Host);
    assert_eq!(sockets("socket: Host"), SocketScope::Host);
    assert_eq!(sockets("socket: All"), SocketScope::All);
    assert_eq!(sockets("socket: Off"), SocketScope::Off);
}

#[test]
fn a_router_says_how_other_nodes_are_reached() {
    let read_one = |tunnel: &str| {
        let head = "apiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {name: r}\n";
        let dsr = !tunnel.contains("None");
        let intent = read(&format!("{head}spec: {{services: {{dsr: {dsr}}}, tunnel: {tunnel}}}\n"));
        assert_eq!(intent.router.services.dsr, dsr);
        assert_eq!(read(&to_yaml(&intent)).router, intent.router);
        intent.router.tunnel
    };
    assert_eq!(read_one("{protocol: None}"), None);
    assert_eq!(read_one("{protocol: Vxlan}"), Some(TunnelSettings::default()));
    let found = read_one("{protocol: Geneve, port: 7000, vni: 9, mtu: 1400, underlay: IPv6}");
    let wished = TunnelSettings {
        protocol: TunnelProtocol::Geneve,
        port: 7000,
        vni: 9,
        mtu: Some(1400),
        underlay: Family::V6,
    };
    assert_eq!(found, Some(wished));
    assert_eq!(read_one("{protocol: Ipip}").map(|tunnel| tunnel.port), Some(0));
    assert_eq!(read_one("{protocol: Gue}").map(|tunnel| tunnel.port), Some(6080));
}

#[test]
fn json_is_yaml_too() {
    let intent = read(
        r#"{"apiVersion":"v1","kind":"List","metadata":{},"items":[{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"clusterIP":"10.0.0.1","ports":[{"port":80}]},"status":{"loadBalancer":{}}}]}"#,
    );
    assert_eq!(intent.cluster.services.len(), 1);
}

#[test]
fn what_is_wrong_with_an_object_of_kubernetes_disturbs_nothing_else() {
    let text = "apiVersion: v1
kind: Service
metadata: {name: bad}
spec: {clusterIP: 127.0.0.1, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: good}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}
";
    let loaded = load(text);
    assert!(loaded.is_ok(), "{:?}", loaded.problems);
    assert_eq!(loaded.problems.len(), 1);
    assert!(thalweg_config::sets_aside(&loaded.problems[0]));
    let names: Vec<_> = loaded.intent.cluster.services.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["default/good"]);
    let own =
        format!("{text}---\napiVersion: thalweg.dev/v1alpha1\nkind: Vrf\nmetadata: {{name: A}}\n");
    assert!(!load(&own).is_ok(), "our own objects refuse the change");
    assert!(!load(&format!("{text}---\n]\n")).is_ok(), "and so does what is no YAML");
    let two = format!("{text}---\napiVersion: v1\nkind: Service\nmetadata: {{}}\n");
    assert!(load(&two).is_ok(), "an object without a name is one as well");
}

#[test]
fn an_error_is_not_lost_among_objects_that_are_set_aside() {
    let mut text = String::new();
    for number in 0..600 {
        text += &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec: {{clusterIP: x}}\n---\n"
        );
    }
    let loaded = load(&text);
    assert!(loaded.is_ok() && loaded.problems.len() == 501);
    text += "apiVersion: thalweg.dev/v1alpha1\nkind: Vrf\nmetadata: {name: A}\n";
    assert!(!load(&text).is_ok());
}

#[test]
fn of_two_services_with_a_node_port_the_elder_keeps_it() {
    let service = |name: &str, created: &str, ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, creationTimestamp: {created}}}\n\
             spec: {{type: NodePort, clusterIP: 10.0.0.1, ports: [{ports}]}}\n---\n"
        )
    };
    let port = |name: &str, port: u16, node: u16| {
        format!("{{name: {name}, port: {port}, nodePort: {node}}}")
    };
    let text = [
        service("young", "'2026-01-03T00:00:00Z'", &port("a", 80, 30_001)),
        service(
            "middle",
            "'2026-01-02T00:00:00Z'",
            &[port("a", 80, 30_000), port("b", 81, 30_001)].join(", "),
        ),
        service("old", "'2026-01-01T00:00:00Z'", &port("a", 80, 30_000)),
        service("unknown", "null", &port("a", 80, 30_001)),
    ]
    .concat();
    let loaded = load(&text);
    assert!(loaded.is_ok());
    let names: Vec<_> = loaded.intent.cluster.services.keys().map(|key| &key.name).collect();
    // What `middle` would have taken is free for `young`.
    assert_eq!(names, ["old", "young"], "{:?}", loaded.problems);
    let said = loaded.problems[0].to_string();
    assert!(said.contains("already belongs to Service/default/old at lab.yaml:14:83"), "{said}");
}

#[test]
fn one_interface_name_may_stand_on_two_nodes() {
    let pod = |name: &str, node: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, annotations: {{thalweg.io/interface: v1}}}}\n\
             spec: {{nodeName: {node}}}\n---\n"
        )
    };
    assert_eq!(read(&[pod("a", "x"), pod("b", "y")].concat()).cluster.pods.len(), 2);
    let loaded = load(&[pod("a", "x"), pod("b", "x")].concat());
    assert!(loaded.is_ok());
    assert_eq!(loaded.intent.cluster.pods.len(), 1);
}

fn v4() -> impl Strategy<Value = IpAddr> {
    any::<[u8; 3]>().prop_map(|[a, b, c]| Ipv4Addr::new(10, a, b, c).into())
}

fn v6() -> impl Strategy<Value = IpAddr> {
    any::<[u16; 7]>()
        .prop_map(|[a, b, c, d, e, f, g]| Ipv6Addr::new(0xfd00, a, b, c, d, e, f, g).into())
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![v4(), v6()]
}

fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
    vec((addresses(), 8u8..=32).prop_map(|(ip, len)| Prefix::containing(ip, len)), 0..3)
}

fn names() -> impl Strategy<Value = ObjectName> {
    let name = "[a-z]([a-z0-9-]{0,9}[a-z0-9])?";
    (name, name).prop_map(|(namespace, name)| ObjectName { namespace, name })
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9.-]{1,9}", Just("no".into()), Just("5".into()), Just("null".into())]
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)]
}

fn policies() -> impl Strategy<Value = TrafficPolicy> {
    prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)]
}

fn services() -> impl Strategy<Value = Service> {
    let kinds = prop_oneof![
        Just(ServiceType::ClusterIp),
        Just(ServiceType::NodePort),
        Just(ServiceType::LoadBalancer),
        Just(ServiceType::ExternalName),
    ];
    let ips = (v4(), v6(), 0u8..4, vec(addresses(), 0..3), vec(addresses(), 0..3), prefixes());
    let ports = vec((protocols(), 1u16.., any::<bool>()), 0..4);
    let rest = (
        policies(),
        policies(),
        option::of(1u64..=86_400),
        prop_oneof![
            Just(Distribution::Even),
            Just(Distribution::SameZone),
            Just(Distribution::SameNode)
        ],
        any::<bool>(),
        option::of(0u64..4_000_000_000),
    );
    (kinds, ips, ports, rest).prop_map(|(kind, ips, ports, rest)| {
        let (v4, v6, which, external_ips, balancers, source_ranges) = ips;
        let (internal, external, affinity, distribution, publish_not_ready, created) = rest;
        let outside = matches!(kind, ServiceType::NodePort | ServiceType::LoadBalancer);
        let cluster_ips = match which {
            _ if kind == ServiceType::ExternalName => vec![],
            0 => vec![v4],
            1 => vec![v6, v4],
            2 if !outside => vec![],
            _ => vec![v4, v6],
        };
        let several = ports.len() > 1;
        let ports =
            ports.into_iter().enumerate().map(|(index, (protocol, port, named))| ServicePort {
                name: if several || named { format!("p{index}") } else { String::new() },
                protocol,
                port: port.checked_add(index as u16).unwrap_or(index as u16 + 1),
                node_port: None,
            });
        let mut ports: Vec<_> = ports.collect();
        ports.dedup_by_key(|port| (port.port, port.protocol));
        let load_balancer_ips = if kind == ServiceType::LoadBalancer { balancers } else { vec![] };
        Service {
            kind,
            cluster_ips,
            external_ips,
            load_balancer_ips,
            source_ranges,
            ports,
            internal,
            external,
            affinity: affinity.map(Duration::from_secs),
            distribution,
            health_check_port: None,
            publish_not_ready,
            created,
        }
    })
}

fn endpoints(family: Family) -> impl Strategy<Value = Endpoint> {
    let address = if family == Family::V4 { v4().boxed() } else { v6().boxed() };
    let place = (option::of(words()), option::of(words()));
    let hints = (btree_set(words(), 0..3), btree_set(words(), 0..3));
    (vec(address, 1..3), any::<[bool; 3]>(), place, hints).prop_map(
        |(addresses, [ready, serving, terminating], (node, zone), (for_zones, for_nodes))| {
            Endpoint {
                // One address has one weight, wherever it stands.
                weight: match addresses[0] {
                    IpAddr::V4(v4) => u16::from(v4.octets()[3] % 4),
                    IpAddr::V6(v6) => u16::from(v6.octets()[15]) + 1,
                },
                addresses,
                ready,
                serving,
                terminating,
                node,
                zone,
                for_zones,
                for_nodes,
            }
        },
    )
}

fn slices() -> impl Strategy<Value = EndpointSlice> {
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    let ports = vec((protocols(), 1u16..), 0..3);
    (family, words(), ports)
        .prop_flat_map(|(family, service, ports)| {
            (Just((family, service, ports)), vec(endpoints(family), 0..4))
        })
        .prop_map(|((family, service, ports), endpoints)| {
            let port = |(index, (protocol, port))| EndpointPort {
                name: if index == 0 { String::new() } else { format!("p{index}") },
                protocol,
                port,
            };
            let ports = ports.into_iter().enumerate().map(port).collect();
            EndpointSlice { service, family, ports, endpoints }
        })
}

fn pods() -> impl Strategy<Value = Pod> {
    let ports = vec((option::of(addresses()), 1u16.., 1u16.., protocols()), 0..3);
    let labels = btree_map("[a-z./-]{0,3}[a-z]", "[a-zA-Z0-9._-]{0,5}", 0..3);
    let spec = (option::of(words()), any::<bool>(), ports);
    let ends = (vec(addresses(), 0..3), option::of(addresses()));
    (ends, spec, option::of(any::<[u8; 6]>()), labels).prop_map(
        |((addresses, floating), (node, host_network, ports), mac, labels)| Pod {
            addresses,
            floating: floating.filter(|_| !host_network).into_iter().collect(),
            service_account: node.clone().map(|name| format!("of-{name}")),
            ports: ports
                .iter()
                .map(|(_, _, port, protocol)| NamedPort {
                    name: format!("p{port}"),
                    protocol: *protocol,
                    port: *port,
                })
                .collect(),
            node,
            interface: None,
            mac: mac.map(|[a, b, c, d, e, f]| {
                format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}").parse().unwrap()
            }),
            host_network,
            labels,
            host_ports: match host_network {
                true => vec![],
                false => ports
                    .into_iter()
                    .map(|(address, host_port, port, protocol)| HostPort {
                        address,
                        host_port,
                        port,
                        protocol,
                    })
                    .collect(),
            },
        },
    )
}

fn clusters() -> impl Strategy<Value = Cluster> {
    let node = (vec(addresses(), 0..3), prefixes(), option::of(words()))
        .prop_map(|(addresses, pod_cidrs, zone)| Node { addresses, pod_cidrs, zone });
    let pool = (addresses(), 8u8..=24, any::<bool>(), any::<bool>()).prop_map(
        |(ip, len, nat_outgoing, disabled)| IpPool {
            cidr: Prefix::containing(ip, len),
            nat_outgoing,
            disabled,
        },
    );
    let name =
        "[a-z]([a-z0-9.]{0,9}[a-z0-9])?".prop_filter("empty parts", |name| !name.contains(".."));
    (
        btree_map(names(), services(), 0..4),
        btree_map(names(), slices(), 0..4),
        btree_map(name.clone(), node, 0..3),
        btree_map(names(), pods(), 0..3),
        btree_map(name.clone(), pool, 0..3),
        btree_map(name, prefixes().prop_filter("one of a family", |all| all.len() == 1), 0..3),
    )
        .prop_map(|(services, slices, nodes, pods, pools, service_cidrs)| {
            let (mut pods, mut services) = (pods, services);
            // Node ports and interfaces are unique.
            for (index, pod) in pods.values_mut().enumerate() {
                let interface = (index % 2 == 0).then(|| format!("veth{index}"));
                pod.interface = interface.filter(|_| !pod.host_network);
            }
            let mut next = 30_000;
            for service in services.values_mut() {
                if service.kind == ServiceType::NodePort
                    || service.kind == ServiceType::LoadBalancer
                {
                    for port in &mut service.ports {
                        next += 1;
                        port.node_port = (next % 3 > 0).then_some(next);
                    }
                    next += 1;
                    service.health_check_port = (next % 2 == 0).then_some(next);
                }
            }
            Cluster {
                services: services.into_iter().collect(),
                slices: slices.into_iter().collect(),
                nodes: nodes.into_iter().collect(),
                pods: pods.into_iter().collect(),
                pools: pools.into_iter().collect(),
                service_cidrs: service_cidrs.into_iter().collect(),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_the_same(cluster in clusters()) {
        let intent = Intent { cluster, ..Intent::default() };
        let text = to_yaml(&intent);
        let loaded = load(&text);
        let shown = render(&loaded.problems, &loaded.sources, false);
        prop_assert!(loaded.problems.is_empty(), "{}\n{}", shown, text);
        prop_assert_eq!(Intent { origins: Default::default(), ..loaded.intent }, intent, "{}", text);
    }

    #[test]
    fn damaged_objects_never_panic(at: prop::sample::Index, with in "[ -~\\n]{0,3}", cut in 0usize..5) {
        let mut text: Vec<u8> = LIST.as_bytes().to_vec();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, with.bytes());
        fuzz(&text);
    }
}

/// As kube-proxy's configuration has it.
#[test]
fn node_ports_at_primary_addresses_are_the_default() {
    let text = |addresses: &str| {
        format!(
            "apiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {{name: r}}\n\
             spec: {{services: {{nodePortAddresses: {addresses}}}}}\n"
        )
    };
    let loaded = parse(&[("lab.yaml".into(), text("[primary]"))]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    assert!(loaded.intent.router.services.node_port_addresses.is_empty());
    for wrong in ["primary", "[primary, 192.0.2.0/24]", "[]"] {
        assert!(!parse(&[("lab.yaml".into(), text(wrong))]).problems.is_empty(), "{wrong}");
    }
}
