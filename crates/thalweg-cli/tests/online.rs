//! Changes of a running agent, as a person sees them: output, errors, exit codes.

use expect_test::{Expect, expect};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use thalweg_agent::{HostSource, MemoryPlane, Parts, Settings};

const HOST: &str = "
links:
- {name: eth0, index: 2, mac: '02:00:00:00:00:01', mtu: 1500, up: true}
- {name: eth1, index: 3, mac: '02:00:00:00:00:02', mtu: 1500, up: true}
addresses:
- {address: 10.0.0.1/24, dev: eth0}
- {address: 10.0.1.1/24, dev: eth1}
neighbors:
- {address: 10.0.1.254, dev: eth1, mac: '02:00:00:00:00:fe', state: reachable}
routes:
- {prefix: 10.0.0.0/24, protocol: kernel, nexthops: [{dev: eth0}]}
- {prefix: 10.0.1.0/24, protocol: kernel, nexthops: [{dev: eth1}]}
";

fn config(prefix: &str) -> String {
    format!(
        "apiVersion: thalweg.dev/v1alpha1
kind: Link
metadata: {{name: all}}
spec: {{interfaces: [eth0, eth1]}}
---
apiVersion: thalweg.dev/v1alpha1
kind: Route
metadata: {{name: lan}}
spec:
  prefix: {prefix}
  via: 10.0.1.254
"
    )
}

/// An agent on tables in memory. It ends with the process.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        fs::create_dir(lab.path().join("etc")).unwrap();
        fs::create_dir(lab.path().join("new")).unwrap();
        fs::write(lab.path().join("host.yaml"), HOST).unwrap();
        fs::write(lab.path().join("etc/config.yaml"), config("10.0.2.0/24")).unwrap();
        let host = thalweg_agent::offline::read_host(&lab.path().join("host.yaml")).unwrap();
        let settings = Settings {
            socket: lab.path().join("sock"),
            state: Some(lab.path().join("state")),
            ..Settings::new(lab.path().join("etc"), "lab")
        };
        let host = HostSource::Fixed(Box::new(host));
        let parts = Parts { opener: MemoryPlane::opener(), host, stop: None };
        std::thread::spawn(move || thalweg_agent::run(settings, parts));
        let start = Instant::now();
        while !lab.run(&["status"]).contains("in force, generation 1") {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", lab.run(&["status"]));
            std::thread::sleep(Duration::from_millis(20));
        }
        lab
    }

    /// For what names the user.
    fn as_root() -> Option<Self> {
        let root = fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
        if !root {
            eprintln!("skipped: the expected output is root's");
            if let Ok(log) = std::env::var("THALWEG_SKIP_LOG") {
                let file = fs::OpenOptions::new().create(true).append(true).open(log);
                let line =
                    "skipped: changes as a person sees them: the expected output is root's\n";
                let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
            }
        }
        root.then(Self::new)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
        command.args(line).args(["--socket", "sock"]).current_dir(self.path());
        command
    }

    /// Output, errors and exit code, with moments, users and paths of this machine blanked out.
    fn run(&self, line: &[&str]) -> String {
        let output = self.command(line).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let text = text(&output.stdout) + &text(&output.stderr);
        let text = text.replace(&self.path().display().to_string(), "LAB");
        let exit = output.status.code().unwrap_or(-1);
        format!("{}exit {exit}\n", blank(&text))
    }

    #[track_caller]
    fn check(&self, line: &[&str], expected: Expect) {
        expected.assert_eq(&self.run(line));
    }

    /// Writes the files to apply.
    fn wish(&self, text: &str) {
        fs::write(self.path().join("new/config.yaml"), text).unwrap();
    }
}

/// Puts words in place of moments, lengths of time and names of configurations.
fn blank(text: &str) -> String {
    let blank = |word: &str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let moment = word.contains('T') && word.contains('Z') && digits >= 17;
        let config = word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
        match (moment, config) {
            (true, _) => "2026-11-27T16:35:12.123Z".into(),
            (_, true) => "0123456789abcdef0123456789abcdef".into(),
            _ => word.to_owned(),
        }
    };
    let text = text.replace("(3599 s)", "(3600 s)");
    let line = |line: &str| line.split(' ').map(blank).collect::<Vec<_>>().join(" ") + "\n";
    text.lines().map(line).collect()
}

