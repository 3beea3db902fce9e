//! Traffic as agents tell of it, and what is said of it.

use super::*;
use expect_test::expect;
use std::fs;
use thalweg_api::cluster::FlowView;
use thalweg_api::drops::{DropEnd, DropEventView};

/// Three pods here and one elsewhere, a service of the second, and a host endpoint.
const CLUSTER: &str = "
apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: router}
spec: {node: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p0, namespace: shop, labels: {app: p0}, annotations: {thalweg.io/interface: pod0}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.9.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p1, namespace: shop, labels: {app: p1}, annotations: {thalweg.io/interface: pod1}}
spec: {nodeName: n1}
status: {podIPs: [{ip: 10.9.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: shop, labels: {app: far}}
spec: {nodeName: n2}
status: {podIPs: [{ip: 10.9.9.9}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}], type: NodePort}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.9.0.3]}]
";

fn staged(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: projectcalico.org/v3\nkind: StagedNetworkPolicy\n\
         metadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n"
    )
}

fn enforced(name: &str, spec: &str) -> String {
    staged(name, spec).replace("StagedNetworkPolicy", "NetworkPolicy")
}

const FROM_P0: &str = "{selector: app == 'p1', ingress: [{action: Allow, protocol: TCP, \
                       source: {selector: app == 'p0'}, destination: {ports: [8080]}}]}";
const NOBODY: &str = "{selector: app == 'p1', types: [Ingress]}";

fn flow(source: &str, destination: &str, new_destination: Option<&str>) -> FlowView {
    FlowView {
        protocol: if source.contains(':') { "TCP" } else { "ICMP" }.into(),
        source: source.into(),
        destination: destination.into(),
        new_destination: new_destination.map(Into::into),
        direction: "forward".into(),
        link: Some("eth0".into()),
        ..FlowView::default()
    }
}

fn dropped(source: &str, destination: &str) -> DropEventView {
    let end = |text: &str| {
        let (address, port) = text.rsplit_once(':').unwrap();
        Some(DropEnd { address: address.into(), port: port.parse().ok(), name: None })
    };
    DropEventView {
        link: "pod0".into(),
        hook: "tc".into(),
        reason: "policy".into(),
        protocol: Some("TCP".into()),
        source: end(source),
        destination: end(destination),
        ..DropEventView::default()
    }
}

/// What is told of this traffic under these policies.
fn told(policies: &str, flows: &[FlowView], drops: &[DropEventView]) -> (String, Value) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("all.yaml"), CLUSTER.to_owned() + policies).unwrap();
    let read = Policies::read(dir.path(), false).unwrap();
    let worlds = read.staged();
    let own = |text: &str| vec![text.parse().unwrap()];
    let links =
        vec![("eth0".to_owned(), own("192.0.2.1")), ("eth1".to_owned(), own("203.0.113.1"))];
    let here = read.here(&worlds.now.world, links);
    let mut seen = traffic::flows(flows);
    seen.extend(traffic::drops(drops, &read.cluster, |address| here.is_own(address)));
    let report = Report::new(&read.objects, &worlds, &here, &seen);
    let text = report.text(&Paint::plain());
    (text.replace(&format!("{}/", dir.path().display()), ""), report.value())
}

