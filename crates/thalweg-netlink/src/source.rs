//! Host state as a stream of updates.
//!
//! One socket receives events, another lists. While something is being listed, events wait; when
//! the listing is done they are applied over it. An event says how things were when it was sent,
//! so the last one about an object is right, and the listing is right where there was none.
//!
//! Events come before the kernel has finished what they announce: "link down" is sent before the
//! routes are flushed, both under the kernel's RTNL lock. A listing therefore begins with a request
//! that takes this lock, which is answered only when the announced change is complete.

use crate::Error;
use crate::message::{self, Message, Messages, label, nexthop, raw, route};
use crate::mirror::{How, Listing, Mirror};
use crate::socket::{Read, Socket};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::time::Duration;
use thalweg_model::{HostState, Update};
use tokio::sync::mpsc;

/// `RTNLGRP_*`: link, neigh, ipv4-ifaddr, ipv4-route, ipv6-ifaddr, ipv6-route, mpls-route, nexthop.
const GROUPS: [u32; 8] = [1, 3, 5, 7, 9, 11, 27, 32];
/// Is there when the kernel has MPLS. Without it, asking for MPLS routes lists all others.
const MPLS: &str = "/proc/sys/net/mpls/platform_labels";
/// Octets of events read at once; about a thousand.
const GULP: usize = 256 << 10;
/// Octets of events that may wait for a listing; beyond, everything is listed again.
const WAITING: usize = 256 << 20;
/// Routes that may wait for the consumer while a listing goes on.
const BACKLOG: usize = 1 << 16;
/// Batches that may wait for the consumer.
const BATCHES: usize = 4;
/// Attempts to list something that changes meanwhile.
const ATTEMPTS: u32 = 10;
/// `IFLA_EXT_MASK` with `RTEXT_FILTER_SKIP_STATS`: counters of links are not wanted.
const SKIP_STATS: (u16, [u8; 4]) = (29, 8u32.to_ne_bytes());

/// How to follow the kernel.
#[derive(Clone, Debug)]
pub struct Options {
    /// Receive buffer for events in octets: what may happen while this process is not scheduled.
    /// More than `net.core.rmem_max` takes `CAP_NET_ADMIN`.
    pub receive_buffer: usize,
    /// Updates in one batch, about.
    pub batch: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { receive_buffer: 64 << 20, batch: 4096 }
    }
}

/// What a [`Source`] tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Changes, in order. Before [`Event::Complete`] some are still missing.
    Updates(Vec<Update>),
    /// Everything that was there at the start has been told. Comes once.
    Complete,
    /// The kernel had to drop events. Everything is being read again, and the difference follows
    /// as updates; nothing is to be done but count.
    Overrun,
}

/// A stream of changes of host state; dropping it ends it.
#[derive(Debug)]
pub struct Source {
    events: mpsc::Receiver<Result<Event, Error>>,
}

impl Source {
    /// Waits for the next event.
    ///
    /// Safe to cancel.
    ///
    /// # Errors
    ///
    /// What made the source end; [`Error::Ended`] ever after.
    pub async fn next(&mut self) -> Result<Event, Error> {
        self.events.recv().await.unwrap_or(Err(Error::Ended))
    }
}

/// Begins to follow the kernel, in the network namespace of the calling thread.
///
/// Call it inside a tokio runtime with I/O and time enabled; a task there does the work and merges
/// what the consumer has not taken yet.
///
/// # Errors
///
/// [`Error::Socket`] when there are no sockets to be had. Later errors come from [`Source::next`].
pub async fn start(options: Options) -> Result<Source, Error> {
    let mut reader = Reader::open(&options)?;
    let (out, events) = mpsc::channel(BATCHES);
    tokio::spawn(async move {
        if let Err(error) = follow(&mut reader, &out, options.batch).await {
            // Without a receiver there is nobody to tell.
            out.send(Err(error)).await.ok();
        }
    });
    Ok(Source { events })
}

/// Reads host state once, in the network namespace of the calling thread.
///
/// # Errors
///
/// See [`Error`].
pub async fn snapshot() -> Result<HostState, Error> {
    let mut reader = Reader::open(&Options::default())?;
    reader.refresh(Listing::everything(), None).await?;
    for _ in 0..ATTEMPTS {
        if !reader.mirror.is_doubtful() {
            break;
        }
        let doubts = reader.mirror.take_doubts();
        reader.refresh(doubts, None).await?;
    }
    let mut host = HostState::default();
    while reader.mirror.is_touched() {
        for update in reader.mirror.changes(BACKLOG) {
            host.apply(update);
        }
    }
    Ok(host)
}

/// Where updates go, and how many at once.
struct Sink<'a> {
    out: &'a mpsc::Sender<Result<Event, Error>>,
    batch: usize,
}

