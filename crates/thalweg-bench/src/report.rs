//! What was measured: `target/bench/report.json`, the table in `docs/performance.md`, the terminal.

use crate::{Measured, samples};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const BEGIN: &str = "<!-- make bench writes from here -->";
const END: &str = "<!-- to here -->";
/// What stands before the name of a machine, above its rows.
const MEASURED: &str = "Measured on: ";
const HEADER: &str =
    "| row | Thalweg | peer | times better | target |\n| --- | ---: | ---: | ---: | --- |\n";

/// One measurement.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// Path-like name: `make bench ONLY=NAME` repeats it.
    pub name: String,
    /// What was measured; none when it could not be.
    pub value: Option<f64>,
    /// Unit of `value` and `peer_value`.
    pub unit: String,
    /// What it is compared with.
    pub peer: String,
    /// The same for the peer; none where there is no peer.
    pub peer_value: Option<f64>,
    /// How many times better than the peer: above 1 is ahead.
    pub ratio: Option<f64>,
    /// The command that repeats the row, or why it was skipped.
    pub how: String,
}

impl Row {
    /// A cost: less is better.
    pub fn cost(name: &str, value: f64, unit: &str, peer: &str, peer_value: f64) -> Self {
        Self::new(name, value, unit, peer, peer_value, peer_value / value)
    }

    /// A rate: more is better.
    pub fn rate(name: &str, value: f64, unit: &str, peer: &str, peer_value: f64) -> Self {
        Self::new(name, value, unit, peer, peer_value, value / peer_value)
    }

    fn new(name: &str, value: f64, unit: &str, peer: &str, peer_value: f64, ratio: f64) -> Self {
        // Octets are counted, everything else is measured.
        let short = |value| if unit == "bytes" { Some(value) } else { rounded(value) };
        Self {
            name: name.to_owned(),
            value: short(value),
            unit: unit.to_owned(),
            peer: peer.to_owned(),
            peer_value: short(peer_value),
            ratio: rounded(ratio),
            how: format!("make bench ONLY={name}"),
        }
    }

    /// What could not be measured.
    pub fn skipped(name: &str, why: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: None,
            unit: String::new(),
            peer: String::new(),
            peer_value: None,
            ratio: None,
            how: format!("skipped: {why}"),
        }
    }

    /// What was to be reached, and whether it was.
    fn target(&self) -> Option<(String, bool)> {
        let (value, ratio) = (self.value?, self.ratio.unwrap_or(0.0));
        let times = |least: f64| (format!("≥ {least}×"), ratio >= least);
        let most = |most: f64| (format!("≤ {most} {}", self.unit), value <= most);
        Some(match self.name.as_str() {
            "lpm4/1m/addresses/vs-lpm-trie" => times(30.0),
            "lpm4/1m/prefixes/vs-lpm-trie" => times(20.0),
            "lpm4/1m/addresses/vs-lpm-trie/dependent"
            | "lpm4/1m/prefixes/vs-lpm-trie/dependent" => times(10.0),
            "forward/ipv4-1m" => most(60.0),
            "forward/ipv6-250k" => most(90.0),
            "forward/mpls-swap" => most(40.0),
            "veth/ipv4-1m" | "veth/ipv6-250k" => times(2.0),
            "load/ipv4-1m" | "load/ipv6-250k" | "update/one-route" => {
                (format!("≤ 1 {}", if self.unit == "s" { "s" } else { "ms" }), value <= 1.0)
            }
            "load/50k-services/start" | "load/50k-services/files" => most(5.0),
            "update/one-service-50k/p99" => most(10.0),
            "flow-create/known-at-10x" => (format!("100 {}", self.unit), value >= 100.0),
            "policy/new-flow/growth" => most(105.0),
            "load/100k-rules" => most(2.0),
            "update/one-label" | "update/one-rule" => most(50.0),
            name if name.starts_with("policy/") && name.contains("/vs-") => {
                ("> 1×".to_owned(), ratio > 1.0)
            }
            "stream/pod-pod/vs-veth" | "stream/vip/vs-veth" => times(0.95),
            _ => return None,
        })
    }
}

/// Four significant digits: more would be noise.
fn rounded(value: f64) -> Option<f64> {
    if !value.is_finite() {
        return None;
    }
    let digits = 3 - value.abs().max(1e-9).log10().floor() as i32;
    let scale = 10f64.powi(digits);
    Some((value * scale).round() / scale)
}

