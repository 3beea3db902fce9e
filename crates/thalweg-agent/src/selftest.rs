//! The self-test: what the loaded programs do with some frames, beside what the core compiled into
//! this process does with them on the same tables.
//!
//! It runs before the programs are brought to any hook. A kernel that translates a program wrongly,
//! an object that belongs to other tables, a table that is not where the program looks: all of that
//! shows itself as an answer that differs, and the version that runs stays.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use thalweg_abi::{LinkRow, TableId, VrfId};
use thalweg_core::{Arrival, Direct, Kind, Outcome, Reason, Tables, Verdict};
use thalweg_image::{Memory, Writer};
use thalweg_native::{MemoryCells, VecFrame};
use thalweg_wire::Mac;
use thalweg_xdp::{Program, XdpPlane};

/// Links that frames arrive at.
const LINKS: usize = 4;
/// Labels that are tried.
const LABELS: usize = 8;

/// What a self-test found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Finding {
    /// Both programs answered this many frames as they should.
    Passed(usize),
    /// It could not be made: why.
    Untried(String),
    /// A program answered otherwise than it should: the frame, what was wanted, what came.
    Failed(String),
}

/// A frame and the link it arrives at.
struct Trial {
    link: u32,
    frame: Vec<u8>,
}

/// Runs both programs of a plane on frames for its tables.
pub fn run(plane: &mut XdpPlane, links: &[u32]) -> Finding {
    let trials = trials(plane.writer(), links);
    let cells = MemoryCells::new(plane.writer().memory().clone());
    let mut agreed = 0;
    for program in [Program::Xdp, Program::Tc] {
        for trial in &trials {
            let Trial { link, frame } = trial;
            let (outcome, wanted) = natively(&cells, program, frame, *link);
            let run = match plane.try_frame(program, frame, *link) {
                Ok(run) => run,
                Err(error) if agreed == 0 => return Finding::Untried(crate::ebpf::chain(&error)),
                Err(error) => return Finding::Failed(crate::ebpf::chain(&error)),
            };
            let Some(verdict) = as_wanted(program, outcome.verdict, run.code) else {
                let got = format!("the hook's code {}", run.code);
                return Finding::Failed(differs(program, frame, outcome.verdict, &got));
            };
            plane.tested(verdict, frame.len());
            let leaves = matches!(verdict.kind(), Kind::Forward | Kind::Answer);
            if leaves && run.frame != wanted {
                let got = thalweg_packet::describe(&run.frame);
                let wish = format!("{verdict} as {}", thalweg_packet::describe(&wanted));
                return Finding::Failed(differs(program, frame, wish, &got));
            }
            agreed += 1;
        }
    }
    Finding::Passed(agreed)
}

fn differs(program: Program, frame: &[u8], wanted: impl ToString, got: &str) -> String {
    let (name, frame) = (program.name(), thalweg_packet::describe(frame));
    format!("{name} on `{frame}`: wanted {}, got {got}", wanted.to_string())
}

/// What the core in this process does with a frame.
fn natively(
    cells: &MemoryCells,
    program: Program,
    frame: &[u8],
    device: u32,
) -> (Outcome, Vec<u8>) {
    let mut work = match program {
        Program::Xdp | Program::FlowXdp => VecFrame::new(frame),
        Program::Tc | Program::FlowTc | Program::FlowOut => VecFrame::at_tc(frame),
    };
    let arrival = Arrival { device, epoch: cells.epoch() };
    let outcome = thalweg_core::process(&mut Direct { frame: &mut work, tables: cells }, arrival);
    (outcome, work.into_bytes())
}

/// The verdict that a hook's code stands for, if it may be that: exceptions and answers are limited in
/// number, and beyond the limit they are dropped.
fn as_wanted(program: Program, wanted: Verdict, code: u32) -> Option<Verdict> {
    let (redirect, drop, pass) = match program {
        Program::Xdp | Program::FlowXdp => (4, 1, 2),
        Program::Tc | Program::FlowTc | Program::FlowOut => (7, 2, u32::MAX),
    };
    match wanted.kind() {
        Kind::Forward | Kind::Answer if code == redirect => Some(wanted),
        Kind::Drop if code == drop => Some(wanted),
        Kind::Pass | Kind::Deliver | Kind::Punt if code == pass => Some(wanted),
        Kind::Answer | Kind::Punt if code == drop => Some(Verdict::drop(Reason::RateLimited)),
        _ => None,
    }
}

