//! What policies in files say, as a person sees it: output, errors, exit codes.

use expect_test::{Expect, expect};
use std::fs;
use std::path::Path;
use std::process::Command;

const PODS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: shop}}
---
apiVersion: v1
kind: Pod
metadata: {name: front-1, namespace: shop, labels: {app: front}}
status: {podIPs: [{ip: 10.1.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: front-2, namespace: shop, labels: {app: front}}
status: {podIPs: [{ip: 10.1.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
spec:
  containers:
  - {name: db, ports: [{name: sql, containerPort: 5432}]}
status: {podIPs: [{ip: 10.1.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: spy, namespace: other}
status: {podIPs: [{ip: 10.1.0.4}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: 10.96.0.3, ports: [{port: 5432}]}
";

const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: front}}}]
    ports: [{port: sql}]
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 100}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: no-ping}
spec:
  tier: security
  namespaceSelector: team == 'shop'
  ingress:
  - {action: Deny, protocol: ICMP}
  - {action: Pass}
---
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: quiet, namespace: other}
spec:
  tier: security
  types: [Egress]
";

struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        fs::create_dir(lab.path().join("cfg")).unwrap();
        lab.write("cfg/pods.yaml", PODS);
        lab.write("cfg/policies.yaml", POLICIES);
        lab
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command line; the text holds standard output, standard error and the exit code.
    fn run(&self, line: &[&str]) -> String {
        self.run_within(None, line)
    }

    /// The same within a session over SSH.
    fn run_within(&self, session: Option<&str>, line: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(line).current_dir(self.path()).env_remove("NO_COLOR");
        match session {
            Some(session) => command.env("SSH_CONNECTION", session),
            None => command.env_remove("SSH_CONNECTION"),
        };
        let output = command.output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        format!("{out}{err}exit {}\n", output.status.code().unwrap_or(-1))
    }

    #[track_caller]
    fn check(&self, line: &[&str], expected: Expect) {
        expected.assert_eq(&self.run(line));
    }
}

#[test]
fn policies_are_listed_in_the_order_in_which_they_are_asked() {
    Lab::new().check(
        &["get", "policies", "-f", "cfg"],
        expect![[r#"
            KIND                 POLICY       TIER      ORDER  TYPES    SELECTS  STATE     PLACE
            GlobalNetworkPolicy  no-ping      security   last  ingress        3  in force  cfg/policies.yaml:18:18
            NetworkPolicy        shop/db      default    1000  ingress        1  in force  cfg/policies.yaml:4:18
            StagedNetworkPolicy  other/quiet  security   last  egress         1  staged    cfg/policies.yaml:28:18
            exit 0
        "#]],
    );
}

#[test]
fn a_policy_is_described_in_plain_words() {
    Lab::new().check(
        &["describe", "policy", "shop/db", "-f", "cfg"],
        expect![[r#"
            policy    NetworkPolicy/shop/db (cfg/policies.yaml:4:18)
            state     in force: each host enforces it for its own pods
            tier      default, at order 1000; what no policy of it decides is denied
            selects   shop/db ((projectcalico.org/namespace == "shop" && projectcalico.org/orchestrator == "k8s" && app == "db"))
            ingress   1 rule
              1 allow TCP from (projectcalico.org/namespace == "shop" && projectcalico.org/orchestrator == "k8s" && app == "front") to port `sql` (cfg/policies.yaml:8:5)
                that is shop/front-1, shop/front-2
            egress    says nothing
            exit 0
        "#]],
    );
}

#[test]
fn the_matrix_says_who_can_talk_to_whom() {
    Lab::new().check(
        &["policy", "matrix", "-f", "cfg"],
        expect![[r#"
            FROM \ TO         other/spy  shop/db   shop/front-* (2)        outside
            other/spy         all        -         TCP; UDP; SCTP; others  all
            shop/db           all        all       TCP; UDP; SCTP; others  all
            shop/front-* (2)  all        TCP 5432  TCP; UDP; SCTP; others  all
            outside           all        -         TCP; UDP; SCTP; others
            exit 0
        "#]],
    );
}

#[test]
fn groups_whose_names_begin_alike_are_told_apart() {
    let lab = Lab::new();
    let pod = |number: usize| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}, namespace: a, labels: {{app: x{}}}}}\n\
             status: {{podIPs: [{{ip: 10.2.0.{number}}}]}}\n",
            number % 2
        )
    };
    lab.write("cfg/pods.yaml", &(1..8).map(pod).collect::<String>());
    lab.write(
        "cfg/policies.yaml",
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: x0, namespace: a}
spec:
  podSelector: {matchLabels: {app: x0}}
  ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}]}]
