//! The memory table: an ordered tree of versions whose copies share what they have in common.
//!
//! Guarantees: a copy is taken in constant time and never changes; putting into a table copies only nodes that another
//! copy still holds; nothing is ever taken out: a deleted key has an entry that says so. Must not know: locks, the index.

mod row;
mod walk;

use std::sync::Arc;

use row::Row;
pub(super) use walk::Walk;

use super::batch_record::OpPlace;
use crate::store::range::{Direction, KeyRange};
use crate::store::scan::EntryRef;

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

    /// `None` for a deleted key.
    pub(super) fn entry(&self) -> Option<EntryRef<'_>> {
        self.value().map(|value| EntryRef::new(self.key(), value))
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
    Leaf(Row),
    /// The first child has keys below the first bound's, each other one from the bound before it on.
    Inner {
        bounds: Row,
        children: Vec<Arc<Node>>,
    },
}

/// The right half of a node that grew too large, and its lowest key.
type Split = Option<(Version, Arc<Node>)>;

impl Table {
    pub(super) fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(Row::new())) }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(&*self.root, Node::Leaf(row) if row.len() == 0)
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Version> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(row) => {
                    let (at, is_there) = row.find(key);
                    return row.versions().get(at).filter(|_| is_there);
                }
                Node::Inner { bounds, children } => node = &children[bounds.up_to(key)],
            }
        }
    }

    /// The version of a key in place of the one there was.
    pub(super) fn put(&mut self, version: Version) {
        if let Some((bound, right)) = put(&mut self.root, version, true) {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Row::new())));
            let mut bounds = Row::new();
            bounds.insert(0, bound);
            self.root = Arc::new(Node::Inner { bounds, children: vec![left, right] });
        }
    }

    /// The versions of a range, in this direction.
    pub(super) fn walk(&self, range: &KeyRange, direction: Direction) -> Walk {
        Walk::new(&self.root, range, direction)
    }

    /// All versions, from the lowest key up.
    pub(super) fn walk_all(&self) -> Walk {
        self.walk(&KeyRange::all(), Direction::Forward)
    }
}

/// `is_last`: no node on this level has higher keys.
fn put(node: &mut Arc<Node>, version: Version, is_last: bool) -> Split {
    match Arc::make_mut(node) {
        Node::Leaf(row) => {
            match row.find(version.key()) {
                (at, true) => row.replace(at, version),
                (at, false) if row.len() < NODE_MAX => row.insert(at, version),
                (at, false) => return Some(split_leaf(row, at, version, is_last)),
            }
            None
        }
        Node::Inner { bounds, children } => {
            let at = bounds.up_to(version.key());
            let is_last = is_last && at + 1 == children.len();
            let (bound, right) = put(&mut children[at], version, is_last)?;
            bounds.insert(at, bound);
            children.insert(at + 1, right);
            (children.len() > NODE_MAX).then(|| split_inner(bounds, children))
        }
    }
}

/// Keys that come in order fill their leaves: the new leaf begins with the new version where that is the last of all. In
/// front of other leaves the full one would stay full, and keys that fall would get a leaf each.
fn split_leaf(row: &mut Row, at: usize, version: Version, is_last: bool) -> (Version, Arc<Node>) {
    let middle = if is_last && at == row.len() { at } else { row.len() / 2 };
    let mut right = row.split_off(middle);
    if at < middle {
        row.insert(at, version)
    } else {
        right.insert(at - middle, version)
    }
    let bound =
        right.versions().first().expect("the right half has the new version, or half of the old ones");
    (bound.clone(), Arc::new(Node::Leaf(right)))
}

fn split_inner(bounds: &mut Row, children: &mut Vec<Arc<Node>>) -> (Version, Arc<Node>) {
    let middle = children.len() / 2;
    let right = Node::Inner { bounds: bounds.split_off(middle), children: children.split_off(middle) };
    let bound = bounds.pop().expect("a bound between the halves");
    (bound, Arc::new(right))
}

#[cfg(test)]
mod tests;
