//! What is remembered, and what is done about what cannot be read.

use super::*;

fn texts(text: &str) -> Texts {
    Texts::new([("a.yaml".to_owned(), text.to_owned())])
}

fn open(path: &Path) -> (State, Vec<String>) {
    State::open(path).unwrap()
}

#[test]
fn it_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("var/lab");
    let (state, notes) = open(&path);
    assert!(notes.is_empty(), "{notes:?}");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    drop(state);
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    let (_state, notes) = open(&path);
    assert!(notes[0].contains("0700"), "{notes:?}");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_second_agent_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    let error = State::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("another agent uses it"), "{error}");
}

#[test]
fn another_format_is_set_aside_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("version"), "99\n").unwrap();
    fs::write(dir.path().join("history.jsonl"), "of the future").unwrap();
    let (state, notes) = open(dir.path());
    assert!(notes.iter().any(|note| note.contains("its format is `99`")), "{notes:?}");
    assert_eq!(state.read("history.jsonl").unwrap(), None);
    assert_eq!(state.read("version").unwrap().unwrap(), VERSION.as_bytes());
    let aside = fs::read_dir(dir.path()).unwrap().flatten();
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("aside-"));
    let kept = aside.map(|entry| entry.path().join("history.jsonl")).next().unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "of the future");
}

#[test]
fn what_a_cut_left_goes() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join(".pending.json.new"), "half").unwrap();
    let (state, _) = open(dir.path());
    assert_eq!(state.read(".pending.json.new").unwrap(), None);
}

#[test]
fn configurations_come_back_as_they_were_and_damage_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let (one, two) = (texts("one"), texts("two"));
    for texts in [&one, &two] {
        state.keep(&texts.id(), texts).unwrap();
        state.keep(&texts.id(), texts).unwrap();
        assert_eq!(&state.kept(&texts.id()).unwrap(), texts);
    }
    let path = state.config(&one.id());
    let damaged = fs::read_to_string(&path).unwrap().replace("one", "won");
    fs::write(&path, damaged).unwrap();
    assert!(state.kept(&one.id()).unwrap_err().contains("damaged"));
    assert!(!state.has(&one.id()));
    assert_eq!(state.kept(&two.id()).unwrap(), two);
}

#[test]
fn only_as_many_are_kept_as_fit_but_those_that_are_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = open(dir.path());
    let all: Vec<_> = (0..6).map(|at| texts(&format!("{at:0>100}"))).collect();
    let ids: Vec<String> = all.iter().map(Texts::id).collect();
    all.iter().for_each(|texts| state.keep(&texts.id(), texts).unwrap());
    let there = |state: &State| ids.iter().map(|id| state.has(id)).collect::<Vec<_>>();
    state.prune(&ids[..5], 1, 4, 1_000);
    assert_eq!(there(&state), [true, true, true, true, false, false]);
    state.prune(&ids, 2, 9, 10);
    assert_eq!(there(&state), [true, true, false, false, false, false]);
}
