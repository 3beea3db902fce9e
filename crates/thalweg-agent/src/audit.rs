//! Whether what is in the kernel is what the agent left there: looked at from time to time, since the
//! kernel does not tell who else writes into tables, takes programs off links or unmounts pins.

use crate::brain::Level;
use crate::events::{Events, Note};
use crate::log;
use std::time::Duration;
use thalweg_api::view::{AuditView, EventSeverity, FindingView};
use thalweg_image::PlaneError;
use thalweg_xdp::Audit;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

/// When to look, and what was said already.
pub struct Auditor {
    ticks: Option<Interval>,
    /// What could not be mended.
    left: Vec<String>,
    /// Why.
    why: Option<String>,
}

impl Auditor {
    /// Looks every so often, or only when asked to.
    pub fn new(every: Option<Duration>) -> Self {
        let ticks = every.filter(|every| !every.is_zero()).map(|every| {
            let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks, left: Vec::new(), why: None }
    }

    /// Waits for the next time to look.
    pub async fn due(&mut self) {
        match &mut self.ticks {
            Some(ticks) => drop(ticks.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Something was found, and is to be mended now.
    pub fn found(&mut self, audit: &Audit, events: &Events) {
        self.why = None;
        for (part, what) in findings(audit).filter(|(_, what)| !self.left.contains(what)) {
            log::write(Level::Error, &format!("audit: {what}"));
            events.tell(Note::new(EventSeverity::Error, "audit", part, what));
        }
    }

    /// Why something could not be mended.
    pub fn failed(&mut self, error: &PlaneError) {
        self.why = Some(error.to_string());
    }

    /// Everything was tried.
    pub fn done(&mut self, left: &Audit, view: &AuditView, events: &Events) {
        let before = std::mem::replace(&mut self.left, findings(left).map(|(_, w)| w).collect());
        for finding in &view.findings {
            let (level, severity, text) = match finding.mended {
                true => (Level::Info, EventSeverity::Info, format!("mended: {}", finding.what)),
                false if before.contains(&finding.what) => continue,
                false => {
                    let why = self.why.as_deref().unwrap_or("the next audit tries again");
                    let text = format!("not mended: {} ({why})", finding.what);
                    (Level::Error, EventSeverity::Error, text)
                }
            };
            log::write(level, &format!("audit: {text}"));
            events.tell(Note::new(severity, "audit", &finding.part, text));
        }
    }
}

/// Whether everything is as the agent left it.
pub fn is_clean(audit: &Audit) -> bool {
    findings(audit).next().is_none()
}

/// What was found: part and words.
fn findings(audit: &Audit) -> impl Iterator<Item = (&'static str, String)> + '_ {
    let tables = audit.tables.iter().map(|what| ("tables", what.clone()));
    let hooks = audit.lost.iter().map(|what| ("hooks", what.clone()));
    tables.chain(hooks).chain(audit.pins.iter().map(|what| ("pins", what.clone())))
}

/// An audit as people see it: what was found, and what of it is left.
pub fn view(found: &Audit, left: &Audit, took: Duration) -> AuditView {
    let left: Vec<_> = findings(left).collect();
    let finding = |(part, what): (&'static str, String)| FindingView {
        mended: !left.contains(&(part, what.clone())),
        part: part.into(),
        what,
    };
    AuditView {
        octets: found.octets,
        hooks: found.hooks as u64,
        micros: took.as_micros() as u64,
        findings: findings(found).map(finding).collect(),
    }
}
