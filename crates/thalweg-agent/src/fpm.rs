//! The routing suite beside the kernel: a second source of host state, and what it is answered.

use crate::brain::{Brain, Event, Level};
use crate::log;
use std::time::{Duration, Instant};
use thalweg_api::view::{FpmView, Phase};
use thalweg_fpm::Server;
use thalweg_model::host::RouteKey;
use thalweg_model::intent::Fpm;
use thalweg_model::{Origin, Problem, Severity, Update};

/// How long a starting agent waits for a suite to connect, or to come back in the middle of what it
/// tells; zebra tries every 3 s. With an image of an agent before in force it waits for as long as that
/// one would have kept what the suite told.
const PATIENCE: Duration = Duration::from_secs(10);

/// A routing suite, once one may connect.
#[derive(Default)]
pub struct Suite {
    server: Option<Server>,
    /// Whether a suite may connect now.
    wanted: bool,
    /// Until when the first plan waits for the suite.
    awaited: Option<Instant>,
    /// How long what it told is kept without it.
    stale_time: Duration,
    /// Whether the kernel was read completely and only the suite is waited for.
    held: bool,
    /// Routes whose standing the suite wants to know.
    asked: Vec<RouteKey>,
}

/// What made the suite's source wake up.
pub enum Told {
    /// It told something.
    Event(thalweg_fpm::Event),
    /// It did not connect in time.
    Late,
}

impl Suite {
    /// Listens there, or nowhere.
    pub fn set(&mut self, settings: Option<Fpm>) {
        self.wanted = settings.is_some();
        self.stale_time = settings.as_ref().map(|s| s.stale_time).unwrap_or_default();
        match &self.server {
            Some(server) => server.set(settings),
            None if self.wanted => {
                self.awaited = Some(Instant::now() + PATIENCE);
                self.server = Some(Server::start(settings));
            }
            None => {}
        }
    }

    /// An agent before left an image in force, with routes of the suite perhaps: it must not be
    /// replaced by one without them. Returns how long the suite is waited for, if it is.
    pub fn succeed(&mut self) -> Option<Duration> {
        let wait = self.stale_time.max(PATIENCE);
        self.wait(wait).then_some(wait)
    }

    /// Whether the first plan waits for the suite.
    pub fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// Waits at least so long from now on, if the first plan still waits at all.
    fn wait(&mut self, time: Duration) -> bool {
        let Some(until) = &mut self.awaited else { return false };
        *until = (*until).max(Instant::now() + time);
        true
    }

    /// Passes on what the kernel tells, but holds back that all was told until the suite has told
    /// all, too: a starting agent changes nothing before it knows everything.
    pub fn hold(&mut self, event: Event) -> Option<Event> {
        match (&event, self.awaited) {
            (Event::HostComplete, Some(_)) => {
                self.held = true;
                None
            }
            _ => Some(event),
        }
    }

    /// Waits for what the suite tells; forever without one. Safe to cancel.
    pub async fn next(&mut self) -> Told {
        let Some(server) = &mut self.server else { return std::future::pending().await };
        // Whoever is connected gets the time it needs to tell all it has.
        let late = self.awaited.filter(|_| server.status().peer.is_none());
        let deadline = late.unwrap_or_else(|| Instant::now() + PATIENCE);
        tokio::select! {
            event = server.next() => Told::Event(event),
            () = tokio::time::sleep_until(deadline.into()), if self.awaited.is_some() => Told::Late,
        }
    }

    /// What the suite told, for the brain.
    pub fn told(&mut self, told: Told) -> Vec<Event> {
        match told {
            Told::Event(thalweg_fpm::Event::Updates(updates, asked)) => {
                self.asked.extend(asked);
                self.wait(PATIENCE);
                vec![Event::Host(updates.into_iter().map(Update::Fpm).collect())]
            }
            Told::Event(thalweg_fpm::Event::Notice { warning, text }) => {
                log::write(if warning { Level::Warn } else { Level::Info }, &text);
                Vec::new()
            }
            Told::Late if self.peer() => Vec::new(),
            Told::Late | Told::Event(thalweg_fpm::Event::Complete) => {
                self.awaited = None;
                let held = std::mem::take(&mut self.held);
                held.then_some(Event::HostComplete).into_iter().collect()
            }
        }
    }

