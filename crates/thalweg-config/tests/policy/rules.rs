//! Rules that are wrong, and what becomes of their policies.

use crate::{KUBERNETES, calico, check, errors, load};
use expect_test::expect;
use std::net::IpAddr;
use thalweg_model::Severity;
use thalweg_model::cluster::ObjectName;
use thalweg_policy::object::{EndAction, Spec};
use thalweg_policy::{Model, Packet, Resolution, View, World, words};

#[test]
fn policies_of_which_nothing_can_be_kept() {
    let global = |spec: &str| calico("GlobalNetworkPolicy", spec);
    errors(
        &global("  preDNAT: true\n  applyOnForward: true\n  types: [Ingress, Egress]\n"),
        &["5: `preDNAT` is about what arrives, and this policy is about egress, too"],
    );
    errors(&global("  doNotTrack: true\n"), &["5: `doNotTrack` without `applyOnForward`"]);
    errors(
        &global("  doNotTrack: true\n  preDNAT: true\n  applyOnForward: true\n"),
        &["6: `preDNAT` and `doNotTrack` exclude each other"],
    );
    errors(&KUBERNETES.replace("app: web", "app: 5"), &["5: expected a text, found the number 5"]);
    errors(
        &calico("HostEndpoint", "  node: n1\n"),
        &["5: neither an interface nor addresses are given"],
    );
}

#[test]
fn what_is_wrong_in_a_set_a_tier_or_a_host_endpoint_takes_nothing_else_with_it() {
    let found = |text: &str, wrong: &[&str]| {
        let loaded = load(text);
        assert!(loaded.is_ok());
        let told = |severity| loaded.problems.iter().filter(move |one| one.severity == severity);
        let errors: Vec<&str> = told(Severity::Error).map(|one| one.what.as_str()).collect();
        assert_eq!(errors, wrong, "{text}");
        assert_eq!(told(Severity::Warning).count(), 1, "{:?}", loaded.problems);
        loaded.policies
    };
    let set = calico("GlobalNetworkSet", "  nets: [10.0.0.0/8, 10.0.0/8, 224.0.0.1]\n");
    let all = found(&set, &["`10.0.0/8` is no range of addresses"]);
    let nets: Vec<String> =
        all.sets.values().flat_map(|set| &set.nets).map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.0/8", "224.0.0.1/32"]);
    // Policies of a tier go on to count.
    let tier = |spec: &str, wrong: &str| found(&calico("Tier", spec), &[wrong]);
    let wrong = tier("  order: 5\n  defaultAction: Allow\n", "unknown value `Allow`");
    let one = wrong.tiers.get("one").unwrap();
    assert_eq!((one.order, one.end), (Some(5.0), EndAction::Deny));
    let wrong = tier("  order: first\n  defaultAction: Pass\n", "`first` is no number");
    let one = wrong.tiers.get("one").unwrap();
    assert_eq!((one.order, one.end), (None, EndAction::Pass));
    // An interface without an endpoint would be open.
    let host = "  node: n1\n  interfaceName: eth0\n  expectedIPs: [192.0.2.1, 192.0.2.256]\n  \
                ports: [{name: a, protocol: ICMP, port: 1}, {name: b, protocol: TCP, port: 2}]\n";
    let all = found(
        &calico("HostEndpoint", host),
        &["`192.0.2.256` is no address", "this protocol has no ports"],
    );
    let host = all.hosts.get("one").unwrap();
    assert_eq!((host.addresses.len(), host.ports.len()), (1, 1));
    let unknown = "  node: n1\n  interfaceName: averyveryverylongname\n";
    errors(
        &calico("HostEndpoint", unknown),
        &["6: `averyveryverylongname` has more than 15 characters"],
    );
}

