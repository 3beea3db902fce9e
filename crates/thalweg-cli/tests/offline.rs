//! Commands on files alone, as a person sees them: output, errors, exit codes.

use expect_test::{Expect, expect};
use std::fs;
use std::path::Path;
use std::process::Command;

const CONFIG: &str = "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {name: all}
spec: {interfaces: [eth0, eth1]}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {name: lan}
spec:
  prefix: 10.0.2.0/24
  nextHops:
  - via: 10.0.1.254
  - via: 10.0.1.253
    weight: 3
";

const HOST: &str = "
links:
- {name: eth0, index: 2, mac: '02:00:00:00:00:01', mtu: 1500, up: true}
- {name: eth1, index: 3, mac: '02:00:00:00:00:02', mtu: 1500, up: true}
addresses:
- {address: 10.0.0.1/24, dev: eth0}
- {address: 10.0.1.1/24, dev: eth1}
neighbors:
- {address: 10.0.1.254, dev: eth1, mac: '02:00:00:00:00:fe', state: reachable}
- {address: 10.0.1.253, dev: eth1, mac: '02:00:00:00:00:fd', state: reachable}
routes:
- {prefix: 10.0.0.0/24, protocol: kernel, nexthops: [{dev: eth0}]}
- {prefix: 10.0.1.0/24, protocol: kernel, nexthops: [{dev: eth1}]}
";

struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        lab.write("config.yaml", CONFIG);
        lab.write("host.yaml", HOST);
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
        let output = Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .args(line)
            .current_dir(self.path())
            .env_remove("NO_COLOR")
            .output()
            .unwrap();
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
fn check_says_what_is_good_and_what_is_wrong() {
    let lab = Lab::new();
    lab.check(
        &["check", "-f", "config.yaml"],
        expect![[r#"
        config.yaml: good (1 link, 0 VRFs, 1 route, 0 labels)
        exit 0
    "#]],
    );
    lab.check(
        &["check", "-f", "config.yaml", "--host", "host.yaml"],
        expect![[r#"
        config.yaml: good (1 link, 0 VRFs, 1 route, 0 labels)
        exit 0
    "#]],
    );
    lab.write(
        "wrong.yaml",
        &CONFIG.replace("10.0.2.0/24", "10.0.2.1/24").replace("weight", "wieght"),
    );
    lab.check(
        &["check", "-f", "wrong.yaml"],
        expect![[r#"
        error: Route/lan: `10.0.2.1/24` has bits set outside its length
          --> wrong.yaml:10:11 (spec.prefix)
           |
        10 |   prefix: 10.0.2.1/24
           |           ^^^^^^^^^^^
           = help: write 10.0.2.0/24, or 10.0.2.1/32 for the one address

        error: Route/lan: unknown field `wieght`
          --> wrong.yaml:14:5 (spec.nextHops[1].wieght)
           |
        14 |     wieght: 3
           |     ^^^^^^
           = help: did you mean `weight`?

        2 errors
        exit 1
    "#]],
    );
    lab.write("far.yaml", &CONFIG.replace("10.0.1.254", "192.0.2.1").replace("eth1]", "eth7]"));
    lab.check(
        &["check", "-f", "far.yaml", "--host", "host.yaml"],
        expect![[r#"
        warning: Link/all: there is no interface eth7 on this host (yet)
         --> far.yaml:3:18 (spec.interfaces)
          |
        3 | metadata: {name: all}
          |                  ^^^
          = help: correct the name, or create the interface

        warning: Route/lan: no route leads to gateway 192.0.2.1
         --> far.yaml:8:18 (spec.nextHops[0])
          |
        8 | metadata: {name: lan}
          |                  ^^^
          = help: add a route to the gateway, or name its link in dev

        2 warnings
        far.yaml: good (1 link, 0 VRFs, 1 route, 0 labels)
        exit 0
    "#]],
    );
    lab.check(
        &["check", "-f", "nothing"],
        expect![[r#"
        error: there is no such file or directory
         --> nothing
          = help: check the path, or create it

        1 error
        exit 1
    "#]],
    );
    lab.check(
        &["check", "-f", "wrong.yaml", "-o", "json"],
        expect![[r#"
        {
          "ok": false,
          "problems": [
            {
              "severity": "error",
              "origin": {
                "file": "wrong.yaml",
                "line": 10,
                "column": 11
              },
              "object": {
                "kind": "Route",
                "name": "lan"
              },
              "field": "spec.prefix",
              "what": "`10.0.2.1/24` has bits set outside its length",
              "remedy": "write 10.0.2.0/24, or 10.0.2.1/32 for the one address"
            },
            {
              "severity": "error",
              "origin": {
                "file": "wrong.yaml",
                "line": 14,
                "column": 5
              },
              "object": {
                "kind": "Route",
                "name": "lan"
              },
              "field": "spec.nextHops[1].wieght",
              "what": "unknown field `wieght`",
              "remedy": "did you mean `weight`?"
            }
          ]
        }
        exit 1
    "#]],
    );
}

#[test]
fn diff_shows_what_would_change() {
    let lab = Lab::new();
    let diff =
        |to: &'static str| ["diff", "--from", "config.yaml", "--host", "host.yaml", "-f", to];
    lab.check(
        &diff("config.yaml"),
        expect![[r#"
        no differences
        exit 0
    "#]],
    );
    let other = CONFIG.replace("10.0.2.0/24", "10.0.3.0/24").replace("[eth0, eth1]", "[eth0]");
    lab.write("other.yaml", &other);
    lab.check(&diff("other.yaml"), expect![[r#"
        Objects
          ~ Link/all
          ~ Route/lan
        Tables
          links: 1 removed
          routes: 1 added, 1 removed
        Entries
          - link eth1: vrf default mtu 1500 up ipv4 ipv6
          - route default 10.0.2.0/24: via 10.0.1.254 dev eth1 weight 1, via 10.0.1.253 dev eth1 weight 3
          + route default 10.0.3.0/24: via 10.0.1.254 dev eth1 weight 1, via 10.0.1.253 dev eth1 weight 3
        exit 1
    "#]]);
    lab.write("wrong.yaml", "kind: Nonsense\n");
    lab.check(
        &diff("wrong.yaml"),
        expect![[r#"
        error: the configuration has errors
        error: `apiVersion` is missing
         --> wrong.yaml:1:1 (apiVersion)
          |
        1 | kind: Nonsense
          | ^^^^
          = help: write `apiVersion: thalweg.dev/v1alpha1`

        error: `metadata` is missing
         --> wrong.yaml:1:1 (metadata)
          |
        1 | kind: Nonsense
          | ^^^^
          = help: write `metadata: {name: …}`

        error: unknown kind `Nonsense`
         --> wrong.yaml:1:7 (kind)
          |
        1 | kind: Nonsense
          |       ^^^^^^^^
          = help: known here: `Router`, `Link`, `Vrf`, `Route`, `LabelRoute` and `BfdSession`

        3 errors
        exit 1
    "#]],
    );
}

#[test]
fn explain_names_everything() {
    let lab = Lab::new();
    let explain = |packet: &'static str| {
        ["explain", "--config", "config.yaml", "--host", "host.yaml", packet]
    };
    lab.check(&explain("eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53"), expect![[r#"
        packet    eth 02:00:00:00:ff:01 > 02:00:00:00:00:01 ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53
        arrival   eth0 (index 2), routed in VRF default: Link/all
        route     VRF default: 10.0.2.0/24 from Route/lan (config.yaml:8:18): via 10.0.1.254 dev eth1 weight 1, via 10.0.1.253 dev eth1 weight 3
        group     6: flow hash chooses bucket 3 of 4
        member    6: 1 of 4 buckets: via 10.0.1.254 dev eth1
        member    7 (chosen): 3 of 4 buckets: via 10.0.1.253 dev eth1
        next hop  7: via 10.0.1.253 dev eth1, link address 02:00:00:00:00:fd
        rewrite   ttl 64 -> 63, out eth1
        verdict   forward route: A route led here.
        result    eth1 > eth 02:00:00:00:00:02 > 02:00:00:00:00:fd ip 10.0.0.9 > 10.0.2.7 ttl 63 udp 4000 > 53
        exit 0
    "#]]);
    lab.check(&explain("eth0 < ip 10.0.0.9 > 192.0.2.1 ttl 64 udp 4000 > 53"), expect![[r#"
        packet    eth 02:00:00:00:ff:01 > 02:00:00:00:00:01 ip 10.0.0.9 > 192.0.2.1 ttl 64 udp 4000 > 53
        arrival   eth0 (index 2), routed in VRF default: Link/all
        route     VRF default: no route covers the destination
        answer    the kernel is left to answer
        verdict   punt no-route: No route in this VRF covers the destination.
        exit 0
    "#]]);
    lab.check(&explain("eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 1 udp 4000 > 53"), expect![[r#"
        packet    eth 02:00:00:00:ff:01 > 02:00:00:00:00:01 ip 10.0.0.9 > 10.0.2.7 ttl 1 udp 4000 > 53
        arrival   eth0 (index 2), routed in VRF default: Link/all
        route     VRF default: 10.0.2.0/24 from Route/lan (config.yaml:8:18): via 10.0.1.254 dev eth1 weight 1, via 10.0.1.253 dev eth1 weight 3
        group     6: flow hash chooses bucket 3 of 4
        member    6: 1 of 4 buckets: via 10.0.1.254 dev eth1
        member    7 (chosen): 3 of 4 buckets: via 10.0.1.253 dev eth1
        next hop  7: via 10.0.1.253 dev eth1, link address 02:00:00:00:00:fd
        answer    the kernel is left to answer
        verdict   punt ttl-expired: No hop would be left.
        exit 0
    "#]]);
    lab.check(
        &explain("eth7 < ip 10.0.0.9 > 10.0.2.7"),
        expect![[r#"
        error: there is no link `eth7`; `thalweg get links` lists them
        exit 1
    "#]],
    );
    lab.check(&explain("eth0 ip 10.0.0.9"), expect![[r#"
        error: `eth0 ip 10.0.0.9` is no packet: column 6: expected `<`, found `ip`; write LINK < PACKET, as in `eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53`
        exit 2
    "#]]);
    let mut json = explain("eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53").to_vec();
    json.extend(["-o", "yaml"]);
    lab.check(&json, expect![[r#"
        packet: "eth 02:00:00:00:ff:01 > 02:00:00:00:00:01 ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53"
        generation: 1
        steps:
        - stage: arrival
          text: "eth0 (index 2), routed in VRF default: Link/all"
        - stage: route
          text: "VRF default: 10.0.2.0/24 from Route/lan (config.yaml:8:18): via 10.0.1.254 dev eth1 weight 1, via 10.0.1.253 dev eth1 weight 3"
        - stage: group
          text: "6: flow hash chooses bucket 3 of 4"
        - stage: member
          text: "6: 1 of 4 buckets: via 10.0.1.254 dev eth1"
        - stage: member
          text: "7 (chosen): 3 of 4 buckets: via 10.0.1.253 dev eth1"
        - stage: next hop
          text: "7: via 10.0.1.253 dev eth1, link address 02:00:00:00:00:fd"
        - stage: rewrite
          text: "ttl 64 -> 63, out eth1"
        - stage: verdict
          text: "forward route: A route led here."
        verdict: forward
        reason: route
        description: A route led here.
        link: eth1
        vrf: default
        route: "10.0.2.0/24"
        source: Route/lan
        group: 6
        nexthop: 7
        result: "eth 02:00:00:00:00:02 > 02:00:00:00:00:fd ip 10.0.0.9 > 10.0.2.7 ttl 63 udp 4000 > 53"
        frame: "0200000000fd02000000000208004500001c000000003f1165c20a0000090a0002070fa000350008d9f9"
        exit 0
    "#]]);
}

#[test]
fn without_an_agent_the_next_command_is_named() {
    let lab = Lab::new();
    lab.check(&["status", "--socket", "none.sock"], expect![[r#"
        error: no agent answers at none.sock: No such file or directory (os error 2); start one with `thalweg run -f DIR`, or name its --instance or --socket
        exit 3
    "#]]);
    lab.check(
        &["get", "links", "--vrf", "blue"],
        expect![[r#"
        error: --vrf goes with `thalweg get routes` alone; leave it out
        exit 2
    "#]],
    );
    lab.check(
        &["version", "--socket", "none.sock"],
        expect![[r#"
        thalweg 0.1.0
        exit 0
    "#]],
    );
    lab.check(
        &["version", "--socket", "none.sock", "-o", "json"],
        expect![[r#"
        {
          "version": "0.1.0",
          "agent": null
        }
        exit 0
    "#]],
    );
    lab.check(&["run", "-f", "config.yaml", "--instance", "../x", "--socket", "s"], expect![[r#"
        error: `../x` cannot be the name of an instance; use 1 to 32 lower case letters, digits and dashes
        exit 2
    "#]]);
    lab.check(
        &["detach", "--bpffs", "/nowhere"],
        expect![[r#"
        nothing of instance `default` is in the kernel
        exit 0
    "#]],
    );
    let codes = lab.run(&["help", "exit-codes"]);
    assert!(codes.starts_with(thalweg_cli::args::EXIT_CODES), "{codes}");
    assert!(codes.ends_with("exit 0\n"), "{codes}");
    lab.check(
        &[
            "replay",
            "--config",
            "config.yaml",
            "--host",
            "nowhere.yaml",
            "--link",
            "eth0",
            "--in",
            "x",
        ],
        expect![[r#"
        error: nowhere.yaml: No such file or directory (os error 2); check the path
        exit 2
    "#]],
    );
}

#[test]
fn completions_and_man_pages_are_written() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish"] {
        let text = lab.run(&["completions", shell]);
        assert!(text.contains("exit-codes") || text.contains("nexthops"), "{shell}");
        assert!(text.ends_with("exit 0\n"), "{shell}");
    }
    assert_eq!(lab.run(&["man", "pages"]), "man pages are in pages\nexit 0\n");
    for name in ["thalweg", "thalweg-run", "thalweg-get", "thalweg-replay"] {
        let page = fs::read_to_string(lab.path().join(format!("pages/{name}.1"))).unwrap();
        assert!(page.contains(".TH"), "{name}");
    }
    let page = fs::read_to_string(lab.path().join("pages/thalweg.1")).unwrap();
    assert!(page.contains("Exit codes"), "{page}");
}

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory;
    thalweg_cli::args::Cli::command().debug_assert();
}
