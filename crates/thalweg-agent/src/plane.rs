//! What the agent needs of a data plane, and the plane that lives in this process's memory.

use crate::selftest::Finding;
use thalweg_abi::{Counter, Verdict};
use thalweg_image::{
    Applied, Capacity, Memory, NoReaders, Occupancy, Plan, Plane, PlaneError, Writer,
};
use thalweg_model::Problem;
use thalweg_model::intent::{Limits, XdpWish};
use thalweg_xdp::{Audit, EventCounts, Events, SocketStatus};

/// Frames and octets by verdict; verdicts that never occurred may be left out.
pub type Counts = Vec<(Verdict, Counter)>;

/// A plane with tables to look into and hooks to bring packets to it.
pub trait DataPlane: Plane + Send {
    /// What it is: `ebpf` or `memory`.
    fn kind(&self) -> &'static str;

    /// Its tables.
    fn memory(&self) -> &Memory;

    /// Frames and octets by verdict.
    ///
    /// # Errors
    ///
    /// What the kernel says when they cannot be read.
    fn counts(&self) -> Result<Counts, PlaneError>;

    /// The reader of drop events, one at a time; none where there are no programs. After [`Self::renew`] another
    /// one is needed.
    ///
    /// # Errors
    ///
    /// What the kernel refuses.
    fn events(&self) -> Result<Option<Events>, PlaneError> {
        Ok(None)
    }

    /// What became of drop events.
    fn event_counts(&self) -> EventCounts {
        EventCounts::default()
    }

    /// How often what decides about flows has decided, by number up to `last`
    /// ([`thalweg_compile::Compiler::policy_cause`]); nothing where no packets come.
    ///
    /// # Errors
    ///
    /// What the kernel says when they cannot be read.
    fn policy_hits(&self, _last: u32) -> Result<Vec<u64>, PlaneError> {
        Ok(Vec::new())
    }

    /// Says whether a link (by interface index) or a session can be used, at once and outside of all
    /// plans: next hops that watch it change over to their backups or back. False when the plane has
    /// no such state.
    fn set_state(&mut self, state: u32, up: bool) -> bool;

    /// Does now what the next plan would have to do first. To be called after a large one, when nothing
    /// waits.
    fn ready(&mut self) {}

    /// Makes the hooks as wished: attaches what is missing, moves what is wished otherwise, takes
    /// back what is not wished any more. Returns how each wish stands, in order.
    fn hook(&mut self, wishes: &[HookWish]) -> Vec<HookState>;

    /// Lets processes connect to services themselves, or not any more. What is in the way stands in
    /// [`Self::problems`].
    fn serve_sockets(&mut self, _wanted: bool) {}

    /// How the hooks for that stand; none where they are not wanted.
    fn sockets(&self) -> Option<&SocketStatus> {
        None
    }

    /// Looks whether tables, hooks and pins are as this plane left them.
    fn audit(&self) -> Audit {
        let found = self.memory().audit();
        let damage = |damage: &thalweg_image::Damage| format!("table {}", damage.table.name());
        let tables = found.damages.iter().map(damage).collect();
        Audit { octets: found.octets, tables, ..Audit::default() }
    }

    /// Makes the pins anew where they are gone.
    ///
    /// # Errors
    ///
    /// Why that cannot be done now.
    fn restore_pins(&mut self) -> Result<(), PlaneError> {
        Ok(())
    }

    /// Goes on with new tables, filled by a plan that holds everything. Those before stay in force
    /// until [`Self::hook`] is called.
    ///
    /// # Errors
    ///
    /// The plane goes on with what it had.
    fn renew(&mut self, _plan: &Plan) -> Result<Applied, PlaneError> {
        Err(PlaneError { message: "this plane cannot be filled anew".into() })
    }

    /// Tries the programs on the tables as they are, with frames that arrive at these links (by
    /// interface index), before they are brought to any hook.
    fn self_test(&mut self, _links: &[u32]) -> Finding {
        Finding::Untried("there are no programs".into())
    }

    /// Takes back what was made for a plane that never got a hook; what an earlier agent left stays.
    fn forsake(self: Box<Self>) {}

    /// Whether an agent before left an image in force, which this plane is to take over from.
    fn succeeds(&self) -> bool {
        false
    }

    /// What is wrong around the plane now, though it works.
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// What a person should know about how the plane was made.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A link that needs a hook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HookWish {
    /// Interface index.
    pub link: u32,
    /// Interface name.
    pub name: String,
    /// What is wished.
    pub wish: XdpWish,
}

/// How a wish stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HookState {
    /// The wish.
    pub wish: HookWish,
    /// What is there; none if nothing could be attached.
    pub hook: Option<String>,
    /// Why this one, or why none and what to do.
    pub reason: String,
}

/// Makes a plane with tables of these sizes.
pub type Opener = Box<dyn FnMut(&Limits) -> Result<Box<dyn DataPlane>, PlaneError> + Send>;

/// Table sizes as the image crate wants them.
pub fn capacity(limits: &Limits) -> Capacity {
    Capacity::for_limits(&thalweg_compile::table_limits(limits))
}

/// Tables in this process's memory and no packets: for `check`, `diff`, `replay` and tests.
pub struct MemoryPlane {
    writer: Writer,
    limits: Limits,
}

impl MemoryPlane {
    /// An empty plane for these limits.
    pub fn new(limits: &Limits) -> Self {
        let memory = Memory::heap(&capacity(limits));
        Self { writer: Writer::new(memory, Box::new(NoReaders)), limits: limits.clone() }
    }

    /// Makes planes of this kind.
    pub fn opener() -> Opener {
        Box::new(|limits| Ok(Box::new(Self::new(limits))))
    }
}

impl Plane for MemoryPlane {
    fn apply(&mut self, plan: &Plan) -> Result<Applied, PlaneError> {
        self.writer.apply(plan)
    }

    fn occupancy(&self) -> Vec<Occupancy> {
        self.writer.occupancy()
    }
}

impl DataPlane for MemoryPlane {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn memory(&self) -> &Memory {
        self.writer.memory()
    }

    fn counts(&self) -> Result<Counts, PlaneError> {
        Ok(Counts::new())
    }

    fn set_state(&mut self, state: u32, up: bool) -> bool {
        self.writer.set_state(state, up)
    }

    fn ready(&mut self) {
        self.writer.ready();
    }

    fn renew(&mut self, plan: &Plan) -> Result<Applied, PlaneError> {
        *self = Self::new(&self.limits);
        self.apply(plan)
    }

    fn hook(&mut self, wishes: &[HookWish]) -> Vec<HookState> {
        let state = |wish: &HookWish| HookState {
            wish: wish.clone(),
            hook: Some("memory".into()),
            reason: "tables in memory only, no packets".into(),
        };
        wishes.iter().map(state).collect()
    }
}

/// The word for a wish in configuration files and output.
pub fn wish_word(wish: XdpWish) -> &'static str {
    match wish {
        XdpWish::Auto => "auto",
        XdpWish::Native => "native",
        XdpWish::Generic => "generic",
        XdpWish::Tc => "tc",
    }
}
