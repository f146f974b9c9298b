//! What a reader sees: the memory tables over the index, as one.
//!
//! Guarantees: a view is a prefix of the journal, whole batches only; a scan sees the view that it was begun on, holds no
//! lock, and reads what it is asked for. Must not know: how a view comes about.

use std::cmp::Ordering;
use std::sync::Arc;

use super::index::{Generation, Rows};
use super::table::{Table, Walk};
use crate::store::error::StoreResult;
use crate::store::kv::{Entry, Scan};
use crate::store::range::{Direction, KeyRange};

/// The newest on top: what one layer does not know, the next one is asked for.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// What is not in a checkpoint.
    pub(super) active: Table,
    /// What is being brought into the index.
    pub(super) frozen: Option<Table>,
    pub(super) index: Arc<Generation>,
    /// Where the last record that is in the view ends.
    pub(super) end: u64,
}

/// What the memory tables know of a key.
pub(super) enum InMemory {
    Value(Vec<u8>, u64),
    Deleted,
    /// The index is to be asked.
    Unknown(Arc<Generation>),
}

impl InMemory {
    /// The key's value and the offset it came from.
    pub(super) fn resolve(self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, u64)>> {
        match self {
            Self::Value(value, origin) => Ok(Some((value, origin))),
            Self::Deleted => Ok(None),
            Self::Unknown(index) => index.get(key),
        }
    }
}

impl View {
    pub(super) fn look_up(&self, key: &[u8]) -> InMemory {
        let version = self.active.get(key).or_else(|| self.frozen.as_ref()?.get(key));
        match version {
            None => InMemory::Unknown(Arc::clone(&self.index)),
            Some(version) => match version.value() {
                Some(value) => InMemory::Value(value.to_vec(), version.origin()),
                None => InMemory::Deleted,
            },
        }
    }

    pub(super) fn scan(
        self,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> StoreResult<Scan<'static>> {
        if range.is_empty() || limit == 0 {
            return Ok(Scan::new(std::iter::empty()));
        }
        let merge = Merge {
            active: self.active.walk(range, direction),
            frozen: self.frozen.map(|frozen| frozen.walk(range, direction)),
            rows: self.index.rows(range, direction)?,
            direction,
            left: limit,
        };
        Ok(Scan::new(merge))
    }
}

/// The entries of all layers in order.
struct Merge {
    active: Walk,
    frozen: Option<Walk>,
    rows: Rows,
    direction: Direction,
    left: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    Active,
    Frozen,
    Index,
}

impl Merge {
    /// The layer whose next key comes first; of several with the same key the topmost.
    fn first(&self) -> Option<Layer> {
        let active = self.active.peek().map(|version| (Layer::Active, version.key()));
        let frozen = self.frozen.as_ref().and_then(Walk::peek).map(|version| (Layer::Frozen, version.key()));
        let index = self.rows.peek().map(|key| (Layer::Index, key));
        let mut first = active;
        for (layer, key) in [frozen, index].into_iter().flatten() {
            let comes_first = match first {
                None => true,
                Some((_, other)) => self.order(key, other) == Ordering::Less,
            };
            if comes_first {
                first = Some((layer, key));
            }
        }
        first.map(|(layer, _)| layer)
    }

    fn order(&self, one: &[u8], other: &[u8]) -> Ordering {
        match self.direction {
            Direction::Forward => one.cmp(other),
            Direction::Reverse => other.cmp(one),
        }
    }

    fn next_entry(&mut self) -> StoreResult<Option<Entry>> {
        loop {
            let Some(layer) = self.first() else { return Ok(None) };
            let entry = match layer {
                Layer::Active => of_walk(&self.active),
                Layer::Frozen => self.frozen.as_ref().and_then(of_walk),
                Layer::Index => {
                    let entry = self.rows.entry()?;
                    self.rows.skip()?;
                    return Ok(entry);
                }
            };
            self.skip(layer)?;
            if entry.is_some() {
                return Ok(entry);
            }
        }
    }

    /// Goes over the next key of this layer of memory, in the layers below too: they are outdated there.
    fn skip(&mut self, layer: Layer) -> StoreResult<()> {
        let walk = if layer == Layer::Active { Some(&self.active) } else { self.frozen.as_ref() };
        let Some(version) = walk.and_then(Walk::peek) else { return Ok(()) };
        if self.rows.peek() == Some(version.key()) {
            self.rows.skip()?;
        }
        if let Some(frozen) = &mut self.frozen
            && (layer == Layer::Frozen || is_at(frozen, version_key(&self.active)))
        {
            frozen.skip();
        }
        if layer == Layer::Active {
            self.active.skip();
        }
        Ok(())
    }
}

fn version_key(walk: &Walk) -> Option<&[u8]> {
    walk.peek().map(super::table::Version::key)
}

fn is_at(walk: &Walk, key: Option<&[u8]>) -> bool {
    version_key(walk) == key
}

/// The entry that the walk is at; `None` where it is a deleted key.
fn of_walk(walk: &Walk) -> Option<Entry> {
    let version = walk.peek()?;
    version.value().map(|value| Entry::new(version.key().to_vec(), value.to_vec()))
}

impl Iterator for Merge {
    type Item = StoreResult<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let next = self.next_entry().transpose();
        if !matches!(next, Some(Ok(_))) {
            // At the end, and after an error, nothing comes any more.
            self.left = 0;
        }
        next
    }
}
