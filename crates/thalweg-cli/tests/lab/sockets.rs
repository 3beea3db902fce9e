//! Sockets in network namespaces.

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

pub fn connect(at: &str) -> Result<TcpStream, String> {
    let at: SocketAddr = at.parse().unwrap();
    let stream = TcpStream::connect_timeout(&at, LONG).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    Ok(stream)
}

/// Runs something in a network namespace, on a thread of its own.
pub fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
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

/// Serves connections to an address and port of a namespace until `stop`.
pub fn listen(
    namespace: &str,
    at: (&str, u16),
    stop: Arc<AtomicBool>,
    serve: impl Fn(TcpStream, SocketAddr) + Send + 'static,
) -> JoinHandle<()> {
    let listener = inside(namespace, || TcpListener::bind(at).unwrap());
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
