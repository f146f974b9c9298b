//! The index for the one writer: opening, making, checkpointing.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use redb::{Builder, Database, ReadableDatabase};

use super::backend::{INDEX, UNFINISHED, is_named, open_write};
use super::errors::{damaged, guarded, not_opened};
use super::generation::{ENTRIES, Generation, IndexState, STATE, STATE_KEY, stored};
use crate::disk::{Disk, FileIdentity, Folder};
use crate::error::Error;
use crate::store::error::StoreResult;
use crate::store::hybrid::table::Table;

/// The index, open for writing. Dropping it closes the file.
pub(in crate::store::hybrid) struct Index {
    path: Arc<PathBuf>,
    database: Database,
    identity: Option<FileIdentity>,
}

impl Index {
    /// Opens the index. `None` where there is none.
    pub(in crate::store::hybrid) fn open(
        disk: &dyn Disk,
        cache_bytes: usize,
        check: bool,
    ) -> StoreResult<Option<Self>> {
        match disk.open_read(Folder::Root, INDEX).and_then(|file| file.len()) {
            Ok(0) => return Err(damaged(&disk.path(Folder::Root, INDEX), "it is empty")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io("open", disk.path(Folder::Root, INDEX), source).into()),
        }
        Self::open_file(disk, INDEX, cache_bytes, check).map(Some)
    }

    /// Makes an index without entries under a name of its own; [`name`](Self::name) gives it the right one.
    pub(in crate::store::hybrid) fn make(
        disk: &dyn Disk,
        cache_bytes: usize,
        state: IndexState,
    ) -> StoreResult<Self> {
        let path = disk.path(Folder::Root, UNFINISHED);
        match disk.remove(Folder::Root, UNFINISHED) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", path, error).into());
            }
            _ => {}
        }
        disk.create(Folder::Root, UNFINISHED).map_err(|source| Error::io("create", path, source))?;
        let index = Self::open_file(disk, UNFINISHED, cache_bytes, false)?;
        index.apply(&Table::new(), state)?;
        Ok(index)
    }

    /// Puts a new index in the place of the one there was, durably.
    pub(in crate::store::hybrid) fn name(&mut self, disk: &dyn Disk) -> StoreResult<()> {
        let path = disk.path(Folder::Root, INDEX);
        let failed = |source| Error::io("rename", &path, source);
        disk.rename((Folder::Root, UNFINISHED), (Folder::Root, INDEX)).map_err(failed)?;
        disk.sync_folder(Folder::Root).map_err(|source| Error::io("sync", &path, source))?;
        self.path = Arc::new(path);
        Ok(())
    }

    fn open_file(disk: &dyn Disk, name: &str, cache_bytes: usize, check: bool) -> StoreResult<Self> {
        let path = Arc::new(disk.path(Folder::Root, name));
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes).set_check_integrity_on_open(check);
        let opened = guarded(&path, "open", || Ok::<_, redb::Error>(open_write(disk, name, &mut builder)))?;
        let (opened, identity) = opened.map_err(|source| Error::io("open", &**path, source))?;
        let database = opened.map_err(|error| not_opened(&path, error))?;
        Ok(Self { path, database, identity })
    }

    /// Whether the index' name still leads to this file.
    pub(in crate::store::hybrid) fn is_named(&self, disk: &dyn Disk) -> StoreResult<bool> {
        is_named(disk, self.identity)
    }

    pub(in crate::store::hybrid) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// The index as the last checkpoint left it.
    pub(in crate::store::hybrid) fn generation(&self) -> StoreResult<Generation> {
        let transaction = guarded(&self.path, "read", || self.database.begin_read())?;
        Generation::of(&self.path, &transaction, None)
    }

    /// Brings the table and the state into the index, together and durably. After an error it is not known whether
    /// they are there; the index must not be written any more.
    pub(in crate::store::hybrid) fn apply(&self, table: &Table, state: IndexState) -> StoreResult<()> {
        guarded(&self.path, "checkpoint into", || {
            if cfg!(ringwal_zoo = "applied_committed_before_the_entries") {
                let mut early = self.database.begin_write()?;
                early.set_quick_repair(true);
                early.open_table(STATE)?.insert(STATE_KEY, state.encode().as_slice())?;
                early.commit()?;
            }
            let mut transaction = self.database.begin_write()?;
            // Two-phase, with the allocator's state: opening after a crash need not go over the whole file.
            transaction.set_quick_repair(true);
            {
                let mut entries = transaction.open_table(ENTRIES)?;
                let mut walk = table.walk_all();
                let mut value = Vec::new();
                while let Some(version) = walk.peek() {
                    match version.value() {
                        Some(bytes) => {
                            stored(&mut value, version.origin(), bytes);
                            entries.insert(version.key(), value.as_slice())?;
                        }
                        None => drop(entries.remove(version.key())?),
                    }
                    walk.skip();
                }
                transaction.open_table(STATE)?.insert(STATE_KEY, state.encode().as_slice())?;
            }
            transaction.commit()?;
            Ok::<_, redb::Error>(())
        })
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("path", &self.path).finish_non_exhaustive()
    }
}
