//! What policies are read as, and what people read when they are wrong. `UPDATE_EXPECT=1` rewrites the
//! latter.

use expect_test::{Expect, expect};
use thalweg_config::{Library, Loaded, parse, render};
use thalweg_model::Severity;
use thalweg_model::cluster::ObjectName;
use thalweg_policy::object::kubernetes::{Peer, PortMatch};
use thalweg_policy::object::{PolicyId, PolicyKind, Spec};
use thalweg_policy::{Model, View};

fn load(text: &str) -> Loaded {
    parse(&[("lab.yaml".into(), text.into())])
}

/// Everything wrong sets objects aside, and refuses nothing.
#[track_caller]
fn check(text: &str, expected: Expect) {
    let loaded = load(text);
    expected.assert_eq(&render(&loaded.problems, &loaded.sources, false));
    assert!(loaded.is_ok());
}

fn calico(kind: &str, spec: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: one}}\nspec:\n{spec}"
    )
}

/// Only what is wrong, each with its line.
#[track_caller]
fn errors(text: &str, expected: &[&str]) {
    let loaded = load(text);
    assert!(loaded.is_ok());
    let errors = loaded.problems.iter().filter(|one| one.severity == Severity::Error);
    let errors: Vec<String> =
        errors.map(|one| format!("{}: {}", one.origin.line, one.what)).collect();
    assert_eq!(errors, expected, "{text}");
    assert!(loaded.policies.policies.is_empty() && loaded.policies.hosts.is_empty());
}

const KUBERNETES: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - podSelector: {}
    - namespaceSelector:
        matchExpressions: [{key: team, operator: In, values: [b, a]}]
      podSelector: {matchLabels: {app: front}}
    - ipBlock: {cidr: 10.0.0.1/8, except: [10.1.0.0/16]}
    ports:
    - {port: 80, endPort: 90}
    - {protocol: UDP, port: dns}
";

