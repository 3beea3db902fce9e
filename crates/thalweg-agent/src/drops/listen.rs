//! The listener: takes events out of the kernel's ring, and says that it is there.

use super::Drops;
use crate::brain::Level;
use crate::log;
use std::time::Duration;
use thalweg_abi::DropEvent;
use thalweg_api::moment;
use thalweg_xdp::Events;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Events that a processor tells of in a second.
const RATE: u64 = 1_000;
/// Events that a processor tells of at once, after half a second without any.
const BURST: u64 = 500;
/// How long the programs go on telling if the agent is killed.
const LEASE: Duration = Duration::from_secs(10);
/// How often the listener says that it is there.
const RENEW: Duration = Duration::from_secs(3);
/// Events within this time are taken together: the ring has room for many more.
const BATCH: Duration = Duration::from_millis(10);

/// Whoever takes events out of the kernel.
#[derive(Debug)]
pub struct Listener {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Begins to listen. None, and the log says why, where the system does not let it.
    pub fn start(events: Events, drops: Drops) -> Option<Self> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the reader owns its map while it lives"
        )]
        let ring = AsyncFd::with_interest(events, tokio::io::Interest::READABLE);
        let ring = match ring {
            Ok(ring) => ring,
            Err(error) => {
                let line = format!("nothing will be told of single drops: {error}");
                log::write(Level::Warn, &line);
                return None;
            }
        };
        let (stop, stopped) = oneshot::channel();
        Some(Self { stop, task: tokio::spawn(listen(ring, drops, stopped)) })
    }

    /// Listens no more: nothing is told any more, or another one goes on.
    pub async fn stop(self) {
        // Who listens ends by itself, or has already.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn listen(mut ring: AsyncFd<Events>, drops: Drops, mut stopped: oneshot::Receiver<()>) {
    let mut renewal = Instant::now();
    loop {
        if renewal <= Instant::now() {
            ring.get_ref().listen(LEASE, RATE, BURST);
            renewal = Instant::now() + RENEW;
        }
        drops.tell(taken(ring.get_mut()).into_iter());
        tokio::select! {
            _ = &mut stopped => break,
            () = tokio::time::sleep_until(renewal) => continue,
            ready = ring.readable_mut() => match ready {
                // Before the ring is emptied: the kernel says so again once it was.
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => tokio::time::sleep(RENEW).await,
            },
        }
        tokio::time::sleep(BATCH).await;
    }
    ring.get_ref().leave();
}

/// All that is in the ring, with moments of the clock on the wall.
fn taken(events: &mut Events) -> Vec<(u64, DropEvent)> {
    let mut taken = Vec::new();
    while let Some(event) = events.take() {
        taken.push((0, event));
    }
    let (wall, clock) = (moment::now(), thalweg_xdp::events::now());
    for (at, event) in &mut taken {
        *at = wall.saturating_sub(clock.saturating_sub(event.time) / 1_000_000);
    }
    taken
}
