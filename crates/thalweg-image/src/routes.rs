//! Routes of one family: the RIB copies of all VRFs and the builder that turns them into tables.
//!
//! A batch is entered in the RIB copy first, then cut into parts that share no word of the tables.
//! Each part is drafted whole and published, or, when it does not fit, taken back out of the RIB
//! copy and tried again in pieces: what fits gets in, the single routes that do not are reported,
//! and everything in force stays right.

use crate::groups::Groups;
use crate::rib::{Prefix, Rib, Touched};
use crate::tables::{Full, Tables};
use thalweg_abi::{GroupId, TableId, VrfId, VrfRow};

/// Builder of the tables of one family.
pub(crate) trait Fib {
    /// The family's prefixes.
    type Prefix: Prefix;

    /// How many of `touched` (sorted, not empty) are to be drafted together.
    fn part(touched: &[Touched<Self::Prefix>]) -> usize;

    /// Drafts what follows for the tables from changes that `rib` has taken in already.
    fn draft(
        &mut self,
        tables: &mut Tables,
        vrf: VrfId,
        rib: &Rib<Self::Prefix>,
        part: &[Touched<Self::Prefix>],
    ) -> Result<(), Full>;

    /// The last draft has been published.
    fn published(&mut self);

    /// The place of the default route's group.
    fn default_group(row: &mut VrfRow) -> &mut u32;
}

/// Retries in a row after which nothing more is expected to fit.
const RETRIES: u32 = 16;
/// Pieces that a part is tried in when it does not fit whole.
const PIECES: usize = 16;

/// A route that did not fit.
pub(crate) struct Misfit<P> {
    /// VRF.
    pub vrf: VrfId,
    /// Prefix.
    pub prefix: P,
    /// The group it was to have.
    pub group: GroupId,
    /// What is full.
    pub full: Full,
}

/// Routes of one family in all VRFs.
pub(crate) struct Routes<F: Fib> {
    fib: F,
    ribs: Vec<Rib<F::Prefix>>,
}

/// What a batch changes beside the tables of routes.
struct Effects<'a, P> {
    groups: &'a mut Groups,
    misfits: Vec<Misfit<P>>,
}

impl<F: Fib + Default> Routes<F> {
    /// No routes in any of `vrfs` VRFs.
    pub fn new(vrfs: u32) -> Self {
        let ribs = std::iter::repeat_with(Rib::default).take(vrfs.min(1 << 16) as usize).collect();
        Self { fib: F::default(), ribs }
    }

    /// The RIB copy of a VRF.
    pub fn rib(&self, vrf: VrfId) -> Option<&Rib<F::Prefix>> {
        self.ribs.get(usize::from(vrf.0))
    }

    /// Puts a batch in force. Of several changes of one prefix the last holds. Returns what did not
    /// fit.
    pub fn apply(
        &mut self,
        tables: &mut Tables,
        groups: &mut Groups,
        mut batch: Vec<(VrfId, F::Prefix, GroupId)>,
    ) -> Vec<Misfit<F::Prefix>> {
        let mut effects = Effects { groups, misfits: Vec::new() };
        batch.sort_by_key(|(vrf, prefix, _)| (*vrf, *prefix));
        for routes in batch.chunk_by(|one, two| one.0 == two.0) {
            let vrf = routes[0].0;
            let mut last: Vec<(F::Prefix, GroupId)> = Vec::with_capacity(routes.len());
            for &(_, prefix, group) in routes {
                match last.last_mut() {
                    Some(same) if same.0 == prefix => same.1 = group,
                    _ => last.push((prefix, group)),
                }
            }
            self.apply_in(tables, vrf, last, &mut effects);
        }
        self.retry(tables, &mut effects);
        effects.misfits
    }

    /// Tries once more what did not fit while other room was still retired.
    fn retry(&mut self, tables: &mut Tables, effects: &mut Effects<F::Prefix>) {
        if effects.misfits.is_empty() || !tables.reclaim_all() {
            return;
        }
        let mut in_vain = 0;
        for misfit in std::mem::take(&mut effects.misfits) {
            let left_out = effects.misfits.len();
            if in_vain == RETRIES || misfit.full.is_beyond() {
                effects.misfits.push(misfit);
                continue;
            }
            let Misfit { vrf, prefix, group, .. } = misfit;
            self.apply_in(tables, vrf, vec![(prefix, group)], effects);
            in_vain = if effects.misfits.len() > left_out { in_vain + 1 } else { 0 };
        }
    }

