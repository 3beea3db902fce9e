//! One packet through the decision on the tables in force, with names put back.

use crate::{cluster, policies, views};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_abi::nexthop::kind;
use thalweg_abi::{GroupId, GroupWord, IlmWord, NextHopId, NextHopRow, TableId, VrfId};
use thalweg_api::view::{ExplainView, StepView};
use thalweg_compile::Compiler;
use thalweg_core::Kind;
use thalweg_core::flow::Tracked;
use thalweg_image::Memory;
use thalweg_native::{Journey, MemoryCells};

/// A packet's journey and what it met.
pub struct Judgement {
    /// The journey.
    pub journey: Journey,
    /// VRF that the destination was first looked up in, by number.
    pub vrf: VrfId,
    /// The route that matched first, if the destination was looked up.
    pub route: Option<thalweg_compile::RouteView>,
    /// VRF of the last lookup, if a next hop led there, and the route that matched there.
    pub second: Option<(VrfId, Option<thalweg_compile::RouteView>)>,
    /// Labels that came off, outermost first.
    pub popped: Vec<u32>,
}

/// Takes a frame that arrives at a link through the decision.
pub fn judge(compiler: &Compiler, cells: &MemoryCells, frame: &[u8], device: u32) -> Judgement {
    let flows = cells.memory().cells(TableId::FlowSlots) > 1;
    let journey = match flows {
        true => thalweg_native::flow_journey(cells, frame, device),
        false => thalweg_native::journey(cells, frame, device),
    };
    let packet = &journey.packet;
    let mut judgement = Judgement {
        vrf: VrfId(packet.vrf() as u16),
        route: None,
        second: None,
        popped: Vec::new(),
        journey,
    };
    let Some(decision) = &judgement.journey.decision else { return judgement };
    let packet = &judgement.journey.packet;
    let pops = decision.pops().min(packet.depth());
    judgement.popped = (0..pops).map(|at| packet.entry(at) >> 12).collect();
    let mut by_label = false;
    if let Some(last) = judgement.popped.last() {
        let word = IlmWord(cells.memory().in_force().u64(TableId::Lfib, *last).unwrap_or(0));
        by_label = word.is_forward();
        if word.is_lookup() {
            judgement.vrf = VrfId(word.vrf());
        }
    }
    if packet.depth() > 0 && pops == 0 {
        return judgement;
    }
    let Some(address) = destination(packet) else { return judgement };
    let last = VrfId(decision.vrf() as u16);
    let returns = |tracked: Tracked| tracked.facts().is(thalweg_core::flow::what::RETURNS);
    if !by_label && !judgement.journey.tracked.is_some_and(returns) {
        judgement.route = compiler.route_for(judgement.vrf, address);
    }
    if last != judgement.vrf {
        judgement.second = Some((last, compiler.route_for(last, address)));
    }
    judgement
}

fn destination(packet: &thalweg_core::Packet) -> Option<IpAddr> {
    let [high, low] = packet.destination;
    match packet.family() {
        4 => Some(Ipv4Addr::from_bits(low as u32).into()),
        6 => Some(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into()),
        _ => None,
    }
}

impl Judgement {
    /// Group that was chosen, if any.
    pub fn group(&self) -> Option<GroupId> {
        let group = self.journey.decision.as_ref()?.group();
        Some(GroupId(group as u16)).filter(|group| *group != GroupId::NONE)
    }

    /// Next hop that was chosen, if any.
    pub fn nexthop(&self) -> Option<NextHopId> {
        let id = self.journey.decision.as_ref()?.nexthop();
        Some(NextHopId(id)).filter(|id| id.0 != 0)
    }

    /// The route that decided in the end.
    pub fn deciding(&self) -> Option<&thalweg_compile::RouteView> {
        match &self.second {
            Some((_, route)) => route.as_ref(),
            None => self.route.as_ref(),
        }
    }

    /// Whether a frame leaves: forwarded, or as an answer.
    pub fn leaves(&self) -> bool {
        self.journey.device != 0
    }
}

