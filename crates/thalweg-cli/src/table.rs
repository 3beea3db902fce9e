//! Tables for terminals: aligned columns, two spaces between, no borders.

use crate::output::Paint;

/// Rows of text under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    headings: Vec<&'static str>,
    /// Columns whose numbers stand to the right.
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings; one that begins with `>` has numbers.
    pub fn new(headings: &[&'static str]) -> Self {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let headings = headings.iter().map(|heading| heading.trim_start_matches('>')).collect();
        Self { headings, right, rows: Vec::new() }
    }

    /// Adds a row; an empty cell becomes a dash.
    pub fn row(&mut self, cells: Vec<String>) {
        let dash = |cell: String| if cell.is_empty() { "-".into() } else { visible(&cell) };
        self.rows.push(cells.into_iter().map(dash).collect());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, with or without its headings.
    pub fn render(&self, headings: bool, paint: &Paint) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        if headings {
            let cells: Vec<String> = self.headings.iter().map(|h| (*h).to_owned()).collect();
            out.push_str(&paint.bold(&self.line(&cells, &widths)));
            out.push('\n');
        }
        for row in &self.rows {
            out.push_str(&self.line(row, &widths));
            out.push('\n');
        }
        out
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            match self.right.get(at) {
                Some(true) => line.extend([gap.as_str(), cell]),
                _ => line.extend([cell.as_str(), &gap]),
            }
            line.push_str("  ");
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Text without characters that a terminal would obey.
pub fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_do_not_trail() {
        let mut table = Table::new(&["NAME", ">PACKETS", "WHY"]);
        table.row(vec!["eth0".into(), "7".into(), String::new()]);
        table.row(vec!["a-longer-name".into(), "123456789".into(), "x\u{1b}[2J".into()]);
        assert_eq!(
            table.render(true, &Paint::plain()),
            "NAME             PACKETS  WHY\n\
             eth0                   7  -\n\
             a-longer-name  123456789  x\u{fffd}[2J\n"
        );
    }
}
