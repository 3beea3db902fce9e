//! The tables of policies as lines of table `policy` ([`thalweg_abi::policy`]).

use super::addresses::{Addresses, Laid, before};
use super::causes::Causes;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use thalweg_abi::policy::{self, HEAD, LOCAL, Line, PAGE, local_flag};
use thalweg_policy::Verdict;
use thalweg_policy::decide::Decision;
use thalweg_policy::model::Direction;
use thalweg_policy::table::{Set, Tables};

/// The line where everything begins: 0 stands for nothing.
pub(super) const FIRST: u32 = 1;

/// An address of this host or of a workload on it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Local {
    /// Bits of [`local_flag`].
    pub flags: u32,
    /// Sets for what comes and what goes; none lets all pass.
    pub sets: [Option<u32>; 2],
    /// Whether all is denied, since there is no room for its rules.
    pub closed: bool,
}

/// Lines under construction.
#[derive(Default)]
struct Lines {
    all: Vec<Line>,
    known: HashMap<Vec<u64>, u32>,
}

impl Lines {
    /// The number of the next line.
    fn next(&self) -> u32 {
        self.all.len() as u32
    }

    /// Adds words as lines; words that were added before are not added again.
    fn share(&mut self, words: Vec<u64>) -> u32 {
        if let Some(known) = self.known.get(&words) {
            return *known;
        }
        let at = self.add(&words);
        self.known.insert(words, at);
        at
    }

    fn add(&mut self, words: &[u64]) -> u32 {
        let at = self.next();
        for chunk in words.chunks(policy::WORDS as usize) {
            let mut line = Line::default();
            line[..chunk.len()].copy_from_slice(chunk);
            self.all.push(line);
        }
        at
    }

    /// Numbers of 8, 16 or 32 bits, packed.
    fn packed<T: Copy + Into<u64>>(&mut self, numbers: &[T], bits: u32) -> u32 {
        let per_word = (64 / bits) as usize;
        let pack = |chunk: &[T]| {
            let shifted = (0u32..).zip(chunk).map(|(at, number)| (*number).into() << (at * bits));
            shifted.fold(0, |word: u64, part| word | part)
        };
        self.share(numbers.chunks(per_word).map(pack).collect())
    }
}

/// Two numbers of 32 bits.
fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Lays everything out; line 0 is left empty.
pub(super) fn lay_out(
    tables: &Tables,
    locals: &BTreeMap<IpAddr, Local>,
    rejects: bool,
    causes: &mut Causes<'_>,
) -> Vec<Line> {
    let mut lines = Lines::default();
    lines.all.resize((FIRST + HEAD) as usize, Line::default());
    let laid = [4, 6].map(|family| addresses(tables, locals, family).lay_out());
    let places = laid.each_ref().map(|laid| {
        let first = lines.next();
        lines.all.extend(&laid.lines);
        pair(first, laid.buckets - 1)
    });
    let records = records(tables, locals, &mut lines, causes);
    head(&mut lines.all, &laid, places, records, rejects);
    lines.all
}

fn head(all: &mut [Line], laid: &[Laid; 2], places: [u64; 2], records: u32, rejects: bool) {
    let first = FIRST as usize;
    let counts = laid.each_ref().map(|laid| laid.lengths.len() as u32);
    all[first][policy::head::ADDRESSES4] = places[0];
    all[first][policy::head::ADDRESSES6] = places[1];
    all[first][policy::head::LOCALS] = pair(records, counts[0] | counts[1] << 16);
    all[first][policy::head::FLAGS] = if rejects { policy::flag::REJECTS } else { 0 };
    for (laid, from) in laid.iter().zip([first + 1, first + 2]) {
        for (at, length) in laid.lengths.iter().enumerate() {
            all[from + at / 64][at / 8 % 8] |= u64::from(*length) << (at % 8 * 8);
        }
    }
}

/// What the addresses of a family come to.
fn addresses(tables: &Tables, locals: &BTreeMap<IpAddr, Local>, family: u8) -> Addresses {
    let is_of = |address: &IpAddr| address.is_ipv4() == (family == 4);
    let end: IpAddr = match family {
        4 => Ipv4Addr::BROADCAST.into(),
        _ => Ipv6Addr::from_bits(u128::MAX).into(),
    };
    let mut made = Addresses::new(family);
    let stretches = tables.stretches_of_classes();
    for (at, (first, class)) in stretches.iter().enumerate() {
        // One stretch may end with IPv4 and go on with IPv6.
        let first = match family {
            6 if first.is_ipv4() => Ipv6Addr::UNSPECIFIED.into(),
            _ => *first,
        };
        let last = match stretches.get(at + 1) {
            Some((next, _)) if is_of(next) => before(*next),
            Some((next, _)) if next.is_ipv4() => None,
            _ => Some(end),
        };
        let Some(last) = last.filter(|_| *class != 0 && is_of(&first)) else { continue };
        made.stretch(first, last, *class);
    }
    for (number, (address, _)) in (0..).zip(locals) {
        if is_of(address) {
            made.host(*address, LOCAL | number);
        }
    }
    made
}

