//! Calls of the control socket, answered from the compiled state and the tables in force.

use crate::brain::Brain;
use crate::drops::Drops;
use crate::fold::fold;
use crate::plane::DataPlane;
use crate::{cluster, describe, judge, nat, policies, routes, views};
use thalweg_api::view::{
    ConfigView, CountsView, DeltaView, DiffView, DifferenceView, PendingView, Phase, PlanView,
    StatusView, TableView,
};
use thalweg_api::{Answer, Call, Fault};
use thalweg_compile::Compiler;
use thalweg_packet::Line;

/// What the shell knows that the brain does not.
pub struct Context<'a> {
    /// The data plane, once there is one.
    pub plane: Option<&'a dyn DataPlane>,
    /// Name of the instance.
    pub instance: &'a str,
    /// Seconds since the start.
    pub uptime: u64,
    /// What is wrong with the host's own settings.
    pub host_problems: Vec<thalweg_model::Problem>,
    /// The configuration that waits to be confirmed.
    pub pending: Option<PendingView>,
    /// How things stand with a routing suite, if one may connect.
    pub suite: Option<thalweg_api::view::FpmView>,
    /// Frames that were discarded.
    pub drops: &'a Drops,
    /// BFD sessions, by name.
    pub sessions: Vec<thalweg_api::view::SessionView>,
    /// How full the table of flows is, where there is one.
    pub flows: Option<thalweg_api::view::FlowRowsView>,
    /// The same as a whole, if there are any.
    pub sessions_whole: Option<thalweg_api::view::SessionsView>,
}

/// Answers a call.
///
/// # Errors
///
/// [`Fault`] for what is not there, not ready or makes no sense.
pub fn answer(brain: &Brain, context: &Context<'_>, call: &Call) -> Result<Answer, Fault> {
    if let Call::Status = call {
        let mut view = status(brain, context);
        view.problems = fold(view.problems);
        view.config.problems = fold(view.config.problems);
        return Ok(Answer::Status(Box::new(view)));
    }
    let compiler = ready(brain)?;
    Ok(match call {
        Call::Status => Answer::Status(Box::new(status(brain, context))),
        Call::Links => Answer::Links(views::links(compiler, &brain.hooks, &brain.holds)),
        Call::Routes(query) => Answer::Routes(routes::page(compiler, query)?),
        Call::Labels => Answer::Labels(views::labels(compiler)),
        Call::NextHops => {
            Answer::NextHops(compiler.nexthops().into_iter().map(views::nexthop).collect())
        }
        Call::Groups => Answer::Groups(compiler.groups().into_iter().map(views::group).collect()),
        Call::Neighbors => Answer::Neighbors(views::neighbors(compiler)),
        Call::Vrfs => Answer::Vrfs(views::vrfs(compiler)),
        Call::Sessions => Answer::Sessions(context.sessions.clone()),
        Call::Services => {
            let mut views = cluster::services(compiler);
            let problems = describe::problems_of_services(brain);
            for view in &mut views {
                view.problems = problems.get(&view.service).copied().unwrap_or(0);
            }
            Answer::Services(views)
        }
        Call::Backends => {
            let memory = context.plane.map(DataPlane::memory);
            Answer::Backends(cluster::backends(compiler, memory))
        }
        Call::Flows(query) => {
            Answer::Flows(cluster::flows(compiler, plane(context)?.memory(), query)?)
        }
        Call::Nat(query) => Answer::Nat(nat::views(compiler, plane(context)?.memory(), query)?),
        Call::Drops { all } => {
            let counts = plane(context)?.counts().map_err(failed)?;
            Answer::Drops(views::drops(&counts, *all))
        }
        Call::DropEvents(query) => {
            let counts = plane(context)?.event_counts();
            Answer::DropEvents(context.drops.page(compiler, counts, query)?)
        }
        Call::PolicyLog(query) => {
            let counts = plane(context)?.event_counts();
            Answer::PolicyLog(context.drops.log(compiler, counts, query)?)
        }
        Call::Policies => {
            Answer::Policies(policies::view(compiler, plane(context)?).map_err(failed)?)
        }
        Call::Tables => Answer::Tables(tables(context)?),
        Call::Host => Answer::Host(views::host(&compiler.host())),
        Call::Describe { kind, name } => {
            let counts = context.plane.and_then(|plane| plane.counts().ok()).unwrap_or_default();
            if matches!(kind.as_str(), "session" | "sessions") {
                return describe::session(compiler, &context.sessions, name).map(Answer::Describe);
            }
            if matches!(kind.as_str(), "service" | "services") {
                let memory = context.plane.map(DataPlane::memory);
                let view = describe::service(brain, compiler, memory, &counts, name);
                return view.map(Answer::Describe);
            }
            let described = describe::describe(brain, compiler, &counts, kind, name)?;
            Answer::Describe(described)
        }
        Call::Explain { packet } => {
            let plane = plane(context)?;
            let (frame, device) = frame_of(compiler, packet)?;
            Answer::Explain(Box::new(judge::explain(compiler, plane.memory(), &frame, device)))
        }
        Call::Diff { files } => Answer::Diff(diff(compiler, files)),
        Call::Apply { .. }
        | Call::Attach { .. }
        | Call::Detach { .. }
        | Call::Confirm
        | Call::Rollback { .. }
        | Call::History { .. }
        | Call::Audit
        | Call::Events(_) => return Err(Fault::not_ready("this call is answered elsewhere")),
        Call::FollowFlows(_) => {
            let remedy = "watch it (`\"watch\":true`)";
            return Err(Fault::invalid("what happens to flows is told to those who watch", remedy));
        }
    })
}

