//! What a reader may rely on in every source file.

use std::fs;
use std::path::{Path, PathBuf};

/// Files that may contain `unsafe`: packet memory and kernel interfaces, each with its proof beside it.
const ROOMS: &[&str] = &[
    "crates/thalweg-bpf/src/cells.rs",
    "crates/thalweg-bpf/src/event.rs",
    "crates/thalweg-bpf/src/frame.rs",
    "crates/thalweg-bpf/src/handover.rs",
    "crates/thalweg-bpf/src/main.rs",
    "crates/thalweg-bpf/src/maps.rs",
    "crates/thalweg-bpf/src/socket.rs",
    "crates/thalweg-bpf/src/stages.rs",
    "crates/thalweg-bench-bpf/",
    "crates/thalweg-bench/src/raw.rs",
    "crates/thalweg-xdp/src/raw.rs",
];

/// Files that may ask the clock on the wall, which jumps: for what people read, and for a trial over a
/// restart of the machine. Deadlines use the clock that only goes forward.
const WALL: &[&str] = &[
    "crates/thalweg-agent/src/doctor/host.rs",
    "crates/thalweg-agent/src/drops/listen.rs",
    "crates/thalweg-agent/src/events.rs",
    "crates/thalweg-agent/src/keeper/record.rs",
    "crates/thalweg-agent/src/lock.rs",
    "crates/thalweg-agent/src/serve.rs",
    "crates/thalweg-agent/src/state.rs",
    "crates/thalweg-agent/src/trial.rs",
    "crates/thalweg-api/src/moment.rs",
    // Times of files are of that clock.
    "crates/thalweg-config/src/library.rs",
    "crates/thalweg-config/src/library/tests.rs",
    "crates/thalweg-config/src/stamp.rs",
    "crates/thalweg-cli/src/when.rs",
];

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Path from the root, and text.
fn files() -> Vec<(String, String)> {
    let root = thalweg_testkit::root().canonicalize().expect("the source tree is there");
    let mut paths = Vec::new();
    sources(&root.join("crates"), &mut paths);
    sources(&root.join("fuzz"), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        (name, fs::read_to_string(&path).unwrap_or_default())
    };
    paths.into_iter().map(read).collect()
}

fn complain(rule: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_about() {
    let wrong = files().into_iter().filter(|(_, text)| {
        // A shebang or an attribute may not stand before it.
        !text.starts_with("//!") && !text.is_empty()
    });
    complain("these files do not open with //!", wrong.map(|(name, _)| name).collect());
}

/// A line without its comment and without what stands in quotes.
fn code(line: &str) -> String {
    let code = line.split("//").next().unwrap_or_default();
    code.split('"').step_by(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let has_unsafe = |text: &str| {
        text.lines().map(code).any(|code| {
            code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        })
    };
    let wrong = files().into_iter().filter(|(name, text)| {
        has_unsafe(text) && !ROOMS.iter().any(|room| name.starts_with(room))
    });
    let wrong: Vec<String> =
        wrong.map(|(name, _)| name).filter(|n| !n.ends_with("tidy.rs")).collect();
    complain("unsafe outside of its rooms", wrong);
}

#[test]
fn no_deadline_asks_the_clock_on_the_wall() {
    let words = ["SystemTime", "Realtime", "moment::now"];
    let asks = |text: &str| text.lines().map(code).any(|c| words.iter().any(|w| c.contains(w)));
    let wrong = files().into_iter().filter(|(name, text)| {
        asks(text) && !WALL.contains(&&name[..]) && !name.ends_with("tidy.rs")
    });
    complain("the clock on the wall is asked", wrong.map(|(name, _)| name).collect());
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimple", "mented!")];
    let mut wrong = Vec::new();
    for (name, text) in files() {
        for (number, line) in (1..).zip(text.lines()) {
            if words.iter().any(|word| line.contains(word)) {
                wrong.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    complain("left for later", wrong);
}

#[test]
fn every_unsafe_block_has_its_proof() {
    let mut wrong = Vec::new();
    for (name, text) in files().into_iter().filter(|(name, _)| !name.ends_with("tidy.rs")) {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let opens = line.contains("unsafe {") || line.contains("unsafe impl");
            let before = &lines[index.saturating_sub(8)..=index];
            if opens && !before.iter().any(|line| line.contains("SAFETY")) {
                wrong.push(format!("{name}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    complain("unsafe without a SAFETY comment", wrong);
}
