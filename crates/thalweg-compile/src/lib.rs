//! Intent and host state to plans, incrementally.
//!
//! ```text
//! Intent ──┐   candidates    best candidate     interned        rows, buckets
//!          ├──► RIB (rib) ──► per prefix ──► targets (target) ──► groups ──► Plan
//! Updates ─┘                  (plan)         resolved (resolve)   (groups, rows)
//! ```
//!
//! Routes lead to *targets*, which are interned by what their source says; each target in force has
//! one next hop group. So a neighbor that moves, a link that fails or a covering route that changes
//! re-issues groups and leaves the routes alone, however many there are. Targets are resolved from
//! ground facts only and remember which, so a change finds its dependents without a search.
//!
//! Pure: no I/O, no clock, no randomness.
#![forbid(unsafe_code)]

mod bind;
mod buckets;
mod compiler;
mod diff;
mod export;
mod feed;
mod floating;
mod groups;
mod hash;
mod hosts;
mod index;
mod kernel;
mod key;
mod links;
mod lsp;
mod nat;
mod neighbor;
mod objects;
mod others;
mod own;
mod plan;
mod pods;
mod policy;
mod pool;
mod problems;
mod publish;
mod relief;
mod resolve;
mod rib;
mod rings;
mod rows;
mod services;
mod sessions;
mod slab;
mod structure;
mod target;
mod tunnels;
mod twins;
mod view;
mod vrfs;

pub use compiler::Compiler;
pub use diff::{Difference, diff, flag_words};
pub use export::Export;
pub use floating::Held;
pub use policy::{Cause, Logged};
pub use sessions::SessionPlace;
/// Services, as the data plane looks them up.
pub use thalweg_service as service;
pub use view::{
    GroupView, LabelView, LinkView, MemberView, NeighborView, NextHopView, RouteOrigin, RouteState,
    RouteView, VrfView,
};

use thalweg_image::Plan;
use thalweg_model::intent::Limits;
use thalweg_model::{HostState, Intent, Problem};

/// Compiles from nothing, with the limits that the intent names.
pub fn compile(intent: Intent, host: HostState) -> (Plan, Vec<Problem>) {
    let mut compiler = Compiler::new(intent.limits());
    compiler.load_host(host);
    compiler.set_intent(intent);
    let plan = compiler.plan();
    (plan, compiler.problems())
}

/// Sizes of tables for what files say: those that nobody named are chosen by what is asked for.
pub fn limits(intent: &Intent, policies: &thalweg_policy::Objects) -> Limits {
    let on = intent.router.node.as_deref();
    let is_here = |host: &thalweg_policy::object::HostEndpoint| Some(&*host.node) == on;
    // Those that nodes have by themselves come with nodes, which take the same room.
    intent.limits_of(policies.hosts.values().any(is_here))
}

/// The sizes that tables are to have, as the image wants them.
pub fn table_limits(limits: &Limits) -> thalweg_image::Limits {
    thalweg_image::Limits {
        links: limits.links,
        sessions: limits.sessions,
        vrfs: limits.vrfs,
        ipv4_routes: limits.ipv4_routes,
        ipv6_routes: limits.ipv6_routes,
        labels: limits.labels,
        nexthops: limits.nexthops,
        groups: limits.groups,
        vlan_links: limits.vlan_links,
        frontends: limits.frontends,
        backends: limits.backends,
        ring_slots: limits.ring_slots,
        flows: limits.flows,
        policy_lines: limits.policy_lines,
    }
}