fn failed(error: thalweg_image::PlaneError) -> Fault {
    Fault::failed(error.to_string(), "see the agent's log")
}

/// The compiled state, once it is complete.
fn ready(brain: &Brain) -> Result<&Compiler, Fault> {
    match (&brain.compiler, brain.phase) {
        (Some(compiler), Phase::InForce) => Ok(compiler),
        (_, phase) => Err(Fault::not_ready(format!("the agent is {}", phase.describe()))),
    }
}

fn plane<'a>(context: &Context<'a>) -> Result<&'a dyn DataPlane, Fault> {
    context.plane.ok_or_else(|| Fault::not_ready("there is no data plane yet"))
}

fn tables(context: &Context<'_>) -> Result<Vec<TableView>, Fault> {
    let mut tables = views::tables(plane(context)?.occupancy());
    let flows = tables.iter_mut().find(|table| table.name == thalweg_abi::TableId::Flows.name());
    if let (Some(table), Some(rows)) = (flows, context.flows) {
        // The writer does not know what packets have taken.
        table.used = rows.used as u32;
    }
    Ok(tables)
}

/// How the agent is doing.
pub fn status(brain: &Brain, context: &Context<'_>) -> StatusView {
    let compiler = brain.compiler.as_ref();
    let view = |problems| ConfigView {
        path: brain.path().into(),
        in_force: brain.config_good && brain.phase == Phase::InForce,
        last_good: !brain.config_good && compiler.is_some(),
        problems,
    };
    StatusView {
        version: env!("CARGO_PKG_VERSION").into(),
        instance: context.instance.into(),
        pid: std::process::id(),
        uptime: context.uptime,
        phase: brain.phase,
        plane: context.plane.map_or("none", DataPlane::kind).into(),
        generation: compiler.map_or(0, Compiler::generation),
        plan: brain.last_plan.map(|(changes, took)| PlanView {
            changes: changes as u64,
            micros: took.as_micros() as u64,
        }),
        config: view(brain.config_problems.clone()),
        pending: context.pending.clone(),
        counts: compiler.filter(|_| brain.phase == Phase::InForce).map(counts).unwrap_or_default(),
        hooks: brain.hooks.iter().map(views::hook).collect(),
        fpm: context.suite.clone(),
        sessions: context.sessions_whole.clone(),
        sockets: compiler
            .zip(context.plane)
            .and_then(|(compiler, plane)| Some(views::sockets(compiler, plane.sockets()?))),
        overruns: brain.overruns,
        fullest: context.plane.and_then(|plane| fullest(plane.occupancy())),
        flows: context.flows,
        metrics: compiler.and_then(|c| c.intent().router.metrics).map(|at| at.to_string()),
        problems: brain.problems().into_iter().chain(context.host_problems.clone()).collect(),
    }
}

