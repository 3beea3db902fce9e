//! Problems for people: the line in question, a caret below the value, and the way out.

use crate::sources::Sources;
use std::fmt::Write;
use thalweg_model::{Problem, Severity};

/// The widest part of a line that is shown, in characters.
const MAX_WIDTH: usize = 100;

/// Prints problems with the lines they are about; `color` adds terminal colors.
pub fn render(problems: &[Problem], sources: &Sources, color: bool) -> String {
    let paint = Paint { color };
    let mut out = String::new();
    for problem in problems {
        one(problem, sources, &paint, &mut out);
        out.push('\n');
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let count = |count: usize, word: &str| match count {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{count} {word}s")),
    };
    let counts = [count(errors, "error"), count(problems.len() - errors, "warning")];
    let counts: Vec<_> = counts.into_iter().flatten().collect();
    if !counts.is_empty() {
        out.push_str(&counts.join(", "));
        out.push('\n');
    }
    out
}

/// Wraps text in terminal colors, if asked to.
struct Paint {
    color: bool,
}

impl Paint {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    fn severity(&self, severity: Severity, text: &str) -> String {
        self.paint(if severity == Severity::Error { "1;31" } else { "1;33" }, text)
    }

    fn frame(&self, text: &str) -> String {
        self.paint("1;34", text)
    }
}

fn one(problem: &Problem, sources: &Sources, paint: &Paint, out: &mut String) {
    let word = if problem.severity == Severity::Error { "error" } else { "warning" };
    let object = problem.object.as_ref().map(|key| format!("{key}: ")).unwrap_or_default();
    let title = paint.paint("1", &format!(": {object}{}", visible(&problem.what)));
    let origin = &problem.origin;
    let field = problem.field.as_deref().map(|field| format!(" ({})", visible(field)));
    let number = origin.line.to_string();
    let margin = " ".repeat(number.len());
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}{title}", paint.severity(problem.severity, word));
    let arrow = paint.frame(&format!("{margin}-->"));
    let place = visible(&origin.to_string());
    let _ = writeln!(out, "{arrow} {place}{}", field.unwrap_or_default());
    if let Some(line) = sources.line(origin) {
        let (text, before, width) = excerpt(line, origin.column as usize);
        let bar = paint.frame(&format!("{margin} |"));
        let carets = paint.severity(problem.severity, &"^".repeat(width));
        let _ = writeln!(out, "{bar}");
        let _ = writeln!(out, "{} {text}", paint.frame(&format!("{number} |")));
        let _ = writeln!(out, "{bar} {}{carets}", " ".repeat(before));
    }
    let _ =
        writeln!(out, "{} help: {}", paint.frame(&format!("{margin} =")), visible(&problem.remedy));
}

/// `text` without characters that a terminal would obey.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The part of `line` around `column`, the columns in front of the caret, the width of the value.
fn excerpt(line: &str, column: usize) -> (String, usize, usize) {
    let at = column.saturating_sub(1);
    let skip = if at < MAX_WIDTH * 2 / 3 { 0 } else { at - MAX_WIDTH / 3 };
    let mut shown: Vec<char> = line
        .chars()
        .skip(skip)
        .take(MAX_WIDTH + 1)
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() || c == '\u{feff}' => '\u{fffd}',
            c => c,
        })
        .collect();
    let cut = shown.len() > MAX_WIDTH;
    shown.truncate(MAX_WIDTH);
    let mut text: String = shown.iter().collect();
    let mut before = at - skip;
    let width = value_width(shown.get(before..).unwrap_or_default());
    if skip > 0 {
        text.insert(0, '…');
        before += 1;
    }
    if cut {
        text.push('…');
    }
    (text.trim_end().into(), before, width)
}

/// How many characters the value at the beginning of `rest` has.
fn value_width(rest: &[char]) -> usize {
    let end = match rest.first() {
        Some(quote @ ('"' | '\'')) => {
            rest.iter().skip(1).position(|c| c == quote).map(|end| end + 2)
        }
        _ => rest.iter().enumerate().position(|(index, c)| match c {
            ',' | ']' | '}' | '[' | '{' => true,
            ' ' => matches!(rest.get(index + 1), None | Some('#' | ' ')),
            ':' => matches!(rest.get(index + 1), None | Some(' ')),
            _ => false,
        }),
    };
    end.unwrap_or(rest.len()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_around_the_value() {
        let line = format!("[{}, WRONG, {}]", "x".repeat(500), "y".repeat(500));
        let (text, before, width) = excerpt(&line, 504);
        assert!(text.chars().count() <= MAX_WIDTH + 2, "{text}");
        let under: String = text.chars().skip(before).take(width).collect();
        assert_eq!(under, "WRONG");
    }

    #[test]
    fn columns_beyond_the_line_are_survived() {
        assert_eq!(excerpt("ab", 0), ("ab".into(), 0, 2));
        assert_eq!(excerpt("ab", 3), ("ab".into(), 2, 1));
        assert_eq!(excerpt("", 9), ("".into(), 8, 1));
        excerpt("ab", usize::MAX);
    }
}
