//! Commands that ask a running agent.

use crate::args::{self, Common, Get, Kind};
use crate::exit::{Exit, Failure};
use crate::output::{Format, Paint, yaml};
use crate::show::{self, Style, record};
use crate::table::Table;
use serde::Serialize;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use thalweg_api::cluster::{FlowFollow, FlowPage, FlowQuery};
use thalweg_api::drops::{DropEventCounts, DropPage, DropQuery};
use thalweg_api::view::{EventPage, EventSeverity, RoutePage};
use thalweg_api::{Answer, Call, Client, ClientError, EventQuery, MAX_PAGE, RouteQuery};

/// Routes in one piece of a long list.
const PAGE: u32 = MAX_PAGE;
/// Most flows that are listed unless more are asked for.
const FLOWS: u32 = 1_000;

/// Packets that were dropped that are listed unless more are asked for.
const DROPS: u32 = 50;

/// What writing takes.
pub struct Writer<'a> {
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// How they are written.
    pub format: Format,
    /// Colors.
    pub paint: Paint,
}

impl Writer<'_> {
    /// How people see it.
    pub fn style(&self) -> Style {
        Style { wide: self.format == Format::Wide, paint: self.paint }
    }

    /// Writes an answer; returns how it stands.
    ///
    /// # Errors
    ///
    /// The output's.
    pub fn answer(&mut self, answer: &Answer) -> Result<Exit, Failure> {
        match self.format {
            Format::Table | Format::Wide => {
                let text = text(answer, &self.style());
                self.out.write_all(text.as_bytes())?;
            }
            Format::Json => self.json(&bare(answer)?)?,
            Format::Yaml => self.out.write_all(yaml(&bare(answer)?).as_bytes())?,
        }
        self.out.flush()?;
        Ok(standing(answer))
    }

    /// Writes events, one on a line whatever the format.
    fn events(&mut self, page: &EventPage) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => {
                let text = record::events(page, &self.style());
                self.out.write_all(text.as_bytes())?;
            }
            Format::Json | Format::Yaml => {
                if page.lost > 0 {
                    writeln!(self.out, "{}", serde_json::json!({ "lost": page.lost }))?;
                }
                for event in &page.events {
                    let line = serde_json::to_string(event).map_err(std::io::Error::from)?;
                    writeln!(self.out, "{line}")?;
                }
            }
        }
        self.out.flush()?;
        Ok(())
    }

    /// Writes what happened to flows, one on a line whatever the format.
    fn flow_changes(&mut self, page: &FlowPage) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => {
                let text = show::cluster::flow_changes(page, &self.style());
                self.out.write_all(text.as_bytes())?;
            }
            Format::Json | Format::Yaml => {
                if page.left_out > 0 {
                    writeln!(self.out, "{}", serde_json::json!({ "leftOut": page.left_out }))?;
                }
                for change in &page.changes {
                    let line = serde_json::to_string(change).map_err(std::io::Error::from)?;
                    writeln!(self.out, "{line}")?;
                }
            }
        }
        self.out.flush()?;
        Ok(())
    }

    /// Writes packets that were dropped.
    fn drops(&mut self, page: &DropPage, verbose: bool) -> Result<(), Failure> {
        self.listing(page, |style| show::drops::page(page, style, verbose))
    }

    /// Writes packets that were dropped meanwhile, and how many more were since these counts.
    fn dropped(
        &mut self,
        page: &DropPage,
        before: &DropEventCounts,
        verbose: bool,
    ) -> Result<(), Failure> {
        let text = |style: &Style| show::drops::lines(page, style, verbose);
        self.following(&page.events, page.missed, [before, &page.counts], text)
    }

    /// Writes a listing: as text, or as the one value that it is.
    pub(crate) fn listing(
        &mut self,
        page: &impl Serialize,
        text: impl FnOnce(&Style) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => {
                let text = text(&self.style());
                self.out.write_all(text.as_bytes())?;
            }
            Format::Json => {
                self.json(&serde_json::to_value(page).map_err(std::io::Error::from)?)?
            }
            Format::Yaml => {
                let value = serde_json::to_value(page).map_err(std::io::Error::from)?;
                self.out.write_all(yaml(&value).as_bytes())?;
            }
        }
        self.out.flush()?;
        Ok(())
    }

    /// Writes events that came meanwhile, one on a line whatever the format, and how many were not told: those
    /// `missed`, and those by which these counts, of before and of now, differ.
    pub(crate) fn following(
        &mut self,
        events: &[impl Serialize],
        missed: u64,
        [before, now]: [&DropEventCounts; 2],
        text: impl FnOnce(&Style) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => {
                let style = self.style();
                let text = text(&style) + &show::drops::untold(before, now, &style);
                self.out.write_all(text.as_bytes())?;
            }
            Format::Json | Format::Yaml => {
                for event in events {
                    let line = serde_json::to_string(event).map_err(std::io::Error::from)?;
                    writeln!(self.out, "{line}")?;
                }
                let left_out = now.left_out.saturating_sub(before.left_out);
                let lost = now.lost.saturating_sub(before.lost);
                if missed + left_out + lost > 0 {
                    let line =
                        serde_json::json!({ "missed": missed, "leftOut": left_out, "lost": lost });
                    writeln!(self.out, "{line}")?;
                }
            }
        }
        self.out.flush()?;
        Ok(())
    }

    fn json(&mut self, value: &Value) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.out, value).map_err(std::io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }
}

