//! The tables of policies as lines of table `policy` ([`thalweg_abi::policy`]).

use super::addresses::before;
use super::causes::Causes;
use super::family::{Family, Stretch};
use super::gates::Gate;
use super::hosts::Hosts;
use super::root::Root;
use super::store::{self, Store};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use thalweg_abi::policy::{self, HEAD, LOCAL, Line, PAGE, local_flag};
use thalweg_model::policy::{PolicySettings, ToHost};
use thalweg_policy::Verdict;
use thalweg_policy::decide;
use thalweg_policy::model::{Direction, Policy};
use thalweg_policy::table::{Cell, Set, SetChange, Tables};

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

/// Of what is laid out, what tables do not say.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Addresses of this host and of its workloads.
    pub locals: &'a BTreeMap<IpAddr, Local>,
    /// What this host says at its links.
    pub hosts: &'a Hosts<'a>,
    /// Settings of the router.
    pub settings: &'a PolicySettings,
    /// Whether there is room to say what blocks of addresses come to.
    pub root: bool,
}

/// All lines, which follow tables: what is the same as before stays where it is.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) store: Store,
    families: [Family; 2],
    root: Root,
    /// By number and direction.
    pub(super) sets: HashMap<(u32, Direction), Laid>,
    /// By endpoint what this host says at links.
    pub(super) gates: BTreeMap<usize, Gate>,
    /// The set that denies everything.
    closed: Option<u32>,
    /// First line of the records, and how many these are.
    records: (u32, u32),
}

/// A set that is laid out.
#[derive(Debug)]
pub(super) struct Laid {
    pub(super) line: u32,
    /// Words that it has in the store.
    blocks: Vec<u32>,
    /// Policies that decide in it: what they are called must stay.
    policies: Vec<(usize, Arc<Policy>)>,
}

impl Default for Layout {
    fn default() -> Self {
        let mut store = Store::default();
        store.reserve(FIRST + HEAD);
        let families = [Family::new(4), Family::new(6)];
        let (sets, gates) = (HashMap::new(), BTreeMap::new());
        let root = Root::default();
        Self { store, families, root, sets, gates, closed: None, records: (0, 0) }
    }
}

/// What sets are laid out of.
struct Maker<'a, 'c> {
    tables: &'a Tables,
    store: &'a mut Store,
    causes: &'a mut Causes<'c>,
    /// Lines of rows that were laid out in this change. What decides is told apart by direction, so each has
    /// rows of its own.
    rows: HashMap<(u32, Direction), u32>,
}

/// Two numbers of 32 bits.
pub(super) fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Numbers of 8, 16 or 32 bits, packed.
pub(super) fn packed<T: Copy + Into<u64>>(numbers: &[T], bits: u32) -> Vec<u64> {
    let per_word = (64 / bits) as usize;
    let pack = |chunk: &[T]| {
        let shifted = (0u32..).zip(chunk).map(|(at, number)| (*number).into() << (at * bits));
        shifted.fold(0, |word: u64, part| word | part)
    };
    numbers.chunks(per_word).map(pack).collect()
}

impl Layout {
    /// All lines; line 0 is left empty.
    pub fn lines(&self) -> &[Line] {
        self.store.lines()
    }

    /// Numbers of lines that changed since this was asked before.
    pub fn take_changed(&mut self) -> BTreeSet<u32> {
        self.store.take_changed()
    }

    /// Whether more lines lie idle than not.
    pub fn is_loose(&self) -> bool {
        self.store.unused() as usize * 2 > self.lines().len()
    }

    /// Brings lines to what tables are now. `moved` names sets that are others than at the last time.
    pub fn update(
        &mut self,
        tables: &Tables,
        moved: &BTreeMap<u32, SetChange>,
        wanted: Wanted<'_>,
        causes: &mut Causes<'_>,
    ) {
        for (family, held) in [4, 6].into_iter().zip(&mut self.families) {
            let (stretches, own) = addresses(tables, wanted.locals, family);
            if family == 4 {
                self.root.update(&mut self.store, &stretches, own.keys(), wanted.root);
            }
            held.update(&mut self.store, stretches, own);
        }
        self.lay_sets(tables, moved, wanted, causes);
        self.lay_records(tables, wanted.locals, causes);
        self.lay_gates(wanted, causes);
        self.head(wanted, causes);
    }

    fn lay_sets(
        &mut self,
        tables: &Tables,
        moved: &BTreeMap<u32, SetChange>,
        wanted: Wanted<'_>,
        causes: &mut Causes<'_>,
    ) {
        let mut before = std::mem::take(&mut self.sets);
        let mut maker = Maker { tables, store: &mut self.store, causes, rows: HashMap::new() };
        let mut left: Vec<Laid> = Vec::new();
        for (number, direction) in wanted.locals_sets().chain(wanted.hosts.sets()) {
            let key = (number, direction);
            if self.sets.contains_key(&key) {
                continue;
            }
            let held = before.remove(&key);
            let stays = |laid: &Laid| !moved.contains_key(&number) && maker.is_current(laid);
            let laid = match held {
                Some(laid) if stays(&laid) => laid,
                held => {
                    left.extend(held);
                    maker.set(&tables.sets[number as usize], direction)
                }
            };
            self.sets.insert(key, laid);
        }
        // Last, so that what others share is still there to be shared.
        let blocks = left.into_iter().chain(before.into_values()).flat_map(|laid| laid.blocks);
        blocks.for_each(|block| self.store.release(block));
    }

