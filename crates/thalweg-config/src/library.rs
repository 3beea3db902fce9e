//! Reads files again and again, at the cost of what changed since the last time.
//!
//! Each file is kept as it was read, with what it says by itself (a [`Part`]). A file whose size, times
//! and inode are the same is not opened, unless it changed just before it was read: then its octets are
//! compared, since the clock of the file system may be too coarse to tell. What all files say
//! together is kept as well, and follows the parts that come and go. Whatever one file says about
//! another than that names exist, such as twins, is found by reading all of them in a row, as
//! [`crate::load`] does.

use crate::draft::{Kind, clash};
use crate::files::{self, Gathered};
use crate::part::Part;
use crate::report::Report;
use crate::sources::{Source, Sources};
use crate::stamp::Stamp;
use crate::tally::Tally;
use crate::{Loaded, guard, parse_sources, uses};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;
use thalweg_model::catalog::Edit;
use thalweg_model::{Catalog, Cluster, Intent, Problem, Severity};
use thalweg_policy::Objects;

/// Pairs of files that are compared one by one; beyond, all claims are sorted.
const PAIRS: usize = 20_000;

/// Files as they were read.
#[derive(Debug)]
pub struct Library {
    /// By name, those of the last reading.
    known: HashMap<String, Known>,
    /// What they say together.
    joined: Joined,
    /// What was read last, as long as it is what is joined.
    standing: Option<Standing>,
    /// Tells the time.
    clock: fn() -> SystemTime,
}

/// A directory that was read, of which nothing but its files' own words is to be told.
#[derive(Debug)]
struct Standing {
    path: PathBuf,
    user: u32,
    /// Of the parts that are joined, in their order.
    sources: Sources,
}

impl Default for Library {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            joined: Joined::default(),
            standing: None,
            clock: SystemTime::now,
        }
    }
}

/// A file as it was read.
#[derive(Debug)]
struct Known {
    source: Arc<Source>,
    /// How it looked, if that tells whether it changed since.
    stamp: Option<Stamp>,
    part: Arc<Part>,
}

/// What files say together, as long as no two claim the same.
#[derive(Debug, Default)]
struct Joined {
    parts: Vec<(String, Arc<Part>)>,
    /// With objects of Kubernetes that others exclude.
    intent: Intent,
    /// What policies are made of.
    policies: Objects,
    /// What one of those may have.
    tally: Tally,
    /// What only one file may claim, once that was asked for.
    claims: Option<Tally>,
}

impl Library {
    /// As [`crate::load`].
    pub fn load(&mut self, path: &Path) -> Loaded {
        self.standing = None;
        let Gathered { sources, unfit, problems, .. } = Gathered::at(path, Some(self));
        self.join(sources, &unfit, problems).0
    }

    /// As [`crate::load_guarded`].
    pub fn load_guarded(&mut self, path: &Path, user: u32) -> Loaded {
        self.standing = None;
        let refused = guard::refused(path, user);
        let Gathered { sources, unfit, mut problems, .. } = Gathered::at(path, Some(self));
        let clean = refused.is_empty() && unfit.is_empty() && problems.is_empty();
        problems.splice(0..0, refused);
        let (loaded, joined) = self.join(sources, &unfit, problems);
        if clean && joined && path.is_dir() {
            let (path, sources) = (path.to_owned(), loaded.sources.clone());
            self.standing = Some(Standing { path, user, sources });
        }
        loaded
    }

    /// As [`Self::load_guarded`] of the same directory, of which the regular file `name` alone changed
    /// since; none where that cannot be told from one file.
    pub fn load_changed(&mut self, path: &Path, name: &OsStr, user: u32) -> Option<Loaded> {
        let standing = self.standing.take()?;
        let place = path.join(name);
        if standing.path != path || standing.user != user || guard::judge(&place, user).is_some() {
            return None;
        }
        let name = place.display().to_string();
        let at = self.joined.parts.iter().position(|(known, _)| *known == name)?;
        let source = files::again(&place, &name, self)?;
        let part = self.known.get(&name)?.part.clone();
        if !self.joined.admits(at, &part) {
            return None;
        }
        let sources = standing.sources.with(at as u32, source);
        self.joined.replace(at, part);
        self.standing = Some(Standing { sources: sources.clone(), ..standing });
        let files: Vec<u32> = (0..sources.len() as u32).collect();
        Some(self.told(sources, &files, Vec::new()))
    }

    /// As [`crate::parse`].
    pub fn parse(&mut self, files: &[(String, String)]) -> Loaded {
        self.standing = None;
        let mut sources = Sources::default();
        for (name, text) in files {
            let same = self.text(name) == Some(text);
            let same = same.then(|| self.confirm(name, None)).flatten();
            sources.share(same.unwrap_or_else(|| self.take(name, None, text.clone())));
        }
        self.join(sources, &[], Vec::new()).0
    }

