//! Who watches the agent: systemd, logs, and what goes wrong around it.

mod lab;

use lab::{CONFIG, Lab, ip, skip};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What systemd would hear, as the words of one message each.
struct Systemd(UnixDatagram);

impl Systemd {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self(socket)
    }

    /// Waits for a message with this in it; returns all until then.
    #[track_caller]
    fn until(&self, words: &str) -> Vec<String> {
        let (start, mut heard) = (Instant::now(), Vec::new());
        let mut buffer = [0; 4096];
        while start.elapsed() < Duration::from_secs(20) {
            let Ok(len) = self.0.recv(&mut buffer) else { continue };
            heard.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
            if heard.last().is_some_and(|last| last.contains(words)) {
                return heard;
            }
        }
        panic!("no {words:?} in {heard:#?}");
    }
}

#[test]
fn systemd_hears_when_it_is_ready_and_that_it_lives() {
    let Some(mut lab) = Lab::new("n") else { return };
    // Not ready with files that are wrong.
    fs::write(lab.config(), "kind: Nonsense\n").unwrap();
    let path = lab.dir.path().join("notify");
    let systemd = Systemd::new(&path);
    let mut run = lab.thalweg(&["run", "--netns", &format!("{}r", lab.name)]);
    run.arg("-f")
        .arg(lab.dir.path().join("etc"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000");
    let log = fs::File::create(lab.dir.path().join("log")).unwrap();
    lab.agent = Some(run.stderr(log).spawn().unwrap());
    let heard = systemd.until("WATCHDOG=1");
    let waiting = systemd.until("WATCHDOG=1");
    assert!(![heard, waiting].concat().iter().any(|words| words.contains("READY=1")));
    fs::write(lab.config(), CONFIG).unwrap();
    let start = Instant::now();
    let mut heard = Vec::new();
    while !heard.iter().any(|words: &String| words.contains("READY=1")) {
        if lab.agent.as_mut().unwrap().try_wait().unwrap().is_some() {
            return skip(lab.log().trim());
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{heard:?}\n{}", lab.log());
        heard.extend(systemd.until("=1"));
    }
    assert!(heard.last().unwrap().contains("STATUS=in force on 2 links"), "{heard:?}");
    assert!(lab.text(&["status"]).contains("in force"));
    // Other files: reloading, and ready again.
    fs::write(lab.config(), CONFIG.replace("10.0.2.0", "10.0.3.0")).unwrap();
    systemd.until("RELOADING=1\nMONOTONIC_USEC=");
    systemd.until("READY=1");
    // Wrong ones: ready by the last good ones, and it says so.
    fs::write(lab.config(), "kind: Nonsense\n").unwrap();
    systemd.until("STATUS=in force on 2 links, by the last good files");
    // Half of 400 ms is the rhythm.
    let start = Instant::now();
    (0..5).for_each(|_| drop(systemd.until("WATCHDOG=1")));
    assert!((600..3_000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    lab.end("-TERM");
    systemd.until("STOPPING=1");
}

fn deploy(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name);
    fs::read_to_string(path).unwrap()
}

#[test]
fn systemd_takes_the_units_and_finds_them_tight() {
    let dir = tempfile::tempdir().unwrap();
    for (name, of) in
        [("thalweg.service", "thalweg.service"), ("thalweg@x.service", "thalweg@.service")]
    {
        let unit = deploy(&format!("systemd/{of}"));
        let unit = unit.replace("/usr/bin/thalweg", env!("CARGO_BIN_EXE_thalweg"));
        let unit: String = unit
            .lines()
            .filter(|line| !line.starts_with("Documentation="))
            .map(|l| format!("{l}\n"))
            .collect();
        let path = dir.path().join(name);
        fs::write(&path, unit).unwrap();
        for line in [&["verify", "--man=no"][..], &["security", "--offline=yes", "--threshold=35"]]
        {
            let output = match Command::new("systemd-analyze").args(line).arg(&path).output() {
                Ok(output) => output,
                Err(error) => return skip(&format!("`systemd-analyze` does not run: {error}")),
            };
            let said = [output.stderr, output.stdout].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(output.status.success(), "{name} {line:?}: {said}");
            assert!(!said.contains("Unknown key") && !said.contains("ignoring"), "{said}");
        }
    }
}

#[test]
fn units_and_groups_fit_the_program() {
    for unit in ["thalweg.service", "thalweg@.service"] {
        let text = deploy(&format!("systemd/{unit}"));
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
            line.unwrap_or_else(|| panic!("{unit}: {name}")).to_owned()
        };
        let line = value("ExecStart").replace("%i", "x");
        let words = line.split_whitespace().map(std::ffi::OsString::from);
        let cli = <thalweg_cli::args::Cli as clap::Parser>::try_parse_from(words);
        let thalweg_cli::args::Command::Run(run) = cli.unwrap().command else { panic!("{line}") };
        for group in [run.read_group, run.admin_group] {
            let wanted = format!("g {} - -", group.unwrap());
            assert!(
                deploy("sysusers.d/thalweg.conf").lines().any(|line| line == wanted),
                "{wanted}"
            );
        }
        assert_eq!(
            value("CapabilityBoundingSet"),
            "CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_CHOWN CAP_SETPCAP"
        );
        assert!(deploy("tmpfiles.d/thalweg.conf").contains("d /run/thalweg 0755 root root -"));
    }
}

#[test]
fn log_lines_have_fields_and_a_full_disk_ends_nothing() {
    let Some(mut lab) = Lab::new("l") else { return };
    if !lab.start_with(|run| {
        run.args(["--log", "json"]);
    }) {
        return;
    }
    let lines: Vec<serde_json::Value> =
        lab.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 2, "{}", lab.log());
    for line in &lines {
        for field in ["timestamp", "level", "message", "instance"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
        assert_eq!(line["instance"], lab.name[..], "{line}");
    }
    assert!(lines[0]["generation"].is_null(), "{}", lines[0]);
    assert!(lines.iter().any(|line| line["generation"] == 1), "{lines:?}");
    lab.end("-TERM");
    // Standard error is a disk without room.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(lab.start_with(|run| {
        run.stderr(full);
    }));
    fs::write(lab.config(), "kind: Nonsense\n").unwrap();
    lab.until(|| lab.text(&["status"]).contains("has errors"));
    fs::write(lab.config(), CONFIG).unwrap();
    lab.until(|| lab.ask(&["status"]).status.success());
    assert!(lab.pings_once("10.0.2.7"));
}