/// An answer without the word that says what it is an answer to.
fn bare(answer: &Answer) -> Result<Value, Failure> {
    let value = serde_json::to_value(answer).map_err(std::io::Error::from)?;
    Ok(match value {
        Value::Object(map) => map.into_iter().next().map_or(Value::Null, |(_, value)| value),
        value => value,
    })
}

/// Whether an answer says that things are as wished.
fn standing(answer: &Answer) -> Exit {
    let errors = |problems: &[thalweg_api::model::Problem]| {
        problems.iter().any(|problem| problem.severity == thalweg_api::model::Severity::Error)
    };
    let well = match answer {
        Answer::Status(view) => view.is_well(),
        Answer::Diff(view) => view.is_none() && !errors(&view.problems),
        Answer::Audit(view) => view.findings.is_empty(),
        Answer::Apply(view) => view.accepted && !errors(&view.problems),
        _ => true,
    };
    if well { Exit::Ok } else { Exit::NotAsWished }
}

/// An answer for people.
fn text(answer: &Answer, style: &Style) -> String {
    let table = |table: Table, nothing: &str| match table.is_empty() {
        true => format!("{nothing}\n"),
        false => table.render(true, &style.paint),
    };
    match answer {
        Answer::Status(view) => show::status(view, style),
        Answer::Links(views) => table(show::links(views, style), "no links"),
        Answer::Routes(page) => table(show::routes(&page.routes, style), "no routes"),
        Answer::Labels(views) => table(show::label_bindings(views, style), "no labels"),
        Answer::NextHops(views) => table(show::nexthops(views, style), "no next hops"),
        Answer::Groups(views) => table(show::groups(views, style), "no groups"),
        Answer::Neighbors(views) => table(show::neighbors(views, style), "no neighbors"),
        Answer::Vrfs(views) => table(show::vrfs(views, style), "no VRFs"),
        Answer::Sessions(views) => table(show::session::table(views, style), "no sessions"),
        Answer::Services(views) => table(show::cluster::services(views, style), "no services"),
        Answer::Backends(views) => table(show::cluster::backends(views, style), "no backends"),
        Answer::Nat(views) => table(show::cluster::nat(views, style), "nothing is translated"),
        Answer::Flows(views) => table(show::cluster::flows(views, style), "no flows"),
        Answer::FlowChanges(page) => show::cluster::flow_changes(page, style),
        Answer::Drops(views) => table(show::drops(views, style), "nothing was dropped"),
        Answer::DropEvents(page) => show::drops::page(page, style, false),
        Answer::PolicyLog(page) => show::log::page(page, style),
        Answer::Policies(view) => table(show::policies(view, style), "no policy has decided yet"),
        Answer::Tables(views) => table(show::tables(views, style), "no tables"),
        Answer::Host(value) => yaml(value),
        Answer::Describe(view) => show::describe(view, style),
        Answer::Explain(view) => show::explain(view, style),
        Answer::Diff(view) => show::diff(view, style),
        Answer::Audit(view) => record::audit(view, style),
        Answer::Apply(view) => record::apply(view, style),
        Answer::History(views) => record::history(views, style).render(true, &style.paint),
        Answer::Events(page) => record::events(page, style),
    }
}

