//! The pipeline of hosts with services or workloads: *parse → track → decide → remember → apply*.

use super::track::{Facts, Tracked, what};
use super::{Flows, fast, first, gate, log, mapping, nat, policy, quota, shelf};
use crate::cells::Cells as _;
use crate::frame::Frame;
use crate::packet::{Packet, flag};
use crate::tunnel::{self, OPENED};
use crate::{ATTEMPTS, limited, tell};
use crate::{Arrival, Decision, Direct, Kind, Outcome, Reason, Stages, Tables, Verdict};
use thalweg_abi::link;

/// The stages of flows, as something that carries them out; see [`Stages`]. It also keeps what
/// [`super::track`] has found out, for which the kernel's stack is too small.
pub trait FlowStages: Stages {
    /// Forwards a frame of a known flow; [`super::fast::fast`].
    fn known(&mut self, arrival: Arrival) -> Outcome;
    /// Reads the first packet of a flow, and gives it to a backend; [`first::serve`].
    fn serve(&mut self, packet: &mut Packet, arrival: Arrival) -> bool;
    /// The next hop of such a packet, or 0; [`first::way`].
    fn way(&self, packet: &Packet) -> u64;
    /// Whether policies let such a packet pass; [`first::permits`].
    fn permits(&mut self, packet: &Packet) -> bool;
    /// Writes both rows of the flow of such a packet; [`first::begin`].
    fn begin(&mut self, packet: &Packet, nexthop: u32) -> bool;
    /// Rewrites the frame of such a packet; [`first::depart`].
    fn depart(&mut self, packet: &Packet, nexthop: u32) -> Outcome;
    /// Asks untracked rules about what came in by a link; [`gate::untracked`].
    fn untracked(&mut self, packet: &mut Packet) -> bool;
    /// Finds flow or service; [`super::track`].
    fn track(&mut self, packet: &mut Packet) -> Option<Verdict>;
    /// Lets a client keep its backend; [`super::keep`].
    fn keep(&mut self, packet: &mut Packet);
    /// Finds who has the port outside that a packet is for; [`super::hairpin`].
    fn hairpin(&mut self, packet: &mut Packet);
    /// Asks policies about a packet that begins a flow, or whose flow they were not asked about since the
    /// tables changed; [`policy::permit`].
    fn permit(&mut self, packet: &Packet) -> Option<Verdict>;
    /// Asks this host's gates about a packet that was decided, which came `opened` out of a tunnel or not;
    /// [`gate::way`], [`gate::prepare`], and [`gate::pass`]. Then tells what rules said that log ([`log`]).
    fn pass(&mut self, packet: &Packet, decision: &mut Decision, opened: bool);
    /// Whether policies are asked about what a packet belongs to; [`policy::is_guarded`].
    fn is_guarded(&self, packet: &Packet, nexthop: u32) -> bool;
    /// Whether both directions of what a packet for this host belongs to are seen; [`policy::is_seen`].
    fn is_seen(&self, packet: &Packet) -> bool;
    /// What that has found out.
    fn facts(&self) -> Facts;
    /// Looks for a token for a new flow; [`quota::admit`].
    fn admit_flow(&mut self, packet: &Packet) -> bool;
    /// Chooses the source that a new flow leaves with; [`nat::source`].
    fn source(&mut self, packet: &mut Packet, nexthop: u32) -> Option<Verdict>;
    /// Gives a packet a port under which its answers are its own; [`nat::choose`].
    fn choose(&mut self, packet: &mut Packet) -> u32;
    /// Writes down that the port is its source's; [`mapping::write`].
    fn map(&mut self, packet: &Packet) -> bool;
    /// Writes a row for one direction of a new flow; [`super::remember`].
    fn remember(&mut self, packet: &Packet, nexthop: u32, back: bool) -> u32;
    /// Takes a flow that gives way out; [`nat::make_room`].
    fn make_room(&mut self, packet: &Packet) -> bool;
    /// Takes the row of answers out again; [`nat::forget`].
    fn forget(&mut self, packet: &Packet);
    /// Writes the row that fragments behind the first find; [`super::remember_fragments`].
    fn remember_fragments(&mut self, packet: &Packet, here: bool) -> bool;
    /// Keeps a fragment whose first has not come; [`shelf::keep`].
    fn shelve(&mut self, packet: &Packet, device: u32) -> u32;
    /// Lets those arrive again that waited for this one; [`shelf::release`].
    fn release(&mut self, packet: &Packet) -> bool;
    /// Gives a packet that goes no further the addresses back that it came with; [`Tracked::restore`].
    fn restore(&mut self, packet: &mut Packet);
    /// Puts a known flow's way down again; [`super::renew`].
    fn renew(&mut self, packet: &Packet, found: u32, nexthop: u32);
    /// Whether a next hop leads to a workload; [`super::is_to_workload`].
    fn is_to_workload(&self, packet: &Packet, nexthop: u32) -> bool;
    /// The link of a next hop; [`super::link_of`].
    fn link_of(&self, packet: &Packet, nexthop: u32) -> u32;
    /// Rewrites addresses and ports; [`super::translate`].
    fn translate(&mut self, packet: &Packet) -> bool;
    /// Forgets what was known of the last frame.
    fn enter(&mut self);
    /// Takes the frame out of a tunnel that leads here; [`tunnel::open`].
    fn open(&mut self, packet: &Packet) -> Option<Verdict>;
    /// Decides a packet that goes back to the node it came from; [`tunnel::give_back`].
    fn give_back(&mut self, packet: &Packet, decision: &mut Decision) -> bool;
    /// The outer headers that a next hop asks for, or 0; [`tunnel::tunnel_of`].
    fn tunnel_of(&self, packet: &Packet, nexthop: u32) -> u32;
    /// Rewrites the frame for a next hop through a tunnel; [`tunnel::send`].
    fn send(&mut self, packet: &Packet, decision: &Decision) -> Outcome;
}