impl Sink<'_> {
    /// Fills a slot of the channel.
    fn fill(&self, slot: mpsc::Permit<'_, Result<Event, Error>>, mirror: &mut Mirror) {
        let updates = mirror.changes(self.batch);
        if !updates.is_empty() {
            slot.send(Ok(Event::Updates(updates)));
        }
    }

    /// Tells everything there is to tell, as fast as the consumer takes it.
    async fn flush(&self, mirror: &mut Mirror) -> Result<(), Gone> {
        while mirror.is_touched() {
            let slot = self.out.reserve().await.map_err(|_| Gone)?;
            self.fill(slot, mirror);
        }
        Ok(())
    }
}

/// The consumer dropped the source.
struct Gone;

async fn follow(
    reader: &mut Reader,
    out: &mpsc::Sender<Result<Event, Error>>,
    batch: usize,
) -> Result<(), Error> {
    let sink = Sink { out, batch: batch.max(1) };
    reader.refresh(Listing::everything(), Some(&sink)).await?;
    if sink.flush(&mut reader.mirror).await.is_err() || out.send(Ok(Event::Complete)).await.is_err()
    {
        return Ok(());
    }
    let mut rounds = 0;
    loop {
        while reader.mirror.is_touched() {
            match out.try_reserve() {
                Ok(slot) => sink.fill(slot, &mut reader.mirror),
                Err(mpsc::error::TrySendError::Full(())) => break,
                Err(mpsc::error::TrySendError::Closed(())) => return Ok(()),
            }
        }
        if reader.overrun && out.send(Ok(Event::Overrun)).await.is_err() {
            return Ok(());
        }
        if std::mem::take(&mut reader.overrun) {
            reader.mirror.doubt_everything();
        }
        if reader.mirror.is_doubtful() {
            pause(rounds).await;
            rounds += 1;
            let doubts = reader.mirror.take_doubts();
            reader.refresh(doubts, None).await?;
            continue;
        }
        rounds = 0;
        tokio::select! {
            slot = out.reserve(), if reader.mirror.is_touched() => match slot {
                Ok(slot) => sink.fill(slot, &mut reader.mirror),
                Err(_) => return Ok(()),
            },
            () = out.closed() => return Ok(()),
            read = reader.events.read(&mut reader.waiting, GULP) => {
                reader.overrun |= read? == Read::Overrun;
                reader.apply(How::Live);
            }
        }
    }
}

/// Lets a host that changes faster than it can be listed come to rest.
async fn pause(rounds: u32) {
    if rounds > 2 {
        tokio::time::sleep(Duration::from_millis(10 << rounds.min(7))).await;
    }
}

/// The sockets and what was read from them.
struct Reader {
    events: Socket,
    requests: Socket,
    sequence: u32,
    mirror: Mirror,
    /// Events read and not yet applied.
    waiting: Vec<u8>,
    /// Piece of a listing.
    piece: Vec<u8>,
    /// Whether events were lost.
    overrun: bool,
}

/// How a listing ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Listed {
    /// Everything was shown.
    Whole,
    /// Things changed meanwhile and some may be missing.
    Torn,
    /// What the listing was narrowed down to is gone.
    Void,
}

/// A listing under way.
struct Course {
    listing: Listing,
    sequence: u32,
    /// Something was lost, or changed meanwhile.
    torn: bool,
}

impl Course {
    /// Takes a piece of the listing, and says how it ended if this was the last.
    fn take(&mut self, piece: &[u8], mirror: &mut Mirror) -> Result<Option<Listed>, Error> {
        for message in Messages(piece).filter(|m| m.sequence == self.sequence) {
            self.torn |= message.flags & raw::F_DUMP_INTR != 0;
            if matches!(message.kind, raw::DONE | raw::ERROR) {
                let listed = ended(self.listing, &message)?;
                let torn = self.torn && listed == Listed::Whole;
                return Ok(Some(if torn { Listed::Torn } else { listed }));
            }
            mirror.listed(&message, self.listing);
        }
        Ok(None)
    }
}

impl Reader {
    fn open(options: &Options) -> Result<Self, Error> {
        Ok(Self {
            events: Socket::open(&GROUPS, options.receive_buffer)?,
            requests: Socket::open(&[], 1 << 20)?,
            sequence: 0,
            mirror: Mirror::default(),
            waiting: Vec::new(),
            piece: Vec::new(),
            overrun: false,
        })
    }

    /// Applies the events that were read.
    fn apply(&mut self, how: How) {
        for message in Messages(&self.waiting) {
            self.mirror.event(&message, how);
        }
        self.waiting.clear();
        self.waiting.shrink_to(2 * GULP);
    }

    /// Lists some things anew and applies the events that came meanwhile.
    async fn refresh(
        &mut self,
        listings: BTreeSet<Listing>,
        sink: Option<&Sink<'_>>,
    ) -> Result<(), Error> {
        self.barrier().await?;
        for listing in listings {
            self.list(listing, sink).await?;
        }
        self.apply(How::Replayed);
        self.mirror.replayed();
        Ok(())
    }

