//! `kill -9` at any moment.

use crate::flows;
use crate::lab::{Lab, during};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thalweg_agent::fault;
use thalweg_testkit::inventory::Inventory;
use thalweg_testkit::stream::Tally;

/// One instance: one map of next hops, and two programs that read it.
pub const ONE: Inventory = Inventory { maps: 1, programs: 2 };

/// How often agents are killed at random moments: `THALWEG_KILLS`.
pub fn kills() -> u64 {
    std::env::var("THALWEG_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[track_caller]
pub fn unharmed(lab: &Lab, what: &str, tally: &Tally) {
    println!("{what}: {}", tally.line());
    let harm = tally.lost + tally.changed + tally.twice;
    assert!(tally.sent > 0 && harm == 0, "{what}: {:#?}\n{}", tally.samples, lab.log());
}

/// Waits until nothing of agents before is in the kernel any more: it frees things in its own time.
#[track_caller]
pub fn alone(lab: &Lab, names: &[String]) {
    lab.until(&format!("one instance: {:?}", lab.inventory()), || lab.inventory() == ONE);
    assert_eq!(lab.names(), names);
}

/// Takes the instance out; nothing may be left.
#[track_caller]
pub fn leaves(lab: &mut Lab) {
    lab.kill();
    let output = lab.detach(None);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(lab.names(), [""; 0]);
    lab.until("nothing in the kernel", || lab.inventory() == Inventory { maps: 0, programs: 0 });
}

/// Does `work` under the stream, with everything else changing all the time.
#[track_caller]
pub fn under_load(lab: &mut Lab, what: &str, work: impl FnOnce(&mut Lab)) -> Tally {
    let flows = lab.settled();
    let stream = lab.stream(flows);
    let stop = AtomicBool::new(false);
    let noisy = lab.noisy();
    let tally = during(&stream, || {
        std::thread::scope(|scope| {
            scope.spawn(|| noisy.run(&stop));
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(lab)));
            // The last agent puts some more changes in force.
            std::thread::sleep(Duration::from_millis(1500));
            stop.store(true, Ordering::Relaxed);
            if let Err(panic) = done {
                std::panic::resume_unwind(panic);
            }
        });
    });
    unharmed(lab, what, &tally);
    for flow in [flows::MIXED, flows::RELABELLED] {
        let used = tally.answers[flow].iter().all(|count| *count > 0);
        assert!(used, "{what}: nothing changed meanwhile: {:?}", tally.answers[flow]);
    }
    tally
}

#[test]
fn kills_at_any_moment_lose_nothing() {
    let Some(mut lab) = Lab::new("Native") else { return };
    if !lab.starts() {
        return;
    }
    let names = lab.names();
    under_load(&mut lab, "kills at any moment", |lab| {
        for turn in 0..kills() {
            // Multiples of a number that has nothing to do with anything: in the start and after.
            std::thread::sleep(Duration::from_micros(turn * 77_917 % 600_000));
            lab.kill();
            lab.start(None);
            if turn % 4 == 3 {
                lab.until("in force", || lab.in_force());
                alone(lab, &names);
            }
        }
        lab.until("in force", || lab.in_force());
        alone(lab, &names);
    });
    leaves(&mut lab);
}

/// Whether every step is to be tried each time that an agent comes by it, not once only.
fn thorough() -> bool {
    kills() >= 100
}

/// What became of an agent with a fault.
#[derive(Debug, Eq, PartialEq)]
pub enum End {
    /// It died before its programs were at the hooks.
    Starting,
    /// It died later.
    InForce,
    /// It came by so often only in half a second of forwarding, and lives.
    Lives,
}

