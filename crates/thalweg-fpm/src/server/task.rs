//! The task behind a server: one loop over orders, connections, frames and deadlines.

use super::connection::Connection;
use super::{Event, Order};
use crate::resync::Resync;
use crate::status::Status;
use crate::table::Table;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thalweg_model::host::RouteKey;
use thalweg_model::intent::Fpm;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Routes in one batch, about.
const BATCH: usize = 16 << 10;
/// How often an address that is taken is tried again, and routes that are not in force are asked for
/// again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until nobody listens to its events any more.
pub async fn run(
    orders: mpsc::UnboundedReceiver<Order>,
    out: mpsc::Sender<Event>,
    status: Arc<Mutex<Status>>,
) {
    let mut task = Task {
        out,
        status,
        settings: None,
        listener: None,
        connection: None,
        table: Table::default(),
        port: None,
        resync: None,
        lost: None,
        complete: false,
        unsent: Vec::new(),
        notices: Vec::new(),
        now: Status::default(),
    };
    task.turn(orders).await;
}

struct Task {
    out: mpsc::Sender<Event>,
    status: Arc<Mutex<Status>>,
    settings: Option<Fpm>,
    listener: Option<TcpListener>,
    connection: Option<Connection>,
    table: Table,
    /// Netlink port of the zebra that told last.
    port: Option<u32>,
    /// The resync under way.
    resync: Option<Resync>,
    /// When the last connection was lost, while there is none and something is left of it.
    lost: Option<Instant>,
    /// Whether [`Event::Complete`] was told since listening began.
    complete: bool,
    /// Acknowledgements for a suite that is slow to read.
    unsent: Vec<(RouteKey, bool)>,
    notices: Vec<Event>,
    now: Status,
}

/// What the loop woke up for.
enum Wake {
    Order(Option<Order>),
    Accepted(io::Result<(TcpStream, SocketAddr)>),
    Read(io::Result<usize>),
    Room,
    Time,
    Again,
}

