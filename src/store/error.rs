//! What a store answers instead of what was asked for.

use crate::error::Error;

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
}
