//! The own side of rules: the destination of what comes, the source of what goes.

use super::class::{Atom, Atoms};
use crate::resolve::Resolution;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What is known of it.
pub(super) enum Own<'a> {
    /// It is this address.
    At(IpAddr),
    /// It is any for which these atoms hold (ascending) and none of the others that rules ask it for.
    Where(&'a [u32]),
    /// Nothing: whatever may hold does. What rules ask is noted.
    Any(&'a mut BTreeSet<u32>),
}

impl Own<'_> {
    /// Whether an atom holds, or if that is wanted, does not.
    pub fn is(
        &mut self,
        atom: Atom,
        wanted: bool,
        resolution: &Resolution,
        atoms: &mut Atoms,
    ) -> bool {
        match self {
            Self::At(address) => atom.holds(resolution, *address) == wanted,
            Self::Where(holds) => {
                let known = atoms.known(&atom);
                known.is_some_and(|known| holds.binary_search(&known).is_ok()) == wanted
            }
            Self::Any(asked) => {
                asked.insert(atoms.number(atom));
                true
            }
        }
    }
}