/// The stages of flows as plain calls.
pub struct FlowDirect<'a, F, T> {
    stages: Direct<'a, F, T>,
    tracked: Tracked,
}

impl<'a, F, T> FlowDirect<'a, F, T> {
    /// For a frame and tables.
    pub fn new(frame: &'a mut F, tables: &'a T) -> Self {
        Self { stages: Direct { frame, tables }, tracked: Tracked::NONE }
    }
}

impl<F: Frame, T: Tables> Stages for FlowDirect<'_, F, T> {
    fn fast(&mut self, arrival: Arrival) -> Outcome {
        self.stages.fast(arrival)
    }

    fn parse(&mut self, packet: &mut Packet) -> Option<Verdict> {
        self.stages.parse(packet)
    }

    fn decide(&mut self, packet: &Packet, decision: &mut Decision) {
        self.stages.decide(packet, decision);
    }

    fn forward(&mut self, packet: &Packet, decision: &Decision) -> Outcome {
        self.stages.forward(packet, decision)
    }

    fn unlabel(&mut self, packet: &Packet, decision: &Decision) -> bool {
        self.stages.unlabel(packet, decision)
    }

    fn is_unresolved(&self, packet: &Packet) -> bool {
        self.stages.is_unresolved(packet)
    }

    fn answer(&mut self, packet: &mut Packet, verdict: Verdict, mtu: u32) -> Verdict {
        self.stages.answer(packet, verdict, mtu)
    }

    fn admit(&mut self, link: u32) -> bool {
        self.stages.admit(link)
    }

    fn can_hand_over(&self, device: u32) -> bool {
        self.stages.can_hand_over(device)
    }

    fn zero(&self) -> u64 {
        self.stages.zero()
    }

    fn epoch(&self) -> u32 {
        self.stages.epoch()
    }

    fn holds(&self, epoch: u32) -> bool {
        self.stages.holds(epoch)
    }
}

