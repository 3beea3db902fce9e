//! The grammar of selectors, and what they select.

use crate::random::{Dice, labels, selector};
use proptest::prelude::*;
use thalweg_policy::Selector;

#[track_caller]
fn prints(text: &str, canonical: &str) {
    let read: Selector = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(read.to_string(), canonical);
    assert_eq!(canonical.parse::<Selector>().as_ref(), Ok(&read));
}

#[track_caller]
fn fails(text: &str, column: usize, what: &str) {
    match text.parse::<Selector>() {
        Ok(read) => panic!("{text} reads as {read}"),
        Err(error) => {
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.what.contains(what), "{text}: {error}");
        }
    }
}

#[test]
fn texts_have_one_canonical_form() {
    prints("", "all()");
    prints(" \t", "all()");
    prints("all( )", "all()");
    prints("global()", "global()");
    prints("has( a/b.c_d-e )", "has(a/b.c_d-e)");
    prints("a=='b'", "a == \"b\"");
    prints("a == 'say \"b\"'", "a == 'say \"b\"'");
    prints("a != \"b\"", "a != \"b\"");
    prints("a in {'c', \"b\",'b',}", "a in {\"b\", \"c\"}");
    prints("a in{}", "a in {}");
    prints("a notin {\"x\"}", "a not in {\"x\"}");
    prints("a not \t in{\"x\"}", "a not in {\"x\"}");
    prints("a startswith 'x' && b ends  with'y'", "(a starts with \"x\" && b ends with \"y\")");
    prints("a contains'x'", "a contains \"x\"");
    // Operators are no words elsewhere.
    prints("in in {\"in\"}", "in in {\"in\"}");
    prints("has == 'x'", "has == \"x\"");
    prints("not contains 'x'", "not contains \"x\"");
    // `&&` binds tighter, `!` takes a comparison.
    prints("a=='1'||b=='2'&&c=='3'", "(a == \"1\" || (b == \"2\" && c == \"3\"))");
    prints("!a == 'b'", "!a == \"b\"");
    prints("! ! !has(a)", "!has(a)");
    prints("!!(has(a))", "has(a)");
    prints("!(has(a) && has(b))", "!(has(a) && has(b))");
}

#[test]
fn errors_name_the_column() {
    fails("a", 2, "found the end");
    fails("a = 'b'", 3, "found `=`");
    fails("a == b", 6, "in quotes");
    fails("a == 'b", 6, "not closed");
    fails("has (a)", 5, "found `(`");
    fails("all ()", 5, "found `(`");
    fails("has(a", 6, "expected `)`");
    fails("has(a))", 7, "`&&`, `||` or the end");
    fails("has(a) & has(b)", 8, "`&&`, `||` or the end");
    fails("has(a) | has(b)", 8, "`&&`, `||` or the end");
    fails("has(a) &&", 10, "found the end");
    fails("a in {,}", 7, "in quotes");
    fails("a in {'x',,}", 11, "in quotes");
    fails("a in {'x' 'y'}", 11, "expected `,`");
    fails("a containsx 'b'", 3, "expected `==`");
    fails("a inx {'b'}", 3, "expected `==`");
    fails("a ==\n'b'", 5, "end of a line");
    fails("ä == 'b'", 1, "found `ä`");
    fails("a == 'ä' x", 10, "or the end");
    fails(&format!("{}has(a)", "(".repeat(1_000)), 102, "nested");
    fails(&format!("{} == 'x'", "a".repeat(513)), 1, "512");
}

#[test]
fn what_is_printed_reads_the_same_and_selects_what_the_text_says() {
    for seed in 0..40_000 {
        let mut dice = Dice::new(seed);
        let selector = selector(&mut dice, 3, true);
        let text = selector.to_string();
        assert_eq!(text.parse::<Selector>().as_ref(), Ok(&selector), "{text}");
        let mut labels = labels(&mut dice);
        if dice.one_in(2) {
            labels.insert("projectcalico.org/namespace".into(), "a".into());
        }
        let global = !labels.contains_key("projectcalico.org/namespace");
        let label = |key: &str| labels.get(key).cloned();
        let expected = thalweg_oracle::policy::selector::holds(&text, &label, true, global);
        assert_eq!(selector.selects(&labels), expected, "{text} of {labels:?}");
    }
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "[ab!&|(){}'\"=,. \thasinotcw]{0,40}|\\PC{0,20}") {
        if let Ok(read) = text.parse::<Selector>() {
            prop_assert_eq!(read.to_string().parse::<Selector>(), Ok(read));
        }
    }
}
