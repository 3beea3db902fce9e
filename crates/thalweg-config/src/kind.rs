//! What the `spec` of each kind holds.

pub(crate) mod bfd;
pub(crate) mod floating;
pub(crate) mod foreign;
pub(crate) mod host_ports;
pub(crate) mod label;
pub(crate) mod link;
pub(crate) mod nexthop;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod policy;
pub(crate) mod pool;
pub(crate) mod prefix;
pub(crate) mod route;
pub(crate) mod router;
pub(crate) mod service;
pub(crate) mod service_cidr;
pub(crate) mod slice;
pub(crate) mod traffic;
pub(crate) mod tunnel;
pub(crate) mod vrf;

use thalweg_model::intent::TtlModel;

/// `ttlModel`.
pub(crate) const TTL_MODELS: &[(&str, TtlModel)] =
    &[("Uniform", TtlModel::Uniform), ("Pipe", TtlModel::Pipe)];
