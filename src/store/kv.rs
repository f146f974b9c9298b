//! The trait that every store has, and what its calls give back.

use super::batch::WriteBatch;
use super::error::StoreResult;
use super::range::{Direction, KeyRange};
use super::scan::Scan;
use crate::journal::Receipt;

/// The longest key, in bytes.
pub(super) const KEY_BYTES_MAX: usize = 64 << 10;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

impl Entry {
    /// A key and its value.
    #[must_use]
    pub const fn new(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { key, value }
    }
}

/// What a completed write says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The journal record that holds the batch; `None` where the store has no journal, or the batch was empty.
    pub receipt: Option<Receipt>,
}

impl Written {
    /// A write with its place in the journal, if the store has one.
    #[must_use]
    pub const fn new(receipt: Option<Receipt>) -> Self {
        Self { receipt }
    }
}

/// A synchronous store of keys and values, ordered by the bytes of the keys.
///
/// A key has 1 to 65,536 bytes; a value may be empty. Every call may be made from any thread.
pub trait KvStore: Send + Sync {
    /// The value of `key`, or `None`. An empty or over-long key has no value; asking for it is not an error.
    ///
    /// # Errors
    /// What reading the store's medium answered.
    fn get(&self, key: &[u8]) -> StoreResult<Option<Vec<u8>>>;

    /// Does all operations of a batch, or none: durable, as the store defines it, when this returns. A reader that
    /// begins afterwards sees it.
    ///
    /// # Errors
    /// A key or a batch that the store does not take; what the store's medium answered.
    fn write(&self, batch: WriteBatch) -> StoreResult<Written>;

    /// The first `limit` entries of `range` in this direction, as they are at the moment of this call.
    ///
    /// # Errors
    /// What reading the store's medium answered.
    fn scan(&self, range: KeyRange, direction: Direction, limit: usize) -> StoreResult<Scan<'_>>;

    /// Makes everything acknowledged so far as cheap to open as it can be (a checkpoint, where the store has one). What
    /// `write` acknowledged is durable without it.
    ///
    /// # Errors
    /// What the store's medium answered.
    fn flush(&self) -> StoreResult<()>;

    /// Gives `key` this value; as [`write`](Self::write) with one operation.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn put(&self, key: &[u8], value: &[u8]) -> StoreResult<Written> {
        let mut batch = WriteBatch::new();
        batch.put(key, value);
        self.write(batch)
    }

    /// Takes the value of `key` away; as [`write`](Self::write) with one operation.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    fn delete(&self, key: &[u8]) -> StoreResult<Written> {
        let mut batch = WriteBatch::new();
        batch.delete(key);
        self.write(batch)
    }

    /// The first `limit` entries whose keys begin with `prefix`; as [`scan`](Self::scan).
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    fn scan_prefix(&self, prefix: &[u8], direction: Direction, limit: usize) -> StoreResult<Scan<'_>> {
        self.scan(KeyRange::prefix(prefix), direction, limit)
    }
}