#[test]
fn a_network_policy() {
    let loaded = load(KUBERNETES);
    let id = PolicyId { kind: PolicyKind::Kubernetes, name: ObjectName::new("shop", "web") };
    let object = &loaded.policies.policies[&id];
    assert_eq!(object.origin.to_string(), "lab.yaml:3:18");
    let Spec::Kubernetes(policy) = &object.spec else { panic!("{object:?}") };
    assert!(policy.isolates_ingress && !policy.isolates_egress);
    let rule = &policy.ingress[0];
    assert_eq!((rule.place.line, rule.place.column), (7, 5));
    assert_eq!(rule.ports[0].port, Some(PortMatch::Range(80, 90)));
    assert_eq!(rule.ports[1].port, Some(PortMatch::Named("dns".into())));
    let Peer::Block { cidr, .. } = &rule.peers[2] else { panic!("{rule:?}") };
    assert_eq!(cidr.to_string(), "10.0.0.0/8");
    check(
        KUBERNETES,
        expect![[r#"
            warning: NetworkPolicy/shop/web: `10.0.0.1/8` has bits set outside its length: 10.0.0.0/8 is taken
              --> lab.yaml:12:23 (spec.ingress[0].from[2].ipBlock.cidr)
               |
            12 |     - ipBlock: {cidr: 10.0.0.1/8, except: [10.1.0.0/16]}
               |                       ^^^^^^^^^^
               = help: write 10.0.0.0/8

            1 warning
        "#]],
    );
}

#[test]
fn the_two_network_policies_are_two_kinds() {
    let two = KUBERNETES.replace("networking.k8s.io/v1", "projectcalico.org/v3");
    let two = two.split("spec:").next().unwrap().to_owned() + "spec: {egress: [{action: Pass}]}\n";
    let loaded = load(&format!("{KUBERNETES}---\n{two}"));
    let kinds: Vec<_> = loaded.policies.policies.keys().map(ToString::to_string).collect();
    assert_eq!(kinds, ["NetworkPolicy.projectcalico.org/shop/web", "NetworkPolicy/shop/web"]);
    let model = Model::new(&loaded.policies, View::Enforced);
    let calico = model.policies().find(|(_, one)| one.id.kind == PolicyKind::Calico).unwrap().1;
    assert!(calico.ingress.is_none() && calico.egress.is_some());
}

#[test]
fn what_is_stored_without_types_is_about_both_directions() {
    let text = calico("GlobalNetworkPolicy", "  order: 1.5\n");
    let types = |text: &str| {
        let loaded = load(text);
        let Spec::Calico(one) = loaded.policies.policies.values().next().unwrap().spec.clone()
        else {
            panic!("of Calico")
        };
        assert_eq!(one.order, Some(1.5));
        (one.applies_ingress, one.applies_egress)
    };
    assert_eq!(types(&text), (true, false));
    assert_eq!(
        types(&text.replace("projectcalico.org/v3", "crd.projectcalico.org/v1")),
        (true, true)
    );
}

#[test]
fn what_is_not_enforced_is_said_and_nothing_else() {
    let hosts = |name: &str| {
        calico("HostEndpoint", "  node: n1\n  interfaceName: eth0\n").replace("one", name)
    };
    let policy = |name: &str, spec: &str| calico("GlobalNetworkPolicy", spec).replace("one", name);
    let objects = [
        hosts("a"),
        hosts("b"),
        policy("early", "  preDNAT: true\n  applyOnForward: true\n  types: [Ingress]\n"),
        policy("raw", "  doNotTrack: true\n  applyOnForward: true\n"),
        policy("passing", "  applyOnForward: true\n"),
        policy("logs", "  egress:\n  - {action: Allow}\n  - {action: Log}\n"),
        // What is staged is never in force, and nobody has to be told.
        policy("later", "  egress: [{action: Log}]\n")
            .replace("GlobalNetworkPolicy", "StagedGlobalNetworkPolicy"),
        policy("plain", "  egress: [{action: Pass}]\n"),
    ];
    let loaded = load(&objects.join("---\n"));
    let told: Vec<String> = loaded
        .problems
        .iter()
        .map(|one| {
            let object = one.object.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{} {object}: {}", one.origin.line, one.what.split(':').next().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            "3 HostEndpoint/a: policies are NOT enforced on hosts",
            "17 GlobalNetworkPolicy/early: it is about hosts, where policies are NOT enforced",
            "25 GlobalNetworkPolicy/raw: it is about hosts, where policies are NOT enforced",
            "32 GlobalNetworkPolicy/passing: what only passes a host is NOT judged by it",
            "42 GlobalNetworkPolicy/logs: a rule says `Log`, and nothing is written",
        ]
    );
    let first = &loaded.problems[0];
    assert!(first.what.ends_with(" (and 1 other object)"), "{}", first.what);
    assert!(loaded.problems.iter().all(|one| one.severity == Severity::Warning));

}

#[test]
fn policies_of_pods_are_read_without_a_word() {
    let more = calico("Tier", "  order: 5\n")
        + "---\n"
        + &calico("GlobalNetworkSet", "  nets: [10.0.0.0/8]\n")
        + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n"
        + "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot}\nsecrets: []\n---\n"
        + &KUBERNETES.replace("name: web,", "name: two,");
    check(
        &format!("{KUBERNETES}---\n{more}"),
        expect![[r#"
            warning: NetworkPolicy/shop/web: `10.0.0.1/8` has bits set outside its length: 10.0.0.0/8 is taken
              --> lab.yaml:12:23 (spec.ingress[0].from[2].ipBlock.cidr)
               |
            12 |     - ipBlock: {cidr: 10.0.0.1/8, except: [10.1.0.0/16]}
               |                       ^^^^^^^^^^
               = help: write 10.0.0.0/8

            warning: NetworkPolicy/shop/two: `10.0.0.1/8` has bits set outside its length: 10.0.0.0/8 is taken
              --> lab.yaml:49:23 (spec.ingress[0].from[2].ipBlock.cidr)
               |
            49 |     - ipBlock: {cidr: 10.0.0.1/8, except: [10.1.0.0/16]}
               |                       ^^^^^^^^^^
               = help: write 10.0.0.0/8

            2 warnings
        "#]],
    );
}

#[test]
fn selectors_that_do_not_parse() {
    check(
        &calico("GlobalNetworkPolicy", "  selector: role = 'db'\n  ingress: []\n"),
        expect![[r#"
            error: GlobalNetworkPolicy/one: no selector, at column 6 of it: expected `==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`, found `=`
             --> lab.yaml:5:13 (spec.selector)
              |
            5 |   selector: role = 'db'
              |             ^^^^^^^^^^^
              = help: write for example: role == 'db' && has(zone)

            1 error
        "#]],
    );
}

#[test]
fn tiers_that_nobody_has() {
    check(
        &calico("GlobalNetworkPolicy", "  tier: nowhere\n"),
        expect![[r#"
            error: GlobalNetworkPolicy/one: there is no Tier `nowhere`
             --> lab.yaml:3:18 (spec.tier)
              |
            3 | metadata: {name: one}
              |                  ^^^
              = help: add a Tier of that name, or name one that exists

            1 error
        "#]],
    );
}

#[test]
fn peers_that_are_not_known_fail_closed() {
    check(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
         metadata: {name: one}\nspec:\n  tier: Admin\n  priority: 5\n  subject: {namespaces: {}}\n  \
         egress:\n  - {action: Deny, to: [{domainNames: [example.org]}]}\n",
        expect![[r#"
            warning: ClusterNetworkPolicy/one: nothing in this peer is known here, so the rule fails closed: it accepts nobody, or denies everybody
             --> lab.yaml:9:25 (spec.egress[0].to[0])
              |
            9 |   - {action: Deny, to: [{domainNames: [example.org]}]}
              |                         ^
              = help: use namespaces, pods, or (for egress) networks

            1 warning
        "#]],
    );
}

#[test]
fn fields_that_exclude_each_other() {
    let global = |spec: &str| calico("GlobalNetworkPolicy", spec);
    let rule = |rule: &str| global(&format!("  egress:\n  - {rule}\n"));
    errors(
        &global("  preDNAT: true\n  applyOnForward: true\n  types: [Ingress, Egress]\n"),
        &["5: `preDNAT` is about what arrives, and this policy is about egress, too"],
    );
    errors(&global("  doNotTrack: true\n"), &["5: `doNotTrack` without `applyOnForward`"]);
    errors(
        &global("  doNotTrack: true\n  preDNAT: true\n  applyOnForward: true\n"),
        &["6: `preDNAT` and `doNotTrack` exclude each other"],
    );
    errors(
        &rule("{action: Allow, destination: {ports: [80]}}"),
        &["6: ports without a protocol that has them"],
    );
    errors(
        &rule("{action: Allow, protocol: UDP, destination: {ports: ['90:80']}}"),
        &["6: `90:80` is no port"],
    );
    errors(
        &rule("{action: Allow, protocol: ICMP, icmp: {code: 1}}"),
        &["6: a code means nothing without its type"],
    );
    errors(
        &rule("{action: Allow, icmp: {type: 8}}"),
        &["6: `icmp` without a protocol that has it"],
    );
    errors(
        &rule("{action: Allow, http: {methods: [GET]}}"),
        &["6: what is said over HTTP cannot be told from packets"],
    );
    errors(
        &rule("{action: Allow, source: {selector: global()}}"),
        &["6: `global()` selects among namespaces alone"],
    );
    errors(
        &rule("{action: Allow, destination: {services: {name: a, namespace: b}, nets: [::/0]}}"),
        &["6: `services` stands beside `nets`"],
    );
    errors(
        &calico("HostEndpoint", "  node: n1\n"),
        &["5: neither an interface nor addresses are given"],
    );
    errors(&KUBERNETES.replace("- podSelector: {}", "- {}"), &["8: the peer says nobody"]);
    errors(
        &KUBERNETES.replace("except: [10.1", "except: [11.1"),
        &["12: 11.1.0.0/16 is no smaller part of 10.0.0.0/8"],
    );
}

#[test]
fn a_library_follows_policies_from_file_to_file() {
    let mut library = Library::default();
    let files = |texts: &[&str]| -> Vec<(String, String)> {
        texts.iter().enumerate().map(|(at, text)| (format!("{at}.yaml"), (*text).into())).collect()
    };
    let tier = calico("Tier", "  order: 5\n");
    let policy = calico("GlobalNetworkPolicy", "  tier: one\n");
    for texts in [
        &[KUBERNETES, &policy][..],
        &[KUBERNETES, &policy, &tier],
        &["", &policy, &tier],
        &[KUBERNETES, &tier, &policy],
        &[KUBERNETES],
    ] {
        let (followed, anew) = (library.parse(&files(texts)), parse(&files(texts)));
        assert_eq!(followed.policies, anew.policies);
        assert_eq!(followed.problems, anew.problems);
    }
}

#[test]
fn how_the_denied_are_told_is_read_and_written() {
    let read = |spec: &str| {
        let head = "apiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {name: r}\nspec: ";
        let loaded = load(&format!("{head}{spec}\n"));
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        loaded.intent
    };
    for (spec, rejects, lines) in [
        ("{burst: 1}", false, 0),
        ("{policy: {}, limits: {policyLines: 4096}}", false, 4096),
        ("{policy: {denied: Drop}}", false, 0),
        ("{policy: {denied: Reject}, limits: {policyLines: 1024}}", true, 1024),
    ] {
        let intent = read(spec);
        let router = &intent.router;
        assert_eq!((router.policy.rejects, router.limits.policy_lines), (rejects, lines), "{spec}");
        assert_eq!(load(&thalweg_config::to_yaml(&intent)).intent.router, intent.router, "{spec}");
    }
}