impl<F: Frame, T: Tables> FlowStages for FlowDirect<'_, F, T>
where
    for<'t> T::Cells<'t>: Flows,
{
    fn known(&mut self, arrival: Arrival) -> Outcome {
        fast::fast(self.stages.frame, &self.stages.tables.at(arrival.epoch), arrival)
    }

    fn serve(&mut self, packet: &mut Packet, arrival: Arrival) -> bool {
        let cells = self.stages.tables.at(arrival.epoch);
        first::serve(self.stages.frame, &cells, packet, &mut self.tracked, arrival)
    }

    fn way(&self, packet: &Packet) -> u64 {
        first::way(&self.stages.tables.at(packet.epoch()), packet, &self.tracked)
    }

    fn permits(&mut self, packet: &Packet) -> bool {
        first::permits(&self.stages.tables.at(packet.epoch()), packet, &mut self.tracked)
    }

    fn begin(&mut self, packet: &Packet, nexthop: u32) -> bool {
        let cells = self.stages.tables.at(packet.epoch());
        first::begin(&cells, packet, &self.tracked, nexthop)
    }

    fn depart(&mut self, packet: &Packet, nexthop: u32) -> Outcome {
        let cells = self.stages.tables.at(packet.epoch());
        first::depart(self.stages.frame, &cells, packet, &self.tracked, nexthop)
    }

    fn untracked(&mut self, packet: &mut Packet) -> bool {
        let cells = self.stages.tables.at(packet.epoch());
        gate::untracked(self.stages.frame, &cells, packet, &mut self.tracked)
    }

    fn track(&mut self, packet: &mut Packet) -> Option<Verdict> {
        let cells = self.stages.tables.at(packet.epoch());
        super::track(self.stages.frame, &cells, packet, &mut self.tracked).break_value()
    }

    fn keep(&mut self, packet: &mut Packet) {
        super::keep(&self.stages.tables.at(packet.epoch()), packet, &mut self.tracked);
    }

    fn hairpin(&mut self, packet: &mut Packet) {
        super::hairpin(&self.stages.tables.at(packet.epoch()), packet, &mut self.tracked);
    }

    fn permit(&mut self, packet: &Packet) -> Option<Verdict> {
        let cells = self.stages.tables.at(packet.epoch());
        policy::permit(&cells, packet, &mut self.tracked).break_value()
    }

    fn pass(&mut self, packet: &Packet, decision: &mut Decision, opened: bool) {
        let cells = self.stages.tables.at(packet.epoch());
        let way = gate::way(&cells, packet, decision, opened);
        gate::prepare(&cells, packet, &mut self.tracked, way);
        let asks = gate::Plain { cells: &cells, packet };
        if let Some(denied) = gate::pass(&cells, &mut self.tracked, &asks).break_value() {
            decision.verdict = denied;
        }
        if self.tracked.logged != 0 {
            log::tell(&cells, packet, &mut self.tracked, decision.verdict);
        }
    }

    fn is_guarded(&self, packet: &Packet, nexthop: u32) -> bool {
        policy::is_guarded(&self.stages.tables.at(packet.epoch()), packet, nexthop)
    }

    fn is_seen(&self, packet: &Packet) -> bool {
        policy::is_seen(&self.stages.tables.at(packet.epoch()), packet)
    }

    fn facts(&self) -> Facts {
        self.tracked.facts()
    }

    fn admit_flow(&mut self, packet: &Packet) -> bool {
        let cells = self.stages.tables.at(packet.epoch());
        quota::admit_here(&cells, packet, &mut self.tracked) != quota::NONE
    }

    fn source(&mut self, packet: &mut Packet, nexthop: u32) -> Option<Verdict> {
        let cells = self.stages.tables.at(packet.epoch());
        nat::source(&cells, packet, &mut self.tracked, nexthop).break_value()
    }

    fn choose(&mut self, packet: &mut Packet) -> u32 {
        let cells = self.stages.tables.at(packet.epoch());
        nat::choose_here(&cells, packet, &mut self.tracked)
    }

    fn map(&mut self, packet: &Packet) -> bool {
        mapping::write(&self.stages.tables.at(packet.epoch()), packet, &mut self.tracked)
    }

    fn remember(&mut self, packet: &Packet, nexthop: u32, back: bool) -> u32 {
        let cells = self.stages.tables.at(packet.epoch());
        super::remember(&cells, packet, &mut self.tracked, nexthop, back)
    }

    fn make_room(&mut self, packet: &Packet) -> bool {
        nat::make_room(&self.stages.tables.at(packet.epoch()), &mut self.tracked)
    }

    fn forget(&mut self, packet: &Packet) {
        nat::forget(&self.stages.tables.at(packet.epoch()), packet, &mut self.tracked);
    }

    fn remember_fragments(&mut self, packet: &Packet, here: bool) -> bool {
        let cells = self.stages.tables.at(packet.epoch());
        super::remember_fragments(&cells, packet, &self.tracked, here)
    }

    fn shelve(&mut self, packet: &Packet, device: u32) -> u32 {
        let cells = self.stages.tables.at(packet.epoch());
        shelf::keep(self.stages.frame, &cells, &self.tracked, device)
    }

    fn release(&mut self, packet: &Packet) -> bool {
        let cells = self.stages.tables.at(packet.epoch());
        shelf::release(self.stages.frame, &cells, &self.tracked)
    }

    fn restore(&mut self, packet: &mut Packet) {
        self.tracked.restore(packet);
    }

    fn renew(&mut self, packet: &Packet, found: u32, nexthop: u32) {
        super::renew(&self.stages.tables.at(packet.epoch()), packet, found, nexthop);
    }

    fn is_to_workload(&self, packet: &Packet, nexthop: u32) -> bool {
        super::is_to_workload(&self.stages.tables.at(packet.epoch()), nexthop)
    }

    fn link_of(&self, packet: &Packet, nexthop: u32) -> u32 {
        super::link_of(&self.stages.tables.at(packet.epoch()), nexthop)
    }

    fn translate(&mut self, packet: &Packet) -> bool {
        super::rewrite(self.stages.frame, packet, &self.tracked)
    }

    fn enter(&mut self) {
        self.tracked = Tracked::NONE;
    }

    fn open(&mut self, packet: &Packet) -> Option<Verdict> {
        let cells = self.stages.tables.at(packet.epoch());
        let flags = cells.settings().map_or(0, |row| row.flags);
        if !tunnel::is_for_tunnel(flags, packet) {
            return None;
        }
        let opened = tunnel::open(self.stages.frame, &cells, packet, &mut self.tracked.node);
        if let Some(verdict) = opened.filter(|_| self.tracked.logged != 0) {
            log::tell(&cells, packet, &mut self.tracked, verdict);
        }
        opened
    }

    fn give_back(&mut self, packet: &Packet, decision: &mut Decision) -> bool {
        let cells = self.stages.tables.at(packet.epoch());
        tunnel::give_back(&cells, packet, self.tracked.node, decision)
    }

    fn tunnel_of(&self, packet: &Packet, nexthop: u32) -> u32 {
        tunnel::tunnel_of(&self.stages.tables.at(packet.epoch()), nexthop)
    }

    fn send(&mut self, packet: &Packet, decision: &Decision) -> Outcome {
        let cells = self.stages.tables.at(packet.epoch());
        tunnel::send(self.stages.frame, &cells, packet, decision)
    }
}

