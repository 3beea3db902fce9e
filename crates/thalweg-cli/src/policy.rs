//! `thalweg policy`, and policies of `get` and `describe`: what policies in files say.

mod describe;
mod explain;
mod html;
mod log;
mod matrix;
mod staged;

use crate::args::{Common, Policy};
use crate::exit::{Exit, Failure};
use crate::online::Writer;
use crate::output::{Format, yaml};
use crate::table::Table;
use serde_json::Value;
use std::path::{Path, PathBuf};
use thalweg_agent::offline::policy::Policies;
use thalweg_agent::offline::session::Session;
use thalweg_api::policy::PoliciesView;
use thalweg_api::{Answer, Call, Client};
use thalweg_policy::lower::{policy as lower, tier_of};
use thalweg_policy::matrix::{MOST_OUTSIDE, stretches};
use thalweg_policy::model::{Policy as Lowered, Stage};
use thalweg_policy::object::{PolicyId, StagedAction};
use thalweg_policy::{Resolution, View};

pub use describe::describe;

/// Carries out `thalweg policy …`.
pub fn run(common: &Common, policy: &Policy, writer: &mut Writer<'_>) -> Result<Exit, Failure> {
    match policy {
        Policy::Matrix { file, html, staged } => {
            let read = read(common, file.as_deref())?;
            let view = if *staged { View::Pending } else { View::Enforced };
            let resolution = read.resolve(view);
            tell_left_out(&[&resolution]);
            let found = resolution.matrix();
            match html {
                true => writer.out.write_all(html::page(&found).as_bytes())?,
                false => show(writer, matrix::value(&found, *staged), &matrix::text(&found))?,
            }
            Ok(Exit::Ok)
        }
        Policy::Diff { file, from, staged } => {
            let before = read(common, from.as_deref())?;
            let (old, new) = match file {
                Some(file) => {
                    let after = Policies::read(file, common.color.on_stderr())?;
                    eprint!("{}", after.text);
                    let view = if *staged { View::Pending } else { View::Enforced };
                    warn(common, &after, view);
                    (before.resolve(View::Enforced), after.resolve(view))
                }
                None => {
                    warn(common, &before, View::Pending);
                    (before.resolve(View::Enforced), before.resolve(View::Pending))
                }
            };
            tell_left_out(&[&old, &new]);
            let changes = old.changes(&new);
            show(writer, matrix::changes_value(&changes), &matrix::changes_text(&changes))?;
            Ok(if changes.is_empty() { Exit::Ok } else { Exit::NotAsWished })
        }
        Policy::Staged { file } => {
            let (read, client) = match file {
                Some(file) => (told(common, file)?, Client::connect(&common.socket())?),
                None => {
                    let (path, client) = running(common)?;
                    (told(common, &path)?, client)
                }
            };
            staged::report(&read, client, writer)
        }
        Policy::Log(wanted) => log::log(common, wanted, writer),
        Policy::Explain { file, from, to, protocol, port, source_port } => {
            let read = read(common, file.as_deref())?;
            let question =
                explain::Question { from, to, protocol, port: *port, source_port: *source_port };
            explain::explain(&read, &question, writer)
        }
    }
}

/// Tells on standard error that rules name more addresses than a matrix can have.
fn tell_left_out(all: &[&Resolution]) {
    let found = stretches(all);
    if found > MOST_OUTSIDE {
        eprintln!(
            "warning: rules and sets tell {found} stretches of addresses apart: those outside behind the first \
             {MOST_OUTSIDE} are left out; `thalweg policy explain` answers for each address"
        );
    }
}

/// `thalweg get policies`.
pub fn list(
    common: &Common,
    file: Option<&Path>,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let (read, agent) = watched(common, file)?;
    let resolution = read.resolve(View::Enforced);
    let mut columns = vec!["KIND", "POLICY", "TIER", ">ORDER", "TYPES", ">SELECTS", "STATE"];
    columns.extend(agent.is_some().then_some(">HITS"));
    columns.push("PLACE");
    let mut table = Table::new(&columns);
    let mut values = Vec::new();
    let rank = |id: &PolicyId| resolution.policies.iter().position(|one| one.policy.id == *id);
    let mut all: Vec<_> = read.objects.policies.iter().collect();
    // As they are asked; those that are not, last.
    all.sort_by_key(|(id, _)| rank(id).unwrap_or(usize::MAX));
    for (id, object) in all {
        let policy = lower(id, object);
        let types = [("ingress", policy.ingress.is_some()), ("egress", policy.egress.is_some())];
        let types: Vec<&str> =
            types.into_iter().filter(|(_, is)| *is).map(|(word, _)| word).collect();
        let selects = Selects::of(&resolution, &policy);
        let state = match (id.kind.of_staged(), rank(id)) {
            (Some(_), _) => "staged",
            (None, Some(_)) if is_closed(&resolution, &policy, agent.as_ref()) => "closed",
            (None, Some(_)) => selects.state(&policy),
            (None, None) => "no such tier",
        };
        // What takes another away selects nobody itself.
        let selects = (object.staged != StagedAction::Delete).then(|| selects.all());
        let order = policy.order.map_or_else(|| "last".into(), |order| order.to_string());
        let hits = agent.as_ref().map(|agent| hits(agent, id));
        let mut row = vec![
            id.kind.name().into(),
            id.short(),
            tier_of(object).into(),
            order,
            types.join(","),
            selects.map_or_else(|| "-".into(), |selects| selects.to_string()),
            state.into(),
        ];
        row.extend(hits.map(|hits| hits.to_string()));
        row.push(object.origin.to_string());
        table.row(row);
        values.push(serde_json::json!({
            "kind": id.kind.name(),
            "policy": id.short(),
            "tier": tier_of(object),
            "order": policy.order,
            "types": types,
            "selects": selects,
            "state": state,
            "hits": hits,
            "selector": policy.subject.to_string(),
            "origin": object.origin.to_string(),
        }));
    }
    let text = match table.is_empty() {
        true => "there are no policies\n".to_owned(),
        false => table.render(true, &writer.paint),
    };
    show(writer, Value::Array(values), &text)?;
    Ok(Exit::Ok)
}

