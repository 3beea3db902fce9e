//! What is shown: plain values, with names where there are names.

mod record;

pub use record::{
    ApplyView, AuditView, ChangeView, EventPage, EventSeverity, EventView, FindingView,
    GenerationView, ObjectView, PendingView, TallyView,
};

use crate::cluster::{BackendView, ServiceView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use thalweg_model::{Origin, Problem};

/// How the agent is doing.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    /// Version of the agent.
    pub version: String,
    /// Its instance name.
    pub instance: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: u64,
    /// How far it got.
    pub phase: Phase,
    /// What holds the tables: `ebpf` or `memory`.
    pub plane: String,
    /// Number of the image in force, 0 before the first.
    pub generation: u64,
    /// The last plan that was put in force.
    pub plan: Option<PlanView>,
    /// Where the configuration comes from and what is wrong with it.
    pub config: ConfigView,
    /// The configuration that waits to be confirmed, if one does.
    #[serde(default)]
    pub pending: Option<PendingView>,
    /// How much of everything is in use.
    pub counts: CountsView,
    /// Hooks of our links.
    pub hooks: Vec<HookView>,
    /// The routing suite beside us, if one may connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fpm: Option<FpmView>,
    /// BFD sessions, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsView>,
    /// Processes that connect to services, where there are services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<SocketsView>,
    /// How often the kernel had more events than could be read; everything was read again.
    pub overruns: u64,
    /// The table that is fullest, for its size.
    #[serde(default)]
    pub fullest: Option<TableView>,
    /// How full the table of flows is, where there is one.
    #[serde(default)]
    pub flows: Option<FlowRowsView>,
    /// Where metrics are wished to be served.
    #[serde(default)]
    pub metrics: Option<String>,
    /// Everything that is not as wished, the configuration's problems not included.
    pub problems: Vec<Problem>,
}

impl StatusView {
    /// Whether everything is as wished: in force, and nothing to say but warnings.
    pub fn is_well(&self) -> bool {
        let errors = |problems: &[Problem]| {
            problems.iter().any(|p| p.severity == thalweg_model::Severity::Error)
        };
        self.phase == Phase::InForce && !errors(&self.config.problems) && !errors(&self.problems)
    }
}

/// How processes connect to services.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketsView {
    /// Whose: `Host` or `All`, as configured.
    pub scope: String,
    /// The cgroup that they are in, if it was found.
    pub cgroup: Option<String>,
    /// Whether they reach services; else a problem says what is in the way.
    pub served: bool,
}

/// How far an agent got.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// No configuration was good so far, so nothing was touched.
    #[default]
    AwaitsConfig,
    /// The kernel's links and routes are still being read.
    AwaitsHost,
    /// The data plane could not be made.
    NoPlane,
    /// Forwarding by the generation shown.
    InForce,
}

impl Phase {
    /// In words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::AwaitsConfig => "waiting for a good configuration",
            Self::AwaitsHost => "reading the kernel's links and routes",
            Self::NoPlane => "no data plane",
            Self::InForce => "in force",
        }
    }
}

/// A plan that was put in force.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// Steps it had.
    pub changes: u64,
    /// Microseconds that compiling and applying took.
    pub micros: u64,
}

/// Where the configuration comes from and what is wrong with it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigView {
    /// Directory or file.
    pub path: String,
    /// Whether the files as they are now are in force.
    pub in_force: bool,
    /// Whether an earlier version of them is.
    pub last_good: bool,
    /// Findings about the files as they are now.
    pub problems: Vec<Problem>,
}

/// How much of everything is in use.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CountsView {
    /// Links whose packets are routed.
    pub routed_links: u32,
    /// All links of the host.
    pub links: u32,
    /// Routing instances.
    pub vrfs: u32,
    /// IPv4 prefixes known.
    pub ipv4_routes: u32,
    /// IPv6 prefixes known.
    pub ipv6_routes: u32,
    /// Label bindings asked for.
    pub labels: u32,
    /// Next hops in force.
    pub nexthops: u32,
    /// Groups in force.
    pub groups: u32,
}

/// A hook of a link.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HookView {
    /// Interface name.
    pub link: String,
    /// What was wished: `auto`, `native`, `generic`, `tc`.
    pub wish: String,
    /// What is there: `xdp-native`, `xdp-generic`, `tcx`, `tc`, or `none`.
    pub hook: String,
    /// Why this one.
    pub reason: String,
    /// Whether packets pass through the programs.
    pub attached: bool,
}

/// How things stand with a routing suite that tells its routes over FPM.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FpmView {
    /// Address and port it may connect to.
    pub listen: String,
    /// Its address, if it is connected.
    pub peer: Option<String>,
    /// Seconds since it connected.
    pub connected_for: Option<u64>,
    /// Routes it told.
    pub routes: u64,
    /// Next hop objects it told.
    pub nexthops: u64,
    /// Labels it told.
    pub labels: u64,
    /// What an earlier connection told and the present one has not told again.
    pub stale: u64,
    /// Seconds until that is taken away.
    pub stale_for: Option<u64>,
    /// Seconds since the last resync ended.
    pub resynced: Option<u64>,
    /// Microseconds from the connection to the last frame of that resync.
    pub resync_micros: Option<u64>,
    /// Connections so far.
    pub connections: u64,
    /// Connections that were dropped because of what came.
    pub errors: u64,
    /// Why the last one was.
    pub last_error: Option<String>,
    /// Connections that were turned away because one was there.
    pub refused: u64,
    /// Frames so far.
    pub frames: u64,
    /// Routes acknowledged as in force.
    pub acknowledged: u64,
    /// Routes acknowledged as not in force.
    pub failed: u64,
}

