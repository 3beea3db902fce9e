//! A library beside reading from nothing, over random histories of a directory.

use super::*;
use crate::{load, parse};
use proptest::prelude::*;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;
use tempfile::tempdir;

mod cluster;

/// Something that a file may say; small numbers, so that files meet.
fn documents() -> impl Strategy<Value = String> {
    let object = |kind: &str, name: String, spec: String| {
        format!(
            "apiVersion: thalweg.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        )
    };
    let route = move |(n, net, vrf, metric, bfd): (u8, u8, Option<u8>, u8, Option<u8>)| {
        let vrf = vrf.map(|vrf| format!("vrf: v{vrf}, ")).unwrap_or_default();
        let bfd = bfd.map(|bfd| format!(", bfd: s{bfd}")).unwrap_or_default();
        let prefixes = format!("[10.{net}.0.0/16, 10.{}.0.0/16]", net + 1);
        let spec = format!("{{{vrf}prefixes: {prefixes}, metric: {metric}, via: 10.0.0.1{bfd}}}");
        object("Route", format!("r{n}"), spec)
    };
    let one = (
        0..6u8,
        0..40u8,
        proptest::option::weighted(0.3, 0..3u8),
        0..3u8,
        proptest::option::weighted(0.1, 0..2u8),
    );
    prop_oneof![
        8 => one.prop_map(route),
        2 => (0..40u8, 0..40u8).prop_map(move |(n, net)| {
            object("Route", format!("q{n}"), format!("{{prefix: 11.{net}.0.0/16, action: Blackhole}}"))
        }),
        2 => (0..3u8, 0..4u8).prop_map(move |(n, table)| {
            object("Vrf", format!("v{n}"), format!("{{table: {}}}", table + 10))
        }),
        2 => (0..3u8, 0..4u8).prop_map(move |(n, name)| {
            object("Link", format!("l{n}"), format!("{{interfaces: [eth{name}], role: Ignored, mtu: 1500}}"))
        }),
        1 => (0..3u8, 0..30u8).prop_map(move |(n, label)| {
            object("LabelRoute", format!("m{n}"), format!("{{label: {}, via: 10.0.0.1, ttlModel: Pipe}}", label + 16))
        }),
        1 => (0..2u8, 0..3u8).prop_map(move |(n, peer)| {
            object("BfdSession", format!("s{n}"), format!("{{peer: 10.0.0.{}, link: eth0}}", peer + 1))
        }),
        1 => (1..3u8).prop_map(move |burst| {
            let range = format!("services: {{nodePortRange: 30000-3000{burst}}}");
            object("Router", "router".into(), format!("{{burst: {burst}, {range}}}"))
        }),
        12 => cluster::documents(),
        1 => Just("# Nothing but a word.\n".to_owned()),
        1 => prop_oneof![
            Just("kind: [\n".to_owned()),
            Just("kind: Route\nspec: {prefx: 10.0.0.0/8}\n".to_owned()),
            Just("- *nowhere\n".to_owned()),
            Just("\u{1}BROKEN\n".to_owned()),
        ],
    ]
}

/// What happens to a directory.
#[derive(Clone, Debug)]
enum Step {
    Write(u8, Vec<String>),
    /// Another file of the same size and times.
    Disguise(u8),
    Remove(u8),
    Rename(u8, u8),
    Copy(u8, u8),
    Damage(u8),
    Touch(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let text = proptest::collection::vec(documents(), 0..5);
    let step = prop_oneof![
        6 => (0..4u8, text).prop_map(|(file, text)| Step::Write(file, text)),
        2 => (0..4u8).prop_map(Step::Disguise),
        2 => (0..4u8).prop_map(Step::Remove),
        2 => (0..4u8, 0..4u8).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => (0..4u8, 0..4u8).prop_map(|(from, to)| Step::Copy(from, to)),
        1 => (0..4u8).prop_map(Step::Damage),
        1 => (0..4u8).prop_map(Step::Touch),
    ];
    proptest::collection::vec(step, 1..25)
}

fn take(step: Step, directory: &Path) {
    let path = |file: u8| directory.join(format!("f{file}.yaml"));
    // What is not there cannot be changed.
    match step {
        Step::Write(file, text) => fs::write(path(file), text.join("---\n")).unwrap(),
        Step::Disguise(file) => {
            let Ok(text) = fs::read_to_string(path(file)) else { return };
            let modified = path(file).metadata().unwrap().modified().unwrap();
            let text = text
                .replace("metric: 1", "metric: 7")
                .replace("nodePort: 30001", "nodePort: 30002");
            fs::write(path(file), text).unwrap();
            fs::File::options()
                .append(true)
                .open(path(file))
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }
        Step::Remove(file) => drop(fs::remove_file(path(file))),
        Step::Rename(from, to) => drop(fs::rename(path(from), path(to))),
        Step::Copy(from, to) if from != to => drop(fs::copy(path(from), path(to))),
        Step::Copy(..) => {}
        Step::Damage(file) => fs::write(path(file), b"kind: \xff\n").unwrap(),
        Step::Touch(file) => {
            if let Ok(file) = fs::File::options().append(true).open(path(file)) {
                file.set_modified(SystemTime::now()).unwrap();
            }
        }
    }
}

fn same(one: &Loaded, other: &Loaded) {
    assert_eq!(one.problems, other.problems);
    assert_eq!(one.intent, other.intent);
    let texts = |loaded: &Loaded| -> Vec<(String, String)> {
        loaded.sources.iter().map(|s| (s.name().to_owned(), s.text().to_owned())).collect()
    };
    assert_eq!(texts(one), texts(other));
}

/// A clock that takes every file for old, so that looks alone decide.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(3_600)
}

fn follow(mut library: Library, steps: Vec<Step>, tick: Duration) {
    let directory = tempdir().unwrap();
    let mut before = Intent::default();
    for step in steps {
        take(step, directory.path());
        std::thread::sleep(tick);
        let (read, plain) = (library.load(directory.path()), load(directory.path()));
        same(&read, &plain);
        // One that knows nothing yet reads all files at once.
        same(&Library::default().load(directory.path()), &plain);
        // What was given out before does not change under its owner's hands.
        let names: Vec<String> = before.routes.keys().cloned().collect();
        let copy = before.clone();
        for change in copy.routes.differences(&read.intent.routes) {
            assert_eq!(change.new, plain.intent.routes.get(change.key));
        }
        for change in copy.cluster.services.differences(&read.intent.cluster.services) {
            assert_eq!(change.new, plain.intent.cluster.services.get(change.key));
        }
        assert_eq!(names, before.routes.keys().cloned().collect::<Vec<_>>());
        before = read.intent;
    }
}

/// The file that alone changes.
fn only(step: &Step) -> Option<u8> {
    match step {
        Step::Write(file, _) | Step::Disguise(file) | Step::Damage(file) | Step::Touch(file) => {
            Some(*file)
        }
        Step::Copy(_, to) => Some(*to),
        Step::Remove(_) | Step::Rename(..) => None,
    }
}

/// As one that watches reads; returns how often one file was enough.
fn follow_changes(steps: Vec<Step>) -> usize {
    let directory = tempdir().unwrap();
    let user = directory.path().metadata().unwrap().uid();
    let mut library = Library::default();
    let mut single = 0;
    for step in steps {
        let only = only(&step).map(|file| OsString::from(format!("f{file}.yaml")));
        take(step, directory.path());
        let changed = only.filter(|name| directory.path().join(name).exists());
        let read = changed.and_then(|name| library.load_changed(directory.path(), &name, user));
        single += usize::from(read.is_some());
        let read = read.unwrap_or_else(|| library.load_guarded(directory.path(), user));
        same(&read, &crate::load_guarded(directory.path(), user));
    }
    single
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn one_file_of_a_directory_is_read_as_all_of_them_are(steps in steps()) {
        follow_changes(steps);
    }
}

#[test]
fn one_file_that_others_can_write_is_refused_as_all_of_them_are() {
    let directory = tempdir().unwrap();
    let (path, name) = (directory.path(), OsString::from("a.yaml"));
    let user = path.metadata().unwrap().uid();
    let mode = |mode| {
        let rights = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path.join("a.yaml"), rights).unwrap();
    };
    fs::write(path.join("a.yaml"), "# 1\n").unwrap();
    fs::write(path.join("b.yaml"), "# 1\n").unwrap();
    mode(0o644);
    let mut library = Library::default();
    assert!(library.load_guarded(path, user).is_ok());
    assert!(library.load_changed(path, &name, user).is_some());
    mode(0o666);
    assert!(library.load_changed(path, &name, user).is_none());
    assert!(!library.load_guarded(path, user).is_ok());
    // What was refused is no ground to stand on.
    mode(0o644);
    assert!(library.load_changed(path, &name, user).is_none());
}

