//! The RIB: every candidate route of every table, and which of them is in force.
//!
//! Nodes are prefixes, candidates hang off them and off the target they lead to, so that both "who
//! competes for this prefix" and "who uses this target" are short walks. A million routes take about
//! 90 octets each.

use crate::hash;
use crate::key::{NetKey, RibId};
use crate::slab::{NIL, Slab};
use hashbrown::HashTable;
use std::net::IpAddr;

/// Who stands behind a candidate; of equal metrics the first listed wins.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// An intent route; `data` is its entry.
    Intent,
    /// A route of the kernel's table local; `data` is its body.
    KernelLocal,
    /// A route of a routing suite, told over FPM; `data` is its body. The suite mostly gives its
    /// routes to the kernel, too: of the two equal ones, its own is followed.
    Fpm,
    /// A route of any other kernel table; `data` is its body.
    Kernel,
    /// An address of this host that the kernel's tables may lack; `data` is its link.
    Own,
    /// Broadcast address of a link; `data` is the link.
    Broadcast,
    /// Connected prefix of a link whose VRF the kernel does not know; `data` is the link.
    Connected,
    /// A resolved neighbor on a connected prefix; `data` is its link.
    Neighbor,
}

/// What is compared before metrics.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Class {
    /// Addresses of this host.
    Host,
    /// Connected prefixes.
    Connected,
    /// All other routes.
    Route,
    /// Host routes of neighbors: only where nobody else has a candidate.
    Neighbor,
}

/// What a candidate is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offer {
    /// Compared first.
    pub class: Class,
    /// Compared next: lower wins.
    pub metric: u32,
    /// Compared next.
    pub source: Source,
    /// Compared last.
    pub instance: u32,
    /// What [`Source`] says.
    pub data: u32,
    /// The target the route leads to.
    pub target: u32,
}

impl Offer {
    fn rank(&self) -> (Class, u32, Source, u32) {
        (self.class, self.metric, self.source, self.instance)
    }
}

#[derive(Debug)]
struct Candidate {
    node: u32,
    offer: Offer,
    next: u32,
    /// Neighbors in the target's list.
    before: u32,
    after: u32,
    contested: bool,
}

/// A prefix with candidates.
#[derive(Debug)]
pub struct Node {
    /// The prefix.
    pub key: NetKey,
    first: u32,
    /// Target in force, or [`NIL`].
    pub force: u32,
    dirty: bool,
    /// Whether this plan already looked at the node.
    pub touched: bool,
}

/// Lists of the candidates that lead to one target.
#[derive(Clone, Copy, Debug)]
struct Users {
    solo: u32,
    contested: u32,
    count: u32,
}

/// All nodes and candidates.
#[derive(Debug, Default)]
pub struct Rib {
    nodes: Slab<Node>,
    /// Nodes by the hash of their key, which stands beside: growing looks at no node.
    index: HashTable<(u32, u32)>,
    candidates: Slab<Candidate>,
    users: Vec<Users>,
    lengths: Vec<[Box<[u32]>; 2]>,
    dirty: Vec<u32>,
}

impl Rib {
    /// The node of a prefix.
    pub fn find(&self, key: NetKey) -> Option<u32> {
        self.find_hashed(key, hash_of(key))
    }

    fn find_hashed(&self, key: NetKey, hash: u32) -> Option<u32> {
        let same = |&(other, node): &(u32, u32)| other == hash && self.key(node) == Some(key);
        self.index.find(spread(hash), same).map(|(_, node)| *node)
    }

    fn key(&self, node: u32) -> Option<NetKey> {
        self.nodes.get(node).map(|node| node.key)
    }