/// How the BFD sessions stand as a whole.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionsView {
    /// Sessions whose path is used.
    pub up: u32,
    /// Sessions.
    pub all: u32,
    /// Packets that no session believed, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Whether their thread runs before ordinary ones.
    pub raised: bool,
}

/// A BFD session.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Name of its object.
    pub name: String,
    /// The neighbor.
    pub peer: String,
    /// Interface name.
    pub link: String,
    /// Whether next hops use the path: `up`, `down`, or `held` while a session that came up waits for
    /// its hold time.
    pub path: String,
    /// State of the session: `admin-down`, `down`, `init`, `up`.
    pub state: String,
    /// State that the neighbor tells.
    pub remote_state: String,
    /// Agreed interval at which we send, microseconds.
    pub transmit_micros: u64,
    /// Agreed interval at which the neighbor sends, microseconds; 0 while unknown.
    pub receive_micros: u64,
    /// Our multiplier.
    pub multiplier: u8,
    /// The neighbor's multiplier; 0 while unknown.
    pub remote_multiplier: u8,
    /// How long nothing may come, microseconds; 0 while unknown.
    pub detection_micros: u64,
    /// Seconds since it came up, if it is up.
    pub up_for: Option<u64>,
    /// How often it left the state up.
    pub flaps: u64,
    /// Why it last did.
    pub diagnostic: String,
    /// What the neighbor says to that.
    pub remote_diagnostic: String,
    /// Our discriminator.
    pub discriminator: u32,
    /// The neighbor's; 0 while unknown.
    pub remote_discriminator: u32,
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Packets that were not authentic.
    pub refused: u64,
    /// Kind of authentication, if there is one.
    pub authentication: Option<String>,
    /// Why it cannot send or receive.
    pub trouble: Option<String>,
}

/// A link.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkView {
    /// Interface index.
    pub index: u32,
    /// Interface name.
    pub name: String,
    /// Whether packets that arrive there are routed.
    pub routed: bool,
    /// Why, or why not.
    pub reason: String,
    /// The deciding configuration object.
    pub object: Option<String>,
    /// VRF by name.
    pub vrf: String,
    /// Whether it is up.
    pub up: bool,
    /// It came up again and counts as down for so many seconds more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// The MTU packets are held to, in octets at L3.
    pub mtu: u32,
    /// Link address.
    pub mac: String,
    /// Its addresses with the length of their prefix.
    pub addresses: Vec<String>,
    /// What it does beyond routing: `mpls`, `rpf-strict`, ….
    pub flags: Vec<String>,
    /// Its hook, if it needs one.
    pub hook: Option<HookView>,
}

/// Some routes, and where to go on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutePage {
    /// By VRF and prefix, best first.
    pub routes: Vec<RouteView>,
    /// What to pass as [`crate::RouteQuery::after`] for more; none at the end.
    pub next: Option<String>,
}

/// A route.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// VRF by name; `table N` for a kernel table that belongs to none.
    pub vrf: String,
    /// Destinations.
    pub prefix: String,
    /// What it does: `via 10.0.0.1 dev eth0`, `blackhole`, ….
    pub action: String,
    /// Who wants it: `Route/lan`, `kernel bgp`, `address eth0`, ….
    pub source: String,
    /// Where the configuration object stands.
    pub origin: Option<Origin>,
    /// Lower wins.
    pub metric: u32,
    /// `in-force`, `shadowed`, `unresolved`, `no-room` or `not-used`.
    pub state: String,
    /// Its group, if in force.
    pub group: Option<u32>,
}

/// A label binding.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelView {
    /// The incoming label.
    pub label: u32,
    /// The configuration object's name.
    pub object: String,
    /// Where it stands.
    pub origin: Origin,
    /// Whether it is in force.
    pub in_force: bool,
    /// Its group.
    pub group: Option<u32>,
    /// What it does.
    pub action: String,
}

/// A next hop group.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// Its number.
    pub id: u32,
    /// Prefixes and labels in force through it.
    pub uses: u32,
    /// Buckets that flows are spread over.
    pub buckets: u32,
    /// Members.
    pub members: Vec<MemberView>,
}

/// A member of a group.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Its next hop's number.
    pub nexthop: u32,
    /// Weight after resolution.
    pub weight: u64,
    /// Buckets it holds.
    pub buckets: u32,
    /// In words.
    pub action: String,
}

