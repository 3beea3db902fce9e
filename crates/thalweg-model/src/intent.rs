//! What users asked for: values that already make sense one by one.
//!
//! What there may be many of stands in a [`Catalog`], so that copies are cheap and tell what differs.
//! Relations between objects (does the link exist, is the next hop reachable) are the compiler's.

use crate::Prefix;
use crate::catalog::Catalog;
use crate::cluster::{Cluster, FlowSettings, ServiceSettings};
use crate::origin::{Key, Origin};
use crate::policy::PolicySettings;
use crate::tunnel::{Tunnel, TunnelSettings};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use thalweg_wire::Label;

/// Everything users asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Intent {
    /// Settings of the router as a whole.
    pub router: Router,
    /// Which interfaces take part and how, by object name.
    pub links: BTreeMap<String, Link>,
    /// Routing instances, by name; `default` always exists.
    pub vrfs: BTreeMap<String, Vrf>,
    /// Routes, by object name.
    pub routes: Catalog<String, Route>,
    /// Label bindings, by object name.
    pub labels: Catalog<String, LabelRoute>,
    /// BFD sessions that next hops may watch, by object name.
    pub sessions: BTreeMap<String, BfdSession>,
    /// What Kubernetes says of services and those who serve them.
    pub cluster: Cluster,
    /// Where each object stands.
    pub origins: Catalog<Key, Origin>,
}

impl Intent {
    /// Sizes of tables, with those that nobody named chosen by what is asked for.
    pub fn limits(&self) -> Limits {
        self.limits_of(false)
    }

    /// The same for a host that may be `guarded` by policies itself, which takes flows.
    pub fn limits_of(&self, guarded: bool) -> Limits {
        self.router.limits.clone().sized(&self.cluster, &self.router, guarded)
    }

    /// The `Router` object and where it stands, if there is one.
    pub fn router_object(&self) -> Option<(&Key, &Origin)> {
        let first = Key { kind: "Router".into(), name: String::new() };
        self.origins.next(&first).filter(|(key, _)| key.kind == first.kind)
    }

    /// Where an object stands; unknown objects come from nowhere.
    ///
    /// A route that is one of several prefixes of its object is named `object[prefix]`, and stands
    /// where the object does.
    pub fn origin(&self, kind: &str, name: &str) -> Origin {
        let find = |name: &str| self.origins.get(&Key { kind: kind.into(), name: name.into() });
        let object = || name.split_once('[').and_then(|(object, _)| find(object));
        find(name).or_else(object).cloned().unwrap_or_default()
    }
}

/// Settings of the router as a whole (at most one object).
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// Table sizes.
    pub limits: Limits,
    /// Mixed into flow hashes; none lets the agent derive one from the machine.
    pub hash_seed: Option<u64>,
    /// ICMP errors per second, link and class.
    pub icmp_rate: u32,
    /// Frames handed to the kernel as exceptions per second, link and processor.
    pub punt_rate: u32,
    /// Packets that either bucket lets through at once.
    pub burst: u32,
    /// Who answers time exceeded, unreachable and too big outside of LSPs.
    pub icmp: IcmpSource,
    /// Whether links that no [`Link`] object names are routed, too.
    pub unlisted_links: bool,
    /// How long a link that came up again must stay up until packets use it, where its [`Link`] does
    /// not say otherwise.
    pub hold_up: Duration,
    /// Whether routes that files alone know are written into the kernel's tables, for exceptions.
    pub kernel_routes: bool,
    /// Where metrics and health are served over HTTP; none serves them nowhere.
    pub metrics: Option<SocketAddr>,
    /// Where a routing suite may connect; none listens nowhere.
    pub fpm: Option<Fpm>,
    /// Name of this host among the cluster's nodes; none is its host name.
    pub node: Option<String>,
    /// How the other nodes are reached; none leaves that to routes.
    pub tunnel: Option<TunnelSettings>,
    /// How services are carried out.
    pub services: ServiceSettings,
    /// The table of flows.
    pub flows: FlowSettings,
    /// How policies are carried out.
    pub policy: PolicySettings,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            hash_seed: None,
            icmp_rate: 1_000,
            punt_rate: 10_000,
            burst: 100,
            icmp: IcmpSource::Thalweg,
            unlisted_links: false,
            hold_up: Duration::ZERO,
            kernel_routes: true,
            metrics: None,
            fpm: None,
            node: None,
            tunnel: None,
            services: ServiceSettings::default(),
            flows: FlowSettings::default(),
            policy: PolicySettings::default(),
        }
    }
}

/// Where a routing suite may connect to tell its routes, and how long they outlive it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fpm {
    /// Address and TCP port to listen at.
    pub listen: SocketAddr,
    /// How long routes stay in force when the suite is gone or was restarted and has not told them
    /// again.
    pub stale_time: Duration,
    /// How long nothing must come after a new connection until all is taken for told.
    pub quiet_time: Duration,
}

