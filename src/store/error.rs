//! What a store answers instead of what was asked for.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::position::{JournalId, Offset};

/// The result of most calls on a store.
pub type StoreResult<T> = std::result::Result<T, StoreError>;

/// Everything that a store can answer instead of what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The journal below the store answered with an error.
    #[error(transparent)]
    Journal(#[from] Error),

    /// The key is empty. Nothing was written.
    #[error("an empty key; a key has 1 to {} bytes", super::kv::KEY_BYTES_MAX)]
    EmptyKey,

    /// The key is too long. Nothing was written.
    #[error("a key of {bytes} bytes is too long; the limit is {max} bytes")]
    KeyTooLong {
        /// The size of the key.
        bytes: usize,
        /// The limit.
        max: usize,
    },

    /// The value, or the whole batch with it, is too large. Nothing was written.
    #[error("{bytes} bytes are too much for one batch; the limit of this store is {max} bytes")]
    TooLarge {
        /// The size of the batch as it would be stored.
        bytes: u64,
        /// The limit.
        max: u64,
    },

    /// The store was opened for reading only.
    #[error("the store is open for reading only; `HybridStore::open` opens it for writing")]
    ReadOnly,

    /// The index could not be read or written.
    #[error(
        "{}: cannot {operation} the index: {source}; nothing acknowledged is lost, it stands in the journal: reopen the store",
        path.display()
    )]
    Index {
        /// The index file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The answer.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },

    /// The index file is damaged, or is no index. The journal is untouched.
    #[error(
        "{}: the index is damaged ({reason}); make it anew from the journal with `HybridStore::rebuild_index` \
         (`ringwal audit rebuild`), which works while the journal holds everything, or restore the store from a backup",
        path.display()
    )]
    IndexDamaged {
        /// The index file.
        path: PathBuf,
        /// How the damage shows.
        reason: String,
    },

    /// There is no index, and the journal alone does not hold everything any more.
    #[error(
        "{}: there is no index, and the journal is kept from offset {floor} on only; restore the index from a backup",
        path.display()
    )]
    IndexMissing {
        /// The index file.
        path: PathBuf,
        /// The lowest offset that the journal keeps.
        floor: Offset,
    },

    /// The index was to be made from the journal, which does not hold everything any more. The index there is was not
    /// touched.
    #[error(
        "{}: the index cannot be made from the journal, which is kept from offset {floor} on only: what stood below is in \
         the index alone; restore the store, index and journal together, from a backup",
        path.display()
    )]
    CannotRebuild {
        /// The index file.
        path: PathBuf,
        /// The lowest offset that the journal keeps.
        floor: Offset,
    },

    /// The journal was to be kept from its first record on, and is not whole any more. Nothing was changed.
    #[error(
        "{}: `keep_journal` cannot be kept: the journal begins at offset {floor} only, since the store was once opened \
         without it; restore the store from a backup that is whole, or begin a new one, or go on without \
         `keep_journal` and without proof of what stood below",
        path.display()
    )]
    JournalNotWhole {
        /// The journal's directory.
        path: PathBuf,
        /// The lowest offset that the journal keeps.
        floor: Offset,
    },

    /// The index was made by a later version of ringwal.
    #[error(
        "{}: the index has format {found}, the newest that this version knows is {newest}; use a newer ringwal",
        path.display()
    )]
    IndexUnsupported {
        /// The index file.
        path: PathBuf,
        /// The format found.
        found: u64,
        /// The newest that is known.
        newest: u64,
    },

    /// The index belongs to another journal.
    #[error(
        "{}: the index belongs to journal {found}, this store's journal is {expected}; put the right journal and index \
         together, or make the index anew with `HybridStore::rebuild_index` (`ringwal audit rebuild`)",
        path.display()
    )]
    IndexOfAnotherJournal {
        /// The index file.
        path: PathBuf,
        /// The store's journal.
        expected: JournalId,
        /// The journal that the index belongs to.
        found: JournalId,
    },

    /// The index holds writes that the journal has lost.
    #[error(
        "{}: the index holds what was written below offset {applied}, the journal ends at {durable_end}: it has lost \
         acknowledged writes; restore the journal from a backup, or go on without them with \
         `HybridStore::rebuild_index` (`ringwal audit rebuild`)",
        path.display()
    )]
    IndexAhead {
        /// The index file.
        path: PathBuf,
        /// What the index holds: everything below.
        applied: Offset,
        /// Where the journal ends.
        durable_end: Offset,
    },

    /// The last write that the index holds is not the one that the journal has in its place.
    #[error(
        "{}: the last write that the index holds stood at offset {offset} of the journal, where another one or none stands \
         now: the journal has lost acknowledged writes and gone on without them; restore the journal from a backup, or \
         go on without them, where the journal is whole, with `HybridStore::rebuild_index` (`ringwal audit rebuild`)",
        path.display()
    )]
    IndexDiverged {
        /// The index file.
        path: PathBuf,
        /// Where the write stood.
        offset: Offset,
    },

    /// The journal has removed writes that the index does not hold.
    #[error(
        "{}: the index holds what was written below offset {applied}, the journal is kept from offset {floor} on: what \
         lies between is in neither; restore a later index from a backup",
        path.display()
    )]
    IndexGap {
        /// The index file.
        path: PathBuf,
        /// What the index holds: everything below.
        applied: Offset,
        /// The lowest offset that the journal keeps.
        floor: Offset,
    },

    /// The index was not closed in order, and only going over the whole of it could tell what is in it, or a writer is just
    /// opening it.
    #[error(
        "{}: the store's last writer did not close it and left it in disorder; open it for writing once, which puts the \
         index in order",
        path.display()
    )]
    IndexNotClosed {
        /// The index file.
        path: PathBuf,
    },

    /// A reader read what a writer had left unclosed, and a writer has opened it since.
    #[error(
        "{}: a writer has opened the store since this reader did, and may have written over what it reads; refresh the \
         reader (`HybridReader::refresh`)",
        path.display()
    )]
    IndexChanged {
        /// The index file.
        path: PathBuf,
    },

    /// The journal holds more beyond the index than a reader may take into memory.
    #[error(
        "{}: beyond offset {applied}, where the index ends, the journal holds more than the {max} bytes that this reader \
         may take into memory; open the store for writing once, which brings it into the index (`ringwal audit rebuild` \
         does for a trail), or read with a larger `HybridOptions::memory_bytes_max`",
        path.display()
    )]
    TailTooLong {
        /// The index file.
        path: PathBuf,
        /// What the index holds: everything below.
        applied: Offset,
        /// The most bytes of memory.
        max: usize,
    },

    /// The journal record at the offset is not the write batch of a store.
    #[error(
        "the journal record at offset {offset} is not a write batch; this journal is not the store's alone, or was \
         written by a later version of ringwal"
    )]
    NotABatch {
        /// Where the record stands.
        offset: Offset,
    },

    /// A checkpoint failed. What was acknowledged is durable in the journal; writes go on until the memory for them is
    /// used up. Reopen the store, which reads what the index really holds.
    #[error("a checkpoint failed and the store must be reopened; the first cause was: {first}")]
    CheckpointFailed {
        /// The first cause.
        #[source]
        first: Arc<Self>,
    },
}

impl StoreError {
    /// Whether what was acknowledged turned out to be damaged or missing, in the journal or in the index, or the two do not
    /// belong together.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_corruption(),
            Self::IndexDamaged { .. }
            | Self::IndexMissing { .. }
            | Self::IndexOfAnotherJournal { .. }
            | Self::IndexAhead { .. }
            | Self::IndexDiverged { .. }
            | Self::IndexGap { .. }
            | Self::CannotRebuild { .. }
            | Self::JournalNotWhole { .. }
            | Self::NotABatch { .. } => true,
            _ => false,
        }
    }
}
