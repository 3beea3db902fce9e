//! `thalweg policy staged`: what staged policies would change about the traffic that there is.

mod traffic;

#[cfg(test)]
mod tests;

use super::{explain, show};
use crate::exit::{Exit, Failure};
use crate::online::Writer;
use crate::output::Paint;
use crate::table::Table;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use thalweg_agent::offline::here::Here;
use thalweg_agent::offline::policy::Policies;
use thalweg_api::cluster::FlowQuery;
use thalweg_api::drops::DropQuery;
use thalweg_api::view::LinkView;
use thalweg_api::{Answer, Call, Client, ClientError};
use thalweg_policy::decide::Cause;
use thalweg_policy::object::{Objects, PolicyId, StagedAction};
use thalweg_policy::staged::{Difference, Outcome, Staged};
use thalweg_policy::world::EndpointName;
use thalweg_policy::{Packet, words};
use traffic::Seen;

/// Directions of flows that are asked for; both of half as many flows.
const FLOWS: u32 = 200_000;
/// Packets that were dropped that are asked for: as many as the agent remembers.
const DROPS: u32 = 1_000;

/// Asks the agent for its traffic, and judges it by both worlds.
pub(super) fn report(
    read: &Policies,
    mut client: Client,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let worlds = read.staged();
    let other = || ClientError::Unreadable("it answers something else".into());
    let Answer::Links(links) = client.call(Call::Links)? else { return Err(other().into()) };
    let query = FlowQuery { limit: FLOWS, ..FlowQuery::default() };
    let Answer::Flows(flows) = client.call(Call::Flows(query))? else { return Err(other().into()) };
    let reason = Some("policy".into());
    let query = DropQuery { reason, limit: DROPS, ..DropQuery::default() };
    let Answer::DropEvents(drops) = client.call(Call::DropEvents(query))? else {
        return Err(other().into());
    };
    let here = read.here(&worlds.now.world, interfaces(&links));
    let mut seen = traffic::flows(&flows);
    seen.extend(traffic::drops(&drops.events, &read.cluster, |address| here.is_own(address)));
    let mut report = Report::new(&read.objects, &worlds, &here, &seen);
    report.cut = flows.len() >= FLOWS as usize;
    show(writer, report.value(), &report.text(&writer.paint))?;
    Ok(Exit::Ok)
}

/// Interfaces with their addresses.
pub(super) fn interfaces(links: &[LinkView]) -> Vec<(String, Vec<IpAddr>)> {
    let address = |text: &String| text.split('/').next()?.parse().ok();
    let of = |link: &LinkView| link.addresses.iter().filter_map(address).collect();
    links.iter().map(|link| (link.name.clone(), of(link))).collect()
}

/// How many flows and packets.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Count {
    /// Flows that live.
    flows: u64,
    /// Packets that were dropped.
    drops: u64,
}

impl Count {
    fn add(&mut self, seen: &Seen) {
        match seen.dropped {
            true => self.drops += 1,
            false => self.flows += 1,
        }
    }

    fn all(self) -> u64 {
        self.flows + self.drops
    }
}

/// Traffic of which the same is said.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    from: String,
    to: String,
    protocol: String,
    /// Whether it would be let through, and is not now; else it is the other way round.
    opens: bool,
    by: By,
}

/// What decides in the world with what is staged.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct By {
    /// In words, with the places.
    words: String,
    /// The staged policies.
    policies: Vec<PolicyId>,
}

/// A staged policy, and what it would do.
#[derive(Clone, Debug)]
struct OfPolicy {
    place: String,
    action: StagedAction,
    denies: Count,
    allows: Count,
}

/// What staged policies would change.
struct Report {
    rows: BTreeMap<Key, Count>,
    policies: BTreeMap<PolicyId, OfPolicy>,
    judged: Count,
    /// Whether there are more flows than were asked for.
    cut: bool,
}

impl Report {
    fn new(objects: &Objects, worlds: &Staged, here: &Here, seen: &[Seen]) -> Self {
        let staged = objects.policies.iter().filter(|(id, _)| id.kind.of_staged().is_some());
        let policies = staged.map(|(id, object)| {
            let (denies, allows) = (Count::default(), Count::default());
            let place = object.origin.to_string();
            (id.clone(), OfPolicy { place, action: object.staged, denies, allows })
        });
        let policies = policies.collect();
        let mut report =
            Self { rows: BTreeMap::new(), policies, judged: Count::default(), cut: false };
        seen.iter().for_each(|seen| report.judge(worlds, here, seen));
        report
    }

    /// Judges a packet by both worlds. One that may have gone to several backends counts if the same becomes
    /// of it at each.
    fn judge(&mut self, worlds: &Staged, here: &Here, seen: &Seen) {
        let ask = |packet: &Packet| {
            let from = (seen.arrived.source, seen.from.as_deref());
            let to = (packet.destination, seen.to.as_deref());
            let way = here.way(&worlds.now.world, from, to);
            worlds.compare(&way, &seen.arrived, packet)
        };
        let mut outcomes = seen.packets.iter().map(|packet| (packet, ask(packet)));
        let Some((packet, first)) = outcomes.next() else { return };
        let opens = |outcome: &Outcome| match outcome {
            Outcome::Other(difference) => Some(difference.opens()),
            _ => None,
        };
        if first == Outcome::Nobody {
            return;
        }
        self.judged.add(seen);
        let Outcome::Other(difference) = &first else { return };
        if !outcomes.all(|(_, other)| opens(&other) == opens(&first)) {
            return;
        }
        let key = self.key(worlds, packet, difference);
        for policy in &key.by.policies {
            if let Some(of) = self.policies.get_mut(policy) {
                if key.opens { &mut of.allows } else { &mut of.denies }.add(seen);
            }
        }
        self.rows.entry(key).or_default().add(seen);
    }

