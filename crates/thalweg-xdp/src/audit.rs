//! What is in the kernel beside what the plane put there: somebody may have written into a table, taken
//! a program off a link, or unmounted the file system of the pins. The kernel reports none of that.

use crate::pins::{Pins, PinsError};
use crate::plane::{StartError, XdpPlane, load, writer_of};
use crate::{Mode, namespace};
use thalweg_image::{Applied, Plan, Plane};

/// What an audit found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Audit {
    /// Octets of tables that were looked at.
    pub octets: u64,
    /// Number of hooks that were looked at.
    pub hooks: usize,
    /// Tables with cells that the plane did not write so: [`XdpPlane::renew`] mends them.
    pub tables: Vec<String>,
    /// Hooks where our program is not: [`XdpPlane::reconcile`] mends them.
    pub lost: Vec<String>,
    /// What is wrong with the directory of pins: [`XdpPlane::restore_pins`] mends it.
    pub pins: Option<String>,
}

impl XdpPlane {
    /// Looks at all tables, hooks and pins. Reads tens of megabytes: some ten milliseconds.
    pub fn audit(&self) -> Audit {
        let memory = self.writer().memory().audit();
        let damage = |damage: &thalweg_image::Damage| {
            let (first, end) = damage.octets;
            let name = damage.table.name();
            format!("table {name}: octets {first} to {} are not as they were written", end - 1)
        };
        let hooks = self.statuses().iter().flat_map(|status| {
            [Some(status.mode).filter(|mode| *mode != Mode::None), status.behind, status.leaving]
        });
        let mut lost = self.hooks.lost(self.statuses());
        lost.extend(self.sockets.lost(&self.hooks.pins));
        Audit {
            octets: memory.octets,
            hooks: hooks.flatten().count() + self.sockets.count(),
            tables: memory.damages.iter().map(damage).collect(),
            lost,
            pins: self.pins_gone().map(|(what, _)| what),
        }
    }

    /// Makes the directory of pins anew, if it is not there any more, with all that the old one held
    /// as far as it is still in the kernel. Returns whether it had to.
    ///
    /// # Errors
    ///
    /// [`PinsError`] where there is no BPF file system and none may be mounted: nothing changed.
    pub fn restore_pins(&mut self, may_mount: bool) -> Result<bool, PinsError> {
        if self.pins_gone().is_none() {
            return Ok(false);
        }
        let pins = Pins::create(self.hooks.pins.dir(), may_mount)?;
        if let Ok(this) = namespace::current() {
            pins.set_namespace(this)?;
        }
        pins.adopt(&self.hooks.pins)?;
        self.hooks.pins = pins;
        self.hooks.pin_programs();
        Ok(true)
    }

    /// Loads programs and tables anew, applies a plan that holds everything, and goes on with these.
    /// Those before stay in force until [`Self::reconcile`] moves the hooks over, each at once.
    ///
    /// # Errors
    ///
    /// [`StartError`]; the plane goes on with what it had.
    pub fn renew(&mut self, object: &[u8], plan: &Plan) -> Result<Applied, StartError> {
        let (loaded, [xdp, tc], out) = load(object, self.capacity(), &self.hooks.pins, &[])?;
        let mut writer = writer_of(&loaded);
        let applied = writer.apply(plan).map_err(|error| StartError::Renew(error.to_string()))?;
        (self.hooks.xdp, self.hooks.tc, self.hooks.out) = (xdp, tc, out);
        self.replace(loaded, writer);
        Ok(applied)
    }
}
