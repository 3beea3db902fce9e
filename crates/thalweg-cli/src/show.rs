//! Views as text for people.

pub mod cluster;
pub mod drops;
mod fpm;
pub mod log;
pub mod record;
pub mod session;

pub use record::diff;

use crate::output::Paint;
use crate::table::{Table, visible};
use std::fmt::Write;
use thalweg_api::model::{Problem, Severity};
use thalweg_api::policy::PoliciesView;
use thalweg_api::view::{
    DescribeView, DropView, ExplainView, FlowRowsView, GroupView, LabelView, LinkView,
    NeighborView, NextHopView, Phase, RouteView, SocketsView, StatusView, TableView, VrfView,
};

/// How to show.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// More columns.
    pub wide: bool,
    /// Colors.
    pub paint: Paint,
}

impl Style {
    fn table(&self, narrow: &[&'static str], more: &[&'static str]) -> Table {
        let more = if self.wide { more } else { &[] };
        Table::new(&[narrow, more].concat())
    }

    fn row(&self, table: &mut Table, mut narrow: Vec<String>, more: Vec<String>) {
        if self.wide {
            narrow.extend(more);
        }
        table.row(narrow);
    }
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.into()
}

fn maybe(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn labels(labels: &[u32]) -> String {
    labels.iter().map(u32::to_string).collect::<Vec<_>>().join("/")
}

/// Octets in words: `1.5 MiB`.
pub fn octets(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

/// Seconds in words: `2 h 3 min`.
fn seconds(count: u64) -> String {
    let (days, hours) = (count / 86_400, count / 3_600 % 24);
    let (minutes, seconds) = (count / 60 % 60, count % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Microseconds in words: `1.3 ms`.
fn micros(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} µs"),
        1_000..1_000_000 => format!("{:.1} ms", count as f64 / 1e3),
        _ => format!("{:.2} s", count as f64 / 1e6),
    }
}

/// Problems, each with its place and the way out.
pub fn problems(problems: &[Problem], paint: &Paint) -> String {
    let mut out = String::new();
    for problem in problems {
        let word = match problem.severity {
            Severity::Error => paint.red("error"),
            Severity::Warning => paint.yellow("warning"),
        };
        let object = problem.object.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
        let field = problem.field.as_ref().map(|field| format!(" ({field})")).unwrap_or_default();
        let _ = writeln!(out, "{word}: {}{}", visible(&object), visible(&problem.what));
        let place = problem.origin.to_string();
        if !place.is_empty() {
            let _ = writeln!(out, "  --> {}{}", visible(&place), visible(&field));
        }
        let _ = writeln!(out, "   = help: {}", visible(&problem.remedy));
    }
    out
}

/// How the agent is doing.
pub fn status(view: &StatusView, style: &Style) -> String {
    let paint = &style.paint;
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "{}{}", paint.bold(&format!("{name:<11}")), text);
    };
    let up = seconds(view.uptime);
    let (instance, pid, version) = (&view.instance, view.pid, &view.version);
    line("instance", format!("{instance} (pid {pid}, up {up}, version {version})"));
    let phase = view.phase.describe();
    let state = match (view.phase, view.is_well()) {
        (Phase::InForce, true) => paint.green(phase),
        (Phase::InForce, false) => paint.yellow(phase),
        _ => paint.red(phase),
    };
    let plan = view.plan.as_ref().filter(|_| view.phase == Phase::InForce).map(|plan| {
        let (changes, took) = (plan.changes, micros(plan.micros));
        format!(", generation {} (last plan: {changes} changes in {took})", view.generation)
    });
    line("state", format!("{state}{}", plan.unwrap_or_default()));
    line("config", config(view, paint));
    if let Some(pending) = &view.pending {
        line("on trial", paint.yellow(&record::pending(pending)));
    }
    line("host", host(view, paint));
    line("plane", view.plane.clone());
    let counts = &view.counts;
    line("links", format!("{} routed of {}", counts.routed_links, counts.links));
    for hook in &view.hooks {
        let mode = if hook.attached { hook.hook.clone() } else { paint.red("not attached") };
        line("", format!("{}: {mode}", hook.link));
        for clause in hook.reason.split("; ") {
            line("", format!("  {}", visible(clause)));
        }
    }
    let vrfs = if counts.vrfs == 1 { "1 VRF".into() } else { format!("{} VRFs", counts.vrfs) };
    let (v4, v6) = (counts.ipv4_routes, counts.ipv6_routes);
    line("prefixes", format!("{v4} IPv4, {v6} IPv6 in {vrfs}; {} labels", counts.labels));
    line("next hops", format!("{} in {} groups", counts.nexthops, counts.groups));
    let suite = view.fpm.as_ref().map(fpm::lines).unwrap_or_default();
    for (position, text) in suite.into_iter().enumerate() {
        line(if position == 0 { "fpm" } else { "" }, text);
    }
    if let Some(sockets) = &view.sockets {
        line("sockets", socket_line(sockets, paint));
    }
    if let Some(sessions) = &view.sessions {
        line("sessions", session::line(sessions, paint));
    }
    if let Some(table) = &view.fullest {
        line("tables", fullest(table, paint));
    }
    if let Some(rows) = &view.flows {
        line("flows", flow_rows(rows, paint));
    }
    if let Some(address) = &view.metrics {
        line("metrics", format!("http://{address}/metrics"));
    }
    let count = view.config.problems.len() + view.problems.len();
    line("problems", if count == 0 { "none".into() } else { count.to_string() });
    out.push_str(&problems(&view.config.problems, paint));
    out.push_str(&problems(&view.problems, paint));
    out
}

