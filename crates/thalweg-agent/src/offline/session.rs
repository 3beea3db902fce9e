//! The session that an administrator works in, and a warning where policies would cut it.
//!
//! Fail-safe ports keep SSH open unless a `Router` object says otherwise; whoever has it on another port, or
//! closes them all, is told before it is too late.

use super::here::Here;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use thalweg_model::{HostState, Intent, Key, Origin, Problem, Severity};
use thalweg_policy::decide::host::{Gate, Passing, Said, Way};
use thalweg_policy::decide::{Cause, Step};
use thalweg_policy::model::Direction;
use thalweg_policy::world::EndpointName;
use thalweg_policy::{Model, Objects, Packet, Resolution, View, World};

/// Where the SSH server tells the shell who it serves: `CLIENT PORT SERVER PORT` (ssh(1), ENVIRONMENT).
const VARIABLE: &str = "SSH_CONNECTION";
/// The protocol that such sessions use.
const TCP: u8 = 6;

/// A session over TCP with this host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    client: SocketAddr,
    server: SocketAddr,
    /// Interfaces of this host with their addresses, where they are known.
    pub interfaces: Vec<(String, Vec<IpAddr>)>,
}

impl Session {
    /// The session that this process is in; none where it is in none, or that is not understood.
    pub fn here() -> Option<Self> {
        Self::parse(&std::env::var(VARIABLE).ok()?)
    }

    /// A session by the words of the variable.
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [client, client_port, server, server_port] = words[..] else { return None };
        let end = |address: &str, port: &str| {
            // Addresses of one link have its name behind them.
            let (address, _) = address.split_once('%').unwrap_or((address, ""));
            let address = address.parse::<IpAddr>().ok()?.to_canonical();
            Some(SocketAddr::new(address, port.parse().ok()?))
        };
        let (client, server) = (end(client, client_port)?, end(server, server_port)?);
        let same = client.is_ipv4() == server.is_ipv4();
        same.then_some(Self { client, server, interfaces: Vec::new() })
    }

    /// With what a host state file says of interfaces.
    pub fn on(mut self, host: &HostState) -> Self {
        self.interfaces.clear();
        for (index, link) in &host.links {
            let own = host.addresses.values().filter(|own| own.link == *index);
            self.interfaces.push((link.name.clone(), own.map(|own| own.address).collect()));
        }
        self
    }

    /// A warning if policies would cut it.
    pub(super) fn warning(
        &self,
        intent: &Intent,
        objects: &Objects,
        view: View,
    ) -> Option<Problem> {
        if objects.hosts.is_empty() && !objects.settings.auto_hosts {
            return None;
        }
        let origin = |name: &thalweg_model::ObjectName| intent.origin("Pod", &name.to_string());
        let world = World::new(objects, &intent.cluster, origin);
        let here = Here::new(intent, &world, self.interfaces.clone());
        let host = here.host_with(&world, self.server.ip())?;
        let address = self.server.ip();
        let told = here.is_own(address) || world.endpoints[host].addresses.contains(&address);
        // Where nothing is known of the host's interfaces, it may be this machine.
        let own = told || self.interfaces.is_empty() && is_of_this_machine(address);
        if !own {
            return None;
        }
        let resolution = Resolution::new(world, Model::new(objects, view));
        let packet = Packet {
            source: self.client.ip(),
            destination: self.server.ip(),
            protocol: TCP,
            ports: Some((self.client.port(), self.server.port())),
            icmp: None,
        };
        let own = BTreeSet::from([address]);
        let way = Way { from: Gate::Network(Some(host)), to: Gate::Host, all: None, own: &own };
        let (passing, steps) = resolution.trace_pass(&way, &packet, &packet);
        let steps = steps.last().map_or(&[][..], Vec::as_slice);
        (!passing.is_allowed()).then(|| self.told(intent, &resolution, &passing, steps)).flatten()
    }

    /// The warning, at the place of what denies it.
    fn told(
        &self,
        intent: &Intent,
        resolution: &Resolution,
        passing: &Passing,
        steps: &[Step],
    ) -> Option<Problem> {
        let said = passing.said.last()?;
        let Denial { object, origin, field, why } = denial(intent, resolution, said, steps);
        let (client, server) = (self.client, self.server);
        let host = &resolution.world.endpoints[said.endpoint].name;
        Some(Problem {
            severity: Severity::Warning,
            origin,
            object: Some(object),
            field: Some(field),
            what: format!("your own session, {client} > {server}, would be cut at {host}: {why}"),
            remedy: format!(
                "allow TCP to port {} from {}, or keep `tcp:{}` in spec.policy.failSafeInbound of \
                 the Router",
                server.port(),
                client.ip(),
                server.port()
            ),
        })
    }
}

