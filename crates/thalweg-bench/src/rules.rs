//! Rules by number, as policies have them and as the kernel's filters do.
//!
//! Each rule lets others in at other ports; the last one alone lets in those that packets come from. So
//! whoever goes through rules one by one comes to the last one.

use crate::Measured;
use crate::network::Namespace;
use crate::pods::{Node, PODS, address};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use thalweg_image::sample::SplitMix;
use thalweg_wire::Prefix4;

/// Where packets come from: the last rule lets them in.
pub const SOURCES: Ipv4Addr = Ipv4Addr::new(10, 160, 0, 0);
/// Length of their prefix.
pub const SOURCES_LEN: u8 = 16;
/// The port that the last rule lets them to.
pub const PORT: u16 = 80;
/// Rules of one policy.
const PER_POLICY: usize = 100;
/// Objects of a file.
const OBJECTS: usize = 1_000;

/// One rule: from where, to which ports of TCP.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Who may come.
    pub from: Prefix4,
    /// The first and the last port.
    pub ports: [u16; 2],
}

/// So many rules.
pub fn rules(count: usize) -> Vec<Rule> {
    let rule = |number: usize| {
        let at = number as u32;
        // As clusters have them: addresses of pods, and nets.
        let from = match number % 2 {
            0 => Prefix4::containing(Ipv4Addr::from_bits(0x0b00_0000 + at * 7), 32),
            _ => Prefix4::containing(Ipv4Addr::from_bits(0x0c00_0000 + (at << 8)), 24),
        };
        let port = 1_000 + (number * 31 % 500) as u16;
        Rule { from, ports: [port, port + 3] }
    };
    let last = Rule { from: Prefix4::containing(SOURCES, SOURCES_LEN), ports: [PORT, PORT] };
    (1..count).map(rule).chain([last]).collect()
}

/// The pods of a node, without a policy.
pub fn pods() -> String {
    let mut text = String::new();
    for pod in PODS.into_iter().skip(1) {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: pod{pod}\n  namespace: bench\n  \
             annotations: {{thalweg.io/interface: pod{pod}, \
             thalweg.io/mac: \"02:00:00:00:0a:0{pod}\"}}\nstatus: {{podIPs: [{{ip: {}}}]}}\n",
            address(pod)
        );
    }
    text
}

/// Policies of Kubernetes with these rules, for all pods of the node.
pub fn policies(rules: &[Rule]) -> Vec<(String, String)> {
    let texts: Vec<String> =
        rules.chunks(PER_POLICY).enumerate().map(|(at, rules)| policy(at, rules)).collect();
    let file = |(at, texts): (usize, &[String])| (format!("policies-{at}.yaml"), texts.concat());
    texts.chunks(OBJECTS).enumerate().map(file).collect()
}

fn policy(number: usize, rules: &[Rule]) -> String {
    let mut text = format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: some-{number}, \
         namespace: bench}}\nspec:\n  podSelector: {{}}\n  policyTypes: [Ingress]\n  ingress:\n"
    );
    for Rule { from, ports: [first, last] } in rules {
        let _ = writeln!(
            text,
            "  - {{from: [{{ipBlock: {{cidr: {from}}}}}], \
             ports: [{{protocol: TCP, port: {first}, endPort: {last}}}]}}"
        );
    }
    text
}

/// So many addresses at random, none of them special, each once, in order.
pub fn addresses(count: usize) -> Vec<Ipv4Addr> {
    let mut random = SplitMix(29);
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let missing = count - all.len();
        all.extend((0..missing).map(|_| Ipv4Addr::from_bits(random.next() as u32)).filter(
            |some| {
                // What is this machine's, the lab's, or nobody's.
                !matches!(some.octets(), [0 | 10 | 127 | 169 | 198 | 224.., ..])
            },
        ));
        all.sort_unstable();
        all.dedup();
    }
    all
}

/// A policy of three rules, of which the second one lets a set of addresses in.
pub fn with_set(set: &[Ipv4Addr]) -> Vec<(String, String)> {
    let policy = format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: some}}\nspec:\n  \
         selector: all()\n  types: [Ingress]\n  ingress:\n  \
         - {{action: Deny, source: {{nets: [198.51.100.0/24]}}}}\n  \
         - {{action: Allow, protocol: TCP, source: {{selector: list == 'some'}}, \
         destination: {{ports: [{PORT}]}}}}\n  - {{action: Deny}}\n"
    );
    let mut text = String::from(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: some, labels: \
         {list: some}}\nspec:\n  nets:\n",
    );
    for address in set {
        let _ = writeln!(text, "  - {address}/32");
    }
    vec![("policy.yaml".to_owned(), policy), ("set.yaml".to_owned(), text)]
}

/// The peers: what reads rules into the kernel.
#[derive(Clone, Copy, PartialEq)]
pub enum Peer {
    /// `nft`.
    Nftables,
    /// `iptables`, the kernel's own where it is there, since it is the quicker one.
    Iptables,
}

