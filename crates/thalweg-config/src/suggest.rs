//! Did you mean: the known word nearest to a wrong one.

/// Words that other tools use for what is called otherwise here.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("gateway", &["via"]),
    ("gw", &["via"]),
    ("address", &["via"]),
    ("device", &["dev", "interface"]),
    ("oif", &["dev"]),
    ("link", &["dev", "interface"]),
    ("interface", &["dev", "link"]),
    ("name", &["interface"]),
    ("ifname", &["interface", "dev"]),
    ("destination", &["prefix"]),
    ("dst", &["prefix"]),
    ("cidr", &["prefix"]),
    ("network", &["prefix"]),
    ("subnet", &["prefix"]),
    ("to", &["prefix"]),
    ("destinations", &["prefixes"]),
    ("preference", &["metric"]),
    ("priority", &["metric"]),
    ("distance", &["metric"]),
    ("type", &["action", "role"]),
    ("paths", &["nextHops"]),
    ("gateways", &["nextHops"]),
    ("vrf", &["lookupVrf"]),
    ("lookup", &["lookupVrf"]),
    ("push", &["labels"]),
    ("encap", &["labels"]),
    ("tc", &["class"]),
    ("exp", &["class"]),
    ("tableId", &["table"]),
    ("rpFilter", &["rpf"]),
    ("mode", &["xdp"]),
    ("neighbor", &["peer"]),
    ("dev", &["link"]),
    ("detectMultiplier", &["multiplier"]),
    ("transmitInterval", &["transmit"]),
    ("receiveInterval", &["receive"]),
    ("password", &["key"]),
    ("session", &["bfd"]),
];

/// The word in `known` that `wrong` was probably meant to be.
pub(crate) fn nearest<'k>(
    wrong: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    if wrong.len() > 64 {
        return None;
    }
    if let Some(same) = known.clone().find(|word| word.eq_ignore_ascii_case(wrong)) {
        return Some(same);
    }
    let meant = SYNONYMS.iter().find(|(word, _)| word.eq_ignore_ascii_case(wrong));
    if let Some(hit) = meant.and_then(|(_, to)| known.clone().find(|word| to.contains(word))) {
        return Some(hit);
    }
    known
        .map(|word| (distance(wrong, word), word))
        .filter(|(steps, word)| *steps <= word.chars().count().max(wrong.chars().count()) / 3)
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbors that turn `a` into `b`, ignoring
/// case (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) =
        (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

/// `a`, `b` and `c`, in backticks.
pub(crate) fn list<'k>(words: impl Iterator<Item = &'k str>) -> String {
    let words: Vec<_> = words.map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// "did you mean `x`?", or the known words when none is near.
pub(crate) fn remedy<'k>(wrong: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    match nearest(wrong, known.clone()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("known here: {}", list(known)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_typing_slips_but_not_strangers() {
        let known = ["nextHops", "prefix", "prefixes", "metric", "via"];
        let near = |wrong| nearest(wrong, known.iter().copied());
        assert_eq!(near("nexthops"), Some("nextHops"));
        assert_eq!(near("prefxi"), Some("prefix"));
        assert_eq!(near("gateway"), Some("via"));
        assert_eq!(near("mertic"), Some("metric"));
        assert_eq!(near("colour"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"x".repeat(10_000)), None);
    }

    #[test]
    fn distance_counts_swaps_once() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
