//! Who can talk to whom: as a table, and as a value.

use serde_json::{Value, json};
use thalweg_policy::matrix::{Access, Change, Matrix};
use thalweg_policy::words;

/// What may pass, as a value: protocols with their ports.
fn access(access: &Access) -> Value {
    let ports = |ports: &Vec<(u16, u16)>| -> Value {
        ports.iter().map(|(first, last)| json!([first, last])).collect()
    };
    let name = |protocol: u8| match protocol {
        255 => "others".to_owned(),
        number => words::protocol(number),
    };
    let protocols = access.protocols.iter();
    Value::Object(protocols.map(|(number, of)| (name(*number), ports(of))).collect())
}

fn pair(from: &str, to: &str, cell: &Access) -> Value {
    json!({ "from": from, "to": to, "summary": cell.to_string(), "allowed": access(cell) })
}

/// The matrix as a value; `staged` says whether what is staged counts in it.
pub(super) fn value(matrix: &Matrix, staged: bool) -> Value {
    let names: Vec<&str> = matrix.groups.iter().map(|group| group.name.as_str()).collect();
    let mut pairs = Vec::new();
    for (from, row) in names.iter().zip(&matrix.cells) {
        for (to, cell) in names.iter().zip(row) {
            pairs.push(pair(from, to, cell));
        }
    }
    for outside in &matrix.outside {
        for ((name, to), from) in names.iter().zip(&outside.to).zip(&outside.from) {
            pairs.push(pair(&outside.name, name, to));
            pairs.push(pair(name, &outside.name, from));
        }
    }
    let outside: Vec<&str> = matrix.outside.iter().map(|one| one.name.as_str()).collect();
    json!({ "staged": staged, "groups": names, "outside": outside, "pairs": pairs })
}

/// Names of all rows and columns: groups of pods, then addresses outside.
pub(super) fn names(matrix: &Matrix) -> impl Iterator<Item = &str> {
    let groups = matrix.groups.iter().map(|group| group.name.as_str());
    groups.chain(matrix.outside.iter().map(|one| one.name.as_str()))
}

/// The cells of each row; none between addresses outside, of which nobody is asked.
pub(super) fn rows(matrix: &Matrix) -> impl Iterator<Item = Vec<Option<&Access>>> {
    let pods = matrix.cells.iter().enumerate().map(|(at, cells)| {
        let outside = matrix.outside.iter().map(move |one| one.from.get(at));
        cells.iter().map(Some).chain(outside).collect()
    });
    let none = || matrix.outside.iter().map(|_| None);
    let outside = matrix.outside.iter();
    pods.chain(outside.map(move |one| one.to.iter().map(Some).chain(none()).collect()))
}

/// The matrix as a table: rows are sources, columns destinations.
pub(super) fn text(matrix: &Matrix) -> String {
    if matrix.groups.is_empty() {
        return "there are no pods with addresses\n".into();
    }
    let mut table: Vec<Vec<String>> = Vec::new();
    table.push(std::iter::once("FROM \\ TO").chain(names(matrix)).map(str::to_owned).collect());
    for (name, cells) in names(matrix).zip(rows(matrix)) {
        let cells = cells.iter().map(|cell| cell.map(ToString::to_string).unwrap_or_default());
        table.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
    aligned(&table)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// What opens or closes, as a value.
pub(super) fn changes_value(changes: &[Change]) -> Value {
    let one = |change: &Change| {
        json!({
            "from": change.from,
            "to": change.to,
            "opened": access(&change.opened),
            "closed": access(&change.closed),
        })
    };
    json!({ "changes": changes.iter().map(one).collect::<Vec<_>>() })
}

/// What opens or closes, one pair on a line.
pub(super) fn changes_text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "no pair opens or closes\n".into();
    }
    let mut rows = vec![["FROM", "TO", "OPENS", "CLOSES"].map(str::to_owned).to_vec()];
    for change in changes {
        let (opened, closed) = (change.opened.to_string(), change.closed.to_string());
        rows.push(vec![change.from.clone(), change.to.clone(), opened, closed]);
    }
    aligned(&rows)
}
