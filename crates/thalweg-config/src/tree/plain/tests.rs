//! The fast way and the parser read the same.

use super::super::{Value, parsed};
use super::*;
use crate::report::Report;
use crate::sources::Sources;
use proptest::collection::vec;
use proptest::prelude::*;

/// A tree in words: texts with their places, and where lists and mappings begin.
fn words(node: &Node, out: &mut String) {
    use std::fmt::Write;
    let start = node.span.start;
    match &node.value {
        Value::Scalar { text, plain } => {
            // Where a text over several lines ends is of no interest to anybody.
            let end = if text.contains('\n') { 0 } else { node.span.end };
            write!(out, "{text:?}/{plain}@{start}-{end} ").unwrap();
        }
        Value::List(list) => {
            write!(out, "[@{start} {} {} ", list.size, list.depth).unwrap();
            list.members.iter().for_each(|node| words(node, out));
            out.push_str("] ");
        }
        Value::Map(map) => {
            write!(out, "{{@{start} {} {} ", map.size, map.depth).unwrap();
            for entry in &map.members {
                write!(out, "{:?}@{}-{}: ", entry.key, entry.key_span.start, entry.key_span.end)
                    .unwrap();
                words(&entry.value, out);
            }
            out.push_str("} ");
        }
    }
}

fn fast(text: &str) -> (Vec<String>, usize) {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some((node, next)) = document(0, text, from, &mut |_| {}) {
        if let Some(node) = node {
            found.push(String::new());
            words(&node, found.last_mut().unwrap());
        }
        assert!(next > from || next >= text.len(), "{text:?}");
        from = next;
        if next >= text.len() {
            break;
        }
    }
    (found, from)
}

fn slow(text: &str) -> (Vec<String>, bool) {
    let mut sources = Sources::default();
    sources.add("a".into(), text.into());
    let mut found = Vec::new();
    let whole = parsed(&mut Report::new(&sources), 0, 0, |node, _| {
        found.push(String::new());
        words(node, found.last_mut().unwrap());
    });
    (found, whole)
}

/// Whatever the fast way took must be what the parser finds first.
#[track_caller]
fn compare(text: &str) -> usize {
    let ((fast, end), (slow, whole)) = (fast(text), slow(text));
    assert_eq!(fast, slow[..fast.len().min(slow.len())], "{text}");
    if end >= text.len() {
        assert!(whole && fast.len() == slow.len(), "{text}");
    }
    fast.len()
}