",
    );
    lab.check(
        &["policy", "matrix", "-f", "cfg"],
        expect![[r#"
            FROM \ TO                a/{p1,p3,p5,…} (4)  a/{p2,p4,p6}  outside, 192.0.2.128/25  192.0.2.0/24
            a/{p1,p3,p5,…} (4)       all                 -             all                      all
            a/{p2,p4,p6}             all                 -             all                      all
            outside, 192.0.2.128/25  all                 -
            192.0.2.0/24             all                 all
            exit 0
        "#]],
    );
    fs::create_dir(lab.path().join("new")).unwrap();
    lab.write("new/pods.yaml", &(1..8).map(pod).collect::<String>());
    lab.check(
        &["policy", "diff", "--from", "cfg", "-f", "new"],
        expect![[r#"
            FROM                     TO            OPENS  CLOSES
            a/{p1,p3,p5,…} (4)       a/{p2,p4,p6}  all    -
            a/{p2,p4,p6}             a/{p2,p4,p6}  all    -
            outside, 192.0.2.128/25  a/{p2,p4,p6}  all    -
            exit 1
        "#]],
    );
}

#[test]
fn the_matrix_is_a_value_and_a_picture_too() {
    let lab = Lab::new();
    let value = lab.run(&["policy", "matrix", "-f", "cfg", "-o", "json"]);
    assert!(value.contains("\"staged\": false"), "{value}");
    assert!(value.contains("\"summary\": \"TCP 5432\""), "{value}");
    let page = lab.run(&["policy", "matrix", "-f", "cfg", "--html"]);
    assert!(page.starts_with("<!doctype html>") && page.contains("enforces it"), "{page}");
    assert!(
        page.contains("<td class=\"some\" title=\"shop/front-* (2) to shop/db\">TCP 5432</td>"),
        "{page}"
    );
    assert!(!page.contains("http"), "nothing is loaded from elsewhere: {page}");
}

#[test]
fn explain_names_every_step_with_its_place() {
    let lab = Lab::new();
    lab.check(
        &["policy", "explain", "other/spy", "shop/db", "tcp", "5432", "-f", "cfg"],
        expect![[r#"
            packet    10.1.0.4 > 10.1.0.3 TCP 49152 > 5432
            egress    other/spy
              result  allow: no policy decides
            ingress   shop/db
              tier    security, order 100
              policy  GlobalNetworkPolicy/no-ping (cfg/policies.yaml:18:18)
              rule    1 deny ICMP (cfg/policies.yaml:23:5): another protocol
              rule    2 pass everything (cfg/policies.yaml:24:5): matches
              end     passed on by that rule
              tier    default, order 1000000
              policy  NetworkPolicy/shop/db (cfg/policies.yaml:4:18)
              rule    1 allow TCP from (projectcalico.org/namespace == "shop" && projectcalico.org/orchestrator == "k8s" && app == "front") to port `sql` (cfg/policies.yaml:8:5): another source
              end     no rule decides: deny
              result  deny: policies of tier default apply, and none allows it
            verdict   deny: policies of tier default apply, and none allows it (ingress)
            staged    deny: policies of tier security apply, and none allows it (egress), if what is staged were in force
            exit 0
        "#]],
    );
    lab.check(
        &["policy", "explain", "shop/front-1", "shop/db", "tcp", "5432", "-f", "cfg"],
        expect![[r#"
            packet    10.1.0.1 > 10.1.0.3 TCP 49152 > 5432
            egress    shop/front-1
              result  allow: no policy decides
            ingress   shop/db
              tier    security, order 100
              policy  GlobalNetworkPolicy/no-ping (cfg/policies.yaml:18:18)
              rule    1 deny ICMP (cfg/policies.yaml:23:5): another protocol
              rule    2 pass everything (cfg/policies.yaml:24:5): matches
              end     passed on by that rule
              tier    default, order 1000000
              policy  NetworkPolicy/shop/db (cfg/policies.yaml:4:18)
              rule    1 allow TCP from (projectcalico.org/namespace == "shop" && projectcalico.org/orchestrator == "k8s" && app == "front") to port `sql` (cfg/policies.yaml:8:5): matches
              result  allow: rule 1 of NetworkPolicy/shop/db (cfg/policies.yaml:8:5)
            verdict   allow
            staged    allow, if what is staged were in force
            exit 0
        "#]],
    );
}

#[test]
fn explain_has_every_step_as_a_value_too() {
    let lab = Lab::new();
    let line =
        ["policy", "explain", "other/spy", "shop/db", "tcp", "5432", "-f", "cfg", "-o", "json"];
    let said = lab.run(&line);
    let said: serde_json::Value =
        serde_json::from_str(said.split("\nexit").next().unwrap()).unwrap();
    assert_eq!(said["egress"]["steps"], serde_json::json!([]));
    let steps = said["ingress"]["steps"].as_array().unwrap();
    let words: Vec<&str> = steps
        .iter()
        .map(|step| {
            let of = |name: &str| step[name].as_str();
            of("tier").or(of("policy")).or(of("result")).or(of("end")).unwrap()
        })
        .collect();
    assert_eq!(
        words,
        [
            "security",
            "GlobalNetworkPolicy/no-ping",
            "another protocol",
            "matches",
            "passed on by that rule",
            "default",
            "NetworkPolicy/shop/db",
            "another source",
            "no rule decides: deny",
        ]
    );
    assert_eq!(steps[3]["rule"], 2);
    assert_eq!(steps[3]["matches"], true);
    assert_eq!(steps[3]["origin"], "cfg/policies.yaml:24:5");
}

#[test]
fn explain_says_what_makes_no_sense() {
    let lab = Lab::new();
    lab.check(
        &["policy", "explain", "shop/front-1", "10.96.0.3", "tcp", "5432", "-f", "cfg"],
        expect![[r#"
            error: 10.96.0.3 is an address of a service; policies see the pod behind it: name that one
            exit 2
        "#]],
    );
    lab.check(
        &["policy", "explain", "shop/front-1", "shop/nobody", "tcp", "80", "-f", "cfg"],
        expect![[r#"
            error: there is no pod `shop/nobody` with a network of its own; write NAMESPACE/NAME, host/NAME for a HostEndpoint, or an address
            exit 1
        "#]],
    );
    lab.check(
        &["policy", "explain", "shop/front-1", "shop/db", "icmp", "80", "-f", "cfg"],
        expect![[r#"
            error: ICMP has no ports; leave the port out
            exit 2
        "#]],
    );
    lab.write(
        "cfg/node-port.yaml",
        "apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: out, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.4
  externalIPs: [203.0.113.5]
  ports: [{port: 80, nodePort: 30080}]
",
    );
    let ask = |to: &str, protocol: &str, port: &str| {
        lab.run(&["policy", "explain", "shop/front-1", to, protocol, port, "-f", "cfg"])
    };
    assert!(ask("203.0.113.5", "tcp", "80").contains("is an address of a service"));
    let said = ask("192.0.2.1", "tcp", "30080");
    let words = "192.0.2.1 answers for shop/out at port 30080; policies see the pod behind it";
    assert!(said.contains(words), "{said}");
    assert!(ask("192.0.2.1", "udp", "30080").contains("verdict   allow"));
}

#[test]
fn diff_says_which_pairs_open_and_close() {
    let lab = Lab::new();
    fs::create_dir(lab.path().join("new")).unwrap();
    lab.write("new/pods.yaml", PODS);
    lab.write("new/policies.yaml", &POLICIES.replace("port: sql", "port: 80, endPort: 81"));
    lab.check(
        &["policy", "diff", "--from", "cfg", "-f", "new"],
        expect![[r#"
            FROM              TO       OPENS      CLOSES
            shop/front-* (2)  shop/db  TCP 80-81  TCP 5432
            exit 1
        "#]],
    );
    lab.check(
        &["policy", "diff", "--from", "cfg", "-f", "cfg"],
        expect![[r#"
            no pair opens or closes
            exit 0
        "#]],
    );
    // What is staged, against what would be in force.
    lab.check(
        &["policy", "diff", "--from", "cfg"],
        expect![[r#"
            FROM       TO                OPENS  CLOSES
            other/spy  shop/front-* (2)  -      TCP; UDP; SCTP; others
            other/spy  outside           -      all
            exit 1
        "#]],
    );
}

#[test]
fn check_counts_policies() {
    Lab::new().check(
        &["check", "-f", "cfg"],
        expect![[r#"
            cfg: good (0 links, 0 VRFs, 0 routes, 0 labels, 1 service, 4 pods, 3 policies)
            exit 0
        "#]],
    );
}

#[test]
fn a_policy_that_is_wrong_is_told_and_all_others_count() {
    let lab = Lab::new();
    let wrong = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                 metadata: {name: wrong}\nspec: {tier: nowhere}\n---\n\
                 apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                 metadata: {name: named}\nspec:\n  ingress:\n  - action: Allow\n    protocol: TCP\n    \
                 destination: {ports: [nobody-has-it]}\n  - {action: Allow, source: {selector: x == '1'}}\n";
    lab.write("cfg/wrong.yaml", wrong);
    lab.check(
        &["get", "policies", "-f", "cfg"],
        expect![[r#"
            KIND                 POLICY       TIER      ORDER  TYPES    SELECTS  STATE         PLACE
            GlobalNetworkPolicy  no-ping      security   last  ingress        3  in force      cfg/policies.yaml:18:18
            NetworkPolicy        shop/db      default    1000  ingress        1  in force      cfg/policies.yaml:4:18
            GlobalNetworkPolicy  named        default    last  ingress        4  in force      cfg/wrong.yaml:8:18
            GlobalNetworkPolicy  wrong        nowhere    last  ingress        4  no such tier  cfg/wrong.yaml:3:18
            StagedNetworkPolicy  other/quiet  security   last  egress         1  staged        cfg/policies.yaml:28:18
            error: GlobalNetworkPolicy/wrong: there is no Tier `nowhere`
             --> cfg/wrong.yaml:3:18 (spec.tier)
              |
            3 | metadata: {name: wrong}
              |                  ^^^^^
              = help: add a Tier of that name, or name one that exists

            warning: GlobalNetworkPolicy/named: nobody has a port `nobody-has-it`
              --> cfg/wrong.yaml:11:5 (spec.ingress[0])
               |
            11 |   - action: Allow
               |     ^^^^^^
               = help: name it in the `ports` of a container, or write a number

            warning: GlobalNetworkPolicy/named: nobody is meant by x == "1"
              --> cfg/wrong.yaml:14:5 (spec.ingress[1])
               |
            14 |   - {action: Allow, source: {selector: x == '1'}}
               |     ^
               = help: nothing is to be done if such pods are still to come

            1 error, 2 warnings
            exit 0
        "#]],
    );
}

#[test]
fn without_files_the_agent_is_asked() {
    Lab::new().check(
        &["--socket", "nothing.sock", "policy", "matrix"],
        expect![[r#"
            error: no agent answers at nothing.sock: No such file or directory (os error 2); start one with `thalweg run -f DIR`, or name its --instance or --socket
            or name files with -f
            exit 3
        "#]],
    );
}

#[test]
fn a_packet_through_tables_of_files_names_the_rule() {
    let lab = Lab::new();
    let mut pods = PODS.to_owned();
    for (number, end) in (1..).zip([
        "{name: front-1, namespace: shop, labels: {app: front}",
        "{name: front-2, namespace: shop, labels: {app: front}",
        "{name: db, namespace: shop, labels: {app: db}",
        "{name: spy, namespace: other",
    ]) {
        let with = format!("{end}, annotations: {{thalweg.io/interface: veth{number}}}");
        pods = pods.replace(&format!("{end}}}"), &format!("{with}}}"));
    }
    lab.write("cfg/pods.yaml", &pods);
    let mut host = String::from("links:\n");
    for number in 1..=4 {
        let index = number + 1;
        host += &format!(
            "- {{name: veth{number}, index: {index}, mac: '02:00:00:00:00:0{number}', mtu: 1500, up: true}}\n"
        );
    }
    host += "neighbors:\n";
    for number in 1..=4 {
        host += &format!(
            "- {{address: 10.1.0.{number}, dev: veth{number}, mac: '02:00:00:00:01:0{number}', \
             state: permanent}}\n"
        );
    }
    lab.write("host.yaml", &host);
    let policies = |packet: &str| {
        let told = lab.run(&["explain", "--config", "cfg", "--host", "host.yaml", packet]);
        let lines = told
            .lines()
            .filter(|line| ["policy", "verdict"].iter().any(|word| line.starts_with(word)));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    // By its name, and by the service.
    for to in ["10.1.0.3", "10.96.0.3"] {
        let told = policies(&format!("veth1 < ip 10.1.0.1 > {to} tcp 4000 > 5432 syn"));
        let rule = "policy    ingress: tier default, NetworkPolicy/shop/db, rule 1 (cfg/policies.yaml:8:5): allow\n";
        // The service has no slice here: nobody serves it.
        assert!(told.starts_with(rule) || to == "10.96.0.3", "{told}");
    }
    let end = "policy    ingress: end of tier default, policies of which apply: deny\nverdict   drop policy";
    let told = policies("veth4 < ip 10.1.0.4 > 10.1.0.3 tcp 4000 > 5432 syn");
    assert!(told.starts_with(end), "{told}");
    let rule = "policy    ingress: tier security, GlobalNetworkPolicy/no-ping, rule 1 \
                (cfg/policies.yaml:23:5): deny\n";
    let told = policies("veth1 < ip 10.1.0.1 > 10.1.0.2 icmp echo");
    assert!(told.starts_with(rule), "{told}");
    let told = policies("veth1 < ip 10.1.0.1 > 10.1.0.4 udp 1 > 2");
    assert!(
        told.starts_with("policy    no policy speaks of either side\nverdict   forward"),
        "{told}"
    );
}

#[test]
fn what_is_about_hosts_is_said_to_be_enforced_at_their_links() {
    let lab = Lab::new();
    let host = "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\n\
                metadata: {name: n1, labels: {team: shop, role: host}}\n\
                spec: {node: n1, interfaceName: eth0, expectedIPs: [192.0.2.1]}\n---\n\
                apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                metadata: {name: both}\nspec: {selector: has(role) || has(app), types: [Egress]}\n---\n\
                apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                metadata: {name: host}\nspec: {selector: has(role)}\n---\n\
                apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                metadata: {name: nobody}\nspec: {selector: has(none)}\n---\n\
                apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                metadata: {name: early}\nspec: {preDNAT: true, applyOnForward: true, types: [Ingress]}\n---\n\
                apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                metadata: {name: pods}\n\
                spec: {selector: has(app), doNotTrack: true, applyOnForward: true}\n";
    lab.write("cfg/hosts.yaml", host);
    let told = lab.run(&["get", "policies", "-f", "cfg"]);
    let state = |policy: &str| {
        let row = told.lines().find(|line| line.split_whitespace().nth(1) == Some(policy));
        let row = row.unwrap_or_else(|| panic!("{told}"));
        // Between the number of those selected and the place.
        let words: Vec<&str> = row.split_whitespace().skip(6).collect();
        words[..words.len() - 1].join(" ")
    };
    for (policy, expected) in [
        ("shop/db", "in force"),
        ("both", "in force"),
        ("host", "in force"),
        ("early", "in force"),
        ("pods", "selects no host"),
        ("nobody", "selects nobody"),
    ] {
        assert_eq!(state(policy), expected, "{policy}: {told}");
    }
    assert!(!told.contains("NOT enforced"), "{told}");
    let told = lab.run(&["policy", "explain", "192.0.2.1", "shop/db", "tcp", "5432", "-f", "cfg"]);
    let note = "note      a host is asked at links that its endpoint stands for";
    assert!(told.contains(note), "{told}");
    let links = "in force: each host enforces it at its own links";
    let both = "in force: each host enforces it for its own pods, and at its own links";
    let pods = "in force: each host enforces it for its own pods\n";
    for (policy, expected) in [("both", both), ("host", links), ("early", links), ("shop/db", pods)]
    {
        let described = lab.run(&["describe", "policy", policy, "-f", "cfg"]);
        assert!(described.contains(expected), "{policy}: {described}");
    }
}

/// Whom a rule names, it names without those that it leaves out.
#[test]
fn who_is_left_out_is_not_named() {
    let lab = Lab::new();
    let policy = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n\
                  metadata: {name: most, namespace: shop}\nspec:\n  ingress:\n  \
                  - {action: Allow, source: {notSelector: app == 'db'}}\n";
    lab.write("cfg/most.yaml", policy);
    let told = lab.run(&["describe", "policy", "shop/most", "-f", "cfg"]);
    assert!(told.contains("that is shop/front-1, shop/front-2\n"), "{told}");
}

/// A node whose `*` endpoint is guarded: policies of one tier, the second of which is the last word.
const GUARDED: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Router
metadata: {name: router}
spec: {node: n1}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: n1-all, labels: {role: edge}}
spec: {node: n1, interfaceName: '*'}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: edge}
spec:
  selector: role == 'edge'
  types: [Ingress]
  ingress:
  - {action: Deny, protocol: TCP, destination: {ports: [2200]}}
  - {action: Allow, protocol: TCP, source: {nets: [203.0.113.0/24]}}
";

/// A session with that node, by the address and port of its server.
fn session(server: &str) -> String {
    format!("198.51.100.7 50514 {server}")
}

#[test]
fn who_would_cut_the_own_session_is_warned() {
    let lab = Lab::new();
    lab.write("edge.yaml", GUARDED);
    let check = |session: &str| lab.run_within(Some(session), &["check", "-f", "edge.yaml"]);
    let told = check(&session("192.0.2.1 2200"));
    let expected = expect![[r#"
        warning: GlobalNetworkPolicy/edge: your own session, 198.51.100.7:50514 > 192.0.2.1:2200, would be cut at host n1-all: rule 1 denies it
          --> edge.yaml:23:5 (spec.ingress[0])
           |
        23 |   - {action: Deny, protocol: TCP, destination: {ports: [2200]}}
           |     ^
           = help: allow TCP to port 2200 from 198.51.100.7, or keep `tcp:2200` in spec.policy.failSafeInbound of the Router

    "#]];
    let own = |told: &str| {
        let at = told.find("warning: GlobalNetworkPolicy/edge: your own").unwrap_or(told.len());
        told[at..].split_inclusive("\n\n").next().unwrap_or_default().to_owned()
    };
    expected.assert_eq(&own(&told));
    assert!(told.ends_with("exit 0\n"), "it is a warning: {told}");
    let expected = expect![[r#"
        warning: GlobalNetworkPolicy/edge: your own session, 198.51.100.7:50514 > 192.0.2.1:2222, would be cut at host n1-all: policies of tier default apply, and none allows it
          --> edge.yaml:18:18 (spec.ingress)
           |
        18 | metadata: {name: edge}
           |                  ^^^^
           = help: allow TCP to port 2222 from 198.51.100.7, or keep `tcp:2222` in spec.policy.failSafeInbound of the Router

    "#]];
    expected.assert_eq(&own(&check(&session("192.0.2.1 2222"))));
    // Nothing to tell: a port that stays open, a client that is allowed, another host, no session, words that
    // make none.
    for harmless in [
        "198.51.100.7 50514 192.0.2.1 22",
        "203.0.113.5 50514 192.0.2.1 2222",
        "198.51.100.7 50514 203.0.113.201 2200",
        "198.51.100.7 50514 192.0.2.1",
        "",
    ] {
        assert!(!check(harmless).contains("your own session"), "{harmless}");
    }
    assert!(!lab.run(&["check", "-f", "edge.yaml"]).contains("your own session"));
    // Who closes all ports closes that one too.
    let closed = GUARDED.replace("node: n1}\n---", "node: n1, policy: {failSafeInbound: []}}\n---");
    lab.write("edge.yaml", &closed);
    assert!(check(&session("192.0.2.1 22")).contains("your own session"));
    // An address of this machine may be one of the node's.
    assert!(check(&session("127.0.0.1 22")).contains("your own session"));
    // Before files are applied, whether or not an agent takes them.
    let line = ["--socket", "none.sock", "apply", "-f", "edge.yaml"];
    let applied = lab.run_within(Some(&session("192.0.2.1 22")), &line);
    assert!(applied.contains("your own session") && !applied.contains("exit 0"), "{applied}");
    // As a value, it is one of the problems.
    let line = ["check", "-f", "edge.yaml", "-o", "json"];
    let value = lab.run_within(Some(&session("192.0.2.1 22")), &line);
    assert!(value.contains("your own session") && value.contains("\"ok\": true"), "{value}");
}

#[test]
fn the_endpoint_of_the_interface_decides_about_the_own_session() {
    let lab = Lab::new();
    // Another endpoint for the interface with that address, which is open.
    let open = "---\napiVersion: projectcalico.org/v3\nkind: HostEndpoint\n\
                metadata: {name: n1-eth0}\nspec: {node: n1, interfaceName: eth0, \
                profiles: [projectcalico-default-allow]}\n";
    lab.write("edge.yaml", &(GUARDED.to_owned() + open));
    lab.write(
        "host.yaml",
        "links:\n- {name: eth0, index: 2, mac: '02:00:00:00:00:01', mtu: 1500, up: true}\n\
         - {name: eth1, index: 3, mac: '02:00:00:00:00:02', mtu: 1500, up: true}\n\
         addresses:\n- {address: 192.0.2.1/24, dev: eth0}\n- {address: 192.0.2.65/26, dev: eth1}\n",
    );
    let line = ["check", "-f", "edge.yaml", "--host", "host.yaml"];
    let cut = |server: &str| {
        lab.run_within(Some(&session(server)), &line).contains("would be cut at host n1-all")
    };
    assert!(!cut("192.0.2.1 2200"));
    assert!(cut("192.0.2.65 2200"));
    // This machine's own addresses are not those of that host.
    assert!(!cut("127.0.0.1 2200"));
    // Without a policy, an endpoint denies what no profile of it allows.
    let alone = GUARDED.split("---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy");
    lab.write("edge.yaml", alone.into_iter().next().unwrap());
    let told = lab.run_within(Some(&session("192.0.2.1 2200")), &line);
    assert!(told.contains("would be cut at host n1-all: no policy allows it"), "{told}");
    assert!(told.contains("warning: HostEndpoint/n1-all: your own"), "{told}");
}

#[test]
fn diff_warns_of_the_own_session_by_what_would_be_in_force() {
    let lab = Lab::new();
    lab.write("edge.yaml", &GUARDED.replace("GlobalNetworkPolicy", "StagedGlobalNetworkPolicy"));
    let diff = |more: &[&str]| {
        let line = [&["policy", "diff", "--from", "edge.yaml"], more].concat();
        lab.run_within(Some(&session("192.0.2.1 2200")), &line)
    };
    let rule = "StagedGlobalNetworkPolicy/edge: your own session, 198.51.100.7:50514 > \
                192.0.2.1:2200, would be cut at host n1-all: rule 1 denies it";
    // What is staged; the same of files; and these as they are, where the endpoint has no policy.
    assert!(diff(&[]).contains(rule), "{}", diff(&[]));
    assert!(diff(&["-f", "edge.yaml", "--staged"]).contains(rule));
    assert!(diff(&["-f", "edge.yaml"]).contains("n1-all: no policy allows it"));
}

#[test]
fn explain_asks_hosts_by_their_name() {
    let lab = Lab::new();
    let early = "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\n\
                 metadata: {name: early}\nspec: {selector: role == 'edge', order: 10, preDNAT: true, \
                 applyOnForward: true, types: [Ingress], ingress: [{action: Deny, protocol: UDP}]}\n";
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: near, namespace: shop}\n\
               spec: {nodeName: n1}\nstatus: {podIPs: [{ip: 10.1.0.9}]}\n";
    lab.write("edge.yaml", &format!("{GUARDED}{early}{pod}"));
    let explain = |words: &[&str]| {
        lab.run(&[&["policy", "explain"], words, &["-f", "edge.yaml"]].concat())
            .split_inclusive('\n')
            .take_while(|line| !line.starts_with("warning:") && !line.starts_with("exit"))
            .collect::<String>()
    };
    let told = explain(&["198.51.100.7", "host/n1-all", "tcp", "2200"]);
    expect![[r#"
        packet    198.51.100.7 > 192.0.2.1 TCP 49152 > 2200
        egress    198.51.100.7 is no endpoint: nobody is asked
        ingress   host/n1-all
          tier    default, order 1000000
          policy  GlobalNetworkPolicy/early (edge.yaml:28:18), before services are translated
          rule    1 deny UDP (edge.yaml:29:110): another protocol
          end     no rule decides: go on
          tier    default, order 1000000
          policy  GlobalNetworkPolicy/edge (edge.yaml:18:18)
          rule    1 deny TCP to port 2200 (edge.yaml:23:5): matches
          result  deny: rule 1 of GlobalNetworkPolicy/edge (edge.yaml:23:5)
        verdict   deny: rule 1 of GlobalNetworkPolicy/edge (edge.yaml:23:5) (ingress)
        note      a host is asked at links that its endpoint stands for
    "#]]
    .assert_eq(&told);
    // A port that stays open, and what it says itself.
    expect![[r#"
        packet    198.51.100.7 > 192.0.2.1 TCP 49152 > 22
        egress    198.51.100.7 is no endpoint: nobody is asked
        ingress   host/n1-all
          result  allow: a port that stays open whatever policies say
        verdict   allow
        note      a host is asked at links that its endpoint stands for
    "#]]
    .assert_eq(&explain(&["198.51.100.7", "host/n1-all", "tcp", "22"]));
    expect![[r#"
        packet    192.0.2.1 > 198.51.100.7 UDP 49152 > 53
        egress    host/n1-all
          result  allow: a port that stays open whatever policies say
        ingress   198.51.100.7 is no endpoint: nobody is asked
        verdict   allow
        note      a host is asked at links that its endpoint stands for
    "#]]
    .assert_eq(&explain(&["host/n1-all", "198.51.100.7", "udp", "53"]));
    // Between a host and its pods.
    expect![[r#"
        packet    10.1.0.9 > 192.0.2.1 TCP 49152 > 2200
        egress    shop/near
          result  allow: no policy decides
        ingress   host/n1-all
          tier    default, order 1000000
          policy  GlobalNetworkPolicy/early (edge.yaml:28:18), before services are translated
          rule    1 deny UDP (edge.yaml:29:110): another protocol
          end     no rule decides: go on
          result  allow: spec.policy.endpointToHost of the Router says so
        verdict   allow
        note      a host is asked at links that its endpoint stands for
    "#]]
    .assert_eq(&explain(&["shop/near", "host/n1-all", "tcp", "2200"]));
    expect![[r#"
        packet    192.0.2.1 > 10.1.0.9 TCP 49152 > 80
        egress    host/n1-all is not asked
        ingress   shop/near
          result  allow: a node always reaches its pods
        verdict   allow
        note      a host is asked at links that its endpoint stands for
    "#]]
    .assert_eq(&explain(&["host/n1-all", "shop/near", "tcp", "80"]));
    let nobody = |file| ["policy", "explain", "host/nobody", "shop/near", "tcp", "80", "-f", file];
    lab.check(
        &nobody("cfg"),
        expect![[r#"
            error: there is no HostEndpoint `nobody`, nor any other: nothing is asked at hosts; add one, or write the address of the host
            exit 1
        "#]],
    );
    lab.check(
        &nobody("edge.yaml"),
        expect![[r#"
            error: there is no HostEndpoint `nobody`, only n1-all: write host/n1-all, for example
            exit 1
        "#]],
    );
}

#[test]
fn a_service_means_all_its_endpoints_ready_or_not() {
    let lab = Lab::new();
    lab.write(
        "cfg/service.yaml",
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: front-1, namespace: shop, labels: {kubernetes.io/service-name: front}}
addressType: IPv4
ports: [{port: 80}]
endpoints:
- {addresses: [10.1.0.1], conditions: {ready: false}}
- {addresses: [10.1.0.2], conditions: {ready: false, serving: true, terminating: true}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: spies-1, namespace: other, labels: {kubernetes.io/service-name: spies}}
addressType: IPv4
ports: []
endpoints: [{addresses: [10.1.0.4]}]
",
    );
    lab.write(
        "cfg/policies.yaml",
        "apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: app == 'db'
  types: [Ingress, Egress]
  ingress:
  - {action: Allow, source: {services: {name: front, namespace: shop}}}
  - {action: Allow, source: {services: {name: spies, namespace: other}}}
  egress:
  - {action: Allow, destination: {services: {name: front, namespace: shop}}}
  - {action: Allow, destination: {services: {name: spies, namespace: other}}}
",
    );
    let ask = |from: &str, to: &str, port: &str| {
        let said = lab.run(&["policy", "explain", from, to, "tcp", port, "-f", "cfg"]);
        said.lines().find(|line| line.starts_with("verdict")).unwrap().to_owned()
    };
    let allowed = "verdict   allow";
    for front in ["shop/front-1", "shop/front-2"] {
        assert_eq!(ask(front, "shop/db", "5432"), allowed);
        assert_eq!(ask("shop/db", front, "80"), allowed);
        assert!(ask("shop/db", front, "81").contains("deny"));
    }
    // A service without ports has addresses all the same, and no port that could be asked for.
    assert_eq!(ask("other/spy", "shop/db", "5432"), allowed);
    assert!(ask("shop/db", "other/spy", "80").contains("deny"));
}
