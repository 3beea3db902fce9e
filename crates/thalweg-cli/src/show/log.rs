//! Packets that rules of policies log, for people.

use super::drops::{end, protocol};
use super::{Style, maybe};
use crate::table::visible;
use std::fmt::Write as _;
use thalweg_api::drops::{DropEnd, DropEventCounts};
use thalweg_api::log::{LogPage, LogRule, LogView};

/// `thalweg policy log`: the packets as a table, below each the rules that log and what decided.
pub fn page(page: &LogPage, style: &Style) -> String {
    if page.events.is_empty() {
        let nothing = match page.last {
            0 => "no rule has logged a packet that is remembered",
            _ => "none of the packets that rules have logged is one of those",
        };
        return format!("{nothing}\n{}", counted(&page.counts, style));
    }
    let mut table = style.table(
        &["TIME", "WHERE", "FROM", "TO", "PROTOCOL", "VERDICT"],
        &["SOURCE", "DESTINATION", "VRF", "NUMBER"],
    );
    for event in &page.events {
        let address = |end: &Option<DropEnd>| maybe(end.as_ref().map(|end| &end.address));
        let narrow = vec![
            event.at.clone(),
            place(event),
            end(event.source.as_ref()),
            end(event.destination.as_ref()),
            what(event),
            event.verdict.clone(),
        ];
        let wide = vec![
            address(&event.source),
            address(&event.destination),
            maybe(event.vrf.as_ref()),
            event.number.to_string(),
        ];
        style.row(&mut table, narrow, wide);
    }
    let text = table.render(true, &style.paint);
    let mut lines = text.lines();
    let mut out: String = lines.next().into_iter().flat_map(|line| [line, "\n"]).collect();
    for (line, event) in lines.zip(&page.events) {
        let _ = writeln!(out, "{line}");
        out += &below(event);
    }
    out + &counted(&page.counts, style)
}

/// `thalweg policy log -f`: the packets, one on a line, below each what [`page`] says.
pub fn lines(page: &LogPage, style: &Style) -> String {
    let mut out = String::new();
    if page.missed > 0 {
        let words = format!("… {} packets were not read in time", page.missed);
        let _ = writeln!(out, "{}", style.paint.yellow(&words));
    }
    for event in &page.events {
        let line = format!(
            "{} {:<12} {:<8} {} > {}: {}",
            event.at,
            place(event),
            what(event),
            end(event.source.as_ref()),
            end(event.destination.as_ref()),
            event.verdict
        );
        let _ = writeln!(out, "{}", visible(&line));
        out += &below(event);
    }
    out
}

/// What nothing was told of at all.
fn counted(counts: &DropEventCounts, style: &Style) -> String {
    if counts.left_out == 0 && counts.lost == 0 {
        return String::new();
    }
    let words = format!(
        "not told one by one, dropped packets included: {} beyond the rate, {} lost; hits count all",
        counts.left_out, counts.lost
    );
    format!("{}\n", style.paint.yellow(&words))
}

fn place(event: &LogView) -> String {
    format!("{} {}", event.link, event.hook)
}

fn what(event: &LogView) -> String {
    protocol(event.protocol.as_deref(), event.icmp, event.later_fragment)
}

/// What stands below a packet: the rules that log it, and what decided.
fn below(event: &LogView) -> String {
    let gone =
        event.rules.is_empty().then(|| "  log: rules that are not known any more\n".to_owned());
    let logs =
        event.rules.iter().map(|one| format!("  log: {}\n", visible(&rule(one)))).chain(gone);
    let decided = event.because.iter().map(|words| format!("  by: {}\n", visible(words)));
    logs.chain(decided).collect()
}

