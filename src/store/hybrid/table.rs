//! The memory table: an ordered tree of versions whose copies share what they have in common.
//!
//! Guarantees: a copy is taken in constant time and never changes; putting into a table copies only nodes that another
//! copy still holds; nothing is ever taken out: a deleted key has an entry that says so. Must not know: locks, the index.

use std::ops::Bound;
use std::sync::Arc;

use super::batch_record::OpPlace;
use crate::store::range::{Direction, KeyRange};

/// The most entries of a leaf and the most children of an inner node.
const NODE_MAX: usize = 32;

/// What the table says of one key. Key and value lie in the record of the batch, which all its entries share.
#[derive(Clone, Debug)]
pub(super) struct Version {
    record: Arc<[u8]>,
    place: OpPlace,
    /// The offset of the journal record.
    origin: u64,
}

impl Version {
    pub(super) fn new(record: Arc<[u8]>, place: OpPlace, origin: u64) -> Self {
        Self { record, place, origin }
    }

    pub(super) fn key(&self) -> &[u8] {
        let key_at = self.place.key_at as usize;
        &self.record[key_at..key_at + self.place.key_bytes as usize]
    }

    /// `None`: the key has none any more.
    pub(super) fn value(&self) -> Option<&[u8]> {
        let value_at = self.place.key_at as usize + self.place.key_bytes as usize;
        self.place.value_bytes.map(|bytes| &self.record[value_at..value_at + bytes as usize])
    }

    pub(super) fn origin(&self) -> u64 {
        self.origin
    }
}

/// An ordered table of versions.
#[derive(Clone, Debug)]
pub(super) struct Table {
    root: Arc<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Vec<Version>),
    /// The first child has keys below the first version's, each other one from the version before it on.
    Inner {
        bounds: Vec<Version>,
        children: Vec<Arc<Node>>,
    },
}

/// The right half of a node that grew too large, and its lowest key.
type Split = Option<(Version, Arc<Node>)>;

impl Table {
    pub(super) fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())) }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(&*self.root, Node::Leaf(versions) if versions.is_empty())
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Version> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(versions) => {
                    let at = versions.binary_search_by(|version| version.key().cmp(key)).ok()?;
                    return versions.get(at);
                }
                Node::Inner { bounds, children } => node = &children[child_of(bounds, key)],
            }
        }
    }

    /// The version of a key in place of the one there was.
    pub(super) fn put(&mut self, version: Version) {
        if let Some((bound, right)) = put(&mut self.root, version) {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            self.root = Arc::new(Node::Inner { bounds: vec![bound], children: vec![left, right] });
        }
    }

    /// The versions of a range, in this direction.
    pub(super) fn walk(&self, range: &KeyRange, direction: Direction) -> Walk {
        let end = match direction {
            Direction::Forward => range.upper().map(<[u8]>::to_vec),
            Direction::Reverse => range.lower().map(<[u8]>::to_vec),
        };
        let mut walk = Walk { path: Vec::new(), leaf: Arc::clone(&self.root), at: 0, end, direction };
        walk.descend_to(range);
        walk.settle();
        walk
    }

    /// All versions, from the lowest key up.
    pub(super) fn walk_all(&self) -> Walk {
        self.walk(&KeyRange::all(), Direction::Forward)
    }
}

fn child_of(bounds: &[Version], key: &[u8]) -> usize {
    bounds.partition_point(|bound| bound.key() <= key)
}

fn put(node: &mut Arc<Node>, version: Version) -> Split {
    match Arc::make_mut(node) {
        Node::Leaf(versions) => {
            match versions.binary_search_by(|other| other.key().cmp(version.key())) {
                Ok(at) => versions[at] = version,
                Err(at) => {
                    if versions.len() < NODE_MAX {
                        versions.insert(at, version);
                        return None;
                    }
                    return Some(split_leaf(versions, at, version));
                }
            }
            None
        }
        Node::Inner { bounds, children } => {
            let at = child_of(bounds, version.key());
            let (bound, right) = put(&mut children[at], version)?;
            bounds.insert(at, bound);
            children.insert(at + 1, right);
            (children.len() > NODE_MAX).then(|| split_inner(bounds, children))
        }
    }
}

/// Keys that come in order fill their leaves: the new leaf begins with the new version where that is the last.
fn split_leaf(versions: &mut Vec<Version>, at: usize, version: Version) -> (Version, Arc<Node>) {
    let middle = if at == versions.len() { at } else { versions.len() / 2 };
    let mut right = Vec::with_capacity(NODE_MAX);
    right.extend(versions.drain(middle..));
    if at < middle {
        versions.insert(at, version)
    } else {
        right.insert(at - middle, version)
    }
    let bound = right.first().expect("the right half has the new version, or half of the old ones").clone();
    (bound, Arc::new(Node::Leaf(right)))
}

