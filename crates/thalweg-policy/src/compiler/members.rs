//! Everybody whom selectors may mean, by number, with an index of labels. Numbers stay as long as the
//! object does.

use super::member::Member;
use crate::object::Objects;
use crate::ranges::Ranges;
use crate::selector::{Labels, Selector, Term};
use crate::world::{Endpoint, EndpointName, Maker, account};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use thalweg_model::catalog::{Edit, Entry};
use thalweg_model::cluster::{Cluster, Node, ObjectName, Pod};
use thalweg_model::{Catalog, Prefix};

/// With no more candidates than this, no other label is looked at for fewer.
const FEW: usize = 1_000;
/// Labels that many inherit are kept until this many are, at least.
const KEPT: usize = 1_024;

type Shared = Arc<BTreeMap<String, String>>;

/// Whether hosts may be others by what is theirs alone.
fn are_other_hosts(old: (&Objects, &Cluster), new: (&Objects, &Cluster)) -> bool {
    let automatic = [old, new].map(|(objects, _)| objects.settings.auto_hosts);
    !old.0.hosts.differences(&new.0.hosts).is_empty()
        || !old.0.profiles.differences(&new.0.profiles).is_empty()
        || automatic[0] != automatic[1]
        || automatic[1] && are_other_nodes(old, new)
}

/// Whether nodes have other addresses or labels, or are others.
pub(super) fn are_other_nodes(old: (&Objects, &Cluster), new: (&Objects, &Cluster)) -> bool {
    !old.1.nodes.differences(&new.1.nodes).is_empty()
        || !old.0.nodes.differences(&new.0.nodes).is_empty()
}

/// A pod as a key: its name, which stays in the catalog.
#[derive(Clone, Debug)]
struct ByName(Entry<ObjectName, Pod>);

impl Borrow<ObjectName> for ByName {
    fn borrow(&self) -> &ObjectName {
        &self.0.0
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.0.cmp(&other.0.0)
    }
}

/// Who is another than before, by number: who that was.
pub(super) type Touched = BTreeMap<usize, Option<Member>>;

/// Everybody.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    all: Vec<Option<Member>>,
    free: Vec<usize>,
    pods: BTreeMap<ByName, usize>,
    hosts: BTreeMap<String, usize>,
    sets: BTreeMap<ObjectName, usize>,
    /// Who has an address.
    at: BTreeSet<(IpAddr, u32)>,
    /// Ascending numbers by label and value.
    listed: HashMap<String, HashMap<String, Vec<u32>>>,
    namespaces: HashMap<String, Shared>,
    accounts: HashMap<ObjectName, Shared>,
    /// Nodes, and their labels.
    nodes: Catalog<String, Node>,
    node_labels: Catalog<String, BTreeMap<String, String>>,
    /// How many of these two were needed when that was looked at last.
    inherited: usize,
}

impl Members {
    /// Takes over what objects say now. Numbers of those who are gone are not free before
    /// [`Self::clean`].
    pub fn update(&mut self, old: (&Objects, &Cluster), new: (&Objects, &Cluster)) -> Touched {
        let namespaces = old.0.namespaces.differences(&new.0.namespaces);
        let namespaces: BTreeSet<&String> = namespaces.iter().map(|one| one.key).collect();
        let accounts = old.0.accounts.differences(&new.0.accounts);
        let accounts: BTreeSet<&ObjectName> = accounts.iter().map(|one| one.key).collect();
        namespaces.iter().for_each(|name| drop(self.namespaces.remove(*name)));
        accounts.iter().for_each(|name| drop(self.accounts.remove(*name)));
        let mut maker = Maker {
            objects: new.0,
            namespaces: std::mem::take(&mut self.namespaces),
            accounts: std::mem::take(&mut self.accounts),
        };
        let mut touched = Touched::new();
        for edit in old.1.pods.edits(&new.1.pods) {
            self.edit_pod(&mut maker, &edit, &mut touched);
        }
        // Pods whose own objects are the same, and inherit others' labels.
        let inherits = |entry: &Entry<ObjectName, Pod>, of: &ObjectName| {
            of.name.is_empty() || account(&entry.1) == of.name
        };
        let no_accounts = accounts.is_empty();
        let all = namespaces.iter().map(|name| ObjectName::new(*name, ""));
        for of in all.chain(accounts.into_iter().cloned()) {
            let first = ObjectName::new(&of.namespace, "");
            let pods = new.1.pods.starting_at(&first);
            let pods = pods.take_while(|entry| entry.0.namespace == of.namespace);
            for entry in pods.filter(|entry| inherits(entry, &of)) {
                self.edit_pod(&mut maker, &Edit::Set(entry.clone()), &mut touched);
            }
        }
        // Profiles are of namespaces and service accounts, too.
        let inherited = !namespaces.is_empty() || !no_accounts;
        if inherited && !self.hosts.is_empty() || are_other_hosts(old, new) {
            self.set_hosts(&mut maker, &new.1.nodes, &mut touched);
        }
        self.nodes = new.1.nodes.clone();
        self.node_labels = new.0.nodes.clone();
        let sets = old.0.sets.differences(&new.0.sets);
        let mut sets: BTreeSet<ObjectName> = sets.iter().map(|one| one.key.clone()).collect();
        let inherits = |name: &&ObjectName| namespaces.contains(&name.namespace);
        sets.extend(self.sets.keys().filter(inherits).cloned());
        sets.iter().for_each(|name| self.set_set(&mut maker, name, &mut touched));
        self.namespaces = maker.namespaces;
        self.accounts = maker.accounts;
        touched
    }

