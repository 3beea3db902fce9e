//! Which events are worth telling, from what the agent is about to learn.

use crate::brain::{Brain, Event};
use crate::events::Note;
use crate::plane::HookState;
use std::net::IpAddr;
use thalweg_api::view::{EventSeverity as Severity, Phase};
use thalweg_config::Loaded;
use thalweg_image::{Applied, PlaneError};
use thalweg_model::host::Neighbor;
use thalweg_model::{Update, host};

/// What is told of an event, before the agent knows of it.
pub fn notes(brain: &Brain, event: &Event) -> Vec<Note> {
    match event {
        Event::Config(loaded) => refused(loaded).into_iter().collect(),
        Event::WatchFailed(problem) => {
            vec![Note::new(Severity::Error, "config", brain.path(), problem.to_string())]
        }
        // What is there at the start is no news.
        Event::Host(updates) if brain.phase == Phase::InForce => {
            updates.iter().filter_map(|update| of_host(brain, update)).collect()
        }
        Event::HostComplete => {
            let text = "connected: its links, addresses, neighbors and routes are read";
            vec![Note::new(Severity::Info, "source", "kernel", text)]
        }
        Event::Overrun => {
            let text = "lost events; everything is read again";
            vec![Note::new(Severity::Warning, "source", "kernel", text)]
        }
        Event::Applied { generation, result, .. } => of_plan(*generation, result),
        Event::Hooked(hooks) => of_hooks(&brain.hooks, hooks),
        Event::NeighborFailed { link, address, error } => {
            let object = neighbor(brain, *link, *address);
            vec![Note::new(Severity::Warning, "neighbor", object, error.clone())]
        }
        _ => Vec::new(),
    }
}

fn refused(loaded: &Loaded) -> Option<Note> {
    let errors = |p: &&thalweg_model::Problem| p.severity == thalweg_model::Severity::Error;
    let mut errors = loaded.problems.iter().filter(errors);
    let first = errors.next()?;
    // Objects of Kubernetes that are wrong are left out, and the rest is in force.
    let word = if loaded.is_ok() { "set aside" } else { "refused" };
    let mut text = format!("{word}: {first}");
    match errors.count() {
        0 => {}
        more => text.push_str(&format!(" (and {more} more)")),
    }
    Some(Note::new(Severity::Error, "config", first.origin.file.clone(), text))
}

fn of_host(brain: &Brain, update: &Update) -> Option<Note> {
    let host = brain.compiler.as_ref()?.host_facts();
    match update {
        Update::Link(link) => of_link(host.links.get(&link.index), link),
        Update::LinkGone(index) => {
            let link = host.links.get(index)?;
            let object = format!("link {}", link.name);
            Some(Note::new(Severity::Warning, "link", object, "gone"))
        }
        Update::Neighbor(new) => {
            let key = (new.link, new.address);
            of_neighbor(brain, key, host.neighbors.get(&key), Some(new))
        }
        Update::Session(name, up) => {
            let object = format!("session {name}");
            Some(match up {
                true => Note::new(Severity::Info, "session", object, "up: next hops use it"),
                false => {
                    Note::new(Severity::Warning, "session", object, "down: next hops leave it")
                }
            })
        }
        Update::NeighborGone(link, address) => {
            let key = (*link, *address);
            of_neighbor(brain, key, host.neighbors.get(&key), None)
        }
        _ => None,
    }
}

fn of_link(old: Option<&host::Link>, new: &host::Link) -> Option<Note> {
    let object = format!("link {}", new.name);
    let up = if new.up { "up" } else { "down" };
    let (severity, text) = match old {
        None => (Severity::Info, format!("appeared, {up}")),
        Some(old) if old.name != new.name => {
            (Severity::Warning, format!("renamed, it was {}", old.name))
        }
        Some(old) if old.up == new.up => return None,
        Some(_) if new.up => (Severity::Info, up.into()),
        Some(_) => (Severity::Warning, up.into()),
    };
    Some(Note::new(severity, "link", object, text))
}

fn neighbor(brain: &Brain, link: u32, address: IpAddr) -> String {
    let name = brain.compiler.as_ref().map_or_else(|| format!("if{link}"), |c| c.link_name(link));
    format!("neighbor {address} on {name}")
}

/// Gateways that the configuration names matter; hosts come and go.
fn of_neighbor(
    brain: &Brain,
    key: (u32, IpAddr),
    old: Option<&Neighbor>,
    new: Option<&Neighbor>,
) -> Option<Note> {
    let usable = |neighbor: &&Neighbor| {
        let dead = ["failed", "incomplete", "none"];
        neighbor.mac.is_some() && !dead.iter().any(|w| neighbor.state.eq_ignore_ascii_case(w))
    };
    let (before, after) = (old.filter(usable), new.filter(usable));
    let gateway = brain.asks_for(key);
    let (severity, text) = match (before.and_then(|n| n.mac), after.and_then(|n| n.mac)) {
        (None, Some(mac)) => (Severity::Info, format!("resolved: {mac}")),
        (Some(old), Some(new)) if old != new => (Severity::Info, format!("moved: {old} -> {new}")),
        (Some(_), None) => (Severity::Warning, "failed".into()),
        _ => return None,
    };
    let severity = if gateway { severity } else { Severity::Debug };
    Some(Note::new(severity, "neighbor", neighbor(brain, key.0, key.1), text))
}

