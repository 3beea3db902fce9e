//! All sessions: which of them a packet is for, what is due, and what is to be sent.

use crate::numbers::Anchor;
use crate::session::{Remembered, Session, Settings, Status};
use crate::{Micros, SLOW};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use thalweg_wire::bfd::{Bfd, LEN, State, VERSION, flag};
use zerocopy::FromBytes;

/// The only TTL or hop limit that a packet from a neighbor can have (RFC 5881 §5, RFC 5082).
pub const TTL: u8 = 255;

/// Why a packet is discarded.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// It came over a router, or nobody knows.
    Ttl,
    /// It is no control packet of version 1, or contradicts itself.
    Malformed,
    /// There is no session for it.
    Unknown,
    /// It came from another address or link than its session's neighbor.
    Source,
    /// It has no authentication where some is asked for, a wrong one, or an old one.
    Authentication,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Ttl, Self::Malformed, Self::Unknown, Self::Source, Self::Authentication];

    /// As metrics name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown-session",
            Self::Source => "source",
            Self::Authentication => "authentication",
        }
    }
}

/// A session that is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Name of its object.
    pub name: String,
    /// Interface index.
    pub link: u32,
    /// Interface name.
    pub device: String,
    /// The neighbor.
    pub peer: IpAddr,
    /// Own address to send from; none leaves it to the kernel.
    pub local: Option<IpAddr>,
    /// What it is to do.
    pub settings: Settings,
    /// Where an agent before left it; matters only when the session begins.
    pub before: Option<Remembered>,
}

/// Something about a session changed that others may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// Name of its object.
    pub name: String,
    /// How it stands now.
    pub status: Status,
    /// Whether more is new than where sequence numbers go on, which is for who writes that down.
    pub news: bool,
}

/// A packet to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// Discriminator of the session.
    pub session: u32,
    /// The packet.
    pub octets: Vec<u8>,
}

/// A session with its place in the world.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it was made from.
    pub wanted: Wanted,
    session: Session,
    /// Packets sent.
    pub sent: u64,
    /// Packets received and not discarded.
    pub received: u64,
    /// Packets discarded because they were not authentic.
    pub refused: u64,
    /// Why it cannot send or receive.
    pub trouble: Option<String>,
    /// When it is forgotten, once it is not wanted any more.
    ends: Option<Micros>,
    due: Option<Micros>,
    told: Option<(State, State, bool)>,
    told_anchor: Option<Anchor>,
}

impl Entry {
    /// How the session stands.
    pub fn status(&self) -> Status {
        self.session.status()
    }

    /// What a next agent has to know to go on.
    pub fn remember(&self, now: Micros) -> Remembered {
        self.session.remember(now)
    }

    /// Whether it is wanted, not only saying goodbye.
    pub fn is_wanted(&self) -> bool {
        self.ends.is_none()
    }
}

/// All sessions, without I/O.
#[derive(Debug)]
pub struct Engine {
    /// By own discriminator.
    entries: BTreeMap<u32, Entry>,
    /// By link and neighbor, for packets that do not know us yet.
    addresses: BTreeMap<(u32, IpAddr), u32>,
    due: BTreeSet<(Micros, u32)>,
    dropped: [u64; Reason::ALL.len()],
    chance: u64,
    reports: Vec<Report>,
}

