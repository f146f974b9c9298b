//! The trait of stores whose every write stands in a journal.

use super::batch::WriteBatch;
use super::error::StoreResult;
use super::kv::KvStore;
use crate::journal::{JournalReader, Receipt};
use crate::position::Offset;

/// A store whose every write stands in a journal: what the store shows can be checked against it.
pub trait JournaledStore: KvStore {
    /// The value of `key` and the offset of the journal record whose batch gave it that value.
    ///
    /// # Errors
    /// As [`KvStore::get`].
    fn get_with_origin(&self, key: &[u8]) -> StoreResult<Option<(Vec<u8>, Offset)>>;

    /// The batch that the journal record at `offset` holds, read from the journal and checked against its checksum and
    /// its content hash, and its receipt.
    ///
    /// # Errors
    /// As [`JournalReader::read`]; the record has another content than its hash says, or holds no batch.
    fn batch_at(&self, offset: Offset) -> StoreResult<(Receipt, WriteBatch)>;

    /// The end of what the store shows now: every batch whose record stands below it is shown.
    ///
    /// # Errors
    /// What finding it out comes to.
    fn shown_end(&self) -> StoreResult<Offset>;

    /// A reader of the journal below. It goes on working after the store is closed.
    fn journal_reader(&self) -> JournalReader;
}
