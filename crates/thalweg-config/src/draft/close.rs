//! The end of a draft: what must hold between its objects, and what becomes of them.

use super::{Claim, Draft, Kind, Object};
use crate::part::Part;
use crate::report::{Path, Report};
use crate::sources::Span;
use crate::uses::{self, Use};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use thalweg_model::intent::Route;
use thalweg_model::{Catalog, Intent, Key, Origin, Prefix};
use thalweg_policy::Objects;

/// What a route claims, where it stands, and its number: small enough to sort a full table of.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct ClaimKey {
    /// VRF, metric, prefix length (above 128 for IPv4) and bits.
    what: (u32, u32, u8, u128),
    at: Span,
    index: u32,
}

impl ClaimKey {
    fn new((index, claim): (usize, &Claim)) -> Self {
        let (len, bits) = match claim.route.prefix {
            Prefix::V4(prefix) => (0x80 + 1 + prefix.len(), u128::from(prefix.bits())),
            Prefix::V6(prefix) => (prefix.len(), prefix.bits()),
        };
        let what = (claim.vrf, claim.route.metric, len, bits);
        Self { what, at: claim.at, index: index as u32 }
    }
}

/// A number that stands for what is claimed: the same for the same, hardly ever for another.
fn print(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

impl Draft {
    /// The intent and what policies are made of, after checking what must hold between objects.
    pub fn finish(self, broken: bool, report: &mut Report) -> (Intent, Objects) {
        // A file that could not be read may hold the very VRF that seems to be missing.
        if !broken {
            self.check_uses(Kind::Vrf, &self.vrf_uses, report);
            self.check_uses(Kind::BfdSession, &self.session_uses, report);
        }
        self.check_prefixes(&self.route_prints(), report);
        let mut intent = Intent { origins: self.origins(report), ..Intent::default() };
        if let Some((router, _)) = self.router {
            intent.router = router;
        }
        intent.links = self.links;
        intent.vrfs = self.vrfs;
        intent.labels = self.labels.into_iter().collect();
        intent.sessions = self.sessions;
        intent.routes = self.routes.into_iter().map(|claim| (claim.name, claim.route)).collect();
        let (cluster, mut policies) = self.cluster.finish(&intent.router.services, report);
        policies.settings = intent.router.policy.clone();
        intent.cluster = cluster;
        (intent, policies)
    }

    /// All that was read, as the part that one file has in the whole.
    pub fn part(self, whole: bool, mut report: Report) -> Part {
        let mut prints = self.route_prints();
        let conflicts = self.check_prefixes(&prints, &mut report);
        prints.extend(self.object_prints());
        prints.sort_unstable();
        prints.dedup();
        let origins = self.origins(&mut report);
        let named = |kind| {
            let of = self.objects.iter().filter(move |object| object.kind == kind);
            of.map(|object| object.name.clone()).collect()
        };
        let names = [named(Kind::Vrf), named(Kind::BfdSession)];
        let key = |one: Use| {
            let key = self.key(one.user);
            (one, key)
        };
        let uses = [&self.vrf_uses, &self.session_uses]
            .map(|uses| uses.iter().cloned().map(key).collect::<Vec<_>>());
        let wanted = uses.each_ref().map(|uses| {
            let mut names: Vec<String> = uses.iter().map(|(one, _)| one.name.clone()).collect();
            names.sort_unstable();
            names.dedup();
            names
        });
        let mut part = Part {
            findings: report.findings(),
            whole,
            cluster: self.cluster.part(),
            conflicts,
            prints,
            names,
            wanted,
            uses,
            intent: Intent { origins, ..Intent::default() },
            router: self.router.is_some(),
        };
        part.intent.router = self.router.map(|(router, _)| router).unwrap_or_default();
        part.intent.links = self.links;
        part.intent.vrfs = self.vrfs;
        part.intent.labels = self.labels.into_iter().collect();
        part.intent.sessions = self.sessions;
        let routes = self.routes.into_iter().map(|claim| (claim.name, claim.route));
        part.intent.routes = routes.collect();
        part
    }

    /// Where each object stands.
    fn origins(&self, report: &mut Report) -> Catalog<Key, Origin> {
        report.object = None;
        let origin = |object: &Object| {
            let key = Key { kind: object.kind.name().into(), name: object.name.clone() };
            (key, report.origin(object.at))
        };
        self.objects.iter().map(origin).collect()
    }

    /// What the routes claim, as numbers in order: two that are equal may exclude each other.
    fn route_prints(&self) -> Vec<u64> {
        let vrfs: HashMap<u32, u64> =
            self.vrf_numbers.iter().map(|(name, number)| (*number, print(name))).collect();
        let routes = self.routes.iter().map(|claim| {
            let vrf = vrfs.get(&claim.vrf).copied().unwrap_or_default();
            print(&(vrf, claim.route.metric, claim.route.prefix))
        });
        let mut prints: Vec<u64> = routes.collect();
        prints.sort_unstable();
        prints
    }

    /// What else objects claim that only one may have, as numbers.
    fn object_prints(&self) -> impl Iterator<Item = u64> {
        let names = self.by_name.keys().map(|key| print(&(0u8, key)));
        let names = names.chain(self.router.iter().map(|_| print(&1u8)));
        let names = names.chain(self.interfaces.keys().map(|name| print(&(2u8, name))));
        let names = names.chain(self.tables.keys().map(|table| print(&(3u8, table))));
        let names = names.chain(self.label_owners.keys().map(|label| print(&(4u8, label))));
        names.chain(self.session_owners.keys().map(|place| print(&(5u8, place))))
    }

    /// Reports fields that name objects of a kind that do not exist.
    fn check_uses(&self, kind: Kind, uses: &[Use], report: &mut Report) {
        let exists = |name: &str| self.by_name.contains_key(&(kind, name.to_owned()));
        let missing = uses.iter().filter(|one| !exists(&one.name));
        let missing = missing.map(|one| (one, one.at.file, self.key(one.user)));
        let names = self.objects.iter().filter(|object| object.kind == kind);
        uses::missing(kind, missing, names.map(|object| object.name.as_str()), report);
    }

    /// Reports prefixes that two routes claim with the same metric in the same VRF; returns whether
    /// there are any. `prints` are those of the routes.
    fn check_prefixes(&self, prints: &[u64], report: &mut Report) -> bool {
        if prints.is_sorted_by(|a, b| a < b) {
            return false;
        }
        // Sorting keys beats a set of them: no hashing, and the places decide who was first.
        let mut keys: Vec<_> = self.routes.iter().enumerate().map(ClaimKey::new).collect();
        keys.sort_unstable();
        let mut any = false;
        for same in keys.chunk_by(|a, b| a.what == b.what) {
            let Some((first, others)) = same.split_first() else { continue };
            for other in others {
                let claim = |key: &ClaimKey| &self.routes[key.index as usize];
                self.conflict(claim(first), claim(other), report);
                any = true;
            }
        }
        any
    }

    fn conflict(&self, first: &Claim, second: &Claim, report: &mut Report) {
        let (key, place) = (self.key(first.owner), report.origin(first.at));
        let Route { vrf, prefix, metric, .. } = &second.route;
        let what = match first.owner == second.owner {
            true => format!("{prefix} stands twice, first at {place}"),
            false => format!(
                "VRF `{vrf}` already has a route to {prefix} with metric {metric}: {key} at {place}"
            ),
        };
        let remedy = match first.owner == second.owner {
            true => "remove one of them",
            false => "give one of them another metric, or list both next hops in one route",
        };
        report.object = Some(self.key(second.owner));
        let one = second.name == self.object(second.owner).name;
        let field = if one { "spec.prefix" } else { "spec.prefixes" };
        report.error(second.at, &Path::Field(&Path::Root, field), what, remedy);
    }
}
