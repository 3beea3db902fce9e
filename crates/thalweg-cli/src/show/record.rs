//! Changes, generations and events as text for people.

use crate::output::Paint;
use crate::show::{Style, problems};
use crate::table::{Table, visible};
use std::fmt::Write;
use thalweg_api::view::{
    ApplyView, AuditView, ChangeView, DiffView, DifferenceView, EventPage, EventSeverity,
    GenerationView, ObjectView, PendingView, TallyView,
};

/// Differences of one table that are shown without `-o wide`.
const MOST: usize = 20;
/// Objects of one generation that are named in a list.
const NAMES: usize = 3;

/// What somebody else had changed.
pub fn audit(view: &AuditView, style: &Style) -> String {
    let paint = &style.paint;
    let mut out = String::new();
    for finding in &view.findings {
        let word = match finding.mended {
            true => paint.green("mended"),
            false => paint.red("not mended"),
        };
        let _ = writeln!(out, "{word}: {}", visible(&finding.what));
    }
    let hooks = if view.hooks == 1 { "hook" } else { "hooks" };
    let (mega, milli) = (view.octets as f64 / 1e6, view.micros as f64 / 1e3);
    let all = format!("{mega:.1} MB of tables, {} {hooks} and the pins, {milli:.0} ms", view.hooks);
    let _ = match view.findings.is_empty() {
        true => writeln!(out, "{}: {all}", paint.green("as the agent left it")),
        false => writeln!(out, "looked at {all}"),
    };
    if view.findings.iter().any(|finding| !finding.mended) {
        let _ = writeln!(out, "`thalweg events` says why; the next audit tries again");
    }
    out
}

/// What would change.
pub fn diff(view: &DiffView, style: &Style) -> String {
    let paint = &style.paint;
    let mut out = String::new();
    if view.is_none() && view.problems.is_empty() {
        out.push_str("no differences\n");
    }
    section(&mut out, paint, "Objects", view.objects.iter().map(|o| object(o, paint)));
    let tables = view.tables.iter().map(|delta| {
        let counts =
            [(delta.added, "added"), (delta.changed, "changed"), (delta.removed, "removed")];
        let words = counts.iter().filter(|(count, _)| *count > 0);
        let words: Vec<_> = words.map(|(count, word)| format!("{count} {word}")).collect();
        format!("{}: {}", delta.table, words.join(", "))
    });
    section(&mut out, paint, "Tables", tables);
    let most = if style.wide { usize::MAX } else { MOST };
    let mut lines = Vec::new();
    for table in view.changes.chunk_by(|a, b| a.table == b.table) {
        lines.extend(table.iter().take(most).map(|change| difference(change, paint)));
        if table.len() > most {
            let more = table.len() - most;
            lines.push(format!("… and {more} more {} (-o wide shows all)", table[0].table));
        }
    }
    section(&mut out, paint, "Entries", lines.into_iter());
    out.push_str(&problems(&view.problems, paint));
    out
}

fn section(out: &mut String, paint: &Paint, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        let _ = writeln!(out, "{}", paint.bold(title));
    }
    for line in lines {
        let _ = writeln!(out, "  {line}");
    }
}

fn object(view: &ObjectView, paint: &Paint) -> String {
    let name = visible(&view.object);
    match view.change.as_str() {
        "added" => paint.green(&format!("+ {name}")),
        "removed" => paint.red(&format!("- {name}")),
        _ => paint.yellow(&format!("~ {name}")),
    }
}

fn difference(change: &DifferenceView, paint: &Paint) -> String {
    let what = visible(&change.what);
    let with = |words: &str| match words.is_empty() {
        true => what.clone(),
        false => format!("{what}: {}", visible(words)),
    };
    match (&change.before, &change.after) {
        (None, after) => paint.green(&format!("+ {}", with(after.as_deref().unwrap_or("")))),
        (Some(before), None) => paint.red(&format!("- {}", with(before))),
        (Some(before), Some(after)) => {
            paint.yellow(&format!("~ {what}: {} -> {}", visible(before), visible(after)))
        }
    }
}

