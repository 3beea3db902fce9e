//! Services by number, as Kubernetes has them and as kube-proxy writes them down for the kernel.
//!
//! All services look alike. The last one leads to the pods of a [`crate::pods::Node`], the others to
//! addresses that nobody has and no packet is sent to.

use crate::pods::{SERVERS, address};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// The port of services.
const PORT: u16 = 80;
/// The port of backends.
pub const TARGET: u16 = 8080;
/// Where pods are: kube-proxy masquerades what comes from elsewhere.
const PODS_RANGE: &str = "10.128.0.0/9";

/// So many services with so many backends each.
#[derive(Clone, Copy)]
pub struct Cluster {
    /// Services.
    pub services: u32,
    /// Backends of each, but for the last one.
    pub backends: u32,
}

impl Cluster {
    /// The address that a service is reached at.
    pub fn frontend(number: u32) -> SocketAddr {
        let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + number);
        SocketAddrV4::new(address, PORT).into()
    }

    /// The last service.
    pub fn last(self) -> SocketAddr {
        Self::frontend(self.services - 1)
    }

    /// Who serves a service.
    pub fn serving(self, number: u32) -> Vec<Ipv4Addr> {
        if number + 1 == self.services {
            return SERVERS.map(address).to_vec();
        }
        let first = u32::from(Ipv4Addr::new(10, 128, 0, 1)) + number * self.backends;
        (first..first + self.backends).map(Ipv4Addr::from_bits).collect()
    }

    /// The node's own objects: settings, and these pods.
    pub fn node(self, limits: &str, pods: &[usize]) -> String {
        let mut text = format!(
            "apiVersion: thalweg.dev/v1alpha1\nkind: Router\nmetadata: {{name: router}}\nspec:\n  \
             limits: {{{limits}}}\n"
        );
        for &pod in pods {
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: pod{pod}\n  namespace: bench\n  \
                 annotations: {{thalweg.io/interface: pod{pod}, \
                 thalweg.io/mac: \"02:00:00:00:0a:0{pod}\"}}\n\
                 status: {{podIPs: [{{ip: {}}}]}}\n",
                address(pod)
            );
        }
        text
    }

    /// A list of these services, or of their slices, as `kubectl get -o yaml` prints them.
    pub fn list(
        self,
        numbers: std::ops::Range<u32>,
        item: fn(u32, &[Ipv4Addr]) -> String,
    ) -> String {
        let mut text = String::from("apiVersion: v1\nitems:\n");
        for number in numbers {
            text += &item(number, &self.serving(number));
        }
        text + "kind: List\nmetadata:\n  resourceVersion: \"\"\n"
    }

    /// Everything of all services in two files.
    pub fn files(self) -> [(&'static str, String); 2] {
        let all = 0..self.services;
        [("services.yaml", self.list(all.clone(), service)), ("slices.yaml", self.list(all, slice))]
    }
}

/// A service as an item of a list.
pub fn service(number: u32, _: &[Ipv4Addr]) -> String {
    let address = Cluster::frontend(number).ip();
    format!(
        "- apiVersion: v1\n  kind: Service\n  metadata:\n    name: web-{number}\n    \
         namespace: bench\n  spec:\n    clusterIP: {address}\n    clusterIPs:\n    - {address}\n    \
         ports:\n    - name: http\n      port: {PORT}\n      protocol: TCP\n      \
         targetPort: {TARGET}\n    type: ClusterIP\n"
    )
}

/// The slice of a service with these backends as an item of a list.
pub fn slice(number: u32, serving: &[Ipv4Addr]) -> String {
    let mut text =
        String::from("- addressType: IPv4\n  apiVersion: discovery.k8s.io/v1\n  endpoints:\n");
    for address in serving {
        let _ = write!(
            text,
            "  - addresses:\n    - {address}\n    conditions:\n      ready: true\n      \
             serving: true\n      terminating: false\n"
        );
    }
    let _ = write!(
        text,
        "  kind: EndpointSlice\n  metadata:\n    labels:\n      \
         kubernetes.io/service-name: web-{number}\n    name: web-{number}-a\n    \
         namespace: bench\n  ports:\n  - name: http\n    port: {TARGET}\n    protocol: TCP\n"
    );
    text
}

/// The rules of kube-proxy's iptables mode, for `iptables-restore`.
pub fn iptables(cluster: Cluster) -> String {
    let (mut chains, mut services, mut rules) = (String::new(), String::new(), String::new());
    let mut endpoint = 0;
    for number in 0..cluster.services {
        let (chain, at) = (format!("KUBE-SVC-{number:016X}"), Cluster::frontend(number).ip());
        let name = format!("-m comment --comment \"bench/web-{number}:http cluster IP\"");
        let to = format!("{name} -p tcp -m tcp -d {at}/32 --dport {PORT}");
        let _ = writeln!(chains, ":{chain} - [0:0]");
        let _ = writeln!(services, "-A KUBE-SERVICES {to} -j {chain}");
        let _ = writeln!(rules, "-A {chain} {to} ! -s {PODS_RANGE} -j KUBE-MARK-MASQ");
        let serving = cluster.serving(number);
        for (taken, backend) in serving.iter().enumerate() {
            let sep = format!("KUBE-SEP-{endpoint:016X}");
            endpoint += 1;
            let chance = match serving.len() - taken {
                1 => String::new(),
                left => {
                    format!("-m statistic --mode random --probability {:.10} ", 1.0 / left as f64)
                }
            };
            let name = format!("-m comment --comment \"bench/web-{number}:http\"");
            let _ = writeln!(chains, ":{sep} - [0:0]");
            let _ = write!(
                rules,
                "-A {chain} {name} {chance}-j {sep}\n\
                 -A {sep} {name} -s {backend}/32 -j KUBE-MARK-MASQ\n\
                 -A {sep} {name} -p tcp -m tcp -j DNAT --to-destination {backend}:{TARGET}\n"
            );
        }
    }
    format!(
        "*filter\n:KUBE-FORWARD - [0:0]\n-A FORWARD -j KUBE-FORWARD\n\
         -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n\
         -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT\n\
         -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\nCOMMIT\n\
         *nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n\
         :KUBE-MARK-MASQ - [0:0]\n{chains}\
         -A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n\
         -A POSTROUTING -j KUBE-POSTROUTING\n\
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n\
         -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n\
         -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n{services}\
         -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n{rules}COMMIT\n"
    )
}

/// The table of kube-proxy's nftables mode, for `nft -f`.
pub fn nftables(cluster: Cluster) -> String {
    let (mut addresses, mut frontends, mut chains) = (String::new(), String::new(), String::new());
    for number in 0..cluster.services {
        let at = Cluster::frontend(number).ip();
        let _ = write!(addresses, "{at}, ");
        let _ = writeln!(frontends, "{at} . tcp . {PORT} : goto service-{number:08X},");
        chains += &nft_service(number, &cluster.serving(number));
    }
    format!(
        "table ip kube-proxy {{\n\
         set cluster-ips {{ type ipv4_addr; elements = {{ {addresses} }}; }}\n\
         set nodeport-ips {{ type ipv4_addr; }}\n\
         map firewall-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}\n\
         map no-endpoint-services {{ type ipv4_addr . inet_proto . inet_service : verdict; }}\n\
         map service-nodeports {{ type inet_proto . inet_service : verdict; }}\n\
         chain mark-for-masquerade {{ meta mark set meta mark or 0x4000; }}\n{chains}\
         map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; \
         elements = {{\n{frontends} }}; }}\n{NFT_HOOKS}}}\n"
    )
}

/// Where the kernel enters the table, and what leads on from there.
const NFT_HOOKS: &str = "
chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
chain cluster-ips-check { ip daddr @cluster-ips reject; ip daddr 10.96.0.0/12 drop; }
chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
}
chain masquerading {
    meta mark and 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
}
chain filter-prerouting-pre-dnat {
    type filter hook prerouting priority -110;
    ct state new jump firewall-check
}
chain filter-forward {
    type filter hook forward priority 0;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
}
chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
chain nat-output { type nat hook output priority -100; jump services; }
chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
";

