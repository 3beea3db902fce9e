//! One session in asynchronous mode (RFC 5880 §6.8), without I/O: time and chance are arguments.

use crate::auth::Key;
use crate::engine::Reason;
use crate::numbers::{Anchor, Numbers};
use crate::path::{Loss, Path};
use crate::timers::{RemoteTimers, Timers, jittered};
use crate::{Micros, SLOW};
use thalweg_wire::bfd::{Bfd, Diagnostic, LEN, State, flag};
use zerocopy::{FromBytes, IntoBytes};

/// What a session is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Shortest interval at which to send once up, microseconds.
    pub transmit: u32,
    /// Shortest interval between packets that is taken, microseconds.
    pub receive: u32,
    /// Detection multiplier, not zero.
    pub multiplier: u8,
    /// How long the session must be up until its path is used again.
    pub hold_up: Micros,
    /// Whether the other end has to speak first.
    pub passive: bool,
    /// Authentication.
    pub key: Option<Key>,
}

/// What outlives an agent, so that the other end need not notice that it was gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Remembered {
    /// Our discriminator.
    pub discriminator: u32,
    /// The other end's; zero if the session was not up.
    pub remote_discriminator: u32,
    /// What the other end told of its intervals.
    pub remote: RemoteTimers,
    /// The last sequence number sent, as of when this was written down.
    pub sequence: u32,
    /// What sequence numbers follow since; none without authentication.
    pub anchor: Option<Anchor>,
    /// Whether the path was up.
    pub path: bool,
}

/// How a session stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Status {
    /// Its state.
    pub state: State,
    /// What the other end last said of its own.
    pub remote_state: State,
    /// Whether the path is used.
    pub path: bool,
    /// Why the session last left Up, or that it did not.
    pub diagnostic: Diagnostic,
    /// What the other end says to that.
    pub remote_diagnostic: Diagnostic,
    /// Our discriminator.
    pub discriminator: u32,
    /// The other end's; zero while unknown.
    pub remote_discriminator: u32,
    /// Interval at which we send, microseconds, before jitter.
    pub transmit: u32,
    /// Interval at which the other end sends, microseconds, before jitter; zero while unknown.
    pub receive: u32,
    /// The other end's multiplier; zero while unknown.
    pub remote_multiplier: u8,
    /// How long nothing may come, microseconds; zero while unknown.
    pub detection: Micros,
    /// When it came up, if it is up.
    pub up_since: Option<Micros>,
    /// When the path is used again, if that is waited for.
    pub trusted_at: Option<Micros>,
    /// How often it left Up.
    pub flaps: u64,
    /// Whether new intervals are being agreed on.
    pub polling: bool,
}

/// One session. Field names follow the state variables of RFC 5880 §6.8.1.
#[derive(Clone, Debug)]
pub struct Session {
    settings: Settings,
    state: State,
    remote_state: State,
    local_discr: u32,
    remote_discr: u32,
    local_diag: Diagnostic,
    remote_diag: Diagnostic,
    remote_demand: bool,
    timers: Timers,
    /// bfd.XmitAuthSeq.
    numbers: Numbers,
    /// bfd.RcvAuthSeq, while bfd.AuthSeqKnown.
    rcv_auth_seq: Option<u32>,
    /// When the last packet was received for purposes of detection; none after a detection time.
    heard: Option<Micros>,
    /// When that counts no more: after silence for twice the detection time (§6.8.1).
    forgotten_at: Option<Micros>,
    /// When the last periodic packet was sent.
    sent: Option<Micros>,
    /// Chance of the interval under way.
    chance: u32,
    /// The contents changed since the last packet.
    changed: bool,
    /// A poll waits for its answer.
    asked: bool,
    /// Interval to ask for while the agent is away.
    away: Option<u32>,
    path: Path,
    up_since: Option<Micros>,
    flaps: u64,
}

impl Session {
    /// A session that knows nothing of the other end. The discriminator is not zero and nobody
    /// else's; `chance` is where sequence numbers begin.
    pub fn new(settings: Settings, discriminator: u32, chance: u32) -> Self {
        Self {
            timers: Timers::new(settings.transmit, settings.receive),
            settings,
            state: State::Down,
            remote_state: State::Down,
            local_discr: discriminator,
            remote_discr: 0,
            local_diag: Diagnostic::NONE,
            remote_diag: Diagnostic::NONE,
            remote_demand: false,
            numbers: Numbers::new(chance),
            rcv_auth_seq: None,
            heard: None,
            forgotten_at: None,
            sent: None,
            chance,
            changed: false,
            asked: false,
            away: None,
            path: Path::default(),
            up_since: None,
            flaps: 0,
        }
    }

    /// A session that goes on where an agent before left it.
    pub fn resume(settings: Settings, before: &Remembered, chance: u32, now: Micros) -> Self {
        let mut session = Self::new(settings, before.discriminator, chance);
        session.path = Path::resumed(before.path, now);
        let multiplier = session.settings.multiplier;
        session.numbers = Numbers::resume(before.sequence, before.anchor, multiplier, now);
        if before.remote_discriminator == 0 {
            return session;
        }
        (session.state, session.remote_state) = (State::Up, State::Up);
        session.remote_discr = before.remote_discriminator;
        session.timers.remote = before.remote;
        (session.heard, session.up_since) = (Some(now), Some(now));
        session.retime();
        session.changed = true;
        session
    }