/// Takes one frame through the data plane and leaves it rewritten, ready for its verdict. `packet` is room
/// for its values: the kernel's stack is too small for all stages.
///
/// What comes out of a tunnel is a frame of its own, once.
#[inline(always)]
pub fn process<S: FlowStages>(stages: &mut S, packet: &mut Packet, arrival: Arrival) -> Outcome {
    match once(stages, packet, arrival, false) {
        outcome if outcome.verdict == OPENED => once(stages, packet, arrival, true),
        outcome => outcome,
    }
}

/// As [`process`], but without the straight lines ([`fast`], [`first`]): they must come to the same.
#[inline(always)]
pub fn pipeline<S: FlowStages>(stages: &mut S, packet: &mut Packet, arrival: Arrival) -> Outcome {
    match in_full(stages, packet, arrival, false) {
        outcome if outcome.verdict == OPENED => in_full(stages, packet, arrival, true),
        outcome => outcome,
    }
}

#[inline(always)]
fn once<S: FlowStages>(
    stages: &mut S,
    packet: &mut Packet,
    arrival: Arrival,
    opened: bool,
) -> Outcome {
    let known = stages.known(arrival);
    if known.verdict == fast::BEGINS && !opened && stages.serve(packet, arrival) {
        let way = stages.way(packet);
        let passes = way != 0 && (way & first::ASKS == 0 || stages.permits(packet));
        if passes && stages.begin(packet, way as u32) {
            return stages.depart(packet, way as u32);
        }
    }
    if known.device != 0 || known.verdict.is(Kind::Drop) {
        return known;
    }
    in_full(stages, packet, arrival, opened)
}