/// Asks once, or goes on with each change.
///
/// # Errors
///
/// [`Failure`].
pub fn ask(common: &Common, call: Call, writer: &mut Writer<'_>) -> Result<Exit, Failure> {
    ask_for(common, call, writer, |answer| answer)
}

/// The same, of answers of which a part is wanted.
fn ask_for(
    common: &Common,
    call: Call,
    writer: &mut Writer<'_>,
    part: impl Fn(Answer) -> Answer,
) -> Result<Exit, Failure> {
    let mut client = Client::connect(&common.socket())?;
    if !common.watch {
        return writer.answer(&part(client.call(call)?));
    }
    let clear =
        std::io::stdout().is_terminal() && matches!(writer.format, Format::Table | Format::Wide);
    let mut standing = Exit::Ok;
    let mut first = true;
    for answer in client.watch(call)? {
        let answer = part(answer?);
        match (clear, first, writer.format) {
            (true, ..) => writer.out.write_all(b"\x1b[H\x1b[2J")?,
            (false, false, Format::Yaml) => writer.out.write_all(b"---\n")?,
            (false, false, Format::Table | Format::Wide) => writer.out.write_all(b"\n")?,
            _ => {}
        }
        first = false;
        standing = match writer.format {
            // One line per change, so that a script can read line by line.
            Format::Json => {
                writeln!(writer.out, "{}", bare(&answer)?)?;
                writer.out.flush()?;
                self::standing(&answer)
            }
            _ => writer.answer(&answer)?,
        };
    }
    match standing {
        Exit::Ok => Err(gone()),
        standing => Ok(standing),
    }
}

/// Asks for a change; it is made once, whatever is watched.
///
/// # Errors
///
/// [`Failure`].
pub fn change(common: &Common, call: Call, writer: &mut Writer<'_>) -> Result<Exit, Failure> {
    if common.watch {
        return Err(Failure::new(Exit::Usage, "a change is made once; leave -w out"));
    }
    ask(common, call, writer)
}

/// `thalweg events`.
///
/// # Errors
///
/// [`Failure`].
pub fn events(
    common: &Common,
    events: &args::Events,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let severity = Some(match events.severity {
        args::Severity::Debug => EventSeverity::Debug,
        args::Severity::Info => EventSeverity::Info,
        args::Severity::Warning => EventSeverity::Warning,
        args::Severity::Error => EventSeverity::Error,
    });
    let call = Call::Events(EventQuery { since: events.since, severity });
    let mut client = Client::connect(&common.socket())?;
    if !(events.follow || common.watch) {
        return match client.call(call)? {
            Answer::Events(page) => writer.events(&page).map(|()| Exit::Ok),
            _ => Err(ClientError::Unreadable("it answers something else".into()).into()),
        };
    }
    for answer in client.watch(call)? {
        if let Answer::Events(page) = answer? {
            writer.events(&page)?;
        }
    }
    Err(gone())
}

