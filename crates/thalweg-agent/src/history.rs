//! The generations that were in force: what each changed, when, and who caused it.
//!
//! Generations that the kernel causes within one second are one entry, so that churn of routes does
//! not push out what people did.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use thalweg_api::view::{ChangeView, DescribeView, GenerationView, SectionView, TallyView};
use thalweg_api::{Fault, moment};

/// Entries that are remembered.
pub const MOST: usize = 1_000;
/// Generations of one cause within this time are one entry, if nobody asked for them.
pub const JOIN: Duration = Duration::from_secs(1);
/// Names of objects in one entry.
const NAMES: usize = crate::summary::MOST;

/// Why a generation came to be.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// `start`, `files`, `kernel`, `apply`, `rollback`, ….
    pub source: String,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What that person said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The generation whose configuration came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u64>,
}

impl Cause {
    /// A source without a person.
    pub fn of(source: &str) -> Self {
        Self { source: source.into(), ..Self::default() }
    }

    /// Whether this happens all the time by itself: everything but files and people.
    pub fn is_routine(&self) -> bool {
        !["start", "files", "apply", "attach", "detach", "rollback"].contains(&self.source.as_str())
    }
}

/// One entry.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The first generation.
    pub first: u64,
    /// The last one.
    pub generation: u64,
    /// When the first was put in force, in milliseconds since 1970.
    pub at: u64,
    /// Why.
    pub cause: Cause,
    /// The configuration that was in force.
    pub config: Option<String>,
    /// Steps of the plans.
    pub steps: u64,
    /// Microseconds that compiling and applying took.
    pub micros: u64,
    /// What changed.
    pub change: ChangeView,
}

impl Entry {
    /// Takes in the generation that came right after.
    fn join(&mut self, next: Self) {
        self.generation = next.generation;
        self.steps += next.steps;
        self.micros += next.micros;
        let known: BTreeSet<_> = self.change.objects.iter().cloned().collect();
        for object in next.change.objects.into_iter().filter(|object| !known.contains(object)) {
            match self.change.objects.len() < NAMES {
                true => self.change.objects.push(object),
                false => self.change.more += 1,
            }
        }
        self.change.more += next.change.more;
        for tally in next.change.tables {
            match self.change.tables.iter_mut().find(|old| old.table == tally.table) {
                Some(old) => {
                    old.set += tally.set;
                    old.removed += tally.removed;
                }
                None => self.change.tables.push(tally),
            }
        }
    }

    /// What happened, in a few words.
    pub fn words(&self) -> String {
        let tallies: Vec<String> = self.change.tables.iter().map(tally).collect();
        match tallies.is_empty() {
            true => "nothing in the tables".into(),
            false => tallies.join(", "),
        }
    }

    /// `generation 7`, or `generations 7 to 9`.
    pub fn name(&self) -> String {
        match self.first == self.generation {
            true => format!("generation {}", self.generation),
            false => format!("generations {} to {}", self.first, self.generation),
        }
    }
}

/// `routes +3 -1`.
pub fn tally(tally: &TallyView) -> String {
    let mut words = tally.table.clone();
    if tally.set > 0 {
        words.push_str(&format!(" +{}", tally.set));
    }
    if tally.removed > 0 {
        words.push_str(&format!(" -{}", tally.removed));
    }
    words
}

/// Forgets the oldest entries beyond [`MOST`]: of what happens by itself first, as long as that is
/// more than half, so that it never pushes out what people did.
pub fn cut(entries: &mut VecDeque<Entry>) {
    while entries.len() > MOST {
        let routine = |entry: &Entry| entry.cause.is_routine();
        let many = entries.iter().filter(|entry| routine(entry)).count() > MOST / 2;
        let oldest = entries.iter().position(|entry| !many || routine(entry));
        entries.remove(oldest.unwrap_or(0));
    }
}

/// The entries, oldest first.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<Entry>,
    /// When the last entry began, while it can still take in more.
    open: Option<Instant>,
}

