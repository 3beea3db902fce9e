//! What the agent may and lets others do: rights, groups, files that others can write.

mod lab;

use lab::{Lab, ip, skip};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Output;

/// `CAP_BPF`, `CAP_NET_ADMIN`, `CAP_PERFMON` as /proc/PID/status writes them.
const WORKING: &str = "000000c000001000";
/// The same and `CAP_SYS_ADMIN`.
const HELD: &str = "000000c000201000";

/// Fields of the status of every thread of a process.
fn threads(pid: u32, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: fs::DirEntry| {
        // A thread may end meanwhile.
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
        value.map(|value| value.trim().to_owned())
    };
    tasks.filter_map(|task| of(task.unwrap())).collect()
}

#[track_caller]
fn gave_up_the_rest(lab: &Lab) {
    let pid = lab.agent.as_ref().unwrap().id();
    for (field, wanted) in [
        ("CapEff", WORKING),
        ("CapPrm", HELD),
        ("CapBnd", HELD),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        let values = threads(pid, field);
        assert!(values.len() > 2, "there are threads");
        assert!(values.iter().all(|value| value == wanted), "{field}: {values:?}");
    }
}

#[test]
fn rights_are_given_up_and_hooks_netlink_and_taking_over_go_on() {
    let Some(mut lab) = Lab::new("c") else { return };
    if !lab.start() {
        return;
    }
    gave_up_the_rest(&lab);
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    // Netlink: a route of the kernel comes, and its gateway is resolved.
    ip(&format!("-n {}r route add 10.0.4.0/24 via 10.0.1.254", lab.name)).unwrap();
    lab.until(|| lab.ask(&["get", "routes", "10.0.4.7"]).status.success());
    assert!(lab.pings("10.0.4.7"), "{}", lab.log());
    // Hooks: what the other end of a veth in another namespace has is looked at, and native XDP
    // follows when that is fit for it.
    let native = |lab: &Lab| lab.text(&["get", "links"]).matches("xdp-native").count();
    let fit = |lab: &Lab| {
        for host in ["a", "b"] {
            let line = format!(
                "netns exec {}{host} ethtool -K up tx off tso off gso off gro on",
                lab.name
            );
            if let Err(why) = ip(&line) {
                skip(&why);
                return false;
            }
        }
        true
    };
    if native(&lab) == 0 && fit(&lab) {
        lab.until(|| native(&lab) == 2);
    }
    // Taking over, by an agent that gives up as much.
    lab.end("-KILL");
    assert!(lab.start(), "{}", lab.log());
    gave_up_the_rest(&lab);
    assert!(lab.pings_once("10.0.2.7"), "{}", lab.log());
}

/// Asks for the status as another user with a group.
fn ask_as(lab: &Lab, group: u32, supplementary: &str) -> Output {
    call_as(lab, "status", group, supplementary)
}

/// Makes a call as another user with a group.
fn call_as(lab: &Lab, call: &str, group: u32, supplementary: &str) -> Output {
    let words =
        ["--reuid", "65534", "--regid", &group.to_string(), supplementary].map(String::from);
    let mut command = std::process::Command::new("setpriv");
    command.args(words).arg(lab.dir.path().join("thalweg"));
    command.args([call, "--socket"]).arg(lab.dir.path().join("sock"));
    command.output().unwrap()
}

#[test]
fn groups_may_ask_and_others_are_told_which_group_would_do() {
    let Some(mut lab) = Lab::new("g") else { return };
    let open = |path: &std::path::Path| {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    };
    open(lab.dir.path());
    // Where others can run it.
    fs::copy(env!("CARGO_BIN_EXE_thalweg"), lab.dir.path().join("thalweg")).unwrap();
    open(&lab.dir.path().join("thalweg"));
    if !lab.start_with(|run| {
        run.args(["--read-group", "64001", "--admin-group", "64002"]);
    }) {
        return;
    }
    let mode = fs::metadata(lab.dir.path().join("sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "two groups: everybody may connect, and is told");
    for (group, more) in
        [(64001, "--clear-groups"), (64002, "--clear-groups"), (65534, "--groups=64001")]
    {
        let output = ask_as(&lab, group, more);
        assert!(output.status.success(), "{group} {more}: {output:?}");
    }
    let output = ask_as(&lab, 65534, "--clear-groups");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("the user with id 65534 may not ask this agent"), "{said}");
    assert!(said.contains("`64001` or `64002`"), "{said}");
    // Changing takes the admin group; that there is nothing to confirm is another matter.
    let output = call_as(&lab, "confirm", 64001, "--clear-groups");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("may not change this agent") && said.contains("`64002`"), "{said}");
    assert!(!said.contains("64001"), "{said}");
    let output = call_as(&lab, "confirm", 64002, "--clear-groups");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("may not"), "{said}");
    lab.end("-TERM");
    // One group: the file keeps the others out, and who they are not is told by the client.
    assert!(lab.start_with(|run| {
        run.args(["--read-group", "64001"]);
    }));
    assert!(ask_as(&lab, 64001, "--clear-groups").status.success());
    let output = ask_as(&lab, 65534, "--clear-groups");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("group 64001"), "{said}");
}

#[test]
fn a_group_that_is_not_there_is_named() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_thalweg"));
    let dir = tempfile::tempdir().unwrap();
    command.args(["run", "-f", "/nowhere", "--read-group", "nobody-knows", "--socket"]);
    let output = command.arg(dir.path().join("sock")).process_group(0).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`groupadd --system nobody-knows`"), "{said}");
}

#[test]
fn files_that_others_can_write_are_refused_and_the_last_good_ones_stay() {
    let Some(mut lab) = Lab::new("w") else { return };
    if !lab.start() {
        return;
    }
    fs::set_permissions(lab.config(), Permissions::from_mode(0o666)).unwrap();
    lab.until(|| lab.text(&["status"]).contains("can write it (mode 0666)"));
    let text = lab.text(&["status"]);
    assert!(text.contains("has errors; the last good one is in force"), "{text}");
    assert!(text.contains("`chmod go-w "), "{text}");
    assert_eq!(lab.ask(&["status"]).status.code(), Some(1));
    assert!(lab.pings("10.0.2.7"), "{}", lab.log());
    fs::set_permissions(lab.config(), Permissions::from_mode(0o644)).unwrap();
    lab.until(|| lab.ask(&["status"]).status.success());
}
