//! Serves metrics where the configuration says so, and follows its changes.

use super::server::{self, Ask, Source};
use super::{Asks, Record};
use crate::brain::Level;
use crate::{http, log};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg_model::{Origin, Problem, Severity};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// An address that cannot be had is tried again after this time, when something changes.
const AGAIN: Duration = Duration::from_secs(1);

/// The server of metrics, or the place where one would be.
pub struct Exporter {
    ask: Ask,
    record: Record,
    wanted: Option<SocketAddr>,
    server: Option<JoinHandle<()>>,
    failed: Option<(Instant, std::io::Error)>,
}

impl Exporter {
    /// Serves nothing yet; also the place where the loop hears of those who ask.
    pub fn new(record: Record) -> (Self, Asks) {
        let (ask, asks) = mpsc::channel(1);
        (Self { ask, record, wanted: None, server: None, failed: None }, asks)
    }

    /// Serves there from now on, or nowhere. Doing it twice changes nothing.
    pub fn serve(&mut self, wanted: Option<SocketAddr>) {
        let again = self.failed.as_ref().is_some_and(|(at, _)| at.elapsed() >= AGAIN);
        if wanted == self.wanted && !again {
            return;
        }
        if let Some(server) = self.server.take() {
            server.abort();
            log::write(Level::Info, "metrics are not served any more");
        }
        let before = self.failed.take();
        self.wanted = wanted;
        let Some(address) = wanted else { return };
        match http::listen(address) {
            Ok(listener) => {
                log::write(Level::Info, &format!("metrics at http://{address}/metrics"));
                let source = Arc::new(Source::new(self.ask.clone(), self.record.clone()));
                self.server = Some(tokio::spawn(server::serve(listener, source)));
            }
            Err(error) => {
                if before.is_none_or(|(_, before)| before.kind() != error.kind()) {
                    log::write(Level::Error, &format!("no metrics at {address}: {error}"));
                }
                self.failed = Some((Instant::now(), error));
            }
        }
    }

    /// Why metrics are not served although they are wanted.
    pub fn problem(&self) -> Option<Problem> {
        let (address, (_, error)) = (self.wanted?, self.failed.as_ref()?);
        let remedy = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there; name another port",
            std::io::ErrorKind::AddrNotAvailable => "no link of this host has the address (yet)",
            std::io::ErrorKind::PermissionDenied => "name a port above 1023",
            _ => "name another address",
        };
        Some(Problem {
            severity: Severity::Error,
            origin: Origin::default(),
            object: None,
            field: Some("spec.metrics.listen".into()),
            what: format!("metrics cannot be served at {address}: {error}"),
            remedy: remedy.into(),
        })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}