/// The whole explanation of a frame.
pub fn explain(compiler: &Compiler, memory: &Memory, frame: &[u8], device: u32) -> ExplainView {
    let cells = MemoryCells::looking(memory.clone(), cluster::clock());
    let judgement = judge(compiler, &cells, frame, device);
    let verdict = judgement.journey.verdict;
    let mut steps = Steps(Vec::new());
    arrival(&mut steps, compiler, &judgement);
    cluster::steps(compiler, memory, &judgement.journey, |stage, text| steps.push(stage, text));
    let decided = cells.decided();
    policies::steps(compiler, memory, &judgement.journey, &decided, |stage, text| {
        steps.push(stage, text);
    });
    if judgement.journey.decision.is_some() {
        labels(&mut steps, compiler, &judgement);
        routes(&mut steps, compiler, &judgement);
        group(&mut steps, compiler, memory, &judgement);
        nexthop(&mut steps, compiler, &judgement);
        rewrite(&mut steps, compiler, &judgement);
    }
    steps.push("verdict", format!("{verdict}: {}", verdict.reason().describe()));
    let out = judgement.leaves().then_some(&judgement.journey.frame);
    ExplainView {
        packet: thalweg_packet::describe(frame),
        generation: compiler.generation(),
        steps: steps.0,
        verdict: verdict.kind().name().into(),
        reason: verdict.reason().name().into(),
        description: verdict.reason().describe().into(),
        link: out.map(|_| compiler.link_name(judgement.journey.device)),
        vrf: vrf_name(compiler, judgement.second.as_ref().map_or(judgement.vrf, |s| s.0)),
        route: judgement.deciding().map(|route| route.prefix.to_string()),
        source: judgement.deciding().map(|route| views::source(&route.origin)),
        group: judgement.group().map(|group| u32::from(group.0)),
        nexthop: judgement.nexthop().map(|id| id.0),
        result: out.map(|frame| thalweg_packet::describe(frame)),
        frame: out.map(|frame| frame.iter().map(|octet| format!("{octet:02x}")).collect()),
    }
}

struct Steps(Vec<StepView>);

impl Steps {
    fn push(&mut self, stage: &str, text: impl Into<String>) {
        self.0.push(StepView { stage: stage.into(), text: text.into() });
    }
}

fn vrf_name(compiler: &Compiler, vrf: VrfId) -> String {
    compiler.vrf_name_of(vrf).map_or_else(|| vrf.0.to_string(), str::to_owned)
}

fn arrival(steps: &mut Steps, compiler: &Compiler, judgement: &Judgement) {
    let index = judgement.journey.packet.link();
    let Some(link) = compiler.link(index) else {
        return steps.push("arrival", format!("link {index}, which the kernel does not report"));
    };
    let role = if link.ours { "routed" } else { "not routed" };
    let vrf = if link.vrf.is_empty() { String::new() } else { format!(" in VRF {}", link.vrf) };
    let reason = &link.reason;
    steps.push("arrival", format!("{} (index {index}), {role}{vrf}: {reason}", link.name));
}

fn labels(steps: &mut Steps, compiler: &Compiler, judgement: &Judgement) {
    let packet = &judgement.journey.packet;
    for label in &judgement.popped {
        let words = match label {
            0 => "IPv4 explicit null: taken off".into(),
            2 => "IPv6 explicit null: taken off".into(),
            7 => "entropy label indicator: taken off".into(),
            _ => match compiler.label(*label) {
                Some(view) => format!("{} ({}): {}", view.object, view.origin, view.action),
                None => "taken off (entropy)".into(),
            },
        };
        steps.push("label", format!("{label}: {words}"));
    }
    if packet.depth() > 0 && judgement.popped.is_empty() {
        let label = packet.entry(0) >> 12;
        steps.push("label", format!("{label}: {}", judgement.journey.verdict.reason().describe()));
    }
}

fn routes(steps: &mut Steps, compiler: &Compiler, judgement: &Judgement) {
    let line = |vrf: VrfId, route: Option<&thalweg_compile::RouteView>| {
        let name = vrf_name(compiler, vrf);
        match route {
            Some(route) => {
                let source = views::source(&route.origin);
                let place = match &route.origin {
                    thalweg_compile::RouteOrigin::Intent(_, origin) => format!(" ({origin})"),
                    _ => String::new(),
                };
                format!("VRF {name}: {} from {source}{place}: {}", route.prefix, route.action)
            }
            None => format!("VRF {name}: no route covers the destination"),
        }
    };
    let looked_up = judgement.route.is_some()
        || judgement.group().is_none() && judgement.journey.verdict.reason().name() == "no-route";
    if looked_up {
        steps.push("route", line(judgement.vrf, judgement.route.as_ref()));
    }
    if let Some((vrf, route)) = &judgement.second {
        steps.push("route", line(*vrf, route.as_ref()));
    }
}

