//! How a router carries out policies.

/// Settings of policies.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PolicySettings {
    /// Whether who is denied is told so; else it is dropped in silence.
    pub rejects: bool,
}