impl Default for Fpm {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 2620)),
            stale_time: Duration::from_secs(120),
            quiet_time: Duration::from_secs(5),
        }
    }
}

/// Who answers time exceeded, unreachable and too big outside of LSPs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IcmpSource {
    /// The data plane itself.
    #[default]
    Thalweg,
    /// The kernel, with its own settings; only right where it knows the same routes.
    Kernel,
}

/// Table sizes: memory is taken when the agent starts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Largest interface index plus one.
    pub links: u32,
    /// Sessions that next hops may watch.
    pub sessions: u32,
    /// Routing instances.
    pub vrfs: u32,
    /// IPv4 prefixes over all VRFs (sizes leaves and blocks).
    pub ipv4_routes: u32,
    /// IPv6 prefixes over all VRFs (sizes nodes and leaves).
    pub ipv6_routes: u32,
    /// Labels: the table reaches from 0 to this minus one.
    pub labels: u32,
    /// Next hops (rows with their rewrite).
    pub nexthops: u32,
    /// Next hop groups, at most 32 767.
    pub groups: u32,
    /// VLAN-carrying links.
    pub vlan_links: u32,
    /// Frontends of services (an address and port each); 0 takes about twice what there is at the start.
    pub frontends: u32,
    /// Backends of all frontends; 0 as above.
    pub backends: u32,
    /// Slots of the rings that choose among backends; 0 as above, up to what is most for the oldest
    /// services.
    pub ring_slots: u32,
    /// Flows; 0 takes [`FlowSettings::limit`] where there are services, workloads or nodes.
    pub flows: u32,
    /// Lines of 64 octets that policies take, twice each; 0 takes 65,536 where there are services, workloads
    /// or nodes.
    pub policy_lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links: 4_096,
            sessions: 1_024,
            vrfs: 64,
            ipv4_routes: 1_500_000,
            ipv6_routes: 400_000,
            labels: 1 << 20,
            nexthops: 65_536,
            groups: 32_767,
            vlan_links: 16,
            frontends: 0,
            backends: 0,
            ring_slots: 0,
            flows: 0,
            policy_lines: 0,
        }
    }
}

/// Which interfaces take part and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Interface names this object speaks of; a trailing `*` matches any rest.
    pub interfaces: Vec<String>,
    /// Routed, or left alone.
    pub role: Role,
    /// VRF by name; none leaves it to the kernel's enslavement, else `default`.
    pub vrf: Option<String>,
    /// Overrides the kernel's MTU for routed packets, octets at L3.
    pub mtu: Option<u32>,
    /// Whether labels are accepted.
    pub mpls: bool,
    /// TTL model of explicit null and of labels that name none.
    pub ttl_model: TtlModel,
    /// Which hook the user wishes.
    pub xdp: XdpWish,
    /// Reverse path filter.
    pub rpf: Rpf,
    /// How long the link must stay up, once it came up again, until packets use it; none takes the
    /// router's.
    pub hold_up: Option<Duration>,
    /// Whether packets with IPv4 source routes go to the kernel instead of being dropped.
    pub source_route: bool,
    /// Whether directed broadcasts go to the kernel instead of being dropped.
    pub directed_broadcast: bool,
    /// Whether it leads to a workload: what a pod makes of its interface ([`Intent::with_workloads`]).
    pub workload: bool,
    /// Whether this host's own stack sends there: sources that are its addresses are believed
    /// ([`crate::tunnel::PASSAGE`]).
    pub host: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            role: Role::Router,
            vrf: None,
            mtu: None,
            mpls: false,
            ttl_model: TtlModel::Uniform,
            xdp: XdpWish::Auto,
            rpf: Rpf::Off,
            hold_up: None,
            source_route: false,
            directed_broadcast: false,
            workload: false,
            host: false,
        }
    }
}

/// What a link is for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Role {
    /// Packets that arrive here are routed.
    #[default]
    Router,
    /// Left to the kernel.
    Ignored,
}

/// Which hook a user wishes on a link.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum XdpWish {
    /// The fastest that works: native XDP, generic XDP, tc.
    #[default]
    Auto,
    /// XDP in the driver or nothing.
    Native,
    /// XDP on socket buffers.
    Generic,
    /// No XDP: tc.
    Tc,
}

/// Reverse path filter (RFC 3704).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Rpf {
    /// No check.
    #[default]
    Off,
    /// A route back must lead out of the same link.
    Strict,
    /// Any route back will do.
    Loose,
}

/// TTL and class model of a label switched path (RFC 3443, RFC 3270).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TtlModel {
    /// The path's hops count: TTL and class are copied in and out.
    #[default]
    Uniform,
    /// The path is one hop: TTL and class inside stay as they are.
    Pipe,
}