/// A number for people.
fn number(value: Option<f64>) -> String {
    match value {
        None => "—".to_owned(),
        Some(value) if value.abs() >= 100.0 => grouped(value.round() as i64),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 0.1 => format!("{value:.2}"),
        Some(value) => format!("{value:.4}"),
    }
}

/// Digits in groups of three.
fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

/// A row as one line of aligned text, its ratio coloured on a terminal.
pub fn line(row: &Row) -> String {
    if row.value.is_none() {
        return format!("{:<48} {}", row.name, row.how);
    }
    let ratio = row.ratio.map_or("—".to_owned(), |ratio| format!("{ratio:.1}×"));
    let (colour, plain) = match row.ratio {
        Some(ratio) if std::io::stdout().is_terminal() => {
            (if ratio >= 1.0 { "\x1b[32m" } else { "\x1b[31m" }, "\x1b[0m")
        }
        _ => ("", ""),
    };
    let target = match row.target() {
        Some((target, true)) => format!("  {target}: reached"),
        Some((target, false)) => format!("  {target}: not reached"),
        None => String::new(),
    };
    format!(
        "{:<48} {:>12} {:<8} {:>12} {:<30} {colour}{ratio:>8}{plain}{target}",
        row.name,
        number(row.value),
        row.unit,
        number(row.peer_value),
        row.peer,
    )
}

/// Rows of this run and of runs before.
pub struct Report {
    file: PathBuf,
    rows: Vec<Row>,
}

impl Report {
    /// The report as it is; empty when there is none.
    pub fn open() -> Measured<Self> {
        let file = Path::new(ROOT).join("target/bench/report.json");
        let rows = match fs::read(&file) {
            Ok(octets) => serde_json::from_slice(&octets).unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        Ok(Self { file, rows })
    }

    /// Writes everything, with `fresh` in place of older rows of the same names.
    pub fn close(mut self, fresh: Vec<Row>) -> Measured<()> {
        println!("\n{}", samples::machine());
        fresh.iter().for_each(|row| println!("{}", line(row)));
        for row in fresh.iter().cloned() {
            match self.rows.iter_mut().find(|old| old.name == row.name) {
                Some(old) => *old = row,
                None => self.rows.push(row),
            }
        }
        self.rows.sort_by_key(|row| place(&row.name));
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.file, serde_json::to_string_pretty(&self.rows)? + "\n")?;
        println!("\nwritten: target/bench/report.json");
        document(&Path::new(ROOT).join("docs/performance.md"), &fresh)
    }
}

/// Puts rows into the table of the document.
fn document(file: &Path, fresh: &[Row]) -> Measured<()> {
    let Ok(text) = fs::read_to_string(file) else { return Ok(()) };
    let parts = text.split_once(BEGIN).and_then(|(head, rest)| {
        let (old, tail) = rest.split_once(END)?;
        Some((head, old, tail))
    });
    let Some((head, old, tail)) = parts else {
        return Err("docs/performance.md has lost the marks around its table".into());
    };
    let tables = tables(old, fresh, &samples::machine());
    fs::write(file, format!("{head}{BEGIN}\n{tables}\n{END}{tail}"))?;
    println!("written: the table of docs/performance.md");
    Ok(())
}

/// Lines of a table, in their order.
type Lines = BTreeMap<(usize, String), String>;

/// A table for each machine: the lines that are there, with those of `fresh` in place of the ones
/// that were measured on the same machine.
fn tables(old: &str, fresh: &[Row], machine: &str) -> String {
    let mut machines: Vec<(&str, Lines)> = Vec::new();
    for line in old.lines() {
        if let Some(name) = line.strip_prefix(MEASURED).and_then(|rest| rest.strip_suffix('.')) {
            machines.push((name, Lines::new()));
        } else if let (Some((name, _)), Some((_, lines))) =
            (line.strip_prefix("| `").and_then(|rest| rest.split_once('`')), machines.last_mut())
        {
            lines.insert(place(name), line.to_owned());
        }
    }
    if machines.iter().all(|(name, _)| *name != machine) {
        machines.push((machine, Lines::new()));
    }
    for (_, lines) in machines.iter_mut().filter(|(name, _)| *name == machine) {
        lines.extend(fresh.iter().map(|row| (place(&row.name), entry(row))));
    }
    let table = |(machine, lines): (&str, Lines)| {
        let lines: String = lines.into_values().map(|line| line + "\n").collect();
        format!("\n{MEASURED}{machine}.\n\n{HEADER}{lines}")
    };
    machines.into_iter().map(table).collect()
}