/// Frames for the tables in force: destinations of routes near the front and far behind, labels,
/// and what is no route.
fn trials(writer: &Writer, links: &[u32]) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut seen = BTreeSet::new();
    let view = writer.memory().in_force();
    let rows = links.iter().filter_map(|link| Some((*link, view.row(TableId::Links, *link)?)));
    let rows = rows.filter(|(link, row): &(u32, LinkRow)| row.flags != 0 && row.device == *link);
    for (link, row) in rows.take(LINKS) {
        // The routes of a VRF once; every link the rest.
        let words = match seen.insert(row.vrf) {
            true => [destinations(writer, VrfId(row.vrf)), others(writer.memory())].concat(),
            false => others(writer.memory()),
        };
        let mut push = |words: String| {
            if let Ok(frame) = thalweg_packet::frame(&words, Mac(row.mac)) {
                trials.push(Trial { link, frame });
            }
        };
        words.into_iter().for_each(&mut push);
    }
    trials
}

/// Packets to addresses within routes: of a sorted table the first, the second, the fourth, ….
fn destinations(writer: &Writer, vrf: VrfId) -> Vec<String> {
    let some = |(number, _): &(usize, _)| (number + 1).is_power_of_two();
    let four = writer.routes4(vrf).enumerate().filter(some).map(|(_, (prefix, _))| {
        let host = !0_u32.checked_shl(32 - u32::from(prefix.len())).unwrap_or(0);
        let to = Ipv4Addr::from(prefix.bits() | host & 0x0101_0101);
        format!("ip 192.0.2.9 > {to} ttl 64 udp 4000 > 53 len 18")
    });
    let some = |(number, _): &(usize, _)| (number + 1).is_power_of_two();
    let six = writer.routes6(vrf).enumerate().filter(some).map(|(_, (prefix, _))| {
        let host = !u128::MAX.checked_shl(128 - u32::from(prefix.len())).unwrap_or(0);
        let to = Ipv6Addr::from(prefix.bits() | host & 0x1_0001);
        format!("ip6 2001:db8::9 > {to} hlim 64 udp 4000 > 53 len 18")
    });
    four.chain(six).collect()
}

/// Packets that every link gets: labels in force, one that is not, the end of a journey, what nobody
/// has a route to, and what is none of ours.
fn others(memory: &Memory) -> Vec<String> {
    let view = memory.in_force();
    let labels = 16..memory.cells(TableId::Lfib);
    let used = labels.filter(|label| view.u64(TableId::Lfib, *label).is_some_and(|word| word != 0));
    let labels: Vec<u32> = used.take(LABELS).chain([0, 2, 1_048_575]).collect();
    let labelled = labels.into_iter().flat_map(|label| {
        let four = "ip 192.0.2.9 > 198.51.100.7 ttl 60 udp 4000 > 53 len 18";
        let six = "ip6 2001:db8::9 > 2001:db8:ffff::7 hlim 60 udp 4000 > 53 len 18";
        [four, six].map(|inner| format!("mpls {label} ttl 62 {inner}"))
    });
    let plain = [
        "ip 192.0.2.9 > 198.51.100.7 ttl 64 udp 4000 > 53 len 18",
        "ip 192.0.2.9 > 198.51.100.7 ttl 1 udp 4000 > 53 len 18",
        "ip 127.0.0.1 > 198.51.100.7 ttl 64 udp 4000 > 53 len 18",
        "ip6 2001:db8::9 > 2001:db8:ffff::7 hlim 64 udp 4000 > 53 len 18",
        "ip6 2001:db8::9 > ff02::1 hlim 1 udp 4000 > 53 len 18",
        "arp who-has 192.0.2.1 tell 192.0.2.9",
    ];
    labelled.chain(plain.map(str::to_owned)).collect()
}