    /// What a next agent has to know to go on.
    pub fn remember(&self, now: Micros) -> Remembered {
        let interval = self.timers.transmit();
        let up = self.state == State::Up;
        Remembered {
            discriminator: self.local_discr,
            remote_discriminator: if up { self.remote_discr } else { 0 },
            remote: self.timers.remote,
            sequence: self.numbers.last,
            anchor: self.numbers.anchor.map(|anchor| anchor.paced(interval, now)),
            path: self.path.is_up(),
        }
    }

    /// Takes other settings.
    pub fn set(&mut self, settings: Settings) {
        if settings == self.settings {
            return;
        }
        if settings.key != self.settings.key {
            self.rcv_auth_seq = None;
        }
        self.settings = settings;
        self.changed = true;
        self.retime();
    }

    /// Asks the other end to be patient: packets will come at `interval` microseconds only. Over when
    /// [`Self::is_patient`].
    pub fn go_away(&mut self, interval: u32) {
        self.away = Some(interval);
        self.retime();
    }

    /// Whether there is nobody who has yet to agree to that.
    pub fn is_patient(&self) -> bool {
        self.state != State::Up || !self.timers.polling
    }

    /// Ends the session for good, by a person's will: the other end is told.
    pub fn end(&mut self) {
        self.state = State::AdminDown;
        self.local_diag = Diagnostic::ADMIN_DOWN;
        self.up_since = None;
        self.changed = true;
        self.retime();
    }

    /// Whether the path can be used.
    pub fn path(&self) -> bool {
        self.path.is_up()
    }

    /// Our discriminator.
    pub fn discriminator(&self) -> u32 {
        self.local_discr
    }

    /// What its sequence numbers follow; none before the first.
    pub fn anchor(&self) -> Option<Anchor> {
        self.numbers.anchor
    }

    /// The authentication in use.
    pub fn key(&self) -> Option<&Key> {
        self.settings.key.as_ref()
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let known = self.remote_discr != 0;
        Status {
            state: self.state,
            remote_state: self.remote_state,
            path: self.path.is_up(),
            diagnostic: self.local_diag,
            remote_diagnostic: self.remote_diag,
            discriminator: self.local_discr,
            remote_discriminator: self.remote_discr,
            transmit: self.timers.transmit(),
            receive: if known { self.timers.receive() } else { 0 },
            remote_multiplier: self.timers.remote.multiplier,
            detection: self.timers.detection(),
            up_since: self.up_since,
            trusted_at: self.path.trusted_at(),
            flaps: self.flaps,
            polling: self.timers.polling,
        }
    }

    /// Tells the intervals that the state and the settings ask for, with a poll sequence where they
    /// are others than before (§6.8.3).
    fn retime(&mut self) {
        let up = self.state == State::Up;
        let transmit = self.settings.transmit.max(self.away.unwrap_or(0));
        let tx = if up { transmit } else { transmit.max(SLOW) };
        let heard = self.remote_discr != 0;
        self.changed |= self.timers.ask(tx, self.settings.receive, up, heard);
    }

    /// Takes a packet that was found whole and for this session, with all its octets
    /// (§6.8.6 from authentication on).
    ///
    /// # Errors
    ///
    /// Why it is discarded.
    pub fn receive(&mut self, octets: &[u8], now: Micros) -> Result<(), Reason> {
        let (packet, _) = Bfd::ref_from_prefix(octets).map_err(|_| Reason::Malformed)?;
        self.authenticate(packet, octets)?;
        self.remote_discr = packet.my_discriminator.get();
        self.remote_state = packet.state();
        self.remote_diag = packet.diagnostic();
        self.remote_demand = packet.has(flag::DEMAND);
        self.timers.heard(packet);
        // Now: the intervals of the other end are forgotten sooner.
        self.forgotten_at = self.rcv_auth_seq.map(|_| now + 2 * self.timers.detection());
        if packet.has(flag::FINAL) {
            self.timers.answered();
        }
        if self.state == State::AdminDown {
            return Ok(());
        }
        self.path.heard();
        self.follow(packet.state(), now);
        self.asked |= packet.has(flag::POLL);
        self.heard = Some(now);
        Ok(())
    }

    fn authenticate(&mut self, packet: &Bfd, octets: &[u8]) -> Result<(), Reason> {
        let key = match (&self.settings.key, packet.has(flag::AUTHENTICATED)) {
            (None, false) => return Ok(()),
            (Some(key), true) => key,
            _ => return Err(Reason::Authentication),
        };
        let sequence = key.check(octets).ok_or(Reason::Authentication)?;
        let Some(sequence) = sequence else { return Ok(()) };
        if let Some(last) = self.rcv_auth_seq {
            let least = u32::from(key.is_meticulous());
            // Compared on a circle of 32 bits (§6.7.3).
            let ahead = sequence.wrapping_sub(last);
            if !(least..=3 * u32::from(packet.multiplier)).contains(&ahead) {
                return Err(Reason::Authentication);
            }
        }
        self.rcv_auth_seq = Some(sequence);
        Ok(())
    }