fn of_plan(generation: u64, result: &Result<Applied, PlaneError>) -> Vec<Note> {
    match result {
        Ok(applied) => {
            let mut full: Vec<_> = applied.failures.iter().map(|failure| failure.table).collect();
            full.dedup();
            let note = |table| {
                let all = || applied.failures.iter().filter(|f| f.table == table);
                let (used, capacity) = all().next().map_or((0, 0), |f| (f.used, f.capacity));
                let count = all().count();
                let text = format!("full: {used} of {capacity} in use, {count} did not fit");
                Note::new(Severity::Error, "table", format!("table {}", table.name()), text)
            };
            full.into_iter().map(note).collect()
        }
        Err(error) => {
            let text = format!("not in force: {error}");
            vec![Note::new(Severity::Error, "plane", format!("generation {generation}"), text)]
        }
    }
}

fn of_hooks(old: &[HookState], new: &[HookState]) -> Vec<Note> {
    let mut notes = Vec::new();
    for state in new.iter().filter(|state| !old.contains(state)) {
        let object = format!("hook of {}", state.wish.name);
        let had = old.iter().any(|o| o.wish.link == state.wish.link && o.hook.is_some());
        notes.push(match (&state.hook, had) {
            (Some(hook), _) => {
                let text = format!("attached at {hook}: {}", state.reason);
                Note::new(Severity::Info, "hook", object, text)
            }
            (None, true) => {
                Note::new(Severity::Error, "hook", object, format!("lost: {}", state.reason))
            }
            (None, false) => {
                let text = format!("not attached: {}", state.reason);
                Note::new(Severity::Error, "hook", object, text)
            }
        });
    }
    let gone = old.iter().filter(|o| !new.iter().any(|n| n.wish.link == o.wish.link));
    notes.extend(gone.map(|state| {
        Note::new(Severity::Info, "hook", format!("hook of {}", state.wish.name), "taken back")
    }));
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brain::tests::{HOST, config, running};
    use thalweg_abi::{GroupId, TableId, VrfId};
    use thalweg_image::{Change, Failure};
    use thalweg_model::HostState;

    fn told(brain: &Brain, event: Event) -> Vec<String> {
        let line = |note: Note| {
            format!("{} {} {}: {}", note.severity.word(), note.kind, note.object, note.text)
        };
        notes(brain, &event).into_iter().map(line).collect()
    }

    fn host() -> HostState {
        thalweg_netlink::file::from_yaml(HOST).unwrap()
    }

    #[test]
    fn links_are_told_when_they_go_up_or_down() {
        let brain = running();
        let mut link = host().links[&3].clone();
        assert!(told(&brain, Event::Host(vec![Update::Link(link.clone())])).is_empty());
        link.up = false;
        let down = told(&brain, Event::Host(vec![Update::Link(link.clone())]));
        assert_eq!(down, ["warning link link eth1: down"]);
        link.index = 9;
        link.name = "eth9".into();
        let new = told(&brain, Event::Host(vec![Update::Link(link), Update::LinkGone(2)]));
        assert_eq!(new, ["info link link eth9: appeared, down", "warning link link eth0: gone"]);
        let early = Brain::new("lan.yaml".into(), 7);
        assert!(told(&early, Event::Host(vec![Update::LinkGone(2)])).is_empty());
    }

    #[test]
    fn gateways_of_ours_matter_more_than_hosts() {
        let brain = running();
        let mut gateway = host().neighbors.into_values().next().unwrap();
        gateway.state = "failed".into();
        let mut other = gateway.clone();
        other.address = "10.0.1.7".parse().unwrap();
        other.state = "reachable".into();
        let updates = vec![Update::Neighbor(gateway), Update::Neighbor(other)];
        assert_eq!(
            told(&brain, Event::Host(updates)),
            [
                "warning neighbor neighbor 10.0.1.254 on eth1: failed",
                "debug neighbor neighbor 10.0.1.7 on eth1: resolved: 02:00:00:00:00:fe",
            ]
        );
    }

    #[test]
    fn what_is_refused_or_does_not_fit_is_told() {
        let brain = running();
        let files = [("lan.yaml".to_owned(), config("10.0.1.300"))];
        let lines = told(&brain, Event::Config(Box::new(thalweg_config::parse(&files))));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("error config lan.yaml: refused: lan.yaml:11"), "{lines:?}");
        let change = Change::Route4(VrfId(0), "10.0.2.0/24".parse().unwrap(), GroupId(1));
        let failure = Failure { change, table: TableId::Fib4Leaves, used: 10, capacity: 10 };
        let result = Ok(Applied { failures: vec![failure], whole: true });
        let applied =
            Event::Applied { generation: 2, changes: 1, result, took: Default::default() };
        let name = TableId::Fib4Leaves.name();
        let line = format!("error table table {name}: full: 10 of 10 in use, 1 did not fit");
        assert_eq!(told(&brain, applied), [line]);
    }
}
