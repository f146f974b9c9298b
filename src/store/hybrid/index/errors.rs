//! redb's answers as the store's errors, its panics included.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use redb::{DatabaseError, StorageError};

use crate::error::Error;
use crate::store::error::{StoreError, StoreResult};

/// Does something with the index. redb panics on some damaged files; that is an answer like others.
pub(super) fn guarded<T, E: Into<redb::Error>>(
    path: &Path,
    operation: &'static str,
    work: impl FnOnce() -> Result<T, E>,
) -> StoreResult<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(failed(path, operation, error.into())),
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(damaged(path, message.unwrap_or_else(|| "it cannot be read".into())))
        }
    }
}

#[cold]
pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::IndexDamaged { path: path.to_owned(), reason: reason.into() }
}

#[cold]
pub(super) fn failed(path: &Path, operation: &'static str, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Corrupted(reason) => damaged(path, reason),
        redb::Error::DatabaseClosed => Error::Closed.into(),
        error => StoreError::Index { path: path.to_owned(), operation, source: Arc::new(error) },
    }
}

/// Why a file could not be opened as an index.
#[cold]
pub(super) fn not_opened(path: &Path, error: DatabaseError) -> StoreError {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(error.kind(), InvalidData | UnexpectedEof) =>
        {
            damaged(path, error.to_string())
        }
        DatabaseError::UpgradeRequired(version) => {
            damaged(path, format!("it has version {version} of another database"))
        }
        DatabaseError::DatabaseAlreadyOpen => Error::Locked { path: path.to_owned(), holder: None }.into(),
        DatabaseError::RepairAborted => StoreError::IndexNotClosed { path: path.to_owned() },
        error => failed(path, "open", error.into()),
    }
}
