//! What a reader sees: the memory tables over the index, as one.
//!
//! Guarantees: a view is a prefix of the journal, whole batches only; a scan sees the view that it was begun on, holds no
//! lock, and reads what it is asked for. Must not know: how a view comes about.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use super::head::{head, shared_bytes};
use super::index::{Generation, Rows};
use super::table::{Table, Version, Walk};
use crate::journal::Receipt;
use crate::store::error::StoreResult;
use crate::store::range::{Direction, KeyRange};
use crate::store::scan::{Entries, EntryRef, Scan};

/// The newest on top: what one layer does not know, the next one is asked for.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// What is not in a checkpoint.
    pub(super) active: Table,
    /// What is being brought into the index.
    pub(super) frozen: Option<Table>,
    pub(super) index: Arc<Generation>,
    /// Where the last record that is in the view ends, and that record.
    pub(super) end: u64,
    pub(super) last: Option<Receipt>,
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
            return Ok(Scan::empty());
        }
        Ok(Scan::over(Merge {
            active: self.active.walk(range, direction),
            frozen: self.frozen.map(|frozen| frozen.walk(range, direction)),
            rows: self.index.rows(range, direction)?,
            order: Order::of(range, direction),
            given: None,
            left: limit,
        }))
    }
}

/// The entries of all layers in order.
struct Merge {
    active: Walk,
    frozen: Option<Walk>,
    rows: Rows,
    order: Order,
    /// The layer whose next entry is the one that was given last: it is gone over when another one is asked for.
    given: Option<Layer>,
    left: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    Active,
    Frozen,
    Index,
}

impl Merge {
    /// Goes to the next entry; `false` at the end.
    fn advance(&mut self) -> StoreResult<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        if let Some(given) = self.given.take() {
            self.go_over(given)?;
        }
        while let Some(layer) = self.first()? {
            if self.version(layer).is_some_and(|version| version.value().is_none()) {
                self.go_over(layer)?;
                continue;
            }
            self.given = Some(layer);
            return Ok(true);
        }
        Ok(false)
    }

    /// The layer whose next key comes first; of several with the same key the topmost, and the others go over theirs:
    /// it is outdated.
    fn first(&mut self) -> StoreResult<Option<Layer>> {
        let active = self.active.peek().map(Version::key);
        let frozen = self.frozen.as_ref().and_then(Walk::peek).map(Version::key);
        let in_memory = match frozen.map(|key| self.order.of_keys(key, active)) {
            Some(Ordering::Less) => Some(Layer::Frozen),
            Some(Ordering::Equal) => {
                self.go_over(Layer::Frozen)?;
                Some(Layer::Active)
            }
            Some(Ordering::Greater) | None => active.map(|_| Layer::Active),
        };
        let key = in_memory.and_then(|layer| self.version(layer)).map(Version::key);
        match self.rows.peek().map(|row| self.order.of_keys(row, key)) {
            Some(Ordering::Less) => return Ok(Some(Layer::Index)),
            Some(Ordering::Equal) => self.go_over(Layer::Index)?,
            Some(Ordering::Greater) | None => {}
        }
        Ok(in_memory)
    }

    fn go_over(&mut self, layer: Layer) -> StoreResult<()> {
        match layer {
            Layer::Active => self.active.skip(),
            Layer::Frozen => {
                if let Some(frozen) = &mut self.frozen {
                    frozen.skip();
                }
            }
            Layer::Index => self.rows.skip()?,
        }
        Ok(())
    }

    /// The next version of a layer of memory.
    fn version(&self, layer: Layer) -> Option<&Version> {
        match layer {
            Layer::Active => self.active.peek(),
            Layer::Frozen => self.frozen.as_ref()?.peek(),
            Layer::Index => None,
        }
    }
}

/// The order in which the keys of a range are given.
#[derive(Clone, Copy)]
struct Order {
    direction: Direction,
    /// Both bounds, and so all keys between them, have so many first bytes in common.
    shared_bytes: usize,
}

impl Order {
    fn of(range: &KeyRange, direction: Direction) -> Self {
        let shared_bytes = match (range.lower(), range.upper()) {
            (
                Bound::Included(lower) | Bound::Excluded(lower),
                Bound::Included(upper) | Bound::Excluded(upper),
            ) => shared_bytes(lower, upper),
            _ => 0,
        };
        Self { direction, shared_bytes }
    }

    /// Where a key stands to another one, if there is one.
    fn of_keys(self, key: &[u8], other: Option<&[u8]>) -> Ordering {
        let Some(other) = other else { return Ordering::Less };
        let (key, other) = (&key[self.shared_bytes..], &other[self.shared_bytes..]);
        let ascending = head(key).cmp(&head(other)).then_with(|| key.cmp(other));
        match self.direction {
            Direction::Forward => ascending,
            Direction::Reverse => ascending.reverse(),
        }
    }
}

impl Entries for Merge {
    fn next_ref(&mut self) -> StoreResult<Option<EntryRef<'_>>> {
        let advanced = self.advance();
        if !matches!(advanced, Ok(true)) {
            // At the end, and after an error, nothing comes any more.
            self.left = 0;
            return advanced.map(|_| None);
        }
        match self.given {
            None => Ok(None),
            Some(Layer::Index) => Ok(self.rows.entry()),
            Some(layer) => Ok(self.version(layer).and_then(Version::entry)),
        }
    }
}
