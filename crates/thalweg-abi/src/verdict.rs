//! What happens to a frame and why: one stable list for counters, metrics, filters and `explain`.

use core::fmt;
use core::num::NonZeroU32;

/// What happens to a frame.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// Not ours: handed to the kernel untouched.
    Pass = 0,
    /// For this host: handed to the kernel's stack.
    Deliver = 1,
    /// An exception the kernel handles better: handed to it, rate-limited.
    Punt = 2,
    /// Rewritten and sent out of a link.
    Forward = 3,
    /// Discarded, and its sender is told: the frame now carries an ICMP error and is sent.
    Answer = 4,
    /// Discarded.
    Drop = 5,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Pass, Self::Deliver, Self::Punt, Self::Forward, Self::Answer, Self::Drop];

    /// The word used in output and fixtures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Deliver => "deliver",
            Self::Punt => "punt",
            Self::Forward => "forward",
            Self::Answer => "answer",
            Self::Drop => "drop",
        }
    }
}

macro_rules! reasons {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $number:literal $name:literal; )+) => {
        /// Why a frame got its verdict. Numbers are stable: they index counters and appear in metrics.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Reason {
            $( $(#[doc = $doc])+ $variant = $number, )+
        }

        impl Reason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in output, metrics and fixtures.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// One sentence for people.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii()),+ }
            }

            /// The reason with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// A route led here.
    Route = 0 "route";
    /// A label led here.
    Label = 1 "label";
    /// The destination is an address of this host.
    Local = 2 "local";
    /// The destination is a broadcast address of the link the frame came from.
    Broadcast = 3 "broadcast";
    /// The destination is a multicast group, which the kernel decides.
    Multicast = 4 "multicast";
    /// The destination has link scope and is never forwarded.
    LinkLocal = 5 "link-local";
    /// The frame is neither IP nor MPLS (ARP and control protocols, for example).
    NotIp = 6 "not-ip";
    /// The frame is addressed to another station's link address.
    OtherHost = 7 "other-host";
    /// Forwarding is off on the link the frame came from, or the link is not ours.
    NotRouted = 8 "not-routed";
    /// The frame ends before the header its type promises.
    Truncated = 9 "truncated";
    /// The version field contradicts the frame's type.
    Version = 10 "version";
    /// The IPv4 header length is below 20 octets.
    HeaderLength = 11 "header-length";
    /// The length field is shorter than the header or longer than the frame.
    Length = 12 "length";
    /// The IPv4 header checksum is wrong.
    Checksum = 13 "checksum";
    /// The source can be no sender on a wire: loopback, multicast, reserved or our own.
    MartianSource = 14 "martian-source";
    /// The destination can be no receiver on a wire.
    MartianDestination = 15 "martian-destination";
    /// No route in this VRF covers the destination.
    NoRoute = 16 "no-route";
    /// The route says to discard silently.
    Blackhole = 17 "blackhole";
    /// The route says the destination is unreachable.
    Unreachable = 18 "unreachable";
    /// The route says the destination is administratively prohibited.
    Prohibited = 19 "prohibited";
    /// No hop would be left.
    TtlExpired = 20 "ttl-expired";
    /// The packet exceeds the next hop's MTU and must not be fragmented.
    TooBig = 21 "too-big";
    /// The packet exceeds the next hop's MTU and may be fragmented, which the kernel does.
    NeedsFragmentation = 22 "needs-fragmentation";
    /// A link-level broadcast or a directed broadcast is never forwarded.
    NoBroadcast = 23 "no-broadcast";
    /// An IPv4 source route option (RFC 7126).
    SourceRoute = 24 "source-route";
    /// IPv4 options that a router must look at.
    Options = 25 "options";
    /// A router alert option, IPv4 or IPv6, or the router alert label.
    RouterAlert = 26 "router-alert";
    /// No believable route leads back to the source (RFC 3704).
    ReversePath = 27 "reverse-path";
    /// The source address has a smaller scope than the destination needs (RFC 4443, code 2).
    Scope = 28 "scope";
    /// The next hop's link address is not known yet: the kernel resolves it.
    Unresolved = 29 "unresolved";
    /// The next hop's link is down and there is no usable backup.
    LinkDown = 30 "link-down";
    /// MPLS is not enabled on the link the frame came from.
    MplsDisabled = 31 "mpls-disabled";
    /// The label stack ends before its bottom entry.
    MplsTruncated = 32 "mpls-truncated";
    /// Nobody allotted this label.
    UnknownLabel = 33 "unknown-label";
    /// A special-purpose label that must not be forwarded.
    ReservedLabel = 34 "reserved-label";
    /// What is left after the last label is not what the label promised.
    MplsPayload = 35 "mpls-payload";
    /// More labels would have to be looked up than a packet may cost.
    LabelDepth = 36 "label-depth";
    /// An OAM or associated-channel label.
    Oam = 37 "oam";
    /// The frame could not be grown or shrunk as the rewrite needs.
    NoRoom = 38 "no-room";
    /// The limit on exceptions or ICMP errors from this link is exhausted.
    RateLimited = 39 "rate-limited";
    /// A table row that must exist does not: please report it.
    Broken = 40 "broken";
    /// A VLAN tag that no link carries.
    UnknownVlan = 41 "unknown-vlan";
    /// The tables changed several times while the packet was decided, each time it was tried.
    Overtaken = 42 "overtaken";
    /// XDP leaves the frame to tc: only its socket buffer tells whether it will be segmented, or can wait for
    /// the first of its fragments.
    HandedOver = 43 "handed-over";
    /// A known flow led here.
    Flow = 44 "flow";
    /// A service that has no backend for this client.
    NoBackend = 45 "no-backend";
    /// The address belongs to services, but none has this port.
    NoService = 46 "no-service";
    /// A TCP packet amid a connection that is not known.
    NoFlow = 47 "no-flow";
    /// There is no room for another flow.
    FlowsFull = 48 "flows-full";
    /// The source may not use this service from outside.
    SourceRange = 49 "source-range";
    /// A fragment of a flow whose first fragment is not known, and that could not be kept until that comes.
    NoFirstFragment = 50 "no-first-fragment";
    /// No port is free that its source could be translated to.
    NatPorts = 51 "nat-ports";
    /// It must not leave with its own source, and cannot be translated: the link has no address that
    /// answers come to, its protocol has no ports, or it is too large for the link.
    NatUnfit = 52 "nat-unfit";
    /// An ICMP error about a packet of no known flow.
    Unrelated = 53 "unrelated";
    /// A ping to an address of services.
    Echo = 54 "echo";
    /// A packet for the tunnel of this node that comes from none of the cluster's nodes, or has a header
    /// that no node sends.
    StrangeTunnel = 55 "strange-tunnel";
    /// What was in a tunnel is taken out and decided by itself.
    Tunnelled = 56 "tunnelled";
    /// The workload has as many flows as one may have begun.
    FlowQuota = 57 "flow-quota";
    /// A fragment that came before its first: it is kept for a moment and decided when that comes.
    KeptFragment = 58 "kept-fragment";
    /// A policy does not allow the flow, or no longer.
    Policy = 59 "policy";
}