/// A routing instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vrf {
    /// Kernel table whose routes it learns; none learns none (the VRF device's table is used when
    /// one of the same name exists).
    pub table: Option<u32>,
}

/// A route users asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// VRF by name.
    pub vrf: String,
    /// Destinations.
    pub prefix: Prefix,
    /// Lower wins among routes to the same prefix; kernel routes count with their own metric.
    pub metric: u32,
    /// What to do with packets.
    pub action: RouteAction,
}

/// What a route does with packets.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAction {
    /// Send to one of these.
    Forward(Vec<NextHop>),
    /// Discard silently.
    Blackhole,
    /// Discard and answer "no route to host".
    Unreachable,
    /// Discard and answer "administratively prohibited".
    Prohibit,
    /// Look up in another VRF, by name.
    Vrf(String),
}

/// One member of a route's or label's group.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NextHop {
    /// Gateway; resolved through other routes when it is on no connected prefix (recursive). None
    /// on point-to-point or connected destinations.
    pub via: Option<IpAddr>,
    /// Interface name; needed without `via` and for link-local gateways.
    pub dev: Option<String>,
    /// Share of the flows, 1 to 256.
    pub weight: u16,
    /// Labels to push, outermost first, at most 4.
    pub labels: Vec<Label>,
    /// TTL model of pushed labels.
    pub ttl_model: TtlModel,
    /// TTL of pushed labels in the pipe model.
    pub ttl: u8,
    /// Class of pushed labels; none copies it from the packet.
    pub class: Option<u8>,
    /// Whether to push an entropy label below the labels (RFC 6790).
    pub entropy: bool,
    /// Take `via` as on-link even if no connected prefix covers it.
    pub onlink: bool,
    /// Used while this next hop's link, or its session, is down.
    pub backup: Option<Box<NextHop>>,
    /// BFD session whose state counts beside the link's, by object name.
    pub bfd: Option<String>,
    /// Outer headers for the node that `via` is: what other nodes of a cluster come to
    /// ([`Intent::with_workloads`]).
    pub tunnel: Option<Tunnel>,
}

impl Default for NextHop {
    fn default() -> Self {
        Self {
            via: None,
            dev: None,
            weight: 1,
            labels: Vec::new(),
            ttl_model: TtlModel::Uniform,
            ttl: 255,
            class: None,
            entropy: false,
            onlink: false,
            backup: None,
            bfd: None,
            tunnel: None,
        }
    }
}

/// What to do with packets whose top label this is.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRoute {
    /// The incoming label.
    pub label: Label,
    /// TTL model on pop; none takes the link's.
    pub ttl_model: Option<TtlModel>,
    /// What to do.
    pub action: LabelAction,
}

/// What a label asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelAction {
    /// Take it off and send to one of these, which may push labels (swap, swap and push, PHP).
    Forward(Vec<NextHop>),
    /// Take it off and look up the rest in a VRF, by name.
    Vrf(String),
}

/// A BFD session with a neighbor on a link (RFC 5880, RFC 5881).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BfdSession {
    /// The neighbor.
    pub peer: IpAddr,
    /// Own address to send from; none leaves it to the kernel.
    pub local: Option<IpAddr>,
    /// Interface name.
    pub link: String,
    /// Shortest interval at which to send once up.
    pub transmit: Duration,
    /// Shortest interval at which packets are taken.
    pub receive: Duration,
    /// Intervals without a packet after which the neighbor takes us for gone.
    pub multiplier: u8,
    /// How long a session must be up before next hops use it again.
    pub hold_up: Duration,
    /// How packets are authenticated.
    pub authentication: Option<BfdAuth>,
    /// Whether the neighbor has to speak first.
    pub passive: bool,
}

/// How BFD packets are authenticated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BfdAuth {
    /// By what.
    pub kind: BfdAuthKind,
    /// Number of the key, the same at both ends.
    pub key_id: u8,
    /// The key.
    pub key: BfdKey,
}

/// Where a key stands.
#[derive(Clone, Eq, PartialEq)]
pub enum BfdKey {
    /// In the configuration itself.
    Text(String),
    /// In a file of its own; a line end behind it does not count.
    File(PathBuf),
}

impl fmt::Debug for BfdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Kinds of authentication of BFD packets (RFC 5880 §4.2 to §4.4).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum BfdAuthKind {
    /// A password in the clear.
    Simple,
    /// MD5 over packet and key.
    Md5,
    /// The same; each packet has a sequence number of its own.
    MeticulousMd5,
    /// SHA1 over packet and key.
    Sha1,
    /// The same; each packet has a sequence number of its own.
    MeticulousSha1,
}

impl BfdAuthKind {
    /// Octets of the longest key.
    pub const fn longest_key(self) -> usize {
        match self {
            Self::Simple | Self::Md5 | Self::MeticulousMd5 => 16,
            Self::Sha1 | Self::MeticulousSha1 => 20,
        }
    }
}