/// What came of `apply`, `confirm` or `rollback`.
pub fn apply(view: &ApplyView, style: &Style) -> String {
    let paint = &style.paint;
    let mut out = String::new();
    if !view.accepted {
        let _ = writeln!(
            out,
            "{}: nothing changed, generation {} stays in force",
            paint.red("refused"),
            view.generation
        );
        out.push_str(&problems(&view.problems, paint));
        return out;
    }
    match &view.change {
        Some(change) => {
            let generation = paint.bold(&format!("generation {}", change.generation));
            let _ = writeln!(out, "{generation} in force: {}", tallies(&change.change));
            let objects = change.change.objects.iter().map(|view| object(view, paint));
            let more = change.change.more;
            let more = (more > 0).then(|| format!("… and {more} more"));
            for line in objects.chain(more) {
                let _ = writeln!(out, "  {line}");
            }
        }
        None => {
            let _ = writeln!(out, "generation {} stays in force", view.generation);
        }
    }
    if let Some(pending) = &view.pending {
        let _ = writeln!(out, "{}", paint.yellow(&self::pending(pending)));
    }
    out.push_str(&problems(&view.problems, paint));
    out
}

/// A configuration on trial.
pub fn pending(view: &PendingView) -> String {
    let PendingView { generation, back_to, until, seconds, user } = view;
    let user = visible(user);
    format!(
        "generation {generation} of {user} until {until} ({seconds} s): `thalweg confirm` keeps \
         it, else generation {back_to} comes back"
    )
}

/// Generations.
pub fn history(views: &[GenerationView], style: &Style) -> Table {
    let mut table = style.table(
        &[">GENERATION", "IN FORCE FROM", "SOURCE", "BY", "CHANGES", "OBJECTS", "MESSAGE"],
        &["KEPT", ">STEPS", "CONFIGURATION"],
    );
    for view in views {
        let number = match view.first == view.generation {
            true => view.generation.to_string(),
            false => format!("{}-{}", view.first, view.generation),
        };
        let source = match (view.back_to, view.pending) {
            (Some(back), false) => format!("{} to {back}", view.source),
            (Some(back), true) => format!("{} to {back}, on trial", view.source),
            (None, true) => format!("{}, on trial", view.source),
            (None, false) => view.source.clone(),
        };
        let narrow = vec![
            number,
            view.at.clone(),
            source,
            view.user.clone().unwrap_or_default(),
            tallies(&view.change),
            names(&view.change, if style.wide { usize::MAX } else { NAMES }),
            view.message.clone().unwrap_or_default(),
        ];
        let more = vec![
            if view.kept { "yes" } else { "no" }.into(),
            view.steps.to_string(),
            view.config.clone().unwrap_or_default(),
        ];
        style.row(&mut table, narrow, more);
    }
    table
}

fn names(change: &ChangeView, most: usize) -> String {
    let mark = |view: &ObjectView| match view.change.as_str() {
        "added" | "set" => "+",
        "removed" => "-",
        _ => "~",
    };
    let shown = change.objects.iter().take(most);
    let mut names: Vec<_> = shown.map(|view| format!("{}{}", mark(view), view.object)).collect();
    let more = (change.objects.len() - names.len()) as u64 + change.more;
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}

/// `routes +3 -1, groups +1`.
fn tallies(change: &ChangeView) -> String {
    let tally = |tally: &TallyView| {
        let mut words = tally.table.clone();
        if tally.set > 0 {
            let _ = write!(words, " +{}", tally.set);
        }
        if tally.removed > 0 {
            let _ = write!(words, " -{}", tally.removed);
        }
        words
    };
    change.tables.iter().map(tally).collect::<Vec<_>>().join(", ")
}

