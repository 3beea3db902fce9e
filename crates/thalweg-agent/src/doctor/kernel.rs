//! The kernel: its version, what it can do, and whether it takes our programs.

use super::{Finding, read};
use crate::plane::capacity;
use std::path::Path;
use thalweg_model::intent::Limits;
use thalweg_xdp::facts::Right;
use thalweg_xdp::{Facts, LoadError, Loaded, rights};

/// The oldest kernel that tests run on.
const OLDEST: (u32, u32) = (6, 1);

pub fn examine() -> Vec<Finding> {
    let facts = Facts::read();
    let mut findings = vec![version(&facts.kernel)];
    findings.extend(rights(&facts.missing));
    findings.extend(match facts.missing.is_empty() {
        true => programs(),
        false => {
            vec![Finding::warn("programs", "not tried without these rights", "run this as root")]
        }
    });
    findings.push(match facts.tcx {
        false if !facts.missing.is_empty() => {
            Finding::warn("tcx", "not tried without these rights", "run this as root")
        }
        true => Finding::ok("tcx", "there: programs at tc are links of their own"),
        false => Finding::ok("tcx", "not in this kernel (Linux 6.6); clsact filters do the work"),
    });
    findings.push(match facts.xdp_features {
        true => Finding::ok("xdp", "drivers tell what they can do"),
        false => Finding::warn(
            "xdp",
            "the kernel does not tell what drivers can do with XDP, so veths get no native XDP",
            "Linux 6.3 or newer does",
        ),
    });
    findings.push(match facts.jit {
        Some(false) => Finding::warn(
            "jit",
            "eBPF programs are interpreted, which is many times slower",
            "`sysctl -w net.core.bpf_jit_enable=1`",
        ),
        _ => Finding::ok("jit", "eBPF programs are compiled"),
    });
    findings.push(match Path::new("/sys/kernel/btf/vmlinux").exists() {
        true => Finding::ok("btf", "the kernel has type information"),
        false => Finding::warn(
            "btf",
            "the kernel has no type information of its own; ours is checked without it",
            "use a kernel with CONFIG_DEBUG_INFO_BTF if programs are refused",
        ),
    });
    findings.extend(lockdown());
    findings.push(memlock());
    findings
}

fn version(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().ok());
    let number = (numbers.next().flatten(), numbers.next().flatten());
    match number {
        (Some(major), Some(minor)) if (major, minor) < OLDEST => Finding::fail(
            "kernel",
            format!("Linux {release} is older than {}.{}", OLDEST.0, OLDEST.1),
            "take a newer kernel",
        ),
        _ => Finding::ok("kernel", format!("Linux {release}")),
    }
}

fn rights(missing: &[Right]) -> Vec<Finding> {
    const ABOUT: &str = "rights";
    let names: Vec<String> = missing.iter().map(Right::to_string).collect();
    if !names.is_empty() {
        let what = format!("this process lacks {}", names.join(" and "));
        return vec![Finding::fail(ABOUT, what, "run this, and the agent, as root on the host")];
    }
    let mut findings = vec![Finding::ok(ABOUT, "CAP_BPF and CAP_NET_ADMIN are there")];
    if !rights::may_raise() {
        findings.push(Finding::warn(
            ABOUT,
            "without CAP_SYS_ADMIN the other ends of veths in other namespaces are out of sight, \
             and such links get tc",
            "give it, or wish for a hook (`xdp: Native`)",
        ));
    }
    findings
}

/// Loads the programs with small tables, attached to nothing: the verifier has the last word.
fn programs() -> Vec<Finding> {
    let small = Limits {
        links: 64,
        sessions: 1,
        vrfs: 1,
        ipv4_routes: 1_000,
        ipv6_routes: 1_000,
        labels: 1_024,
        nexthops: 64,
        groups: 64,
        vlan_links: 1,
        frontends: 16,
        backends: 16,
        ring_slots: 256,
        flows: 64,
        policy_lines: 64,
    };
    match Loaded::load(thalweg_bpf_object::object(), &capacity(&small)) {
        Ok(mut loaded) => vec![
            Finding::ok("programs", "the kernel takes the XDP and the tc program"),
            match loaded.try_sockets() {
                Ok(()) => Finding::ok("sockets", "the kernel takes the programs for sockets"),
                Err(error) => Finding::warn(
                    "sockets",
                    format!("processes of this host reach no services: {}", first_line(&error)),
                    "take Linux 6.1 or newer, with CONFIG_CGROUP_BPF",
                ),
            },
        ],
        Err(error) => vec![Finding::fail(
            "programs",
            first_line(&error),
            "see which kernels docs/verifier.tsv lists, and report this",
        )],
    }
}

/// The kernel's words, without those of its verifier.
fn first_line(error: &LoadError) -> String {
    crate::ebpf::chain(error).lines().next().unwrap_or_default().to_owned()
}

fn lockdown() -> Option<Finding> {
    let modes = read("/sys/kernel/security/lockdown")?;
    Some(match modes.contains("[confidentiality]") {
        true => Finding::fail(
            "lockdown",
            "the kernel is locked down for confidentiality, which forbids programs like ours",
            "boot with `lockdown=integrity`",
        ),
        false => Finding::ok("lockdown", modes),
    })
}

fn memlock() -> Finding {
    let limits = read("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or("unknown");
    // Since Linux 5.11 maps count as memory of the control group.
    Finding::ok("memlock", format!("{soft} octets, which tables do not count against"))
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn old_kernels_fail_and_odd_names_do_not() {
        let health = |release: &str| version(release).health;
        assert_eq!(health("5.15.0-91-generic"), Health::Fail);
        assert_eq!(health("6.0.9"), Health::Fail);
        assert_eq!(health("6.1.0-18-amd64"), Health::Ok);
        assert_eq!(health("10.0"), Health::Ok);
        assert_eq!(health("mine"), Health::Ok);
    }
}