/// Starts an agent that dies the so manieth time that it comes by a point. With `patience`, it is
/// waited for even if that takes long.
pub fn dies(lab: &mut Lab, point: &str, count: u32, patience: bool) -> End {
    lab.kill();
    lab.start(Some(&format!("{point}:{count}")));
    let wait = Duration::from_millis(if patience { 30_000 } else { 500 });
    let mut in_force: Option<Instant> = None;
    loop {
        if let Some(code) = lab.ended() {
            assert_eq!(code, None, "{point}: {}", lab.log());
            return if in_force.is_some() { End::InForce } else { End::Starting };
        }
        match in_force {
            Some(since) if since.elapsed() > wait => return End::Lives,
            None if lab.in_force() => in_force = Some(Instant::now()),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// The last agent lives, and is the only one.
#[track_caller]
pub fn recovers(lab: &mut Lab, names: &[String]) {
    lab.kill();
    lab.start(None);
    lab.until("in force", || lab.in_force());
    alone(lab, names);
}

#[test]
fn kills_at_every_step_of_a_take_over_lose_nothing() {
    let Some(mut lab) = Lab::new("Native") else { return };
    if !lab.starts() {
        return;
    }
    let names = lab.names();
    under_load(&mut lab, "kills at every step of a take-over", |lab| {
        for point in fault::START {
            // Each of two hooks on each of two links.
            let hooks = if point.starts_with("update") { 4 } else { 1 };
            let most = if thorough() { u32::MAX } else { hooks };
            let times =
                (1..=most).take_while(|count| dies(lab, point, *count, false) == End::Starting);
            let times = times.count();
            println!("{point}: {times} times");
            assert!(times >= hooks as usize, "nobody comes by {point}");
        }
        recovers(lab, &names);
    });
    leaves(&mut lab);
}

#[test]
fn kills_at_every_step_of_a_plan_lose_nothing() {
    let Some(mut lab) = Lab::new("Native") else { return };
    if !lab.starts() {
        return;
    }
    let names = lab.names();
    under_load(&mut lab, "kills at every step of a plan", |lab| {
        for point in fault::TABLES {
            if thorough() {
                assert_eq!(dies(lab, point, 1, false), End::Starting, "{point}");
            }
            // One of the plans that follow, of files or of the kernel's routes.
            let counts = if thorough() { 400..410 } else { 400..401 };
            for count in counts {
                let count = if *point == "tables-part" { count } else { count / 10 };
                assert_eq!(dies(lab, point, count, true), End::InForce, "{point}");
            }
        }
        recovers(lab, &names);
    });
    leaves(&mut lab);
}

#[test]
fn kills_while_hooks_are_exchanged_lose_nothing() {
    let Some(mut lab) = Lab::new("Native") else { return };
    if !lab.starts() {
        return;
    }
    let names = lab.names();
    let wishes: &[&str] = match thorough() {
        true => &["Generic", "Native", "Tc", "Native", "Tc", "Generic", "Tc", "Native"],
        false => &["Generic", "Native"],
    };
    under_load(&mut lab, "kills while hooks are exchanged", |lab| {
        for point in fault::MOVE {
            let mut deaths = 0;
            for count in 1..=if thorough() { 2 } else { 1 } {
                for wish in wishes {
                    lab.steady(wish);
                    let end = dies(lab, point, count, false);
                    deaths += u32::from(end == End::Starting);
                }
            }
            println!("{point}: {deaths} times");
            assert!(deaths > 0, "nobody comes by {point}");
        }
        lab.steady("Native");
        recovers(lab, &names);
    });
    leaves(&mut lab);
}

#[test]
fn a_detach_that_is_killed_is_finished_by_the_next() {
    let Some(mut lab) = Lab::new("Native") else { return };
    for point in fault::DETACH {
        for count in 1.. {
            lab.kill();
            if lab.names().is_empty() && !lab.starts() {
                return;
            }
            lab.kill();
            let died = lab.detach(Some(&format!("{point}:{count}"))).status.code().is_none();
            leaves(&mut lab);
            if !died {
                assert!(count > 1, "nobody comes by {point}");
                println!("{point}: {} times", count - 1);
                break;
            }
            if !thorough() && count == 2 {
                break;
            }
        }
    }
}