/// Where a row stands: by part, then as names sort, with sizes in order of size.
fn place(name: &str) -> (usize, String) {
    const PARTS: [&str; 16] = [
        "lpm4",
        "lpm6",
        "forward",
        "veth",
        "load",
        "update",
        "memory",
        "agent",
        "blocked",
        "follow",
        "commit",
        "http",
        "first-packet",
        "stream",
        "flow-create",
        "policy",
    ];
    let part = PARTS.iter().position(|part| name.starts_with(part)).unwrap_or(PARTS.len());
    (
        part,
        name.replace("/1k/", "/a/")
            .replace("/100k/", "/b/")
            .replace("/250k/", "/c/")
            .replace("/1m/", "/d/"),
    )
}

/// The line of a row.
fn entry(row: &Row) -> String {
    let name = &row.name;
    if row.value.is_none() {
        return format!("| `{name}` | {} | | | |", row.how);
    }
    let target = match row.target() {
        Some((target, reached)) => format!("{target} {}", if reached { "✓" } else { "✗" }),
        None => String::new(),
    };
    format!(
        "| `{name}` | {} {} | {} {} ({}) | {} | {target} |",
        number(row.value),
        row.unit,
        number(row.peer_value),
        row.unit,
        row.peer,
        row.ratio.map_or("—".to_owned(), |ratio| format!("{ratio:.1}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_say_how_many_times_better_whatever_the_unit() {
        assert_eq!(Row::cost("a", 2.0, "ns", "peer", 10.0).ratio, Some(5.0));
        assert_eq!(Row::rate("a", 10.0, "pps", "peer", 2.0).ratio, Some(5.0));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(rounded(123_456.0), Some(123_500.0));
        assert_eq!(rounded(0.012_345_6), Some(0.012_35));
        assert_eq!(rounded(f64::NAN), None);
        assert_eq!(number(Some(1_234_567.0)), "1,234,567");
        assert_eq!(number(Some(12.34)), "12.3");
    }

    #[test]
    fn rows_stand_in_order_of_size() {
        let mut names = ["memory/ipv4-1m", "lpm4/1m/zipf", "lpm4/100k/zipf", "lpm4/1k/zipf"];
        names.sort_by_key(|name| place(name));
        assert_eq!(names, ["lpm4/1k/zipf", "lpm4/100k/zipf", "lpm4/1m/zipf", "memory/ipv4-1m"]);
    }

    #[test]
    fn a_skipped_row_says_why_in_place_of_a_command() {
        let row = Row::skipped("veth/ipv4-1m", "no ethtool");
        assert_eq!(row.how, "skipped: no ethtool");
        assert!(tables("", &[row], "x").contains("| `veth/ipv4-1m` | skipped: no ethtool |"));
    }

    #[test]
    fn rows_of_another_machine_stay_in_a_table_of_their_own() {
        let row = |name: &str, value| Row::cost(name, value, "ns", "peer", 9.0);
        let first = tables("", &[row("lpm4/1k/a", 1.0), row("lpm4/100k/a", 2.0)], "one, Linux 6");
        let both = tables(&first, &[row("lpm4/1k/a", 3.0)], "two");
        assert!(both.starts_with(&first), "{both}");
        assert!(both[first.len()..].contains("Measured on: two.\n"), "{both}");
        assert_eq!(both.matches("`lpm4/1k/a`").count(), 2);
        let again = tables(&both, &[row("lpm4/1k/a", 4.0)], "one, Linux 6");
        assert_eq!(
            (again.matches("| 4.00 ns").count(), again.matches("| 1.00 ns").count()),
            (1, 0)
        );
        assert_eq!(again.lines().count(), both.lines().count());
    }

    #[test]
    fn the_tables_of_the_document_are_read_as_they_are_written() {
        let text = fs::read_to_string(Path::new(ROOT).join("docs/performance.md")).unwrap();
        let old = text.split_once(BEGIN).unwrap().1.split_once(END).unwrap().0;
        let new = tables(old, &[Row::skipped("agent/x", "test")], "none");
        assert_eq!(
            new.lines().filter(|line| line.starts_with("| `")).count(),
            old.lines().filter(|line| line.starts_with("| `")).count() + 1
        );
        assert!(old.lines().all(|line| new.lines().any(|kept| kept == line)));
    }
}
