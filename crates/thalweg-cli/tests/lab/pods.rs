//! Pods beside a router, and sockets in network namespaces.

use crate::lab::{Lab, ip};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long anything may take.
pub const LONG: Duration = Duration::from_secs(4);

/// A router with pods, each in its namespace, and servers.
pub struct Pods {
    pub lab: Lab,
    pub stop: Arc<AtomicBool>,
    servers: Vec<JoinHandle<()>>,
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
        let server = listen(&self.namespace(host), port, self.stop.clone(), serve);
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

pub fn connect(at: &str) -> Result<TcpStream, String> {
    let at: SocketAddr = at.parse().unwrap();
    let stream = TcpStream::connect_timeout(&at, LONG).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    Ok(stream)
}

/// Runs something in a network namespace, on a thread of its own.
pub fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let path = format!("/run/netns/{namespace}");
        let work = scope.spawn(move || {
            let file = fs::File::open(path).unwrap();
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        work.join().unwrap()
    })
}

fn listen(
    namespace: &str,
    port: u16,
    stop: Arc<AtomicBool>,
    serve: impl Fn(TcpStream, SocketAddr) + Send + 'static,
) -> JoinHandle<()> {
    let listener = inside(namespace, || TcpListener::bind(("0.0.0.0", port)).unwrap());
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        while !stop.load(SeqCst) {
            match listener.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(false).unwrap();
                    serve(stream, peer);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    })
}
