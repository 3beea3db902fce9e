//! What changed, when and why: generations, events, and configurations on trial.

use serde::{Deserialize, Serialize};
use thalweg_model::Problem;

/// A generation, or several in a row that the kernel caused within one second.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GenerationView {
    /// Its number; the last one of several.
    pub generation: u64,
    /// The first one of several.
    pub first: u64,
    /// When it was put in force, RFC 3339 in UTC.
    pub at: String,
    /// What caused it: `start`, `files`, `kernel`, `apply`, `rollback`, ….
    pub source: String,
    /// Who asked for it, where somebody did.
    pub user: Option<String>,
    /// What that person said about it.
    pub message: Option<String>,
    /// The generation whose configuration it went back to.
    pub back_to: Option<u64>,
    /// Whether it waits to be confirmed.
    pub pending: bool,
    /// Whether its configuration is kept, so that one can go back to it.
    pub kept: bool,
    /// Which configuration it had: the name of its texts in the state directory.
    pub config: Option<String>,
    /// Steps of its plans.
    pub steps: u64,
    /// Microseconds that compiling and applying took.
    pub micros: u64,
    /// What changed.
    pub change: ChangeView,
}

/// Whether tables, hooks and pins are as the agent left them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditView {
    /// Octets of tables that were looked at.
    pub octets: u64,
    /// Hooks that were looked at.
    pub hooks: u64,
    /// How long it took, with mending, in microseconds.
    pub micros: u64,
    /// What somebody else had changed.
    pub findings: Vec<FindingView>,
}

/// Something that somebody else had changed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingView {
    /// `tables`, `hooks` or `pins`.
    pub part: String,
    /// What is not as it was left.
    pub what: String,
    /// Whether it is as it should be again.
    pub mended: bool,
}

/// What a generation changed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeView {
    /// Objects by name; the first ones where there are many.
    pub objects: Vec<ObjectView>,
    /// How many more there are.
    pub more: u64,
    /// Table entries that were set or removed.
    pub tables: Vec<TallyView>,
}

/// An object that a change touched.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectView {
    /// `Route/lan`, or what the kernel has: `link eth0`, `route 10.0.0.0/8`.
    pub object: String,
    /// `added`, `changed`, `removed`, or `set` where nobody knows what was there before.
    pub change: String,
}

/// How many entries of a table a change touched.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TallyView {
    /// `routes`, `labels`, `groups`, `next hops`, `links`, ….
    pub table: String,
    /// New entries, and those with new contents.
    pub set: u64,
    /// Entries that are gone.
    pub removed: u64,
}

/// A configuration that goes away by itself unless it is confirmed.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingView {
    /// The generation on trial; 0 while it is being put in force.
    pub generation: u64,
    /// The generation whose configuration comes back.
    pub back_to: u64,
    /// Until when, RFC 3339 in UTC.
    pub until: String,
    /// Seconds that are left.
    pub seconds: u64,
    /// Who applied it.
    pub user: String,
}

/// What came of `apply`, `confirm` or `rollback`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyView {
    /// Whether the files are right and were taken; otherwise nothing changed.
    pub accepted: bool,
    /// The generation in force afterwards.
    pub generation: u64,
    /// What changed; none if everything was in force already.
    pub change: Option<GenerationView>,
    /// What is still to be confirmed.
    pub pending: Option<PendingView>,
    /// What is wrong or doubtful: with the files if they were not accepted, else with what is in
    /// force.
    pub problems: Vec<Problem>,
}

/// Some events, oldest first.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventPage {
    /// How many events were dropped before these, because nobody read them in time.
    pub lost: u64,
    /// The events.
    pub events: Vec<EventView>,
}

/// Something that happened.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// Its number since the agent started, from 1.
    pub number: u64,
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// How much it matters.
    pub severity: EventSeverity,
    /// What kind of thing happened: `generation`, `config`, `link`, `hook`, `neighbor`, `table`,
    /// `session`, `source`, `plane`, `state`.
    pub kind: String,
    /// What it happened to: `link eth0`.
    pub object: String,
    /// What happened, in words.
    pub text: String,
}

/// How much an event matters.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum EventSeverity {
    /// What happens all the time.
    Debug,
    /// As it should be.
    #[default]
    Info,
    /// Works, but probably not as meant.
    Warning,
    /// Not as wished.
    Error,
}

impl EventSeverity {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}