#[test]
fn one_file_is_enough_where_nothing_else_hangs_on_it() {
    let service = |n: u32| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{n}, namespace: x}}\n\
             spec: {{clusterIP: 10.0.0.{n}, ports: [{{port: 80}}]}}\n"
        )
    };
    let write = |file, n| Step::Write(file, vec![service(n)]);
    assert_eq!(follow_changes(vec![write(0, 1), write(1, 2), write(0, 3), write(1, 4)]), 2);
    // The same object twice, and then no more.
    assert_eq!(follow_changes(vec![write(0, 1), write(1, 2), write(1, 1), write(1, 3)]), 0);
    assert_eq!(follow_changes(vec![write(0, 1), write(1, 2), Step::Damage(1), write(1, 3)]), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_library_reads_what_reading_from_nothing_does(steps in steps()) {
        follow(Library::default(), steps, Duration::ZERO);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn and_by_the_looks_of_files_too(steps in steps()) {
        // Longer than the clock of any file system that tests run on ticks.
        follow(Library { clock: later, ..Library::default() }, steps, Duration::from_millis(11));
    }

    #[test]
    fn texts_are_read_like_files(steps in proptest::collection::vec(
        proptest::collection::vec((0..4u8, proptest::collection::vec(documents(), 0..4)), 0..4),
        1..8,
    )) {
        let mut library = Library::default();
        for files in steps {
            let files: Vec<_> = files
                .into_iter()
                .map(|(file, text)| (format!("f{file}.yaml"), text.join("---\n")))
                .collect();
            same(&library.parse(&files), &parse(&files));
        }
    }
}

#[test]
fn more_problems_than_are_shown_are_counted_alike() {
    let directory = tempdir().unwrap();
    let idle = |n: usize| {
        format!(
            "apiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata: {{name: r{n}}}\n\
             spec: {{prefix: 10.{}.{}.0/24, via: 10.0.0.1, ttl: 7, vrf: none}}\n---\n",
            n / 250,
            n % 250
        )
    };
    let mut library = Library::default();
    for file in 0..3 {
        let text: String = (file * 200..(file + 1) * 200).map(idle).collect();
        fs::write(directory.path().join(format!("{file}.yaml")), text).unwrap();
        let (read, plain) = (library.load(directory.path()), load(directory.path()));
        assert!(!plain.problems.is_empty());
        same(&read, &plain);
    }
}

#[test]
fn what_did_not_change_is_neither_read_nor_copied() {
    let directory = tempdir().unwrap();
    let big: String =
        (0..2_000).map(|n| format!("  - 10.{}.{}.0/24\n", n / 250, n % 250)).collect();
    let head = "apiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata: {name: big}\n";
    let big = format!("{head}spec:\n  via: 10.0.0.1\n  prefixes:\n{big}");
    fs::write(directory.path().join("big.yaml"), &big).unwrap();
    let mut library = Library { clock: later, ..Library::default() };
    let first = library.load(directory.path());
    let small = "apiVersion: thalweg.dev/v1alpha1\nkind: Route\nmetadata: {name: one}\n\
                 spec: {prefix: 11.0.0.0/8, via: 10.0.0.1}\n";
    fs::write(directory.path().join("one.yaml"), small).unwrap();
    let second = library.load(directory.path());
    assert!(Arc::ptr_eq(
        first.sources.iter().next().unwrap(),
        second.sources.iter().next().unwrap()
    ));
    // A change within a file leaves the rest of it shared, too.
    std::thread::sleep(Duration::from_millis(11));
    fs::write(directory.path().join("big.yaml"), big.replacen("10.3.7.0/24", "10.99.7.0/24", 1))
        .unwrap();
    let third = library.load(directory.path());
    let old: HashSet<_> = second.intent.routes.entries().map(Arc::as_ptr).collect();
    let fresh = third.intent.routes.entries().filter(|entry| !old.contains(&Arc::as_ptr(entry)));
    assert_eq!((third.intent.routes.len(), fresh.count()), (2_001, 1));
}