    /// Reads files that are not known yet, on all processors. What cannot be read here is left to be told
    /// when it is its turn.
    pub(crate) fn prepare(&mut self, paths: &[PathBuf]) {
        let unknown = |path: &&PathBuf| !self.known.contains_key(&*path.to_string_lossy());
        let new: Vec<&PathBuf> = paths.iter().filter(unknown).collect();
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        if new.len() < 2 || processors < 2 {
            return;
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let turn = || new.get(next.fetch_add(1, Ordering::Relaxed));
            let mut found = Vec::new();
            while let Some(path) = turn() {
                let Some(first) = files::first(path, |meta| self.stamp(meta)) else { continue };
                let source = Arc::new(Source::new(first.name.clone(), first.text));
                let part = Arc::new(Part::read(&source));
                // Nearly everybody asks for it later on.
                source.digest();
                found.push((first.name, Known { source, stamp: first.stamp, part }));
            }
            found
        };
        let found: Vec<_> = std::thread::scope(|scope| {
            let works: Vec<_> = (0..processors.min(new.len())).map(|_| scope.spawn(work)).collect();
            // What a worker that failed would have found is read in its turn.
            works.into_iter().filter_map(|work| work.join().ok()).flatten().collect()
        });
        self.known.extend(found);
    }

    /// How a file looks now.
    pub(crate) fn stamp(&self, meta: &Metadata) -> Option<Stamp> {
        Stamp::of(meta, (self.clock)())
    }

    /// The text of a file that looks as it did.
    pub(crate) fn seen(&self, name: &str, stamp: Option<Stamp>) -> Option<Arc<Source>> {
        let known = self.known.get(name)?;
        let same = stamp.is_some() && known.stamp == stamp;
        same.then(|| known.source.clone())
    }

    /// What a file said.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.known.get(name).map(|known| known.source.text())
    }

    /// Takes note that a file says what it said, and how it looks.
    pub(crate) fn confirm(&mut self, name: &str, stamp: Option<Stamp>) -> Option<Arc<Source>> {
        let known = self.known.get_mut(name)?;
        known.stamp = stamp;
        Some(known.source.clone())
    }

    /// Takes in a file that was read.
    pub(crate) fn take(&mut self, name: &str, stamp: Option<Stamp>, text: String) -> Arc<Source> {
        let source = Arc::new(Source::new(name.to_owned(), text));
        let mut part = Part::read(&source);
        if let Some(before) = self.known.remove(name) {
            part.share(&before.part);
        }
        let known = Known { source: source.clone(), stamp, part: Arc::new(part) };
        self.known.insert(name.to_owned(), known);
        source
    }

    /// What files say together, and whether they are joined now: those that claim the same are read in
    /// a row instead.
    fn join(&mut self, sources: Sources, unfit: &[u32], before: Vec<Problem>) -> (Loaded, bool) {
        let fit = (0..).zip(sources.iter()).filter(|(file, _)| !unfit.contains(file));
        let part = |(file, source): (u32, &Arc<Source>)| {
            let known = self.known.get(source.name());
            let known = known.filter(|known| Arc::ptr_eq(&known.source, source))?;
            Some((source.name().to_owned(), file, known.part.clone()))
        };
        let Some(parts) = fit.map(part).collect::<Option<Vec<_>>>() else {
            // Two files of one name.
            return (parse_sources(sources, unfit, before), false);
        };
        let names: HashSet<&str> = parts.iter().map(|(name, ..)| name.as_str()).collect();
        self.known.retain(|name, _| names.contains(name.as_str()));
        if names.len() < parts.len() || self.joined.conflicts(&parts) {
            return (parse_sources(sources, unfit, before), false);
        }
        let files: Vec<u32> = parts.iter().map(|(_, file, _)| *file).collect();
        self.joined.follow(parts.into_iter().map(|(name, _, part)| (name, part)).collect());
        (self.told(sources, &files, before), true)
    }

    /// What the parts that are joined say; `files` are the numbers of their files.
    fn told(&self, sources: Sources, files: &[u32], before: Vec<Problem>) -> Loaded {
        let parts: Parts<'_> =
            files.iter().copied().zip(self.joined.parts.iter().map(|(_, part)| &**part)).collect();
        let mut report = Report::new(&sources);
        parts.iter().for_each(|(file, part)| report.absorb(*file, &part.findings));
        let broken = before.iter().any(|problem| problem.severity == Severity::Error);
        // A file that could not be read may hold the very VRF that seems to be missing.
        if !broken && parts.iter().all(|(_, part)| part.whole) {
            for (at, kind) in [(0, Kind::Vrf), (1, Kind::BfdSession)] {
                check_uses(at, kind, &parts, &mut report);
            }
        }
        let intent = self.joined.intent(files, &mut report);
        let mut policies = self.joined.policies.clone();
        policies.settings = intent.router.policy.clone();
        let mut problems = before;
        problems.extend(report.finish());
        if !broken && parts.iter().all(|(_, part)| part.whole) {
            problems.extend(thalweg_policy::check::all(&policies));
        }
        Loaded { intent, policies, problems, sources }
    }
}

