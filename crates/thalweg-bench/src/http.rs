//! HTTP as small as it can be: a server for pods, and a client that counts requests.

use crate::Measured;
use nix::sys::socket::{Shutdown, shutdown};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that a client has at once.
pub const CONNECTIONS: usize = 8;
/// How long a client waits for a server.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a server waits for the next request.
const IDLE: Duration = Duration::from_secs(60);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// Whether a connection serves one request or many.
#[derive(Clone, Copy, PartialEq)]
pub enum Keep {
    /// One: the server closes.
    Close,
    /// As many as the client asks for.
    Alive,
}

impl Keep {
    fn request(self) -> &'static [u8] {
        match self {
            Self::Close => b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n",
            Self::Alive => b"GET / HTTP/1.1\r\nHost: web\r\n\r\n",
        }
    }
}

/// A server that ends when it is dropped.
pub struct Server(Arc<TcpListener>);

impl Server {
    /// Serves so many connections at once, at a port in the namespace of this thread.
    pub fn start(port: u16, workers: usize) -> Measured<Self> {
        let listener = Arc::new(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?);
        for _ in 0..workers {
            let listener = listener.clone();
            std::thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    // A client that goes away is no matter of the server's.
                    let _ = serve(stream);
                }
            });
        }
        Ok(Self(listener))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Both);
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let (mut buffer, mut filled) = ([0; 1024], 0);
    loop {
        let len = stream.read(&mut buffer[filled..])?;
        filled += len;
        if len == 0 {
            return Ok(());
        }
        if !buffer[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        let last = &buffer[..filled] == Keep::Close.request();
        stream.write_all(if last { LAST } else { ANSWER })?;
        if last {
            return Ok(());
        }
        filled = 0;
    }
}

/// Requests that were answered in so much time, from the namespace of this thread: per second.
pub fn rate(at: SocketAddr, keep: Keep, time: Duration) -> Measured<f64> {
    let start = Instant::now();
    let counts: Vec<[u64; 2]> = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| asking(at, keep, start + time));
        let clients: Vec<_> = (0..CONNECTIONS).map(|_| ask()).collect();
        clients.into_iter().filter_map(|client| client.join().ok()).collect()
    });
    let took = start.elapsed().as_secs_f64();
    let [answered, failed] = [0, 1].map(|at| counts.iter().map(|count| count[at]).sum::<u64>());
    match failed * 1_000 > answered {
        true => Err(format!("{failed} requests failed beside {answered} that did not").into()),
        false => Ok(answered as f64 / took),
    }
}

/// Requests that were answered until a moment, and those that failed.
fn asking(at: SocketAddr, keep: Keep, end: Instant) -> [u64; 2] {
    let mut counts = [0; 2];
    let mut kept = None;
    while Instant::now() < end {
        let stream = match kept.take() {
            Some(stream) => Ok(stream),
            None => connect(at),
        };
        match stream.and_then(|stream| ask(stream, keep)) {
            Ok(stream) => {
                counts[0] += 1;
                kept = stream;
            }
            Err(_) => counts[1] += 1,
        }
    }
    counts
}

/// A connection that gives up in time.
pub fn connect(at: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks once; the connection if it can be asked again.
pub fn ask(mut stream: TcpStream, keep: Keep) -> std::io::Result<Option<TcpStream>> {
    stream.write_all(keep.request())?;
    let wanted = if keep == Keep::Close { LAST } else { ANSWER };
    let mut buffer = [0; 128];
    let answer = &mut buffer[..wanted.len()];
    stream.read_exact(answer)?;
    if answer != wanted {
        return Err(std::io::Error::other("that was no answer"));
    }
    match keep {
        Keep::Alive => Ok(Some(stream)),
        // The server closes: it waits for what may still come, and the client's port is free.
        Keep::Close => match stream.read(&mut [0; 1])? {
            0 => Ok(None),
            _ => Err(std::io::Error::other("the server says more")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_and_counted_both_ways() {
        let server = Server::start(0, CONNECTIONS).unwrap();
        let at = (Ipv4Addr::LOCALHOST, server.0.local_addr().unwrap().port()).into();
        for keep in [Keep::Close, Keep::Alive] {
            assert!(rate(at, keep, Duration::from_millis(100)).unwrap() > 100.0);
        }
        drop(server);
        assert!(rate(at, Keep::Close, Duration::from_millis(100)).is_err());
    }
}