impl History {
    /// What an earlier agent remembered.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut entries: VecDeque<Entry> = entries.into_iter().collect();
        cut(&mut entries);
        Self { entries, open: None }
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The last entry.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Adds a generation; returns the entries that are complete by that.
    pub fn add(&mut self, entry: Entry, now: Instant) -> Vec<Entry> {
        let joins = self.open.is_some_and(|since| now.saturating_duration_since(since) < JOIN);
        if let (true, Some(last)) = (joins, self.entries.back_mut())
            && last.cause == entry.cause
            && last.config == entry.config
        {
            last.join(entry);
            return Vec::new();
        }
        let mut complete: Vec<Entry> = self.close().into_iter().collect();
        match entry.cause.is_routine() {
            true => self.open = Some(now),
            false => complete.push(entry.clone()),
        }
        self.entries.push_back(entry);
        cut(&mut self.entries);
        complete
    }

    /// When the open entry is complete.
    pub fn due(&self) -> Option<Instant> {
        self.open.map(|since| since + JOIN)
    }

    /// Completes the open entry.
    pub fn close(&mut self) -> Option<Entry> {
        self.open.take().and_then(|_| self.entries.back().cloned())
    }

    /// The entry of a generation.
    ///
    /// # Errors
    ///
    /// [`Fault`] when it is not remembered, or when several have that number.
    pub fn find(&self, generation: u64) -> Result<&Entry, Fault> {
        let mut found = self
            .entries
            .iter()
            .filter(|entry| (entry.first..=entry.generation).contains(&generation));
        let remedy = "`thalweg history` lists those that are known";
        let Some(entry) = found.next() else {
            return Err(Fault::not_found(format!("there is no generation {generation}"), remedy));
        };
        match found.any(|other| other.config != entry.config) {
            true => Err(Fault::invalid(
                format!("several generations have the number {generation}"),
                "apply the files that you mean",
            )),
            false => Ok(entry),
        }
    }
}

/// An entry as it is shown.
pub fn view(entry: &Entry, kept: bool, pending: bool) -> GenerationView {
    GenerationView {
        generation: entry.generation,
        first: entry.first,
        at: moment::text(entry.at),
        source: entry.cause.source.clone(),
        user: entry.cause.user.clone(),
        message: entry.cause.message.clone(),
        back_to: entry.cause.back_to,
        pending,
        kept,
        config: entry.config.clone(),
        steps: entry.steps,
        micros: entry.micros,
        change: entry.change.clone(),
    }
}

