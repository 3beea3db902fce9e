//! Writes the history down, in a thread of its own: a slow disk is nothing that packets wait for.

use crate::fault::point;
use crate::history::{Entry, MOST, cut};
use crate::state::State;
use crate::texts::Texts;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The history, one entry per line.
const FILE: &str = "history.jsonl";
/// The first line: the format.
const HEAD: &str = "{\"version\":1}\n";
/// Lines after which the file is written anew.
const LONG: usize = 2 * MOST;
/// How soon a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Configurations that are kept, and octets of all of them.
const CONFIGS: usize = 100;
const OCTETS: u64 = 256 << 20;
/// The largest configuration that is kept without being asked for.
pub const LARGE: u64 = 64 << 20;

enum Order {
    Write(Vec<Entry>),
    Keep(String, Texts),
    Prune { wanted: Vec<String>, needed: usize },
    Done(Sender<()>),
}

/// Takes orders; ends when it is dropped, after the last one.
pub struct Scribe {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    trouble: Arc<Mutex<Vec<String>>>,
}

impl Scribe {
    /// A scribe for a state directory, who knows the history so far.
    ///
    /// # Errors
    ///
    /// No thread.
    pub fn start(state: Arc<State>, entries: Vec<Entry>, lines: usize) -> io::Result<Self> {
        let (orders, todo) = channel();
        let trouble = Arc::new(Mutex::new(Vec::new()));
        let told = trouble.clone();
        let mut desk =
            Desk { state, entries: entries.into(), lines, fresh: 0, behind: false, unkept: None };
        let thread = std::thread::Builder::new()
            .name("write-state".into())
            .spawn(move || desk.work(&todo, &told))?;
        Ok(Self { orders: Some(orders), thread: Some(thread), trouble })
    }

    /// One who writes nothing, where there is no state directory.
    pub fn idle() -> Self {
        Self { orders: None, thread: None, trouble: Arc::default() }
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // The thread ends only after us.
            let _ = orders.send(order);
        }
    }

    /// Writes entries down.
    pub fn write(&self, entries: Vec<Entry>) {
        self.order(Order::Write(entries));
    }

    /// Keeps the texts of a configuration.
    pub fn keep(&self, id: String, texts: Texts) {
        self.order(Order::Keep(id, texts));
    }

    /// Forgets configurations but for those wanted, best first.
    pub fn prune(&self, wanted: Vec<String>, needed: usize) {
        self.order(Order::Prune { wanted, needed });
    }

    /// Something to wait on until all orders so far are carried out.
    pub fn done(&self) -> Receiver<()> {
        let (sender, receiver) = channel();
        self.order(Order::Done(sender));
        receiver
    }

    /// What does not work at the moment.
    pub fn trouble(&self) -> Vec<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads the history that an earlier agent wrote. Returns the entries, how many lines the file has
/// (0 if it must be written anew), and what was found odd.
pub fn read(state: &State) -> (Vec<Entry>, usize, Vec<String>) {
    let path = state.path().join(FILE);
    let octets = match state.read(FILE) {
        Ok(Some(octets)) => octets,
        Ok(None) => return (Vec::new(), 0, Vec::new()),
        Err(error) => {
            state.set_aside(FILE);
            let note = format!("{}: {error}; it is set aside", path.display());
            return (Vec::new(), 0, vec![note]);
        }
    };
    let whole = octets.ends_with(b"\n");
    let text = String::from_utf8_lossy(&octets);
    let mut lines: Vec<&str> = text.lines().collect();
    if !whole {
        // A write that was cut short.
        lines.pop();
    }
    let head = lines.first().is_some_and(|line| *line == HEAD.trim_end());
    let entries: Vec<Option<Entry>> =
        lines.iter().skip(1).map(|line| serde_json::from_str(line).ok()).collect();
    let (count, wrong) = (lines.len(), entries.iter().filter(|entry| entry.is_none()).count());
    let entries: Vec<Entry> = entries.into_iter().flatten().collect();
    if head && wrong == 0 {
        return (entries, if whole { count } else { 0 }, Vec::new());
    }
    let folder = state.set_aside(FILE).unwrap_or_default();
    let note = format!(
        "{}: damaged; {} entries can be read, the file is kept in {}",
        path.display(),
        entries.len(),
        folder.display()
    );
    (entries, 0, vec![note])
}

struct Desk {
    state: Arc<State>,
    /// The last entries, for when the file is written anew.
    entries: VecDeque<Entry>,
    /// Lines of the file; 0 when it must be written anew.
    lines: usize,
    /// How many of them are not in the file.
    fresh: usize,
    /// Whether the file must be written anew.
    behind: bool,
    /// The last configuration, if it could not be kept.
    unkept: Option<(String, Texts)>,
}