/// A next hop.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHopView {
    /// Its number.
    pub id: u32,
    /// `adjacent`, `unresolved`, `deliver`, `broadcast`, `blackhole`, `unreachable`, `prohibit`,
    /// `lookup` or `throw`.
    pub kind: String,
    /// Interface name.
    pub link: Option<String>,
    /// Gateway or neighbor.
    pub gateway: Option<IpAddr>,
    /// Link address of the neighbor.
    pub mac: Option<String>,
    /// Labels it pushes, outermost first.
    pub labels: Vec<u32>,
    /// Largest packet with labels, in octets.
    pub mtu: u32,
    /// Next hop used while the link is down.
    pub backup: Option<u32>,
    /// Groups and next hops that hold it.
    pub holders: u32,
    /// In words.
    pub action: String,
}

/// A neighbor.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NeighborView {
    /// Interface name.
    pub link: String,
    /// Its address.
    pub address: IpAddr,
    /// Its link address, if known.
    pub mac: Option<String>,
    /// NUD state as `ip neigh` prints it.
    pub state: String,
    /// Whether next hops use it.
    pub used: bool,
    /// Whether it has a host route of its own.
    pub host_route: bool,
}

/// A routing instance.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VrfView {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Kernel table it learns.
    pub table: Option<u32>,
    /// Links in it.
    pub links: Vec<String>,
    /// IPv4 prefixes known.
    pub ipv4: u32,
    /// IPv6 prefixes known.
    pub ipv6: u32,
}

/// Frames by verdict and reason.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DropView {
    /// `drop`, `answer`, `punt`, `deliver`, `pass` or `forward`.
    pub verdict: String,
    /// The reason's word.
    pub reason: String,
    /// Frames.
    pub packets: u64,
    /// Their octets, link header included.
    pub bytes: u64,
    /// The reason in a sentence.
    pub description: String,
}

/// How full a table is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableView {
    /// Its name.
    pub name: String,
    /// Cells in use.
    pub used: u32,
    /// Cells there are.
    pub capacity: u32,
    /// Memory of the whole table in octets.
    pub bytes: u64,
}

/// Everything about one object.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeView {
    /// `link`, `route`, ….
    pub kind: String,
    /// Name, prefix, label or number.
    pub name: String,
    /// Facts: name and value.
    pub fields: Vec<(String, String)>,
    /// Lists of related things.
    pub sections: Vec<SectionView>,
    /// Of a service: its frontends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frontends: Vec<ServiceView>,
    /// Of a service: its backends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendView>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

/// How full the table of flows is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowRowsView {
    /// Rows in use, off by half a percent of all at most.
    pub used: u64,
    /// Rows that there are; a flow takes two.
    pub rows: u64,
}

impl FlowRowsView {
    /// The part in use, in percent.
    pub fn percent(self) -> f64 {
        self.used as f64 * 100.0 / self.rows.max(1) as f64
    }
}

/// A list within a description.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SectionView {
    /// What is listed.
    pub title: String,
    /// The things.
    pub lines: Vec<String>,
}

/// What would happen to a packet, on the tables in force.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainView {
    /// The packet as understood.
    pub packet: String,
    /// Number of the image that decided.
    pub generation: u64,
    /// The way through the data plane.
    pub steps: Vec<StepView>,
    /// `forward`, `drop`, ….
    pub verdict: String,
    /// The reason's word.
    pub reason: String,
    /// The reason in a sentence.
    pub description: String,
    /// Interface that the frame leaves through.
    pub link: Option<String>,
    /// VRF of the last lookup.
    pub vrf: String,
    /// The prefix that matched.
    pub route: Option<String>,
    /// Who wants that route.
    pub source: Option<String>,
    /// Group that was chosen.
    pub group: Option<u32>,
    /// Next hop that was chosen.
    pub nexthop: Option<u32>,
    /// The frame afterwards, in words.
    pub result: Option<String>,
    /// The frame afterwards, hexadecimal.
    pub frame: Option<String>,
}

/// One step of an explanation.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// `arrival`, `label`, `route`, `group`, `next hop`, `rewrite`, `verdict`.
    pub stage: String,
    /// What happened there.
    pub text: String,
}

/// What other files would change.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffView {
    /// Objects of the configuration that are another, by name.
    pub objects: Vec<ObjectView>,
    /// How many entries of each table would change.
    pub tables: Vec<DeltaView>,
    /// The entries.
    pub changes: Vec<DifferenceView>,
    /// What would be wrong.
    pub problems: Vec<Problem>,
}

/// One difference.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceView {
    /// What holds it: `routes`, `labels`, ….
    pub table: String,
    /// What it is about: `route default 10.0.0.0/8`.
    pub what: String,
    /// In force now.
    pub before: Option<String>,
    /// In force afterwards.
    pub after: Option<String>,
}

impl DiffView {
    /// Whether nothing would change.
    pub fn is_none(&self) -> bool {
        self.objects.is_empty() && self.changes.is_empty()
    }
}

/// How many entries of a table differ.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeltaView {
    /// `routes`, `labels`, `groups`, `next hops`, `links`, `VRFs` or `settings`.
    pub table: String,
    /// Only there afterwards.
    pub added: u64,
    /// Another afterwards.
    pub changed: u64,
    /// Only there before.
    pub removed: u64,
}
