//! What people read when an object of Kubernetes is wrong: the whole output for each kind of mistake.
//! `UPDATE_EXPECT=1` rewrites it.

use expect_test::{Expect, expect};
use thalweg_config::{parse, render};

/// All of it sets objects aside, and refuses nothing.
#[track_caller]
fn check(text: &str, expected: Expect) {
    let loaded = parse(&[("lab.yaml".into(), text.into())]);
    expected.assert_eq(&render(&loaded.problems, &loaded.sources, false));
    assert!(loaded.is_ok());
}

fn service(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec:\n{spec}")
}

fn slice(rest: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}\n{rest}"
    )
}

#[test]
fn unknown_fields_are_told_and_ignored() {
    check(
        &service("  clusterIP: 10.0.0.1\n  port: []\n  ports: [{port: 80, targetport: 8080}]\n"),
        expect![[r#"
            warning: Service/default/web: unknown field `port`, which is ignored
             --> lab.yaml:6:3 (spec.port)
              |
            6 |   port: []
              |   ^^^^
              = help: did you mean `ports`?

            warning: Service/default/web: unknown field `targetport`, which is ignored
             --> lab.yaml:7:22 (spec.ports[0].targetport)
              |
            7 |   ports: [{port: 80, targetport: 8080}]
              |                      ^^^^^^^^^^
              = help: did you mean `targetPort`?

            2 warnings
        "#]],
    );
}

#[test]
fn ports_that_clash() {
    check(
        &service(
            "  type: NodePort\n  clusterIP: 10.0.0.1\n  ports:\n  - {name: a, port: 80, nodePort: 30001}\n  \
             - {name: b, port: 80}\n  - {name: a, port: 81}\n  - {name: c, port: 82, nodePort: 30001}\n  \
             - {name: d, port: 30001, nodePort: 30001, protocol: UDP}\n",
        ),
        expect![[r#"
            error: Service/default/web: port 80 TCP already is port `a`
             --> lab.yaml:9:5 (spec.ports[1])
              |
            9 |   - {name: b, port: 80}
              |     ^
              = help: give one of them another number

            error: Service/default/web: there already is a port `a`
              --> lab.yaml:10:5 (spec.ports[2])
               |
            10 |   - {name: a, port: 81}
               |     ^
               = help: rename one of them

            error: Service/default/web: node port 30001 TCP stands twice
              --> lab.yaml:11:35 (spec.ports)
               |
            11 |   - {name: c, port: 82, nodePort: 30001}
               |                                   ^^^^^
               = help: give one of them another number

            3 errors
        "#]],
    );
}

#[test]
fn ports_without_names_and_numbers_out_of_range() {
    check(
        &service(
            "  clusterIP: 10.0.0.1\n  ports: [{port: 0}, {port: 65536}, {port: 1, nodePort: 30000}, {port: 2}]\n",
        ),
        expect![[r#"
            error: Service/default/web: 0 is out of range
             --> lab.yaml:6:18 (spec.ports[0].port)
              |
            6 |   ports: [{port: 0}, {port: 65536}, {port: 1, nodePort: 30000}, {port: 2}]
              |                  ^
              = help: write a whole number from 1 to 65535

            error: Service/default/web: 65536 is out of range
             --> lab.yaml:6:29 (spec.ports[1].port)
              |
            6 |   ports: [{port: 0}, {port: 65536}, {port: 1, nodePort: 30000}, {port: 2}]
              |                             ^^^^^
              = help: write a whole number from 1 to 65535

            error: Service/default/web: a service of this type has no node ports
             --> lab.yaml:6:57 (spec.ports[2].nodePort)
              |
            6 |   ports: [{port: 0}, {port: 65536}, {port: 1, nodePort: 30000}, {port: 2}]
              |                                                         ^^^^^
              = help: remove the field, or write `type: NodePort`

            error: Service/default/web: a second port has no name
             --> lab.yaml:6:65 (spec.ports[3])
              |
            6 |   ports: [{port: 0}, {port: 65536}, {port: 1, nodePort: 30000}, {port: 2}]
              |                                                                 ^
              = help: give each of several ports a name

            4 errors
        "#]],
    );
}

#[test]
fn a_port_for_health_checks_outside_the_range() {
    check(
        &service(
            "  type: LoadBalancer\n  clusterIP: 10.0.0.1\n  healthCheckNodePort: 80\n  ports: [{port: 80}]\n",
        ),
        expect![[r#"
            error: Service/default/web: node port 80 is none of 30000-32767
             --> lab.yaml:7:24 (spec.healthCheckNodePort)
              |
            7 |   healthCheckNodePort: 80
              |                        ^^
              = help: choose one of those, or widen spec.services.nodePortRange of the Router

            1 error
        "#]],
    );
}

#[test]
fn node_ports_outside_the_range() {
    check(
        &service("  type: NodePort\n  clusterIP: 10.0.0.1\n  ports: [{port: 80, nodePort: 80}]\n"),
        expect![[r#"
            error: Service/default/web: node port 80 is none of 30000-32767
             --> lab.yaml:7:32 (spec.ports)
              |
            7 |   ports: [{port: 80, nodePort: 80}]
              |                                ^^
              = help: choose one of those, or widen spec.services.nodePortRange of the Router

            1 error
        "#]],
    );
}

#[test]
fn addresses_that_no_packet_may_have() {
    check(
        &service(
            "  clusterIP: ::ffff:10.0.0.1\n  externalIPs: [127.0.0.1, 224.0.0.1, 0.0.0.0, 169.254.1.1, 'fe80::1', x]\n",
        ),
        expect![[r#"
            error: Service/default/web: ::ffff:10.0.0.1 is an IPv4 address in IPv6 dress
             --> lab.yaml:5:14 (spec.clusterIP)
              |
            5 |   clusterIP: ::ffff:10.0.0.1
              |              ^^^^^^^^^^^^^^^
              = help: write 10.0.0.1

            error: Service/default/web: 127.0.0.1 is loopback, and such packets do not leave a host
             --> lab.yaml:6:17 (spec.externalIPs[0])
              |
            6 |   externalIPs: [127.0.0.1, 224.0.0.1, 0.0.0.0, 169.254.1.1, 'fe80::1', x]
              |                 ^^^^^^^^^
              = help: write a unicast address

            error: Service/default/web: 224.0.0.1 is a multicast address
             --> lab.yaml:6:28 (spec.externalIPs[1])
              |
            6 |   externalIPs: [127.0.0.1, 224.0.0.1, 0.0.0.0, 169.254.1.1, 'fe80::1', x]
              |                            ^^^^^^^^^
              = help: write a unicast address

            error: Service/default/web: 0.0.0.0 means no address at all
             --> lab.yaml:6:39 (spec.externalIPs[2])
              |
            6 |   externalIPs: [127.0.0.1, 224.0.0.1, 0.0.0.0, 169.254.1.1, 'fe80::1', x]
              |                                       ^^^^^^^
              = help: write a unicast address

            error: Service/default/web: 169.254.1.1 is link-local, and such packets do not leave their link
             --> lab.yaml:6:48 (spec.externalIPs[3])
              |
            6 |   externalIPs: [127.0.0.1, 224.0.0.1, 0.0.0.0, 169.254.1.1, 'fe80::1', x]
              |                                                ^^^^^^^^^^^
              = help: write an address of wider scope

            error: Service/default/web: fe80::1 is link-local, and such packets do not leave their link
             --> lab.yaml:6:61 (spec.externalIPs[4])
              |
            6 |   externalIPs: [127.0.0.1, 224.0.0.1, 0.0.0.0, 169.254.1.1, 'fe80::1', x]
              |                                                             ^^^^^^^^^
              = help: write an address of wider scope

            error: Service/default/web: `x` is no address
             --> lab.yaml:6:72 (spec.externalIPs[5])
              |
            6 | …0.0.0.0, 169.254.1.1, 'fe80::1', x]
              |                                   ^
              = help: write an address, as in 10.0.0.1 or "2001:db8::1"

            7 errors
        "#]],
    );
}

#[test]
fn cluster_ips_that_contradict_each_other() {
    check(
        &service("  clusterIP: 10.0.0.1\n  clusterIPs: [10.0.0.2, 10.0.0.3]\n"),
        expect![[r#"
        error: Service/default/web: clusterIPs begins with 10.0.0.2, clusterIP is 10.0.0.1
         --> lab.yaml:6:15 (spec.clusterIPs)
          |
        6 |   clusterIPs: [10.0.0.2, 10.0.0.3]
          |               ^
          = help: make the first of clusterIPs the clusterIP

        error: Service/default/web: there are two cluster IPs of one family
         --> lab.yaml:6:15 (spec.clusterIPs)
          |
        6 |   clusterIPs: [10.0.0.2, 10.0.0.3]
          |               ^
          = help: keep one for each family

        2 errors
    "#]],
    );
    check(
        &service("  type: NodePort\n  clusterIP: None\n"),
        expect![[r#"
        error: Service/default/web: a service that is reached from outside, or at an address, is not headless
         --> lab.yaml:6:14 (spec.clusterIP)
          |
        6 |   clusterIP: None
          |              ^^^^
          = help: write its cluster IP, or `type: ClusterIP`

        1 error
    "#]],
    );
    check(
        &service("  ports: [{port: 80}]\n"),
        expect![[r#"
        warning: Service/default/web: nobody has allotted a cluster IP to this service
         --> lab.yaml:5:3 (spec.clusterIP)
          |
        5 |   ports: [{port: 80}]
          |   ^^^^^
          = help: write `clusterIP: ADDRESS`, `clusterIP: None`, or the object as the cluster has it

        1 warning
    "#]],
    );
}

#[test]
fn source_ranges() {
    check(
        &service(
            "  clusterIP: 10.0.0.1\n  loadBalancerSourceRanges: [' 10.0.0.1/8 ', 10.0.0.0, all]\n",
        ),
        expect![[r#"
            warning: Service/default/web: `10.0.0.1/8` has bits set outside its length: 10.0.0.0/8 is taken
             --> lab.yaml:6:30 (spec.loadBalancerSourceRanges[0])
              |
            6 |   loadBalancerSourceRanges: [' 10.0.0.1/8 ', 10.0.0.0, all]
              |                              ^^^^^^^^^^^^^^
              = help: write 10.0.0.0/8

            error: Service/default/web: `10.0.0.0` is no range of addresses
             --> lab.yaml:6:46 (spec.loadBalancerSourceRanges[1])
              |
            6 |   loadBalancerSourceRanges: [' 10.0.0.1/8 ', 10.0.0.0, all]
              |                                              ^^^^^^^^
              = help: write address/length, such as 192.0.2.0/24 or 2001:db8::/32

            error: Service/default/web: `all` is no range of addresses
             --> lab.yaml:6:56 (spec.loadBalancerSourceRanges[2])
              |
            6 |   loadBalancerSourceRanges: [' 10.0.0.1/8 ', 10.0.0.0, all]
              |                                                        ^^^
              = help: write address/length, such as 192.0.2.0/24 or 2001:db8::/32

            2 errors, 1 warning
        "#]],
    );
}

#[test]
fn times_and_words() {
    check(
        &service(
            "  clusterIP: 10.0.0.1\n  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}\n  \
             internalTrafficPolicy: local\n  trafficDistribution: PreferFast\n",
        ),
        expect![[r#"
            error: Service/default/web: 86401 is out of range
             --> lab.yaml:7:54 (spec.sessionAffinityConfig.clientIP.timeoutSeconds)
              |
            7 |   sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}
              |                                                      ^^^^^
              = help: write a whole number from 1 to 86400

            error: Service/default/web: unknown value `local`
             --> lab.yaml:8:26 (spec.internalTrafficPolicy)
              |
            8 |   internalTrafficPolicy: local
              |                          ^^^^^
              = help: did you mean `Local`?

            warning: Service/default/web: unknown value `PreferFast`: no backend is preferred
             --> lab.yaml:9:24 (spec.trafficDistribution)
              |
            9 |   trafficDistribution: PreferFast
              |                        ^^^^^^^^^^
              = help: known here: `PreferSameZone`, `PreferClose` and `PreferSameNode`

            2 errors, 1 warning
        "#]],
    );
}

#[test]
fn names_and_versions() {
    check(
        "apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {name: A, namespace: b.c, creationTimestamp: now, labels: {a: 1}}
---
apiVersion: v1
kind: Pod
metadata: {}
---
apiVersion: v1
kind: Service
metadata: {name: twice}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Service
metadata: {name: twice}
spec: {clusterIP: None}
---
apiVersion: v1
kind: Node
metadata: {name: n, namespace: default}
",
        expect![[r#"
            error: EndpointSlice/b.c/A: unknown version `discovery.k8s.io/v1beta1` of EndpointSlice
             --> lab.yaml:1:13 (apiVersion)
              |
            1 | apiVersion: discovery.k8s.io/v1beta1
              |             ^^^^^^^^^^^^^^^^^^^^^^^^
              = help: write `apiVersion: discovery.k8s.io/v1`

            error: EndpointSlice/b.c/A: the name `A` has capital letters (RFC 1123)
             --> lab.yaml:3:18 (metadata.name)
              |
            3 | metadata: {name: A, namespace: b.c, creationTimestamp: now, labels: {a: 1}}
              |                  ^
              = help: write for example `a`

            error: EndpointSlice/b.c/A: the namespace has characters other than a to z, 0 to 9, `-` and `.` (RFC 1123)
             --> lab.yaml:3:32 (metadata.namespace)
              |
            3 | metadata: {name: A, namespace: b.c, creationTimestamp: now, labels: {a: 1}}
              |                                ^^^
              = help: write the name of a namespace

            error: EndpointSlice/b.c/A: `now` is no time
             --> lab.yaml:3:56 (metadata.creationTimestamp)
              |
            3 | metadata: {name: A, namespace: b.c, creationTimestamp: now, labels: {a: 1}}
              |                                                        ^^^
              = help: write it as RFC 3339 has it: 2026-01-02T03:04:05Z

            error: EndpointSlice/b.c/A: expected a text, found the number 1
             --> lab.yaml:3:73 (metadata.labels.a)
              |
            3 | …ationTimestamp: now, labels: {a: 1}}
              |                                   ^
              = help: put it in quotes: "1"

            error: Pod/default/?: `name` is missing
             --> lab.yaml:7:11 (metadata.name)
              |
            7 | metadata: {}
              |           ^
              = help: give the object a name

            error: Service/default/twice: there already is a Service `default/twice` at lab.yaml:11:18
              --> lab.yaml:16:18 (metadata.name)
               |
            16 | metadata: {name: twice}
               |                  ^^^^^
               = help: rename one of them, or remove it

            warning: Node/n: a Node belongs to no namespace
              --> lab.yaml:21:32 (metadata.namespace)
               |
            21 | metadata: {name: n, namespace: default}
               |                                ^^^^^^^
               = help: remove the field

            7 errors, 1 warning
        "#]],
    );
}

#[test]
fn answers_that_could_go_straight_without_tunnels() {
    check(
        "apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: r}
spec: {services: {dsr: true}, tunnel: {protocol: None}}
",
        expect![[r#"
            warning: Router/r: dsr is on without tunnels: what goes to other nodes goes by routes, translated
             --> lab.yaml:4:18 (spec.services)
              |
            4 | spec: {services: {dsr: true}, tunnel: {protocol: None}}
              |                  ^
              = help: set spec.tunnel, or leave dsr out

            1 warning
        "#]],
    );
}

#[test]
fn kinds_that_are_not_read() {
    check(
        "apiVersion: v1
kind: List
items:
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: b}}
- {apiVersion: v1, kind: Servce, metadata: {name: b}}
- {apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: b}}
",
        expect![[r#"
            warning: 2 objects of kind `Deployment` are ignored
             --> lab.yaml:4:31 (kind)
              |
            4 | - {apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}
              |                               ^^^^^^^^^^
              = help: of Kubernetes, `Service`, `EndpointSlice`, `Node`, `Pod`, `IPPool`, `ServiceCIDR`, `Namespace`, `ServiceAccount`, `Tier`, `NetworkSet`, `GlobalNetworkSet`, `HostEndpoint`, `ClusterNetworkPolicy`, `GlobalNetworkPolicy`, `NetworkPolicy`, `StagedGlobalNetworkPolicy`, `StagedNetworkPolicy`, `StagedKubernetesNetworkPolicy` and `Profile` are read

            warning: an object of kind `Servce` is ignored
             --> lab.yaml:6:26 (kind)
              |
            6 | - {apiVersion: v1, kind: Servce, metadata: {name: b}}
              |                          ^^^^^^
              = help: did you mean `Service`? else nothing is to be done

            warning: an object of kind `Service` is ignored
             --> lab.yaml:7:46 (kind)
              |
            7 | - {apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: b}}
              |                                              ^^^^^^^
              = help: `Service` is read of `v1`, and of no other API

            3 warnings
        "#]],
    );
}

#[test]
fn endpoints_that_cannot_be_reached() {
    check(
        &slice(
            "addressType: IPv4\nendpoints:\n- {}\n- addresses: []\n- addresses: ['2001:db8::1']\n- addresses: [127.0.0.1]\n\
             - addresses: ['::ffff:10.0.0.1']\nports: [{port: 0}, {name: a}, {name: b, port: 1}, {name: b, port: 2}]\n",
        ),
        expect![[r#"
            error: EndpointSlice/default/web-1: `addresses` is missing
             --> lab.yaml:6:3 (endpoints[0].addresses)
              |
            6 | - {}
              |   ^
              = help: write the address: `addresses: [10.0.0.1]`

            warning: EndpointSlice/default/web-1: the endpoint is left out; others of its slice stay
             --> lab.yaml:6:3 (endpoints[0])
              |
            6 | - {}
              |   ^
              = help: mend what is wrong in it

            warning: EndpointSlice/default/web-1: the endpoint is left out; others of its slice stay
             --> lab.yaml:7:3 (endpoints[1])
              |
            7 | - addresses: []
              |   ^^^^^^^^^
              = help: mend what is wrong in it

            error: EndpointSlice/default/web-1: an endpoint without addresses cannot be reached
             --> lab.yaml:7:14 (endpoints[1].addresses)
              |
            7 | - addresses: []
              |              ^
              = help: write its address, or remove the endpoint

            warning: EndpointSlice/default/web-1: the endpoint is left out; others of its slice stay
             --> lab.yaml:8:3 (endpoints[2])
              |
            8 | - addresses: ['2001:db8::1']
              |   ^^^^^^^^^
              = help: mend what is wrong in it

            error: EndpointSlice/default/web-1: 2001:db8::1 is no IPv4 address, which addressType promises
             --> lab.yaml:8:15 (endpoints[2].addresses[0])
              |
            8 | - addresses: ['2001:db8::1']
              |               ^^^^^^^^^^^^^
              = help: put it into a slice of its family

            warning: EndpointSlice/default/web-1: the endpoint is left out; others of its slice stay
             --> lab.yaml:9:3 (endpoints[3])
              |
            9 | - addresses: [127.0.0.1]
              |   ^^^^^^^^^
              = help: mend what is wrong in it

            error: EndpointSlice/default/web-1: 127.0.0.1 is loopback, and such packets do not leave a host
             --> lab.yaml:9:15 (endpoints[3].addresses[0])
              |
            9 | - addresses: [127.0.0.1]
              |               ^^^^^^^^^
              = help: write a unicast address

            warning: EndpointSlice/default/web-1: the endpoint is left out; others of its slice stay
              --> lab.yaml:10:3 (endpoints[4])
               |
            10 | - addresses: ['::ffff:10.0.0.1']
               |   ^^^^^^^^^
               = help: mend what is wrong in it

            error: EndpointSlice/default/web-1: ::ffff:10.0.0.1 is an IPv4 address in IPv6 dress
              --> lab.yaml:10:15 (endpoints[4].addresses[0])
               |
            10 | - addresses: ['::ffff:10.0.0.1']
               |               ^^^^^^^^^^^^^^^^^
               = help: write 10.0.0.1

            error: EndpointSlice/default/web-1: 0 is out of range
              --> lab.yaml:11:16 (ports[0].port)
               |
            11 | ports: [{port: 0}, {name: a}, {name: b, port: 1}, {name: b, port: 2}]
               |                ^
               = help: write a whole number from 1 to 65535

            warning: EndpointSlice/default/web-1: a port without a number leads nowhere: it is ignored
              --> lab.yaml:11:20 (ports[1])
               |
            11 | ports: [{port: 0}, {name: a}, {name: b, port: 1}, {name: b, port: 2}]
               |                    ^
               = help: write `port: NUMBER`

            error: EndpointSlice/default/web-1: there already is a port named `b`
              --> lab.yaml:11:51 (ports[3])
               |
            11 | ports: [{port: 0}, {name: a}, {name: b, port: 1}, {name: b, port: 2}]
               |                                                   ^
               = help: rename one of them, or remove it

            7 errors, 6 warnings
        "#]],
    );
}

#[test]
fn an_endpoint_that_is_wrong_is_left_out_alone() {
    let wrong = [
        "{}",
        "{addresses: [ten]}",
        "{addresses: [10.0.0.9, 127.0.0.1]}",
        "{addresses: [10.0.0.9], conditions: {ready: maybe}}",
        "{addresses: [10.0.0.9], hints: {forZones: [{}]}}",
        "{addresses: [10.0.0.9], nodeName: 1}",
        "no mapping",
    ];
    let weights = "thalweg.io/weights: '10.0.0.9=2, 10.0.0.1=3'";
    for one in wrong {
        let text = slice(&format!(
            "addressType: IPv4\nendpoints:\n- addresses: [10.0.0.1]\n- {one}\n- addresses: [10.0.0.2]\n\
             ports: [{{port: 80}}]\n"
        ));
        let text = text.replace("labels", &format!("annotations: {{{weights}}}, labels"));
        let loaded = parse(&[("lab.yaml".into(), text)]);
        let told = render(&loaded.problems, &loaded.sources, false);
        assert!(loaded.is_ok() && told.contains("1 error, 1 warning"), "{told}");
        assert!(told.contains("error: EndpointSlice/default/web-1: "), "{told}");
        assert!(told.contains("--> lab.yaml:7:") && told.contains("(endpoints[1]"), "{told}");
        let slices: Vec<_> = loaded.intent.cluster.slices.values().collect();
        let [slice] = slices.as_slice() else { panic!("{one}: {told}") };
        let serve: Vec<_> = slice.endpoints.iter().map(|e| (e.addresses[0], e.weight)).collect();
        let address = |last| std::net::IpAddr::from([10, 0, 0, last]);
        assert_eq!(serve, [(address(1), 3), (address(2), 1)], "{one}");
    }
}

#[test]
fn a_slice_that_is_wrong_as_a_whole_is_set_aside() {
    let good = "endpoints: [{addresses: [10.0.0.1]}]\n";
    for wrong in [
        format!("{good}ports: [{{port: 80}}]\n"),
        format!("addressType: IPv5\n{good}ports: [{{port: 80}}]\n"),
        format!("addressType: IPv4\n{good}ports: [{{port: 0}}]\n"),
        "addressType: IPv4\nendpoints: all\nports: [{port: 80}]\n".into(),
    ] {
        let loaded = parse(&[("lab.yaml".into(), slice(&wrong))]);
        assert!(loaded.is_ok() && !loaded.problems.is_empty(), "{wrong}");
        assert!(loaded.intent.cluster.slices.is_empty(), "{wrong}");
    }
}

#[test]
fn slices_for_nobody() {
    check(
        &slice("addressType: FQDN\nendpoints: [{addresses: [example.com]}]\n"),
        expect![[r#"
        warning: EndpointSlice/default/web-1: endpoints that are names have no data plane: the slice is ignored
         --> lab.yaml:4:14 (addressType)
          |
        4 | addressType: FQDN
          |              ^^^^
          = help: remove it, or write addresses

        1 warning
    "#]],
    );
    check(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1}\naddressType: IPv4\n",
        expect![[r#"
            warning: EndpointSlice/default/web-1: without the label `kubernetes.io/service-name` the slice belongs to no service
             --> lab.yaml:3:18 (metadata)
              |
            3 | metadata: {name: web-1}
              |                  ^^^^^
              = help: write `labels: {kubernetes.io/service-name: NAME}`

            1 warning
        "#]],
    );
}

#[test]
fn weights() {
    let text = slice("addressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]\n");
    let with = |weights: &str| {
        text.replace(
            "metadata: {",
            &format!("metadata: {{annotations: {{thalweg.io/weights: '{weights}'}}, "),
        )
    };
    check(
        &with("10.0.0.1=257, x=1, 10.0.0.1"),
        expect![[r#"
        error: EndpointSlice/default/web-1: `10.0.0.1=257` is no weight
         --> lab.yaml:3:46 (metadata.annotations.thalweg.io/weights)
          |
        3 | metadata: {annotations: {thalweg.io/weights: '10.0.0.1=257, x=1, 10.0.0.1'}, name: web-1, labels: {k…
          |                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          = help: write ADDRESS=WEIGHT, as in `10.0.0.1=3, 10.0.0.2=0`; 0 to 256

        error: EndpointSlice/default/web-1: `x=1` is no weight
         --> lab.yaml:3:46 (metadata.annotations.thalweg.io/weights)
          |
        3 | metadata: {annotations: {thalweg.io/weights: '10.0.0.1=257, x=1, 10.0.0.1'}, name: web-1, labels: {k…
          |                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          = help: write ADDRESS=WEIGHT, as in `10.0.0.1=3, 10.0.0.2=0`; 0 to 256

        error: EndpointSlice/default/web-1: `10.0.0.1` is no weight
         --> lab.yaml:3:46 (metadata.annotations.thalweg.io/weights)
          |
        3 | metadata: {annotations: {thalweg.io/weights: '10.0.0.1=257, x=1, 10.0.0.1'}, name: web-1, labels: {k…
          |                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          = help: write ADDRESS=WEIGHT, as in `10.0.0.1=3, 10.0.0.2=0`; 0 to 256

        3 errors
    "#]],
    );
    check(
        &with("10.0.0.1=0, 10.0.0.9=2"),
        expect![[r#"
        warning: EndpointSlice/default/web-1: 10.0.0.9 is the first address of no endpoint of this slice
         --> lab.yaml:3:46 (metadata.annotations.thalweg.io/weights)
          |
        3 | metadata: {annotations: {thalweg.io/weights: '10.0.0.1=0, 10.0.0.9=2'}, name: web-1, labels: {kubern…
          |                                              ^^^^^^^^^^^^^^^^^^^^^^^^
          = help: remove it

        1 warning
    "#]],
    );
}

#[test]
fn interfaces_of_pods() {
    let pod = |name: &str, annotations: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n---\n"
        )
    };
    check(
        &[
            pod("a", "thalweg.io/interface: veth0"),
            pod("b", "thalweg.io/interface: veth0"),
            pod("c", "thalweg.io/interface: a/b, thalweg.io/mac: '02'"),
        ]
        .concat(),
        expect![[r#"
            error: Pod/default/b: `veth0` already belongs to Pod/default/a at lab.yaml:3:57
             --> lab.yaml:7:57 (metadata.annotations)
              |
            7 | metadata: {name: b, annotations: {thalweg.io/interface: veth0}}
              |                                                         ^^^^^
              = help: name the interface of one pod only

            error: Pod/default/c: `a/b` has a character that device names cannot have
              --> lab.yaml:11:57 (metadata.annotations.thalweg.io/interface)
               |
            11 | metadata: {name: c, annotations: {thalweg.io/interface: a/b, thalweg.io/mac: '02'}}
               |                                                         ^^^
               = help: write the name as `ip link` shows it

            error: Pod/default/c: `02` is no link address
              --> lab.yaml:11:78 (metadata.annotations.thalweg.io/mac)
               |
            11 | …/interface: a/b, thalweg.io/mac: '02'}}
               |                                   ^^^^
               = help: write six octets, as in 02:00:00:00:00:01

            3 errors
        "#]],
    );
}

/// A file that sorts before must not take the link of a pod that runs.
#[test]
fn the_elder_of_two_pods_keeps_the_interface() {
    let pod = |name: &str, created: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, annotations: {{thalweg.io/interface: \
             veth0}}, creationTimestamp: {created}}}\n"
        )
    };
    let (elder, younger) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    for ((first, second), keeps) in [
        ((pod("a", younger), pod("b", elder)), "b"),
        ((pod("a", elder), pod("b", younger)), "a"),
        ((pod("a", "null"), pod("b", younger)), "b"),
        ((pod("b", "null"), pod("a", "null")), "a"),
        ((pod("b", elder), pod("a", elder)), "a"),
    ] {
        let files = [("1.yaml".into(), first), ("2.yaml".into(), second)];
        for loaded in [parse(&files), thalweg_config::Library::default().parse(&files)] {
            let told = render(&loaded.problems, &loaded.sources, false);
            let pods: Vec<_> = loaded.intent.cluster.pods.keys().map(|pod| &*pod.name).collect();
            assert_eq!(pods, [keeps], "{told}");
            let loses = if keeps == "a" { "b" } else { "a" };
            let what = format!(
                "error: Pod/default/{loses}: `veth0` already belongs to Pod/default/{keeps} at "
            );
            assert!(loaded.is_ok() && told.contains(&what) && told.contains("1 error"), "{told}");
        }
    }
}

#[test]
fn ranges_of_services() {
    check(
        "apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: two}
spec: {cidrs: [10.96.0.0/16, 10.97.0.0/16]}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: none}
spec: {cidrs: []}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: wrong}
spec: {cidrs: [ten]}
",
        expect![[r#"
            error: ServiceCIDR/two: there are two ranges of one family
             --> lab.yaml:4:15 (spec.cidrs)
              |
            4 | spec: {cidrs: [10.96.0.0/16, 10.97.0.0/16]}
              |               ^
              = help: write one range, or one of each family: `cidrs: [10.96.0.0/16]`

            error: ServiceCIDR/none: there is no range
             --> lab.yaml:9:15 (spec.cidrs)
              |
            9 | spec: {cidrs: []}
              |               ^
              = help: write one range, or one of each family: `cidrs: [10.96.0.0/16]`

            error: ServiceCIDR/wrong: `ten` is no range of addresses
              --> lab.yaml:14:16 (spec.cidrs[0])
               |
            14 | spec: {cidrs: [ten]}
               |                ^^^
               = help: write address/length, such as 192.0.2.0/24 or 2001:db8::/32

            3 errors
        "#]],
    );
}

#[test]
fn ranges_of_host_ports() {
    let pod = |name: &str, ranges: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, annotations: \
             {{thalweg.io/hostPorts: '{ranges}'}}}}\nstatus: {{podIPs: [{{ip: 10.1.0.2}}]}}\n---\n"
        )
    };
    let all = pod("a", "80-90:8080-8089") + &pod("b", "9-8") + &pod("c", "1-5000");
    check(
        &all,
        expect![[r#"
        error: Pod/default/a: `80-90:8080-8089` has other numbers of ports for host and pod
         --> lab.yaml:3:57 (metadata.annotations.thalweg.io/hostPorts)
          |
        3 | metadata: {name: a, annotations: {thalweg.io/hostPorts: '80-90:8080-8089'}}
          |                                                         ^^^^^^^^^^^^^^^^^
          = help: give both as many ports

        error: Pod/default/b: `9-8` is no range of ports
         --> lab.yaml:8:57 (metadata.annotations.thalweg.io/hostPorts)
          |
        8 | metadata: {name: b, annotations: {thalweg.io/hostPorts: '9-8'}}
          |                                                         ^^^^^
          = help: write ranges, as in 30000-30099/udp, 5000-5009:6000-6009 or 192.0.2.1:8000-8010:9000-9010/tcp, with commas between them

        error: Pod/default/c: these are more than 4096 ports
          --> lab.yaml:13:57 (metadata.annotations.thalweg.io/hostPorts)
           |
        13 | metadata: {name: c, annotations: {thalweg.io/hostPorts: '1-5000'}}
           |                                                         ^^^^^^^^
           = help: give the pod a floating address: it has all ports

        3 errors
    "#]],
    );
}

#[test]
fn pools_and_nodes() {
    check(
        "apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.0.0.1/8, natOutgoing: 'yes'}
---
apiVersion: v1
kind: Node
metadata: {name: n}
spec: {podCIDRs: [10.244.0.0]}
status: {addresses: [{type: InternalIP, address: 127.0.0.1}]}
",
        expect![[r#"
            warning: IPPool/p: `10.0.0.1/8` has bits set outside its length: 10.0.0.0/8 is taken
             --> lab.yaml:4:14 (spec.cidr)
              |
            4 | spec: {cidr: 10.0.0.1/8, natOutgoing: 'yes'}
              |              ^^^^^^^^^^
              = help: write 10.0.0.0/8

            error: IPPool/p: expected true or false, found `yes`
             --> lab.yaml:4:39 (spec.natOutgoing)
              |
            4 | spec: {cidr: 10.0.0.1/8, natOutgoing: 'yes'}
              |                                       ^^^^^
              = help: write `true` or `false`, without quotes

            error: Node/n: `10.244.0.0` is no range of addresses
             --> lab.yaml:9:19 (spec.podCIDRs[0])
              |
            9 | spec: {podCIDRs: [10.244.0.0]}
              |                   ^^^^^^^^^^
              = help: write address/length, such as 192.0.2.0/24 or 2001:db8::/32

            error: Node/n: 127.0.0.1 is loopback, and such packets do not leave a host
              --> lab.yaml:10:50 (status.addresses[0].address)
               |
            10 | status: {addresses: [{type: InternalIP, address: 127.0.0.1}]}
               |                                                  ^^^^^^^^^
               = help: write a unicast address

            3 errors, 1 warning
        "#]],
    );
}

#[test]
fn settings_of_a_router_are_strict() {
    let text = "apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: r}
spec:
  node: Node_1
  services: {ring: 1000, nodePortRange: 2-1, clusterCIDRs: [10.0.0.1/8], withoutBackend: Drop}
  flows: {limit: 1000000, perWorkload: 2000000, midFlow: Allow, timeouts: {udp: 0s, tcp: 1h}}
";
    let loaded = parse(&[("lab.yaml".into(), text.into())]);
    assert!(!loaded.is_ok());
    let expected = expect![[r#"
        error: Router/r: the name `Node_1` has capital letters (RFC 1123)
         --> lab.yaml:5:9 (spec.node)
          |
        5 |   node: Node_1
          |         ^^^^^^
          = help: write the name as `kubectl get nodes` shows it

        error: Router/r: a ring has no 1000 slots
         --> lab.yaml:6:20 (spec.services.ring)
          |
        6 |   services: {ring: 1000, nodePortRange: 2-1, clusterCIDRs: [10.0.0.1/8], withoutBackend: Drop}
          |                    ^^^^
          = help: known are `251`, `509`, `1021`, `2039`, `4093`, `8191`, `16381`, `65537` and `131071`

        error: Router/r: `2-1` is no range of ports
         --> lab.yaml:6:41 (spec.services.nodePortRange)
          |
        6 |   services: {ring: 1000, nodePortRange: 2-1, clusterCIDRs: [10.0.0.1/8], withoutBackend: Drop}
          |                                         ^^^
          = help: write the first and the last port, as in 30000-32767

        error: Router/r: `10.0.0.1/8` has bits set outside its length
         --> lab.yaml:6:61 (spec.services.clusterCIDRs[0])
          |
        6 |   services: {ring: 1000, nodePortRange: 2-1, clusterCIDRs: [10.0.0.1/8], withoutBackend: Drop}
          |                                                             ^^^^^^^^^^
          = help: write 10.0.0.0/8, or 10.0.0.1/32 for the one address

        error: Router/r: unknown field `withoutBackend`
         --> lab.yaml:6:74 (spec.services.withoutBackend)
          |
        6 | …2-1, clusterCIDRs: [10.0.0.1/8], withoutBackend: Drop}
          |                                   ^^^^^^^^^^^^^^
          = help: did you mean `withoutBackends`?

        error: Router/r: 2000000 is out of range
         --> lab.yaml:7:40 (spec.flows.perWorkload)
          |
        7 |   flows: {limit: 1000000, perWorkload: 2000000, midFlow: Allow, timeouts: {udp: 0s, tcp: 1h}}
          |                                        ^^^^^^^
          = help: write a whole number from 1 to 1000000

        error: Router/r: unknown value `Allow`
         --> lab.yaml:7:58 (spec.flows.midFlow)
          |
        7 |   flows: {limit: 1000000, perWorkload: 2000000, midFlow: Allow, timeouts: {udp: 0s, tcp: 1h}}
          |                                                          ^^^^^
          = help: known here: `Drop` and `Accept`

        error: Router/r: 0s is out of range
         --> lab.yaml:7:81 (spec.flows.timeouts.udp)
          |
        7 | … midFlow: Allow, timeouts: {udp: 0s, tcp: 1h}}
          |                                   ^^
          = help: write seconds from 1s to 604800s, or minutes as in 2m

        error: Router/r: unknown field `tcp`
         --> lab.yaml:7:85 (spec.flows.timeouts.tcp)
          |
        7 | …Flow: Allow, timeouts: {udp: 0s, tcp: 1h}}
          |                                   ^^^
          = help: known here: `tcpSyn`, `tcpEstablished`, `tcpClosed`, `tcpReset`, `sctpInit`, `sctpEstablished`, `sctpClosed`, `sctpAborted`, `udp`, `icmp` and `other`

        9 errors
    "#]];
    expected.assert_eq(&render(&loaded.problems, &loaded.sources, false));
}

#[test]
fn settings_of_tunnels_are_strict() {
    let text = "apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: r}
spec: {tunnel: {protocol: Ipip, port: 4, vni: 7, mtu: 100, underlay: ipv6}}
";
    let loaded = parse(&[("lab.yaml".into(), text.into())]);
    assert!(!loaded.is_ok());
    let expected = expect![[r#"
        error: Router/r: Ipip has no ports
         --> lab.yaml:4:39 (spec.tunnel.port)
          |
        4 | spec: {tunnel: {protocol: Ipip, port: 4, vni: 7, mtu: 100, underlay: ipv6}}
          |                                       ^
          = help: leave it out, or choose another protocol

        error: Router/r: Ipip has no network identifier
         --> lab.yaml:4:47 (spec.tunnel.vni)
          |
        4 | spec: {tunnel: {protocol: Ipip, port: 4, vni: 7, mtu: 100, underlay: ipv6}}
          |                                               ^
          = help: leave it out, or choose Vxlan or Geneve

        error: Router/r: 100 is out of range
         --> lab.yaml:4:55 (spec.tunnel.mtu)
          |
        4 | spec: {tunnel: {protocol: Ipip, port: 4, vni: 7, mtu: 100, underlay: ipv6}}
          |                                                       ^^^
          = help: write a whole number from 576 to 65535

        error: Router/r: unknown value `ipv6`
         --> lab.yaml:4:70 (spec.tunnel.underlay)
          |
        4 | …: 4, vni: 7, mtu: 100, underlay: ipv6}}
          |                                   ^^^^
          = help: did you mean `IPv6`?

        4 errors
    "#]];
    expected.assert_eq(&render(&loaded.problems, &loaded.sources, false));
}

#[test]
fn a_service_of_another_proxy_is_left_to_it() {
    let text = "apiVersion: v1
kind: Service
metadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: other}}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
";
    let loaded = parse(&[("lab.yaml".into(), text.into())]);
    assert!(loaded.is_ok() && loaded.intent.cluster.services.is_empty());
    expect![[r#"
        warning: Service/default/web: it is left to another proxy, `other`: nothing of it is in force
         --> lab.yaml:3:18 (metadata)
          |
        3 | metadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: other}}
          |                  ^^^
          = help: remove the label `service.kubernetes.io/service-proxy-name`, if it is to be carried out here

        1 warning
    "#]]
    .assert_eq(&render(&loaded.problems, &loaded.sources, false));
}

/// What a pod may be without: a port of its host, an address outside. Its network it keeps.
#[test]
fn a_pod_stays_whatever_it_asks_of_its_host() {
    let pod = |annotation: &str, address: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, annotations: {{thalweg.io/interface: veth1, \
             {annotation}}}}}\nspec:\n  containers:\n  - name: c\n    ports:\n    \
             - {{containerPort: 53, hostPort: 53, hostIP: {address}}}\n    \
             - {{containerPort: 80, hostPort: 8080}}\nstatus: {{podIPs: [{{ip: 10.1.0.2}}]}}\n"
        )
    };
    let fine = "x: ''";
    for (annotation, address, told, ports) in [
        (
            fine,
            "127.0.0.1",
            "warning: Pod/default/a: a port of the host at loopback leads nowhere",
            1,
        ),
        (fine, "'::1'", "warning: Pod/default/a: a port of the host at loopback leads nowhere", 1),
        ("thalweg.io/hostPorts: 9-8", "''", "error: Pod/default/a: `9-8` is no range of ports", 2),
        ("cni.projectcalico.org/floatingIPs: x", "''", "error: Pod/default/a: `x` is no list", 2),
    ] {
        let loaded = parse(&[("lab.yaml".into(), pod(annotation, address))]);
        let said = render(&loaded.problems, &loaded.sources, false);
        assert!(said.contains(told), "{said}");
        let pods: Vec<_> = loaded.intent.cluster.pods.values().collect();
        let [pod] = pods.as_slice() else { panic!("the pod is set aside: {said}") };
        assert_eq!(pod.interface.as_deref(), Some("veth1"));
        assert_eq!(pod.host_ports.len(), ports, "{said}");
    }
    // Where its network cannot be told, it is set aside as before.
    let text = pod(fine, "''").replace("10.1.0.2", "10.1.0");
    assert!(parse(&[("lab.yaml".into(), text)]).intent.cluster.pods.is_empty());
}

/// Others than the owner of a service write its status: `minikube tunnel` announces 127.0.0.1.
#[test]
fn a_service_stays_whatever_its_balancer_announces() {
    let text = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 127.0.0.1}, {ip: 192.0.2.9}, {ip: '::ffff:10.0.0.1'}, {ip: x}]}}
";
    let loaded = parse(&[("lab.yaml".into(), text.into())]);
    let said = render(&loaded.problems, &loaded.sources, false);
    for what in [
        "127.0.0.1 is loopback, and such packets do not leave a host: the address is left out",
        "::ffff:10.0.0.1 is an IPv4 address in IPv6 dress: the address is left out",
        "`x` is no address: the address is left out",
    ] {
        assert!(said.contains(&format!("warning: Service/default/web: {what}")), "{said}");
    }
    let services: Vec<_> = loaded.intent.cluster.services.values().collect();
    let [service] = services.as_slice() else { panic!("the service is set aside: {said}") };
    assert_eq!(service.load_balancer_ips, ["192.0.2.9".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn floating_addresses_of_a_pod() {
    let pod = |name: &str, text: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  annotations:\n    \
             cni.projectcalico.org/floatingIPs: '{text}'\n---\n"
        )
    };
    check(
        &[
            pod("a", "192.0.2.50"),
            pod("b", "[\"192.0.2.50\", \"192.0.2.51\"]"),
            pod("c", "[\"192.0.2\", \"127.0.0.1\", \"fe80::1\"]"),
            pod("d", "[192.0.2.50]"),
            pod("e", "[]"),
        ]
        .concat(),
        expect![[r#"
            error: Pod/default/a: `192.0.2.50` is no list of addresses
             --> lab.yaml:6:40 (metadata.annotations.cni.projectcalico.org/floatingIPs)
              |
            6 |     cni.projectcalico.org/floatingIPs: '192.0.2.50'
              |                                        ^^^^^^^^^^^^
              = help: write a list in JSON, as in '["192.0.2.50", "2001:db8::50"]'

            error: Pod/default/b: 192.0.2.50 and 192.0.2.51 are of one family
              --> lab.yaml:13:40 (metadata.annotations.cni.projectcalico.org/floatingIPs)
               |
            13 |     cni.projectcalico.org/floatingIPs: '["192.0.2.50", "192.0.2.51"]'
               |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               = help: keep one floating address of each family

            error: Pod/default/c: `192.0.2` is no address
              --> lab.yaml:20:40 (metadata.annotations.cni.projectcalico.org/floatingIPs)
               |
            20 |     cni.projectcalico.org/floatingIPs: '["192.0.2", "127.0.0.1", "fe80::1"]'
               |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               = help: write an address, as in 10.0.0.1 or "2001:db8::1"

            error: Pod/default/c: 127.0.0.1 is loopback, and such packets do not leave a host
              --> lab.yaml:20:40 (metadata.annotations.cni.projectcalico.org/floatingIPs)
               |
            20 |     cni.projectcalico.org/floatingIPs: '["192.0.2", "127.0.0.1", "fe80::1"]'
               |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               = help: write a unicast address

            error: Pod/default/c: fe80::1 is link-local, and such packets do not leave their link
              --> lab.yaml:20:40 (metadata.annotations.cni.projectcalico.org/floatingIPs)
               |
            20 |     cni.projectcalico.org/floatingIPs: '["192.0.2", "127.0.0.1", "fe80::1"]'
               |                                        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               = help: write an address of wider scope

            error: Pod/default/d: `[192.0.2.50]` is no list of addresses
              --> lab.yaml:27:40 (metadata.annotations.cni.projectcalico.org/floatingIPs)
               |
            27 |     cni.projectcalico.org/floatingIPs: '[192.0.2.50]'
               |                                        ^^^^^^^^^^^^^^
               = help: write a list in JSON, as in '["192.0.2.50", "2001:db8::50"]'

            6 errors
        "#]],
    );
}

#[test]
fn settings_of_calico_are_told_where_they_are_said_here() {
    check(
        "apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {failsafeInboundHostPorts: []}
---
apiVersion: crd.projectcalico.org/v1
kind: KubeControllersConfiguration
metadata: {name: default}
",
        expect![[r#"
            warning: an object of kind `FelixConfiguration` is ignored
             --> lab.yaml:2:7 (kind)
              |
            2 | kind: FelixConfiguration
              |       ^^^^^^^^^^^^^^^^^^
              = help: say its fail-safe ports and defaultEndpointToHostAction in `spec.policy` of the Router: failSafeInbound, failSafeOutbound, endpointToHost

            warning: an object of kind `KubeControllersConfiguration` is ignored
             --> lab.yaml:7:7 (kind)
              |
            7 | kind: KubeControllersConfiguration
              |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              = help: where it makes host endpoints of nodes, write `spec.policy.autoHostEndpoints: true` in the Router

            2 warnings
        "#]],
    );
}

#[test]
fn policies_of_other_apis_are_told_to_be_without_force() {
    check(
        "apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: a}
---
apiVersion: extensions/v1beta1
kind: NetworkPolicy
metadata: {name: a}
---
apiVersion: networking.k8s.io/v2
kind: NetworkPolicyList
items: []
",
        expect![[r#"
            warning: an object of kind `AdminNetworkPolicy` is ignored
             --> lab.yaml:2:7 (kind)
              |
            2 | kind: AdminNetworkPolicy
              |       ^^^^^^^^^^^^^^^^^^
              = help: its rules are not in force: write them as a ClusterNetworkPolicy or a NetworkPolicy

            warning: an object of kind `NetworkPolicy` is ignored
             --> lab.yaml:6:7 (kind)
              |
            6 | kind: NetworkPolicy
              |       ^^^^^^^^^^^^^
              = help: its rules are not in force: `NetworkPolicy` is read of `networking.k8s.io/v1` and `projectcalico.org/v3`, and of no other API

            warning: an object of kind `NetworkPolicyList` is ignored
              --> lab.yaml:10:7 (kind)
               |
            10 | kind: NetworkPolicyList
               |       ^^^^^^^^^^^^^^^^^
               = help: its rules are not in force: `NetworkPolicy` is read of `networking.k8s.io/v1` and `projectcalico.org/v3`, and of no other API

            3 warnings
        "#]],
    );
}

#[test]
fn an_object_without_a_version() {
    check(
        "kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}
---
kind: NetworkPolicy
metadata: {name: a, namespace: shop}
spec: {podSelector: {}}
",
        expect![[r#"
            error: Service/default/web: `apiVersion` is missing
             --> lab.yaml:1:1 (apiVersion)
              |
            1 | kind: Service
              | ^^^^
              = help: write `apiVersion: v1`

            error: NetworkPolicy/shop/a: `apiVersion` is missing
             --> lab.yaml:5:1 (apiVersion)
              |
            5 | kind: NetworkPolicy
              | ^^^^
              = help: write `apiVersion: networking.k8s.io/v1`

            2 errors
        "#]],
    );
}
