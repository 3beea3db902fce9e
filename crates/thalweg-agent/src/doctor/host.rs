//! The host: the BPF file system, sysctls and the clock.

use super::{Finding, read};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The clock of a host that knows the time is later: 2026-01-01.
const PLAUSIBLE: Duration = Duration::from_secs(1_767_225_600);

pub fn examine(bpffs: &Path) -> Vec<Finding> {
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let mut findings = vec![mounted(&mounts, bpffs), cgroups(&mounts)];
    findings.extend(forwarding());
    findings.push(clock(SystemTime::now()));
    findings.extend(clock_source());
    findings
}

/// Mount points of BPF file systems in a mount table (proc(5), mountinfo).
fn mounted(table: &str, bpffs: &Path) -> Finding {
    const ABOUT: &str = "bpffs";
    let bpf = table.lines().filter(|line| line.contains(" - bpf "));
    let points: Vec<&str> = bpf.filter_map(|line| line.split(' ').nth(4)).collect();
    if points.iter().any(|point| Path::new(point) == bpffs) {
        return Finding::ok(ABOUT, format!("mounted at {}", points.join(", ")));
    }
    let place = bpffs.display();
    let what = format!("no BPF file system is mounted at {place}");
    let remedy = format!("`mount -t bpf bpf {place}`");
    match place.to_string() == "/sys/fs/bpf" {
        true => Finding::warn(ABOUT, format!("{what}; the agent will try"), remedy),
        false => Finding::fail(ABOUT, what, remedy),
    }
}

/// Whether there is a hierarchy of control groups that sockets can be served by.
fn cgroups(table: &str) -> Finding {
    const ABOUT: &str = "cgroup";
    match thalweg_xdp::sockets::hierarchy(table) {
        Some(root) => Finding::ok(ABOUT, format!("version 2 is mounted at {}", root.display())),
        None => Finding::warn(
            ABOUT,
            "no cgroup2 file system is mounted: processes of this host reach no services",
            "`mount -t cgroup2 none /sys/fs/cgroup/unified`, or set spec.services.socket: Off",
        ),
    }
}

/// Whether the kernel forwards what is left to it.
fn forwarding() -> Vec<Finding> {
    let switches = [
        ("IPv4", "/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("IPv6", "/proc/sys/net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
    ];
    let judge = |(family, path, name): (&str, &str, &str)| match read(path)?.as_str() {
        "0" => Some(Finding::warn(
            "forwarding",
            format!(
                "the kernel does not forward {family}: packets left to it (neighbor not resolved \
                 yet, fragments) are lost"
            ),
            format!("`sysctl -w {name}=1` in this network namespace"),
        )),
        _ => Some(Finding::ok("forwarding", format!("the kernel forwards {family}"))),
    };
    switches.into_iter().filter_map(judge).collect()
}

fn clock(now: SystemTime) -> Finding {
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) if since >= PLAUSIBLE => Finding::ok("clock", "the time is plausible"),
        _ => Finding::warn(
            "clock",
            "the clock is in the past: history and logs will have wrong times",
            "set it, and run a time service (`timedatectl set-ntp true`)",
        ),
    }
}

/// Exceptions read the clock; some sources take microseconds.
fn clock_source() -> Option<Finding> {
    let name = read("/sys/devices/system/clocksource/clocksource0/current_clocksource")?;
    Some(match name.as_str() {
        "hpet" | "acpi_pm" | "jiffies" => Finding::warn(
            "clock",
            format!("the kernel reads time from `{name}`, which is slow: exceptions cost more"),
            "boot with `clocksource=tsc`, if the processor's is stable",
        ),
        _ => Finding::ok("clock", format!("the kernel reads time from `{name}`")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn bpf_file_systems_are_found_where_they_are() {
        let table = "\
            25 30 0:23 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n\
            33 25 0:29 / /sys/fs/bpf rw shared:11 - bpf bpf rw,mode=700\n";
        assert_eq!(mounted(table, Path::new("/sys/fs/bpf")).health, Health::Ok);
        let other = mounted(table, Path::new("/run/bpf"));
        assert_eq!(other.health, Health::Fail);
        assert_eq!(other.remedy.as_deref(), Some("`mount -t bpf bpf /run/bpf`"));
        assert_eq!(mounted("", Path::new("/sys/fs/bpf")).health, Health::Warn);
    }

    #[test]
    fn clocks_in_the_past_are_told() {
        assert_eq!(clock(UNIX_EPOCH).health, Health::Warn);
        assert_eq!(clock(UNIX_EPOCH - Duration::from_secs(1)).health, Health::Warn);
        assert_eq!(clock(UNIX_EPOCH + PLAUSIBLE).health, Health::Ok);
    }
}