#[inline(always)]
fn in_full<S: FlowStages>(
    stages: &mut S,
    packet: &mut Packet,
    arrival: Arrival,
    opened: bool,
) -> Outcome {
    if !opened {
        stages.enter();
    }
    let mut arrival = arrival;
    for _ in 0..ATTEMPTS {
        if let Some(outcome) = attempt(stages, packet, arrival, opened) {
            return outcome;
        }
        arrival.epoch = stages.epoch();
    }
    Outcome::stop(Verdict::drop(Reason::Overtaken))
}

/// The pipeline on one version of the tables; none, and the frame is untouched, if that did not hold.
#[inline(always)]
fn attempt<S: FlowStages>(
    stages: &mut S,
    packet: &mut Packet,
    arrival: Arrival,
    opened: bool,
) -> Option<Outcome> {
    *packet = Packet::new(arrival, stages.zero());
    let parsed = stages.parse(packet);
    let asked = !opened && packet.link_has(link::flag::UNTRACKED);
    if parsed.is_none() && asked && stages.untracked(packet) {
        return Some(Outcome::stop(Verdict::drop(Reason::Policy)));
    }
    if parsed.is_none()
        && !opened
        && let Some(verdict) = stages.open(packet)
    {
        let overtaken = verdict == Verdict::drop(Reason::Overtaken);
        return (!overtaken).then_some(Outcome::stop(verdict));
    }
    let verdict = match parsed {
        Some(_) if !stages.holds(arrival.epoch) => return None,
        Some(verdict) => verdict,
        None => match dispatch(stages, packet, arrival.device, opened)? {
            outcome if outcome.device != 0 => return Some(outcome),
            outcome => outcome.verdict,
        },
    };
    Some(limited(stages, verdict, packet.link()))
}