    fn edit_pod(
        &mut self,
        maker: &mut Maker<'_>,
        edit: &Edit<ObjectName, Pod>,
        touched: &mut Touched,
    ) {
        let (Edit::Set(entry) | Edit::Remove(entry)) = edit;
        let known = self.pods.remove(&entry.0);
        // Pods on the network of their host are hosts.
        let stays = matches!(edit, Edit::Set(_)) && !entry.1.host_network;
        if stays {
            let number = known.unwrap_or_else(|| self.number());
            self.pods.insert(ByName(entry.clone()), number);
            let member = Member::Pod(maker.pod_entry(entry));
            self.replace(number, Some(member), touched);
        } else if let Some(number) = known {
            self.replace(number, None, touched);
        }
    }

    /// Makes all hosts anew; those that are the same as before are not touched.
    fn set_hosts(
        &mut self,
        maker: &mut Maker<'_>,
        nodes: &Catalog<String, Node>,
        touched: &mut Touched,
    ) {
        let mut gone = std::mem::take(&mut self.hosts);
        for host in maker.hosts(nodes) {
            let EndpointName::Host(name) = &host.name else { continue };
            let number = gone.remove(name).unwrap_or_else(|| self.number());
            self.hosts.insert(name.clone(), number);
            self.replace(number, Some(Member::Host(Box::new(host))), touched);
        }
        gone.into_values().for_each(|number| self.replace(number, None, touched));
    }

    fn set_set(&mut self, maker: &mut Maker<'_>, name: &ObjectName, touched: &mut Touched) {
        let known = self.sets.remove(name);
        if let Some(set) = maker.objects.sets.get(name) {
            let number = known.unwrap_or_else(|| self.number());
            self.sets.insert(name.clone(), number);
            let member = Member::Set(Box::new(maker.set(name, set)));
            self.replace(number, Some(member), touched);
        } else if let Some(number) = known {
            self.replace(number, None, touched);
        }
    }