impl Desk {
    fn work(&mut self, todo: &Receiver<Order>, trouble: &Mutex<Vec<String>>) {
        if self.lines == 0 && !self.entries.is_empty() {
            // What could be read of a damaged file.
            self.behind = true;
            self.again(trouble);
        }
        loop {
            let order = match self.behind || self.unkept.is_some() {
                false => todo.recv().map_err(|_| RecvTimeoutError::Disconnected),
                true => todo.recv_timeout(AGAIN),
            };
            match order {
                Ok(Order::Write(entries)) => self.remember(entries),
                Ok(Order::Keep(id, texts)) => {
                    self.unkept = (texts.size() <= LARGE).then_some((id, texts));
                }
                Ok(Order::Prune { wanted, needed }) => {
                    self.state.prune(&wanted, needed, CONFIGS, OCTETS);
                    continue;
                }
                Ok(Order::Done(sender)) => {
                    let _ = sender.send(());
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.again(trouble);
        }
    }

    /// Writes what is not written yet.
    fn again(&mut self, trouble: &Mutex<Vec<String>>) {
        let mut words = Vec::new();
        let place = self.state.path().display().to_string();
        if let Some((id, texts)) = &self.unkept {
            match self.state.keep(id, texts) {
                Ok(()) => self.unkept = None,
                Err(error) => words.push(format!(
                    "the configuration cannot be kept in {place}, so nobody can go back to it: \
                     {error}"
                )),
            }
        }
        if let Err(error) = self.write() {
            words.push(format!("the history cannot be written to {place}: {error}"));
        }
        *trouble.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Takes entries, to be written.
    fn remember(&mut self, entries: Vec<Entry>) {
        self.fresh += entries.len();
        self.entries.extend(entries);
        cut(&mut self.entries);
    }

    fn write(&mut self) -> io::Result<()> {
        let anew = self.behind || self.lines == 0 || self.lines + self.fresh > LONG;
        let written = match (anew, self.fresh) {
            (false, 0) => Ok(()),
            (false, fresh) => self.append(fresh.min(self.entries.len())),
            (true, _) if self.entries.is_empty() => Ok(()),
            (true, _) => self.anew(),
        };
        self.behind = written.is_err();
        self.fresh = 0;
        written
    }

    fn anew(&mut self) -> io::Result<()> {
        let mut text = HEAD.as_bytes().to_vec();
        for entry in &self.entries {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        self.state.write(FILE, &text)?;
        self.lines = self.entries.len() + 1;
        Ok(())
    }

    fn append(&mut self, fresh: usize) -> io::Result<()> {
        let path = self.state.path().join(FILE);
        let mut file = OpenOptions::new().append(true).mode(0o600).open(path)?;
        let before = file.metadata()?.len();
        let mut text = Vec::new();
        let mut people = false;
        for entry in self.entries.iter().skip(self.entries.len() - fresh) {
            people |= !entry.cause.is_routine();
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        point("history-append");
        let written = file.write_all(&text).and_then(|()| sync(&file, people));
        match written {
            Ok(()) => self.lines += fresh,
            // Half a line would hide the next one.
            Err(_) => file.set_len(before)?,
        }
        written
    }
}

/// What people did outlives a power cut; what the kernel does all the time need not.
fn sync(file: &File, people: bool) -> io::Result<()> {
    if people { file.sync_data() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Cause;
    use std::fs;

    fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
        let entry = |generation| Entry {
            first: generation,
            generation,
            cause: Cause::of("files"),
            ..Entry::default()
        };
        numbers.map(entry).collect()
    }

    fn state(dir: &tempfile::TempDir) -> Arc<State> {
        Arc::new(State::open(dir.path()).unwrap().0)
    }

    fn written(state: &Arc<State>, numbers: std::ops::Range<u64>) {
        let (known, lines, _) = read(state);
        let scribe = Scribe::start(state.clone(), known, lines).unwrap();
        entries(numbers).into_iter().for_each(|entry| scribe.write(vec![entry]));
    }

    #[test]
    fn what_is_written_is_read_and_grows_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(&dir);
        written(&state, 1..6);
        written(&state, 6..11);
        assert_eq!(read(&state).0, entries(1..11));
        written(&state, 11..2_500);
        let (last, lines, notes) = read(&state);
        assert!(lines <= LONG + 1 && notes.is_empty(), "{lines} {notes:?}");
        assert!(last.ends_with(&entries(1_500..2_500)));
    }

    #[test]
    fn a_line_cut_short_is_dropped_and_damage_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(&dir);
        written(&state, 1..4);
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        assert_eq!(read(&state), (entries(1..3), 0, vec![]));
        written(&state, 3..5);
        assert_eq!(read(&state).0, entries(1..5));
        let text = fs::read_to_string(&path).unwrap().replacen("\"first\":2", "\"first\":x", 1);
        fs::write(&path, text).unwrap();
        let (rest, lines, notes) = read(&state);
        assert_eq!((rest.len(), lines), (3, 0));
        assert!(notes[0].contains("damaged; 3 entries can be read"), "{notes:?}");
        assert!(!path.exists());
        drop(Scribe::start(state.clone(), rest, lines).unwrap());
        written(&state, 9..10);
        assert_eq!(read(&state).0.len(), 4);
    }

    #[test]
    fn a_history_that_cannot_be_written_is_told_and_made_good_for() {
        let dir = tempfile::tempdir().unwrap();
        let state = state(&dir);
        let scribe = Scribe::start(state.clone(), Vec::new(), 0).unwrap();
        // A directory of that name stands for a disk that refuses.
        fs::create_dir(dir.path().join(FILE)).unwrap();
        scribe.write(entries(1..2));
        scribe.done().recv().unwrap();
        assert!(scribe.trouble()[0].contains("cannot be written"));
        fs::remove_dir(dir.path().join(FILE)).unwrap();
        scribe.write(entries(2..3));
        scribe.done().recv().unwrap();
        assert!(scribe.trouble().is_empty());
        assert_eq!(read(&state).0, entries(1..3));
    }
}