    fn key(&self, worlds: &Staged, packet: &Packet, difference: &Difference) -> Key {
        let name = |address: IpAddr| {
            let world = &worlds.now.world;
            match world.at(address).map(|at| &world.endpoints[at].name) {
                Some(EndpointName::Pod(pod)) => pod.to_string(),
                _ => address.to_string(),
            }
        };
        let port = packet.ports.map(|(_, port)| format!("/{port}")).unwrap_or_default();
        Key {
            from: name(packet.source),
            to: name(packet.destination),
            protocol: words::protocol(packet.protocol) + &port,
            opens: difference.opens(),
            by: self.by(worlds, difference),
        }
    }

    /// What would decide, and which staged policies that comes from where it is none of theirs itself.
    fn by(&self, worlds: &Staged, difference: &Difference) -> By {
        let Difference { direction, then, by, .. } = difference;
        let cause = explain::cause(&worlds.then, *direction, then.cause);
        let itself = match then.cause {
            Cause::Rule { policy, .. } => by.contains(&worlds.then.policies[policy].policy.id),
            _ => false,
        };
        let named = by.iter().map(|id| match self.policies.get(id) {
            Some(of) => format!("{id} ({})", of.place),
            None => id.to_string(),
        });
        let named = named.collect::<Vec<_>>().join(", ");
        let words = match itself || named.is_empty() {
            true => cause,
            false => format!("{cause}, by {named}"),
        };
        By { words, policies: by.clone() }
    }

    /// Rows, those of most traffic first.
    fn rows(&self) -> Vec<(&Key, Count)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(key, count)| (key, *count)).collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(count.all()));
        rows
    }

    fn text(&self, paint: &Paint) -> String {
        if self.policies.is_empty() {
            return "no policy is staged\n".into();
        }
        let columns = ["FROM", "TO", "PROTO/PORT", ">FLOWS", ">DROPS", "NOW", "STAGED", "BY"];
        let mut table = Table::new(&columns);
        for (key, count) in self.rows() {
            let Key { from, to, protocol, opens, by } = key.clone();
            let (now, staged) = verdicts(opens);
            let (flows, drops) = (count.flows.to_string(), count.drops.to_string());
            table.row(vec![from, to, protocol, flows, drops, now.into(), staged.into(), by.words]);
        }
        let mut out = match table.is_empty() {
            true => String::new(),
            false => table.render(true, paint) + "\n",
        };
        for (id, of) in &self.policies {
            out += &format!("{id} ({}): {}\n", of.place, of.words());
        }
        let Count { flows, drops } = self.judged;
        out += &format!("judged: {} and {}\n", live(flows), dropped(drops));
        if self.cut {
            out += &format!("there are more flows: these are the {FLOWS} with most octets\n");
        }
        out
    }

    fn value(&self) -> Value {
        let rows = self.rows().into_iter().map(|(key, count)| {
            let (now, staged) = verdicts(key.opens);
            let policies = key.by.policies.iter().map(ToString::to_string);
            json!({
                "from": key.from,
                "to": key.to,
                "protocol": key.protocol,
                "flows": count.flows,
                "drops": count.drops,
                "now": now,
                "staged": staged,
                "by": key.by.words,
                "policies": policies.collect::<Vec<_>>(),
            })
        });
        let count = |of: Count| json!({ "flows": of.flows, "drops": of.drops });
        let policies = self.policies.iter().map(|(id, of)| {
            json!({
                "policy": id.to_string(),
                "place": of.place,
                "denies": count(of.denies),
                "allows": count(of.allows),
            })
        });
        json!({
            "changes": rows.collect::<Vec<_>>(),
            "policies": policies.collect::<Vec<_>>(),
            "judged": count(self.judged),
            "complete": !self.cut,
        })
    }
}

/// What is said now, and what would be said.
fn verdicts(opens: bool) -> (&'static str, &'static str) {
    if opens { ("deny", "allow") } else { ("allow", "deny") }
}

fn live(count: u64) -> String {
    format!("{count} live flow{}", if count == 1 { "" } else { "s" })
}

fn dropped(count: u64) -> String {
    format!("{count} packet{} that policies dropped", if count == 1 { "" } else { "s" })
}

impl OfPolicy {
    /// What it would do, in words.
    fn words(&self) -> String {
        let part = |word: &str, count: Count| match (count.flows, count.drops) {
            (0, 0) => None,
            (flows, 0) => Some(format!("{word} {}", live(flows))),
            (0, drops) => Some(format!("{word} {}", dropped(drops))),
            (flows, drops) => Some(format!("{word} {} and {}", live(flows), dropped(drops))),
        };
        let parts = [part("deny", self.denies), part("allow", self.allows)];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match (parts.is_empty(), self.action) {
            (false, _) => format!("would {}", parts.join(", and ")),
            (true, StagedAction::Learn) => "changes nothing: stagedAction Learn".into(),
            (true, StagedAction::Ignore) => "changes nothing: stagedAction Ignore".into(),
            (true, _) => "would change nothing about this traffic".into(),
        }
    }
}
