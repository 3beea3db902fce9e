//! What policies are read as, and what people read when they are wrong. `UPDATE_EXPECT=1` rewrites the
//! latter.

mod rules;

use expect_test::{Expect, expect};
use thalweg_config::{Library, Loaded, parse, render, to_yaml};
use thalweg_model::Severity;
use thalweg_model::cluster::{ObjectName, Protocol};
use thalweg_model::policy::{PolicySettings, ToHost};
use thalweg_policy::object::kubernetes::{Peer, PortMatch};
use thalweg_policy::object::{PolicyId, PolicyKind, Spec};
use thalweg_policy::{Model, View, World};

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

/// Set aside, it would leave open whom it is meant for.
#[test]
fn a_network_policy_without_a_spec_isolates_its_namespace() {
    let bare = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: shop}\n";
    let spec = |text: &str| {
        let loaded = load(text);
        loaded.policies.policies.values().map(|one| one.spec.clone()).collect::<Vec<_>>()
    };
    let all = spec(&format!("{bare}spec: {{podSelector: {{}}}}\n"));
    assert_eq!(all.len(), 1);
    assert_eq!(spec(bare), all);
    assert_eq!(spec(&format!("{bare}spec: null\n")), all);
    check(
        bare,
        expect![[r#"
        warning: NetworkPolicy/shop/web: without `spec` it selects all pods of its namespace, and allows nobody to reach them
         --> lab.yaml:3:18 (spec)
          |
        3 | metadata: {name: web, namespace: shop}
          |                  ^^^
          = help: write whom it selects and what it allows under `spec`, or remove the policy

        1 warning
    "#]],
    );
    errors(&calico("GlobalNetworkPolicy", ""), &["1: `spec` is missing"]);
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
fn hosts_stages_and_rules_that_log_are_read_without_a_word() {
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
        policy("more", "  egress: [{action: Log}]\n"),
        policy("later", "  egress: [{action: Log}]\n")
            .replace("GlobalNetworkPolicy", "StagedGlobalNetworkPolicy"),
        policy("plain", "  egress: [{action: Pass}]\n"),
    ];
    let loaded = load(&objects.join("---\n"));
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
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
         egress:\n  - {action: Deny, to: [{fellows: [example.org]}]}\n  - {action: Accept, to: [{domainNames: [example.org]}]}\n",
        expect![[r#"
            warning: ClusterNetworkPolicy/one: nothing in this peer is known here, so the rule fails closed: it accepts nobody, or denies everybody
             --> lab.yaml:9:25 (spec.egress[0].to[0])
              |
            9 |   - {action: Deny, to: [{fellows: [example.org]}]}
              |                         ^
              = help: use namespaces, pods, or (for egress) networks and nodes

            warning: ClusterNetworkPolicy/one: no DNS is watched here, so that the rule accepts nobody by these names
              --> lab.yaml:10:41 (spec.egress[1].to[0].domainNames)
               |
            10 |   - {action: Accept, to: [{domainNames: [example.org]}]}
               |                                         ^
               = help: list their addresses as `networks`

            2 warnings
        "#]],
    );
}

const ROUTER: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: router}
spec:
  policy:
    failSafeInbound: [tcp:22, \"UDP:68\", SCTP:7]
    failSafeOutbound: []
    endpointToHost: Return
    autoHostEndpoints: true
";

#[test]
fn what_a_router_says_of_policies() {
    let loaded = load(ROUTER);
    let settings = &loaded.intent.router.policy;
    let open = [(Protocol::Tcp, 22), (Protocol::Udp, 68), (Protocol::Sctp, 7)];
    assert_eq!(settings.fail_safe_in, open);
    assert!(settings.fail_safe_out.is_empty() && settings.auto_hosts);
    assert_eq!(settings.to_host, ToHost::Return);
    assert_eq!(loaded.policies.settings, *settings);
    // What is written reads the same.
    let again = load(&to_yaml(&loaded.intent));
    assert_eq!(again.intent.router.policy, *settings);
    assert_eq!(load(KUBERNETES).policies.settings, PolicySettings::default());
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
}

#[test]
fn what_a_router_cannot_say_of_policies() {
    let errors = |text: String| {
        let loaded = load(&text);
        assert!(!loaded.is_ok());
        let errors = loaded.problems.into_iter().filter(|one| one.severity == Severity::Error);
        errors.map(|one| format!("{}: {}", one.origin.line, one.what)).collect::<Vec<_>>()
    };
    for (port, shown) in [
        ("tcp", "tcp"),
        ("icmp:1", "icmp:1"),
        ("tcp:0", "tcp:0"),
        ("tcp:+5", "tcp:+5"),
        ("\"tcp:65536\"", "tcp:65536"),
    ] {
        let found = errors(ROUTER.replace("SCTP:7", port));
        assert_eq!(found, [format!("6: `{shown}` is no protocol with a port")]);
    }
    assert_eq!(errors(ROUTER.replace("[]", "{}")), ["7: expected a list, found a mapping"]);
    assert_eq!(errors(ROUTER.replace("Return", "RETURN")), ["8: unknown value `RETURN`"]);
    assert_eq!(errors(ROUTER.replace("auto", "Auto")), ["9: unknown field `AutoHostEndpoints`"]);
}

#[test]
fn profiles_and_those_who_list_them() {
    let profile = calico(
        "Profile",
        "  labelsToApply: {role: edge}\n  ingress:\n  - {action: Pass, protocol: TCP}\n  \
         - {action: Allow, source: {nets: [x]}}\n",
    );
    let host =
        calico("HostEndpoint", "  node: n1\n  interfaceName: eth0\n  profiles: [one, two]\n");
    let loaded = load(&format!(
        "{profile}---\n{host}---\n{}",
        calico("Profile", "  ingress: []\n").replace("one", "kns.a")
    ));
    let one = &loaded.policies.profiles["one"];
    assert_eq!(one.labels.get("role").map(String::as_str), Some("edge"));
    assert!(!one.ingress[0].left_out && one.ingress[1].left_out);
    let world = World::new(&loaded.policies, &loaded.intent.cluster, |_| Default::default());
    assert_eq!(world.endpoints[0].profiles, ["one"]);
    let told = loaded.problems.iter().map(|one| format!("{}: {}", one.origin.line, one.what));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "8: the rule is left out; its policy stays, with all others of its rules",
            "8: `x` is no range of addresses",
            "20: `kns.a` comes with its Namespace or ServiceAccount, and is ignored here",
            "12: there is no Profile `two`, which denies what no policy allows",
        ]
    );
}