impl Task {
    async fn turn(&mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Who hears of something finds it in the status, too.
            self.publish();
            if !self.pass_on() {
                return;
            }
            let deadline = self.deadline();
            let wake = tokio::select! {
                order = orders.recv() => Wake::Order(order),
                accepted = accept(&self.listener) => Wake::Accepted(accepted),
                read = read(&mut self.connection) => Wake::Read(read),
                slot = self.out.reserve(), if self.table.is_touched() || !self.notices.is_empty() => {
                    if slot.is_err() { return; }
                    Wake::Room
                }
                () = at(deadline) => Wake::Time,
                _ = again.tick() => Wake::Again,
            };
            match wake {
                Wake::Order(None) => return,
                Wake::Order(Some(Order::Set(settings))) => self.set(settings).await,
                Wake::Order(Some(Order::Confirm(routes))) => self.confirm(routes),
                Wake::Accepted(accepted) => self.accepted(accepted).await,
                Wake::Read(read) => self.read(read),
                Wake::Room => {}
                Wake::Time => self.time(),
                Wake::Again => self.try_again().await,
            }
        }
    }

    /// Tells what there is to tell as far as there is room; false when nobody listens.
    fn pass_on(&mut self) -> bool {
        while !self.notices.is_empty() || self.table.is_touched() {
            match self.out.try_reserve() {
                Ok(slot) if !self.notices.is_empty() => slot.send(self.notices.remove(0)),
                Ok(slot) => {
                    let (updates, asked) = self.table.changes(BATCH);
                    if !updates.is_empty() || !asked.is_empty() {
                        slot.send(Event::Updates(updates, asked));
                    }
                }
                Err(TrySendError::Full(())) => break,
                Err(TrySendError::Closed(())) => return false,
            }
        }
        true
    }

    fn notice(&mut self, warning: bool, text: String) {
        self.notices.push(Event::Notice { warning, text });
    }

    /// Listens where it is to.
    async fn set(&mut self, settings: Option<Fpm>) {
        if settings == self.settings {
            return;
        }
        let listen = |settings: &Option<Fpm>| settings.as_ref().map(|fpm| fpm.listen);
        let moved = listen(&settings) != listen(&self.settings);
        self.settings = settings;
        self.now.listen = listen(&self.settings);
        if !moved {
            return;
        }
        self.listener = None;
        self.now.deaf = None;
        if self.connection.is_some() {
            self.lose(Instant::now());
        }
        match self.now.listen {
            Some(_) => self.try_again().await,
            None => {
                self.table.begin();
                self.sweep();
                (self.lost, self.port, self.complete) = (None, None, false);
            }
        }
    }

    /// Tries what did not work before.
    async fn try_again(&mut self) {
        if let (Some(address), None) = (self.now.listen, &self.listener) {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    self.listener = Some(listener);
                    self.now.deaf = None;
                    self.notice(false, format!("FPM: listening at {address}"));
                }
                Err(error) => {
                    let text = format!("FPM: cannot listen at {address}: {error}");
                    if self.now.deaf.as_ref() != Some(&text) {
                        self.notice(true, format!("{text}; trying again each second"));
                    }
                    self.now.deaf = Some(text);
                }
            }
        }
        if self.connection.as_ref().is_some_and(Connection::has_room) {
            let unsent = std::mem::take(&mut self.unsent);
            self.confirm(unsent);
            let asked = self.table.ask_again(BATCH);
            // When there is no room now, there is the next time.
            if !asked.is_empty() {
                let _ = self.out.try_send(Event::Updates(Vec::new(), asked));
            }
        }
        if let Some(resync) = self.resync {
            self.now.stale = self.table.stale();
            if self.now.stale == 0 && self.is_quiet(&resync) {
                self.finish(Instant::now(), &resync);
            }
        }
    }

    fn is_quiet(&self, resync: &Resync) -> bool {
        let settings = self.settings.as_ref();
        settings.is_some_and(|settings| Instant::now() >= resync.complete(settings))
    }

    async fn accepted(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                self.notice(true, format!("FPM: cannot accept a connection: {error}"));
                // Out of descriptors, most likely: some will be closed.
                return tokio::time::sleep(AGAIN).await;
            }
        };
        if let Some(first) = &self.connection {
            let first = first.peer;
            self.now.refused += 1;
            let text = format!("FPM: {peer} was turned away; {first} is connected already");
            return self.notice(true, text);
        }
        let now = Instant::now();
        let fresh = self.table.size() == Default::default();
        self.table.begin();
        self.unsent.clear();
        self.resync = Some(Resync::begin(now, fresh));
        self.connection = Some(Connection::new(stream, peer));
        self.lost = None;
        self.now.connections += 1;
        self.now.peer = Some((peer, now));
        self.now.stale = self.table.stale();
        let kept = match self.now.stale {
            0 => String::new(),
            stale => format!("; {stale} routes, labels and objects stay until they are told again"),
        };
        self.notice(false, format!("FPM: {peer} is connected{kept}"));
    }

    fn read(&mut self, read: io::Result<usize>) {
        let now = Instant::now();
        let Some(mut connection) = self.connection.take() else { return };
        // Who dies with something unread resets the connection.
        let read = match read {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            read => read,
        };
        let end = match read {
            Ok(0) => Err(match connection.frames.pending() {
                0 => None,
                cut => Some(format!("the connection ended {cut} octets into a frame")),
            }),
            Ok(_) => self.frames(&mut connection, now).map_err(Some),
            Err(error) => Err(Some(error.to_string())),
        };
        let peer = connection.peer;
        self.connection = Some(connection);
        let Err(cause) = end else { return };
        self.lose(now);
        let kept = self.settings.as_ref().map_or(0, |fpm| fpm.stale_time.as_secs());
        let size = self.now.size.routes;
        let stays = format!("what it told ({size} routes) stays in force for {kept} s");
        match cause {
            None => self.notice(true, format!("FPM: {peer} closed its connection; {stays}")),
            Some(cause) => {
                self.now.errors += 1;
                let text = format!("FPM: connection to {peer} dropped: {cause}");
                self.now.last_error = Some(text.clone());
                self.notice(true, format!("{text}; {stays}"));
            }
        }
    }

    /// Takes the frames that are complete.
    fn frames(&mut self, connection: &mut Connection, now: Instant) -> Result<(), String> {
        while let Some(frame) = connection.frames.next_frame().map_err(|error| error.to_string())? {
            self.now.frames += 1;
            let port = self.table.take(frame).map_err(|error| error.to_string())?;
            let same = port.map(|port| self.port == Some(port));
            self.port = port.or(self.port);
            if let Some(resync) = &mut self.resync {
                resync.heard(now, same);
            }
        }
        self.now.others = self.table.others;
        Ok(())
    }

    /// The connection is gone; what it told stays for a while.
    fn lose(&mut self, now: Instant) {
        self.connection = None;
        self.now.peer = None;
        self.now.size = self.table.size();
        self.resync = None;
        self.lost = Some(now);
    }

    fn deadline(&self) -> Option<Instant> {
        let settings = self.settings.as_ref()?;
        let lost = self.lost.map(|lost| lost + settings.stale_time);
        let resync = self.resync.map(|resync| resync.sweep(settings));
        let complete = self.resync.filter(|_| !self.complete).map(|r| r.complete(settings));
        [lost, resync, complete].into_iter().flatten().min()
    }

    /// Does what is due.
    fn time(&mut self) {
        let Some(settings) = self.settings.clone() else { return };
        let now = Instant::now();
        if let Some(resync) = self.resync {
            if !self.complete && now >= resync.complete(&settings) {
                self.tell_complete();
            }
            if now >= resync.sweep(&settings) {
                self.finish(now, &resync);
            }
        }
        if self.lost.is_some_and(|lost| now >= lost + settings.stale_time) {
            self.lost = None;
            self.table.begin();
            let swept = self.sweep();
            if swept > 0 {
                let text = "FPM: nobody connected again in time";
                self.notice(true, format!("{text}; {swept} routes, labels and objects are gone"));
            }
        }
    }

    fn tell_complete(&mut self) {
        if !std::mem::replace(&mut self.complete, true) {
            self.notices.push(Event::Complete);
        }
    }

    /// Everything was told again, or its time is over.
    fn finish(&mut self, now: Instant, resync: &Resync) {
        self.tell_complete();
        self.resync = None;
        self.now.resynced = Some((now, resync.took()));
        let swept = self.sweep();
        let size = self.table.size();
        let gone = match swept {
            0 => String::new(),
            swept => format!("; {swept} were not told again and are gone"),
        };
        self.notice(
            false,
            format!(
                "FPM: resync complete: {} routes, {} next hop objects, {} labels{gone}",
                size.routes, size.nexthops, size.labels
            ),
        );
    }

    fn sweep(&mut self) -> usize {
        self.now.stale = 0;
        self.table.sweep()
    }

    /// Tells the suite what became of its routes.
    fn confirm(&mut self, routes: Vec<(RouteKey, bool)>) {
        let Some(connection) = &self.connection else { return };
        if !connection.has_room() {
            return self.unsent.extend(routes);
        }
        let mut messages = Vec::new();
        for (key, in_force) in routes {
            if let Some(message) = self.table.acknowledge(&key, in_force) {
                messages.push(message);
                match in_force {
                    true => self.now.acknowledged += 1,
                    false => self.now.failed += 1,
                }
            }
        }
        connection.send(&messages);
    }

    /// Lets others see how things stand.
    fn publish(&mut self) {
        self.now.size = self.table.size();
        self.now.stale_until = match (&self.settings, self.resync, self.lost) {
            (Some(settings), Some(resync), _) => Some(resync.sweep(settings)),
            (Some(settings), None, Some(lost)) => Some(lost + settings.stale_time),
            _ => None,
        };
        let mut shown = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone_from(&self.now);
    }
}

async fn accept(listener: &Option<TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn read(connection: &mut Option<Connection>) -> io::Result<usize> {
    match connection {
        Some(connection) => connection.read().await,
        None => std::future::pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
