//! How full the table of flows is, and a warning before it is full.
//!
//! Nobody counts rows while packets come and go, so it is looked at from time to time. A hash spreads
//! flows over buckets: some of the buckets are like all of them, and a look costs the same however large
//! the table is.

use crate::brain::Level;
use crate::cluster::{clock, lives};
use crate::events::{Events, Note};
use crate::log;
use std::sync::atomic::Ordering;
use std::time::Duration;
use thalweg_abi::TableId;
use thalweg_abi::flow::{WAYS, WORDS, slot, word};
use thalweg_api::view::{EventSeverity, FlowRowsView};
use thalweg_image::Memory;
use thalweg_model::{Key, Origin, Problem, Severity};
use tokio::time::{Interval, MissedTickBehavior};

/// How often to look.
const EVERY: Duration = Duration::from_secs(5);
/// Percent of the rows above which a warning is given.
const HIGH: f64 = 80.0;
/// Percent of the rows below which it is taken back.
const LOW: f64 = 70.0;
/// Most buckets that one look reads: with so many, it is off by less than half a percent.
const BUCKETS: usize = 8_192;

/// When to look, and what was said already.
pub struct Watermark {
    ticks: Interval,
    /// How many looks there were: each takes other buckets.
    looks: usize,
    rows: Option<FlowRowsView>,
    high: bool,
}

impl Watermark {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, looks: 0, rows: None, high: false }
    }

    /// Waits for the next time to look.
    pub async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Looks, and tells when the table has become too full or is so no more.
    pub fn look(&mut self, memory: &Memory, events: &Events) {
        self.looks += 1;
        self.rows = rows(memory, self.looks);
        let percent = self.rows.map_or(0.0, |rows| rows.percent());
        let (level, severity, text) = match (self.high, percent) {
            (false, HIGH..) => {
                let text = format!("{percent:.0} % of its rows are in use, more than {HIGH:.0} %");
                (Level::Warn, EventSeverity::Warning, text)
            }
            (true, ..LOW) => {
                let text = format!("{percent:.0} % of its rows are in use, less than {LOW:.0} %");
                (Level::Info, EventSeverity::Info, text)
            }
            _ => return,
        };
        self.high = !self.high;
        log::write(level, &format!("table flows: {text}"));
        events.tell(Note::new(severity, "table", "table flows", text));
    }

    /// Rows in use as they were seen last; looks now if they never were.
    pub fn rows(&self, memory: &Memory) -> Option<FlowRowsView> {
        self.rows.or_else(|| rows(memory, 0))
    }

    /// That the table is too full, as a problem of the object that says how large it is.
    pub fn problem(&self, router: Option<(&Key, &Origin)>) -> Option<Problem> {
        let rows = self.rows.filter(|_| self.high)?;
        let (object, origin) = router.map(|(key, origin)| (key.clone(), origin.clone())).unzip();
        Some(Problem {
            severity: Severity::Warning,
            origin: origin.unwrap_or_default(),
            object,
            field: Some("spec.flows.limit".into()),
            what: format!(
                "the table of flows is {:.0} % full: without a free row, new flows are dropped \
                 (flows-full)",
                rows.percent()
            ),
            remedy:
                "`thalweg get flows` and `thalweg get backends` show whose they are; raise the \
                     limit and restart the agent"
                    .into(),
        })
    }
}