/// How many numbers a reason may take in a counter index.
pub const REASONS: u32 = 64;

/// A verdict: what and why, packed so that every bit is always written (see ARCHITECTURE.md,
/// "what the verifier decides"). Never zero, so that `Option<Verdict>` and `ControlFlow<Verdict>`
/// are one register, too.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(transparent)]
pub struct Verdict(NonZeroU32);

impl Verdict {
    /// A verdict from what and why.
    #[inline(always)]
    pub const fn new(kind: Kind, reason: Reason) -> Self {
        Self::pack((kind as u32) << 8 | reason as u32)
    }

    #[inline(always)]
    const fn pack(bits: u32) -> Self {
        match NonZeroU32::new(bits | 1 << 16) {
            Some(bits) => Self(bits),
            None => Self(NonZeroU32::MIN),
        }
    }

    #[inline(always)]
    const fn bits(self) -> u32 {
        self.0.get() & 0xffff
    }

    /// The verdict as a number that is never zero, for storage.
    #[inline(always)]
    pub const fn to_number(self) -> u32 {
        self.0.get()
    }

    /// The verdict behind a stored number; none for zero.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Untouched to the kernel.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self::new(Kind::Pass, reason)
    }

    /// Discard.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self::new(Kind::Drop, reason)
    }

    /// Exception to the kernel.
    #[inline(always)]
    pub const fn punt(reason: Reason) -> Self {
        Self::new(Kind::Punt, reason)
    }

    /// For this host.
    #[inline(always)]
    pub const fn deliver(reason: Reason) -> Self {
        Self::new(Kind::Deliver, reason)
    }

    /// Out of a link.
    #[inline(always)]
    pub const fn forward(reason: Reason) -> Self {
        Self::new(Kind::Forward, reason)
    }

    /// Discard and tell the sender.
    #[inline(always)]
    pub const fn answer(reason: Reason) -> Self {
        Self::new(Kind::Answer, reason)
    }

    /// Whether the verdict is of this kind: one compare.
    #[inline(always)]
    pub const fn is(self, kind: Kind) -> bool {
        self.bits() >> 8 == kind as u32
    }

    /// Whether the packet would go on if it were smaller.
    #[inline(always)]
    pub const fn is_about_size(self) -> bool {
        let reason = self.bits() & 0xff;
        reason == Reason::TooBig as u32 || reason == Reason::NeedsFragmentation as u32
    }

    /// The same reason under another kind.
    #[inline(always)]
    pub const fn with_kind(self, kind: Kind) -> Self {
        Self::pack((kind as u32) << 8 | self.bits() & 0xff)
    }

    /// What happens.
    pub const fn kind(self) -> Kind {
        match self.bits() >> 8 {
            0 => Kind::Pass,
            1 => Kind::Deliver,
            2 => Kind::Punt,
            3 => Kind::Forward,
            4 => Kind::Answer,
            _ => Kind::Drop,
        }
    }

    /// Why.
    pub const fn reason(self) -> Reason {
        match Reason::from_number(self.bits() as u8) {
            Some(reason) => reason,
            None => Reason::Broken,
        }
    }

    /// The row of the counter table, below [`crate::counter::COUNTERS`].
    #[inline(always)]
    pub const fn counter(self) -> u32 {
        (self.bits() >> 8) * REASONS + (self.bits() & 0xff) % REASONS
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind().name(), self.reason().name())
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_fit_the_counters() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert!(index == 0 || Reason::ALL[index - 1] < *reason, "numbers ascend");
            assert_eq!(Reason::from_number(*reason as u8), Some(*reason));
            for kind in Kind::ALL {
                let verdict = Verdict::new(kind, *reason);
                assert_eq!((verdict.kind(), verdict.reason()), (kind, *reason));
                assert!(verdict.counter() < crate::counter::COUNTERS);
            }
        }
        assert!(Reason::ALL.len() as u32 <= REASONS);
    }
}