/// Finds the flow of a packet, decides the packet, remembers the flow, and carries the decision out.
#[inline(always)]
fn dispatch<S: FlowStages>(
    stages: &mut S,
    packet: &mut Packet,
    device: u32,
    opened: bool,
) -> Option<Outcome> {
    let ended = stages.track(packet);
    // What begins no connection says nothing of a client.
    if stages.facts().is(what::KEEPS) && !stages.facts().is(what::AMID) {
        stages.keep(packet);
    }
    let begins = stages.facts().is(what::BEGINS) && !stages.facts().is(what::SERVICE);
    if ended.is_none() && begins {
        stages.hairpin(packet);
    }
    let ended = if ended.is_none() { stages.permit(packet) } else { ended };
    let mut decision = Decision::new(packet);
    match ended {
        Some(verdict) => decision.verdict = verdict,
        None if stages.facts().is(what::RETURNS) && stages.give_back(packet, &mut decision) => {}
        None => stages.decide(packet, &mut decision),
    }
    let sent = decision.verdict.is(Kind::Forward) || decision.verdict.is(Kind::Punt);
    if (sent || decision.verdict.is_about_size())
        && stages.tunnel_of(packet, decision.nexthop()) != 0
    {
        packet.flags |= u64::from(flag::TUNNEL);
        decision.verdict = through(decision.verdict);
    }
    if opened
        && sent
        && is_strange(packet, stages.facts())
        && stages.link_of(packet, decision.nexthop()) == packet.link()
    {
        // For nobody here any more: it would go back to where it came from, and come again.
        let alone = packet.has(flag::LATER_FRAGMENT);
        let why = if alone { Reason::NoFirstFragment } else { Reason::StrangeTunnel };
        decision.verdict = Verdict::drop(why);
    }
    // tc knows how large a frame will be, and can leave it to the kernel to find a neighbor. It would not know
    // the node that a frame has come from, which is needed as long as no flow names it.
    let led = stages.facts().is(what::KEYED) || packet.has(flag::TUNNEL);
    let later = decision.verdict.is_about_size()
        || decision.verdict == UNRESOLVED && led && !(opened && stages.facts().found() == 0);
    if later && stages.can_hand_over(device) {
        return Some(Outcome::stop(Verdict::pass(Reason::HandedOver)));
    }
    stages.pass(packet, &mut decision, opened);
    let verdict = decision.verdict;
    let sent = verdict.is(Kind::Forward) || verdict.is(Kind::Punt);
    let owed = verdict.is(Kind::Answer);
    if owed && stages.facts().is(what::REWRITES) {
        // The sender hears of what it has sent, where it is.
        stages.restore(packet);
    }
    let unresolved = owed && packet.depth() == 0 && stages.is_unresolved(packet);
    if !stages.holds(packet.epoch()) {
        return None;
    }
    if is_early(packet, stages.facts(), verdict) {
        return early(stages, packet, verdict, device);
    }
    let follows =
        packet.has(flag::LATER_FRAGMENT) && !packet.has(flag::UNTRACKED) || packet.depth() > 0;
    if (sent || packet.depth() > 0)
        && follows
        && !stages.facts().is(what::LED | what::REWRITES)
        && stages.is_guarded(packet, decision.nexthop())
    {
        // Policies were asked about the first fragment, and nobody was about what has labels.
        return match packet.depth() {
            0 => early(stages, packet, ALONE, device),
            _ => Some(Outcome::stop(Verdict::drop(Reason::Policy))),
        };
    }
    if unresolved {
        // What the kernel would tell, it would tell of a way that it does not know; and what is for a
        // service, it would take for itself. Who gets no answer sends again.
        // What policies deny, it would let pass.
        let ours = packet.has(flag::TUNNEL)
            || stages.facts().is(what::REWRITES)
            || verdict == Verdict::answer(Reason::Policy);
        let kind = if ours { Kind::Drop } else { Kind::Punt };
        return Some(Outcome::stop(verdict.with_kind(kind)));
    }
    if owed {
        return Some(tell(stages, packet, &mut decision));
    }
    if verdict.is(Kind::Drop) || verdict.is(Kind::Pass) {
        return Some(Outcome::stop(verdict));
    }
    if let Some(ended) = settle(stages, packet, &decision, opened) {
        return match ended == ALONE {
            true => early(stages, packet, ended, device),
            false => Some(Outcome::stop(ended)),
        };
    }
    let facts = stages.facts();
    let here = verdict == Verdict::deliver(Reason::Local);
    let leads = here || facts.is(what::FRAGMENT) && stages.is_guarded(packet, decision.nexthop());
    if facts.is(what::FRAGMENT) && stages.remember_fragments(packet, leads) {
        if stages.can_hand_over(device) {
            return Some(Outcome::stop(Verdict::pass(Reason::HandedOver)));
        }
        if !stages.release(packet) {
            return Some(Outcome::stop(Verdict::drop(Reason::NoRoom)));
        }
    }
    if is_direct(packet, facts) {
        stages.restore(packet);
    } else if facts.is(what::REWRITES) && !stages.translate(packet) {
        return Some(Outcome::stop(Verdict::drop(super::unfit(packet))));
    }
    // Nothing else is left of what goes into a tunnel than what is sent and what waits for its neighbor.
    if packet.has(flag::TUNNEL) {
        return Some(stages.send(packet, &decision));
    }
    if verdict == UNRESOLVED && (opened || facts.is(what::REWRITES)) {
        // The kernel may refuse to route it: its source can be an address of this host by now, or one that
        // comes by another link. All that it is needed for is the neighbor.
        return Some(Outcome { verdict, device: stages.link_of(packet, decision.nexthop()) });
    }
    Some(crate::carry_out(stages, packet, &decision))
}

