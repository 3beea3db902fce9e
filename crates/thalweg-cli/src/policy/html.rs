//! The matrix as a page that needs nothing beside it.

use super::matrix::{names, rows};
use thalweg_policy::matrix::Matrix;

/// Letters that mean something else in HTML.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "
body { font: 14px sans-serif; margin: 2em; color: #222; background: #fff }
.note { background: #fff3cd; border: 1px solid #e0c060; padding: .6em 1em; display: inline-block }
table { border-collapse: collapse; margin-top: 1em }
th, td { border: 1px solid #ccc; padding: .3em .6em; text-align: left; white-space: nowrap }
thead th { vertical-align: bottom }
thead th span { writing-mode: vertical-rl; transform: rotate(180deg) }
td.all { background: #c9e7cb } td.some { background: #fdf0b5 } td.none { background: #f6c9c6 }
";

/// A page with the matrix as a picture: green where everything may pass, red where nothing may.
pub(super) fn page(matrix: &Matrix) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>Who can talk to whom</title>\n<style>{STYLE}</style></head>\n<body>\n\
         <h1>Who can talk to whom</h1>\n\
         <p class=\"note\">This is what policies say of pods. Each host enforces it for its own.</p>\n\
         <p>Rows are sources, columns destinations.</p>\n<table>\n<thead><tr><th></th>"
    );
    for name in names(matrix) {
        out.push_str(&format!("<th><span>{}</span></th>", escaped(name)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (name, cells) in names(matrix).zip(rows(matrix)) {
        out.push_str(&format!("<tr><th>{}</th>", escaped(name)));
        for (to, cell) in names(matrix).zip(cells) {
            let Some(cell) = cell else {
                out.push_str("<td></td>");
                continue;
            };
            let class = match (cell.is_all(), cell.is_none()) {
                (true, _) => "all",
                (_, true) => "none",
                _ => "some",
            };
            let (title, text) = (format!("{name} to {to}"), cell.to_string());
            out.push_str(&format!(
                "<td class=\"{class}\" title=\"{}\">{}</td>",
                escaped(&title),
                escaped(&text)
            ));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</body></html>\n");
    out
}
