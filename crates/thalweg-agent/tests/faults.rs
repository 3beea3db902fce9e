//! Kills the agent at every step of changing a configuration: the next one comes up with the old or
//! the new, whole, and nothing lies about.

mod lab;

use lab::{Files, Lab, files};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use thalweg_agent::fault;
use thalweg_api::view::Phase;

/// The process of the lab.
#[test]
fn agent() {
    lab::agent();
}

fn old() -> Files {
    files(&[("a", "10.0.2.0/24"), ("b", "10.0.3.0/24"), ("old", "10.0.4.0/24")])
}

fn new() -> Files {
    files(&[("a", "10.0.5.0/24"), ("b", "10.0.6.0/24"), ("new", "10.0.7.0/24")])
}

const OLD: [&str; 3] = ["10.0.2.0/24", "10.0.3.0/24", "10.0.4.0/24"];
const NEW: [&str; 3] = ["10.0.5.0/24", "10.0.6.0/24", "10.0.7.0/24"];

/// Waits until the agent is dead or `done`; returns whether it died.
fn dies(lab: &mut Lab, done: impl Fn(&Lab) -> bool) -> bool {
    let start = Instant::now();
    loop {
        if lab.died() {
            lab.kill();
            return true;
        }
        if done(lab) {
            return false;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "neither dead nor done");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn in_force(lab: &Lab) -> bool {
    lab.status().is_some_and(|status| status.phase == Phase::InForce && !status.hooks.is_empty())
}

/// Names in a directory that nobody should find.
fn leftovers(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.') || name == "apply.json").collect()
}

/// Goes through a change with an agent that dies at a point; returns whether it did.
fn change(fault: &str, confirm: Option<u64>) -> bool {
    let mut lab = Lab::running(&old());
    lab.stop();
    lab.start(Some(fault));
    let mut died = dies(&mut lab, in_force);
    if !died {
        let _ = lab.try_apply(&new(), confirm, None);
        died = match confirm {
            None => dies(&mut lab, |lab| lab.status().is_some_and(|s| s.generation == 3)),
            Some(_) => dies(&mut lab, |lab| {
                lab.status().is_some_and(|s| s.pending.is_none() && s.generation == 4)
            }),
        };
        // It may die of what is still to be written.
        died |= !lab.stop();
    }
    lab.start(None);
    let status = lab.until(|status| status.phase == Phase::InForce);
    let start = Instant::now();
    loop {
        if whole(&lab) {
            break;
        }
        // A trial may end between the two questions.
        let late = start.elapsed() > Duration::from_secs(if confirm.is_some() { 5 } else { 0 });
        assert!(!late, "{fault}: {:#?} {:?}", lab.on_disk(), lab.prefixes());
    }
    assert!(status.is_well() && status.problems.is_empty(), "{fault}: {status:#?}");
    if confirm.is_some() {
        lab.until(|status| status.pending.is_none());
        assert_eq!((lab.on_disk(), lab.prefixes()), (old(), OLD.map(str::to_owned).to_vec()));
        assert!(!lab.state().join("pending.json").exists(), "{fault}");
    }
    for path in [lab.path("etc"), lab.state(), lab.state().join("configs")] {
        assert!(leftovers(&path).is_empty(), "{fault}: {:?}", leftovers(&path));
    }
    let numbers: Vec<u64> = lab.history().iter().map(|entry| entry.generation).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{fault}: {numbers:?}");
    assert!(lab.history().iter().all(|entry| entry.kept), "{fault}: {:?}", lab.history());
    died
}

/// Each place, each time that it is come by.
fn at_every_point(confirm: Option<u64>, except: &[&str]) {
    let points: Vec<&str> = fault::STATE.iter().copied().filter(|p| !except.contains(p)).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || loop {
        let at = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let Some(point) = points.get(at) else { return };
        let mut count = 1;
        while change(&format!("{point}:{count}"), confirm) {
            count += 1;
        }
        assert!(count > 1, "nobody comes by {point}");
        println!("{point}: {} times", count - 1);
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

#[test]
fn a_crash_leaves_the_old_or_the_new() {
    at_every_point(None, &["pending-gone"]);
}

/// Whether files and routes are those of one of the two configurations.
fn whole(lab: &Lab) -> bool {
    let (disk, prefixes) = (lab.on_disk(), lab.prefixes());
    let mut all = [(old(), OLD), (new(), NEW)].into_iter();
    all.any(|(files, routes)| disk == files && prefixes == routes)
}

#[test]
fn kills_at_any_moment_leave_the_old_or_the_new() {
    let mut lab = Lab::running(&old());
    // Multiples of a number that has nothing to do with anything.
    for turn in 0..40_u64 {
        std::thread::scope(|scope| {
            let agent = lab.agent.as_ref().unwrap().id();
            scope.spawn(move || {
                std::thread::sleep(Duration::from_micros(turn * 7_919 % 60_000));
                let pid = rustix::process::Pid::from_raw(agent as i32).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            });
            for files in [new(), old()].iter().cycle() {
                if lab.try_apply(files, None, None).is_err() {
                    break;
                }
            }
        });
        lab.kill();
        lab.start(None);
        let status = lab.until(|status| status.phase == Phase::InForce);
        assert!(whole(&lab) && status.is_well(), "turn {turn}: {status:#?} {:?}", lab.on_disk());
    }
    let numbers: Vec<u64> = lab.history().iter().map(|entry| entry.generation).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    println!("{} generations", numbers.len());
}

#[test]
fn a_crash_in_a_trial_ends_with_the_old() {
    at_every_point(Some(1), &[]);
}
