//! Who answered, how often and when.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

/// What became of a request.
pub struct Answer {
    /// When it began, from the beginning of all.
    pub after: Duration,
    pub took: Duration,
    /// The name of who answered, or what went wrong.
    pub said: Result<String, String>,
}

/// All of them.
#[derive(Default)]
pub struct Tally(Vec<Answer>);

impl Tally {
    pub fn add(&mut self, answer: Answer) {
        self.0.push(answer);
    }

    pub fn requests(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    pub fn failed(&self) -> usize {
        self.0.iter().filter(|answer| answer.said.is_err()).count()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.0.iter().filter_map(|answer| answer.said.as_deref().ok()).collect()
    }

    /// A line for each name and each kind of failure with its count, then the sum.
    pub fn sums(&self) -> String {
        let mut counts = BTreeMap::new();
        for answer in &self.0 {
            let name = match &answer.said {
                Ok(name) => name.clone(),
                Err(error) => format!("failed: {error}"),
            };
            *counts.entry(name).or_insert(0) += 1;
        }
        let width = counts.keys().map(String::len).max().unwrap_or(0);
        let mut text = String::new();
        for (name, count) in counts {
            let _ = writeln!(text, "{name:width$}  {count:>5}");
        }
        let slowest = self.0.iter().map(|answer| answer.took).max().unwrap_or_default();
        let (all, failed) = (self.requests(), self.failed());
        let noun = if all == 1 { "request" } else { "requests" };
        let _ = writeln!(text, "{all} {noun}, {failed} failed, slowest {} ms", slowest.as_millis());
        text
    }

    /// A table: a row for each `every`, with the answers to what began then.
    pub fn rows(&self, every: Duration) -> String {
        let names = self.names();
        let row_of = |after: Duration| after.as_nanos() / every.as_nanos().max(1);
        let mut rows: BTreeMap<u128, BTreeMap<&str, u32>> = BTreeMap::new();
        let last = self.0.iter().map(|answer| row_of(answer.after)).max();
        for row in 0..last.map_or(0, |last| last + 1) {
            rows.insert(row, BTreeMap::new());
        }
        for answer in &self.0 {
            let name = answer.said.as_deref().unwrap_or("failed");
            *rows.entry(row_of(answer.after)).or_default().entry(name).or_insert(0) += 1;
        }
        let columns: Vec<&str> = names.into_iter().chain(["failed"]).collect();
        let mut text = format!("{:>9}", "from");
        columns.iter().for_each(|name| {
            let _ = write!(text, " {name:>8}");
        });
        text.push('\n');
        for (row, counts) in rows {
            let _ = write!(text, "{:>6} ms", row * every.as_millis());
            for name in &columns {
                let _ = write!(text, " {:>8}", counts.get(name).unwrap_or(&0));
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(answers: &[(u64, Result<&str, &str>)]) -> Tally {
        let mut tally = Tally::default();
        for (after, said) in answers {
            let said = said.map(str::to_owned).map_err(str::to_owned);
            let took = Duration::from_millis(*after);
            tally.add(Answer { after: Duration::from_millis(*after), took, said });
        }
        tally
    }

    #[test]
    fn every_request_is_counted_once() {
        let tally = tally(&[(0, Ok("b")), (7, Ok("a")), (30, Err("refused")), (31, Ok("a"))]);
        assert_eq!((tally.requests(), tally.failed()), (4, 1));
        let sums = tally.sums();
        let wished = "a                    2\nb                    1\nfailed: refused      1\n\
                      4 requests, 1 failed, slowest 31 ms\n";
        assert_eq!(sums, wished);
        let wished = "     from        a        b   failed\n     0 ms        1        1        0\n    \
                      10 ms        0        0        0\n    20 ms        0        0        0\n    30 ms        \
                      1        0        1\n";
        assert_eq!(tally.rows(Duration::from_millis(10)), wished);
    }

    #[test]
    fn nothing_is_a_table_without_rows() {
        let tally = tally(&[]);
        assert_eq!(tally.sums(), "0 requests, 0 failed, slowest 0 ms\n");
        assert_eq!(tally.rows(Duration::from_millis(10)), "     from   failed\n");
    }
}
