//! Fixtures in iproute2's words: one line each.
//!
//! ```text
//! link 2 eth0 [down] [mac M] [mtu N] [kind K] [medium M] [master N] [lower N vlan VID[/TPID]] [table T]
//! addr eth0 10.0.0.1/24
//! neigh 10.0.0.254 eth0 02:00:00:00:00:fe [state]
//! kernel 10.0.0.0/8 [KIND] [table T] [metric N] [proto P] [nhid ID] [nexthop …]…
//! object ID nexthop …          object ID group 1,2*3          object ID blackhole
//! ours eth* [vrf V] [ignored] [mpls] [mtu N]
//! vrf V [table T]
//! static 10.0.0.0/8 [KIND] [vrf V] [metric N] [name N] [lookup V] [nexthop …]…
//! label 100 [lookup V] [name N] [nexthop …]…
//! session NAME A dev D          bfd NAME up          bfd NAME down
//! nexthop [via A] [dev D] [weight N] [labels 1/2] [onlink] [dead] [bfd NAME] [backup nexthop …]
//! ```

use std::net::IpAddr;
use std::time::Duration;
use thalweg_model::host::{self, HostState, RouteKey, RouteKind, Update};
use thalweg_model::intent::{self, LabelAction, RouteAction};
use thalweg_model::{Intent, Key, Origin};
use thalweg_wire::{Label, Mac};

/// What a fixture describes.
#[derive(Clone, Default)]
pub struct World {
    pub host: HostState,
    pub intent: Intent,
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// Reads a fixture.
pub fn world(text: &str) -> World {
    let mut world = World::default();
    text.lines().for_each(|line| world.add(line));
    world
}

impl World {
    /// Adds one line.
    pub fn add(&mut self, line: &str) {
        let mut words = line.split_whitespace().peekable();
        match words.next() {
            None => {}
            Some("ours") => self.ours(words),
            Some("vrf") => {
                let name = words.next().unwrap().to_owned();
                let table = words.nth(1).map(|table| table.parse().unwrap());
                self.intent.vrfs.insert(name, intent::Vrf { table });
            }
            Some("session") => self.session(words),
            Some("static") => self.route(words),
            Some("label") => self.label(words),
            Some(_) => {
                self.host.apply(self.update(line));
            }
        }
    }

    /// Reads a line about the host as an update.
    pub fn update(&self, line: &str) -> Update {
        let mut words = line.split_whitespace().peekable();
        match words.next().unwrap() {
            "link" => Update::Link(link(words)),
            "addr" => {
                let link = self.index(words.next().unwrap());
                let (address, len) = words.next().unwrap().split_once('/').unwrap();
                let (address, len) = (address.parse().unwrap(), len.parse().unwrap());
                Update::Address(host::Address {
                    link,
                    address,
                    len,
                    peer: None,
                    scope: "global".into(),
                })
            }
            "neigh" => {
                let address = words.next().unwrap().parse().unwrap();
                let link = self.index(words.next().unwrap());
                let mac = Some(words.next().unwrap().parse().unwrap());
                let state = words.next().unwrap_or("reachable").into();
                Update::Neighbor(host::Neighbor { link, address, mac, state })
            }
            "kernel" => {
                let (key, route) = self.kernel(words);
                Update::Route(key, route)
            }
            "object" => self.object(words),
            "bfd" => Update::Session(words.next().unwrap().into(), words.next() == Some("up")),
            other => panic!("what is {other}?"),
        }
    }

    fn index(&self, name: &str) -> u32 {
        self.host.link_named(name).unwrap_or_else(|| panic!("no link {name}")).index
    }

