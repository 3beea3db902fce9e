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

/// The matrix as a value; `staged` says whether what is staged counts in it.
pub(super) fn value(matrix: &Matrix, staged: bool) -> Value {
    let names: Vec<&str> = matrix.groups.iter().map(|group| group.name.as_str()).collect();
    let mut pairs = Vec::new();
    for (from, row) in names.iter().zip(&matrix.cells) {
        for (to, cell) in names.iter().zip(row) {
            pairs.push(json!({
                "from": from,
                "to": to,
                "summary": cell.to_string(),
                "allowed": access(cell),
            }));
        }
    }
    json!({ "staged": staged, "groups": names, "pairs": pairs })
}

/// The matrix as a table: rows are sources, columns destinations.
pub(super) fn text(matrix: &Matrix) -> String {
    if matrix.groups.is_empty() {
        return "there are no pods with addresses\n".into();
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let heading = matrix.groups.iter().map(|group| group.name.clone());
    rows.push(std::iter::once("FROM \\ TO".to_owned()).chain(heading).collect());
    for (group, cells) in matrix.groups.iter().zip(&matrix.cells) {
        let cells = cells.iter().map(ToString::to_string);
        rows.push(std::iter::once(group.name.clone()).chain(cells).collect());
    }
    aligned(&rows)
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
        return "no pair of pods opens or closes\n".into();
    }
    let mut rows = vec![["FROM", "TO", "OPENS", "CLOSES"].map(str::to_owned).to_vec()];
    for change in changes {
        let (opened, closed) = (change.opened.to_string(), change.closed.to_string());
        rows.push(vec![change.from.clone(), change.to.clone(), opened, closed]);
    }
    aligned(&rows)
}
