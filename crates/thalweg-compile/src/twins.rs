//! Frontends for packets out of tunnels: which of them stand for which others.

use std::collections::HashMap;
use thalweg_abi::service;
use thalweg_image::{FrontendKey, SetId};
use thalweg_service::Class;

/// Twins in force.
#[derive(Debug, Default)]
pub(crate) struct Twins {
    /// By the frontend that each stands for; node ports of several addresses share one.
    of: HashMap<FrontendKey, FrontendKey>,
    /// Their sets, and how many frontends they stand for.
    sets: HashMap<FrontendKey, (SetId, u32)>,
}

/// The key of a frontend's twin. That of a node port holds for the addresses of all nodes.
pub(crate) fn key_of(frontend: &thalweg_service::Frontend) -> FrontendKey {
    let key = &frontend.key;
    let protocol = service::within_tunnel(key.protocol.number());
    let own = FrontendKey::new(key.address, key.port, protocol);
    match frontend.class {
        Class::NodePort => {
            let family = if key.address.is_ipv6() { 6 } else { 4 };
            FrontendKey { address: service::any_node(family), ..own }
        }
        _ => own,
    }
}

impl Twins {
    /// Whether a frontend has this twin.
    pub fn is(&self, frontend: FrontendKey, twin: FrontendKey) -> bool {
        self.of.get(&frontend) == Some(&twin)
    }

    /// Notes the twin of a frontend with its set, which the caller holds. The set that it had before.
    pub fn set(&mut self, frontend: FrontendKey, twin: FrontendKey, set: SetId) -> Option<SetId> {
        let fresh = self.of.insert(frontend, twin).is_none();
        let (before, users) = self.sets.get(&twin).copied().unzip();
        let users = users.unwrap_or(0) + u32::from(fresh);
        self.sets.insert(twin, (set, users));
        before
    }

    /// A frontend has no twin any more. The twin that goes with it, and its set, if it was the last.
    pub fn part(&mut self, frontend: FrontendKey) -> Option<(FrontendKey, SetId)> {
        let twin = self.of.remove(&frontend)?;
        let (set, users) = self.sets.get_mut(&twin)?;
        *users -= 1;
        let (set, left) = (*set, *users);
        if left > 0 {
            return None;
        }
        self.sets.remove(&twin);
        Some((twin, set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_goes_with_the_last_that_it_stands_for() {
        let key = |port| FrontendKey::new([192, 0, 2, 1].into(), port, 6);
        let mut twins = Twins::default();
        assert_eq!(twins.set(key(1), key(9), SetId(1)), None);
        assert_eq!(twins.set(key(2), key(9), SetId(2)), Some(SetId(1)));
        assert_eq!(twins.set(key(2), key(9), SetId(3)), Some(SetId(2)));
        assert_eq!(twins.part(key(1)), None);
        assert_eq!(twins.part(key(1)), None);
        assert_eq!(twins.part(key(2)), Some((key(9), SetId(3))));
        assert_eq!(twins.part(key(2)), None);
    }
}
