//! A backend: answers with its name, and logs the addresses of its clients as it sees them.

use crate::http;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until it is ended from outside.
///
/// # Errors
/// Where nobody can listen, or the log cannot be written.
pub fn serve(name: &str, at: SocketAddr) -> io::Result<bool> {
    let listener = TcpListener::bind(at)?;
    loop {
        // A client that has gone before its turn is no reason to end.
        let Ok((stream, client)) = listener.accept() else { continue };
        let name = name.to_owned();
        std::thread::spawn(move || {
            let line = match one(&stream, &name) {
                Ok(asked) => format!("{client} \"{asked}\" 200\n"),
                Err(error) => format!("{client} {error}\n"),
            };
            let _ = io::stdout().write_all(line.as_bytes());
        });
    }
}

fn one(stream: &TcpStream, name: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    http::answer(stream, name)
}
