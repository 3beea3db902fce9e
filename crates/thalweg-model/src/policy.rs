//! How a router carries out policies where they meet hosts.

use crate::cluster::Protocol;

/// Settings of policies.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicySettings {
    /// Ports of a host that policies cannot close: otherwise an error in them locks everybody out.
    pub fail_safe_in: Vec<(Protocol, u16)>,
    /// Ports elsewhere that policies cannot close to a host.
    pub fail_safe_out: Vec<(Protocol, u16)>,
    /// What becomes of what a pod says to its own host, once its policies let it pass.
    pub to_host: ToHost,
    /// Whether each node has a host endpoint for all of its interfaces.
    pub auto_hosts: bool,
}

/// What becomes of what pods say to their own host.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ToHost {
    /// It gets there.
    #[default]
    Accept,
    /// It does not.
    Drop,
    /// The host endpoint for all interfaces decides.
    Return,
}

/// BGP, etcd, Typha, the API server and etcd of Calico.
const TCP: [u16; 7] = [179, 2379, 2380, 5473, 6443, 6666, 6667];

impl Default for PolicySettings {
    fn default() -> Self {
        let tcp = || TCP.into_iter().map(|port| (Protocol::Tcp, port));
        let ssh_and_dhcp = [(Protocol::Tcp, 22), (Protocol::Udp, 68)];
        let dns_and_dhcp = [(Protocol::Udp, 53), (Protocol::Udp, 67)];
        Self {
            fail_safe_in: ssh_and_dhcp.into_iter().chain(tcp()).collect(),
            fail_safe_out: dns_and_dhcp.into_iter().chain(tcp()).collect(),
            to_host: ToHost::Accept,
            auto_hosts: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_fail_safe_ports() {
        let usual = PolicySettings::default();
        let words = |ports: &[(Protocol, u16)]| {
            ports.iter().map(|(of, port)| format!("{of}:{port}")).collect::<Vec<_>>().join(" ")
        };
        let tcp = "TCP:179 TCP:2379 TCP:2380 TCP:5473 TCP:6443 TCP:6666 TCP:6667";
        assert_eq!(words(&usual.fail_safe_in), format!("TCP:22 UDP:68 {tcp}"));
        assert_eq!(words(&usual.fail_safe_out), format!("UDP:53 UDP:67 {tcp}"));
    }
}