fn group(steps: &mut Steps, compiler: &Compiler, memory: &Memory, judgement: &Judgement) {
    let Some(id) = judgement.group() else { return };
    let word = GroupWord(memory.in_force().u64(TableId::Groups, u32::from(id.0)).unwrap_or(0));
    let members = compiler.group(id).map(|group| group.members).unwrap_or_default();
    if !word.has_buckets() {
        let uses = compiler.group(id).map_or(0, |group| group.uses);
        let text = format!("{}: one next hop, used by {uses} prefixes and labels", id.0);
        return steps.push("group", text);
    }
    let seed = memory
        .in_force()
        .row::<thalweg_abi::SettingsRow>(TableId::Settings, 0)
        .map_or(0, |row| row.seed);
    let bucket = thalweg_core::hash::flow(&judgement.journey.packet, seed) & word.mask();
    let count = word.mask() + 1;
    steps.push("group", format!("{}: flow hash chooses bucket {bucket} of {count}", id.0));
    for member in members {
        let mark = if Some(member.nexthop) == judgement.nexthop() { " (chosen)" } else { "" };
        let (id, held, action) = (member.nexthop.0, member.buckets, &member.action);
        steps.push("member", format!("{id}{mark}: {held} of {count} buckets: {action}"));
    }
}

fn nexthop(steps: &mut Steps, compiler: &Compiler, judgement: &Judgement) {
    let Some(view) = judgement.nexthop().and_then(|id| compiler.nexthop(id)) else { return };
    let NextHopRow { kind: row_kind, device, link, .. } = view.row;
    let mut text = format!("{}: {}", view.id.0, view.action);
    match row_kind {
        kind::ADJACENT => {
            text.push_str(&format!(", link address {}", views::destination(&view.row)));
            if device != link {
                text.push_str(&format!(", by {}", compiler.link_name(device)));
            }
        }
        kind::UNRESOLVED => text.push_str(", link address not known yet"),
        _ => {}
    }
    steps.push("next hop", text);
}

fn rewrite(steps: &mut Steps, compiler: &Compiler, judgement: &Judgement) {
    let Some(decision) = &judgement.journey.decision else { return };
    let packet = &judgement.journey.packet;
    let verdict = judgement.journey.verdict;
    if decision.verdict.is(Kind::Answer) {
        let text = match judgement.leaves() {
            true => "the packet becomes the ICMP error that is sent back",
            false if verdict.is(Kind::Punt) => "the kernel is left to answer",
            false => "no ICMP error is sent: none is allowed, or no route leads back",
        };
        return steps.push("answer", text);
    }
    if !verdict.is(Kind::Forward) {
        return;
    }
    let mut words = Vec::new();
    if !judgement.popped.is_empty() {
        let labels: Vec<_> = judgement.popped.iter().map(u32::to_string).collect();
        words.push(format!("pop {}", labels.join("/")));
    }
    let row = judgement.nexthop().and_then(|id| compiler.nexthop(id)).map(|view| view.row);
    let row = row.unwrap_or_default();
    let pushed = views::pushed(&row);
    if !pushed.is_empty() {
        let labels: Vec<_> = pushed.iter().map(u32::to_string).collect();
        words.push(format!("push {}", labels.join("/")));
    }
    if decision.write() & thalweg_core::decide::write::IP_TTL != 0 {
        words.push(format!("ttl {} -> {}", packet.ttl(), decision.ip_ttl()));
    } else if packet.depth() > 0 {
        words.push(format!("label ttl {} -> {}", packet.entry(0) as u8, decision.ttl()));
    }
    for tag in row.vlans.iter().take(usize::from(row.tags)) {
        words.push(format!("vlan {}", u16::from_be_bytes([tag[2], tag[3]]) & 0xfff));
    }
    let device = compiler.link_name(judgement.journey.device);
    words.push(format!("out {device}"));
    steps.push("rewrite", words.join(", "));
}