/// The table that is fullest, for its size.
fn fullest(tables: Vec<thalweg_image::Occupancy>) -> Option<TableView> {
    let share = |table: &thalweg_image::Occupancy| {
        u64::from(table.used) * u64::from(u32::MAX) / u64::from(table.capacity.max(1))
    };
    // A table of one row is full by nature.
    let large = tables.into_iter().filter(|table| table.capacity > 1);
    views::tables(large.max_by_key(share).into_iter().collect()).pop()
}

fn counts(compiler: &Compiler) -> CountsView {
    let (links, vrfs) = (compiler.links(), compiler.vrfs());
    CountsView {
        routed_links: links.iter().filter(|link| link.ours).count() as u32,
        links: links.len() as u32,
        vrfs: vrfs.len() as u32,
        ipv4_routes: vrfs.iter().map(|vrf| vrf.ipv4).sum(),
        ipv6_routes: vrfs.iter().map(|vrf| vrf.ipv6).sum(),
        labels: compiler.label_count(),
        nexthops: compiler.nexthops().len() as u32,
        groups: compiler.groups().len() as u32,
    }
}

/// The frame that a text means, and where it arrives.
///
/// # Errors
///
/// [`Fault`] for a text that is no packet and for links that are not there.
pub fn frame_of(compiler: &Compiler, packet: &str) -> Result<(Vec<u8>, u32), Fault> {
    let line = Line::parse(packet).map_err(|error| {
        Fault::invalid(
            format!("`{packet}` is no packet: {error}"),
            "write LINK < PACKET, as in `eth0 < ip 10.0.0.9 > 10.0.2.7 ttl 64 udp 4000 > 53`",
        )
    })?;
    let link = compiler.host_facts().link_named(&line.link).ok_or_else(|| {
        Fault::not_found(
            format!("there is no link `{}`", line.link),
            "`thalweg get links` lists them",
        )
    })?;
    Ok((line.bytes(link.mac), link.index))
}

fn diff(compiler: &Compiler, files: &[(String, String)]) -> DiffView {
    let loaded = thalweg_config::parse(files);
    if !loaded.is_ok() {
        return DiffView { problems: loaded.problems, ..DiffView::default() };
    }
    let other = compiler.what_if(loaded.intent, loaded.policies);
    difference(compiler, &other, loaded.problems)
}

/// What would change from one compiled state to another, and what would be wrong then.
pub fn difference(old: &Compiler, new: &Compiler, before: Vec<thalweg_model::Problem>) -> DiffView {
    let mut tables: Vec<DeltaView> = Vec::new();
    let mut changes = Vec::new();
    for difference in thalweg_compile::diff(old, new) {
        if tables.last().is_none_or(|delta| delta.table != difference.table) {
            tables.push(DeltaView { table: difference.table.into(), ..DeltaView::default() });
        }
        if let Some(delta) = tables.last_mut() {
            match (&difference.before, &difference.after) {
                (None, _) => delta.added += 1,
                (_, None) => delta.removed += 1,
                _ => delta.changed += 1,
            }
        }
        changes.push(DifferenceView {
            table: difference.table.into(),
            what: difference.what,
            before: difference.before,
            after: difference.after,
        });
    }
    let mut problems = before;
    problems.extend(new.problems());
    let objects = crate::summary::of_intents(old.intent(), new.intent());
    DiffView { objects, tables, changes, problems }
}

/// The comparison of files with what is in force, made ready to be worked on elsewhere: a full
/// table takes long.
pub fn comparison(
    compiler: &Compiler,
    files: Vec<(String, String)>,
) -> impl FnOnce() -> DiffView + Send + use<> {
    let (limits, host) = (compiler.limits().clone(), compiler.host());
    let (intent, policies) = (compiler.intent().clone(), compiler.policy_objects().clone());
    move || {
        let mut copy = Compiler::new(limits);
        copy.load_host(host);
        copy.set_policies(policies);
        copy.set_intent(intent);
        copy.plan();
        diff(&copy, &files)
    }
}