    fn kernel(&self, mut words: Words) -> (RouteKey, host::Route) {
        let prefix = words.next().unwrap().parse().unwrap();
        let mut key = RouteKey { table: 254, prefix, metric: 0, tos: 0, instance: 0 };
        let mut route = host::Route {
            kind: RouteKind::Unicast,
            protocol: "static".into(),
            nexthops: Vec::new(),
            object: None,
            mtu: None,
        };
        while let Some(word) = words.next() {
            match word {
                "table" => key.table = number(&mut words),
                "metric" => key.metric = number(&mut words),
                "tos" => key.tos = number(&mut words) as u8,
                "instance" => key.instance = number(&mut words),
                "proto" => route.protocol = words.next().unwrap().into(),
                "nhid" => route.object = Some(number(&mut words)),
                "mtu" => route.mtu = Some(number(&mut words)),
                "nexthop" => route.nexthops.push(self.host_hop(&mut words)),
                kind => route.kind = route_kind(kind),
            }
        }
        (key, route)
    }

    fn host_hop(&self, words: &mut Words) -> host::NextHop {
        let hop = hop(words);
        host::NextHop {
            via: hop.via,
            link: hop.dev.as_deref().map_or(0, |dev| self.index(dev)),
            weight: hop.weight,
            labels: hop.labels.iter().map(|label| label.get()).collect(),
            ttl: None,
            encap: None,
            onlink: hop.onlink,
            dead: hop.class == Some(7),
        }
    }

    fn object(&self, mut words: Words) -> Update {
        let id = number(&mut words);
        let object = match words.next().unwrap() {
            "blackhole" => host::NextHopObject::Blackhole,
            "group" => {
                let members = words.next().unwrap().split(',').map(|member| {
                    let (id, weight) = member.split_once('*').unwrap_or((member, "1"));
                    (id.parse().unwrap(), weight.parse().unwrap())
                });
                host::NextHopObject::Group(members.collect())
            }
            _ => host::NextHopObject::Single(self.host_hop(&mut words)),
        };
        Update::NextHop(id, object)
    }

    fn ours(&mut self, mut words: Words) {
        let name = words.next().unwrap().to_owned();
        let mut link = intent::Link { interfaces: vec![name.clone()], ..intent::Link::default() };
        let mut object = name;
        while let Some(word) = words.next() {
            match word {
                "vrf" => link.vrf = words.next().map(str::to_owned),
                "ignored" => link.role = intent::Role::Ignored,
                "mpls" => link.mpls = true,
                "mtu" => link.mtu = Some(number(&mut words)),
                "name" => object = words.next().unwrap().into(),
                other => panic!("what is {other}?"),
            }
        }
        self.place("Link", &object);
        self.intent.links.insert(object, link);
    }

    fn session(&mut self, mut words: Words) {
        let name = words.next().unwrap();
        let session = intent::BfdSession {
            peer: words.next().unwrap().parse().unwrap(),
            local: None,
            link: words.nth(1).unwrap().into(),
            transmit: Duration::from_millis(50),
            receive: Duration::from_millis(50),
            multiplier: 3,
            hold_up: Duration::ZERO,
            authentication: None,
            passive: false,
        };
        self.place("BfdSession", name);
        self.intent.sessions.insert(name.into(), session);
    }

    fn route(&mut self, mut words: Words) {
        let text = words.next().unwrap();
        let mut name = text.to_owned();
        let mut route = intent::Route {
            vrf: "default".into(),
            prefix: text.parse().unwrap(),
            metric: 0,
            action: RouteAction::Forward(Vec::new()),
        };
        let mut hops = Vec::new();
        while let Some(word) = words.next() {
            match word {
                "vrf" => route.vrf = words.next().unwrap().into(),
                "metric" => route.metric = number(&mut words),
                "name" => name = words.next().unwrap().into(),
                "lookup" => route.action = RouteAction::Vrf(words.next().unwrap().into()),
                "blackhole" => route.action = RouteAction::Blackhole,
                "unreachable" => route.action = RouteAction::Unreachable,
                "prohibit" => route.action = RouteAction::Prohibit,
                "nexthop" => hops.push(hop(&mut words)),
                other => panic!("what is {other}?"),
            }
        }
        if !hops.is_empty() {
            route.action = RouteAction::Forward(hops);
        }
        self.place("Route", &name);
        self.intent.routes.insert(name, route);
    }