fn split_inner(bounds: &mut Vec<Version>, children: &mut Vec<Arc<Node>>) -> (Version, Arc<Node>) {
    let middle = children.len() / 2;
    let right = Node::Inner { bounds: bounds.split_off(middle), children: children.split_off(middle) };
    let bound = bounds.pop().expect("a bound between the halves");
    (bound, Arc::new(right))
}

/// A way over the versions of a range. It holds the nodes that it goes over, and no lock.
#[derive(Debug)]
pub(super) struct Walk {
    /// The inner nodes above the leaf, and which child was taken.
    path: Vec<(Arc<Node>, usize)>,
    leaf: Arc<Node>,
    /// The version that is next: forward its index, in reverse its index and one.
    at: usize,
    end: Bound<Vec<u8>>,
    direction: Direction,
}

impl Walk {
    /// The next version, without going over it.
    pub(super) fn peek(&self) -> Option<&Version> {
        let Node::Leaf(versions) = &*self.leaf else { return None };
        let version = match self.direction {
            Direction::Forward => versions.get(self.at)?,
            Direction::Reverse => versions.get(self.at.checked_sub(1)?)?,
        };
        let is_inside = match (&self.end, self.direction) {
            (Bound::Unbounded, _) => true,
            (Bound::Included(end), Direction::Forward) => version.key() <= end.as_slice(),
            (Bound::Excluded(end), Direction::Forward) => version.key() < end.as_slice(),
            (Bound::Included(end), Direction::Reverse) => version.key() >= end.as_slice(),
            (Bound::Excluded(end), Direction::Reverse) => version.key() > end.as_slice(),
        };
        is_inside.then_some(version)
    }

    /// Goes over the next version.
    pub(super) fn skip(&mut self) {
        match self.direction {
            Direction::Forward => self.at += 1,
            Direction::Reverse => self.at = self.at.saturating_sub(1),
        }
        self.settle();
    }

    /// Down to where the range begins in this direction.
    fn descend_to(&mut self, range: &KeyRange) {
        let start = match self.direction {
            Direction::Forward => range.lower(),
            Direction::Reverse => range.upper(),
        };
        loop {
            let node = Arc::clone(&self.leaf);
            match &*node {
                Node::Inner { bounds, children } => {
                    let child = match start {
                        Bound::Included(key) | Bound::Excluded(key) => child_of(bounds, key),
                        Bound::Unbounded if self.direction == Direction::Forward => 0,
                        Bound::Unbounded => children.len() - 1,
                    };
                    self.leaf = Arc::clone(&children[child]);
                    self.path.push((node, child));
                }
                Node::Leaf(versions) => {
                    self.at = match (start, self.direction) {
                        (Bound::Unbounded, Direction::Forward) => 0,
                        (Bound::Unbounded, Direction::Reverse) => versions.len(),
                        (Bound::Included(key), Direction::Forward)
                        | (Bound::Excluded(key), Direction::Reverse) => {
                            versions.partition_point(|version| version.key() < key)
                        }
                        (Bound::Excluded(key), Direction::Forward)
                        | (Bound::Included(key), Direction::Reverse) => {
                            versions.partition_point(|version| version.key() <= key)
                        }
                    };
                    return;
                }
            }
        }
    }

    /// On to the next leaf when this one is used up.
    fn settle(&mut self) {
        loop {
            let Node::Leaf(versions) = &*self.leaf else { return };
            let used_up = match self.direction {
                Direction::Forward => self.at >= versions.len(),
                Direction::Reverse => self.at == 0,
            };
            if !used_up || !self.enter_next_leaf() {
                return;
            }
        }
    }

    /// `false` when there is none.
    fn enter_next_leaf(&mut self) -> bool {
        let next = loop {
            let Some((node, child)) = self.path.pop() else { return false };
            let Node::Inner { children, .. } = &*node else { return false };
            let next = match self.direction {
                Direction::Forward => Some(child + 1).filter(|next| *next < children.len()),
                Direction::Reverse => child.checked_sub(1),
            };
            if let Some(next) = next {
                let below = Arc::clone(&children[next]);
                self.path.push((node, next));
                break below;
            }
        };
        self.leaf = next;
        loop {
            let node = Arc::clone(&self.leaf);
            match &*node {
                Node::Inner { children, .. } => {
                    let child = match self.direction {
                        Direction::Forward => 0,
                        Direction::Reverse => children.len() - 1,
                    };
                    self.leaf = Arc::clone(&children[child]);
                    self.path.push((node, child));
                }
                Node::Leaf(versions) => {
                    self.at = match self.direction {
                        Direction::Forward => 0,
                        Direction::Reverse => versions.len(),
                    };
                    return true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