    /// The state machine (§6.8.6, §6.2).
    fn follow(&mut self, remote: State, now: Micros) {
        match (self.state, remote) {
            (State::AdminDown | State::Down, State::AdminDown) => {}
            (_, State::AdminDown) => self.lose(Loss::Admin, now),
            (State::Down, State::Down) => self.enter(State::Init),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => self.rise(now),
            (State::Up, State::Down) => self.lose(Loss::Peer, now),
            (State::Up, State::Up) => self.path.confirmed(),
            _ => {}
        }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.changed = true;
        self.retime();
    }

    fn rise(&mut self, now: Micros) {
        self.local_diag = Diagnostic::NONE;
        self.up_since = Some(now);
        self.enter(State::Up);
        self.path.session_up(self.settings.hold_up, now);
    }

    fn lose(&mut self, loss: Loss, now: Micros) {
        if self.state == State::Up {
            self.flaps += 1;
            self.path.session_lost(loss, now);
        }
        self.local_diag = match loss {
            Loss::Silence => Diagnostic::TIME_EXPIRED,
            Loss::Peer | Loss::Admin => Diagnostic::NEIGHBOR_DOWN,
        };
        self.up_since = None;
        self.enter(State::Down);
    }

    /// When nothing was heard for too long.
    fn expiry(&self) -> Option<Micros> {
        Some(self.heard? + self.timers.detection())
    }

    /// Does what is due: detection, holding.
    pub fn tick(&mut self, now: Micros) {
        if self.forgotten_at.is_some_and(|at| now >= at) {
            (self.rcv_auth_seq, self.forgotten_at) = (None, None);
        }
        if self.expiry().is_some_and(|at| now >= at) {
            self.heard = None;
            if matches!(self.state, State::Init | State::Up) {
                self.lose(Loss::Silence, now);
            }
            self.path.silent(now);
            (self.remote_discr, self.remote_state) = (0, State::Down);
            self.remote_demand = false;
            self.timers.forget();
        }
        self.path.tick(now);
    }

    /// Whether packets are sent by the clock (§6.8.7).
    fn is_periodic(&self) -> bool {
        let silent = self.settings.passive && self.remote_discr == 0;
        let both_up = self.state == State::Up && self.remote_state == State::Up;
        let spared = self.remote_demand && both_up && !self.timers.polling;
        !silent && !spared && self.timers.remote.min_rx != 0
    }

    fn periodic_due(&self) -> Option<Micros> {
        let interval = jittered(self.timers.transmit(), self.settings.multiplier, self.chance);
        self.is_periodic().then(|| self.sent.map_or(0, |sent| sent + interval))
    }

    /// Whether a change is to be told before the clock asks for it.
    fn tells_change(&self) -> bool {
        self.changed && !(self.settings.passive && self.remote_discr == 0)
    }

    /// The next packet to send now, if any; call it until there is none.
    pub fn transmit(&mut self, now: Micros, chance: u32) -> Option<Vec<u8>> {
        if std::mem::take(&mut self.asked) {
            return Some(self.packet(flag::FINAL, now));
        }
        if !self.tells_change() && self.periodic_due().is_none_or(|at| now < at) {
            return None;
        }
        self.changed = false;
        (self.sent, self.chance) = (Some(now), chance);
        Some(self.packet(if self.timers.polling { flag::POLL } else { 0 }, now))
    }

    fn packet(&mut self, mut flags: u8, now: Micros) -> Vec<u8> {
        let section = self.settings.key.as_ref().map_or(0, Key::section_len);
        if section > 0 {
            flags |= flag::AUTHENTICATED;
        }
        let header = Bfd {
            version_diagnostic: Bfd::first(self.local_diag),
            state_flags: Bfd::second(self.state, flags),
            multiplier: self.settings.multiplier,
            len: (LEN + section) as u8,
            my_discriminator: self.local_discr.into(),
            your_discriminator: self.remote_discr.into(),
            desired_min_tx: self.timers.desired_tx.into(),
            required_min_rx: self.timers.required_rx.into(),
            required_min_echo_rx: 0.into(),
        };
        let mut octets = header.as_bytes().to_vec();
        if let Some(key) = &self.settings.key {
            let interval = self.timers.transmit();
            let number = self.numbers.next(interval, self.settings.multiplier, now);
            key.sign(&mut octets, number);
        }
        octets
    }

    /// When there is something to do or to send; none while only a packet can change that. At once
    /// if the moment is over.
    pub fn due(&self) -> Option<Micros> {
        if self.asked || self.tells_change() {
            return Some(0);
        }
        let moments = [self.periodic_due(), self.expiry(), self.forgotten_at, self.path.due()];
        moments.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
