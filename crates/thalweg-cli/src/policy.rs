//! `thalweg policy`, and policies of `get` and `describe`: what policies in files say. No agent enforces
//! them yet, and each command says so.

mod describe;
mod explain;
mod html;
mod matrix;

use crate::args::{Common, Policy};
use crate::exit::{Exit, Failure};
use crate::online::Writer;
use crate::output::{Format, Paint, yaml};
use crate::table::Table;
use serde_json::Value;
use std::path::{Path, PathBuf};
use thalweg_agent::offline::policy::Policies;
use thalweg_api::{Answer, Call, Client};
use thalweg_policy::View;
use thalweg_policy::lower::{policy as lower, tier_of};
use thalweg_policy::object::PolicyId;

pub use describe::describe;

/// What every command says.
const NOT_ENFORCED: &str = "policies are NOT enforced: no data plane of this version drops a packet \
                            for them; this is what they say";

/// Carries out `thalweg policy …`.
pub fn run(common: &Common, policy: &Policy, writer: &mut Writer<'_>) -> Result<Exit, Failure> {
    match policy {
        Policy::Matrix { file, html, staged } => {
            let read = read(common, file.as_deref())?;
            let view = if *staged { View::Pending } else { View::Enforced };
            let found = read.resolve(view).matrix();
            match html {
                true => writer.out.write_all(html::page(&found).as_bytes())?,
                false => show(writer, matrix::value(&found), &matrix::text(&found))?,
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
                    (before.resolve(View::Enforced), after.resolve(view))
                }
                None => (before.resolve(View::Enforced), before.resolve(View::Pending)),
            };
            let changes = old.changes(&new);
            show(writer, matrix::changes_value(&changes), &matrix::changes_text(&changes))?;
            Ok(if changes.is_empty() { Exit::Ok } else { Exit::NotAsWished })
        }
        Policy::Explain { file, from, to, protocol, port, source_port } => {
            let read = read(common, file.as_deref())?;
            let question =
                explain::Question { from, to, protocol, port: *port, source_port: *source_port };
            explain::explain(&read, &question, writer)
        }
    }
}

/// `thalweg get policies`.
pub fn list(
    common: &Common,
    file: Option<&Path>,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let read = read(common, file)?;
    let resolution = read.resolve(View::Enforced);
    let mut table =
        Table::new(&["KIND", "POLICY", "TIER", ">ORDER", "TYPES", ">SELECTS", "STATE", "PLACE"]);
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
        let selects = resolution.world.endpoints.iter();
        let selects = selects.filter(|one| policy.subject.selects(&one.labels)).count();
        let state = match (id.kind.of_staged(), rank(id)) {
            (Some(_), _) => "staged",
            (None, Some(_)) => "not enforced",
            (None, None) => "no such tier",
        };
        let order = policy.order.map_or_else(|| "last".into(), |order| order.to_string());
        table.row(vec![
            id.kind.name().into(),
            id.short(),
            tier_of(object).into(),
            order,
            types.join(","),
            selects.to_string(),
            state.into(),
            object.origin.to_string(),
        ]);
        values.push(serde_json::json!({
            "kind": id.kind.name(),
            "policy": id.short(),
            "tier": tier_of(object),
            "order": policy.order,
            "types": types,
            "selects": selects,
            "state": state,
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

/// The files that are meant: those given, or those that the agent runs on. What is wrong with them, and
/// that nothing is enforced, goes to standard error.
fn read(common: &Common, file: Option<&Path>) -> Result<Policies, Failure> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => running(common)?,
    };
    let color = common.color.on_stderr();
    let read = Policies::read(&path, color)?;
    eprint!("{}", read.text);
    eprintln!("{}: {NOT_ENFORCED}", Paint::new(color).yellow("note"));
    Ok(read)
}

/// The files that the agent runs on.
fn running(common: &Common) -> Result<PathBuf, Failure> {
    let client = Client::connect(&common.socket());
    let mut client = client.map_err(|error| {
        let failure = Failure::from(error);
        let message = format!("{}\nor name files with -f", failure.message);
        Failure { message, ..failure }
    })?;
    match client.call(Call::Status)? {
        Answer::Status(view) => Ok(view.config.path.into()),
        _ => Err(Failure::new(Exit::NoAgent, "the agent tells no directory; name files with -f")),
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