#[test]
fn a_policy_stays_whatever_is_wrong_with_its_labels() {
    let labelled = |text: &str| text.replace("name: ", "labels: {version: 2, a: b}, name: ");
    let policy = labelled(KUBERNETES);
    let host = labelled(&calico("HostEndpoint", "  node: n1\n  interfaceName: eth0\n"));
    for text in [&policy, &host] {
        let loaded = load(text);
        let told: Vec<String> =
            loaded.problems.iter().map(|one| format!("{:?}: {}", one.severity, one.what)).collect();
        let wrong = "Error: expected a text, found the number 2";
        let stays = "Warning: it counts all the same, each of its labels as it is written";
        assert!(
            told.iter().any(|one| one == wrong) && told.iter().any(|one| one == stays),
            "{told:?}"
        );
    }
    assert_eq!(load(&policy).policies.policies.len(), 1);
    let loaded = load(&host);
    let labels = &loaded.policies.hosts.get("one").unwrap().labels;
    assert_eq!(labels.get("version").map(String::as_str), Some("2"));
    // A name that is wrong is nobody's.
    assert!(load(&policy.replace("name: web", "name: Web")).policies.policies.is_empty());
}

#[test]
fn of_lists_that_are_longer_than_calico_takes_all_counts() {
    let nets = (0..300).map(|at| format!("10.{}.{}.0/24", at / 256, at % 256));
    let nets = nets.collect::<Vec<_>>().join(", ");
    let text = calico(
        "GlobalNetworkPolicy",
        &format!("  ingress:\n  - {{action: Deny, source: {{nets: [{nets}]}}}}\n"),
    );
    let loaded = load(&text);
    let told: Vec<(Severity, &str)> =
        loaded.problems.iter().map(|one| (one.severity, &*one.what)).collect();
    let what = "there are 300 items, all of which count; Calico takes 256 at most";
    assert_eq!(told, [(Severity::Warning, what)]);
    let policy = loaded.policies.policies.values().next().unwrap();
    let Spec::Calico(policy) = &policy.spec else { panic!("{policy:?}") };
    assert_eq!(policy.ingress[0].source.nets.len(), 300);
}

#[test]
fn a_cluster_policy_without_a_right_priority_is_the_last_one() {
    for (priority, wrong) in
        [("  priority: 1001\n", "1001 is out of range"), ("", "`priority` is missing")]
    {
        let text = format!(
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
             metadata: {{name: one}}\nspec:\n  tier: Admin\n{priority}  subject: {{namespaces: {{}}}}\n  \
             ingress: [{{action: Deny, from: [{{namespaces: {{}}}}]}}]\n"
        );
        let loaded = load(&text);
        let errors = loaded.problems.iter().filter(|one| one.severity == Severity::Error);
        assert_eq!(errors.map(|one| one.what.as_str()).collect::<Vec<_>>(), [wrong]);
        let spec = loaded.policies.policies.values().next().map(|one| one.spec.clone());
        let Some(Spec::Cluster(one)) = spec else { panic!("{:?}", loaded.problems) };
        assert_eq!((one.priority, one.ingress.len()), (1_000, 1));
    }
}

/// The policy stays, with these of its rules for ingress, then egress.
#[track_caller]
fn stays(text: &str, wrong: &[&str], rules: &[&str]) {
    let loaded = load(text);
    assert!(loaded.is_ok());
    let errors = loaded.problems.iter().filter(|one| one.severity == Severity::Error);
    let errors: Vec<String> =
        errors.map(|one| format!("{}: {}", one.origin.line, one.what)).collect();
    assert_eq!(errors, wrong, "{text}");
    let model = Model::new(&loaded.policies, View::Enforced);
    let found: Vec<String> = model
        .policies()
        .flat_map(|(_, one)| one.ingress.iter().chain(&one.egress).flatten())
        .map(|rule| format!("{} {}", rule.number, words::rule(rule)))
        .collect();
    assert_eq!(found, rules, "{text}");
    assert_eq!(loaded.policies.policies.len(), 1, "{text}");
}