    fn number(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        })
    }

    /// Makes a number mean another, or nobody.
    fn replace(&mut self, number: usize, new: Option<Member>, touched: &mut Touched) {
        let old = std::mem::replace(&mut self.all[number], new);
        let new = self.all[number].as_ref();
        if old.as_ref().zip(new).is_some_and(|(old, new)| old.is_alike(new)) {
            return;
        }
        let short = number as u32;
        let label = |member: Option<&Member>, key: &str| member?.label(key).map(str::to_owned);
        for (key, lists) in &mut self.listed {
            let (was, is) = (label(old.as_ref(), key), label(new, key));
            if was == is {
                continue;
            }
            if let Some(list) = was.as_ref().and_then(|was| lists.get_mut(was)) {
                list.binary_search(&short).map(|at| list.remove(at)).ok();
                if list.is_empty() {
                    was.iter().for_each(|was| drop(lists.remove(was)));
                }
            }
            if let Some(is) = is {
                let list = lists.entry(is).or_default();
                list.binary_search(&short).map_err(|at| list.insert(at, short)).err();
            }
        }
        for address in old.iter().flat_map(Member::addresses) {
            self.at.remove(&(*address, short));
        }
        self.at.extend(new.into_iter().flat_map(Member::addresses).map(|one| (*one, short)));
        touched.entry(number).or_insert(old);
    }

    /// Lets go of the numbers of those who are gone, and of what nobody inherits.
    pub fn clean(&mut self, touched: &Touched) {
        let is_gone = |number: &&usize| self.all[**number].is_none();
        self.free.extend(touched.keys().filter(is_gone));
        if self.namespaces.len() + self.accounts.len() > KEPT.max(self.inherited * 2) {
            self.namespaces.retain(|_, labels| Arc::strong_count(labels) > 1);
            self.accounts.retain(|_, labels| Arc::strong_count(labels) > 1);
            self.inherited = self.namespaces.len() + self.accounts.len();
        }
    }

    /// The member of a number.
    pub fn get(&self, number: usize) -> Option<&Member> {
        self.all.get(number)?.as_ref()
    }

    /// All members.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.all.iter().flatten()
    }

    /// The number of a pod that has a network of its own.
    pub fn pod(&self, name: &ObjectName) -> Option<usize> {
        self.pods.get(name).copied()
    }

    /// All host endpoints, by name.
    pub fn hosts(&self) -> impl Iterator<Item = (usize, &Endpoint)> {
        self.hosts.values().filter_map(|number| match self.get(*number)? {
            Member::Host(host) => Some((*number, &**host)),
            Member::Pod(_) | Member::Set(_) => None,
        })
    }

    /// Who has an address of his own.
    pub fn at(&self, address: IpAddr) -> impl Iterator<Item = &Member> {
        let all = self.at.range((address, 0)..=(address, u32::MAX));
        all.filter_map(|(_, number)| self.get(*number as usize))
    }

    /// Whether a selector means an address.
    pub fn means(&self, selector: &Selector, address: IpAddr) -> bool {
        let of_set = || {
            self.sets.values().filter_map(|number| self.get(*number)).any(|set| {
                set.nets().iter().any(|net| net.contains(address)) && selector.selects(set)
            })
        };
        self.at(address).any(|member| selector.selects(member)) || of_set()
    }

    /// The addresses of all nodes whose labels are as a selector says.
    fn nodes(&self, selector: &Selector) -> Ranges {
        let none = BTreeMap::new();
        let selected =
            |name: &String| selector.selects(self.node_labels.get(name).unwrap_or(&none));
        let nodes = self.nodes.iter().filter(|(name, _)| selected(name));
        nodes.flat_map(|(_, node)| node.addresses.iter().copied()).map(Prefix::host).collect()
    }

    /// All addresses that a selector means.
    pub fn meant(&mut self, selector: &Selector) -> Ranges {
        if let Term::Nodes(of) = selector.term() {
            return self.nodes(of);
        }
        self.list(selector);
        let selected: Vec<&Member> = match self.shortest(selector) {
            Some((lists, _)) => {
                let candidates = lists.into_iter().flatten();
                let members = candidates.filter_map(|number| self.get(*number as usize));
                members.filter(|member| selector.selects(*member)).collect()
            }
            None => self.iter().filter(|member| selector.selects(*member)).collect(),
        };
        let own = selected.iter().flat_map(|member| member.addresses());
        let nets = selected.iter().flat_map(|member| member.nets());
        own.copied().map(Prefix::host).chain(nets.copied()).collect()
    }

    /// The fewest lists with all whom a selector can mean, and how many they are.
    fn shortest(&self, selector: &Selector) -> Option<(Vec<&Vec<u32>>, usize)> {
        let required = selector.required().into_iter();
        let found = required.filter_map(|(key, values)| {
            let lists = self.listed.get(key)?;
            let found: Vec<_> = values.iter().filter_map(|value| lists.get(*value)).collect();
            let len = found.iter().map(|list| list.len()).sum();
            Some((found, len))
        });
        found.min_by_key(|(_, len)| *len)
    }

    /// Lists members by what a selector demands, unless few are left anyway.
    fn list(&mut self, selector: &Selector) {
        for (key, _) in selector.required() {
            if self.shortest(selector).is_some_and(|(_, len)| len <= FEW) {
                return;
            }
            if !self.listed.contains_key(key) {
                let mut lists: HashMap<String, Vec<u32>> = HashMap::new();
                for (number, member) in (0u32..).zip(&self.all) {
                    let Some(value) = member.as_ref().and_then(|one| one.label(key)) else {
                        continue;
                    };
                    match lists.get_mut(value) {
                        Some(list) => list.push(number),
                        None => drop(lists.insert(value.into(), vec![number])),
                    }
                }
                self.listed.insert(key.into(), lists);
            }
        }
    }
}
