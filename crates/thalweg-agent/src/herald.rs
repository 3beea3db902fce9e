//! Tells systemd how the agent is doing: sd_notify(3) and the watchdog, sd_watchdog_enabled(3).
//!
//! Nothing is told where `NOTIFY_SOCKET` is not set, and nothing here waits: a message that finds no
//! room is lost, and the next says the same.

use rustix::time::{ClockId, clock_gettime};
use std::ffi::{OsStr, OsString};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `NOTIFY_SOCKET`: a path, or an abstract name behind `@`.
    pub socket: Option<OsString>,
    /// `WATCHDOG_USEC`: how often the watchdog wants to be told, in microseconds.
    pub watchdog: Option<String>,
    /// `WATCHDOG_PID`: who is to tell it.
    pub pid: Option<String>,
}

impl Environment {
    /// That of this process.
    pub fn read() -> Self {
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET"),
            watchdog: std::env::var("WATCHDOG_USEC").ok(),
            pid: std::env::var("WATCHDOG_PID").ok(),
        }
    }
}

/// How the agent stands, as far as systemd shows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct State {
    /// Packets are decided by an image of this agent, and hooks were tried.
    pub in_force: bool,
    /// One line for people.
    pub text: String,
}

/// Tells systemd.
pub struct Herald {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Interval>,
    told: State,
    reloading: bool,
}

impl Herald {
    /// One that tells whom the environment names. Takes a runtime for its clock.
    pub fn new(environment: &Environment) -> Self {
        let to = environment.socket.as_deref().and_then(address).and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        let watchdog = to.as_ref().and_then(|_| half(environment, std::process::id()));
        let watchdog = watchdog.map(|period| {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self { to, watchdog, told: State::default(), reloading: false }
    }

    /// Returns when the watchdog is to be told; never without one.
    pub async fn due(&mut self) {
        match &mut self.watchdog {
            Some(interval) => drop(interval.tick().await),
            None => std::future::pending().await,
        }
    }

    /// The loop turns.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// New files are being put in force, if others were before.
    pub fn reloading(&mut self) {
        if !self.told.in_force || self.to.is_none() {
            return;
        }
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        self.reloading = true;
    }

    /// How the agent stands now; said if it is news. Ready it is when first in force, and after each
    /// [`Self::reloading`].
    pub fn stands(&mut self, state: State) {
        if self.to.is_none() || state == self.told && !self.reloading {
            return;
        }
        let ready = state.in_force && (!self.told.in_force || self.reloading);
        let status = format!("STATUS={}", state.text.replace('\n', " "));
        self.send(&if ready { format!("READY=1\n{status}") } else { status });
        self.reloading &= !ready;
        self.told = state;
    }

    /// The agent ends.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping; forwarding goes on by what is in force");
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.to {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok(),
        [b'/', ..] => SocketAddr::from_pathname(name).ok(),
        _ => None,
    }
}

/// Half of what the watchdog wants, if it wants to hear from this process.
fn half(environment: &Environment, pid: u32) -> Option<Duration> {
    let other = environment.pid.as_ref().is_some_and(|other| other.parse() != Ok(pid));
    let micros: u64 = environment.watchdog.as_ref()?.parse().ok()?;
    (!other && micros >= 2).then(|| Duration::from_micros(micros / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(in_force: bool, text: &str) -> State {
        State { in_force, text: text.into() }
    }

    fn lab() -> (tempfile::TempDir, UnixDatagram, Herald) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        systemd.set_nonblocking(true).unwrap();
        let environment = Environment { socket: Some(path.into()), ..Environment::default() };
        (dir, systemd, Herald::new(&environment))
    }

    fn heard(systemd: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 4096];
        std::iter::from_fn(|| systemd.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec()))
            .map(|octets| String::from_utf8(octets).unwrap())
            .collect()
    }

    #[test]
    fn ready_is_said_when_in_force_and_after_each_reload() {
        let (_dir, systemd, mut herald) = lab();
        herald.reloading();
        herald.stands(state(false, "waiting"));
        herald.stands(state(false, "waiting"));
        assert_eq!(heard(&systemd), ["STATUS=waiting"]);
        herald.stands(state(true, "in force\nREADY=1"));
        assert_eq!(heard(&systemd), ["READY=1\nSTATUS=in force READY=1"], "no line is forged");
        herald.stands(state(true, "in force, a hook less"));
        assert_eq!(heard(&systemd), ["STATUS=in force, a hook less"]);
        herald.reloading();
        herald.stands(state(true, "in force, a hook less"));
        let words = heard(&systemd);
        assert!(words[0].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{words:?}");
        assert_eq!(words[1..], ["READY=1\nSTATUS=in force, a hook less"]);
        herald.stopping();
        assert!(heard(&systemd)[0].starts_with("STOPPING=1"));
    }

    #[test]
    fn nobody_there_is_no_harm() {
        let (_dir, systemd, mut herald) = lab();
        drop(systemd);
        herald.stands(state(true, "in force"));
        herald.alive();
        let mut herald = Herald::new(&Environment::default());
        herald.stands(state(true, "in force"));
        herald.stopping();
    }

    #[test]
    fn names_may_be_abstract() {
        assert!(address(OsStr::new("@thalweg/test")).is_some());
        assert!(address(OsStr::new("relative")).is_none());
        assert!(address(OsStr::new("")).is_none());
    }

    #[test]
    fn the_watchdog_is_told_twice_as_often_as_it_wants() {
        let of = |usec: &str, pid: Option<&str>| {
            let watchdog = Some(usec.into());
            let pid = pid.map(str::to_owned);
            half(&Environment { socket: None, watchdog, pid }, 7)
        };
        assert_eq!(of("3000000", None), Some(Duration::from_millis(1500)));
        assert_eq!(of("3000000", Some("7")), Some(Duration::from_millis(1500)));
        assert_eq!(of("3000000", Some("8")), None);
        assert_eq!(of("0", None), None);
        assert_eq!(of("soon", None), None);
    }
}
