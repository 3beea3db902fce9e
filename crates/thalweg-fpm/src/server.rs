//! Listening, one connection at a time, and what time does to what was told.
//!
//! - A connection that ends leaves everything in force for `stale_time`.
//! - A new one makes everything stale. The same zebra has told all it has when nothing came for
//!   `quiet_time`; one that was restarted gets `stale_time`. What is still stale then is taken away.
//! - What comes while there is a connection already is turned away: a second zebra would undo what
//!   the first one does.

mod connection;
mod task;

use crate::status::Status;
use std::sync::{Arc, Mutex, PoisonError};
use thalweg_model::FpmUpdate;
use thalweg_model::host::RouteKey;
use thalweg_model::intent::Fpm;
use tokio::sync::mpsc;

/// Batches that may wait for the consumer.
const BATCHES: usize = 4;

/// What a [`Server`] tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Changes, in order, and routes for which [`Server::confirm`] is wanted once they are in force.
    Updates(Vec<FpmUpdate>, Vec<RouteKey>),
    /// A suite has told all it has for now. Comes with the first connection after listening began.
    Complete,
    /// Something for the log.
    Notice {
        /// Whether somebody should look.
        warning: bool,
        /// What happened.
        text: String,
    },
}

/// What a server is told.
#[derive(Debug)]
enum Order {
    /// Where to listen from now on; nowhere also forgets everything that was told.
    Set(Option<Fpm>),
    /// Whether routes are in force.
    Confirm(Vec<(RouteKey, bool)>),
}

/// Listens for a routing suite; dropping it ends that.
#[derive(Debug)]
pub struct Server {
    orders: mpsc::UnboundedSender<Order>,
    events: mpsc::Receiver<Event>,
    status: Arc<Mutex<Status>>,
}

impl Server {
    /// Begins to listen, in the network namespace of the runtime's threads.
    ///
    /// Call it inside a tokio runtime with I/O and time enabled. An address that cannot be had is
    /// tried again and again; [`Status::deaf`] says why.
    pub fn start(settings: Option<Fpm>) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let (out, events) = mpsc::channel(BATCHES);
        let status = Arc::new(Mutex::new(Status::default()));
        tokio::spawn(task::run(received, out, status.clone()));
        let server = Self { orders, events, status };
        server.set(settings);
        server
    }

    /// Listens elsewhere, or with other times, or not at all. What was told stays, unless it is not
    /// to listen at all.
    pub fn set(&self, settings: Option<Fpm>) {
        // The task lives as long as the receiver of its events.
        let _ = self.orders.send(Order::Set(settings));
    }

    /// Waits for the next event.
    ///
    /// Safe to cancel.
    pub async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            // The task is gone with the runtime.
            None => std::future::pending().await,
        }
    }

    /// Says of routes whether packets follow them; the suite is told.
    pub fn confirm(&self, routes: Vec<(RouteKey, bool)>) {
        let _ = self.orders.send(Order::Confirm(routes));
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