    fn peer(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.status().peer.is_some())
    }

    /// Tells the suite which of its routes are in force.
    pub fn confirm(&mut self, brain: &Brain) {
        if self.asked.is_empty() || brain.phase != Phase::InForce {
            return;
        }
        let (Some(server), Some(compiler)) = (&self.server, &brain.compiler) else { return };
        let well = !brain.is_plane_broken();
        let asked = std::mem::take(&mut self.asked).into_iter();
        let standing = asked.map(|key| {
            let in_force = well && compiler.follows_fpm(&key);
            (key, in_force)
        });
        server.confirm(standing.collect());
    }

    /// How things stand with it; none when nobody may connect.
    pub fn view(&self) -> Option<FpmView> {
        let status = self.server.as_ref().filter(|_| self.wanted)?.status();
        let since = |at: Instant| at.elapsed().as_secs();
        let until = |at: Instant| at.saturating_duration_since(Instant::now()).as_secs();
        Some(FpmView {
            listen: status.listen.map(|listen| listen.to_string()).unwrap_or_default(),
            peer: status.peer.map(|(peer, _)| peer.to_string()),
            connected_for: status.peer.map(|(_, at)| since(at)),
            routes: status.size.routes as u64,
            nexthops: status.size.nexthops as u64,
            labels: status.size.labels as u64,
            stale: status.stale as u64,
            stale_for: status.stale_until.filter(|_| status.stale > 0).map(until),
            resynced: status.resynced.map(|(at, _)| since(at)),
            resync_micros: status.resynced.map(|(_, took)| took.as_micros() as u64),
            connections: status.connections,
            errors: status.errors,
            last_error: status.last_error,
            refused: status.refused,
            frames: status.frames,
            acknowledged: status.acknowledged,
            failed: status.failed,
        })
    }

    /// What is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        let deaf = self.server.as_ref().filter(|_| self.wanted).and_then(|s| s.status().deaf);
        let problem = |what: String| Problem {
            severity: Severity::Error,
            origin: Origin::default(),
            object: None,
            field: None,
            what,
            remedy: "end who listens there, or set spec.fpm.listen of the Router object".into(),
        };
        deaf.map(problem).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(until: Duration) -> Suite {
        let stale_time = Duration::from_secs(120);
        let awaited = Some(Instant::now() + until);
        Suite { wanted: true, awaited, stale_time, held: true, ..Suite::default() }
    }

    fn left(suite: &Suite) -> u64 {
        suite.awaited.map_or(0, |until| until.duration_since(Instant::now()).as_secs() + 1)
    }

    #[test]
    fn a_suite_that_goes_in_the_middle_of_its_tale_is_waited_for_again() {
        let mut suite = waiting(Duration::ZERO);
        let half = thalweg_fpm::Event::Updates(Vec::new(), Vec::new());
        assert_eq!(suite.told(Told::Event(half)).len(), 1);
        assert_eq!(left(&suite), 10);
        // What counts is that it told all, or did not come back in time.
        let done = suite.told(Told::Event(thalweg_fpm::Event::Complete));
        assert!(matches!(done.as_slice(), [Event::HostComplete]));
        assert_eq!(left(&suite), 0);
        assert!(matches!(suite.hold(Event::HostComplete), Some(Event::HostComplete)));
    }

    #[test]
    fn what_an_agent_before_left_in_force_waits_as_long_as_that_would_have_kept_it() {
        let mut suite = waiting(PATIENCE);
        assert_eq!(suite.succeed(), Some(Duration::from_secs(120)));
        assert_eq!(left(&suite), 120);
        assert!(suite.hold(Event::HostComplete).is_none());
        assert!(matches!(suite.told(Told::Late).as_slice(), [Event::HostComplete]));
        assert_eq!(suite.succeed(), None, "it is not waited for any more");
        assert_eq!(Suite::default().succeed(), None, "there is no suite");
    }
}
