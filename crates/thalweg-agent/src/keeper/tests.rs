//! What is read before files are replaced is not taken for what is there after.

use super::*;
use crate::history::Entry;
use crate::settings::Settings;
use job::Wish;
use std::fs;
use std::path::Path;

fn keeper(dir: &Path) -> Keeper {
    let settings =
        Settings { state: Some(dir.join("state")), ..Settings::new(dir.join("etc"), "lab") };
    Keeper::open(&settings)
}

fn job(keeper: &Keeper, text: &str, trial: Option<Wish>) -> Job {
    Job {
        state: keeper.state.clone().unwrap(),
        place: keeper.place(),
        gate: keeper.gate.clone(),
        written: keeper.scribe.done(),
        wanted: Wanted::Files(vec![("new/a.yaml".into(), text.into())]),
        in_force: keeper.config.clone(),
        trial,
        back: false,
    }
}

fn lab() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/a.yaml"), "# old\n").unwrap();
    dir
}

#[test]
fn files_read_before_they_were_replaced_do_not_come_in_force() {
    let dir = lab();
    let mut keeper = keeper(dir.path());
    let reader = keeper.reader();
    assert!(keeper.files(reader.read()).is_some());
    let (old, new) = (reader.read(), "# new\n");
    assert!(job(&keeper, new, None).run().is_ok());
    assert!(keeper.files(old).is_none(), "on its way while the files were replaced");
    let now = reader.read();
    assert_eq!(now.texts.as_ref().map(|(_, texts)| texts.0[0].text()), Some(new));
    assert!(keeper.files(now).is_some());
}

#[test]
fn files_that_were_replaced_are_read_together_though_told_one_by_one() {
    let dir = lab();
    fs::write(dir.path().join("etc/b.yaml"), "# old\n").unwrap();
    let mut keeper = keeper(dir.path());
    let reader = keeper.reader();
    assert!(keeper.files(reader.read()).is_some());
    assert!(job(&keeper, "# new\n", None).run().is_ok());
    let now = reader.changed(&Change::File("a.yaml".into()));
    let texts = now.texts.map(|(_, texts)| texts);
    assert_eq!(texts, Some(Texts::new([("a.yaml".to_owned(), "# new\n".to_owned())])));
}

#[test]
fn files_that_change_while_they_are_replaced_wait() {
    let dir = lab();
    let mut keeper = keeper(dir.path());
    keeper.busy = true;
    assert!(keeper.files(keeper.reader().read()).is_none());
    keeper.busy = false;
    let held = keeper.held().unwrap();
    assert!(keeper.files(held).is_some());
}

#[test]
fn a_trial_of_other_files_and_one_that_never_began_are_none() {
    let dir = lab();
    let mut first = keeper(dir.path());
    assert!(first.files(first.reader().read()).is_some());
    let wish = || Wish { seconds: 60, back: String::new(), back_to: 1, user: "ann".into() };
    let back = first.config.clone().unwrap();
    first.scribe.done().recv().unwrap();
    let began = job(&first, "# new\n", Some(Wish { back: back.clone(), ..wish() })).run();
    assert!(began.is_ok_and(|outcome| outcome.trial.is_some()));
    drop(first);
    let second = keeper(dir.path());
    assert_eq!(second.trial.as_ref().map(|trial| trial.back_to), Some(1));
    assert!(second.deadline.is_some());
    drop(second);
    fs::write(dir.path().join("etc/a.yaml"), "# old\n").unwrap();
    let third = keeper(dir.path());
    assert!(third.trial.is_none(), "the files are what it would go back to");
    let missing = job(&third, "# new\n", Some(Wish { back: "0".repeat(32), ..wish() })).run();
    assert!(missing.is_err_and(|refusal| refusal.words().contains("is not kept")));
    assert_eq!(fs::read_to_string(dir.path().join("etc/a.yaml")).unwrap(), "# old\n");
    assert!(job(&third, "# new\n", Some(Wish { back, ..wish() })).run().is_ok());
    drop(third);
    let elsewhere = Settings {
        state: Some(dir.path().join("state")),
        ..Settings::new(dir.path().join("etc/a.yaml"), "lab")
    };
    assert!(Keeper::open(&elsewhere).trial.is_none(), "the agent runs on something else");
}

#[test]
fn numbers_go_on_where_the_history_ends() {
    let dir = lab();
    let mut first = keeper(dir.path());
    assert_eq!(first.generation(), 0);
    let entry = Entry { first: 7, generation: 9, cause: Cause::of("kernel"), ..Entry::default() };
    first.history.add(entry, Instant::now());
    drop(first);
    assert_eq!(keeper(dir.path()).generation(), 9, "also what was still open");
}

#[test]
fn who_takes_over_says_so_whenever_its_plane_is_there() {
    for early in [true, false] {
        let dir = lab();
        let mut keeper = keeper(dir.path());
        let brain = Brain::new(dir.path().display().to_string(), 7);
        if early {
            keeper.succeeds();
        }
        keeper.witness(&brain, &Event::HostComplete);
        if !early {
            keeper.succeeds();
        }
        let words = keeper.cause.message.as_deref();
        assert!(words.is_some_and(|words| words.contains("took over")), "{early}");
    }
}