/// Parts with the numbers of their files.
type Parts<'p> = Vec<(u32, &'p Part)>;

/// Reports fields that name objects that no part has.
fn check_uses(at: usize, kind: Kind, parts: &[(u32, &Part)], report: &mut Report) {
    let names = || parts.iter().flat_map(|(_, part)| &part.names[at]).map(String::as_str);
    let all: HashSet<&str> = names().collect();
    let lacks = |name: &str| !all.contains(name);
    let parts = parts.iter().filter(|(_, part)| part.wanted[at].iter().any(|name| lacks(name)));
    let uses = parts.flat_map(|(file, part)| part.uses[at].iter().map(|use_| (*file, use_)));
    let missing = uses.filter(|(_, (one, _))| lacks(&one.name));
    let missing = missing.map(|(file, (one, user))| (one, file, user.clone()));
    uses::missing(kind, missing, names(), report);
}

impl Joined {
    /// Whether any of these parts claim the same. Those that are joined do not.
    fn conflicts(&self, parts: &[(String, u32, Arc<Part>)]) -> bool {
        if parts.len() < 2 {
            return false;
        }
        if parts.iter().any(|(.., part)| part.conflicts) {
            return true;
        }
        let joined: HashSet<_> = self.parts.iter().map(|(_, part)| Arc::as_ptr(part)).collect();
        let (old, new): (Vec<_>, Vec<_>) = parts
            .iter()
            .map(|(.., part)| part)
            .partition(|part| joined.contains(&Arc::as_ptr(part)));
        if new.len() * parts.len() <= PAIRS {
            return new
                .iter()
                .enumerate()
                .any(|(at, part)| old.iter().chain(&new[at + 1..]).any(|other| part.meets(other)));
        }
        let mut all: Vec<u64> = parts.iter().flat_map(|(.., part)| &part.prints).copied().collect();
        all.sort_unstable();
        !all.is_sorted_by(|a, b| a < b)
    }

    /// The intent without objects that others exclude; `files` are the numbers of the parts' files.
    fn intent(&self, files: &[u32], report: &mut Report) -> Intent {
        let parts = files.iter().zip(&self.parts);
        let parts: Vec<_> = parts.map(|(file, (_, part))| (Some(*file), &part.cluster)).collect();
        let mut intent = self.intent.clone();
        let range = intent.router.services.node_ports;
        if self.tally.any_twice() || !parts.iter().all(|(_, part)| part.is_within(range)) {
            let services = clash::node_ports(&parts, range, report);
            clash::set_aside(&mut intent.cluster.services, &services);
            clash::set_aside(&mut intent.cluster.pods, &clash::interfaces(&parts, report));
        }
        clash::tell_strange(&parts, report);
        clash::tell_unenforced(&parts, report);
        intent
    }

    /// Whether a part in the place of another claims nothing that any other does.
    fn admits(&mut self, at: usize, part: &Part) -> bool {
        if part.conflicts {
            return false;
        }
        let parts = &self.parts;
        let claims = self.claims.get_or_insert_with(|| {
            let mut claims = Tally::default();
            claims.change([], parts.iter().flat_map(|(_, part)| part.prints.iter().copied()));
            claims
        });
        let before = &parts[at].1.prints;
        part.prints.iter().all(|print| {
            let own = u32::from(before.binary_search(print).is_ok());
            claims.count(*print) <= own
        })
    }

    /// Lets a part take the place of another.
    fn replace(&mut self, at: usize, part: Arc<Part>) {
        let before = std::mem::replace(&mut self.parts[at].1, part.clone());
        if !Arc::ptr_eq(&before, &part) {
            self.change(&[(Some(&before), Some(&part))]);
        }
    }