#[test]
fn a_wrong_rule_that_allows_is_left_out_alone() {
    let rule = |rule: &str| {
        calico(
            "GlobalNetworkPolicy",
            &format!("  egress:\n  - {rule}\n  - {{action: Allow, protocol: UDP}}\n"),
        )
    };
    let next = &["2 allow UDP"];
    stays(
        &rule("{action: Allow, destination: {ports: [80]}}"),
        &["6: ports without a protocol that has them"],
        next,
    );
    stays(
        &rule("{action: Allow, protocol: UDP, destination: {ports: ['90:80']}}"),
        &["6: `90:80` is no port"],
        next,
    );
    stays(
        &rule("{action: Allow, protocol: ICMP, icmp: {code: 1}}"),
        &["6: a code means nothing without its type"],
        next,
    );
    stays(
        &rule("{action: Pass, icmp: {type: 8}}"),
        &["6: `icmp` without a protocol that has it"],
        next,
    );
    stays(
        &rule("{action: Allow, http: {methods: [GET]}}"),
        &["6: what is said over HTTP cannot be told from packets"],
        next,
    );
    stays(
        &rule("{action: Log, source: {selector: global()}}"),
        &["6: `global()` selects among namespaces alone"],
        next,
    );
    stays(
        &rule("{action: Allow, destination: {services: {name: a, namespace: b}, nets: [::/0]}}"),
        &["6: `services` stands beside `nets`"],
        next,
    );
    stays(
        &rule("{action: Allow, destination: {net: [10.0.0.0/8]}}"),
        &["6: unknown field `net`"],
        next,
    );
    stays(&KUBERNETES.replace("- podSelector: {}", "- {}"), &["8: the peer says nobody"], &[]);
    stays(&KUBERNETES.replace("from:", "form:"), &["7: unknown field `form`"], &[]);
    stays(
        &KUBERNETES.replace("except: [10.1", "except: [11.1"),
        &["12: 11.1.0.0/16 is no smaller part of 10.0.0.0/8"],
        &[],
    );
}

#[test]
fn a_wrong_rule_that_denies_denies_more() {
    let rule = |rule: &str| {
        calico("GlobalNetworkPolicy", &format!("  ingress:\n  - {rule}\n  - action: Allow\n"))
    };
    let whole = &["1 deny everything", "2 allow everything"];
    stays(
        &rule("{action: Deny, source: {nets: [10.0.0.0/8, nonsense]}}"),
        &["6: `nonsense` is no range of addresses"],
        whole,
    );
    stays(
        &rule(
            "{action: Deny, protocol: UDP, source: {nets: [x], selector: has(a)}, \
               destination: {ports: [53]}}",
        ),
        &["6: `x` is no range of addresses"],
        &["1 deny UDP to port 53", "2 allow everything"],
    );
    // What else needs the protocol means nothing without it.
    stays(
        &rule("{action: Deny, protocol: TPC, destination: {ports: [80], nets: [10.0.0.0/8]}}"),
        &["6: unknown value `TPC`"],
        &["1 deny everything to 10.0.0.0/8", "2 allow everything"],
    );
    stays(
        &rule("{action: Refuse, protocol: TCP}"),
        &["6: unknown value `Refuse`"],
        &["1 deny TCP", "2 allow everything"],
    );
    stays(&rule("nonsense"), &["6: expected a mapping, found `nonsense`"], whole);
    stays(
        &rule("{action: Deny, ipVersion: 6, protocol: ICMP}"),
        &["6: the protocol belongs to the other IP version, so the rule is about nothing"],
        whole,
    );
    stays(
        &calico("GlobalNetworkPolicy", "  ingress: nonsense\n"),
        &["5: expected a list, found `nonsense`"],
        &["1 deny everything"],
    );
}