    /// A node by index.
    pub fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(node)
    }

    /// A node by index.
    pub fn node_mut(&mut self, node: u32) -> Option<&mut Node> {
        self.nodes.get_mut(node)
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = (u32, &Node)> {
        self.nodes.iter()
    }

    fn ensure(&mut self, key: NetKey) -> u32 {
        let hash = hash_of(key);
        if let Some(node) = self.find_hashed(key, hash) {
            return node;
        }
        self.insert(key, hash)
    }

    fn insert(&mut self, key: NetKey, hash: u32) -> u32 {
        let node =
            self.nodes.insert(Node { key, first: NIL, force: NIL, dirty: false, touched: false });
        self.index.insert_unique(spread(hash), (hash, node), |(hash, _)| spread(*hash));
        *self.length_mut(key) += 1;
        node
    }

    fn length_mut(&mut self, key: NetKey) -> &mut u32 {
        let rib = usize::from(key.rib);
        while self.lengths.len() <= rib {
            self.lengths.push([vec![0; 33].into(), vec![0; 129].into()]);
        }
        &mut self.lengths[rib][usize::from(key.v6)][usize::from(key.len)]
    }

    /// Forgets a node that has no candidates and is not in force.
    pub fn drop_if_empty(&mut self, node: u32) {
        let Some(key) =
            self.nodes.get(node).filter(|n| n.first == NIL && n.force == NIL).map(|n| n.key)
        else {
            return;
        };
        if let Ok(entry) = self.index.find_entry(spread(hash_of(key)), |(_, other)| *other == node)
        {
            entry.remove();
        }
        self.nodes.remove(node);
        *self.length_mut(key) -= 1;
    }

    /// Marks a node for the next plan.
    pub fn mark(&mut self, node: u32) {
        if let Some(cell) = self.nodes.get_mut(node)
            && !cell.dirty
        {
            cell.dirty = true;
            self.dirty.push(node);
        }
    }

    /// Takes the marked nodes.
    pub fn take_dirty(&mut self) -> Vec<u32> {
        let dirty = std::mem::take(&mut self.dirty);
        for node in &dirty {
            if let Some(node) = self.nodes.get_mut(*node) {
                node.dirty = false;
            }
        }
        dirty
    }

    /// Adds a candidate and marks its node.
    pub fn add(&mut self, key: NetKey, offer: Offer) -> u32 {
        let node = self.ensure(key);
        self.add_to(node, offer)
    }

    /// Adds a candidate of a prefix that was looked up before, and marks its node.
    pub fn add_found(&mut self, key: NetKey, node: Option<u32>, offer: Offer) -> u32 {
        let node = node.unwrap_or_else(|| self.insert(key, hash_of(key)));
        self.add_to(node, offer)
    }

    fn add_to(&mut self, node: u32, offer: Offer) -> u32 {
        let next = self.nodes.get(node).map_or(NIL, |node| node.first);
        let contested = next != NIL;
        let candidate = Candidate { node, offer, next, before: NIL, after: NIL, contested };
        let index = self.candidates.insert(candidate);
        if let Some(node) = self.nodes.get_mut(node) {
            node.first = index;
        }
        self.enlist(index);
        self.contest(next, true);
        self.mark(node);
        index
    }

    /// Removes a candidate and marks its node. Returns what it was.
    pub fn remove(&mut self, index: u32) -> Option<Offer> {
        self.delist(index);
        let gone = self.candidates.remove(index)?;
        let first = self.nodes.get(gone.node).map_or(NIL, |node| node.first);
        if first == index {
            if let Some(node) = self.nodes.get_mut(gone.node) {
                node.first = gone.next;
            }
        } else {
            let mut at = first;
            while let Some(candidate) = self.candidates.get_mut(at) {
                if candidate.next == index {
                    candidate.next = gone.next;
                    break;
                }
                at = candidate.next;
            }
        }
        let left = self.nodes.get(gone.node).map_or(NIL, |node| node.first);
        if self.candidates.get(left).is_some_and(|last| last.next == NIL) {
            self.contest(left, false);
        }
        self.mark(gone.node);
        Some(gone.offer)
    }

    /// Moves a candidate to the list it belongs to now.
    fn contest(&mut self, index: u32, contested: bool) {
        if self.candidates.get(index).is_none_or(|c| c.contested == contested) {
            return;
        }
        self.delist(index);
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.contested = contested;
        }
        self.enlist(index);
    }

    fn head(&mut self, target: u32, contested: bool) -> &mut u32 {
        let at = target as usize;
        if self.users.len() <= at {
            self.users.resize(at + 1, Users { solo: NIL, contested: NIL, count: 0 });
        }
        let users = &mut self.users[at];
        if contested { &mut users.contested } else { &mut users.solo }
    }

    fn enlist(&mut self, index: u32) {
        let Some((target, contested)) =
            self.candidates.get(index).map(|c| (c.offer.target, c.contested))
        else {
            return;
        };
        let after = std::mem::replace(self.head(target, contested), index);
        self.users[target as usize].count += 1;
        if let Some(candidate) = self.candidates.get_mut(index) {
            (candidate.before, candidate.after) = (NIL, after);
        }
        if let Some(second) = self.candidates.get_mut(after) {
            second.before = index;
        }
    }

    fn delist(&mut self, index: u32) {
        let Some((target, contested, before, after)) =
            self.candidates.get(index).map(|c| (c.offer.target, c.contested, c.before, c.after))
        else {
            return;
        };
        match self.candidates.get_mut(before) {
            Some(before) => before.after = after,
            None => *self.head(target, contested) = after,
        }
        if let Some(after) = self.candidates.get_mut(after) {
            after.before = before;
        }
        self.users[target as usize].count -= 1;
    }

    /// The candidates of a node, in no order, with their indices.
    pub fn candidates(&self, node: u32) -> impl Iterator<Item = (u32, &Offer)> {
        let mut at = self.nodes.get(node).map_or(NIL, |node| node.first);
        std::iter::from_fn(move || {
            let candidate = self.candidates.get(at)?;
            let index = std::mem::replace(&mut at, candidate.next);
            Some((index, &candidate.offer))
        })
    }

    /// The candidates of a node, best first.
    pub fn ranked(&self, node: u32) -> Vec<&Offer> {
        let mut offers: Vec<_> = self.candidates(node).map(|(_, offer)| offer).collect();
        offers.sort_unstable_by_key(|offer| offer.rank());
        offers
    }

    /// The only candidate of a node, if it has just one.
    pub fn only(&self, node: u32) -> Option<&Offer> {
        let candidate = self.candidates.get(self.nodes.get(node)?.first)?;
        (candidate.next == NIL).then_some(&candidate.offer)
    }

    /// Whether anybody but a neighbor competes for the prefix.
    pub fn is_explicit(&self, node: u32) -> bool {
        self.candidates(node).any(|(_, offer)| offer.class != Class::Neighbor)
    }

    /// What a candidate offers.
    pub fn offer(&self, candidate: u32) -> Option<&Offer> {
        self.candidates.get(candidate).map(|candidate| &candidate.offer)
    }

    /// What a candidate is offered for.
    pub fn key_of(&self, candidate: u32) -> Option<NetKey> {
        self.node(self.candidates.get(candidate)?.node).map(|node| node.key)
    }

    /// How many candidates lead to a target.
    pub fn users(&self, target: u32) -> u32 {
        self.users.get(target as usize).map_or(0, |users| users.count)
    }

    /// Nodes with a candidate that leads to a target; with `contested` only those where another
    /// candidate competes.
    pub fn nodes_of(&self, target: u32, contested: bool) -> impl Iterator<Item = u32> {
        let users = self.users.get(target as usize);
        let list = |head: u32| {
            let mut at = head;
            std::iter::from_fn(move || {
                let candidate = self.candidates.get(at)?;
                at = candidate.after;
                Some(candidate.node)
            })
        };
        let solo = users.filter(|_| !contested).map_or(NIL, |users| users.solo);
        list(solo).chain(list(users.map_or(NIL, |users| users.contested)))
    }

    /// Nodes that cover an address, longest prefix first.
    pub fn covers(&self, rib: RibId, address: IpAddr) -> impl Iterator<Item = u32> {
        let v6 = address.is_ipv6();
        let lengths = self.lengths.get(usize::from(rib)).map(|both| &*both[usize::from(v6)]);
        lengths
            .into_iter()
            .flat_map(|lengths| lengths.iter().enumerate().rev())
            .filter(|(_, count)| **count > 0)
            .filter_map(move |(len, _)| self.find(NetKey::around(rib, address, len as u8)))
    }

    /// Prefixes with candidates in a RIB, by family.
    pub fn count(&self, rib: RibId, v6: bool) -> u32 {
        self.lengths.get(usize::from(rib)).map_or(0, |both| both[usize::from(v6)].iter().sum())
    }
}

/// Hash of a key: half of it is enough for as many nodes as numbers can name.
fn hash_of(key: NetKey) -> u32 {
    (hash::of(&key) >> 32) as u32
}

/// The table takes a place from the low bits and a tag from the high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}
