//! Other software that forwards, filters or steers packets of this host.

use super::{Finding, read};
use std::collections::BTreeSet;
use thalweg_xdp::survey::{self, Chain};

/// Names of processes (at most 15 octets), with what to know about them.
const KNOWN: [(&str, &str, &str); 9] = [
    ("kube-proxy", "its service rules do not see what Thalweg forwards", REMEDY),
    ("cilium-agent", "it has programs of its own on links", REMEDY),
    (
        "calico-node",
        "its policies are rules or programs that do not see what Thalweg forwards",
        REMEDY,
    ),
    ("kube-router", "its policies and services do not see what Thalweg forwards", REMEDY),
    ("ovs-vswitchd", "links of its bridges cannot be routed", REMEDY),
    ("vpp_main", "it takes links away from the kernel", REMEDY),
    ("dockerd", "it sets the kernel's forward policy to drop", "`iptables -P FORWARD ACCEPT`"),
    ("firewalld", "its forward rules do not see what Thalweg forwards", REMEDY),
    (
        "irqbalance",
        "it moves interrupts between processors",
        "pin those of the links, if packets are to stay in order",
    ),
];
const REMEDY: &str = "route with Thalweg only over links that it has nothing to do with";

pub fn examine() -> Vec<Finding> {
    let mut findings = rules(survey::forward_chains());
    findings.extend(legacy(&read("/proc/net/ip_tables_names").unwrap_or_default()));
    let found = processes();
    findings.extend(KNOWN.iter().filter(|known| found.contains(known.0)).map(
        |(name, what, remedy)| {
            Finding::warn("other software", format!("`{name}` runs: {what}"), *remedy)
        },
    ));
    if findings.is_empty() {
        findings.push(Finding::ok("other software", "none that is known to interfere"));
    }
    findings
}

/// Chains at the kernel's forward hook.
fn rules(chains: std::io::Result<Vec<Chain>>) -> Vec<Finding> {
    const ABOUT: &str = "nftables";
    let chains = match chains {
        Ok(chains) => chains,
        Err(error) => {
            let what = format!("rules cannot be read: {error}");
            return vec![Finding::warn(ABOUT, what, "run this as root")];
        }
    };
    let judge = |Chain { name, drops, rules }: Chain| match (drops, rules) {
        (false, 0) => None,
        (true, _) => Some(Finding::warn(
            ABOUT,
            format!(
                "chain `{name}` drops what no rule takes: it does not see what Thalweg forwards, \
                 and drops what is left to the kernel"
            ),
            format!(
                "accept forwarded packets of routed links in `{name}`; do not rely on it there"
            ),
        )),
        (false, rules) => Some(Finding::warn(
            ABOUT,
            format!("chain `{name}` has {rules} rules that do not see what Thalweg forwards"),
            "do not rely on it for routed links",
        )),
    };
    chains.into_iter().filter_map(judge).collect()
}

/// Tables of the old iptables, whose rules cannot be read by netlink.
fn legacy(names: &str) -> Option<Finding> {
    names.lines().any(|name| name == "filter").then(|| {
        Finding::warn(
            "iptables",
            "the old iptables has a `filter` table: rules in FORWARD do not see what Thalweg \
             forwards, and may drop what is left to the kernel",
            "look at `iptables-legacy -S FORWARD`",
        )
    })
}

/// Names of all processes.
fn processes() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers =
        entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    numbers.filter_map(|entry| read(&entry.path().join("comm").display().to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    #[test]
    fn chains_that_matter_are_told() {
        let chain = |name: &str, drops, rules| Chain { name: name.into(), drops, rules };
        let said = rules(Ok(vec![
            chain("inet filter empty", false, 0),
            chain("ip filter FORWARD", true, 0),
            chain("inet fw passing", false, 4),
        ]));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].what.contains("`ip filter FORWARD` drops"), "{said:?}");
        assert!(said[1].what.contains("has 4 rules"), "{said:?}");
        assert!(said.iter().all(|finding| finding.health == Health::Warn));
        assert!(legacy("nat\nfilter\n").is_some() && legacy("nat\n").is_none());
    }

    #[test]
    fn this_process_is_among_them() {
        let own = read("/proc/self/comm").unwrap();
        assert!(processes().contains(&own), "{own}");
        assert!(KNOWN.iter().all(|(name, ..)| name.len() <= 15));
    }
}