impl Engine {
    /// No sessions; `seed` is what discriminators and jitter come from.
    pub fn new(seed: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            addresses: BTreeMap::new(),
            due: BTreeSet::new(),
            dropped: [0; Reason::ALL.len()],
            chance: seed,
            reports: Vec::new(),
        }
    }

    /// SplitMix64: even enough for jitter; its seed comes from the kernel.
    fn random(&mut self) -> u32 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    fn discriminator(&mut self) -> u32 {
        loop {
            let number = self.random();
            if number != 0 && !self.entries.contains_key(&number) {
                return number;
            }
        }
    }

    /// Makes the sessions as wanted: begins, changes and ends them. Those with another neighbor or
    /// link are other sessions.
    pub fn set(&mut self, wanted: &[Wanted], now: Micros) {
        let place = |wanted: &Wanted| (wanted.link, wanted.peer);
        let new: BTreeMap<_, _> = wanted.iter().map(|wanted| (&wanted.name, wanted)).collect();
        let all: Vec<u32> = self.entries.keys().copied().collect();
        for id in &all {
            let entry = &self.entries[id];
            let next =
                new.get(&entry.wanted.name).filter(|next| place(next) == place(&entry.wanted));
            match next.map(|next| (*next).clone()) {
                Some(next) if entry.is_wanted() => self.change(*id, next),
                _ if entry.is_wanted() => self.end(*id, now),
                _ => {}
            }
        }
        for next in wanted {
            let known = self.addresses.get(&place(next)).and_then(|id| self.entries.get(id));
            if known.is_some_and(|entry| entry.is_wanted() && entry.wanted.name == next.name) {
                continue;
            }
            self.begin(next.clone(), now);
        }
    }

    fn begin(&mut self, wanted: Wanted, now: Micros) {
        let place = (wanted.link, wanted.peer);
        if let Some(old) = self.addresses.remove(&place) {
            self.forget(old);
        }
        let chance = self.random();
        let settings = wanted.settings.clone();
        let free = |id: u32| id != 0 && !self.entries.contains_key(&id);
        let session = match wanted.before.filter(|before| free(before.discriminator)) {
            Some(before) => Session::resume(settings, &before, chance, now),
            None => Session::new(settings, self.discriminator(), chance),
        };
        let id = session.discriminator();
        let entry = Entry {
            wanted,
            session,
            sent: 0,
            received: 0,
            refused: 0,
            trouble: None,
            ends: None,
            due: None,
            told: None,
            told_anchor: None,
        };
        self.entries.insert(id, entry);
        self.addresses.insert(place, id);
        self.settle(id);
    }

    fn change(&mut self, id: u32, wanted: Wanted) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.session.set(wanted.settings.clone());
            entry.wanted = wanted;
        }
        self.settle(id);
    }

    fn end(&mut self, id: u32, now: Micros) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.session.end();
            // The other end is told for a detection time (RFC 5880 §6.8.16).
            let interval = Micros::from(entry.session.status().transmit.max(SLOW));
            entry.ends = Some(now + interval * Micros::from(entry.wanted.settings.multiplier));
        }
        self.settle(id);
    }

    fn forget(&mut self, id: u32) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(due) = entry.due {
            self.due.remove(&(due, id));
        }
        let place = (entry.wanted.link, entry.wanted.peer);
        if self.addresses.get(&place) == Some(&id) {
            self.addresses.remove(&place);
        }
    }

    /// Notes when a session is due again, and tells what others see of it if that changed.
    fn settle(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let due = entry.session.due().into_iter().chain(entry.ends).min();
        if due != entry.due {
            if let Some(old) = entry.due {
                self.due.remove(&(old, id));
            }
            self.due.extend(due.map(|due| (due, id)));
            entry.due = due;
        }
        let status = entry.session.status();
        let seen = (status.state, status.remote_state, status.path);
        let news = entry.told != Some(seen);
        let anchor = entry.session.anchor();
        if (news || entry.told_anchor != anchor) && entry.is_wanted() {
            (entry.told, entry.told_anchor) = (Some(seen), anchor);
            self.reports.push(Report { name: entry.wanted.name.clone(), status, news });
        }
    }

    /// Takes what came over UDP on a link.
    ///
    /// # Errors
    ///
    /// Why it is discarded; that is counted.
    pub fn receive(
        &mut self,
        (link, source): (u32, IpAddr),
        ttl: Option<u8>,
        octets: &[u8],
        now: Micros,
    ) -> Result<(), Reason> {
        let result = self.take((link, source), ttl, octets, now);
        if let Err(reason) = result {
            self.dropped[reason as usize] += 1;
        }
        result
    }

    fn take(
        &mut self,
        place: (u32, IpAddr),
        ttl: Option<u8>,
        octets: &[u8],
        now: Micros,
    ) -> Result<(), Reason> {
        if ttl != Some(TTL) {
            return Err(Reason::Ttl);
        }
        let octets = checked(octets).ok_or(Reason::Malformed)?;
        let (packet, _) = Bfd::ref_from_prefix(octets).map_err(|_| Reason::Malformed)?;
        let id = match packet.your_discriminator.get() {
            0 => *self.addresses.get(&place).ok_or(Reason::Unknown)?,
            id => id,
        };
        let entry = self.entries.get_mut(&id).ok_or(Reason::Unknown)?;
        if (entry.wanted.link, entry.wanted.peer) != place {
            return Err(Reason::Source);
        }
        let result = entry.session.receive(octets, now);
        match result {
            Ok(()) => entry.received += 1,
            Err(_) => entry.refused += 1,
        }
        self.settle(id);
        result
    }

    /// Does what is due, and gives the packets to send now.
    pub fn advance(&mut self, now: Micros) -> Vec<Outgoing> {
        let mut outgoing = Vec::new();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            let chance = self.random();
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.due = None;
            if entry.ends.is_some_and(|ends| ends <= now) {
                self.forget(id);
                continue;
            }
            entry.session.tick(now);
            while let Some(octets) = entry.session.transmit(now, chance) {
                entry.sent += 1;
                outgoing.push(Outgoing { session: id, octets });
            }
            self.settle(id);
        }
        outgoing
    }

    /// When [`Self::advance`] has something to do.
    pub fn due(&self) -> Option<Micros> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What changed since the last call.
    pub fn reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }

    /// Asks all other ends to be patient for a while: `absence` microseconds without a packet.
    pub fn go_away(&mut self, absence: Micros) {
        for id in self.entries.keys().copied().collect::<Vec<_>>() {
            if let Some(entry) = self.entries.get_mut(&id) {
                let share = absence / Micros::from(entry.wanted.settings.multiplier.max(1));
                entry.session.go_away(u32::try_from(share).unwrap_or(u32::MAX));
            }
            self.settle(id);
        }
    }

    /// Whether there is nobody who has yet to agree to that.
    pub fn is_patient(&self) -> bool {
        self.entries.values().all(|entry| entry.session.is_patient())
    }

    /// All sessions, by own discriminator; also those that only say goodbye.
    pub fn entries(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// Says why a session cannot send or receive, or that it can.
    pub fn trouble(&mut self, session: u32, trouble: Option<String>) {
        if let Some(entry) = self.entries.get_mut(&session) {
            entry.trouble = trouble;
        }
    }

    /// Packets discarded, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.dropped)
    }
}

/// A packet without what stands behind it, if it keeps the rules that need no session
/// (RFC 5880 §6.8.6).
pub fn checked(octets: &[u8]) -> Option<&[u8]> {
    let (packet, _) = Bfd::ref_from_prefix(octets).ok()?;
    let least = if packet.has(flag::AUTHENTICATED) { LEN + 2 } else { LEN };
    let len = usize::from(packet.len);
    let state = matches!(packet.state(), State::Down | State::AdminDown);
    let sound = packet.version() == VERSION
        && len >= least
        && packet.multiplier != 0
        && !packet.has(flag::MULTIPOINT)
        && packet.my_discriminator.get() != 0
        && (packet.your_discriminator.get() != 0 || state);
    octets.get(..len).filter(|_| sound)
}

#[cfg(test)]
mod tests;
