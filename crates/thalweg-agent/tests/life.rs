//! What people do to a running agent, and what it remembers of it.

mod lab;

use lab::{Lab, files, refused, route, skip};
use std::fs;
use std::io::Write;
use std::time::Duration;
use thalweg_api::view::{EventPage, EventSeverity, Phase};
use thalweg_api::{Answer, Call, EventQuery};

/// The process of the lab.
#[test]
fn agent() {
    lab::agent();
}

#[test]
fn an_apply_is_one_generation_and_is_what_the_files_say() {
    let mut lab = Lab::running(&files(&[("lan", "10.0.2.0/24"), ("old", "10.0.3.0/24")]));
    lab.write("README", "stays");
    let new = files(&[("lan", "10.0.4.0/24"), ("more", "10.0.5.0/24")]);
    let view = lab.try_apply(&new, None, Some("a new lan")).unwrap();
    assert_eq!((view.accepted, view.generation), (true, 2), "{view:?}");
    let change = view.change.unwrap();
    let objects: Vec<_> =
        change.change.objects.iter().map(|o| format!("{} {}", o.change, o.object)).collect();
    assert_eq!(objects, ["changed Route/lan", "added Route/more", "removed Route/old"]);
    assert_eq!(change.message.as_deref(), Some("a new lan"));
    assert_eq!(lab.prefixes(), ["10.0.4.0/24", "10.0.5.0/24"]);
    let mut there = lab.on_disk();
    assert_eq!(there.remove("README").as_deref(), Some("stays"));
    assert_eq!(there, new);
    // The files say the same now: nothing more comes of that.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lab.sources(), ["1 start", "2 apply"]);
    let again = lab.apply(&new, None);
    assert_eq!((again.generation, again.change), (2, None));
    // Files are followed as before, and come after it.
    lab.write("lan.yaml", &route("lan", "10.0.6.0/24"));
    lab.until(|status| status.generation == 3);
    assert_eq!(lab.sources(), ["1 start", "2 apply", "3 files"]);
    lab.restart();
    assert_eq!(lab.sources(), ["1 start", "2 apply", "3 files", "4 start"]);
    assert_eq!(lab.prefixes(), ["10.0.5.0/24", "10.0.6.0/24"]);
}

#[test]
fn files_with_errors_are_refused_and_change_nothing() {
    let old = files(&[("lan", "10.0.2.0/24")]);
    let lab = Lab::running(&old);
    let view = lab.try_apply(&files(&[("lan", "10.0.2.1/24")]), Some(60), None).unwrap();
    assert!(!view.accepted && view.pending.is_none(), "{view:?}");
    let problem = &view.problems[0];
    assert!(problem.origin.file.ends_with("etc/lan.yaml"), "{problem}");
    assert!(problem.origin.line == 5 && problem.remedy.contains("10.0.2.0/24"), "{problem}");
    assert_eq!((lab.on_disk(), lab.sources()), (old, vec!["1 start".to_owned()]));
    assert!(!lab.state().join("pending.json").exists());
}

#[test]
fn what_is_confirmed_stays_and_a_second_apply_waits_for_that() {
    let lab = Lab::running(&files(&[("lan", "10.0.2.0/24")]));
    assert!(refused(lab.call(Call::Confirm)).contains("nothing waits to be confirmed"));
    let view = lab.apply(&files(&[("lan", "10.0.3.0/24")]), Some(60));
    let pending = view.pending.unwrap();
    assert_eq!((pending.generation, pending.back_to), (2, 1));
    let status = lab.status().unwrap();
    assert!(status.is_well());
    assert_eq!(status.pending.unwrap().generation, 2);
    let words = refused(lab.try_apply(&files(&[("lan", "10.0.4.0/24")]), None, None));
    assert!(words.contains("generation 2 waits to be confirmed until"), "{words}");
    assert!(words.contains("`thalweg confirm` keeps it, `thalweg rollback 1`"), "{words}");
    assert_eq!(lab.prefixes(), ["10.0.3.0/24"]);
    lab.call(Call::Confirm).unwrap();
    assert!(lab.status().unwrap().pending.is_none());
    assert!(!lab.state().join("pending.json").exists());
    lab.apply(&files(&[("lan", "10.0.4.0/24")]), None);
    assert_eq!(lab.prefixes(), ["10.0.4.0/24"]);
}

