//! What next hops see of a session: whether its path can be used.

use crate::{Micros, SLOW};

/// How long nothing may come after a restart until the path is taken for lost: a neighbor that
/// missed us sends once a second.
const SILENCE: Micros = 3 * SLOW as Micros;
/// How long a session may take to come up again after a restart.
const GRACE: Micros = 15_000_000;

/// Whether a path can be used, and what is waited for before that changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    up: bool,
    /// When a session that came up is trusted again.
    trusted_at: Option<Micros>,
    /// The path stays as it is although the session is not up.
    grace: Option<Grace>,
}

#[derive(Clone, Copy, Debug)]
struct Grace {
    /// Until the session must be up; none waits as long as the neighbor is heard.
    until: Option<Micros>,
    /// Until something must be heard at all.
    heard_by: Option<Micros>,
}

/// Why a session is not up any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Loss {
    /// Nothing was heard for the detection time.
    Silence,
    /// The neighbor says that it does not hear us.
    Peer,
    /// The neighbor says that a person took the session down.
    Admin,
}

impl Path {
    /// A path as it was before a restart.
    pub fn resumed(up: bool, now: Micros) -> Self {
        let grace = Grace { until: Some(now + GRACE), heard_by: Some(now + SILENCE) };
        Self { up, trusted_at: None, grace: Some(grace).filter(|_| up) }
    }

    /// Whether it can be used.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The session came up.
    pub fn session_up(&mut self, hold: Micros, now: Micros) {
        self.grace = None;
        self.trusted_at = (!self.up).then_some(now + hold);
        self.tick(now);
    }

    /// The session is not up any more.
    pub fn session_lost(&mut self, loss: Loss, now: Micros) {
        self.trusted_at = None;
        match (loss, &self.grace) {
            (Loss::Silence, Some(grace)) if grace.heard_by.is_some_and(|by| now < by) => {}
            (Loss::Peer, Some(_)) => {}
            (Loss::Admin, _) => {
                self.grace = Some(Grace { until: None, heard_by: None }).filter(|_| self.up);
            }
            _ => (self.up, self.grace) = (false, None),
        }
    }

    /// The neighbor still takes the session for up.
    pub fn confirmed(&mut self) {
        self.grace = None;
    }

    /// Something was heard.
    pub fn heard(&mut self) {
        if let Some(grace) = &mut self.grace {
            grace.heard_by = None;
        }
    }

    /// A neighbor that was heard is silent, whatever the state.
    pub fn silent(&mut self, now: Micros) {
        if self.grace.is_some() {
            self.session_lost(Loss::Silence, now);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Micros) {
        if self.trusted_at.is_some_and(|at| now >= at) {
            (self.up, self.trusted_at) = (true, None);
        }
        let over = |at: Option<Micros>| at.is_some_and(|at| now >= at);
        if self.grace.is_some_and(|grace| over(grace.until) || over(grace.heard_by)) {
            (self.up, self.grace) = (false, None);
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn due(&self) -> Option<Micros> {
        let grace = self.grace.and_then(|g| g.until.into_iter().chain(g.heard_by).min());
        grace.into_iter().chain(self.trusted_at).min()
    }

    /// When a session that is up is trusted.
    pub fn trusted_at(&self) -> Option<Micros> {
        self.trusted_at
    }
}
