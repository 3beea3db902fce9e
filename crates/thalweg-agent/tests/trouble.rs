//! Trouble around the agent: clocks that jump, disks without room, files that go while they are read,
//! and two agents at once. Nothing in force is lost by any of it.

mod lab;

use lab::{Files, LINK, Lab, files, refused, route, skip};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use thalweg_api::view::{EventPage, Phase};
use thalweg_api::{Answer, Call, EventQuery};

/// The process of the lab.
#[test]
fn agent() {
    lab::agent();
}

/// What a process gets to hear of the clock on the wall: as much later as a file says, in seconds. No
/// test may set the clock of the machine, and no namespace has one of its own.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    const char *path = getenv("THALWEG_TEST_CLOCK");
    FILE *file = clock == CLOCK_REALTIME && path ? fopen(path, "r") : NULL;
    long long later = 0;
    if (file) {
        if (fscanf(file, "%lld", &later) == 1) now->tv_sec += later;
        fclose(file);
    }
    return result;
}
"#;

const HOUR: i64 = 3_600;

/// Compiles [`CLOCK`]; none without a C compiler.
fn clock(dir: &Path) -> Option<PathBuf> {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    fs::write(&source, CLOCK).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    compiled.is_ok_and(|status| status.success()).then_some(library)
}

/// Lets the clock on the wall jump to so many hours from the true time.
fn jump(lab: &Lab, hours: i64) {
    fs::write(lab.path("offset.new"), (hours * HOUR).to_string()).unwrap();
    fs::rename(lab.path("offset.new"), lab.path("offset")).unwrap();
}

fn events(lab: &Lab) -> EventPage {
    match lab.call(Call::Events(EventQuery::default())) {
        Ok(Answer::Events(page)) => page,
        other => panic!("{other:?}"),
    }
}

/// Writes a file, and waits until its route is the one in force.
fn follows(lab: &Lab, prefix: &str) {
    lab.write("lan.yaml", &route("lan", prefix));
    lab.until(|_| lab.prefixes() == [prefix]);
}