/// How processes connect to services.
fn socket_line(view: &SocketsView, paint: &Paint) -> String {
    if !view.served {
        return paint.yellow("not served");
    }
    let whose = match view.scope.as_str() {
        "All" => "processes of this host and of workloads",
        _ => "processes of this host",
    };
    match &view.cgroup {
        Some(cgroup) => format!("{whose} reach services, by the cgroup {}", visible(cgroup)),
        None => format!("{whose} reach services"),
    }
}

/// How the kernel is followed.
fn host(view: &StatusView, paint: &Paint) -> String {
    let again = match view.overruns {
        0 => String::new(),
        1 => "; read again once, for it had more events than could be read".into(),
        many => format!("; read again {many} times, for it had more events than could be read"),
    };
    match view.phase {
        Phase::InForce => format!("followed{again}"),
        Phase::AwaitsHost => paint.red("being read"),
        _ => "not read yet".into(),
    }
}

/// How full the table of flows is.
fn flow_rows(rows: &FlowRowsView, paint: &Paint) -> String {
    let percent = rows.percent();
    let share = format!("{percent:.1}%");
    let share = if percent >= 80.0 { paint.yellow(&share) } else { share };
    format!("{share} of {} rows in use", rows.rows)
}

/// How full the fullest table is.
fn fullest(table: &TableView, paint: &Paint) -> String {
    let percent = f64::from(table.used) * 100.0 / f64::from(table.capacity.max(1));
    let share = format!("{percent:.1}%");
    let share = match percent {
        90.0.. => paint.red(&share),
        75.0.. => paint.yellow(&share),
        _ => share,
    };
    format!("fullest is {} with {share} of {}", table.name, table.capacity)
}

fn config(view: &StatusView, paint: &Paint) -> String {
    let config = &view.config;
    let state = match (config.in_force, config.last_good) {
        (true, _) => "in force".into(),
        (false, true) => paint.red("has errors; the last good one is in force"),
        (false, false) if config.problems.is_empty() => "not in force yet".into(),
        (false, false) => paint.red("has errors; nothing is in force"),
    };
    format!("{}: {state}", visible(&config.path))
}

/// Links.
pub fn links(views: &[LinkView], style: &Style) -> Table {
    let mut table = style.table(
        &["NAME", ">INDEX", "UP", "ROUTED", "VRF", ">MTU", "HOOK", "WHY"],
        &["MAC", "ADDRESSES", "FLAGS", "OBJECT", "HOOK WHY"],
    );
    for view in views {
        let hook = view.hook.as_ref();
        let narrow = vec![
            view.name.clone(),
            view.index.to_string(),
            match view.held {
                Some(left) => format!("held down, {left} s left"),
                None => yes(view.up),
            },
            yes(view.routed),
            view.vrf.clone(),
            view.mtu.to_string(),
            maybe(hook.map(|hook| &hook.hook)),
            view.reason.clone(),
        ];
        let more = vec![
            view.mac.clone(),
            view.addresses.join(","),
            view.flags.join(","),
            maybe(view.object.as_ref().map(|object| format!("Link/{object}"))),
            maybe(hook.map(|hook| &hook.reason)),
        ];
        style.row(&mut table, narrow, more);
    }
    table
}

/// Routes.
pub fn routes(views: &[RouteView], style: &Style) -> Table {
    let mut table = style
        .table(&["VRF", "PREFIX", "ACTION", "SOURCE", ">METRIC", "STATE"], &[">GROUP", "ORIGIN"]);
    for view in views {
        let narrow = vec![
            view.vrf.clone(),
            view.prefix.clone(),
            view.action.clone(),
            view.source.clone(),
            view.metric.to_string(),
            view.state.clone(),
        ];
        let more = vec![maybe(view.group), maybe(view.origin.as_ref())];
        style.row(&mut table, narrow, more);
    }
    table
}

/// Label bindings.
pub fn label_bindings(views: &[LabelView], style: &Style) -> Table {
    let mut table = style.table(&[">LABEL", "OBJECT", "ACTION", "IN FORCE"], &[">GROUP", "ORIGIN"]);
    for view in views {
        let narrow = vec![
            view.label.to_string(),
            view.object.clone(),
            view.action.clone(),
            yes(view.in_force),
        ];
        style.row(&mut table, narrow, vec![maybe(view.group), view.origin.to_string()]);
    }
    table
}

