//! What becomes of the first packet of a flow: how the results are to be read.

use crate::frontend::{Choice, Empty, FrontendKey};
use crate::resolver::Resolver;
use std::net::IpAddr;

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum From {
    /// A workload on this node.
    Workload,
    /// This host itself.
    Host,
    /// A link to elsewhere.
    Outside,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It is not for a service.
    NotAService,
    /// It is discarded.
    Drop,
    /// It is discarded, and its sender is told.
    Reject,
    /// One of these serves it.
    Serve(Choice),
}

impl Resolver {
    /// What becomes of the first packet of a flow.
    pub fn ask(&self, from: From, source: IpAddr, key: FrontendKey) -> Fate {
        let Some(frontend) = self.frontend(key) else { return self.unserved(key.address) };
        if !frontend.admits(source, self.here().addresses.iter().map(|own| own.address)) {
            return Fate::Drop;
        }
        let choice = match from {
            From::Workload | From::Host => &frontend.internal,
            From::Outside => &frontend.external,
        };
        match choice.empty {
            _ if !choice.is_empty() => Fate::Serve(choice.clone()),
            Empty::Reject => Fate::Reject,
            Empty::Drop => Fate::Drop,
        }
    }

    /// What becomes of a packet to an address without a frontend for it.
    fn unserved(&self, address: IpAddr) -> Fate {
        let allotted = &self.here().settings.service_cidrs;
        if self.vip(address).is_some() {
            Fate::Reject
        } else if allotted.iter().any(|range| range.contains(address)) {
            Fate::Drop
        } else {
            Fate::NotAService
        }
    }
}
