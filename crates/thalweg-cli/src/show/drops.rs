//! Single frames that were dropped, for people.

use super::{Style, maybe};
use crate::table::visible;
use std::fmt::Write as _;
use thalweg_api::drops::{DropEnd, DropEventCounts, DropEventView, DropPage};

/// `thalweg drops`: the frames as a table, each with what to try if that is wanted.
pub fn page(page: &DropPage, style: &Style, verbose: bool) -> String {
    if page.events.is_empty() {
        return format!("no dropped packets are remembered\n{}", counted(&page.counts, style));
    }
    let mut table = style.table(
        &["TIME", "WHERE", "REASON", "FROM", "TO", "PROTOCOL", ">LENGTH"],
        &["SOURCE", "DESTINATION", "VRF", "NUMBER"],
    );
    for event in &page.events {
        let address = |end: &Option<DropEnd>| maybe(end.as_ref().map(|end| &end.address));
        let narrow = vec![
            event.at.clone(),
            place(event),
            reason(event),
            end(event.source.as_ref()),
            end(event.destination.as_ref()),
            protocol(event.protocol.as_deref(), event.icmp, event.later_fragment),
            event.octets.to_string(),
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
        out += &below(event, verbose);
    }
    out + &counted(&page.counts, style)
}

/// `thalweg drops -f`: the frames, one on a line, each with what to try if that is wanted.
pub fn lines(page: &DropPage, style: &Style, verbose: bool) -> String {
    let mut out = String::new();
    if page.missed > 0 {
        let words = format!("… {} packets were not read in time", page.missed);
        let _ = writeln!(out, "{}", style.paint.yellow(&words));
    }
    for event in &page.events {
        let line = format!(
            "{} {:<12} {:<16} {:<8} {} > {}, {} octets",
            event.at,
            place(event),
            reason(event),
            protocol(event.protocol.as_deref(), event.icmp, event.later_fragment),
            end(event.source.as_ref()),
            end(event.destination.as_ref()),
            event.octets
        );
        let _ = writeln!(out, "{}", visible(&line));
        out += &below(event, verbose);
    }
    out
}

/// What nothing was told of between two pages, in a line; nothing if that is none.
pub fn untold(before: &DropEventCounts, now: &DropEventCounts, style: &Style) -> String {
    let left_out = now.left_out.saturating_sub(before.left_out);
    let lost = now.lost.saturating_sub(before.lost);
    if left_out == 0 && lost == 0 {
        return String::new();
    }
    let words = format!("… {left_out} more were beyond the rate, and {lost} were lost");
    format!("{}\n", style.paint.yellow(&words))
}

/// What nothing was told of at all.
fn counted(counts: &DropEventCounts, style: &Style) -> String {
    if counts.left_out == 0 && counts.lost == 0 {
        return String::new();
    }
    let words = format!(
        "not told one by one: {} beyond the rate, {} lost; `thalweg get drops` counts all",
        counts.left_out, counts.lost
    );
    format!("{}\n", style.paint.yellow(&words))
}

fn place(event: &DropEventView) -> String {
    format!("{} {}", event.link, event.hook)
}

/// What stands below an event: what decided, and if that is wanted, what to try.
fn below(event: &DropEventView, verbose: bool) -> String {
    let decided = event.because.iter().map(|words| format!("  by: {}\n", visible(words)));
    decided.chain(verbose.then(|| more(event) + "\n")).collect()
}

fn reason(event: &DropEventView) -> String {
    match event.cause {
        Some(_) if event.because.is_some() => event.reason.clone(),
        Some(cause) => format!("{} {cause}", event.reason),
        None => event.reason.clone(),
    }
}

/// Whose address and port it was: the name if there is one.
pub(super) fn end(end: Option<&DropEnd>) -> String {
    let Some(end) = end else { return "-".into() };
    let port = end.port.map(|port| format!(":{port}")).unwrap_or_default();
    match &end.name {
        Some(name) => format!("{name}{port}"),
        None if end.address.contains(':') && end.port.is_some() => {
            format!("[{}]{port}", end.address)
        }
        None => format!("{}{port}", end.address),
    }
}

/// The protocol by name, with type and code of ICMP.
pub(super) fn protocol(name: Option<&str>, icmp: Option<[u8; 2]>, later_fragment: bool) -> String {
    let name = name.unwrap_or("-");
    match icmp {
        Some([kind, code]) => format!("{name} {kind}/{code}"),
        None if later_fragment => format!("{name} fragment"),
        None => name.to_owned(),
    }
}

fn more(event: &DropEventView) -> String {
    format!("  try: {}", visible(&event.more))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Paint;
    use expect_test::expect;

    fn style(wide: bool) -> Style {
        Style { wide, paint: Paint::plain() }
    }

    fn end_of(address: &str, port: Option<u16>, name: Option<&str>) -> Option<DropEnd> {
        Some(DropEnd { address: address.into(), port, name: name.map(Into::into) })
    }

    fn some() -> DropPage {
        let at = "2026-11-29T10:00:00.123Z".to_owned();
        let one = DropEventView {
            number: 7,
            at: at.clone(),
            link: "pod1".into(),
            hook: "xdp".into(),
            verdict: "drop".into(),
            reason: "blackhole".into(),
            source: end_of("10.1.0.2", Some(4000), Some("pod/shop/front")),
            destination: end_of("fd02::7", Some(53), None),
            protocol: Some("UDP".into()),
            octets: 42,
            more: "thalweg explain 'pod1 < …'".into(),
            ..DropEventView::default()
        };
        let two = DropEventView {
            number: 8,
            at,
            link: "eth0".into(),
            vrf: Some("blue".into()),
            hook: "tc".into(),
            verdict: "answer".into(),
            reason: "no-route".into(),
            cause: Some(12),
            source: end_of("10.0.0.9", None, None),
            destination: end_of("10.0.0.10", None, None),
            protocol: Some("ICMP".into()),
            icmp: Some([8, 0]),
            octets: 98,
            more: "thalweg describe reason no-route".into(),
            ..DropEventView::default()
        };
        let none = DropEventView {
            number: 9,
            at: "2026-11-29T10:00:01.000Z".into(),
            link: "et\u{1b}h".into(),
            hook: "xdp".into(),
            reason: "truncated".into(),
            octets: 15,
            more: "thalweg describe reason truncated".into(),
            ..DropEventView::default()
        };
        let counts = DropEventCounts { taken: 9, left_out: 3, lost: 1 };
        DropPage { missed: 2, counts, last: 9, events: vec![one, two, none] }
    }

    #[test]
    fn a_table_has_names_where_there_are_some() {
        let expected = expect![[r#"
            TIME                      WHERE     REASON       FROM                 TO            PROTOCOL  LENGTH
            2026-11-29T10:00:00.123Z  pod1 xdp  blackhole    pod/shop/front:4000  [fd02::7]:53  UDP           42
              try: thalweg explain 'pod1 < …'
            2026-11-29T10:00:00.123Z  eth0 tc   no-route 12  10.0.0.9             10.0.0.10     ICMP 8/0      98
              try: thalweg describe reason no-route
            2026-11-29T10:00:01.000Z  et�h xdp  truncated    -                    -             -             15
              try: thalweg describe reason truncated
            not told one by one: 3 beyond the rate, 1 lost; `thalweg get drops` counts all
        "#]];
        expected.assert_eq(&page(&some(), &style(false), true));
        assert!(page(&some(), &style(true), false).contains("blue"));
        assert_eq!(
            page(&DropPage::default(), &style(false), true),
            "no dropped packets are remembered\n"
        );
    }

    #[test]
    fn lines_say_what_was_missed() {
        let expected = expect![[r#"
            … 2 packets were not read in time
            2026-11-29T10:00:00.123Z pod1 xdp     blackhole        UDP      pod/shop/front:4000 > [fd02::7]:53, 42 octets
              try: thalweg explain 'pod1 < …'
            2026-11-29T10:00:00.123Z eth0 tc      no-route 12      ICMP 8/0 10.0.0.9 > 10.0.0.10, 98 octets
              try: thalweg describe reason no-route
            2026-11-29T10:00:01.000Z et�h xdp     truncated        -        - > -, 15 octets
              try: thalweg describe reason truncated
        "#]];
        expected.assert_eq(&lines(&some(), &style(false), true));
        let counts = some().counts;
        let before = DropEventCounts { left_out: 1, ..counts };
        assert_eq!(
            untold(&before, &counts, &style(false)),
            "… 2 more were beyond the rate, and 0 were lost\n"
        );
        assert_eq!(untold(&counts, &counts, &style(false)), "");
    }
}