#[test]
fn jumps_of_the_clock_change_no_deadline_and_no_order() {
    let mut lab = Lab::new(&files(&[("lan", "10.0.2.0/24")]));
    let Some(library) = clock(lab.dir.path()) else {
        return skip("jumps_of_the_clock_change_no_deadline_and_no_order: no C compiler (cc)");
    };
    lab.environment = vec![
        ("LD_PRELOAD".into(), library.display().to_string()),
        ("THALWEG_TEST_CLOCK".into(), lab.path("offset").display().to_string()),
    ];
    jump(&lab, 0);
    lab.start(None);
    lab.until(|status| status.phase == Phase::InForce);
    // Files are followed whatever the clock says.
    jump(&lab, 24);
    follows(&lab, "10.0.3.0/24");
    jump(&lab, -24);
    follows(&lab, "10.0.4.0/24");
    let at: Vec<_> = lab.history().into_iter().map(|entry| entry.at).collect();
    assert!(at[1] > at[0] && at[2] < at[0], "the clock did jump: {at:?}");
    // A trial of an hour is not over because the clock went on by two days …
    lab.apply(&files(&[("lan", "10.0.5.0/24")]), Some(3_600));
    jump(&lab, 24);
    let pending = lab.until(|status| status.pending.is_some()).pending.unwrap();
    assert!((3_500..=3_600).contains(&pending.seconds), "{pending:?}");
    let events_so_far = events(&lab).events.len();
    assert!(lab.prefixes() == ["10.0.5.0/24"]);
    lab.call(Call::Confirm).unwrap();
    // … and one of a second does not last because it went back, also not over a restart.
    lab.apply(&files(&[("lan", "10.0.6.0/24")]), Some(1));
    jump(&lab, -24);
    lab.until(|status| status.pending.is_none());
    assert_eq!(lab.prefixes(), ["10.0.5.0/24"]);
    lab.apply(&files(&[("lan", "10.0.7.0/24")]), Some(2));
    lab.kill();
    jump(&lab, -48);
    lab.start(None);
    lab.until(|status| status.phase == Phase::InForce && status.pending.is_none());
    assert_eq!(lab.prefixes(), ["10.0.5.0/24"]);
    // Generations and events are in the order in which they happened, not in that of the clock.
    let numbers: Vec<u64> = lab.history().iter().map(|entry| entry.generation).collect();
    assert!(numbers.len() > 6 && numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(lab.history().iter().all(|entry| entry.kept), "{:?}", lab.history());
    let page = events(&lab);
    assert!(events_so_far > 0 && page.events.is_sorted_by(|a, b| a.number < b.number));
    lab.rollback(3).unwrap();
    assert_eq!(lab.prefixes(), ["10.0.4.0/24"], "of the day before the first");
}

/// Fills a file system with a file.
fn fill(path: PathBuf) {
    let mut ballast = fs::File::create(path).unwrap();
    while ballast.write_all(&[0; 1024]).is_ok() {}
}

#[test]
fn going_back_finds_no_room_says_where_and_changes_nothing() {
    for small in ["var/lab", "etc"] {
        let mut lab = Lab::new(&files(&[]));
        if !lab.mount(small, "128k") {
            return skip(
                "going_back_finds_no_room_says_where_and_changes_nothing: no rights to mount a \
                 file system",
            );
        }
        files(&[("lan", "10.0.2.0/24")]).iter().for_each(|(name, text)| lab.write(name, text));
        lab.start(None);
        lab.until(|status| status.phase == Phase::InForce);
        lab.apply(&files(&[("lan", "10.0.3.0/24")]), None);
        let before = lab.on_disk();
        fill(lab.path(small).join("ballast"));
        let words = refused(lab.rollback(1));
        assert!(words.contains("No space left") && words.contains("nothing changed"), "{words}");
        assert!(words.contains(&lab.path(small).display().to_string()), "{words}");
        fs::remove_file(lab.path(small).join("ballast")).unwrap();
        assert_eq!((lab.on_disk(), lab.prefixes()), (before, vec!["10.0.3.0/24".to_owned()]));
        assert_eq!(lab.sources(), ["1 start", "2 apply"]);
        lab.rollback(1).unwrap();
        assert_eq!(lab.prefixes(), ["10.0.2.0/24"]);
    }
}

/// A configuration that takes a while to read.
fn large(prefix: &str) -> Files {
    let many = |file: usize| {
        let object = |n: usize| route(&format!("f{file}n{n}"), &format!("10.{file}.{n}.0/24"));
        let objects: Vec<String> = (0..10).map(object).collect();
        (format!("many{file}.yaml"), objects.join("---\n"))
    };
    let link = LINK.to_owned();
    let own = [("link.yaml".to_owned(), link), ("lan.yaml".to_owned(), route("lan", prefix))];
    (100..140).map(many).chain(own).collect()
}

#[test]
fn a_directory_that_goes_while_it_is_read_leaves_what_is_in_force() {
    let lab = Lab::running(&large("10.0.2.0/24"));
    let all = lab.prefixes();
    assert_eq!(all.len(), 401);
    let (etc, aside) = (lab.path("etc"), lab.path("aside"));
    for turn in 0..20_u64 {
        // Wakes the reader, and takes the files from under it.
        lab.write("lan.yaml", &(route("lan", "10.0.2.0/24") + &format!("# {turn}\n")));
        std::thread::sleep(Duration::from_millis(45 + turn % 10 * 3));
        fs::rename(&etc, &aside).unwrap();
        std::thread::sleep(Duration::from_millis(turn % 7 * 20));
        assert_eq!(lab.prefixes(), all, "turn {turn}");
        if turn % 4 < 2 {
            let gone = lab.until(|status| !status.config.problems.is_empty());
            let words = gone.config.problems[0].to_string();
            assert!(words.contains(&etc.display().to_string()), "{words}");
            assert_eq!(lab.prefixes(), all, "turn {turn}");
        }
        fs::rename(&aside, &etc).unwrap();
    }
    lab.until(|status| status.config.problems.is_empty());
    assert_eq!(lab.prefixes(), all);
}

#[test]
fn of_agents_started_at_once_one_runs_and_the_others_name_it() {
    for _ in 0..5 {
        let mut lab = Lab::new(&files(&[("lan", "10.0.2.0/24")]));
        let agents: Vec<_> =
            (0..4).map(|number| lab.spawn(None, &format!("log{number}"))).collect();
        lab.until(|status| status.phase == Phase::InForce);
        let (mut first, mut turned_away) = (None, Vec::new());
        for (number, mut agent) in agents.into_iter().enumerate() {
            let start = Instant::now();
            loop {
                match agent.try_wait().unwrap() {
                    Some(_) => break turned_away.push(number),
                    None if start.elapsed() > Duration::from_secs(3) => break,
                    None => std::thread::sleep(Duration::from_millis(10)),
                }
            }
            if turned_away.last() != Some(&number) {
                assert!(first.is_none(), "two agents run");
                first = Some(agent.id());
                lab.agent = Some(agent);
            }
        }
        let words = format!("instance `lab` is already running: pid {} since ", first.unwrap());
        for number in &turned_away {
            let said = fs::read_to_string(lab.path(&format!("log{number}"))).unwrap();
            assert!(said.contains(&words), "{words}\n{said}");
        }
        assert_eq!(turned_away.len(), 3);
        lab.until(|_| lab.prefixes() == ["10.0.2.0/24"]);
    }
}