/// Everything about an entry.
pub fn describe(entry: &Entry, kept: bool, pending: bool) -> DescribeView {
    let mut fields = vec![("In force from", moment::text(entry.at))];
    fields.push(("Source", entry.cause.source.clone()));
    fields.extend(entry.cause.user.clone().map(|user| ("By", user)));
    fields.extend(entry.cause.message.clone().map(|message| ("Message", message)));
    fields.extend(entry.cause.back_to.map(|number| ("Back to", format!("generation {number}"))));
    if pending {
        fields.push(("Waits for", "`thalweg confirm`".into()));
    }
    fields.push(("Plan", format!("{} changes in {} µs", entry.steps, entry.micros)));
    let config = entry.config.clone().unwrap_or_else(|| "unknown".into());
    let kept = if kept { "kept" } else { "not kept" };
    fields.push(("Configuration", format!("{config} ({kept})")));
    let mut objects: Vec<String> = entry
        .change
        .objects
        .iter()
        .map(|view| format!("{} {}", view.object, view.change))
        .collect();
    if entry.change.more > 0 {
        objects.push(format!("… and {} more", entry.change.more));
    }
    let tables = entry.change.tables.iter().map(tally).collect();
    let section = |title: &str, lines: Vec<String>| SectionView { title: title.into(), lines };
    let sections = [section("Objects", objects), section("Tables", tables)];
    let number = match entry.first == entry.generation {
        true => entry.generation.to_string(),
        false => format!("{} to {}", entry.first, entry.generation),
    };
    DescribeView {
        kind: "generation".into(),
        name: number,
        fields: fields.into_iter().map(|(name, value)| (name.into(), value)).collect(),
        sections: sections.into_iter().filter(|section| !section.lines.is_empty()).collect(),
        ..DescribeView::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_api::view::ObjectView;

    fn entry(generation: u64, source: &str, config: &str, object: &str) -> Entry {
        Entry {
            first: generation,
            generation,
            cause: Cause::of(source),
            config: Some(config.into()),
            steps: 2,
            change: ChangeView {
                objects: vec![ObjectView { object: object.into(), change: "set".into() }],
                more: 0,
                tables: vec![TallyView { table: "routes".into(), set: 1, removed: 1 }],
            },
            ..Entry::default()
        }
    }

    #[test]
    fn churn_of_the_kernel_is_one_entry_a_second() {
        let mut history = History::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(history.add(entry(1, "start", "a", "x"), at(0)).len(), 1);
        for number in 2..100 {
            let object = format!("route 10.0.{number}.0/24");
            let complete = history.add(entry(number, "kernel", "a", &object), at(number));
            assert!(complete.is_empty());
        }
        assert_eq!(history.entries().count(), 2);
        assert_eq!(history.due(), Some(at(1_002)));
        let complete = history.add(entry(100, "kernel", "a", "y"), at(1_002));
        assert_eq!(complete.len(), 1);
        let churn = &complete[0];
        assert_eq!((churn.first, churn.generation, churn.steps), (2, 99, 196));
        assert_eq!((churn.change.objects.len(), churn.change.more), (NAMES, 98 - NAMES as u64));
        assert_eq!(churn.words(), "routes +98 -98");
        assert_eq!(churn.name(), "generations 2 to 99");
        let complete = history.add(entry(101, "files", "b", "z"), at(1_003));
        assert_eq!(complete.iter().map(|e| e.generation).collect::<Vec<_>>(), [100, 101]);
        let complete = history.add(entry(102, "files", "b", "z"), at(1_004));
        assert_eq!(complete.len(), 1, "people are not joined");
        assert!(history.close().is_none());
        assert_eq!(history.find(50).unwrap().first, 2);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut history = History::default();
        for number in 1..=MOST as u64 + 5 {
            history.add(entry(number, "files", "a", "x"), Instant::now());
        }
        assert_eq!(history.entries().count(), MOST);
        assert!(history.find(5).unwrap_err().message.contains("no generation 5"));
        assert!(history.find(6).is_ok());
    }

    #[test]
    fn what_happens_by_itself_pushes_out_nothing_that_people_did() {
        let mut history = History::default();
        let start = Instant::now();
        for number in 1..=10 {
            history.add(entry(number, "apply", "a", "x"), start);
        }
        for number in 11..=3_000 {
            let later = start + JOIN * number as u32;
            history.add(entry(number, "kernel", "a", "x"), later);
        }
        assert_eq!(history.entries().count(), MOST);
        assert!(history.find(1).is_ok() && history.find(3_000).is_ok());
        assert!(history.find(11).is_err());
        for number in 3_001..=3_700 {
            history.add(entry(number, "apply", "a", "x"), start);
        }
        assert_eq!(history.entries().count(), MOST);
        assert!(history.find(1).is_err(), "people push out each other");
        assert!(history.find(2_999).is_ok());
    }

    #[test]
    fn a_number_that_means_two_things_is_refused() {
        let entries = [entry(7, "files", "a", "x"), entry(7, "files", "b", "x")];
        let history = History::new(entries);
        assert!(history.find(7).unwrap_err().message.contains("several generations"));
        let history = History::new([entry(7, "files", "a", "x"), entry(7, "kernel", "a", "x")]);
        assert!(history.find(7).is_ok());
    }
}
