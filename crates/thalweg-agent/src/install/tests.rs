//! All files or none, also when the disk is in the way.

use super::*;

struct Lab {
    dir: tempfile::TempDir,
    state: State,
}

impl Lab {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let (state, _) = State::open(&dir.path().join("var")).unwrap();
        let lab = Self { dir, state };
        files.iter().for_each(|(name, text)| lab.write(name, text));
        lab
    }

    fn etc(&self) -> PathBuf {
        self.dir.path().join("etc")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.etc().join(name), text).unwrap();
    }

    fn place(&self) -> Place {
        Place::new(&self.etc())
    }

    fn install(&self, texts: &Texts) -> Result<bool, Fault> {
        self.state.keep(&texts.id(), texts).unwrap();
        install(&self.state, &self.place(), &texts.id(), texts)
    }

    /// All names in the directory.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.etc())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[track_caller]
    fn holds(&self, texts: &Texts) {
        assert_eq!(self.place().texts().as_ref(), Some(texts));
    }
}

fn texts(files: &[(&str, &str)]) -> Texts {
    Texts::new(files.iter().map(|(name, text)| ((*name).into(), (*text).into())))
}

#[test]
fn files_are_replaced_added_and_removed_and_others_stay() {
    let lab = Lab::new(&[("a.yaml", "1"), ("b.yaml", "2"), ("README", "x"), (".git.yaml", "y")]);
    fs::set_permissions(lab.etc().join("a.yaml"), Permissions::from_mode(0o640)).unwrap();
    let new = texts(&[("a.yaml", "3"), ("c.yaml", "4")]);
    assert!(lab.install(&new).unwrap());
    lab.holds(&new);
    assert_eq!(lab.names(), [".git.yaml", "README", "a.yaml", "c.yaml"]);
    assert_eq!(fs::metadata(lab.etc().join("a.yaml")).unwrap().mode() & 0o777, 0o640);
    assert!(!lab.install(&new).unwrap(), "they are there already");
}

#[test]
fn a_single_file_is_replaced_whatever_the_new_one_is_called() {
    let lab = Lab::new(&[("a.yaml", "1"), ("b.yaml", "2")]);
    let place = Place::new(&lab.etc().join("a.yaml"));
    let new = place.adopt(texts(&[("other.yaml", "3")])).unwrap();
    lab.state.keep(&new.id(), &new).unwrap();
    assert!(install(&lab.state, &place, &new.id(), &new).unwrap());
    lab.holds(&texts(&[("a.yaml", "3"), ("b.yaml", "2")]));
    let fault = place.adopt(texts(&[("a.yaml", ""), ("b.yaml", "")])).unwrap_err();
    assert!(fault.message.contains("here are 2"), "{fault}");
}

#[test]
fn names_that_would_not_be_read_and_links_are_refused() {
    let lab = Lab::new(&[("a.yaml", "1")]);
    for (names, words) in [
        (&[("a.yml~", "")][..], "a.yml~ would not be read"),
        (&[(".a.yaml", "")], ".a.yaml would not be read"),
        (&[("x/a.yaml", ""), ("y/a.yaml", "")], "two of the files have the name a.yaml"),
    ] {
        let fault = lab.place().adopt(texts(names)).unwrap_err();
        assert!(fault.message.contains(words), "{fault}");
    }
    std::os::unix::fs::symlink("a.yaml", lab.etc().join("b.yaml")).unwrap();
    let fault = lab.install(&texts(&[("a.yaml", "2")])).unwrap_err();
    assert!(fault.message.contains("b.yaml is a symbolic link"), "{fault}");
    assert_eq!(fs::read_to_string(lab.etc().join("a.yaml")).unwrap(), "1");
}

#[test]
fn a_commit_that_fails_half_way_is_taken_back() {
    let old = [("a.yaml", "1"), ("b.yaml", "2"), ("d.yaml", "3")];
    let lab = Lab::new(&old);
    let new = texts(&[("a.yaml", "4"), ("b.yaml", "5"), ("c.yaml", "6")]);
    lab.state.keep(&new.id(), &new).unwrap();
    let place = lab.place();
    let steps = steps(&place.present().unwrap(), &new);
    let journal = Journal { version: 1, place: place.clone(), config: new.id(), steps };
    prepare(&journal, &new).unwrap();
    // What is missing stands for a disk that fails.
    fs::remove_file(place.temp("c.yaml", NEW)).unwrap();
    let error = commit(&journal).unwrap_err();
    assert_eq!(fs::read_to_string(lab.etc().join("b.yaml")).unwrap(), "5");
    undo(&lab.state, &journal, &error);
    lab.holds(&texts(&old));
    assert_eq!(lab.names(), ["a.yaml", "b.yaml", "d.yaml"]);
}

#[test]
fn a_decision_is_completed_unless_somebody_changed_the_files() {
    let new = texts(&[("a.yaml", "4"), ("b.yaml", "5")]);
    let cut = |lab: &Lab| {
        lab.state.keep(&new.id(), &new).unwrap();
        let steps = steps(&lab.place().present().unwrap(), &new);
        let journal = Journal { version: 1, place: lab.place(), config: new.id(), steps };
        prepare(&journal, &new).unwrap();
        lab.state.write(JOURNAL, &serde_json::to_vec(&journal).unwrap()).unwrap();
        fs::rename(lab.place().temp("a.yaml", NEW), lab.etc().join("a.yaml")).unwrap();
    };
    let lab = Lab::new(&[("a.yaml", "1"), ("c.yaml", "2")]);
    cut(&lab);
    let recovered = recover(&lab.state, &lab.place());
    assert_eq!((recovered.config, recovered.notes), (Some(new.id()), vec![]));
    lab.holds(&new);
    assert_eq!(lab.names(), ["a.yaml", "b.yaml"]);
    // Also when what was prepared got lost.
    let lab = Lab::new(&[("a.yaml", "1"), ("c.yaml", "2")]);
    cut(&lab);
    lab.place().sweep().unwrap();
    recover(&lab.state, &lab.place());
    lab.holds(&new);

    let lab = Lab::new(&[("a.yaml", "1"), ("c.yaml", "2")]);
    cut(&lab);
    lab.write("c.yaml", "mine");
    let recovered = recover(&lab.state, &lab.place());
    assert_eq!(recovered.config, None);
    assert!(recovered.notes[0].contains("were changed since"), "{recovered:?}");
    lab.holds(&texts(&[("a.yaml", "4"), ("c.yaml", "mine")]));
    assert_eq!(lab.names(), ["a.yaml", "c.yaml"]);
    assert_eq!(lab.state.read(JOURNAL).unwrap(), None);
}

#[test]
fn without_a_decision_the_old_files_stay_and_leftovers_go() {
    let lab = Lab::new(&[("a.yaml", "1")]);
    lab.write(".a.yaml.thalweg-new", "half");
    lab.write(".a.yaml.thalweg-old", "1");
    lab.state.write(JOURNAL, b"not JSON").unwrap();
    let recovered = recover(&lab.state, &lab.place());
    assert!(recovered.notes[0].contains("its record is damaged"), "{recovered:?}");
    assert_eq!(lab.names(), ["a.yaml"]);
    lab.holds(&texts(&[("a.yaml", "1")]));
}
