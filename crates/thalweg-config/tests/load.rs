//! Which files of a directory are read, and what is said about those that cannot be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use tempfile::{TempDir, tempdir};
use thalweg_config::{Loaded, load, render};

fn vrf(name: &str) -> String {
    format!("apiVersion: thalweg.dev/v1alpha1\nkind: Vrf\nmetadata: {{name: {name}}}\n")
}

/// The same as `kubectl get -o json` writes it.
fn json(name: &str) -> String {
    format!(
        "{{\n    \"apiVersion\": \"thalweg.dev/v1alpha1\",\n    \"kind\": \"Vrf\",\n    \
         \"metadata\": {{\n        \"name\": \"{name}\"\n    }}\n}}\n"
    )
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.intent.vrfs.keys().map(String::as_str).collect()
}

/// What was found, without the path of the directory.
fn shown(loaded: &Loaded, dir: &Path) -> String {
    render(&loaded.problems, &loaded.sources, false).replace(&dir.display().to_string(), "DIR")
}

#[test]
fn only_configuration_files_are_read_and_by_name() {
    let dir = directory(&[
        ("b.yaml", &vrf("b")),
        ("a.yml", &vrf("a")),
        ("c.json", &json("c")),
        (".hidden.yaml", "]"),
        ("#a.yaml#", "]"),
        ("#c.yaml", "]"),
        ("~d.yaml", "]"),
        ("a.yaml~", "]"),
        ("a.yaml.bak", "]"),
        ("README.md", "]"),
    ]);
    fs::create_dir(dir.path().join("sub.yaml")).unwrap();
    fs::write(dir.path().join("sub.yaml/x.yaml"), "]").unwrap();
    let loaded = load(dir.path());
    assert_eq!(shown(&loaded, dir.path()), "");
    assert_eq!(names(&loaded), ["a", "b", "c"]);
    assert!(loaded.intent.origin("Vrf", "b").file.ends_with("b.yaml"));
    assert_eq!(loaded.sources.len(), 3);
}

#[test]
fn a_single_file_may_have_any_name() {
    let dir = directory(&[("lab.conf", &vrf("red"))]);
    assert_eq!(names(&load(&dir.path().join("lab.conf"))), ["red"]);
}

#[test]
fn a_config_map_is_followed() {
    let dir = directory(&[]);
    fs::create_dir(dir.path().join("..2026")).unwrap();
    fs::write(dir.path().join("..2026/a.yaml"), vrf("red")).unwrap();
    symlink("..2026", dir.path().join("..data")).unwrap();
    symlink("..data/a.yaml", dir.path().join("a.yaml")).unwrap();
    assert_eq!(names(&load(dir.path())), ["red"]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let dir = directory(&[("utf16.yaml", ""), ("latin.yaml", ""), ("ok.yaml", &vrf("red"))]);
    let path = dir.path();
    fs::write(path.join("utf16.yaml"), b"\xff\xfek\0i\0").unwrap();
    fs::write(path.join("latin.yaml"), b"# first\nname: \xc3\xa9 gr\xfcn\n").unwrap();
    symlink("nowhere", path.join("dangling.yaml")).unwrap();
    let loaded = load(path);
    assert!(!loaded.is_ok());
    expect_test::expect![[r#"
        error: the symbolic link leads nowhere
         --> DIR/dangling.yaml
          = help: mend or remove it

        error: the octet 0xfc is not UTF-8
         --> DIR/latin.yaml:2:11
          |
        2 | name: é gr�n
          |           ^^
          = help: save the file as UTF-8

        error: the file is UTF-16, not UTF-8
         --> DIR/utf16.yaml:1:1
          |
        1 | ��k�i�
          | ^^^^^^
          = help: save the file as UTF-8

        3 errors
    "#]]
    .assert_eq(&shown(&loaded, path));
    assert_eq!(names(&loaded), ["red"]);
}

#[test]
fn missing_and_empty_directories_are_said() {
    let dir = directory(&[]);
    let missing = load(&dir.path().join("nothing"));
    assert!(!missing.is_ok());
    expect_test::expect![[r#"
        error: there is no such file or directory
         --> DIR/nothing
          = help: check the path, or create it

        1 error
    "#]]
    .assert_eq(&shown(&missing, dir.path()));
    let empty = load(dir.path());
    assert!(empty.is_ok());
    expect_test::expect![[r#"
        warning: the directory has no *.yaml, *.yml or *.json files, so nothing is configured
         --> DIR
          = help: add files, or name another directory

        1 warning
    "#]]
    .assert_eq(&shown(&empty, dir.path()));
}

#[test]
fn endless_and_oversized_files_are_refused() {
    let dir = directory(&[]);
    let device = load(Path::new("/dev/zero"));
    assert!(device.problems[0].what.contains("not a regular file"), "{}", device.problems[0]);
    let large = fs::File::create(dir.path().join("large.yaml")).unwrap();
    large.set_len((64 << 20) + 1).unwrap();
    let loaded = load(dir.path());
    assert_eq!(loaded.problems.len(), 1);
    assert!(loaded.problems[0].what.contains("larger than 64 MiB"), "{}", loaded.problems[0]);
}