    /// Lets the intent follow the parts.
    fn follow(&mut self, parts: Vec<(String, Arc<Part>)>) {
        let before = std::mem::take(&mut self.parts);
        let ids = |parts: &[(String, Arc<Part>)]| -> HashSet<_> {
            parts.iter().map(|(_, part)| Arc::as_ptr(part)).collect()
        };
        let (was, is) = (ids(&before), ids(&parts));
        let mut gone: BTreeMap<&str, &Part> = BTreeMap::new();
        for (name, part) in before.iter().filter(|(_, part)| !is.contains(&Arc::as_ptr(part))) {
            gone.insert(name, part);
        }
        let come = parts.iter().filter(|(_, part)| !was.contains(&Arc::as_ptr(part)));
        let changes: Vec<(Option<&Part>, Option<&Part>)> = come
            .map(|(name, part)| (gone.remove(name.as_str()), Some(&**part)))
            .collect::<Vec<_>>()
            .into_iter()
            .chain(gone.into_values().map(|part| (Some(part), None)))
            .collect();
        self.parts.clone_from(&parts);
        if !changes.is_empty() {
            self.change(&changes);
        }
    }

    /// Lets everything but the list of parts follow parts that came, went or changed.
    fn change(&mut self, changes: &[(Option<&Part>, Option<&Part>)]) {
        for (old, new) in changes {
            let (old, new) = (old.iter(), new.iter());
            self.tally.change(
                old.clone().flat_map(|part| part.cluster.prints()),
                new.clone().flat_map(|part| part.cluster.prints()),
            );
            if let Some(claims) = &mut self.claims {
                claims.change(
                    old.flat_map(|part| part.prints.iter().copied()),
                    new.flat_map(|part| part.prints.iter().copied()),
                );
            }
        }
        let intent = &mut self.intent;
        follow(&mut intent.routes, changes, |part| &part.intent.routes);
        follow(&mut intent.labels, changes, |part| &part.intent.labels);
        follow(&mut intent.origins, changes, |part| &part.intent.origins);
        follow_cluster(&mut intent.cluster, changes);
        follow_policies(&mut self.policies, changes);
        let old = || changes.iter().filter_map(|(old, _)| *old);
        for part in old() {
            intent.links.retain(|name, _| !part.intent.links.contains_key(name));
            intent.vrfs.retain(|name, _| !part.intent.vrfs.contains_key(name));
            intent.sessions.retain(|name, _| !part.intent.sessions.contains_key(name));
        }
        for part in changes.iter().filter_map(|(_, new)| *new) {
            intent.links.extend(part.intent.links.clone());
            intent.vrfs.extend(part.intent.vrfs.clone());
            intent.sessions.extend(part.intent.sessions.clone());
        }
        let router = self.parts.iter().find(|(_, part)| part.router);
        intent.router = router.map(|(_, part)| part.intent.router.clone()).unwrap_or_default();
    }
}

/// Lets the cluster follow those of parts.
fn follow_cluster(cluster: &mut Cluster, changes: &[(Option<&Part>, Option<&Part>)]) {
    follow(&mut cluster.services, changes, |part| &part.cluster.cluster.services);
    follow(&mut cluster.slices, changes, |part| &part.cluster.cluster.slices);
    follow(&mut cluster.nodes, changes, |part| &part.cluster.cluster.nodes);
    follow(&mut cluster.pods, changes, |part| &part.cluster.cluster.pods);
    follow(&mut cluster.pools, changes, |part| &part.cluster.cluster.pools);
    follow(&mut cluster.service_cidrs, changes, |part| &part.cluster.cluster.service_cidrs);
}

/// Lets what policies are made of follow that of parts.
fn follow_policies(all: &mut Objects, changes: &[(Option<&Part>, Option<&Part>)]) {
    follow(&mut all.policies, changes, |part| &part.cluster.policies.policies);
    follow(&mut all.tiers, changes, |part| &part.cluster.policies.tiers);
    follow(&mut all.sets, changes, |part| &part.cluster.policies.sets);
    follow(&mut all.hosts, changes, |part| &part.cluster.policies.hosts);
    follow(&mut all.namespaces, changes, |part| &part.cluster.policies.namespaces);
    follow(&mut all.accounts, changes, |part| &part.cluster.policies.accounts);
    follow(&mut all.profiles, changes, |part| &part.cluster.policies.profiles);
    follow(&mut all.nodes, changes, |part| &part.cluster.policies.nodes);
}

/// Lets a catalog of all follow those of parts that came, went or changed.
fn follow<K: Ord, V: PartialEq>(
    all: &mut Catalog<K, V>,
    changes: &[(Option<&Part>, Option<&Part>)],
    of: impl Fn(&Part) -> &Catalog<K, V>,
) {
    let none = Catalog::default();
    let side = |part: Option<&Part>| part.map_or(&none, &of).clone();
    let mut edits = Vec::new();
    for (old, new) in changes {
        edits.extend(side(*old).edits(&side(*new)));
    }
    // What moves from one file into another goes first, then comes.
    edits.sort_by_key(|edit| matches!(edit, Edit::Set(_)));
    all.edit(edits);
}

#[cfg(test)]
mod tests;