    /// Waits until the kernel has completed what its events announced.
    async fn barrier(&mut self) -> Result<(), Error> {
        let mut loopback = [0; 16];
        loopback[4..8].copy_from_slice(&1u32.to_ne_bytes());
        let sequence = self.next_sequence();
        let (kind, value) = &SKIP_STATS;
        let request = message::request(raw::GETLINK, 0, sequence, &loopback, &[(*kind, value)]);
        self.requests.send(&request)?;
        loop {
            self.read_piece().await?;
            if Messages(&self.piece).any(|m| m.sequence == sequence) {
                return Ok(());
            }
        }
    }

    async fn list(&mut self, listing: Listing, sink: Option<&Sink<'_>>) -> Result<(), Error> {
        if listing == Listing::Labels && !std::path::Path::new(MPLS).exists() {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            match self.list_once(listing, sink).await? {
                Listed::Whole => {
                    self.mirror.end(listing);
                    return Ok(());
                }
                Listed::Torn => {}
                Listed::Void => return Ok(()),
            }
        }
        // What was shown holds; what was not shown is asked for again, a little later.
        self.mirror.doubt(listing);
        Ok(())
    }

    async fn list_once(
        &mut self,
        listing: Listing,
        sink: Option<&Sink<'_>>,
    ) -> Result<Listed, Error> {
        self.mirror.begin();
        let sequence = self.next_sequence();
        self.requests.send(&request(listing, sequence))?;
        let mut course = Course { listing, sequence, torn: false };
        loop {
            course.torn |= self.read_piece().await? == Read::Overrun;
            if let Some(listed) = course.take(&self.piece, &mut self.mirror)? {
                return Ok(listed);
            }
            if let Some(sink) = sink
                && self.mirror.backlog() > BACKLOG
                && sink.flush(&mut self.mirror).await.is_err()
            {
                // Nobody listens any more; the loop that called finds out, too.
                return Ok(Listed::Void);
            }
        }
    }

    /// Reads a piece of a listing; events that come meanwhile are put aside.
    async fn read_piece(&mut self) -> Result<Read, Error> {
        self.piece.clear();
        loop {
            let limit = self.waiting.len() + GULP;
            tokio::select! {
                read = self.events.read(&mut self.waiting, limit) => {
                    self.overrun |= read? == Read::Overrun;
                    if self.waiting.len() > WAITING {
                        self.waiting = Vec::new();
                        self.overrun = true;
                    }
                }
                read = self.requests.read(&mut self.piece, 1) => return Ok(read?),
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }
}

fn request(listing: Listing, sequence: u32) -> Vec<u8> {
    let list = |kind, header: &[u8], attributes: &[(u16, &[u8])]| {
        message::request(kind, raw::F_DUMP, sequence, header, attributes)
    };
    match listing {
        Listing::Links => list(raw::GETLINK, &[0; 16], &[(SKIP_STATS.0, &SKIP_STATS.1)]),
        Listing::Addresses => list(raw::GETADDR, &[0; 8], &[]),
        Listing::Neighbors => list(raw::GETNEIGH, &[0; 12], &[]),
        Listing::NextHops => list(raw::GETNEXTHOP, &nexthop::LIST, &[]),
        Listing::Labels => label::list(sequence),
        Listing::Routes(scope) => route::list(sequence, scope.v4, scope.table, scope.link),
    }
}

/// What the last message of a listing says.
fn ended(listing: Listing, message: &Message<'_>) -> Result<Listed, Error> {
    let missing = [Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::INVAL];
    let Some(error) = message.error() else { return Ok(Listed::Whole) };
    match (error, listing) {
        // A table that is not there has no routes; a link that is not there took its own along.
        (Errno::NOENT, Listing::Routes(_)) => Ok(Listed::Whole),
        (Errno::NODEV, Listing::Routes(_)) => Ok(Listed::Void),
        (Errno::INTR | Errno::AGAIN | Errno::BUSY, _) => Ok(Listed::Torn),
        // Linux before 5.3 has no next hop objects, and IPv6 may be left out of a kernel.
        (errno, Listing::NextHops | Listing::Labels) if missing.contains(&errno) => {
            Ok(Listed::Whole)
        }
        (errno, Listing::Routes(scope)) if !scope.v4 && missing.contains(&errno) => {
            Ok(Listed::Whole)
        }
        (errno, _) => Err(Error::Refused {
            what: name(listing),
            error: errno.into(),
            remedy: match errno {
                Errno::PERM | Errno::ACCESS => {
                    "run as root or with CAP_NET_ADMIN, and let the security module allow \
                     netlink_route_socket"
                }
                Errno::NOMEM | Errno::NOBUFS => "free memory and start again",
                _ => "report this with `uname -r`; Thalweg needs Linux 5.10 or later",
            },
        }),
    }
}

fn name(listing: Listing) -> &'static str {
    match listing {
        Listing::Links => "links",
        Listing::Addresses => "addresses",
        Listing::Neighbors => "neighbors",
        Listing::NextHops => "next hop objects",
        Listing::Labels => "MPLS routes",
        Listing::Routes(scope) if scope.v4 => "IPv4 routes",
        Listing::Routes(_) => "IPv6 routes",
    }
}

#[cfg(test)]
mod tests;
