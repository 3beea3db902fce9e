//! What the `spec` of each kind holds.

pub(crate) mod bfd;
pub(crate) mod label;
pub(crate) mod link;
pub(crate) mod nexthop;
pub(crate) mod prefix;
pub(crate) mod route;
pub(crate) mod router;
pub(crate) mod vrf;

use thalweg_model::intent::TtlModel;

/// `ttlModel`.
pub(crate) const TTL_MODELS: &[(&str, TtlModel)] =
    &[("Uniform", TtlModel::Uniform), ("Pipe", TtlModel::Pipe)];