    fn apply_in(
        &mut self,
        tables: &mut Tables,
        vrf: VrfId,
        mut batch: Vec<(F::Prefix, GroupId)>,
        effects: &mut Effects<F::Prefix>,
    ) {
        let exists = self.ribs.len() > usize::from(vrf.0);
        let table = if exists { TableId::Groups } else { TableId::Vrfs };
        batch.retain(|&(prefix, group)| {
            let fits = exists && effects.groups.usable(group);
            if !fits {
                let full = Full::beyond(table);
                effects.misfits.push(Misfit { vrf, prefix, group, full });
            }
            fits
        });
        let Some(rib) = self.ribs.get_mut(usize::from(vrf.0)) else { return };
        let touched = rib.set_all(&batch);
        let (defaults, rest) = touched.split_at(usize::from(
            touched.first().is_some_and(|touched| touched.prefix.length() == 0),
        ));
        for touched in defaults {
            Self::set_default(tables, vrf, touched.new);
            in_force(effects, touched);
        }
        self.install(tables, vrf, rest, effects);
    }

    fn set_default(tables: &mut Tables, vrf: VrfId, group: GroupId) {
        let index = u32::from(vrf.0);
        if let Some(mut row) = tables.draft().row::<VrfRow>(TableId::Vrfs, index) {
            *F::default_group(&mut row) = u32::from(group.0);
            let _ = tables.set_row(TableId::Vrfs, index, &row);
        }
    }

    /// Puts changes in force that the RIB copy has taken in.
    fn install(
        &mut self,
        tables: &mut Tables,
        vrf: VrfId,
        touched: &[Touched<F::Prefix>],
        effects: &mut Effects<F::Prefix>,
    ) {
        let mut rest = touched;
        while !rest.is_empty() {
            let (part, others) = rest.split_at(F::part(rest).max(1));
            match self.publish(tables, vrf, part) {
                Ok(()) => part.iter().for_each(|touched| in_force(effects, touched)),
                Err(full) => self.install_some(tables, vrf, part, full, effects),
            }
            rest = others;
        }
    }

    /// Takes a part that does not fit back out, and puts in force what of it does fit.
    fn install_some(
        &mut self,
        tables: &mut Tables,
        vrf: VrfId,
        part: &[Touched<F::Prefix>],
        full: Full,
        effects: &mut Effects<F::Prefix>,
    ) {
        let rib = &mut self.ribs[usize::from(vrf.0)];
        for touched in part {
            rib.set(touched.prefix, touched.old);
        }
        if let [touched] = part {
            let Touched { prefix, new: group, .. } = *touched;
            effects.misfits.push(Misfit { vrf, prefix, group, full });
            return;
        }
        for piece in part.chunks(part.len().div_ceil(PIECES)) {
            let rib = &mut self.ribs[usize::from(vrf.0)];
            for touched in piece {
                rib.set(touched.prefix, touched.new);
            }
            self.install(tables, vrf, piece, effects);
        }
    }

    /// Drafts and publishes one part; waits for readers when that may make the room it lacks.
    fn publish(
        &mut self,
        tables: &mut Tables,
        vrf: VrfId,
        part: &[Touched<F::Prefix>],
    ) -> Result<(), Full> {
        let rib = &self.ribs[usize::from(vrf.0)];
        tables.set_urgent(part.iter().all(|touched| touched.new == GroupId::NONE));
        loop {
            match self.fib.draft(tables, vrf, rib, part) {
                Ok(()) => {
                    tables.publish();
                    self.fib.published();
                    return Ok(());
                }
                Err(full) => {
                    tables.abandon();
                    if !tables.reclaim(full) {
                        return Err(full);
                    }
                }
            }
        }
    }
}

/// Notes which groups a change that is in force has begun and ceased to use.
fn in_force<P>(effects: &mut Effects<P>, touched: &Touched<P>) {
    effects.groups.use_group(touched.new, true);
    effects.groups.use_group(touched.old, false);
}