#[test]
fn a_wrong_rule_of_a_cluster_policy_fails_closed() {
    let rule = |rule: &str| {
        format!(
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
             metadata: {{name: one}}\nspec:\n  tier: Admin\n  priority: 5\n  subject: \
             {{namespaces: {{}}}}\n  egress:\n  - {rule}\n  - {{action: Pass, to: [{{networks: \
             [10.0.0.0/8]}}]}}\n"
        )
    };
    let next = "2 pass everything to 10.0.0.0/8";
    stays(
        &rule("{action: Accept, to: [{networks: [nonsense]}]}"),
        &["9: `nonsense` is no range of addresses"],
        &[next],
    );
    for action in ["Deny", "Pass"] {
        stays(
            &rule(&format!("{{action: {action}, to: [{{networks: [nonsense]}}]}}")),
            &["9: `nonsense` is no range of addresses"],
            &["1 deny everything", next],
        );
    }
    stays(
        &rule("{action: Refuse, to: [{namespaces: {}}]}"),
        &["9: unknown value `Refuse`"],
        &["1 deny everything", next],
    );
    stays(&rule("{action: Accept, to: [{namespaces: {}, place: here}]}"), &[], &[next]);
    let nodes = "{nodes: {matchLabels: {role: db}}}";
    stays(
        &rule(&format!("{{action: Accept, to: [{{domainNames: ['*.example.org']}}, {nodes}]}}")),
        &[],
        &["1 allow everything to nodes(role == \"db\")", next],
    );
    stays(
        &rule("{action: Deny, to: [{domainNames: [example.org]}]}"),
        &["9: `domainNames` stand in rules that accept alone"],
        &["1 deny everything", next],
    );
    stays(
        &rule("{action: Accept, to: [{nodes: {matchLabel: {role: db}}}]}"),
        &["9: unknown field `matchLabel`"],
        &[next],
    );
    stays(
        &rule(&format!("{{action: Deny, to: [{nodes}]}}"))
            .replace("egress", "ingress")
            .replace("to:", "from:"),
        &[],
        &["1 deny everything", "2 deny everything"],
    );
}

/// Pods, a set, a service account and a service to hold rules against.
const WORLD: &str = "apiVersion: v1
kind: Pod
metadata: {name: a, namespace: one, labels: {x: a}}
spec: {serviceAccountName: robot}
status: {podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: two, labels: {x: b}}
spec: {}
status: {podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: two, labels: {y: z}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: far, labels: {x: a}}
spec: {nets: [192.0.2.0/24]}
---
";

/// Which of many packets to pod `one/a` its policies allow.
fn allowed(rule: &str) -> Vec<bool> {
    let policy = format!(
        "{WORLD}apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\nmetadata: {{name: p, \
         namespace: one}}\nspec:\n  ingress:\n  - {rule}\n"
    );
    let loaded = load(&policy);
    assert_eq!(loaded.policies.policies.len(), 1, "{policy}");
    let world = World::new(&loaded.policies, &loaded.intent.cluster, |_| Default::default());
    let resolution = Resolution::new(world, Model::new(&loaded.policies, View::Enforced));
    let to = resolution.world.pod(&ObjectName::new("one", "a"));
    let mut found = Vec::new();
    for source in ["10.0.0.1", "10.0.0.2", "192.0.2.7", "203.0.113.9", "fd00::9"] {
        let source: IpAddr = source.parse().unwrap();
        let destination = if source.is_ipv4() { "10.0.0.1" } else { "fd00::1" };
        let destination = destination.parse().unwrap();
        for protocol in [1, 6, 17, 47, 58] {
            for (from, port) in [(9, 80), (9, 81), (7, 80)] {
                let ports = matches!(protocol, 6 | 17).then_some((from, port));
                let icmp = matches!(protocol, 1 | 58).then_some((port as u8, from as u8));
                let packet = Packet { source, destination, protocol, ports, icmp };
                found.push(resolution.judge(None, to, &packet).is_allowed());
            }
        }
    }
    found
}