#[test]
fn flows_that_would_be_cut_are_counted_by_who_speaks_to_whom() {
    let flows = [
        flow("10.9.0.2:4000", "10.9.0.3:8080", None),
        // By the service, and by the port of the node: the pod behind it counts.
        flow("10.9.0.2:4001", "10.96.0.10:80", Some("10.9.0.3:8080")),
        flow("198.51.100.7:4002", "192.0.2.1:30080", Some("10.9.0.3:8080")),
        flow("198.51.100.7:4003", "192.0.2.1:30080", Some("10.9.0.3:8080")),
        flow("10.9.0.2", "10.9.0.3", None),
        // A host always reaches its pods.
        flow("192.0.2.1:4004", "10.9.0.3:8080", None),
        // Nobody here is asked.
        flow("198.51.100.7:4005", "10.9.9.9:8080", None),
        flow("198.51.100.7:4006", "198.51.100.8:8080", None),
    ];
    let expected = expect![[r#"
        FROM          TO       PROTO/PORT  FLOWS  DROPS  NOW    STAGED  BY
        198.51.100.7  shop/p1  TCP/8080        2      0  allow  deny    policies of tier default apply, and none allows it, by StagedNetworkPolicy/shop/web (all.yaml:44:18)
        shop/p0       shop/p1  ICMP            1      0  allow  deny    policies of tier default apply, and none allows it, by StagedNetworkPolicy/shop/web (all.yaml:44:18)

        StagedNetworkPolicy/shop/web (all.yaml:44:18): would deny 3 live flows
        judged: 6 live flows and 0 packets that policies dropped
    "#]];
    let (text, value) = told(&staged("web", FROM_P0), &flows, &[]);
    expected.assert_eq(&text);
    assert_eq!(value["changes"][0]["flows"], 2, "{value}");
    assert_eq!(value["policies"][0]["denies"]["flows"], 3, "{value}");
    assert_eq!(value["judged"]["flows"], 6, "{value}");
}

#[test]
fn packets_that_would_not_have_been_dropped_are_told_with_the_rule() {
    let drops = [
        dropped("10.9.0.2:4000", "10.9.0.3:8080"),
        dropped("10.9.0.2:4001", "10.96.0.10:80"),
        dropped("10.9.0.2:4002", "10.9.0.3:8081"),
    ];
    let expected = expect![[r#"
        FROM     TO       PROTO/PORT  FLOWS  DROPS  NOW   STAGED  BY
        shop/p0  shop/p1  TCP/8080        0      2  deny  allow   rule 1 of StagedNetworkPolicy/shop/web (all.yaml:50:41)

        StagedNetworkPolicy/shop/web (all.yaml:49:18): would allow 2 packets that policies dropped
        judged: 0 live flows and 3 packets that policies dropped
    "#]];
    let policies = enforced("none", NOBODY) + &staged("web", FROM_P0);
    expected.assert_eq(&told(&policies, &[], &drops).0);
}

#[test]
fn a_staged_policy_in_the_place_of_another_answers_for_what_went() {
    let flows = [
        flow("10.9.0.2:4000", "10.9.0.3:8080", None),
        flow("198.51.100.7:4002", "10.9.0.3:8080", None),
    ];
    // The first went; of the second the isolation alone stays.
    let gone = "{stagedAction: Delete}";
    let both = enforced("web", FROM_P0) + &enforced("none", NOBODY) + &staged("web", gone);
    let expected = expect![[r#"
        FROM     TO       PROTO/PORT  FLOWS  DROPS  NOW    STAGED  BY
        shop/p0  shop/p1  TCP/8080        1      0  allow  deny    policies of tier default apply, and none allows it, by StagedNetworkPolicy/shop/web (all.yaml:54:18)

        StagedNetworkPolicy/shop/web (all.yaml:54:18): would deny 1 live flow
        judged: 2 live flows and 0 packets that policies dropped
    "#]];
    expected.assert_eq(&told(&both, &flows, &[]).0);
    let only = enforced("none", NOBODY) + &staged("none", gone);
    let expected = expect![[r#"
        FROM     TO       PROTO/PORT  FLOWS  DROPS  NOW   STAGED  BY
        shop/p0  shop/p1  TCP/8080        1      0  deny  allow   no policy decides, by StagedNetworkPolicy/shop/none (all.yaml:49:18)

        StagedNetworkPolicy/shop/none (all.yaml:49:18): would allow 1 live flow
        judged: 1 live flow and 0 packets that policies dropped
    "#]];
    expected.assert_eq(&told(&only, &flows[..1], &[]).0);
}

#[test]
fn policies_that_change_nothing_say_so() {
    let flows = [flow("10.9.0.2:4000", "10.9.0.3:8080", None)];
    let learn = staged("learn", "{stagedAction: Learn, types: [Ingress]}");
    let expected = expect![[r#"
        StagedNetworkPolicy/shop/learn (all.yaml:49:18): changes nothing: stagedAction Learn
        StagedNetworkPolicy/shop/web (all.yaml:44:18): would change nothing about this traffic
        judged: 1 live flow and 0 packets that policies dropped
    "#]];
    expected.assert_eq(&told(&(staged("web", FROM_P0) + &learn), &flows, &[]).0);
    assert_eq!(told("", &flows, &[]).0, "no policy is staged\n");
}

#[test]
fn what_passes_or_reaches_the_host_is_asked_of_the_endpoint_of_its_link() {
    let host = "---\napiVersion: projectcalico.org/v3\nkind: HostEndpoint\n\
                metadata: {name: outside, labels: {role: edge}}\n\
                spec: {node: n1, interfaceName: eth1, profiles: [projectcalico-default-allow]}\n\
                ---\napiVersion: projectcalico.org/v3\nkind: StagedGlobalNetworkPolicy\n\
                metadata: {name: edge}\nspec: {selector: role == 'edge', types: [Ingress]}\n";
    // By that link, and by another; and to a port that stays open.
    let mut flows = [
        flow("198.51.100.7:4000", "192.0.2.1:80", None),
        flow("198.51.100.7:4001", "192.0.2.1:80", None),
        flow("198.51.100.7:4002", "192.0.2.1:22", None),
    ];
    flows[0].link = Some("eth1".into());
    flows[2].link = Some("eth1".into());
    let value = told(host, &flows, &[]).1;
    assert_eq!(value["changes"].as_array().map(Vec::len), Some(1), "{value}");
    assert_eq!(value["changes"][0]["flows"], 1, "{value}");
    assert_eq!(value["changes"][0]["to"], "192.0.2.1", "{value}");
    assert_eq!(value["judged"]["flows"], 2, "{value}");
}