/// Records of local addresses, in their order; the first line of them.
fn records(
    tables: &Tables,
    locals: &BTreeMap<IpAddr, Local>,
    lines: &mut Lines,
    causes: &mut Causes<'_>,
) -> u32 {
    let mut places: [HashMap<u32, u32>; 2] = Default::default();
    // What decides is told apart by direction, so each has rows of its own.
    let mut rows: [HashMap<u32, u32>; 2] = Default::default();
    let mut words = Vec::with_capacity(locals.len() * policy::local::WORDS as usize);
    for (address, local) in locals {
        let class = tables.classes.of(*address);
        let mut sets = [0; 2];
        for (at, direction) in [Direction::Ingress, Direction::Egress].into_iter().enumerate() {
            sets[at] = match local.sets[at] {
                _ if local.closed => closed(lines, causes),
                None => 0,
                Some(number) => *places[at].entry(number).or_insert_with(|| {
                    let set = &tables.sets[number as usize];
                    set_of(tables, set, direction, lines, &mut rows[at], causes)
                }),
            };
        }
        words.push(pair(class, local.flags));
        words.push(pair(sets[0], sets[1]));
    }
    lines.add(&words)
}

/// The set that denies everything.
fn closed(lines: &mut Lines, causes: &mut Causes<'_>) -> u32 {
    let mut line = Line::default();
    line[policy::set::FIXED] = policy::cell(u16::MAX, false, causes.closed());
    lines.share(line.to_vec())
}

fn set_of(
    tables: &Tables,
    set: &Set,
    direction: Direction,
    lines: &mut Lines,
    rows: &mut HashMap<u32, u32>,
    causes: &mut Causes<'_>,
) -> u32 {
    let (pages, count) = pages(set, lines);
    let stride = set.protocols().len() as u32 + 1;
    let mut positions = [(stride - 1) as u8; 256];
    for (at, protocol) in (0..).zip(set.protocols()) {
        positions[usize::from(*protocol)] = at;
    }
    let protocols = lines.packed(&positions, 8);
    let sources = lines.packed(set.sources(), 16);
    let entries: Vec<u32> = set
        .rows()
        .iter()
        .map(|number| {
            *rows.entry(*number).or_insert_with(|| {
                let row = &tables.rows[*number as usize];
                let cells =
                    row.iter().map(|(last, decision)| cell(*last, *decision, direction, causes));
                let words: Vec<u64> = [row.len() as u64].into_iter().chain(cells).collect();
                lines.share(words)
            })
        })
        .collect();
    let entries = lines.packed(&entries, 32);
    let mut line = Line::default();
    line[policy::set::PAGES] = pair(pages, count);
    line[policy::set::PROTOCOLS] = pair(protocols, set.sources().len() as u32);
    line[policy::set::ENTRIES] = pair(sources, entries);
    line[policy::set::STRIDE] = stride.into();
    lines.share(line.to_vec())
}

fn cell(last: u16, decision: Decision, direction: Direction, causes: &mut Causes<'_>) -> u64 {
    let cause = causes.number(decision.cause, direction);
    policy::cell(last, decision.verdict == Verdict::Allow, cause)
}

/// Pages that lead classes to groups: the first line of their numbers, and how many there are.
fn pages(set: &Set, lines: &mut Lines) -> (u32, u32) {
    let mut pages: BTreeMap<u32, [u32; PAGE as usize]> = BTreeMap::new();
    for (class, group) in set.groups() {
        pages.entry(class / PAGE).or_default()[(class % PAGE) as usize] = *group;
    }
    let Some((last, _)) = pages.last_key_value() else { return (0, 0) };
    let mut numbers = vec![0u32; *last as usize + 1];
    for (page, groups) in &pages {
        numbers[*page as usize] = lines.packed(groups, 32);
    }
    (lines.packed(&numbers, 32), numbers.len() as u32)
}

/// The lines of tables that have room for nothing: whoever has rules reaches nobody.
pub(super) fn all_closed(
    locals: &mut BTreeMap<IpAddr, Local>,
    causes: &mut Causes<'_>,
) -> Vec<Line> {
    for local in locals.values_mut().filter(|local| local.sets != [None; 2]) {
        *local = Local { closed: true, ..*local };
    }
    lay_out(&Tables::default(), locals, false, causes)
}

/// The flags of an address of this host.
pub(super) const HOST: Local = Local { flags: local_flag::HOST, sets: [None; 2], closed: false };
