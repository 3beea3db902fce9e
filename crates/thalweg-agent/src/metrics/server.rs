//! Answers scrapers and probes of this agent.

use super::services::{Lent, Services, Shares};
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

/// What the loop is asked.
pub enum Question {
    /// For a snapshot.
    Snapshot(oneshot::Sender<Snapshot>),
    /// For what it takes to count flows, where there is a table of them.
    Flows(oneshot::Sender<Option<Lent>>),
}

/// Asks the loop.
pub type Ask = mpsc::Sender<Question>;
/// Where the loop hears that.
pub type Asks = mpsc::Receiver<Question>;

/// What all connections share.
pub(super) struct Source {
    ask: Ask,
    record: Record,
    last: Mutex<Option<(Instant, Arc<Snapshot>)>>,
    /// Apart from the snapshot: who asks for health does not wait for a scan.
    counted: Mutex<Counted>,
}

/// What was counted last.
#[derive(Default)]
struct Counted {
    last: Option<(Instant, Option<Arc<Services>>)>,
    shares: Shares,
}

impl Source {
    pub(super) fn new(ask: Ask, record: Record) -> Self {
        Self { ask, record, last: Mutex::new(None), counted: Mutex::default() }
    }

    /// A snapshot, at most a second old; none if the loop does not turn.
    async fn look(&self) -> Option<Arc<Snapshot>> {
        let mut last = self.last.lock().await;
        if let Some((at, snapshot)) = &*last
            && at.elapsed() < FRESH
        {
            return Some(snapshot.clone());
        }
        let mut snapshot = self.ask(Question::Snapshot).await?;
        snapshot.devices = snapshot::devices();
        let snapshot = Arc::new(snapshot);
        *last = Some((Instant::now(), snapshot.clone()));
        Some(snapshot)
    }

    /// Asks the loop; none if it does not turn.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (send, receive) = oneshot::channel();
        let asked = async {
            self.ask.send(question(send)).await.ok()?;
            receive.await.ok()
        };
        tokio::time::timeout(LOOP, asked).await.ok()?
    }

    /// Flows and shares of services, at most a second old; none without a table of flows.
    async fn services(&self) -> Option<Arc<Services>> {
        let mut counted = self.counted.lock().await;
        if let Some((at, services)) = &counted.last
            && at.elapsed() < FRESH
        {
            return services.clone();
        }
        let services = match self.ask(Question::Flows).await? {
            Some(lent) => {
                let mut shares = std::mem::take(&mut counted.shares);
                let count = move || (Services::count(&lent, &mut shares), shares);
                let services;
                (services, counted.shares) = tokio::task::spawn_blocking(count).await.ok()?;
                Some(Arc::new(services))
            }
            None => None,
        };
        counted.last = Some((Instant::now(), services.clone()));
        services
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
    let services = source.services().await;
    match families::text(snapshot, services, &source.record) {
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