#[test]
fn what_nobody_confirms_goes_away() {
    let old = files(&[("lan", "10.0.2.0/24"), ("old", "10.0.3.0/24")]);
    let lab = Lab::running(&old);
    lab.apply(&files(&[("lan", "10.0.4.0/24")]), Some(1));
    assert_eq!(lab.prefixes(), ["10.0.4.0/24"]);
    lab.until(|status| status.pending.is_none() && status.generation == 3);
    assert_eq!(
        (lab.prefixes(), lab.on_disk()),
        (vec!["10.0.2.0/24".into(), "10.0.3.0/24".into()], old)
    );
    let last = lab.history().pop().unwrap();
    assert_eq!((last.source.as_str(), last.back_to), ("rollback", Some(1)));
    assert_eq!(last.message.as_deref(), Some("not confirmed within 1 s"));
}

#[test]
fn the_way_back_may_be_gone_early() {
    let old = files(&[("lan", "10.0.2.0/24")]);
    let lab = Lab::running(&old);
    lab.apply(&files(&[("lan", "10.0.4.0/24")]), Some(60));
    let view = lab.rollback(1).unwrap();
    assert_eq!((view.generation, view.pending), (3, None));
    assert_eq!(lab.on_disk(), old);
    assert!(!lab.state().join("pending.json").exists());
}

#[test]
fn a_trial_outlives_the_agent_and_ends_in_time() {
    let old = files(&[("lan", "10.0.2.0/24")]);
    let mut lab = Lab::running(&old);
    lab.apply(&files(&[("lan", "10.0.4.0/24")]), Some(6));
    lab.kill();
    lab.start(None);
    let status = lab.until(|status| status.phase == Phase::InForce);
    let pending = status.pending.unwrap();
    assert!((1..=6).contains(&pending.seconds) && pending.back_to == 1, "{pending:?}");
    assert_eq!(lab.prefixes(), ["10.0.4.0/24"]);
    lab.until(|status| status.pending.is_none());
    assert_eq!((lab.prefixes(), lab.on_disk()), (vec!["10.0.2.0/24".into()], old.clone()));

    lab.apply(&files(&[("lan", "10.0.4.0/24")]), Some(1));
    lab.kill();
    std::thread::sleep(Duration::from_millis(1_200));
    lab.start(None);
    let status = lab.until(|status| status.phase == Phase::InForce);
    assert!(status.pending.is_none() && status.is_well(), "{status:#?}");
    assert_eq!((lab.prefixes(), lab.on_disk()), (vec!["10.0.2.0/24".into()], old));
    let last = lab.history().pop().unwrap();
    assert_eq!(last.source, "rollback");
    assert_eq!(last.message.as_deref(), Some("not confirmed within 1 s"));
}

#[test]
fn a_confirmed_configuration_outlives_the_agent() {
    let mut lab = Lab::running(&files(&[("lan", "10.0.2.0/24")]));
    lab.apply(&files(&[("lan", "10.0.4.0/24")]), Some(1));
    lab.call(Call::Confirm).unwrap();
    lab.kill();
    std::thread::sleep(Duration::from_millis(1_100));
    lab.start(None);
    lab.until(|status| status.phase == Phase::InForce && status.pending.is_none());
    assert_eq!(lab.prefixes(), ["10.0.4.0/24"]);
}

