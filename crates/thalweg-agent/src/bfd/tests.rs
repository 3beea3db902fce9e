//! What the data plane is told, and when.

use super::*;
use crate::plane::MemoryPlane;
use std::sync::atomic::Ordering;
use thalweg_abi::TableId;
use thalweg_bfd::{Session, Status};
use thalweg_model::host::Link;

const FILES: &str = "apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: s}
spec: {peer: 10.0.1.254, link: eth1}
---
apiVersion: thalweg.dev/v1alpha1
kind: BfdSession
metadata: {name: keyless}
spec: {peer: 10.0.1.253, link: eth1, authentication: {kind: Md5, keyId: 1, keyFile: /nowhere/key}}
";

fn link(up: bool) -> Update {
    Update::Link(Link { index: 3, name: "eth1".into(), up, ..Link::default() })
}

/// Sessions without their thread, a compiler with one link, and a plane.
fn parts() -> (Sessions, Compiler, Box<dyn DataPlane>) {
    let loaded = thalweg_config::parse(&[("lab.yaml".into(), FILES.into())]);
    assert!(loaded.is_ok(), "{:?}", loaded.problems);
    let limits = loaded.intent.router.limits.clone();
    let mut compiler = Compiler::new(limits.clone());
    compiler.set_intent(loaded.intent);
    compiler.update_host(link(true));
    compiler.plan();
    let mut sessions = Sessions::open(None);
    sessions.follow(&compiler);
    // Its link exists in this test only.
    sessions.runner = None;
    (sessions, compiler, Box::new(MemoryPlane::new(&limits)))
}

fn report(path: bool) -> Report {
    let settings =
        Settings { transmit: 1, receive: 1, multiplier: 1, hold_up: 0, passive: false, key: None };
    let status = Session::new(settings, 1, 1).status();
    Report { name: "s".into(), status: Status { path, ..status }, news: true }
}

fn word(sessions: &Sessions, plane: &dyn DataPlane) -> bool {
    let state = sessions.places["s"].state;
    plane.memory().words(TableId::States)[state as usize].load(Ordering::SeqCst) != 0
}

#[test]
fn a_path_is_up_after_the_plan_and_down_before_it() {
    let (mut sessions, mut compiler, mut plane) = parts();
    sessions.write(&compiler, &mut plane);
    assert!(!word(&sessions, &*plane), "never up");
    let Some(Event::Host(updates)) = sessions.told(report(true), Some(&mut plane)) else {
        panic!()
    };
    assert_eq!(updates, [Update::Session("s".into(), true)]);
    assert!(!word(&sessions, &*plane), "the plan comes first");
    updates.into_iter().for_each(|update| compiler.update_host(update));
    sessions.write(&compiler, &mut plane);
    assert!(word(&sessions, &*plane));
    assert!(sessions.told(report(true), Some(&mut plane)).is_none(), "no news");
    // The thread needs nobody to take it down.
    take_down(&sessions.direct, "s");
    assert!(!word(&sessions, &*plane));
    sessions.told(report(false), Some(&mut plane)).unwrap();
    sessions.write(&compiler, &mut plane);
    assert!(!word(&sessions, &*plane));
}

#[test]
fn a_session_is_down_while_its_link_is() {
    let (mut sessions, mut compiler, mut plane) = parts();
    sessions.told(report(true), Some(&mut plane));
    sessions.write(&compiler, &mut plane);
    sessions.link_down(4, &mut plane);
    assert!(word(&sessions, &*plane), "another link");
    sessions.link_down(3, &mut plane);
    assert!(!word(&sessions, &*plane));
    compiler.update_host(link(false));
    sessions.write(&compiler, &mut plane);
    assert!(!word(&sessions, &*plane));
    compiler.update_host(link(true));
    sessions.write(&compiler, &mut plane);
    assert!(word(&sessions, &*plane), "BFD never went down");
}

#[test]
fn a_key_that_cannot_be_read_is_a_problem_of_its_session() {
    let (sessions, compiler, _) = parts();
    let problems = sessions.problems();
    assert!(problems[0].to_string().contains("/nowhere/key cannot be read"), "{problems:?}");
    assert_eq!(problems[0].object.as_ref().unwrap().name, "keyless");
    let views = sessions.views(&compiler);
    assert_eq!(views.len(), 2, "it is shown all the same");
    assert_eq!(views[0].path, "down");
    let whole = sessions.whole(&views).expect("sessions that cannot run are counted");
    assert_eq!((whole.up, whole.all, whole.dropped["ttl"]), (0, 2, 0));
    assert!(sessions.whole(&[]).is_none());
}

#[test]
fn a_line_end_is_not_part_of_a_key() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s p\r\n").unwrap();
    assert_eq!(read_key(file.path()).unwrap(), b"s p");
}
