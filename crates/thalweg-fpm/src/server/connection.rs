//! One connection: frames in, acknowledgements out.

use crate::frame::{Frames, frame};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;

/// Pieces of acknowledgements that may wait for the suite to read them.
const WAITING: usize = 16;
/// A suite on another machine that is silent for so long is asked whether it is there.
const IDLE: Duration = Duration::from_secs(15);

/// A routing suite that is connected.
#[derive(Debug)]
pub struct Connection {
    /// Its address.
    pub peer: SocketAddr,
    /// What came and was not read yet.
    pub frames: Frames,
    input: OwnedReadHalf,
    output: mpsc::Sender<Vec<u8>>,
}

impl Connection {
    /// Takes a connection over.
    pub fn new(stream: TcpStream, peer: SocketAddr) -> Self {
        // Without them, a machine that vanished is noticed later.
        let _ = watch_over(&stream);
        let (input, mut socket) = stream.into_split();
        let (output, mut pieces) = mpsc::channel::<Vec<u8>>(WAITING);
        tokio::spawn(async move {
            while let Some(piece) = pieces.recv().await {
                // Whoever reads learns that the connection is gone.
                if socket.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
        Self { peer, frames: Frames::default(), input, output }
    }

    /// Reads what there is; 0 at the end. Safe to cancel.
    pub async fn read(&mut self) -> io::Result<usize> {
        self.input.read_buf(self.frames.room()).await
    }

    /// Whether an acknowledgement can be taken without waiting.
    pub fn has_room(&self) -> bool {
        self.output.capacity() > 0
    }

    /// Sends messages; false when the suite does not read what it is sent.
    pub fn send(&self, messages: &[Vec<u8>]) -> bool {
        let piece: Vec<u8> =
            messages.iter().filter_map(|message| frame(message)).flatten().collect();
        piece.is_empty() || self.output.try_send(piece).is_ok()
    }
}

/// Has the kernel notice when the other machine is gone.
fn watch_over(stream: &TcpStream) -> rustix::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, IDLE)?;
    sockopt::set_tcp_keepintvl(stream, IDLE / 3)?;
    sockopt::set_tcp_keepcnt(stream, 3)
}