/// The kernel is to find the neighbor.
const UNRESOLVED: Verdict = Verdict::punt(Reason::Unresolved);

/// The packet is for this host.
const LOCAL: Verdict = Verdict::deliver(Reason::Local);

/// A fragment that needs its first, which is not known.
const ALONE: Verdict = Verdict::drop(Reason::NoFirstFragment);

/// Whether nothing is known here of what a packet out of a tunnel belongs to.
#[inline(always)]
fn is_strange(packet: &Packet, facts: Facts) -> bool {
    match packet.has(flag::LATER_FRAGMENT) {
        true => !facts.is(what::REWRITES),
        false => facts.is(what::KEYED) && !facts.is(what::SERVICE) && facts.found() == 0,
    }
}

/// Whether only the first fragment of a packet can tell what becomes of this one, and has not come: it is for
/// a service, or for an address of this host that may stand for another one's.
#[inline(always)]
fn is_early(packet: &Packet, facts: Facts, verdict: Verdict) -> bool {
    let here = verdict == Verdict::deliver(Reason::Local);
    packet.has(flag::LATER_FRAGMENT)
        && !packet.has(flag::UNTRACKED)
        && (verdict == ALONE || here && !facts.is(what::REWRITES) && !facts.is(what::LED))
}

/// Keeps a fragment until its first comes. Where that cannot be, `verdict` holds. None if the first has come
/// meanwhile.
#[inline(always)]
fn early<S: FlowStages>(
    stages: &mut S,
    packet: &Packet,
    verdict: Verdict,
    device: u32,
) -> Option<Outcome> {
    // Only a socket buffer can be sent to its link again.
    if stages.can_hand_over(device) {
        return Some(Outcome::stop(Verdict::pass(Reason::HandedOver)));
    }
    match stages.shelve(packet, device) {
        shelf::KEPT => Some(Outcome::stop(Verdict::pass(Reason::KeptFragment))),
        shelf::AGAIN => None,
        _ => Some(Outcome::stop(verdict)),
    }
}

/// What becomes of an exception on the way into a tunnel, which the kernel knows nothing of. With its outer headers
/// on, it can find the neighbor.
#[inline(always)]
const fn through(verdict: Verdict) -> Verdict {
    if !verdict.is(Kind::Punt) || matches!(verdict.reason(), Reason::Unresolved) {
        verdict
    } else if verdict.is_about_size() {
        // Fragments would not be told apart behind the tunnel: whoever sends can make them smaller.
        Verdict::answer(Reason::TooBig)
    } else {
        verdict.with_kind(Kind::Drop)
    }
}

/// Whether the answers to a packet go straight to its sender, and never come by here.
#[inline(always)]
fn is_direct(packet: &Packet, facts: Facts) -> bool {
    packet.has(flag::TUNNEL) && facts.is(what::DIRECT)
}

