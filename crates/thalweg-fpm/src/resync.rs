//! When everything was told: nothing in the stream says so.
//!
//! A zebra that connects again sends all it has, pausing up to a second where its buffer is full
//! (`fpm_rib_send`). So the end of a dump is silence. But what zebra has may be little: after a
//! restart its daemons take their time to give it their routes again. Messages carry the netlink port
//! of the zebra that sent them, which is another one after a restart.

use std::time::{Duration, Instant};
use thalweg_model::intent::Fpm;

/// How long the start of forwarding waits for the end of a dump that never falls silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection whose routes are not all told yet.
#[derive(Clone, Copy, Debug)]
pub struct Resync {
    /// When it began.
    pub began: Instant,
    /// When the last frame came.
    last: Instant,
    /// Whether there was anything to tell again.
    fresh: bool,
    /// Whether the zebra is the one that told before; none before its first message.
    same: Option<bool>,
}

impl Resync {
    /// A new connection; `fresh` if nothing was known before.
    pub fn begin(now: Instant, fresh: bool) -> Self {
        Self { began: now, last: now, fresh, same: None }
    }

    /// A frame came, from the zebra that told before or from another one.
    pub fn heard(&mut self, now: Instant, same: Option<bool>) {
        self.last = now;
        self.same = self.same.or(same);
    }

    /// How long it took from the connection to the last frame.
    pub fn took(&self) -> Duration {
        self.last.duration_since(self.began)
    }

    /// Whether the zebra was restarted since it told before.
    pub fn is_restart(&self) -> bool {
        !self.fresh && self.same != Some(true)
    }

    /// When what was told is enough to begin with.
    pub fn complete(&self, settings: &Fpm) -> Instant {
        (self.last + settings.quiet_time).min(self.began + PATIENCE.max(settings.quiet_time))
    }

    /// When what was not told again is to be taken away.
    pub fn sweep(&self, settings: &Fpm) -> Instant {
        let end = self.began + settings.stale_time;
        match self.is_restart() {
            true => end,
            false => (self.last + settings.quiet_time).min(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Fpm {
        Fpm { stale_time: 120 * SECOND, quiet_time: 5 * SECOND, ..Fpm::default() }
    }

    #[test]
    fn the_same_zebra_has_told_everything_when_it_falls_silent() {
        let start = Instant::now();
        let mut resync = Resync::begin(start, false);
        resync.heard(start + SECOND, Some(true));
        assert!(!resync.is_restart());
        assert_eq!(resync.sweep(&settings()), start + 6 * SECOND);
        resync.heard(start + 4 * SECOND, Some(true));
        assert_eq!(resync.sweep(&settings()), start + 9 * SECOND);
        resync.heard(start + 119 * SECOND, None);
        assert_eq!(resync.sweep(&settings()), start + 120 * SECOND, "it never falls silent");
        assert_eq!(resync.complete(&settings()), start + PATIENCE);
    }

    #[test]
    fn one_that_was_restarted_gets_the_whole_time() {
        let start = Instant::now();
        let mut resync = Resync::begin(start, false);
        assert!(resync.is_restart(), "who says nothing may be anybody");
        resync.heard(start + SECOND, Some(false));
        assert!(resync.is_restart());
        assert_eq!(resync.sweep(&settings()), start + 120 * SECOND);
        assert_eq!(resync.complete(&settings()), start + 6 * SECOND);
        assert!(!Resync::begin(start, true).is_restart(), "there is nothing to keep");
    }
}
