//! From values to a decision: who may come in, where the packet goes, what must be rewritten.

mod admit;
mod label;
mod route;

pub(crate) use admit::{is_believable, is_link_local, source_group};
pub use route::pushed;

use crate::cells::Cells;
use crate::packet::{Packet, values};
use core::ops::ControlFlow;
use thalweg_abi::{Reason, Verdict};

/// Bits of [`Decision::write`].
pub mod write {
    /// The exposed IP header gets [`super::Decision::ip_ttl`].
    pub const IP_TTL: u8 = 1;
    /// The exposed IP header's class gets its upper three bits from [`super::Decision::class`].
    pub const IP_CLASS: u8 = 2;
    /// The exposed label stack entry gets TTL and class.
    pub const ENTRY: u8 = 4;
    /// The innermost pushed label replaces a popped one: it keeps the path's TTL.
    pub const SWAP: u8 = 8;
    /// IP is what follows the pushed labels: the last of them is the bottom of the stack.
    pub const BOTTOM: u8 = 16;
    /// The label came off in the pipe model.
    pub const PIPE: u8 = 32;
}

/// The verdict of a packet that leaves by its label.
pub const LABEL: Verdict = Verdict::forward(Reason::Label);

/// What happens to a packet, as data: [`crate::apply`] carries it out.
///
/// The ids it met are enough to explain it and to count by. Fields are stored 8 octets wide for the
/// reason given at [`Packet`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Decision {
    pub(crate) group: u64,
    pub(crate) nexthop: u64,
    pub(crate) vrf: u64,
    pub(crate) mtu: u64,
    /// One octet each: write, ttl, class, ip_ttl, pops. The kernel has 512 octets of stack for all.
    edit: u64,
    /// What and why.
    pub verdict: Verdict,
}

macro_rules! edits {
    ($($(#[doc = $doc:literal])+ $name:ident, $set:ident: $type:ty = $octet:literal;)+) => {
        $(
            $(#[doc = $doc])+
            #[inline(always)]
            pub fn $name(&self) -> $type {
                (self.edit >> ($octet * 8)) as u8 as $type
            }

            #[inline(always)]
            pub(crate) fn $set(&mut self, value: $type) {
                let rest = self.edit & !(0xff << ($octet * 8));
                self.edit = rest | u64::from(value as u8) << ($octet * 8);
            }
        )+
    };
}

impl Decision {
    edits! {
        /// Bits of [`write`].
        write, set_write: u8 = 0;
        /// TTL for pushed labels and an exposed entry.
        ttl, set_ttl: u8 = 1;
        /// Class (3 bits) for pushed labels, an exposed entry or the IP header.
        class, set_class: u8 = 2;
        /// TTL for an exposed IP header.
        ip_ttl, set_ip_ttl: u8 = 3;
        /// Label stack entries taken off.
        pops, set_pops: u32 = 4;
    }

    values! {
        /// Group that was chosen, 0 for none.
        group: u32;
        /// Next hop that was chosen, 0 for none.
        nexthop: u32;
        /// VRF of the last lookup.
        vrf: u32;
        /// Largest packet the next hop takes, for "too big" answers; 0 if not known.
        mtu: u32;
    }

    /// Whether all labels came off and an IP packet is left to be routed.
    #[inline(always)]
    pub fn exposes_ip(&self) -> bool {
        self.pops() > 0 && self.write() & (write::SWAP | write::BOTTOM) == write::BOTTOM
    }

    /// A decision of which nothing but the packet is known.
    #[inline(always)]
    pub fn new(packet: &Packet) -> Self {
        let mut decision = Self {
            group: 0,
            nexthop: 0,
            vrf: packet.vrf,
            mtu: 0,
            edit: 0,
            verdict: Verdict::drop(Reason::Broken),
        };
        decision.set_ttl(packet.ttl());
        decision.set_ip_ttl(packet.ttl());
        decision.set_class(packet.class() >> 5);
        decision
    }
}

/// Decides a packet on the tables in force.
#[inline(always)]
pub fn decide<C: Cells>(packet: &Packet, cells: &C) -> Decision {
    let mut decision = Decision::new(packet);
    decide_into(packet, cells, &mut decision);
    decision
}

/// As [`decide`], into a decision of which nothing but the packet is known: in the kernel that is on the
/// caller's stack.
#[inline(always)]
pub fn decide_into<C: Cells>(packet: &Packet, cells: &C, decision: &mut Decision) {
    if let ControlFlow::Break(verdict) = steps(decision, packet, cells) {
        decision.verdict = verdict;
    }
}

/// Decides an IP packet that goes to a group, whatever routes say.
#[inline(always)]
pub(crate) fn towards<C: Cells>(packet: &Packet, cells: &C, group: u32, decision: &mut Decision) {
    *decision = Decision::new(packet);
    decision.set_write(write::BOTTOM);
    decision.group = u64::from(group);
    if let ControlFlow::Break(verdict) = route::next_hop_here(decision, packet, cells) {
        decision.verdict = verdict;
    }
}

/// Decides an IP packet from no label path that needs no look at its source and stays in its VRF. The
/// verdict of any other is not [`thalweg_abi::Kind::Forward`].
#[inline(always)]
pub fn decide_plain<C: Cells>(packet: &Packet, cells: &C) -> Decision {
    let mut decision = Decision::new(packet);
    if admit::is_plain(packet, cells)
        && let ControlFlow::Break(verdict) = plain_steps(&mut decision, packet, cells)
    {
        decision.verdict = verdict;
    }
    decision
}

/// As [`decide_plain`], but with a look at the source where the link that it came from asks for one.
#[inline(always)]
pub(crate) fn decide_usual<C: Cells>(packet: &Packet, cells: &C) -> Decision {
    let mut decision = Decision::new(packet);
    if admit::is_usual(packet, cells)
        && let ControlFlow::Break(verdict) = plain_steps(&mut decision, packet, cells)
    {
        decision.verdict = verdict;
    }
    decision
}

#[inline(always)]
fn plain_steps<C: Cells>(
    decision: &mut Decision,
    packet: &Packet,
    cells: &C,
) -> ControlFlow<Verdict> {
    route::step(decision, packet, cells)?;
    route::next_hop_here(decision, packet, cells)
}

#[inline(always)]
fn steps<C: Cells>(decision: &mut Decision, packet: &Packet, cells: &C) -> ControlFlow<Verdict> {
    if packet.depth() > 0 {
        label::step(decision, packet, cells)?;
        join(decision, cells);
    }
    if decision.group() == 0 {
        admit::step(decision, packet, cells)?;
        route::step(decision, packet, cells)?;
        join(decision, cells);
    }
    route::next_hop(decision, packet, cells)
}

/// Makes one path of the many that taking labels off took.
#[inline(always)]
fn join<C: Cells>(decision: &mut Decision, cells: &C) {
    decision.edit = cells.blur(decision.edit) & 0x0f_ffff_ff3f;
    decision.group = cells.blur(decision.group) & 0xffff;
}