/// Brings the flow table up to date with a packet that goes on. The verdict of one that ends here.
#[inline(always)]
fn settle<S: FlowStages>(
    stages: &mut S,
    packet: &mut Packet,
    decision: &Decision,
    opened: bool,
) -> Option<Verdict> {
    let facts = stages.facts();
    // Only what is sent from here can go the same way again. What waits for its neighbor is sent all the same.
    let nexthop = if decision.verdict.is(Kind::Forward) { decision.nexthop() } else { 0 };
    let sent = nexthop != 0 || decision.verdict == UNRESOLVED;
    if facts.is(what::ERROR) && !facts.is(what::RELATED) && sent {
        // All that workloads send and get is known: this tells of nothing that was ever sent.
        let workload = packet.link_has(link::flag::WORKLOAD);
        let forged = workload || stages.is_to_workload(packet, decision.nexthop());
        return forged.then_some(Verdict::drop(Reason::Unrelated));
    }
    if !facts.is(what::KEYED) {
        // A fragment whose first is not known must not leave with its own source, where that had another.
        let alone = sent && packet.has(flag::LATER_FRAGMENT) && !facts.is(what::REWRITES);
        return if alone { stages.source(packet, decision.nexthop()) } else { None };
    }
    if facts.found() != 0 {
        stages.renew(packet, facts.found(), nexthop);
        return too_large(stages, decision);
    }
    // What this host's own stack says to others comes by no hook: half a conversation tells no state. But what
    // it says to workloads is seen ([`super::inward`]), and what it answers to a packet from another node must go
    // back there ([`super::leave`]). It knows its connections, also those that are older than their flow.
    // What passes a gate is remembered, so that its answers are known; it may be older than its gate.
    let mut gate = false;
    if decision.verdict.is(Kind::Deliver) && !facts.is(what::SERVICE) {
        gate = !opened && !packet.link_has(link::flag::WORKLOAD);
        let local = decision.verdict == LOCAL && (gate || !facts.is(what::AMID));
        if !(local && (opened || stages.is_seen(packet))) {
            return None;
        }
    } else if !(facts.is(what::BEGINS) || sent && stages.is_to_workload(packet, decision.nexthop()))
    {
        gate = stages.is_guarded(packet, decision.nexthop());
        if !gate {
            return None;
        }
    }
    // Another node knows whether a connection that goes straight back is amid.
    if facts.is(what::AMID) && !gate && !is_direct(packet, facts) {
        return Some(Verdict::drop(Reason::NoFlow));
    }
    if !stages.admit_flow(packet) {
        return Some(Verdict::drop(Reason::FlowQuota));
    }
    if !decision.verdict.is(Kind::Deliver) {
        let failed = stages.source(packet, decision.nexthop());
        if failed.is_some() {
            return failed;
        }
    }
    let ended = too_large(stages, decision);
    if ended.is_some() {
        return ended;
    }
    if is_direct(packet, facts) {
        let full = Verdict::drop(Reason::FlowsFull);
        return if write(stages, packet, nexthop, false) { None } else { Some(full) };
    }
    let full = open(stages, packet, nexthop)?;
    // This host is as well off without a row that there is no room for: only the way back is not known. But where
    // policies are asked, it would then seem to begin what it answers.
    let here = decision.verdict == LOCAL && !facts.is(what::SERVICE);
    (!here || stages.is_guarded(packet, 0)).then_some(full)
}

/// Whoever has another source has an address of this host, and the kernel believes no such packet from a
/// link: it cannot be asked to cut it into fragments.
#[inline(always)]
fn too_large<S: FlowStages>(stages: &S, decision: &Decision) -> Option<Verdict> {
    let verdict = decision.verdict;
    let asked = verdict.is(Kind::Punt) && verdict != UNRESOLVED;
    (asked && stages.facts().is(what::NAT)).then_some(Verdict::drop(Reason::NatUnfit))
}

/// Writes the rows of a flow that begins: that of its answers first, so that no other flow has them. The
/// verdict of a packet that none can begin with.
#[inline(always)]
fn open<S: FlowStages>(stages: &mut S, packet: &mut Packet, nexthop: u32) -> Option<Verdict> {
    // Another processor may take the port that was chosen; then another one is.
    for _ in 0..2 {
        let found = stages.choose(packet);
        if found == nat::TAKEN {
            return Some(Verdict::drop(Reason::NatPorts));
        }
        if (found == nat::MAPS && !stages.map(packet)) || !write(stages, packet, 0, true) {
            continue;
        }
        if write(stages, packet, nexthop, false) {
            return None;
        }
        stages.forget(packet);
    }
    Some(Verdict::drop(Reason::FlowsFull))
}

/// Writes a row, if need be in the place of a flow that gives way.
#[inline(always)]
fn write<S: FlowStages>(stages: &mut S, packet: &Packet, nexthop: u32, back: bool) -> bool {
    let row = stages.remember(packet, nexthop, back);
    row != 0 || stages.make_room(packet) && stages.remember(packet, nexthop, back) != 0
}
