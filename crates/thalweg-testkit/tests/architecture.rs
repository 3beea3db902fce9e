//! Who may use whom: the arrows of ARCHITECTURE.md, compared with what cargo sees.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Every crate of the workspace with the crates of the workspace it may use outside of its tests. A
/// crate that is not here fails: say what it may use before it uses anything.
const ALLOWED: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("abi", &["wire"]),
    ("core", &["wire", "abi"]),
    ("model", &["wire"]),
    ("packet", &["wire"]),
    ("fault", &[]),
    ("image", &["wire", "abi", "fault"]),
    ("compile", &["wire", "abi", "model", "image", "service", "policy"]),
    ("service", &["wire", "model"]),
    ("policy", &["model"]),
    ("oracle", &["wire", "model", "policy"]),
    ("config", &["wire", "model", "policy"]),
    ("netlink", &["wire", "model"]),
    ("fpm", &["model", "netlink"]),
    ("bfd", &["wire", "model"]),
    ("native", &["wire", "abi", "core", "image"]),
    ("bpf-object", &[]),
    ("xdp", &["wire", "abi", "fault", "image"]),
    ("api", &["model"]),
    (
        "agent",
        &[
            "wire",
            "abi",
            "core",
            "fault",
            "model",
            "image",
            "compile",
            "config",
            "netlink",
            "fpm",
            "bfd",
            "native",
            "xdp",
            "bpf-object",
            "api",
            "packet",
            "policy",
        ],
    ),
    ("cli", &["agent", "api", "packet", "model", "policy"]),
    ("lab", &[]),
    // Tools for developers see everything.
    ("bench", ANY),
    ("testkit", ANY),
];

/// Everything.
const ANY: &[&str] = &["*"];

/// Crates of others that only one of ours may know.
const ROOMS: &[(&str, &[&str])] = &[
    ("aya", &["xdp", "bench", "testkit"]),
    ("netlink-sys", &["netlink", "xdp", "agent", "bench"]),
    ("tokio", &["netlink", "fpm", "agent", "cli", "config", "api", "bench"]),
    ("thalweg-oracle", &["testkit", "compile", "policy", "service"]),
];

fn metadata() -> Value {
    let manifest = thalweg_testkit::root().join("Cargo.toml");
    let output = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Dependencies by crate: names, and whether they are for tests only.
fn dependencies() -> BTreeMap<String, BTreeSet<(String, bool)>> {
    let metadata = metadata();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().cloned().unwrap_or_default();
            let names = dependencies
                .iter()
                .map(|dependency| (text(&dependency["name"]), text(&dependency["kind"]) == "dev"));
            (text(&package["name"]), names.collect())
        })
        .collect()
}

#[test]
fn crates_use_only_what_they_may() {
    let mut wrong = Vec::new();
    for (name, uses) in dependencies() {
        let short = name.trim_start_matches("thalweg-");
        let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == short) else {
            wrong.push(format!("{name} is not in the table of tests/architecture.rs"));
            continue;
        };
        for (used, tests_only) in uses {
            let Some(used) = used.strip_prefix("thalweg-") else { continue };
            if !tests_only && *allowed != ANY && !allowed.contains(&used) {
                wrong.push(format!("{name} must not use thalweg-{used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_outside_world_is_known_to_one_crate() {
    let mut wrong = Vec::new();
    for (name, uses) in dependencies() {
        let short = name.trim_start_matches("thalweg-");
        for (outside, rooms) in ROOMS {
            let known = uses.iter().any(|(used, _)| used == outside);
            if known && !rooms.contains(&short) {
                wrong.push(format!("{name} must not use {outside}; {} may", rooms.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
