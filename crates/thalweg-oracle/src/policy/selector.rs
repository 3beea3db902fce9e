//! Selectors, read anew from their text at each question: split at the loosest operator outside of
//! parentheses and quotes, until one comparison is left.

/// Whether labels are as a selector says. `all` and `global` are what `all()` and `global()` say of whom
/// is asked about. The text must be a selector.
pub fn holds(text: &str, label: &dyn Fn(&str) -> Option<String>, all: bool, global: bool) -> bool {
    let text = trim(text);
    if text.is_empty() {
        return true;
    }
    let inner = |text: &str| holds(text, label, all, global);
    let either = split(text, "||");
    if either.len() > 1 {
        return either.iter().any(|part| inner(part));
    }
    let both = split(text, "&&");
    if both.len() > 1 {
        return both.iter().all(|part| inner(part));
    }
    if let Some(rest) = text.strip_prefix('!') {
        return !inner(rest);
    }
    if let Some(rest) = text.strip_prefix('(') {
        return inner(&rest[..rest.len() - 1]);
    }
    if text.starts_with("all(") {
        return all;
    }
    if text.starts_with("global(") {
        return global;
    }
    if let Some(rest) = text.strip_prefix("has(") {
        return label(trim(&rest[..rest.len() - 1])).is_some();
    }
    compare(text, label)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Splits at an operator that stands in no parentheses and no quotes.
fn split<'t>(text: &'t str, operator: &str) -> Vec<&'t str> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0i32, None);
    let mut skip = 0;
    for (at, c) in text.char_indices() {
        if skip > 0 {
            skip -= 1;
        } else if let Some(open) = quote {
            if c == open {
                quote = None;
            }
        } else if c == '"' || c == '\'' {
            quote = Some(c);
        } else if c == '(' {
            depth += 1;
        } else if c == ')' {
            depth -= 1;
        } else if depth == 0 && text[at..].starts_with(operator) {
            parts.push(&text[start..at]);
            start = at + operator.len();
            skip = operator.len() - 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn compare(text: &str, label: &dyn Fn(&str) -> Option<String>) -> bool {
    let key: String =
        text.chars().take_while(|c| c.is_ascii_alphanumeric() || "_./-".contains(*c)).collect();
    let rest = trim(&text[key.len()..]);
    // The operator is all in front of the first quote or brace.
    let ends = rest.find(['"', '\'', '{']).unwrap_or(rest.len());
    let operator: String = rest[..ends].chars().filter(|c| !" \t".contains(*c)).collect();
    let values = values(&rest[ends..]);
    let value = label(&key);
    let first = values.first().map(String::as_str).unwrap_or_default();
    let has = |test: &dyn Fn(&str) -> bool| value.as_deref().is_some_and(test);
    match operator.as_str() {
        "==" => has(&|is| is == first),
        "!=" => !has(&|is| is == first),
        "contains" => has(&|is| is.contains(first)),
        "startswith" => has(&|is| is.starts_with(first)),
        "endswith" => has(&|is| is.ends_with(first)),
        "in" => has(&|is| values.iter().any(|value| value == is)),
        "notin" => !has(&|is| values.iter().any(|value| value == is)),
        _ => unreachable!("`{text}` is no selector"),
    }
}

/// All that stands in quotes.
fn values(text: &str) -> Vec<String> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['"', '\'']) {
        let quote = &rest[at..=at];
        let after = &rest[at + 1..];
        let end = after.find(quote).unwrap_or(after.len());
        found.push(after[..end].to_owned());
        rest = after.get(end + 1..).unwrap_or_default();
    }
    found
}