    /// Records of local addresses, in their order.
    fn lay_records(
        &mut self,
        tables: &Tables,
        locals: &BTreeMap<IpAddr, Local>,
        causes: &mut Causes<'_>,
    ) {
        let mut words = Vec::with_capacity(locals.len() * policy::local::WORDS as usize);
        for (address, local) in locals {
            let sets = [Direction::Ingress, Direction::Egress].map(|direction| {
                match local.sets[direction as usize] {
                    _ if local.closed => self.closed(causes),
                    None => 0,
                    Some(number) => self.sets.get(&(number, direction)).map_or(0, |laid| laid.line),
                }
            });
            words.push(pair(tables.classes.of(*address), local.flags));
            words.push(pair(sets[0], sets[1]));
        }
        let lines = store::count(&words);
        if lines != self.records.1 {
            self.store.give_up(self.records.0, self.records.1);
            self.records = (self.store.reserve(lines), lines);
        }
        self.store.write(self.records.0, &words);
    }

    /// The set that denies everything.
    pub(super) fn closed(&mut self, causes: &mut Causes<'_>) -> u32 {
        *self.closed.get_or_insert_with(|| {
            let mut line = Line::default();
            line[policy::set::FIXED] = policy::cell(u16::MAX, false, causes.closed());
            self.store.take(line.to_vec())
        })
    }

    fn head(&mut self, wanted: Wanted<'_>, causes: &mut Causes<'_>) {
        let mut lines = [Line::default(); HEAD as usize];
        let places = self.families.each_ref().map(|one| pair(one.first, one.buckets - 1));
        let counts = self.families.each_ref().map(|one| one.lengths.len() as u32);
        lines[0][policy::head::ADDRESSES4] = places[0];
        lines[0][policy::head::ADDRESSES6] = places[1];
        lines[0][policy::head::LOCALS] = pair(self.records.0, counts[0] | counts[1] << 16);
        lines[0][policy::head::ROOT4] = self.root.first.into();
        lines[0][policy::head::FLAGS] = flags(wanted.settings);
        lines[0][policy::head::ALL] = wanted.hosts.all.map_or(0, |all| self.gate(all)).into();
        if wanted.settings.to_host == ToHost::Drop {
            lines[0][policy::head::TO_HOST] = policy::cell(u16::MAX, false, causes.host_setting());
        }
        for (family, from) in self.families.iter().zip([1, 2]) {
            for (at, length) in family.lengths.iter().enumerate() {
                lines[from + at / 64][at / 8 % 8] |= u64::from(*length) << (at % 8 * 8);
            }
        }
        for (at, line) in (FIRST..).zip(lines) {
            self.store.set(at, line);
        }
    }
}

impl Wanted<'_> {
    /// Sets that a workload has which is not closed.
    fn locals_sets(&self) -> impl Iterator<Item = (u32, Direction)> {
        let open = self.locals.values().filter(|local| !local.closed);
        open.flat_map(|local| {
            let directions = [Direction::Ingress, Direction::Egress].into_iter();
            directions.filter_map(|one| Some((local.sets[one as usize]?, one)))
        })
    }
}

/// Bits of [`policy::flag`].
fn flags(settings: &PolicySettings) -> u64 {
    let to_host = match settings.to_host {
        ToHost::Accept => 0,
        ToHost::Drop => policy::flag::TO_HOST_DROPS,
        ToHost::Return => policy::flag::TO_HOST_ASKS,
    };
    to_host | if settings.rejects { policy::flag::REJECTS } else { 0 }
}

/// What the addresses of a family come to: stretches with their class, and local addresses.
fn addresses(
    tables: &Tables,
    locals: &BTreeMap<IpAddr, Local>,
    family: u8,
) -> (Vec<Stretch>, BTreeMap<IpAddr, u32>) {
    let is_of = |address: &IpAddr| address.is_ipv4() == (family == 4);
    let end: IpAddr = match family {
        4 => Ipv4Addr::BROADCAST.into(),
        _ => Ipv6Addr::from_bits(u128::MAX).into(),
    };
    let stretches = tables.stretches_of_classes();
    let mut made = Vec::with_capacity(stretches.len());
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
        made.push((first, last, *class));
    }
    let own = (0..).zip(locals).filter(|(_, (address, _))| is_of(address));
    (made, own.map(|(number, (address, _))| (*address, LOCAL | number)).collect())
}

impl Maker<'_, '_> {
    /// Whether what decides in a set is still called the same.
    fn is_current(&self, laid: &Laid) -> bool {
        let policies = &self.causes.resolution.policies;
        let is = |(number, policy): &(usize, Arc<Policy>)| {
            policies.get(*number).is_some_and(|now| Arc::ptr_eq(&now.policy, policy))
        };
        laid.policies.iter().all(is)
    }

