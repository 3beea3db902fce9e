//! Pods beside a router, and servers in them.

use super::sockets::listen;
use super::{Lab, ip};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

/// A router with pods, each in its namespace, and servers.
pub struct Pods {
    pub lab: Lab,
    pub stop: Arc<AtomicBool>,
    pub servers: Vec<JoinHandle<()>>,
    count: usize,
}

impl Pods {
    /// Builds them; none, with the reason told, where this machine does not let us.
    pub fn new(tag: &str, addresses: &[&str]) -> Option<Self> {
        let lab = Lab::new(tag)?;
        let n = lab.name.clone();
        let pods = Self { lab, stop: Arc::default(), servers: Vec::new(), count: addresses.len() };
        for (number, address) in addresses.iter().enumerate() {
            for line in [
                format!("netns add {n}p{number}"),
                format!(
                    "link add pod{number} netns {n}r address 02:00:00:00:09:0{number} \
                     type veth peer name eth0 netns {n}p{number}"
                ),
                format!("-n {n}p{number} link set lo up"),
                format!("-n {n}p{number} link set eth0 up"),
                format!("-n {n}r link set pod{number} up"),
                format!("-n {n}p{number} addr add {address}/32 dev eth0"),
                format!("-n {n}p{number} route add 169.254.1.1 dev eth0 scope link"),
                format!("-n {n}p{number} route add default via 169.254.1.1 dev eth0"),
                format!(
                    "-n {n}p{number} neigh add 169.254.1.1 dev eth0 lladdr 02:00:00:00:09:0{number}"
                ),
            ] {
                ip(&line).unwrap();
            }
        }
        Some(pods)
    }

    /// The namespace of a host.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}{host}", self.lab.name)
    }

    /// Serves connections to a port of a host until the end.
    pub fn serve(
        &mut self,
        host: &str,
        port: u16,
        serve: impl Fn(TcpStream, SocketAddr) + Send + 'static,
    ) {
        let server = listen(&self.namespace(host), ("0.0.0.0", port), self.stop.clone(), serve);
        self.servers.push(server);
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        for server in self.servers.drain(..) {
            let _ = server.join();
        }
        for number in 0..self.count {
            let _ = ip(&format!("netns del {}p{number}", self.lab.name));
        }
    }
}

/// A Pod object and its interface.
pub fn pod(number: usize, address: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p{number}\n  namespace: shop\n  \
         annotations: {{thalweg.io/interface: pod{number}}}\n{more}\
         status: {{podIPs: [{{ip: {address}}}]}}\n"
    )
}