/// Next hops.
pub fn nexthops(views: &[NextHopView], style: &Style) -> Table {
    let mut table = style.table(
        &[">ID", "KIND", "ACTION", "MAC", ">MTU"],
        &["LINK", "GATEWAY", "LABELS", ">BACKUP", ">HELD BY"],
    );
    for view in views {
        let narrow = vec![
            view.id.to_string(),
            view.kind.clone(),
            view.action.clone(),
            maybe(view.mac.as_ref()),
            maybe(Some(view.mtu).filter(|mtu| *mtu > 0)),
        ];
        let more = vec![
            maybe(view.link.as_ref()),
            maybe(view.gateway),
            labels(&view.labels),
            maybe(view.backup),
            view.holders.to_string(),
        ];
        style.row(&mut table, narrow, more);
    }
    table
}

/// Next hop groups.
pub fn groups(views: &[GroupView], style: &Style) -> Table {
    let mut table = style.table(&[">ID", ">USED BY", ">BUCKETS", "NEXT HOPS"], &[]);
    for view in views {
        let member = |member: &thalweg_api::view::MemberView| match view.members.len() {
            1 => member.action.clone(),
            _ => format!("{} ({}/{})", member.action, member.buckets, view.buckets),
        };
        table.row(vec![
            view.id.to_string(),
            view.uses.to_string(),
            view.buckets.to_string(),
            view.members.iter().map(member).collect::<Vec<_>>().join(", "),
        ]);
    }
    table
}

/// Neighbors.
pub fn neighbors(views: &[NeighborView], style: &Style) -> Table {
    let mut table = style.table(&["LINK", "ADDRESS", "MAC", "STATE", "USED"], &["HOST ROUTE"]);
    for view in views {
        let narrow = vec![
            view.link.clone(),
            view.address.to_string(),
            maybe(view.mac.as_ref()),
            view.state.clone(),
            yes(view.used),
        ];
        style.row(&mut table, narrow, vec![yes(view.host_route)]);
    }
    table
}

/// Routing instances.
pub fn vrfs(views: &[VrfView], style: &Style) -> Table {
    let mut table = style.table(&["NAME", ">ID", ">TABLE", ">IPV4", ">IPV6", "LINKS"], &[]);
    for view in views {
        table.row(vec![
            view.name.clone(),
            view.id.to_string(),
            maybe(view.table),
            view.ipv4.to_string(),
            view.ipv6.to_string(),
            view.links.join(","),
        ]);
    }
    table
}

/// Counters.
pub fn drops(views: &[DropView], style: &Style) -> Table {
    let mut table = style.table(&["VERDICT", "REASON", ">PACKETS", ">OCTETS", "MEANING"], &[]);
    for view in views {
        table.row(vec![
            view.verdict.clone(),
            view.reason.clone(),
            view.packets.to_string(),
            view.bytes.to_string(),
            view.description.clone(),
        ]);
    }
    table
}

/// Tables.
pub fn tables(views: &[TableView], style: &Style) -> Table {
    let mut table = style.table(&["NAME", ">USED", ">CAPACITY", ">FULL", ">MEMORY"], &[]);
    for view in views {
        let percent = f64::from(view.used) * 100.0 / f64::from(view.capacity.max(1));
        table.row(vec![
            view.name.clone(),
            view.used.to_string(),
            view.capacity.to_string(),
            format!("{percent:.1}%"),
            octets(view.bytes),
        ]);
    }
    table
}

/// What policies decided.
pub fn policies(view: &PoliciesView, style: &Style) -> Table {
    let mut table = style.table(&["KIND", "POLICY", "DIRECTION", ">RULE", ">HITS"], &[]);
    for one in &view.hits {
        let rule = if one.rule == 0 { "end".into() } else { one.rule.to_string() };
        let (kind, policy) = (one.kind.clone(), visible(&one.policy));
        table.row(vec![kind, policy, one.direction.clone(), rule, one.hits.to_string()]);
    }
    table
}

/// Everything about one object.
pub fn describe(view: &DescribeView, style: &Style) -> String {
    let paint = &style.paint;
    let mut out = paint.bold(&format!("{} {}", view.kind, visible(&view.name)));
    out.push('\n');
    let width = view.fields.iter().map(|field| field.0.chars().count()).max().unwrap_or(0);
    for (name, value) in &view.fields {
        let gap = " ".repeat(width - name.chars().count());
        let _ = writeln!(out, "  {name}:{gap} {}", visible(value));
    }
    for section in &view.sections {
        let _ = writeln!(out, "{}", paint.bold(&section.title));
        for line in &section.lines {
            let _ = writeln!(out, "  {}", visible(line));
        }
    }
    out.push_str(&problems(&view.problems, paint));
    out
}

/// What happens to a packet.
pub fn explain(view: &ExplainView, style: &Style) -> String {
    let paint = &style.paint;
    let mut out = String::new();
    let mut line = |name: &str, text: &str| {
        let _ = writeln!(out, "{}{}", paint.bold(&format!("{name:<10}")), visible(text));
    };
    line("packet", &view.packet);
    for step in &view.steps {
        line(&step.stage, &step.text);
    }
    if let Some(result) = &view.result {
        line("result", &format!("{} > {result}", view.link.as_deref().unwrap_or("?")));
    }
    out
}

#[cfg(test)]
mod tests;
