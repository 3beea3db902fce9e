//! Log lines to standard error, for people or as JSON; docs/cli.md lists their fields.
//!
//! A line that was said within the last [`WINDOW`] is counted instead of said again.

use crate::brain::Level;
use crate::settings::LogFormat;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a line is not said again.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines that are remembered at once.
const MOST: usize = 256;

/// Number of the image in force; 0 before the first.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// What was said of late, and by which instance.
static MEMORY: Mutex<Memory> =
    Mutex::new(Memory { instance: String::new(), said: BTreeMap::new() });

/// Sends log lines to standard error. The first call wins, but for the name of the instance.
pub fn start(format: LogFormat, instance: &str) {
    if let Ok(mut memory) = MEMORY.lock() {
        memory.instance = instance.into();
    }
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // It would be said on standard error, which just failed, and end the thread: a disk that is
        // full is no reason not to forward.
        .log_internal_errors(false)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // It fails when there is a subscriber already, as in tests: that one gets the lines.
    let _ = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.finish()),
        LogFormat::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
    };
}

/// From now on lines belong to this image.
pub fn generation(number: u64) {
    GENERATION.store(number, Ordering::Relaxed);
}

/// Writes a line.
pub fn write(level: Level, line: &str) {
    // Whoever panicked while saying something keeps nobody else from it.
    let mut memory = MEMORY.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (level, line, repeats) in memory.say(level, line, Instant::now()) {
        emit(level, &line, repeats, &memory.instance);
    }
}

fn emit(level: Level, line: &str, repeats: u64, instance: &str) {
    let generation = Some(GENERATION.load(Ordering::Relaxed)).filter(|number| *number > 0);
    let repeated = Some(repeats).filter(|repeats| *repeats > 0);
    macro_rules! emit {
        ($level:ident) => {
            tracing::$level!(instance = %instance, generation, repeated, "{line}")
        };
    }
    match level {
        Level::Debug => emit!(debug),
        Level::Info => emit!(info),
        Level::Warn => emit!(warn),
        Level::Error => emit!(error),
    }
}

/// A line that was said.
struct Said {
    level: Level,
    at: Instant,
    /// How often since.
    repeats: u64,
}

struct Memory {
    instance: String,
    said: BTreeMap<String, Said>,
}

impl Memory {
    /// What is to be said now, with how often it was not said meanwhile.
    fn say(&mut self, level: Level, line: &str, now: Instant) -> Vec<(Level, String, u64)> {
        let mut out = Vec::new();
        if level == Level::Debug {
            out.push((level, line.to_owned(), 0));
            return out;
        }
        self.said.retain(|old, said| {
            let over = now.saturating_duration_since(said.at) >= WINDOW;
            // The line itself is said again below.
            if over && said.repeats > 0 && old != line {
                out.push((said.level, old.clone(), said.repeats));
            }
            !over || old == line
        });
        let fresh = Said { level, at: now, repeats: 0 };
        match self.said.get_mut(line) {
            Some(said) if now.saturating_duration_since(said.at) < WINDOW => said.repeats += 1,
            Some(said) => out.push((level, line.into(), std::mem::replace(said, fresh).repeats)),
            None => {
                out.push((level, line.into(), 0));
                if self.said.len() < MOST {
                    self.said.insert(line.into(), fresh);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_again_and_again_is_counted() {
        let mut memory = Memory { instance: String::new(), said: BTreeMap::new() };
        let start = Instant::now();
        let mut say = |line: &str, after: u64| {
            let now = start + Duration::from_secs(after);
            let lines = memory.say(Level::Warn, line, now);
            lines
                .into_iter()
                .map(|(_, line, repeats)| format!("{line} {repeats}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(say("a", 0), ["a 0"]);
        assert!(say("a", 1).is_empty());
        assert!(say("a", 9).is_empty());
        assert_eq!(say("b", 9), ["b 0"]);
        assert_eq!(say("a", 10), ["a 2"]);
        assert!(say("a", 11).is_empty());
        assert_eq!(say("c", 30), ["a 1", "c 0"], "what was counted is told, b was not repeated");
        for number in 0..1000 {
            assert_eq!(say(&format!("line {number}"), 31).len(), 1);
        }
        assert!(memory.said.len() <= MOST);
    }
}
