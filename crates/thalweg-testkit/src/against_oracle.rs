//! Core against oracle: where the data plane sends a packet, the plain reading of intent and host
//! state must send it, too.

use crate::engine::{Course, Engine};
use crate::random::{self, Chance};
use crate::world::World;
use std::collections::BTreeSet;
use std::net::IpAddr;
use thalweg_oracle::{Answer, Exit, ExitKind, Oracle};
use thalweg_wire::Mac;

/// What may be observed of a packet: verdict, and where to with which labels.
pub(crate) type Seen = (String, Option<(u32, Mac, Vec<u32>)>);

/// Links that packets arrive at, with their VRFs.
pub(crate) const LINKS: [&(&str, &str); 3] =
    [&("eth0", "default"), &("eth4", "red"), &("eth5", "blue")];

/// Sends so many packets through a world by chance.
///
/// # Errors
///
/// The story of a packet that went where it must not.
pub fn run(engine: &mut dyn Engine, chance: &mut Chance, packets: usize) -> Result<(), String> {
    let (mut course, text) = begin(engine, chance)?;
    for _ in 0..packets {
        let four = chance.once_in(2);
        let to = random::destination(chance, four);
        let to: IpAddr = to.parse().map_err(|_| format!("{to} is no address"))?;
        let (link, vrf) = chance.pick(&LINKS);
        let seen = sent(&mut course, link, to, chance.below(60_000))?;
        let allowed = allowed(&course.world, vrf, to, 0);
        if !allowed.contains(&seen) {
            return Err(format!(
                "{text}{link} ({vrf}) to {to}\nallowed {allowed:?}\nseen    {seen:?}"
            ));
        }
    }
    Ok(())
}

/// A world by chance, in force, with its text.
pub(crate) fn begin<'e>(
    engine: &'e mut dyn Engine,
    chance: &mut Chance,
) -> Result<(Course<'e>, String), String> {
    let text: String =
        random::world(chance).lines().map(|line| format!("{}\n", plain(line))).collect();
    let mut course = Course::new(engine);
    for line in text.lines() {
        // Some of what chance brings together makes no sense; the rest is in force.
        course.change(&format!("wrong {line}"))?;
    }
    course.settle()?;
    Ok((course, text))
}

/// A line without what the oracle does not look at.
fn plain(line: &str) -> String {
    line.replace(" rpf strict", "").replace(" rpf loose", "").replace(" entropy", "")
}

pub(crate) fn sent(
    course: &mut Course,
    link: &str,
    to: IpAddr,
    port: usize,
) -> Result<Seen, String> {
    // A sender of another network: neither own nor unreachable by accident.
    let text = match to {
        IpAddr::V4(to) => format!("ip 192.0.2.9 > {to} udp {port} > 53"),
        IpAddr::V6(to) => format!("ip6 2001:db8:77::9 > {to} udp {port} > 53"),
    };
    let own = course.world.mac(link).ok_or("no such link")?;
    let frame = thalweg_packet::frame(&text, own).map_err(|error| error.to_string())?;
    let index = course.world.index(link).ok_or("no such link")?;
    let fate = course.engine.run(&frame, index).map_err(|error| error.to_string())?;
    // Whether the sender hears of it is not the question here.
    let verdict = fate.verdict.to_string().replace("answer ", "").replace("drop ", "");
    if !verdict.starts_with("forward") {
        // An answer that cannot be sent here is the kernel's to send.
        let bare = verdict.strip_prefix("punt ").filter(|reason| *reason != "unresolved");
        return Ok((bare.unwrap_or(&verdict).to_owned(), None));
    }
    let mac = Mac(*fate.frame.first_chunk().ok_or("a frame without link header was sent")?);
    Ok((verdict, Some((fate.device.unwrap_or(0), mac, labels(&fate.frame)))))
}

fn labels(frame: &[u8]) -> Vec<u32> {
    let mut at = 14;
    if frame[12..14] == [0x81, 0] {
        at += 4;
    }
    if frame[at - 2..at] != [0x88, 0x47] {
        return Vec::new();
    }
    let entries = frame[at..].chunks(4).map(|e| u32::from_be_bytes([e[0], e[1], e[2], e[3]]));
    let mut labels = Vec::new();
    for entry in entries {
        labels.push(entry >> 12);
        if entry & 0x100 != 0 {
            break;
        }
    }
    labels
}

/// Everything that may happen to a packet.
pub(crate) fn allowed(world: &World, vrf: &str, to: IpAddr, depth: usize) -> BTreeSet<Seen> {
    let oracle = Oracle::new(&world.intent, &world.host);
    match oracle.route(vrf, to) {
        Answer::Nothing => BTreeSet::from([("no-route".into(), None)]),
        Answer::Exits(exits) => {
            exits.iter().flat_map(|(exit, _)| outcome(world, exit, to, depth)).collect()
        }
        Answer::Lookup(vrf) => allowed(world, &vrf, to, depth + 1),
    }
}

pub(crate) fn outcome(world: &World, exit: &Exit, to: IpAddr, depth: usize) -> BTreeSet<Seen> {
    let up = |link: &u32| world.host.links.get(link).is_some_and(|link| link.up);
    let simple = |verdict: &str| BTreeSet::from([(verdict.to_owned(), None)]);
    match &exit.kind {
        ExitKind::Adjacent(link, _) | ExitKind::Unresolved(link) if !up(link) => {
            match exit.backup.as_deref() {
                Some(backup) if matches!(&backup.kind, ExitKind::Adjacent(l, _) if up(l)) => {
                    outcome(world, backup, to, depth)
                }
                _ => simple("link-down"),
            }
        }
        ExitKind::Adjacent(link, mac) => {
            let mut device = *link;
            if let Some(lower) = world.host.links.get(link).and_then(|link| link.lower) {
                device = lower;
            }
            let way = Some((device, *mac, exit.labels.clone()));
            BTreeSet::from([("forward route".to_owned(), way)])
        }
        ExitKind::Unresolved(_) => simple("punt unresolved"),
        ExitKind::Deliver => simple("deliver local"),
        ExitKind::Broadcast(_) => {
            simple("no-broadcast").into_iter().chain(simple("deliver broadcast")).collect()
        }
        ExitKind::Blackhole => simple("blackhole"),
        ExitKind::Unreachable => simple("unreachable"),
        ExitKind::Prohibit => simple("prohibited"),
        ExitKind::Throw => simple("no-route"),
        ExitKind::Lookup(_) if depth > 0 => simple("no-route"),
        ExitKind::Lookup(vrf) => allowed(world, vrf, to, depth + 1),
    }
}