#[test]
fn rollback_returns_to_a_generation_as_a_new_one() {
    let first = files(&[("lan", "10.0.2.0/24")]);
    let mut lab = Lab::running(&first);
    lab.apply(&files(&[("lan", "10.0.3.0/24")]), None);
    lab.write("lan.yaml", &route("lan", "10.0.4.0/24"));
    lab.until(|status| status.generation == 3);
    lab.restart();
    assert!(refused(lab.rollback(9)).contains("there is no generation 9"));
    assert!(refused(lab.rollback(4)).contains("is in force already"));
    let view = lab.rollback(1).unwrap();
    assert_eq!((view.generation, view.change.unwrap().back_to), (5, Some(1)));
    assert_eq!((lab.prefixes(), lab.on_disk()), (vec!["10.0.2.0/24".into()], first));
    assert_eq!(lab.rollback(3).unwrap().generation, 6);
    assert_eq!(lab.prefixes(), ["10.0.4.0/24"]);
    let kept = lab.history()[1].clone();
    assert!(kept.kept);
    fs::remove_file(lab.state().join("configs").join(kept.config.unwrap())).unwrap();
    let words = refused(lab.rollback(2));
    assert!(words.contains("generation 2 is no longer kept"), "{words}");
    match lab.call(Call::Describe { kind: "generation".into(), name: "5".into() }) {
        Ok(Answer::Describe(view)) => {
            assert!(view.fields.contains(&("Back to".into(), "generation 1".into())), "{view:?}");
            assert!(view.sections[0].lines.contains(&"Route/lan changed".into()), "{view:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_an_apply_replaces_are_kept_also_when_they_were_wrong() {
    let lab = Lab::running(&files(&[("lan", "10.0.2.0/24")]));
    lab.write("lan.yaml", "kind: Half\n");
    lab.until(|status| status.config.last_good);
    lab.apply(&files(&[("lan", "10.0.3.0/24")]), None);
    let status = lab.until(|status| status.config.in_force);
    assert!(status.is_well(), "{status:#?}");
    let configs = fs::read_dir(lab.state().join("configs")).unwrap();
    let kept = configs.filter(|entry| {
        let text = fs::read_to_string(entry.as_ref().unwrap().path()).unwrap();
        text.contains("kind: Half")
    });
    assert_eq!(kept.count(), 1);
}

#[test]
fn a_state_that_cannot_be_read_is_set_aside_and_stops_nobody() {
    let mut lab = Lab::running(&files(&[("lan", "10.0.2.0/24")]));
    lab.apply(&files(&[("lan", "10.0.3.0/24")]), Some(60));
    lab.kill();
    for name in ["history.jsonl", "pending.json", "apply.json", "version"] {
        fs::write(lab.state().join(name), [0xff, 0x00, b'\n', b'{']).unwrap();
    }
    lab.start(None);
    let status = lab.until(|status| status.phase == Phase::InForce);
    assert!(status.pending.is_none(), "{status:#?}");
    assert_eq!(lab.prefixes(), ["10.0.3.0/24"]);
    let log = fs::read_to_string(lab.path("log")).unwrap();
    let told = |words: &str| assert!(log.contains(words), "{log}");
    told("version: stream did not contain valid UTF-8; it is set aside");
    told("history.jsonl: damaged; 0 entries can be read");
    told("an apply was cut short and its record is damaged");
    told("the record of a configuration on trial is damaged");
    assert_eq!(lab.sources(), ["1 start"]);
    lab.apply(&files(&[("lan", "10.0.4.0/24")]), None);
    // A file where the directory should be.
    lab.stop();
    fs::remove_dir_all(lab.path("var")).unwrap();
    fs::write(lab.path("var"), "").unwrap();
    lab.start(None);
    let status = lab.until(|status| status.phase == Phase::InForce);
    assert!(status.is_well(), "a warning: {status:#?}");
    assert!(status.problems[0].what.contains("state directory"), "{status:#?}");
    let words = refused(lab.try_apply(&files(&[]), None, None));
    assert!(words.contains("state directory cannot be used"), "{words}");
    assert_eq!(lab.prefixes(), ["10.0.4.0/24"]);
}

#[test]
fn a_full_disk_changes_nothing() {
    let old = files(&[("lan", "10.0.2.0/24")]);
    let big = files(&[("lan", "10.0.3.0/24"), ("more", "10.0.4.0/24")]);
    let big = big.into_iter().map(|(name, text)| (name, text + &"# \n".repeat(40_000))).collect();
    for small in ["var/lab", "etc"] {
        let mut lab = Lab::new(&files(&[]));
        if !lab.mount(small, "64k") {
            return skip("a_full_disk_changes_nothing: no rights to mount a file system");
        }
        old.iter().for_each(|(name, text)| lab.write(name, text));
        lab.start(None);
        lab.until(|status| status.phase == Phase::InForce);
        let before = lab.on_disk();
        let words = refused(lab.try_apply(&big, Some(60), None));
        assert!(words.contains("No space left") && words.contains("nothing changed"), "{words}");
        assert_eq!((lab.on_disk(), lab.prefixes()), (before, vec!["10.0.2.0/24".to_owned()]));
        let left: Vec<_> = fs::read_dir(lab.state()).unwrap().flatten().collect();
        let names: Vec<_> = left.iter().map(|e| e.file_name().into_string().unwrap()).collect();
        assert!(names.iter().all(|n| !n.starts_with('.') && n != "pending.json"), "{names:?}");
        // What fits is taken.
        lab.apply(&files(&[("lan", "10.0.5.0/24")]), None);
        assert_eq!(lab.prefixes(), ["10.0.5.0/24"]);
    }
}

#[test]
fn a_trial_ends_in_time_also_when_its_files_cannot_be_written_back() {
    let old = files(&[("lan", "10.0.2.0/24")]);
    let mut lab = Lab::new(&files(&[]));
    if !lab.mount("etc", "64k") {
        return skip(
            "a_trial_ends_in_time_also_when_its_files_cannot_be_written_back: no rights \
                     to mount a file system",
        );
    }
    old.iter().for_each(|(name, text)| lab.write(name, text));
    lab.start(None);
    lab.until(|status| status.phase == Phase::InForce);
    lab.apply(&files(&[("lan", "10.0.3.0/24")]), Some(1));
    let mut ballast = fs::File::create(lab.path("etc/ballast")).unwrap();
    while ballast.write_all(&[0; 1024]).is_ok() {}
    let status = lab.until(|status| status.generation == 3);
    assert_eq!(lab.prefixes(), ["10.0.2.0/24"]);
    assert!(!status.is_well(), "{status:#?}");
    assert!(status.problems[0].what.contains("was not confirmed, but:"), "{status:#?}");
    assert!(refused(lab.call(Call::Confirm)).contains("it is too late"));
    // Nor does the next agent put the files in force, though it finds them.
    lab.kill();
    lab.start(None);
    let status = lab.until(|status| status.phase == Phase::InForce);
    assert!(status.pending.is_some() && !status.is_well(), "{status:#?}");
    assert_eq!(lab.prefixes(), ["10.0.2.0/24"]);
    drop(ballast);
    fs::remove_file(lab.path("etc/ballast")).unwrap();
    let status = lab.until(|status| status.pending.is_none());
    assert!(status.is_well() && status.generation == 4, "{status:#?}");
    assert_eq!(lab.sources(), ["1 start", "2 apply", "3 rollback", "4 rollback"]);
    assert_eq!(lab.on_disk(), old);
}

#[test]
fn a_history_that_finds_no_room_is_a_warning() {
    let mut lab = Lab::new(&files(&[("lan", "10.0.2.0/24")]));
    if !lab.mount("var/lab", "64k") {
        return skip("a_history_that_finds_no_room_is_a_warning: no rights to mount a file system");
    }
    lab.start(None);
    lab.until(|status| status.phase == Phase::InForce);
    // Nothing else fits.
    let mut ballast = fs::File::create(lab.state().join("ballast")).unwrap();
    while ballast.write_all(&[0; 1024]).is_ok() {}
    lab.write("lan.yaml", &route("lan", "10.0.3.0/24"));
    let status = lab.until(|status| !status.problems.is_empty());
    assert!(status.is_well() && status.generation == 2, "{status:#?}");
    assert!(status.problems[0].what.contains("the configuration cannot be kept in"), "{status:#?}");
    assert_eq!(lab.prefixes(), ["10.0.3.0/24"]);
    drop(ballast);
    fs::remove_file(lab.state().join("ballast")).unwrap();
    lab.until(|status| status.problems.is_empty());
    lab.restart();
    assert_eq!(lab.sources(), ["1 start", "2 files", "3 start"]);
    assert!(lab.history().iter().all(|entry| entry.kept), "{:?}", lab.history());
}

fn events(lab: &Lab, severity: EventSeverity) -> EventPage {
    let severity = Some(severity);
    match lab.call(Call::Events(EventQuery { since: None, severity })) {
        Ok(Answer::Events(page)) => page,
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_are_told_as_they_happen() {
    let lab = Lab::running(&files(&[("lan", "10.0.2.0/24")]));
    let watch = lab.client().unwrap().watch(Call::Events(EventQuery::default())).unwrap();
    let mut all = watch.flat_map(|answer| match answer {
        Ok(Answer::Events(page)) => page.events,
        other => panic!("{other:?}"),
    });
    let mut until = |words: &str| all.find(|event| event.text.contains(words)).unwrap();
    assert_eq!(until("connected").object, "kernel");
    assert_eq!(until("attached at memory").object, "hook of eth0");
    lab.write("lan.yaml", &route("lan", "10.0.2.1/24"));
    let refused = until("refused:");
    assert_eq!((refused.severity, refused.kind.as_str()), (EventSeverity::Error, "config"));
    lab.apply(&files(&[("lan", "10.0.3.0/24")]), Some(60));
    let text = until("in force by apply").text;
    assert!(text.contains("routes +1 -1") && text.contains("Route/lan changed"), "{text}");
    lab.call(Call::Confirm).unwrap();
    until("generation 2 confirmed by");
    assert_eq!(events(&lab, EventSeverity::Error).events.len(), 1);
}