/// Events, one on a line.
pub fn events(page: &EventPage, style: &Style) -> String {
    let paint = &style.paint;
    let mut out = String::new();
    if page.lost > 0 {
        let words = format!("… {} events were not read in time", page.lost);
        let _ = writeln!(out, "{}", paint.yellow(&words));
    }
    for event in &page.events {
        let word = format!("{:<7}", event.severity.word());
        let word = match event.severity {
            EventSeverity::Error => paint.red(&word),
            EventSeverity::Warning => paint.yellow(&word),
            _ => word,
        };
        let (object, text) = (visible(&event.object), visible(&event.text));
        let _ = writeln!(out, "{} {word} {object}: {text}", event.at);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use thalweg_api::view::{DeltaView, EventView};

    fn style(wide: bool) -> Style {
        Style { wide, paint: Paint::plain() }
    }

    fn object(object: &str, change: &str) -> ObjectView {
        ObjectView { object: object.into(), change: change.into() }
    }

    fn generation() -> GenerationView {
        GenerationView {
            generation: 12,
            first: 12,
            at: "2026-11-27T16:35:12.123Z".into(),
            source: "apply".into(),
            user: Some("ann".into()),
            message: Some("new uplink".into()),
            kept: true,
            config: Some("0123abcd".into()),
            steps: 9,
            micros: 340,
            change: ChangeView {
                objects: vec![
                    object("Link/all", "changed"),
                    object("Route/a", "added"),
                    object("Route/b", "added"),
                    object("Route/c", "removed"),
                ],
                more: 2,
                tables: vec![
                    TallyView { table: "groups".into(), set: 1, removed: 0 },
                    TallyView { table: "routes".into(), set: 2, removed: 1 },
                ],
            },
            ..GenerationView::default()
        }
    }

    fn trial() -> PendingView {
        PendingView {
            generation: 12,
            back_to: 11,
            until: "2026-11-27T16:36:12.123Z".into(),
            seconds: 60,
            user: "ann".into(),
        }
    }

    #[test]
    fn differences_are_cut_unless_all_are_wanted() {
        let change = |what: &str, before: Option<&str>, after: Option<&str>| DifferenceView {
            table: "routes".into(),
            what: what.into(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        };
        let mut view = DiffView {
            objects: vec![object("Route/lan", "changed"), object("Route/new", "added")],
            tables: vec![DeltaView { table: "routes".into(), added: 22, changed: 1, removed: 1 }],
            changes: vec![
                change("route default 10.0.1.0/24", None, Some("blackhole")),
                change("route default 10.0.2.0/24", Some("dev eth0"), Some("dev eth1")),
                change("route default 10.0.3.0/24", Some("dev eth0"), None),
            ],
            problems: Vec::new(),
        };
        expect![[r#"
            Objects
              ~ Route/lan
              + Route/new
            Tables
              routes: 22 added, 1 changed, 1 removed
            Entries
              + route default 10.0.1.0/24: blackhole
              ~ route default 10.0.2.0/24: dev eth0 -> dev eth1
              - route default 10.0.3.0/24: dev eth0
        "#]]
        .assert_eq(&diff(&view, &style(false)));
        for at in 0..21 {
            let what = format!("route default 10.1.{at}.0/24");
            view.changes.push(change(&what, None, Some("blackhole")));
        }
        let group = DifferenceView {
            table: "groups".into(),
            what: "group a, b".into(),
            after: Some(String::new()),
            ..DifferenceView::default()
        };
        view.changes.push(group);
        let (short, long) = (diff(&view, &style(false)), diff(&view, &style(true)));
        assert!(short.contains("  … and 4 more routes (-o wide shows all)\n"), "{short}");
        assert!(short.ends_with("  + group a, b\n"), "{short}");
        assert!(long.contains("10.1.20.0/24") && !long.contains("more routes"), "{long}");
        assert_eq!(diff(&DiffView::default(), &style(false)), "no differences\n");
    }

    #[test]
    fn what_came_of_an_apply() {
        let mut view = ApplyView {
            accepted: true,
            generation: 12,
            change: Some(generation()),
            pending: Some(trial()),
            problems: Vec::new(),
        };
        expect![[r#"
            generation 12 in force: groups +1, routes +2 -1
              ~ Link/all
              + Route/a
              + Route/b
              - Route/c
              … and 2 more
            generation 12 of ann until 2026-11-27T16:36:12.123Z (60 s): `thalweg confirm` keeps it, else generation 11 comes back
        "#]]
        .assert_eq(&apply(&view, &style(false)));
        view.change = None;
        view.pending = None;
        assert_eq!(apply(&view, &style(false)), "generation 12 stays in force\n");
        view.accepted = false;
        let text = apply(&view, &style(false));
        assert_eq!(text, "refused: nothing changed, generation 12 stays in force\n");
    }

    #[test]
    fn histories_narrow_and_wide() {
        let churn = GenerationView {
            generation: 30,
            first: 13,
            at: "2026-11-27T16:35:20.001Z".into(),
            source: "kernel".into(),
            change: ChangeView {
                objects: vec![object("route 10.9.0.0/16", "set")],
                more: 17,
                tables: vec![TallyView { table: "routes".into(), set: 18, removed: 0 }],
            },
            ..GenerationView::default()
        };
        let back = GenerationView {
            generation: 31,
            first: 31,
            at: "2026-11-27T16:36:12.200Z".into(),
            source: "rollback".into(),
            back_to: Some(11),
            message: Some("not confirmed within 60 s".into()),
            ..GenerationView::default()
        };
        let views = [GenerationView { pending: true, ..generation() }, churn, back];
        expect![[r#"
            GENERATION  IN FORCE FROM             SOURCE           BY   CHANGES                  OBJECTS                                MESSAGE
                    12  2026-11-27T16:35:12.123Z  apply, on trial  ann  groups +1, routes +2 -1  ~Link/all, +Route/a, +Route/b, 3 more  new uplink
                 13-30  2026-11-27T16:35:20.001Z  kernel           -    routes +18               +route 10.9.0.0/16, 17 more            -
                    31  2026-11-27T16:36:12.200Z  rollback to 11   -    -                        -                                      not confirmed within 60 s
        "#]]
        .assert_eq(&history(&views, &style(false)).render(true, &Paint::plain()));
        expect![[r#"
            GENERATION  IN FORCE FROM             SOURCE           BY   CHANGES                  OBJECTS                                          MESSAGE                    KEPT  STEPS  CONFIGURATION
                    12  2026-11-27T16:35:12.123Z  apply, on trial  ann  groups +1, routes +2 -1  ~Link/all, +Route/a, +Route/b, -Route/c, 2 more  new uplink                 yes       9  0123abcd
                 13-30  2026-11-27T16:35:20.001Z  kernel           -    routes +18               +route 10.9.0.0/16, 17 more                      -                          no        0  -
                    31  2026-11-27T16:36:12.200Z  rollback to 11   -    -                        -                                                not confirmed within 60 s  no        0  -
        "#]]
        .assert_eq(&history(&views, &style(true)).render(true, &Paint::plain()));
    }

    #[test]
    fn events_stand_on_a_line_each_and_gaps_are_told() {
        let event = |severity, object: &str, text: &str| EventView {
            number: 7,
            at: "2026-11-27T16:35:12.123Z".into(),
            severity,
            kind: "link".into(),
            object: object.into(),
            text: text.into(),
        };
        let page = EventPage {
            lost: 12,
            events: vec![
                event(EventSeverity::Warning, "link eth0", "down"),
                event(EventSeverity::Info, "generation 12", "in force\nby apply"),
            ],
        };
        expect![[r#"
            … 12 events were not read in time
            2026-11-27T16:35:12.123Z warning link eth0: down
            2026-11-27T16:35:12.123Z info    generation 12: in force�by apply
        "#]]
        .assert_eq(&events(&page, &style(false)));
    }
}
