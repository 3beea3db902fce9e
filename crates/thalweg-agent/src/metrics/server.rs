//! Answers scrapers and probes of this agent.

use super::snapshot::{self, Snapshot};
use super::{Record, families};
use crate::http::{self, Reply, plain};
use hyper::StatusCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, oneshot};

/// How long the loop may take to answer before it counts as stuck.
const LOOP: Duration = Duration::from_secs(5);
/// How old a snapshot may be.
const FRESH: Duration = Duration::from_secs(1);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PATHS: &str = "/metrics, /healthz and /readyz are here\n";

/// Asks the loop for a snapshot.
pub type Ask = mpsc::Sender<oneshot::Sender<Snapshot>>;
/// Where the loop hears that.
pub type Asks = mpsc::Receiver<oneshot::Sender<Snapshot>>;

/// What all connections share.
pub(super) struct Source {
    ask: Ask,
    record: Record,
    last: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

impl Source {
    pub(super) fn new(ask: Ask, record: Record) -> Self {
        Self { ask, record, last: Mutex::new(None) }
    }

    /// A snapshot, at most a second old; none if the loop does not turn.
    async fn look(&self) -> Option<Arc<Snapshot>> {
        let mut last = self.last.lock().await;
        if let Some((at, snapshot)) = &*last
            && at.elapsed() < FRESH
        {
            return Some(snapshot.clone());
        }
        let (send, receive) = oneshot::channel();
        let asked = async {
            self.ask.send(send).await.ok()?;
            receive.await.ok()
        };
        let mut snapshot = tokio::time::timeout(LOOP, asked).await.ok()??;
        snapshot.devices = snapshot::devices();
        let snapshot = Arc::new(snapshot);
        *last = Some((Instant::now(), snapshot.clone()));
        Some(snapshot)
    }
}

/// Serves until it is aborted.
pub(super) async fn serve(listener: TcpListener, source: Arc<Source>) {
    let answer = move |path: String| {
        let source = source.clone();
        async move { answer(&path, &source).await }
    };
    http::serve(listener, answer).await;
}

async fn answer(path: &str, source: &Source) -> Reply {
    match path {
        "/metrics" => metrics(source).await,
        "/healthz" => match source.look().await {
            Some(_) => plain(StatusCode::OK, "ok\n"),
            None => stuck(),
        },
        "/readyz" => match source.look().await {
            Some(snapshot) => ready(&snapshot),
            None => stuck(),
        },
        "/" => plain(StatusCode::OK, PATHS),
        _ => plain(StatusCode::NOT_FOUND, PATHS),
    }
}

async fn metrics(source: &Source) -> Reply {
    let Some(snapshot) = source.look().await else { return stuck() };
    match families::text(snapshot, &source.record) {
        Ok(text) => http::typed(StatusCode::OK, OPEN_METRICS, text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn ready(snapshot: &Snapshot) -> Reply {
    let why = snapshot.unready();
    match why.is_empty() {
        true => plain(StatusCode::OK, "ok\n"),
        false => plain(StatusCode::SERVICE_UNAVAILABLE, why.join("\n") + "\n"),
    }
}

fn stuck() -> Reply {
    let text = format!("the agent's loop did not answer within {} s\n", LOOP.as_secs());
    plain(StatusCode::SERVICE_UNAVAILABLE, text)
}
