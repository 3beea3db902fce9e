//! Profiles: host endpoints name them, in the order in which they are asked.

use crate::model::Policy;
use crate::object::PolicyKind;
use crate::world::{Endpoint, World};

/// Where a profile stands in the list of an endpoint.
fn position(endpoint: &Endpoint, policy: &Policy) -> Option<usize> {
    endpoint.profiles.iter().position(|name| *name == policy.id.name.name)
}

/// Endpoints that list a profile, ascending; none of what is no profile.
pub(super) fn subjects(world: &World, policy: &Policy) -> Option<Vec<usize>> {
    (policy.id.kind == PolicyKind::Profile).then(|| {
        let all = world.endpoints.iter().enumerate();
        all.filter(|(_, one)| position(one, policy).is_some()).map(|(at, _)| at).collect()
    })
}

/// Sorts policies of an endpoint: profiles last, as it lists them.
pub(crate) fn sort<'p>(
    endpoint: &Endpoint,
    applying: &mut [usize],
    policy: impl Fn(usize) -> &'p Policy,
) {
    applying.sort_by_key(|at| match policy(*at) {
        one if one.id.kind == PolicyKind::Profile => position(endpoint, one).map_or(0, |at| at + 1),
        _ => 0,
    });
}