/// `thalweg flows`.
///
/// # Errors
///
/// [`Failure`].
pub fn flows(
    common: &Common,
    flows: &args::Flows,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let (from, service, state) = (flows.from.clone(), flows.service.clone(), flows.state.clone());
    if !flows.follow {
        let limit = flows.limit.unwrap_or(FLOWS);
        return ask(common, Call::Flows(FlowQuery { from, service, state, limit }), writer);
    }
    let every = flows.interval.unwrap_or(1).saturating_mul(1_000);
    let call = Call::FollowFlows(FlowFollow { from, service, state, every });
    for answer in Client::connect(&common.socket())?.watch(call)? {
        if let Answer::FlowChanges(page) = answer? {
            writer.flow_changes(&page)?;
        }
    }
    Err(gone())
}

/// `thalweg drops`.
///
/// # Errors
///
/// [`Failure`].
pub fn drops(
    common: &Common,
    drops: &args::Drops,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let follow = drops.follow || common.watch;
    let query = DropQuery {
        from: drops.from.clone(),
        to: drops.to.clone(),
        reason: drops.reason.clone(),
        link: drops.link.clone(),
        after: None,
        limit: drops.limit.unwrap_or(if follow { 0 } else { DROPS }),
    };
    let mut client = Client::connect(&common.socket())?;
    if !follow {
        return match client.call(Call::DropEvents(query))? {
            Answer::DropEvents(page) => writer.drops(&page, drops.verbose).map(|()| Exit::Ok),
            _ => Err(ClientError::Unreadable("it answers something else".into()).into()),
        };
    }
    let mut known = None;
    for answer in client.watch(Call::DropEvents(query))? {
        if let Answer::DropEvents(page) = answer? {
            writer.dropped(&page, known.as_ref().unwrap_or(&page.counts), drops.verbose)?;
            known = Some(page.counts);
        }
    }
    Err(gone())
}

/// The agent ended while it was followed.
pub fn gone() -> Failure {
    Failure::new(Exit::NoAgent, "the agent stopped; start it again with `thalweg run -f DIR`")
}

/// `thalweg get`.
///
/// # Errors
///
/// [`Failure`].
pub fn get(common: &Common, get: &Get, writer: &mut Writer<'_>) -> Result<Exit, Failure> {
    let only = |used: bool, option: &str, kind: &str| match used {
        true => Err(Failure::new(
            Exit::Usage,
            format!("{option} goes with `thalweg get {kind}` alone; leave it out"),
        )),
        false => Ok(()),
    };
    if get.kind != Kind::Routes {
        only(get.destination.is_some(), "a destination", "routes")?;
        only(get.vrf.is_some(), "--vrf", "routes")?;
        let limited = matches!(get.kind, Kind::Flows | Kind::Nat);
        only(get.limit.is_some() && !limited, "--limit", "routes|flows|nat")?;
    }
    if get.kind != Kind::Flows {
        only(get.from.is_some() && get.kind != Kind::Nat, "--from", "flows|nat")?;
        let served = matches!(get.kind, Kind::Services | Kind::Backends);
        only(get.service.is_some() && !served, "--service", "services|backends|flows")?;
        only(get.state.is_some(), "--state", "flows")?;
    }
    only(get.file.is_some() && get.kind != Kind::Policies, "--file", "policies")?;
    if get.kind != Kind::Drops {
        only(get.all, "--all", "drops")?;
    }
    if let (Some(service), Kind::Services | Kind::Backends) = (&get.service, get.kind) {
        return of_service(common, get.kind, service, writer);
    }
    let call = match get.kind {
        Kind::Links => Call::Links,
        Kind::Routes => return routes(common, get, writer),
        Kind::Labels => Call::Labels,
        Kind::Nexthops => Call::NextHops,
        Kind::Groups => Call::Groups,
        Kind::Neighbors => Call::Neighbors,
        Kind::Vrfs => Call::Vrfs,
        Kind::Sessions => Call::Sessions,
        Kind::Services => Call::Services,
        Kind::Backends => Call::Backends,
        Kind::Flows => Call::Flows(FlowQuery {
            from: get.from.clone(),
            service: get.service.clone(),
            state: get.state.clone(),
            limit: get.limit.unwrap_or(FLOWS),
        }),
        Kind::Nat => Call::Nat(FlowQuery {
            from: get.from.clone(),
            limit: get.limit.unwrap_or(FLOWS),
            ..FlowQuery::default()
        }),
        Kind::Policies => return crate::policy::list(common, get.file.as_deref(), writer),
        Kind::Drops => Call::Drops { all: get.all },
        Kind::Tables => Call::Tables,
        Kind::Host => Call::Host,
    };
    ask(common, call, writer)
}