    fn set(&mut self, set: &Set, direction: Direction) -> Laid {
        let mut blocks = Vec::new();
        let (pages, count) = pages(self.store, set.groups(), &mut blocks);
        let stride = set.protocols().len() as u32 + 1;
        let mut positions = [(stride - 1) as u8; 256];
        for (at, protocol) in (0..).zip(set.protocols()) {
            positions[usize::from(*protocol)] = at;
        }
        let protocols = self.take(packed(&positions, 8), &mut blocks);
        let sources = self.take(packed(set.sources(), 16), &mut blocks);
        let mut places: HashMap<u32, u32> = HashMap::new();
        let mut policies: BTreeSet<usize> = BTreeSet::new();
        for number in set.rows() {
            if !places.contains_key(number) {
                let line = self.row(*number, direction, &mut policies);
                places.insert(*number, line);
                blocks.push(line);
            }
        }
        let entries: Vec<u32> = set.rows().iter().map(|number| places[number]).collect();
        let entries = self.take(packed(&entries, 32), &mut blocks);
        let mut line = Line::default();
        line[policy::set::PAGES] = pair(pages, count);
        line[policy::set::PROTOCOLS] = pair(protocols, set.sources().len() as u32);
        line[policy::set::ENTRIES] = pair(sources, entries);
        line[policy::set::STRIDE] = stride.into();
        let line = self.take(line.to_vec(), &mut blocks);
        let all = &self.causes.resolution.policies;
        let policy = |number: usize| Some((number, all.get(number)?.policy.clone()));
        Laid { line, blocks, policies: policies.into_iter().filter_map(policy).collect() }
    }

    fn take(&mut self, words: Vec<u64>, blocks: &mut Vec<u32>) -> u32 {
        let line = self.store.take(words);
        blocks.push(line);
        line
    }

    /// Where a row is, which is used once more, and the policies that decide in it.
    fn row(&mut self, number: u32, direction: Direction, policies: &mut BTreeSet<usize>) -> u32 {
        let row = &self.tables.rows[number as usize];
        policies.extend(row.iter().filter_map(|cell| match cell.decision.cause {
            decide::Cause::Rule { policy, .. } => Some(policy),
            _ => None,
        }));
        policies.extend(row.iter().flat_map(|cell| cell.logs.iter().map(|(policy, _)| policy)));
        if let Some(known) = self.rows.get(&(number, direction)) {
            self.store.again(*known);
            return *known;
        }
        let causes = &mut self.causes;
        let cells = row.iter().map(|one| cell(one, direction, causes));
        let words: Vec<u64> = [row.len() as u64].into_iter().chain(cells).collect();
        let line = self.store.take(words);
        self.rows.insert((number, direction), line);
        line
    }
}

/// Pages that lead classes to numbers: the first line of theirs, and how many there are.
pub(super) fn pages<'a>(
    store: &mut Store,
    of: impl IntoIterator<Item = (&'a u32, &'a u32)>,
    blocks: &mut Vec<u32>,
) -> (u32, u32) {
    let mut take = |words: Vec<u64>| {
        let line = store.take(words);
        blocks.push(line);
        line
    };
    let mut pages: BTreeMap<u32, [u32; PAGE as usize]> = BTreeMap::new();
    for (class, number) in of {
        pages.entry(class / PAGE).or_default()[(class % PAGE) as usize] = *number;
    }
    let Some((last, _)) = pages.last_key_value() else { return (0, 0) };
    let mut lines = vec![0u32; *last as usize + 1];
    for (page, numbers) in &pages {
        lines[*page as usize] = take(packed(numbers, 32));
    }
    (take(packed(&lines, 32)), lines.len() as u32)
}

pub(super) fn cell(of: &Cell, direction: Direction, causes: &mut Causes<'_>) -> u64 {
    let Cell { last, decision, logs } = of;
    let decides = (decision.verdict != Verdict::Next).then_some(decision.cause);
    let is = |cause| match decision.verdict {
        Verdict::Next => policy::cell_of_none(*last),
        verdict => policy::cell(*last, verdict == Verdict::Allow, cause),
    };
    if !logs.is_empty() {
        return policy::logging(is(0), causes.logged(logs, decides, direction));
    }
    is(decides.map_or(0, |cause| causes.number(cause, direction)))
}

/// The lines of tables that have room for nothing: whoever has rules reaches nobody.
pub(super) fn all_closed(
    locals: &mut BTreeMap<IpAddr, Local>,
    hosts: &Hosts<'_>,
    settings: &PolicySettings,
    causes: &mut Causes<'_>,
) -> Layout {
    for local in locals.values_mut().filter(|local| local.sets != [None; 2]) {
        *local = Local { closed: true, ..*local };
    }
    let mut layout = Layout::default();
    let wanted = Wanted { locals, hosts, settings, root: false };
    layout.update(&Tables::default(), &BTreeMap::new(), wanted, causes);
    layout
}

/// The flags of an address of this host.
pub(super) const HOST: Local = Local { flags: local_flag::HOST, sets: [None; 2], closed: false };