impl Peer {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Nftables, Self::Iptables];

    /// Its name in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }

    /// Its name in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables if is_there("iptables-legacy-restore") => "iptables-legacy",
            Self::Iptables => "iptables",
        }
    }

    /// These rules in its language, behind what a CNI has in front of them.
    pub fn linear(self, rules: &[Rule]) -> String {
        let mut lines = String::new();
        for Rule { from, ports: [first, last] } in rules {
            let _ = match self {
                Self::Nftables => {
                    writeln!(lines, "ip saddr {from} tcp dport {first}-{last} accept")
                }
                Self::Iptables => {
                    writeln!(
                        lines,
                        "-A FORWARD -s {from} -p tcp -m tcp --dport {first}:{last} -j ACCEPT"
                    )
                }
            };
        }
        self.around(&lines, "")
    }

    /// The three rules with a set of that name.
    pub fn three(self, set: &str) -> String {
        match self {
            Self::Nftables => self.around(
                &format!(
                    "ip saddr 198.51.100.0/24 drop\nip saddr @{set} tcp dport {PORT} accept\ndrop\n"
                ),
                &format!("set {set} {{ type ipv4_addr; }}\n"),
            ),
            Self::Iptables => self.around(
                &format!(
                    "-A FORWARD -s 198.51.100.0/24 -j DROP\n\
                     -A FORWARD -p tcp -m set --match-set {set} src -m tcp --dport {PORT} -j ACCEPT\n\
                     -A FORWARD -j DROP\n"
                ),
                "",
            ),
        }
    }

    fn around(self, rules: &str, sets: &str) -> String {
        match self {
            Self::Nftables => format!(
                "table ip bench {{\n{sets}chain forward {{\n\
                 type filter hook forward priority 0; policy drop;\n\
                 ct state established,related accept\nct state invalid drop\n{rules}}}\n}}\n"
            ),
            Self::Iptables => format!(
                "*filter\n:FORWARD DROP [0:0]\n\
                 -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
                 -A FORWARD -m conntrack --ctstate INVALID -j DROP\n{rules}COMMIT\n"
            ),
        }
    }

    /// Reads a text in its language into a namespace.
    pub fn read(self, router: &Namespace, text: &str) -> Measured<()> {
        match self {
            Self::Nftables => fed(router, "nft", &["-f", "-"], text),
            Self::Iptables if is_there("iptables-legacy-restore") => {
                fed(router, "iptables-legacy-restore", &[], text)
            }
            Self::Iptables => fed(router, "iptables-restore", &[], text),
        }
    }

    /// A routed node with a text in force.
    pub fn node(self, text: &str) -> Measured<Node> {
        let node = Node::routed()?;
        self.read(&node.router, text)?;
        Ok(node)
    }
}

/// Whether a program of the administrator's is there.
fn is_there(program: &str) -> bool {
    ["/usr/sbin", "/sbin"].iter().any(|folder| Path::new(folder).join(program).exists())
}

/// Makes a set of the kernel's own (`hash:ip`).
pub fn ipset(router: &Namespace, name: &str, set: &[Ipv4Addr]) -> Measured<()> {
    let room = set.len().next_power_of_two();
    let mut text = format!("create {name} hash:ip family inet hashsize {room} maxelem {room}\n");
    for address in set {
        let _ = writeln!(text, "add {name} {address}");
    }
    fed(router, "ipset", &["restore"], &text)
}

/// Fills a set of nftables.
pub fn nft_set(router: &Namespace, name: &str, set: &[Ipv4Addr]) -> Measured<()> {
    for chunk in set.chunks(100_000) {
        let elements: Vec<String> = chunk.iter().map(Ipv4Addr::to_string).collect();
        let text = format!("add element ip bench {name} {{ {} }}\n", elements.join(", "));
        fed(router, "nft", &["-f", "-"], &text)?;
    }
    Ok(())
}

/// Runs a program in a namespace with a text at its standard input.
pub fn fed(router: &Namespace, program: &str, arguments: &[&str], text: &str) -> Measured<()> {
    let mut child = router.inside(|| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map_err(|error| {
            format!("`{program}` cannot be run ({error}); run `make setup-bench`").into()
        })
    })?;
    // When it ends early, its own words say more than the broken pipe.
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("without a word");
        return Err(format!("{program}: {first}").into());
    }
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_alone_lets_packets_in() {
        let all = rules(1_000);
        assert_eq!(all.len(), 1_000);
        let lets_in = |rule: &&Rule| {
            rule.from.contains(SOURCES) || (rule.ports[0]..=rule.ports[1]).contains(&PORT)
        };
        assert_eq!(all.iter().filter(lets_in).count(), 1);
        assert!(all.last().is_some_and(|rule| lets_in(&rule)));
        assert_eq!(rules(1).len(), 1);
    }

    #[test]
    fn rules_are_told_apart() {
        let all = rules(100_000);
        let mut from: Vec<String> = all.iter().map(|rule| rule.from.to_string()).collect();
        from.sort_unstable();
        from.dedup();
        assert_eq!(from.len(), all.len());
        assert!(!from.iter().any(|from| from.starts_with("10.") && !from.starts_with("10.160.")));
    }

    #[test]
    fn every_language_has_every_rule() {
        let all = rules(250);
        let yaml: String = policies(&all).into_iter().map(|(_, text)| text).collect();
        assert_eq!(yaml.matches("ipBlock").count(), 250);
        assert_eq!(yaml.matches("kind: NetworkPolicy").count(), 3);
        for peer in Peer::ALL {
            let text = peer.linear(&all).to_lowercase();
            for rule in &all {
                assert_eq!(text.matches(&format!(" {} ", rule.from)).count(), 1, "{}", peer.name());
            }
        }
    }

    #[test]
    fn addresses_of_a_set_are_all_others() {
        let set = addresses(10_000);
        assert_eq!(set.len(), 10_000);
        assert!(set.is_sorted_by(|a, b| a < b));
        assert!(!set.iter().any(|one| one.is_multicast() || one.is_loopback()));
    }
}