/// What denies something, and where it stands.
struct Denial {
    object: Key,
    origin: Origin,
    field: String,
    why: String,
}

fn denial(intent: &Intent, resolution: &Resolution, said: &Said, steps: &[Step]) -> Denial {
    let named = |policy: usize| &resolution.policies[policy].policy;
    match said.decision.cause {
        Cause::Rule { policy, rule } => {
            let policy = named(policy);
            let rules = policy.rules(Direction::Ingress).unwrap_or_default();
            let number = rules.get(rule).map_or(0, |rule| rule.number);
            let place = rules.get(rule).map(|rule| rule.place.within(&policy.origin));
            Denial {
                object: policy.id.key(),
                origin: place.unwrap_or_else(|| policy.origin.clone()),
                field: format!("spec.ingress[{}]", number.saturating_sub(1)),
                why: format!("rule {number} denies it"),
            }
        }
        Cause::EndOfTier(tier) => {
            let asked = steps.iter().find_map(|step| match step {
                Step::Policy(policy) if resolution.policies[*policy].tier == tier => Some(*policy),
                _ => None,
            });
            let why = format!(
                "policies of tier {} apply, and none allows it",
                resolution.model.tiers[tier].name
            );
            match asked.map(named) {
                Some(policy) => Denial {
                    object: policy.id.key(),
                    origin: policy.origin.clone(),
                    field: "spec.ingress".into(),
                    why,
                },
                None => Denial { why, ..at_host(intent, resolution, said) },
            }
        }
        _ => at_host(intent, resolution, said),
    }
}

/// That a host endpoint denies what nobody allows there.
fn at_host(intent: &Intent, resolution: &Resolution, said: &Said) -> Denial {
    let host = &resolution.world.endpoints[said.endpoint];
    let why = "no policy allows it".into();
    match (&host.name, intent.router_object()) {
        // The Router object asks for it: it has none of its own.
        (_, Some((key, origin))) if host.origin == Origin::default() => {
            let field = "spec.policy.autoHostEndpoints".into();
            Denial { object: key.clone(), origin: origin.clone(), field, why }
        }
        (EndpointName::Host(name), _) => {
            let object = Key { kind: "HostEndpoint".into(), name: name.clone() };
            Denial { object, origin: host.origin.clone(), field: "spec".into(), why }
        }
        (EndpointName::Pod(name), _) => {
            let object = Key { kind: "Pod".into(), name: name.to_string() };
            Denial { object, origin: host.origin.clone(), field: "spec".into(), why }
        }
    }
}

/// Whether this machine has an address: it lets a socket have it.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_the_server_is_read() {
        let read = |text| Session::parse(text).map(|read| (read.client, read.server));
        let ends =
            |client: &str, server: &str| Some((client.parse().unwrap(), server.parse().unwrap()));
        assert_eq!(
            read("198.51.100.7 50514 192.0.2.1 22"),
            ends("198.51.100.7:50514", "192.0.2.1:22")
        );
        assert_eq!(
            read("fe80::7%eth0 50514 fe80::1%eth0 22"),
            ends("[fe80::7]:50514", "[fe80::1]:22")
        );
        assert_eq!(
            read("::ffff:198.51.100.7 1 ::ffff:192.0.2.1 2222"),
            ends("198.51.100.7:1", "192.0.2.1:2222")
        );
        let wrong = [
            "",
            "198.51.100.7 50514 192.0.2.1",
            "198.51.100.7 50514 192.0.2.1 ssh",
            "198.51.100.7 1 2001:db8::1 22",
            "a 1 b 2",
            "198.51.100.7 1 192.0.2.1 22 3",
        ];
        for text in wrong {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