#[test]
fn the_bpf_file_system_may_be_unmounted_under_us() {
    let Some(mut lab) = Lab::new("u") else { return };
    let bpffs = lab.dir.path().join("bpf");
    fs::create_dir(&bpffs).unwrap();
    let mount = |words: &[&str]| Command::new(words[0]).args(&words[1..]).arg(&bpffs).status();
    if !mount(&["mount", "-t", "bpf", "bpf"]).is_ok_and(|status| status.success()) {
        return skip("no BPF file system can be mounted");
    }
    let started = lab.start_with(|run| {
        run.arg("--bpffs").arg(&bpffs);
    });
    if !started {
        let _ = mount(&["umount", "-l"]);
        return;
    }
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    assert!(mount(&["umount", "-l"]).unwrap().success());
    let text = lab.text(&["status"]);
    assert!(text.contains("is not there any more"), "{text}");
    assert!(text.contains("`mount -t bpf bpf "), "{text}");
    assert_eq!(lab.ask(&["status"]).status.code(), Some(1));
    assert!(lab.pings_once("10.0.2.7"), "forwarding goes on: {}", lab.log());
    // It still follows files and kernel.
    ip(&format!("-n {}r route add 10.0.4.0/24 via 10.0.1.254", lab.name)).unwrap();
    lab.until(|| lab.ask(&["get", "routes", "10.0.4.7"]).status.success());
    assert!(lab.pings("10.0.4.7"), "{}", lab.log());
}

#[test]
fn the_doctor_works_with_and_without_an_agent() {
    let Some(mut lab) = Lab::new("d") else { return };
    let ns = format!("{}r", lab.name);
    let output = lab.ask(&["doctor", "--netns", &ns]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("no agent answers at "), "{said}{output:?}");
    if said.contains("this process lacks") {
        assert_eq!(output.status.code(), Some(1));
        return skip("the doctor needs rights");
    }
    for words in
        ["ok    kernel", "the kernel takes the XDP and the tc program", "link eth0", "link eth1"]
    {
        assert!(said.contains(words), "{words}\n{said}");
    }
    // The veths' other ends have their offloads on, and the kernel of the router does not do IPv6.
    assert!(said.contains("so this link gets tc"), "{said}");
    assert!(said.contains("`sysctl -w net.ipv6.conf.all.forwarding=1`"), "{said}");
    // Somebody else's things are seen.
    let vlan = ip(&format!("-n {ns} link add link eth1 name eth1.7 type vlan id 7"));
    let filter = ip(&format!("netns exec {ns} tc qdisc add dev eth0 clsact")).and_then(|_| {
        // Not every kernel has every classifier.
        let add = |words: &str| {
            ip(&format!("netns exec {ns} tc filter add dev eth0 ingress protocol ip {words}"))
        };
        add("matchall action ok").or_else(|_| add("u32 match u32 0 0 action ok"))
    });
    for made in [&vlan, &filter] {
        if let Err(why) = made {
            skip(why.lines().next().unwrap_or_default());
        }
    }
    for line in [
        format!("-n {ns} link set eth0 mtu 1000"),
        format!("netns exec {ns} nft add table inet fw"),
        format!(
            "netns exec {ns} nft add chain inet fw passing {{ type filter hook forward priority 0 ; policy drop ; }}"
        ),
    ] {
        if let Err(why) = ip(&line) {
            return skip(&why);
        }
    }
    let output = lab.ask(&["doctor", "--netns", &ns, "-o", "json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let find = |words: &str| {
        let found = findings.iter().find(|f| f["what"].as_str().unwrap().contains(words));
        found.unwrap_or_else(|| panic!("{words}: {findings:#?}")).clone()
    };
    assert_eq!(find("chain `inet fw passing` drops")["health"], "warn");
    if filter.is_ok() {
        assert_eq!(find("tc filter ")["about"], "link eth0");
    }
    assert_eq!(
        find("MTU of 1000")["remedy"],
        "`ip link set eth0 mtu 1500`, or use IPv4 alone there"
    );
    if vlan.is_ok() {
        assert_eq!(find("packets of eth1.7")["health"], "fail");
        assert_eq!(output.status.code(), Some(1));
    }
    // With an agent, by itself in the agent's namespace and about its links alone.
    if !lab.start() {
        return;
    }
    let said = lab.text(&["doctor"]);
    assert!(said.contains("in force"), "{said}");
    assert!(said.contains("packets come through "), "{said}");
    assert!(!said.contains("thalweg_tc") && !said.contains("thalweg_xdp"), "not foreign: {said}");
}