/// The chains of a service and of its endpoints.
pub fn nft_service(number: u32, serving: &[Ipv4Addr]) -> String {
    let (mut chains, mut choice) = (String::new(), String::new());
    for (place, backend) in serving.iter().enumerate() {
        let chain = format!("endpoint-{number:08X}-{backend}");
        let _ = write!(
            chains,
            "chain {chain} {{\nip saddr {backend} jump mark-for-masquerade\n\
             meta l4proto tcp dnat to {backend}:{TARGET}\n}}\n"
        );
        let _ = write!(choice, "{place} : goto {chain}, ");
    }
    format!(
        "{chains}chain service-{number:08X} {{\n\
         ip daddr {} tcp dport {PORT} ip saddr != {PODS_RANGE} jump mark-for-masquerade\n\
         numgen random mod {} vmap {{ {choice} }}\n}}\n",
        Cluster::frontend(number).ip(),
        serving.len(),
    )
}

/// What kube-proxy writes when one backend is left of a service: its chain anew.
pub fn nft_change(number: u32, backend: Ipv4Addr) -> String {
    let chain = format!("ip kube-proxy service-{number:08X}");
    format!(
        "flush chain {chain}\n\
         add rule {chain} ip daddr {} tcp dport {PORT} ip saddr != {PODS_RANGE} \
         jump mark-for-masquerade\n\
         add rule {chain} numgen random mod 1 vmap {{ 0 : goto endpoint-{number:08X}-{backend} }}\n",
        Cluster::frontend(number).ip(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Cluster = Cluster { services: 3, backends: 2 };

    #[test]
    fn the_last_service_leads_to_the_pods() {
        assert_eq!(SMALL.last(), "10.96.0.3:80".parse().unwrap());
        assert_eq!(SMALL.serving(2), SERVERS.map(address));
        assert_eq!(
            SMALL.serving(1),
            ["10.128.0.3", "10.128.0.4"].map(|a| a.parse::<Ipv4Addr>().unwrap())
        );
    }

    #[test]
    fn rules_name_no_chain_that_is_not_there() {
        let text = iptables(SMALL);
        let chains: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next()).collect();
        let targets = text.split_whitespace().filter(|word| word.starts_with("KUBE-"));
        assert!(targets.clone().count() > 20);
        for target in targets {
            assert!(chains.contains(&target), "{target}");
        }
        let text = nftables(SMALL) + &nft_change(2, address(SERVERS[0]));
        for word in text
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|w| w.starts_with("service-0") || w.starts_with("endpoint-0"))
        {
            assert!(text.contains(&format!("chain {} {{", word.trim())), "{word}");
        }
    }

    #[test]
    fn each_backend_has_the_same_chance() {
        let text = iptables(Cluster { services: 2, backends: 4 });
        let chances: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("KUBE-SVC-0000000000000000 "))
            .filter_map(|line| line.split("--probability ").nth(1)?.split(' ').next())
            .collect();
        assert_eq!(chances, ["0.2500000000", "0.3333333333", "0.5000000000"]);
    }
}