#[test]
fn nothing_opens_that_a_right_rule_keeps_shut() {
    let rules = [
        "{protocol: TCP, source: {nets: [10.0.0.2, 192.0.2.0/24], ports: [9]}, destination: {ports: [80]}}",
        "{notProtocol: 17, source: {notNets: [10.0.0.0/8]}}",
        "{protocol: ICMP, icmp: {type: 80, code: 9}, source: {selector: x == 'b'}}",
        "{protocol: ICMPv6, notICMP: {type: 81}, ipVersion: 6}",
        "{source: {selector: x == 'b', namespaceSelector: y == 'z'}}",
        "{source: {notSelector: x == 'b', namespaceSelector: has(y)}}",
        "{source: {selector: has(x), serviceAccounts: {names: [robot]}}}",
        "{source: {notSelector: x == 'b', namespaceSelector: global()}}",
        "{protocol: UDP, source: {notPorts: [7]}, destination: {notPorts: [80]}}",
    ];
    // Wherever a value stands, there may be one that nobody can read.
    let mut spoiled = 0;
    for rule in rules {
        let with = |action: &str, rule: &str| match action {
            "Deny" => rule.replacen('{', "{action: Deny, ", 1) + "\n  - {action: Allow}",
            _ => rule.replacen('{', "{action: Allow, ", 1),
        };
        for action in ["Allow", "Deny"] {
            let right = allowed(&with(action, rule));
            let mut at = 0;
            while let Some(next) = rule[at..].find([':', '[', ',']).map(|next| at + next + 1) {
                at = next;
                let end = rule[at..].find([',', ']', '}']).map_or(rule.len(), |end| at + end);
                let wrong = format!("{} {{q: []}}{}", &rule[..at], &rule[end..]);
                if rule[at..end].contains(['{', '[', ':']) {
                    continue;
                }
                spoiled += 1;
                let found = allowed(&with(action, &wrong));
                let opened = found.iter().zip(&right).filter(|(is, was)| **is && !**was).count();
                assert_eq!(opened, 0, "{action} {wrong}");
            }
        }
    }
    assert!(spoiled > 40, "{spoiled}");
}

#[test]
fn the_isolation_of_a_policy_does_not_hang_on_its_rules() {
    let isolates = |text: &str| {
        let loaded = load(text);
        let Some(Spec::Kubernetes(one)) =
            loaded.policies.policies.values().next().map(|one| one.spec.clone())
        else {
            panic!("{text}")
        };
        (one.isolates_ingress, one.isolates_egress)
    };
    let egress =
        |rule: &str| KUBERNETES.replace("  ingress:\n", &format!("  egress: {rule}\n  ingress:\n"));
    assert_eq!(isolates(&egress("[{too: []}]")), (true, true));
    assert_eq!(isolates(&egress("nonsense")), (true, true));
    assert_eq!(isolates(&egress("[]")), (true, false));
    let types = |types: &str| {
        KUBERNETES.replace("  ingress:\n", &format!("  policyTypes: {types}\n  ingress:\n"))
    };
    assert_eq!(isolates(&types("[Egress]")), (false, true));
    assert_eq!(isolates(&types("[Egress, Ingres]")), (true, false));
    check(
        &KUBERNETES
            .replace("port: 80, endPort: 90", "port: 90, endPort: 80")
            .replace(".0.1/8", ".0.0/8"),
        expect![[r#"
            warning: NetworkPolicy/shop/web: the rule is left out; its policy stays, and isolates whom it selects
             --> lab.yaml:7:5 (spec.ingress[0])
              |
            7 |   - from:
              |     ^^^^
              = help: mend what is wrong in the rule

            error: NetworkPolicy/shop/web: the range from 90 to 80 ends before it begins
              --> lab.yaml:14:27 (spec.ingress[0].ports[0].endPort)
               |
            14 |     - {port: 90, endPort: 80}
               |                           ^^
               = help: write the larger number here

            1 error, 1 warning
        "#]],
    );
}