const SLICE: &str = "# as kubectl prints it
apiVersion: v1
items:
- addressType: IPv4
  endpoints:
  - addresses:
    - 10.0.0.1
    conditions: {}
    targetRef:
      name: \"a b\"

  metadata:
    annotations:
      last: |
        {\"a\": 1}
        b
      k8s.io/x: 'y z'
    creationTimestamp: null
kind: Other
---
---
- a
- -1
- b: []
  c: 0x10
- http://x:80/#a
";

#[test]
fn what_kubectl_prints_is_read_the_fast_way() {
    assert_eq!(compare(SLICE), 2);
    assert_eq!(fast(SLICE).1, SLICE.len());
}

#[test]
fn the_rest_is_left_to_the_parser() {
    for text in [
        "a: b # c\n",
        "a: &x b\n",
        "a: *x\n",
        "a: !!str b\n",
        "a: {b: c}\n",
        "a: b\n  c\n",
        "a: \"b\\n\"\n",
        "a: 'b''c'\n",
        "a:\n",
        "a: b\na: c\n",
        "? a\n",
        "a: >\n  b\n",
        "\ta: b\n",
        "a: b\r\n",
        "a: é\n",
        "a: b: c\n",
        "a:\n  b: c\n d: e\n",
        "- a\nb: c\n",
        "a\n",
        "<<: b\n",
        "a: |\n  b\n\n  c\n",
        "%YAML 1.2\n---\na: b\n",
        "--- a\n",
        "a: b\n...\n",
        "a: 'b\n",
        "- - a\n",
        "a: b\n- c\n",
        "-\n  a: b\n",
        "a: |2\n  b\n",
        "a: [\n]\n",
    ] {
        let (found, end) = fast(text);
        assert!(found.is_empty() && end < text.len(), "{text:?}: {found:?}");
    }
}

#[test]
fn documents_behind_a_strange_one_keep_their_places() {
    let text = "a: b\n---\nc: {d: e}\n---\nf: g\n";
    let mut sources = Sources::default();
    sources.add("a".into(), text.into());
    let mut starts = Vec::new();
    let whole = super::super::documents(&mut Report::new(&sources), 0, |node, _| {
        starts.push(node.span.start);
    });
    assert!(whole);
    assert_eq!(starts, [0, 9, 23]);
}

/// Names of what is read, in order: items, then what is left of their list.
fn names(text: &str) -> (Vec<String>, bool) {
    let mut sources = Sources::default();
    sources.add("a".into(), text.into());
    let mut found = Vec::new();
    let whole = super::super::documents(&mut Report::new(&sources), 0, |node, _| {
        let Value::Map(map) = &node.value else { panic!("{node:?}") };
        for entry in &map.members {
            match &entry.value.value {
                Value::List(list) => found.push(format!("{} of {}", list.members.len(), entry.key)),
                _ => found.push(entry.key.to_string()),
            }
        }
    });
    (found, whole)
}

#[test]
fn items_of_a_list_come_one_by_one() {
    let (found, whole) = names("items:\n- a: 1\n- b: 2\n- c:\n  - 3\nkind: List\n");
    assert_eq!((found.join(" "), whole), ("a b 1 of c 0 of items kind".into(), true));
    // What the parser has to read in the end is not read twice.
    let (found, whole) = names("items:\n- a: 1\n- b: 2\n- c: {d: e}\nkind: List\n---\nx: y\n");
    assert_eq!((found.join(" "), whole), ("a b 1 of items kind x".into(), true));
    let (found, whole) = names("items:\n- a: 1\nkind: List\nkind: List\n---\nx: y\n");
    assert_eq!((found.join(" "), whole), ("a x".into(), false));
    let (found, _) = names("items:\n- a: 1\nkind: Other\n---\nkind: List\nitems: []\n");
    assert_eq!(found.join(" "), "1 of items kind kind 0 of items");
}

#[test]
fn nesting_is_left_to_the_parser() {
    let deep: String =
        (0..50_000).map(|level| format!("{}- a:\n", "  ".repeat(level % 200))).collect();
    assert!(fast(&deep).0.is_empty());
    let mut deep = String::from("a:\n");
    (0..100).for_each(|level| deep += &format!("{}- a:\n", "  ".repeat(level)));
    deep += &format!("{}- b\n", "  ".repeat(100));
    assert!(fast(&deep).0.is_empty());
}

fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "a: b\n",
        "a: 5\n",
        "b:\n",
        "c:\n",
        "c: d\n",
        "- ",
        "- a\n",
        "- b: c\n",
        "  ",
        "    ",
        " ",
        "\n",
        "---\n",
        "...\n",
        "x: \"y\"\n",
        "x: 'y z'\n",
        "y: |\n",
        "y: |-\n",
        "z: {}\n",
        "z: []\n",
        "# c\n",
        "#",
        ":",
        "-",
        "|",
        "\"",
        "'",
        "a",
        "k8s.io/n: 1\n",
        "f:g: h\n",
        "~\n",
        "\t",
        "é",
        ": ",
        "e: b  \n",
        "- -1\n",
        "---",
        "--- \n",
        "w: a:b#c\n",
        ".: q\n",
    ]);
    prop_oneof![20 => words.prop_map(str::to_owned), 1 => "[ -~]{0,3}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_read_the_same(pieces in vec(pieces(), 0..16)) {
        compare(&pieces.concat());
    }

    #[test]
    fn both_ways_read_the_same_after_damage(
        at: prop::sample::Index, with in "[ -~\\n]{0,2}", cut in 0usize..4
    ) {
        let mut text = SLICE.as_bytes().to_vec();
        let at = at.index(text.len());
        let end = (at + cut).min(text.len());
        text.splice(at..end, with.bytes());
        compare(&String::from_utf8(text).unwrap());
    }
}