    fn label(&mut self, mut words: Words) {
        let label = Label::new(number(&mut words)).unwrap();
        let mut name = label.to_string();
        let mut action = LabelAction::Forward(Vec::new());
        let mut hops = Vec::new();
        while let Some(word) = words.next() {
            match word {
                "lookup" => action = LabelAction::Vrf(words.next().unwrap().into()),
                "name" => name = words.next().unwrap().into(),
                "nexthop" => hops.push(hop(&mut words)),
                other => panic!("what is {other}?"),
            }
        }
        if !hops.is_empty() {
            action = LabelAction::Forward(hops);
        }
        self.place("LabelRoute", &name);
        let object = intent::LabelRoute { label, ttl_model: None, action };
        self.intent.labels.insert(name, object);
    }

    fn place(&mut self, kind: &str, name: &str) {
        let line = self.intent.origins.len() as u32 + 1;
        let key = Key { kind: kind.into(), name: name.into() };
        let origin = Origin { file: "fixture".into(), line, column: 1 };
        self.intent.origins.insert(key, origin);
    }
}

fn number(words: &mut Words) -> u32 {
    words.next().unwrap().parse().unwrap()
}

fn route_kind(word: &str) -> RouteKind {
    match word {
        "unicast" => RouteKind::Unicast,
        "local" => RouteKind::Local,
        "broadcast" => RouteKind::Broadcast,
        "anycast" => RouteKind::Anycast,
        "multicast" => RouteKind::Multicast,
        "blackhole" => RouteKind::Blackhole,
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        "throw" => RouteKind::Throw,
        other => panic!("what is {other}?"),
    }
}

fn hop(words: &mut Words) -> intent::NextHop {
    let mut hop = intent::NextHop::default();
    while let Some(word) = words.peek().copied() {
        match word {
            "via" => {
                words.next();
                hop.via = words.next().map(|via| via.parse::<IpAddr>().unwrap());
            }
            "dev" => {
                words.next();
                hop.dev = words.next().map(str::to_owned);
            }
            "weight" => {
                words.next();
                hop.weight = number(words) as u16;
            }
            "labels" => {
                words.next();
                let labels = words.next().unwrap().split('/');
                hop.labels =
                    labels.map(|label| Label::new(label.parse().unwrap()).unwrap()).collect();
            }
            "onlink" => {
                words.next();
                hop.onlink = true;
            }
            "bfd" => {
                words.next();
                hop.bfd = words.next().map(str::to_owned);
            }
            "dead" => {
                // Only the kernel's next hops are dead; the class carries the word there.
                words.next();
                hop.class = Some(7);
            }
            "backup" => {
                words.next();
                words.next();
                hop.backup = Some(Box::new(self::hop(words)));
            }
            _ => break,
        }
    }
    hop
}

fn link(mut words: Words) -> host::Link {
    let index = number(&mut words);
    let mut link = host::Link {
        index,
        name: words.next().unwrap().into(),
        mac: Mac([2, 0, 0, 0, 0, index as u8]),
        mtu: 1500,
        up: true,
        medium: "ether".into(),
        ..host::Link::default()
    };
    while let Some(word) = words.next() {
        match word {
            "down" => link.up = false,
            "mac" => link.mac = words.next().unwrap().parse().unwrap(),
            "mtu" => link.mtu = number(&mut words),
            "kind" => link.kind = words.next().unwrap().into(),
            "medium" => link.medium = words.next().unwrap().into(),
            "master" => link.master = Some(number(&mut words)),
            "lower" => link.lower = Some(number(&mut words)),
            "table" => {
                link.vrf_table = Some(number(&mut words));
                link.kind = "vrf".into();
            }
            "vlan" => {
                let (vid, tpid) = words
                    .next()
                    .map_or(("0", "8100"), |word| word.split_once('/').unwrap_or((word, "8100")));
                let tpid = u16::from_str_radix(tpid, 16).unwrap();
                link.vlan = Some((vid.parse().unwrap(), tpid));
                link.kind = "vlan".into();
            }
            other => panic!("what is {other}?"),
        }
    }
    link
}