/// How many rows are in use, by some of the buckets; none without a table.
fn rows(memory: &Memory, turn: usize) -> Option<FlowRowsView> {
    let now = clock();
    let slots = memory.words(TableId::FlowSlots);
    let flows = memory.words(TableId::Flows);
    let ways = WAYS as usize;
    if slots.len() <= ways {
        // Tables without room for flows have one bucket, since none would be no map.
        return None;
    }
    let step = (slots.len() / ways).div_ceil(BUCKETS).max(1);
    let (mut used, mut seen) = (0_u64, 0_u64);
    for (number, bucket) in slots.chunks_exact(ways).enumerate().skip(turn % step).step_by(step) {
        for (way, word) in bucket.iter().enumerate() {
            let live = word.load(Ordering::Relaxed) & slot::LIVE != 0;
            let row = (number * ways + way) * WORDS;
            let seen = flows.get(row + word::SEEN).map(|seen| seen.load(Ordering::Relaxed));
            used += u64::from(live && seen.is_some_and(|seen| lives(seen, now)));
        }
        seen += WAYS as u64;
    }
    let all = slots.len() as u64;
    (seen > 0).then(|| FlowRowsView { used: used * all / seen, rows: all })
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_model::intent::Limits;

    /// A table in which every n-th row is in use.
    fn memory(flows: u32, of_ten: usize) -> Memory {
        let memory = Memory::heap(&crate::plane::capacity(&Limits { flows, ..Limits::default() }));
        fill(&memory, of_ten);
        memory
    }

    fn fill(memory: &Memory, of_ten: usize) {
        let seen = 60 << 32 | u64::from(clock());
        for (at, slot) in memory.words(TableId::FlowSlots).iter().enumerate() {
            // Spread as by a hash, so that no step meets the same ones only.
            let live = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 0xffff < of_ten * 6_554;
            slot.store(if live { slot::LIVE | 7 } else { slot::EMPTY }, Ordering::SeqCst);
            let row = &memory.words(TableId::Flows)[at * WORDS + word::SEEN];
            row.store(seen, Ordering::SeqCst);
        }
    }

    #[test]
    fn some_of_the_buckets_tell_of_all() {
        for turn in 0..3 {
            let small = rows(&memory(1_024, 5), turn).unwrap();
            assert!((47.0..53.0).contains(&small.percent()), "{small:?}");
            let large = rows(&memory(200_000, 3), turn).unwrap();
            assert!(large.rows >= 400_000 && (29.0..31.0).contains(&large.percent()), "{large:?}");
        }
        let memory = memory(1_024, 10);
        let old = |row: &[std::sync::atomic::AtomicU64]| row[word::SEEN].store(0, Ordering::SeqCst);
        memory.words(TableId::Flows).chunks_exact(WORDS).for_each(old);
        assert_eq!(rows(&memory, 0).unwrap().used, 0, "they have outlived their time");
        assert_eq!(rows(&memory_without(), 0), None);
    }

    fn memory_without() -> Memory {
        Memory::heap(&crate::plane::capacity(&Limits { flows: 0, ..Limits::default() }))
    }

    #[tokio::test]
    async fn too_full_is_told_once_and_taken_back_later() {
        let (memory, events) = (memory(1_024, 7), Events::default());
        let mut watermark = Watermark::new();
        let told = |events: &Events| {
            let page = events.after(None, &Default::default()).0;
            page.events.into_iter().map(|event| event.text).collect::<Vec<_>>()
        };
        watermark.look(&memory, &events);
        assert!(told(&events).is_empty() && watermark.problem(None).is_none());
        fill(&memory, 9);
        watermark.look(&memory, &events);
        watermark.look(&memory, &events);
        assert_eq!(told(&events).len(), 1);
        let problem = watermark.problem(None).unwrap();
        assert_eq!(problem.severity, Severity::Warning);
        assert!(problem.what.contains("% full"), "{problem}");
        // Neither still high nor low enough.
        memory.words(TableId::FlowSlots).iter().enumerate().for_each(|(at, slot)| {
            let word = if at % 4 == 0 { slot::EMPTY } else { slot::LIVE | 7 };
            slot.store(word, Ordering::SeqCst);
        });
        watermark.look(&memory, &events);
        assert!(told(&events).len() == 1 && watermark.problem(None).is_some());
        fill(&memory, 5);
        watermark.look(&memory, &events);
        assert!(watermark.problem(None).is_none());
        let told = told(&events);
        assert!(told.len() == 2 && told[1].contains("less than 70 %"), "{told:?}");
    }
}