/// Frontends or backends of one service: a cluster has tens of thousands of others.
fn of_service(
    common: &Common,
    kind: Kind,
    service: &str,
    writer: &mut Writer<'_>,
) -> Result<Exit, Failure> {
    let call = Call::Describe { kind: "service".into(), name: service.into() };
    ask_for(common, call, writer, |answer| match answer {
        Answer::Describe(view) if kind == Kind::Services => Answer::Services(view.frontends),
        Answer::Describe(view) => Answer::Backends(view.backends),
        other => other,
    })
}

/// Routes come page by page: a million of them never stand in memory at once.
fn routes(common: &Common, get: &Get, writer: &mut Writer<'_>) -> Result<Exit, Failure> {
    let (vrf, destination) = (get.vrf.clone(), get.destination.clone());
    let limit = get.limit.unwrap_or(u32::MAX);
    let query = RouteQuery { vrf, destination, after: None, limit: limit.clamp(1, PAGE) };
    if common.watch {
        return ask(common, Call::Routes(query), writer);
    }
    let mut client = Client::connect(&common.socket())?;
    let mut list = List { writer, count: 0 };
    let mut after = None;
    let mut left = limit;
    loop {
        let query = RouteQuery { after, limit: left.min(PAGE), ..query.clone() };
        if left == 0 {
            break;
        }
        let Answer::Routes(mut page) = client.call(Call::Routes(query))? else {
            let what = "it answers something else".into();
            return Err(ClientError::Unreadable(what).into());
        };
        page.routes.truncate(left as usize);
        left -= page.routes.len() as u32;
        list.page(&page)?;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    list.end()?;
    if list.count == 0 && get.destination.is_some() {
        return Ok(Exit::NotAsWished);
    }
    Ok(Exit::Ok)
}

/// A list that is written piece by piece.
struct List<'a, 'b> {
    writer: &'a mut Writer<'b>,
    count: usize,
}

impl List<'_, '_> {
    fn page(&mut self, page: &RoutePage) -> Result<(), Failure> {
        let first = self.count == 0;
        self.count += page.routes.len();
        if page.routes.is_empty() {
            return Ok(());
        }
        let style = self.writer.style();
        let out = &mut self.writer.out;
        match self.writer.format {
            Format::Table | Format::Wide => {
                let text = show::routes(&page.routes, &style).render(first, &style.paint);
                out.write_all(text.as_bytes())?;
            }
            Format::Yaml => {
                let value = serde_json::to_value(&page.routes).map_err(std::io::Error::from)?;
                out.write_all(yaml(&value).as_bytes())?;
            }
            Format::Json => {
                for (at, route) in page.routes.iter().enumerate() {
                    out.write_all(if first && at == 0 { b"[\n  " } else { b",\n  " })?;
                    serde_json::to_writer(&mut *out, route).map_err(std::io::Error::from)?;
                }
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let out = &mut self.writer.out;
        match (self.writer.format, self.count) {
            (Format::Table | Format::Wide, 0) => out.write_all(b"no routes\n")?,
            (Format::Yaml | Format::Json, 0) => out.write_all(b"[]\n")?,
            (Format::Json, _) => out.write_all(b"\n]\n")?,
            _ => {}
        }
        out.flush()?;
        Ok(())
    }
}
