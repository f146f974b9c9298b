//! The index for a process that only reads: beside a writer, after one that closed it, after one that was killed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, TransactionError};

use super::backend::{INDEX, is_named, open_read};
use super::errors::{guarded, not_opened};
use super::generation::Generation;
use super::left::Left;
use crate::disk::{FileIdentity, Folder, ReadDisk, fork_count};
use crate::error::Error;
use crate::store::error::{StoreError, StoreResult};

/// A writer that opens the index is done with it soon; so often is it looked for anew.
const TRIES: u32 = 3;

/// What a reader reads from.
#[derive(Clone)]
pub(super) enum Source {
    /// redb sees to it that a writer leaves what is read.
    Shared(Arc<ReadOnlyDatabase>),
    /// No writer knows of the reader.
    Left(Arc<Left>),
}

impl Source {
    fn begin_read(&self) -> Result<ReadTransaction, TransactionError> {
        match self {
            Self::Shared(database) => database.begin_read(),
            Self::Left(left) => left.database.begin_read(),
        }
    }

    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    fn has_changed(&self, path: &Path) -> StoreResult<bool> {
        match self {
            Self::Shared(_) => Ok(false),
            Self::Left(left) => Ok(left.has_changed().map_err(|source| Error::io("read", path, source))?),
        }
    }

    /// What is read, unless it is read from a file that a writer has again.
    pub(super) fn unchanged<T>(&self, path: &Path, read: impl FnOnce() -> StoreResult<T>) -> StoreResult<T> {
        let changed = || Err(StoreError::IndexChanged { path: path.to_owned() });
        // redb panics on much of what a writer may have written over. That is caught, but not without a word.
        if self.has_changed(path)? {
            return changed();
        }
        let read = read();
        if self.has_changed(path)? { changed() } else { read }
    }
}

/// The index, open for reading.
pub(in crate::store::hybrid) struct IndexReader {
    path: Arc<PathBuf>,
    source: Source,
    identity: Option<FileIdentity>,
    forks: u32,
}

impl IndexReader {
    /// `None` where there is no index.
    pub(in crate::store::hybrid) fn open(
        disk: &dyn ReadDisk,
        cache_bytes: usize,
    ) -> StoreResult<Option<Self>> {
        let path = Arc::new(disk.path(Folder::Root, INDEX));
        let mut opened = Err(DatabaseError::RepairAborted);
        for _ in 0..TRIES {
            let found = guarded(&path, "open", || Ok::<_, redb::Error>(open_once(disk, cache_bytes)))?;
            opened = match found {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                found => found.map_err(|source| Error::io("open", &**path, source))?,
            };
            if !matches!(opened, Err(DatabaseError::RepairAborted)) {
                break;
            }
        }
        let (source, identity) = opened.map_err(|error| not_opened(&path, error))?;
        Ok(Some(Self { path, source, identity, forks: fork_count() }))
    }

    /// Whether the index' name still leads to this file, and no writer has it that does not know of this reader.
    pub(in crate::store::hybrid) fn is_current(&self, disk: &dyn ReadDisk) -> StoreResult<bool> {
        Ok(is_named(disk, self.identity)? && !self.source.has_changed(&self.path)?)
    }

    /// The index as the last checkpoint left it.
    pub(in crate::store::hybrid) fn generation(&self) -> StoreResult<Generation> {
        self.source.unchanged(&self.path, || {
            let transaction = guarded(&self.path, "read", || self.source.begin_read())?;
            Generation::of(&self.path, &transaction, Some(self.source.clone()))
        })
    }
}

impl Drop for IndexReader {
    fn drop(&mut self) {
        // Its locks are those of the parent, who would lose them.
        if self.forks != fork_count() {
            std::mem::forget(self.source.clone());
        }
    }
}

type Found = (Source, Option<FileIdentity>);

/// The outer error is the file's, the inner one redb's.
fn open_once(disk: &dyn ReadDisk, cache_bytes: usize) -> io::Result<Result<Found, DatabaseError>> {
    let mut builder = Builder::new();
    builder.set_cache_size(cache_bytes);
    let (opened, identity) = open_read(disk, INDEX, &mut builder)?;
    if !matches!(opened, Err(DatabaseError::RepairAborted)) {
        return Ok(opened.map(|database| (Source::Shared(Arc::new(database)), identity)));
    }
    let left = Left::open(disk, INDEX, cache_bytes)?;
    if disk.identity(Folder::Root, INDEX)? != identity {
        return Ok(Err(DatabaseError::RepairAborted));
    }
    Ok(left.map(|left| (Source::Left(Arc::new(left)), identity)))
}

impl std::fmt::Debug for IndexReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexReader").field("path", &self.path).finish_non_exhaustive()
    }
}
