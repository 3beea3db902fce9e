//! Sequence numbers of authentication, which follow the clock (RFC 5880 §6.7.3, §6.7.4).
//!
//! A neighbor takes numbers from the last it took to three multipliers beyond. An agent that was
//! killed could not write down its last number, so the numbers keep close to a line over time
//! instead, which is written down when it bends: whoever knows the line knows about where they are.

use crate::Micros;

/// A point of the line, and how steep it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Anchor {
    /// The number there.
    pub number: u32,
    /// When.
    pub at: Micros,
    /// How long until the next number.
    pub step: Micros,
}

impl Anchor {
    fn number_at(&self, now: Micros) -> u32 {
        // Numbers are a circle of 32 bits; so are the steps.
        self.number.wrapping_add((now.saturating_sub(self.at) / self.step.max(1)) as u32)
    }

    /// The line as it goes on from now for who sends at `interval` microseconds before jitter.
    ///
    /// Jitter takes a quarter at most. So one number each three quarters keeps ahead of periodic
    /// packets, and makes 8/3 multipliers of twice the detection time, after which the neighbor
    /// takes any number.
    pub(crate) fn paced(self, interval: u32, now: Micros) -> Self {
        let step = pace(interval);
        if step == self.step { self } else { Self { number: self.number_at(now), at: now, step } }
    }
}

fn pace(interval: u32) -> Micros {
    (Micros::from(interval) * 3 / 4).max(1)
}

/// How far numbers may be ahead of the line, exclusive: what the window has beyond 8/3 multipliers.
fn slack(multiplier: u8) -> u32 {
    u32::from(multiplier / 3).max(1)
}

/// The numbers of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    /// The last one sent.
    pub last: u32,
    /// None before the first.
    pub anchor: Option<Anchor>,
}

impl Numbers {
    /// Numbers that begin behind `last`.
    pub fn new(last: u32) -> Self {
        Self { last, anchor: None }
    }

    /// Numbers that go on beyond all that an agent before sent along its line.
    pub fn resume(last: u32, anchor: Option<Anchor>, multiplier: u8, now: Micros) -> Self {
        let beyond = |anchor: Anchor| anchor.number_at(now).wrapping_add(slack(multiplier) - 1);
        Self { last: anchor.map_or(last, beyond), anchor }
    }

    /// The number of a packet to send now.
    pub fn next(&mut self, interval: u32, multiplier: u8, now: Micros) -> u32 {
        let following = self.last.wrapping_add(1);
        let fresh = Anchor { number: following, at: now, step: pace(interval) };
        let anchor = self.anchor.map_or(fresh, |anchor| anchor.paced(interval, now));
        let line = anchor.number_at(now);
        let ahead = i64::from(following.wrapping_sub(line) as i32);
        // Behind by so much, we were silent for long, and the neighbor may not take a leap.
        let astray = ahead >= slack(multiplier).into() || ahead < -2 * i64::from(multiplier);
        self.anchor = Some(if astray { fresh } else { anchor });
        self.last = if astray || ahead >= 0 { following } else { line };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends at this moment, at 100 ms and three packets.
    fn next(numbers: &mut Numbers, milliseconds: Micros) -> u32 {
        numbers.next(100_000, 3, milliseconds * 1_000)
    }

    #[test]
    fn numbers_grow_with_the_clock_and_with_each_packet() {
        let mut numbers = Numbers::new(u32::MAX);
        let sent = [0, 90, 180, 255, 300].map(|now| next(&mut numbers, now));
        assert_eq!(sent, [0, 1, 2, 3, 4]);
        assert_eq!(next(&mut numbers, 600), 8, "a packet was late");
        let line = numbers.anchor;
        assert_eq!(line.map(|line| (line.number, line.at, line.step)), Some((0, 0, 75_000)));
        assert_eq!(next(&mut numbers, 601), 9, "one too many: the line moves");
        assert_ne!(numbers.anchor, line);
    }

    #[test]
    fn who_was_silent_for_long_does_not_leap() {
        let mut numbers = Numbers::new(7);
        assert_eq!(next(&mut numbers, 0), 8);
        assert_eq!(next(&mut numbers, 525), 15, "at most two multipliers");
        assert_eq!(next(&mut numbers, 60_000), 16);
        assert_eq!(numbers.anchor.map(|line| line.at), Some(60_000_000), "and the line follows");
    }

    #[test]
    fn another_interval_bends_the_line_where_it_is() {
        let mut numbers = Numbers::new(u32::MAX);
        next(&mut numbers, 0);
        assert_eq!(numbers.next(1_000_000, 3, 150_000), 2);
        let bent = Anchor { number: 2, at: 150_000, step: 750_000 };
        assert_eq!(numbers.anchor, Some(bent));
    }

    #[test]
    fn the_next_agent_goes_on_beyond_all_that_were_sent() {
        for multiplier in 1..=u8::MAX {
            let mut numbers = Numbers::new(0);
            let mut kept = None;
            for now in 0..1_000 {
                // Packets between those by the clock.
                let moment = now * 100_000 - now % 7 * 3_000;
                let last = numbers.next(100_000, multiplier, moment);
                kept = numbers.anchor;
                let mut after = Numbers::resume(0, kept, multiplier, moment);
                let number = after.next(100_000, multiplier, moment);
                assert!((1..=u32::from(multiplier)).contains(&(number - last)), "{multiplier}");
            }
            assert!(kept.is_some());
        }
        assert_eq!(Numbers::resume(5, None, 3, 1).last, 5, "nothing else is known");
    }
}
