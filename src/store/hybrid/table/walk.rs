//! Going over the versions of a range, in either direction.

use std::ops::{Bound, Range};
use std::sync::Arc;

use super::row::Row;
use super::{Node, Version};
use crate::store::range::{Direction, KeyRange};

/// A way over the versions of a range. It holds the nodes that it goes over, and no lock.
#[derive(Debug)]
pub(in crate::store::hybrid) struct Walk {
    /// The inner nodes above the leaf, and which child was taken.
    path: Vec<(Arc<Node>, usize)>,
    leaf: Arc<Node>,
    /// The versions of the leaf that are inside the range and were not gone over.
    left: Range<usize>,
    end: Bound<Vec<u8>>,
    direction: Direction,
}

impl Walk {
    pub(super) fn new(root: &Arc<Node>, range: &KeyRange, direction: Direction) -> Self {
        let (begin, end) = match direction {
            Direction::Forward => (range.lower(), range.upper()),
            Direction::Reverse => (range.upper(), range.lower()),
        };
        let end = end.map(<[u8]>::to_vec);
        let mut walk = Self { path: Vec::new(), leaf: Arc::clone(root), left: 0..0, end, direction };
        walk.descend(begin);
        walk.settle();
        walk
    }

    /// The next version, without going over it.
    pub(in crate::store::hybrid) fn peek(&self) -> Option<&Version> {
        if self.left.is_empty() {
            return None;
        }
        let at = match self.direction {
            Direction::Forward => self.left.start,
            Direction::Reverse => self.left.end - 1,
        };
        versions(&self.leaf).get(at)
    }

    /// Goes over the next version.
    pub(in crate::store::hybrid) fn skip(&mut self) {
        match self.direction {
            Direction::Forward => self.left.next(),
            Direction::Reverse => self.left.next_back(),
        };
        if self.left.is_empty() {
            self.settle();
        }
    }

    /// Down from the present node to where the range begins in this direction, or as far back as the node goes.
    fn descend(&mut self, begin: Bound<&[u8]>) {
        loop {
            let (bounds, children) = match &*self.leaf {
                Node::Inner { bounds, children } => (bounds, children),
                Node::Leaf(row) => {
                    self.left = self.inside(row, begin);
                    return;
                }
            };
            let child = match begin {
                Bound::Included(key) | Bound::Excluded(key) => bounds.up_to(key),
                Bound::Unbounded if self.direction == Direction::Forward => 0,
                Bound::Unbounded => children.len() - 1,
            };
            let below = Arc::clone(&children[child]);
            self.path.push((std::mem::replace(&mut self.leaf, below), child));
        }
    }

    /// The versions of a leaf from there to the end of the range.
    fn inside(&self, row: &Row, begin: Bound<&[u8]>) -> Range<usize> {
        let end = self.end.as_ref().map(Vec::as_slice);
        let (lower, upper) = match self.direction {
            Direction::Forward => (begin, end),
            Direction::Reverse => (end, begin),
        };
        let from = match lower {
            Bound::Unbounded => 0,
            Bound::Included(key) => row.find(key).0,
            Bound::Excluded(key) => row.up_to(key),
        };
        let to = match upper {
            Bound::Unbounded => row.len(),
            Bound::Included(key) => row.up_to(key),
            Bound::Excluded(key) => row.find(key).0,
        };
        from..to
    }

    /// On to the next leaf when this one is used up.
    fn settle(&mut self) {
        while self.left.is_empty() && self.is_open_ended() && self.enter_next_leaf() {}
    }

    /// Whether the range goes on behind the leaf: it ends inside where not everything up to the leaf's edge is in it.
    fn is_open_ended(&self) -> bool {
        let edge = match self.direction {
            Direction::Forward => versions(&self.leaf).len(),
            Direction::Reverse => 0,
        };
        let reached = match self.direction {
            Direction::Forward => self.left.end,
            Direction::Reverse => self.left.start,
        };
        reached == edge
    }

    /// `false` when there is none.
    fn enter_next_leaf(&mut self) -> bool {
        while let Some((node, child)) = self.path.pop() {
            let Node::Inner { children, .. } = &*node else { return false };
            let next = match self.direction {
                Direction::Forward => Some(child + 1).filter(|next| *next < children.len()),
                Direction::Reverse => child.checked_sub(1),
            };
            if let Some(next) = next {
                self.leaf = Arc::clone(&children[next]);
                self.path.push((node, next));
                self.descend(Bound::Unbounded);
                return true;
            }
        }
        false
    }
}

/// None of an inner node: a walk stands on leaves.
fn versions(leaf: &Node) -> &[Version] {
    match leaf {
        Node::Leaf(row) => row.versions(),
        Node::Inner { .. } => &[],
    }
}