/// How often the rules of a policy have decided.
fn hits(agent: &PoliciesView, id: &PolicyId) -> u64 {
    let of = |direction: &str| agent.of(id.kind.name(), &id.short(), direction, 0);
    of("ingress") + of("egress")
}

/// Whether a policy selects a workload or host whose rules have no room.
fn is_closed(resolution: &Resolution, policy: &Lowered, agent: Option<&PoliciesView>) -> bool {
    let closed = agent.map_or(&[][..], |agent| &agent.closed[..]);
    let selected = |name: &String| {
        let all = resolution.world.endpoints.iter();
        let mut all = all.filter(|one| policy.subject.selects(&one.labels));
        all.any(|one| one.name.to_string() == *name)
    };
    closed.iter().any(selected)
}

/// How many endpoints a policy selects.
struct Selects {
    pods: usize,
    hosts: usize,
}

impl Selects {
    fn of(resolution: &Resolution, policy: &Lowered) -> Self {
        let all = resolution.world.endpoints.iter();
        let (hosts, pods): (Vec<_>, Vec<_>) = all
            .filter(|one| policy.subject.selects(&one.labels))
            .partition(|endpoint| endpoint.is_host());
        Self { pods: pods.len(), hosts: hosts.len() }
    }

    fn all(&self) -> usize {
        self.pods + self.hosts
    }

    /// What becomes of a policy that is neither staged nor without a tier.
    fn state(&self, policy: &Lowered) -> &'static str {
        match (policy.stage, self) {
            (_, Self { pods: 0, hosts: 0 }) => "selects nobody",
            // These are asked at hosts alone.
            (Stage::PreDnat | Stage::Untracked, Self { hosts: 0, .. }) => "selects no host",
            _ => "in force",
        }
    }
}

/// The files that are meant: those given, or those that the agent runs on. What is wrong with them goes to
/// standard error.
fn read(common: &Common, file: Option<&Path>) -> Result<Policies, Failure> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => running(common)?.0,
    };
    told(common, &path)
}

/// As [`read`], and what the agent that runs on them says of them.
fn watched(
    common: &Common,
    file: Option<&Path>,
) -> Result<(Policies, Option<PoliciesView>), Failure> {
    let Some(file) = file else {
        let (path, mut client) = running(common)?;
        let view = match client.call(Call::Policies) {
            Ok(Answer::Policies(view)) => Some(view),
            // It has no data plane yet, or knows no such call.
            _ => None,
        };
        return Ok((told(common, &path)?, view));
    };
    Ok((told(common, file)?, None))
}

fn told(common: &Common, path: &Path) -> Result<Policies, Failure> {
    let read = Policies::read(path, common.color.on_stderr())?;
    eprint!("{}", read.text);
    Ok(read)
}

/// The files that the agent runs on, and the way to it.
fn running(common: &Common) -> Result<(PathBuf, Client), Failure> {
    let client = Client::connect(&common.socket());
    let mut client = client.map_err(|error| {
        let failure = Failure::from(error);
        let message = format!("{}\nor name files with -f", failure.message);
        Failure { message, ..failure }
    })?;
    match client.call(Call::Status)? {
        Answer::Status(view) => Ok((view.config.path.into(), client)),
        _ => Err(Failure::new(Exit::NoAgent, "the agent tells no directory; name files with -f")),
    }
}

/// The session that this command is given in, if it is one over the network. The agent, if one runs, tells
/// what interfaces there are.
pub fn session(common: &Common) -> Option<Session> {
    let mut session = Session::here()?;
    let links = Client::connect(&common.socket()).and_then(|mut client| client.call(Call::Links));
    if let Ok(Answer::Links(links)) = links {
        session.interfaces = staged::interfaces(&links);
    }
    Some(session)
}

/// Warns on standard error if policies would cut the session that this command is given in.
fn warn(common: &Common, read: &Policies, view: View) {
    let cut = session(common).and_then(|session| read.cuts(&session, view));
    eprint!("{}", cut.unwrap_or_default());
}

/// Warns on standard error if files that are about to be applied would cut the session that this command is given
/// in. What is wrong in them the agent says.
pub fn warn_of(common: &Common, file: &Path) {
    if let Ok(read) = Policies::read(file, common.color.on_stderr()) {
        warn(common, &read, View::Enforced);
    }
}

/// Writes a result as text or as a value.
fn show(writer: &mut Writer<'_>, value: Value, text: &str) -> Result<(), Failure> {
    match writer.format {
        Format::Table | Format::Wide => writer.out.write_all(text.as_bytes())?,
        Format::Json => writeln!(writer.out, "{value:#}")?,
        Format::Yaml => writer.out.write_all(yaml(&value).as_bytes())?,
    }
    writer.out.flush()?;
    Ok(())
}