#[test]
fn a_change_from_its_plan_to_its_end() {
    let Some(lab) = Lab::as_root() else { return };
    lab.wish(&config("10.0.3.0/24").replace("eth1]", "eth1], mpls: true"));
    lab.check(
        &["diff", "-f", "new"],
        expect![[r#"
        Objects
          ~ Link/all
          ~ Route/lan
        Tables
          links: 2 changed
          routes: 1 added, 1 removed
        Entries
          ~ link eth0: vrf default mtu 1500 up ipv4 ipv6 -> vrf default mtu 1500 up ipv4 ipv6 mpls
          ~ link eth1: vrf default mtu 1500 up ipv4 ipv6 -> vrf default mtu 1500 up ipv4 ipv6 mpls
          - route default 10.0.2.0/24: via 10.0.1.254 dev eth1
          + route default 10.0.3.0/24: via 10.0.1.254 dev eth1
        exit 1
    "#]],
    );
    lab.check(
        &["apply", "-f", "new", "--message", "move the lan"],
        expect![[r#"
        generation 2 in force: links +2, routes +1 -1
          ~ Link/all
          ~ Route/lan
        exit 0
    "#]],
    );
    lab.check(
        &["diff", "-f", "new"],
        expect![[r#"
        no differences
        exit 0
    "#]],
    );
    lab.check(
        &["apply", "-f", "new"],
        expect![[r#"
        generation 2 stays in force
        exit 0
    "#]],
    );
    lab.check(
        &["confirm"],
        expect![[r#"
        error: nothing waits to be confirmed; `thalweg history` shows what happened
        exit 1
    "#]],
    );
    lab.check(&["rollback", "2"], expect![[r#"
        error: the configuration of generation 2 is in force already; name another generation of `thalweg history`
        exit 2
    "#]]);
    lab.check(&["rollback", "1", "--confirm", "1h"], expect![[r#"
        generation 3 in force: links +2, routes +1 -1
          ~ Link/all
          ~ Route/lan
        generation 3 of root until 2026-11-27T16:35:12.123Z (3600 s): `thalweg confirm` keeps it, else generation 2 comes back
        exit 0
    "#]]);
    lab.check(&["apply", "-f", "new"], expect![[r#"
        error: generation 3 waits to be confirmed until 2026-11-27T16:35:12.123Z (3600 s); `thalweg confirm` keeps it, `thalweg rollback 2` goes back at once
        exit 1
    "#]]);
    let status = lab.run(&["status"]);
    let trial = status.lines().find(|line| line.starts_with("on trial")).unwrap_or_default();
    expect!["on trial   generation 3 of root until 2026-11-27T16:35:12.123Z (3600 s): `thalweg confirm` keeps it, else generation 2 comes back"].assert_eq(trial);
    lab.check(
        &["confirm"],
        expect![[r#"
        generation 3 stays in force
        exit 0
    "#]],
    );
    lab.check(&["history"], expect![[r#"
        GENERATION  IN FORCE FROM             SOURCE         BY    CHANGES                                                                      OBJECTS                MESSAGE
                 1  2026-11-27T16:35:12.123Z  start          -     groups +7, links +2, next hops +6, own addresses +1, routes +8, settings +1  -                      -
                 2  2026-11-27T16:35:12.123Z  apply          root  links +2, routes +1 -1                                                       ~Link/all, ~Route/lan  move the lan
                 3  2026-11-27T16:35:12.123Z  rollback to 1  root  links +2, routes +1 -1                                                       ~Link/all, ~Route/lan  -
        exit 0
    "#]]);
    lab.check(&["history", "--limit", "1", "-o", "wide"], expect![[r#"
        GENERATION  IN FORCE FROM             SOURCE         BY    CHANGES                 OBJECTS                MESSAGE  KEPT  STEPS  CONFIGURATION
                 3  2026-11-27T16:35:12.123Z  rollback to 1  root  links +2, routes +1 -1  ~Link/all, ~Route/lan  -        yes       4  0123456789abcdef0123456789abcdef
        exit 0
    "#]]);
    let described = lab.run(&["describe", "generation", "2"]);
    let steady: Vec<_> = described.lines().filter(|line| !line.contains("Plan:")).collect();
    expect![[r#"
        generation 2
          In force from: 2026-11-27T16:35:12.123Z
          Source:        apply
          By:            root
          Message:       move the lan
          Configuration: 0123456789abcdef0123456789abcdef (kept)
        Objects
          Link/all changed
          Route/lan changed
        Tables
          links +2
          routes +1 -1
        exit 0
    "#]]
    .assert_eq(&(steady.join("\n") + "\n"));
    lab.check(
        &["describe", "generation", "9"],
        expect![[r#"
        error: there is no generation 9; `thalweg history` lists those that are known
        exit 1
    "#]],
    );
}

#[test]
fn wrong_files_are_refused_and_wrong_words_too() {
    let lab = Lab::new();
    lab.wish(&config("10.0.3.1/24"));
    lab.check(
        &["apply", "-f", "new"],
        expect![[r#"
        error: the configuration has errors
        error: Route/lan: `10.0.3.1/24` has bits set outside its length
          --> new/config.yaml:10:11 (spec.prefix)
           |
        10 |   prefix: 10.0.3.1/24
           |           ^^^^^^^^^^^
           = help: write 10.0.3.0/24, or 10.0.3.1/32 for the one address

        1 error
        exit 1
    "#]],
    );
    lab.check(
        &["apply", "-f", "nowhere"],
        expect![[r#"
        error: the configuration has errors
        error: there is no such file or directory
         --> nowhere
          = help: check the path, or create it

        1 error
        exit 1
    "#]],
    );
    lab.wish(&config("10.0.3.0/24"));
    lab.check(&["apply", "-f", "new", "--confirm", "60"], expect![[r#"
        error: invalid value '60' for '--confirm <TIME>': `60` is no length of time; write 90s, 10m, 2h or 1d

        For more information, try '--help'.
        exit 2
    "#]]);
    lab.check(
        &["apply", "-f", "new", "--confirm", "99d"],
        expect![[r#"
        error: 8553600 s is no time to wait for a confirmation; write 1s to 7d
        exit 2
    "#]],
    );
    lab.check(
        &["apply", "-f", "new", "-w"],
        expect![[r#"
        error: a change is made once; leave -w out
        exit 2
    "#]],
    );
    lab.check(&["events", "--since", "soon"], expect![[r#"
        error: invalid value 'soon' for '--since <TIME>': `soon` is no time; write 10m for ten minutes ago, or 2026-11-27T16:35:00Z

        For more information, try '--help'.
        exit 2
    "#]]);
    assert!(lab.run(&["status"]).contains("in force, generation 1 "));
}

#[test]
fn events_are_followed_line_by_line() {
    let Some(lab) = Lab::as_root() else { return };
    let mut follow =
        lab.command(&["events", "-f", "-o", "json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut until = |kind: &str, words: &str| {
        for line in lines.by_ref() {
            let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            if event["kind"] == kind && event["text"].as_str().unwrap().contains(words) {
                return event;
            }
        }
        panic!("no event of {kind} with {words}");
    };
    until("generation", "in force by start");
    lab.wish(&config("10.0.3.0/24"));
    lab.run(&["apply", "-f", "new"]);
    assert_eq!(until("generation", "in force by apply")["object"], "generation 2");
    follow.kill().unwrap();
    follow.wait().unwrap();
    lab.check(&["events", "--severity", "info"], expect![[r#"
        2026-11-27T16:35:12.123Z info    kernel: connected: its links, addresses, neighbors and routes are read
        2026-11-27T16:35:12.123Z info    generation 1: in force by start: groups +7, links +2, next hops +6, own addresses +1, routes +8, settings +1
        2026-11-27T16:35:12.123Z info    hook of eth0: attached at memory: tables in memory only, no packets
        2026-11-27T16:35:12.123Z info    hook of eth1: attached at memory: tables in memory only, no packets
        2026-11-27T16:35:12.123Z info    generation 2: in force by apply of root: routes +1 -1; Route/lan changed
        exit 0
    "#]]);
    lab.check(
        &["events", "--severity", "error", "--since", "1h"],
        expect![[r#"
        exit 0
    "#]],
    );
}
