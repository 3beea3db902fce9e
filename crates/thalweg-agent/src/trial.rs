//! A configuration on trial: it goes away by itself unless somebody confirms it in time.
//!
//! The time is measured by the clock that only goes forward. It tells across restarts of the agent,
//! too; after a restart of the machine only the clock on the wall can, and a jump of that one never
//! makes a trial longer than it was asked for.

use crate::install::Place;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thalweg_api::moment;
use thalweg_api::view::PendingView;

/// Its file in the state directory.
pub const FILE: &str = "pending.json";

/// A configuration on trial.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Trial {
    /// Version of this format, 1.
    pub version: u32,
    /// The files in question.
    pub place: Place,
    /// The configuration on trial.
    pub config: String,
    /// The one that comes back.
    pub back: String,
    /// The generation that was in force before.
    pub back_to: u64,
    /// How long the trial is, in seconds.
    pub seconds: u64,
    /// When it ends.
    pub end: Clocks,
    /// Who applied it.
    pub user: String,
}

/// What the clocks say.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Clocks {
    /// Milliseconds since 1970.
    pub wall: u64,
    /// Milliseconds since the machine started.
    pub steady: u64,
    /// Which start of the machine that was.
    pub boot: String,
}

impl Clocks {
    /// What they say now.
    pub fn now() -> Self {
        let steady = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            wall: moment::now(),
            steady: steady.tv_sec as u64 * 1_000 + steady.tv_nsec as u64 / 1_000_000,
            boot: boot.trim().into(),
        }
    }

    /// What they will say after a while.
    pub fn after(&self, seconds: u64) -> Self {
        let millis = seconds.saturating_mul(1_000);
        Self {
            wall: self.wall.saturating_add(millis),
            steady: self.steady.saturating_add(millis),
            boot: self.boot.clone(),
        }
    }
}

impl Trial {
    /// How much of it is left.
    pub fn left(&self, now: &Clocks) -> Duration {
        let millis = match self.end.boot == now.boot {
            true => self.end.steady.saturating_sub(now.steady),
            false => self.end.wall.saturating_sub(now.wall),
        };
        Duration::from_millis(millis).min(Duration::from_secs(self.seconds))
    }

    /// As it is shown.
    pub fn view(&self, now: &Clocks, generation: u64) -> PendingView {
        let left = self.left(now);
        PendingView {
            generation,
            back_to: self.back_to,
            until: moment::text(now.wall + left.as_millis() as u64),
            seconds: left.as_secs() + u64::from(left.subsec_nanos() > 0),
            user: self.user.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_of_the_clock_make_no_trial_longer() {
        let start = Clocks { wall: 1_000_000, steady: 5_000, boot: "a".into() };
        let trial = Trial {
            version: 1,
            place: Place::new("/etc/thalweg".as_ref()),
            config: "new".into(),
            back: "old".into(),
            back_to: 7,
            seconds: 60,
            end: start.after(60),
            user: "root".into(),
        };
        let left = |wall, steady, boot: &str| {
            trial.left(&Clocks { wall, steady, boot: boot.into() }).as_secs()
        };
        assert_eq!(left(1_000_000, 5_000, "a"), 60);
        assert_eq!(left(0, 25_000, "a"), 40, "the wall does not count");
        assert_eq!(left(9_000_000, 25_000, "a"), 40);
        assert_eq!(left(1_000_000, 65_000, "a"), 0);
        assert_eq!(left(1_020_000, 1, "b"), 40, "another start of the machine");
        assert_eq!(left(5, 1, "b"), 60, "back by days");
        assert_eq!(left(9_000_000, 1, "b"), 0);
        let view = trial.view(&Clocks { wall: 1_000_001, steady: 5_001, boot: "a".into() }, 8);
        assert_eq!((view.seconds, view.generation, view.back_to), (60, 8, 7));
        assert_eq!(view.until, "1970-01-01T00:17:40.000Z");
    }
}
