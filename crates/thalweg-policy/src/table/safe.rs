//! Ports of hosts that stay open, as rules in front of all others.

use super::class::{Atom, Atoms};
use super::flat::{Does, FlatRule, FlatTier, PortList, PortWish};
use super::own::Own;
use super::ports::Ports;
use crate::decide::{Cause, Verdict};
use crate::model::{Direction, Stage};
use crate::resolve::{ChainKind, Resolution};
use thalweg_model::Prefix;
use thalweg_model::cluster::Protocol;

/// The rules in front of those of a chain of a host with these addresses; none where all is asked of policies.
pub(super) fn tier(
    resolution: &Resolution,
    kind: ChainKind,
    own: &mut Own<'_>,
    addresses: &[Prefix],
    atoms: &mut Atoms,
) -> Option<FlatTier> {
    let settings = &resolution.world.settings;
    let (to, from) = match kind.direction {
        Direction::Ingress => (&settings.fail_safe_in, &settings.fail_safe_out),
        Direction::Egress => (&settings.fail_safe_out, &settings.fail_safe_in),
    };
    let (asks, any) = (wish(to), PortWish::default());
    let rules = match kind.stage {
        Stage::Normal if kind.forwarded => return None,
        Stage::Normal => vec![rule(Verdict::Allow, any, asks)],
        // What comes before translation is not asked about packets of the host, which it tells by their address.
        Stage::PreDnat => vec![rule(Verdict::Next, any, asks)],
        Stage::Untracked => {
            let answers = rule(Verdict::Next, wish(from), any.clone());
            vec![rule(Verdict::Next, any, asks), answers]
        }
    };
    let own_alone = kind.stage != Stage::Normal;
    if own_alone && !own.is(Atom::Nets(addresses.to_vec()), true, resolution, atoms) {
        return None;
    }
    Some(FlatTier { denies: None, rules })
}

fn wish(ports: &[(Protocol, u16)]) -> PortWish {
    let of = ports.iter().map(|(protocol, port)| (protocol.number(), *port)).collect();
    PortWish { asks: true, is: PortList { of, ..PortList::default() }, ..PortWish::default() }
}

fn rule(verdict: Verdict, source: PortWish, destination: PortWish) -> FlatRule {
    let cause = match verdict {
        Verdict::Next => Cause::NoPolicy,
        Verdict::Allow | Verdict::Deny => Cause::FailSafe,
    };
    FlatRule {
        cause,
        does: Does::Decide(verdict),
        protocol: None,
        not_protocol: None,
        icmp: Ports::all(),
        within: Vec::new(),
        without: Vec::new(),
        service: None,
        source,
        destination,
    }
}
