//! Settings of the kernel that must be right for what is left to it.

use std::net::IpAddr;
use thalweg_compile::Compiler;
use thalweg_model::{Origin, Problem, Severity};

/// Finds what is wrong; `read` reads a file below /proc/sys.
///
/// Packets whose next hop is not resolved yet, or that must be fragmented, are forwarded by the
/// kernel: if it may not, the first packets to a new neighbor are lost.
pub fn problems(compiler: &Compiler, read: impl Fn(&str) -> Option<String>) -> Vec<Problem> {
    let host = compiler.host_facts();
    let routed =
        |own: &thalweg_model::host::Address| compiler.link(own.link).is_some_and(|link| link.ours);
    let global6 = |own: &thalweg_model::host::Address| matches!(own.address, IpAddr::V6(a) if a.segments()[0] & 0xffc0 != 0xfe80);
    let uses4 = host.addresses.values().any(|own| own.address.is_ipv4() && routed(own));
    let uses6 = host.addresses.values().any(|own| global6(own) && routed(own));
    let switches = [
        (uses4, "IPv4", "/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        (uses6, "IPv6", "/proc/sys/net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
    ];
    let strict = strict(compiler, &read);
    let off = |path: &str| read(path).is_some_and(|value| value.trim() == "0");
    let found = switches.into_iter().filter(|(uses, _, path, _)| *uses && off(path));
    found
        .map(|(_, family, path, name)| Problem {
            severity: Severity::Warning,
            origin: Origin { file: path.into(), line: 0, column: 0 },
            object: None,
            field: None,
            what: format!(
                "the kernel does not forward {family}: packets left to it (neighbor not resolved \
                 yet, fragments) are lost"
            ),
            remedy: format!("`sysctl -w {name}=1` in this network namespace"),
        })
        .chain(strict)
        .collect()
}

/// Links whose strict reverse path filter drops what pods of other nodes send to this host itself: its
/// answers go by another link, into the tunnel.
fn strict(compiler: &Compiler, read: &impl Fn(&str) -> Option<String>) -> Vec<Problem> {
    let filter = |link: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{link}/rp_filter");
        let value = read(&path).and_then(|text| text.trim().parse::<u8>().ok()).unwrap_or(0);
        (value, path)
    };
    if !compiler.intent().has_passage() {
        return Vec::new();
    }
    // The larger of the two counts (Documentation/networking/ip-sysctl.rst).
    let (all, _) = filter("all");
    let addresses = &compiler.host_facts().addresses;
    let numbered =
        |link: u32| addresses.values().any(|own| own.link == link && own.address.is_ipv4());
    let links = compiler.links().into_iter().filter(|link| link.ours && numbered(link.index));
    let found = links.filter_map(|link| {
        let (own, path) = filter(&link.name);
        (own.max(all) == 1).then(|| Problem {
            severity: Severity::Warning,
            origin: Origin { file: path, line: 0, column: 0 },
            object: None,
            field: None,
            what: format!(
                "the kernel checks sources strictly on {}: what pods of other nodes send to this \
                 host itself is lost",
                link.name
            ),
            remedy: format!("`sysctl -w net.ipv4.conf.{}.rp_filter=2`", link.name),
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brain::tests::{HOST, compiled};

    #[test]
    fn only_what_is_used_is_asked_for() {
        let compiler = compiled(HOST);
        let off = problems(&compiler, |_| Some("0\n".into()));
        assert_eq!(off.len(), 1, "{off:?}");
        assert!(off[0].remedy.contains("net.ipv4.ip_forward=1"), "{off:?}");
        assert!(problems(&compiler, |_| Some("1\n".into())).is_empty());
        assert!(problems(&compiler, |_| None).is_empty());
    }

    #[test]
    fn a_strict_filter_matters_where_answers_go_into_tunnels() {
        let told = |tunnel: bool, all: &str, own: &str| {
            let compiler = crate::passage::tests::compiler(tunnel, &["eth0"]);
            let found = problems(&compiler, |path| match path {
                "/proc/sys/net/ipv4/conf/all/rp_filter" => Some(all.to_owned() + "\n"),
                "/proc/sys/net/ipv4/conf/eth0/rp_filter" => Some(own.to_owned() + "\n"),
                _ => Some("1\n".into()),
            });
            found.into_iter().map(|problem| problem.remedy).collect::<Vec<_>>()
        };
        let remedy = ["`sysctl -w net.ipv4.conf.eth0.rp_filter=2`"];
        assert_eq!(told(true, "1", "0"), remedy);
        assert_eq!(told(true, "0", "1"), remedy);
        // The larger of the two counts, and loose is larger than strict.
        assert_eq!(told(true, "2", "1"), [""; 0]);
        assert_eq!(told(true, "0", "0"), [""; 0]);
        assert_eq!(told(false, "1", "1"), [""; 0]);
    }
}