#[test]
fn staged_policies_that_take_nothing_away_are_told() {
    let staged = |name: &str| {
        calico("StagedGlobalNetworkPolicy", "  stagedAction: Delete\n").replace("one", name)
    };
    let real = calico("GlobalNetworkPolicy", "  selector: all()\n");
    let loaded = load(&format!("{real}---\n{}---\n{}", staged("one"), staged("two")));
    let told = loaded.problems.iter().map(|one| format!("{}: {}", one.origin.line, one.what));
    let what = "there is no policy of this name, so that this would take nothing away";
    assert_eq!(told.collect::<Vec<_>>(), [format!("15: {what}")]);
}

#[test]
fn a_library_follows_policies_from_file_to_file() {
    let mut library = Library::default();
    let files = |texts: &[&str]| -> Vec<(String, String)> {
        texts.iter().enumerate().map(|(at, text)| (format!("{at}.yaml"), (*text).into())).collect()
    };
    let tier = calico("Tier", "  order: 5\n");
    let policy = calico("GlobalNetworkPolicy", "  tier: one\n");
    let profile = calico("Profile", "  labelsToApply: {a: b}\n");
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {a: b}}\n";
    for texts in [
        &[KUBERNETES, &policy][..],
        &[KUBERNETES, &profile, ROUTER],
        &[KUBERNETES, node, ROUTER],
        &[ROUTER, &profile.replace("a: b", "a: c"), &node.replace("a: b", "a: c")],
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

/// As `calicoctl get -o yaml` and API servers write lists of one kind: items with and without a kind.
#[test]
fn lists_of_one_kind() {
    let list = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicyList\nmetadata: {resourceVersion: '5'}\nitems:\n\
                - apiVersion: projectcalico.org/v3\n  kind: GlobalNetworkPolicy\n  metadata: {name: one}\n  spec: {selector: all()}\n\
                - metadata: {name: two}\n  spec: {selector: all()}\n---\n\
                apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n\
                - metadata: {name: three, namespace: shop}\n  spec: {podSelector: {}}\n---\n\
                {apiVersion: v1, kind: PodList, items: null}\n";
    let loaded = load(list);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let read: Vec<String> = loaded.policies.policies.keys().map(PolicyId::to_string).collect();
    assert_eq!(
        read,
        ["GlobalNetworkPolicy/one", "GlobalNetworkPolicy/two", "NetworkPolicy/shop/three"]
    );
}

/// Of what excludes each other nothing is chosen: whoever wrote it meant both.
#[test]
fn of_several_things_in_one_place_none_is_chosen() {
    let cluster = |spec: &str| {
        format!(
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
             metadata: {{name: one}}\nspec:\n  tier: Admin\n  priority: 1\n{spec}"
        )
    };
    errors(
        &cluster("  subject: {namespaces: {}, pods: {podSelector: {matchLabels: {app: db}}}}\n"),
        &["7: `pods` stands beside `namespaces`"],
    );
    let ports = "  subject: {namespaces: {}}\n  ingress:\n  - action: Deny\n    from: [{namespaces: {}}]\n    \
                 protocols: [{tcp: {destinationPort: {number: 5, range: {start: 1, end: 9}}}, udp: {}}]\n";
    check(
        &cluster(ports),
        expect![[r#"
        warning: ClusterNetworkPolicy/one: the rule fails closed: it denies everybody
         --> lab.yaml:9:5 (spec.ingress[0])
          |
        9 |   - action: Deny
          |     ^^^^^^
          = help: mend what is wrong in the rule

        error: ClusterNetworkPolicy/one: `range` stands beside `number`
          --> lab.yaml:11:60 (spec.ingress[0].protocols[0].tcp.destinationPort.range)
           |
        11 |     protocols: [{tcp: {destinationPort: {number: 5, range: {start: 1, end: 9}}}, udp: {}}]
           |                                                            ^
           = help: keep one of them

        error: ClusterNetworkPolicy/one: `udp` stands beside `tcp`
          --> lab.yaml:11:87 (spec.ingress[0].protocols[0].udp)
           |
        11 | …ange: {start: 1, end: 9}}}, udp: {}}]
           |                                   ^
           = help: keep one of them

        2 errors, 1 warning
    "#]],
    );
}

#[test]
fn what_calico_shows_of_a_policy_of_kubernetes_is_told() {
    let shown = calico("NetworkPolicy", "  selector: app == 'web'\n")
        .replace("name: one", "name: knp.default.web");
    let loaded = load(&shown);
    assert!(loaded.is_ok());
    assert_eq!(loaded.policies.policies.len(), 1);
    check(
        &shown,
        expect![[r#"
        warning: NetworkPolicy.projectcalico.org/default/knp.default.web: this is what Calico shows of the NetworkPolicy `web` of Kubernetes, and counts whatever becomes of that
         --> lab.yaml:3:18 (metadata.name)
          |
        3 | metadata: {name: knp.default.web}
          |                  ^^^^^^^^^^^^^^^
          = help: keep the one of Kubernetes, and leave this one out

        1 warning
    "#]],
    );
}
