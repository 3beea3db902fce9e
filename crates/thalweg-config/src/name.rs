//! Names as Kubernetes has them (RFC 1123), and names of network devices.

/// What is wrong with a subdomain name (RFC 1123): names of objects.
pub(crate) fn subdomain(name: &str) -> Option<&'static str> {
    if name.len() > 253 {
        return Some("has more than 253 characters");
    }
    name.split('.').find_map(part)
}

/// What is wrong with a label (RFC 1123): names of VRFs.
pub(crate) fn label(name: &str) -> Option<&'static str> {
    if name.len() > 63 {
        return Some("has more than 63 characters");
    }
    part(name)
}

fn part(name: &str) -> Option<&'static str> {
    let edge = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    if name.is_empty() {
        return Some("is empty or has an empty part");
    }
    if name.chars().any(|c| c.is_ascii_uppercase()) {
        return Some("has capital letters");
    }
    if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        return Some("has characters other than a to z, 0 to 9, `-` and `.`");
    }
    (edge(name.chars().next()) || edge(name.chars().last()))
        .then_some("must begin and end with a letter or digit")
}

/// A name near `name` that is allowed; none when nothing is left of it.
pub(crate) fn mended(name: &str, dots: bool) -> Option<String> {
    let max = if dots { 253 } else { 63 };
    let clean: String = name
        .chars()
        .take(max)
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => c,
            '.' if dots => '.',
            _ => '-',
        })
        .collect();
    let parts = clean.split('.').map(|part| part.trim_matches('-')).filter(|part| !part.is_empty());
    Some(parts.collect::<Vec<_>>().join(".")).filter(|name| !name.is_empty())
}

/// What is wrong with the name of a network device (the kernel's `dev_valid_name`).
pub(crate) fn device(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("is empty"),
        "." | ".." => Some("cannot name a device"),
        _ if name.len() > 15 => Some("has more than 15 characters"),
        _ if name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) => {
            Some("has a character that device names cannot have")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects() {
        assert_eq!(subdomain("a.b-c.9"), None);
        assert_eq!(label("a.b"), Some("has characters other than a to z, 0 to 9, `-` and `.`"));
        for wrong in ["", ".", "a..b", "-a", "a-", "A", "a_b", "ü", &"a".repeat(254)] {
            assert!(subdomain(wrong).is_some(), "{wrong}");
            if let Some(better) = mended(wrong, true) {
                assert_eq!(subdomain(&better), None, "{wrong} -> {better}");
            }
        }
    }

    #[test]
    fn names_of_devices() {
        assert_eq!(device("enp0s31f6"), None);
        for wrong in ["", "..", "a/b", "a b", "eth0:1", "sixteen-letters-", "a\n"] {
            assert!(device(wrong).is_some(), "{wrong}");
        }
    }
}