/// A rule with its place.
fn rule(rule: &LogRule) -> String {
    let LogRule { kind, policy, direction, rule: number, .. } = rule;
    match (&rule.tier, &rule.origin) {
        (Some(tier), Some(origin)) => {
            format!("{direction}: tier {tier}, {kind}/{policy}, rule {number} ({origin})")
        }
        _ => format!("{direction}: {kind}/{policy}, rule {number}, which is gone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;
    use expect_test::expect;

    fn some() -> LogPage {
        let end = |address: &str, port, name: Option<&str>| {
            Some(DropEnd { address: address.into(), port, name: name.map(Into::into) })
        };
        let rule = LogRule {
            tier: Some("default".into()),
            kind: "NetworkPolicy.projectcalico.org".into(),
            policy: "shop/db".into(),
            direction: "ingress".into(),
            rule: 1,
            origin: Some("cfg/policies.yaml:8:5".into()),
        };
        let gone = LogRule { tier: None, origin: None, rule: 2, ..rule.clone() };
        let one = LogView {
            number: 7,
            at: "2026-11-30T10:00:00.123Z".into(),
            link: "pod1".into(),
            hook: "tc".into(),
            rules: vec![rule, gone],
            verdict: "allow".into(),
            because: Some("ingress: no policy decides".into()),
            source: end("10.1.0.2", Some(40_000), Some("pod/shop/front")),
            destination: end("10.1.0.3", Some(5432), Some("pod/shop/db")),
            protocol: Some("TCP".into()),
            ..LogView::default()
        };
        let two = LogView {
            number: 8,
            at: "2026-11-30T10:00:01.000Z".into(),
            link: "et\u{1b}h".into(),
            hook: "out".into(),
            verdict: "deny".into(),
            source: end("fd00::9", None, None),
            destination: end("fd00::10", None, None),
            protocol: Some("ICMPv6".into()),
            icmp: Some([128, 0]),
            ..LogView::default()
        };
        let counts = DropEventCounts { taken: 9, left_out: 3, lost: 1 };
        LogPage { missed: 2, counts, last: 8, events: vec![one, two] }
    }

    #[test]
    fn a_table_says_which_rules_log_and_what_decided() {
        let expected = expect![[r#"
            TIME                      WHERE     FROM                  TO                PROTOCOL      VERDICT
            2026-11-30T10:00:00.123Z  pod1 tc   pod/shop/front:40000  pod/shop/db:5432  TCP           allow
              log: ingress: tier default, NetworkPolicy.projectcalico.org/shop/db, rule 1 (cfg/policies.yaml:8:5)
              log: ingress: NetworkPolicy.projectcalico.org/shop/db, rule 2, which is gone
              by: ingress: no policy decides
            2026-11-30T10:00:01.000Z  et�h out  fd00::9               fd00::10          ICMPv6 128/0  deny
              log: rules that are not known any more
            not told one by one, dropped packets included: 3 beyond the rate, 1 lost; hits count all
        "#]];
        let style = Style { wide: false, paint: Paint::plain() };
        expected.assert_eq(&page(&some(), &style));
        assert_eq!(
            page(&LogPage::default(), &style),
            "no rule has logged a packet that is remembered\n"
        );
        let others = LogPage { last: 8, ..LogPage::default() };
        let said = "none of the packets that rules have logged is one of those\n";
        assert_eq!(page(&others, &style), said);
    }

    #[test]
    fn lines_say_what_was_missed() {
        let expected = expect![[r#"
            … 2 packets were not read in time
            2026-11-30T10:00:00.123Z pod1 tc      TCP      pod/shop/front:40000 > pod/shop/db:5432: allow
              log: ingress: tier default, NetworkPolicy.projectcalico.org/shop/db, rule 1 (cfg/policies.yaml:8:5)
              log: ingress: NetworkPolicy.projectcalico.org/shop/db, rule 2, which is gone
              by: ingress: no policy decides
            2026-11-30T10:00:01.000Z et�h out     ICMPv6 128/0 fd00::9 > fd00::10: deny
              log: rules that are not known any more
        "#]];
        expected.assert_eq(&lines(&some(), &Style { wide: false, paint: Paint::plain() }));
    }
}
