//! Segment files that are open for reading, a bounded number of them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::disk::{Folder, ReadDisk, ReadFile};
use crate::error::{Error, Result};
use crate::format::file_name;

/// So many files stay open at most: enough for readers that jump between recent segments, little against the usual
/// limit of 1,024 descriptors a process.
const OPEN_FILES_MAX: usize = 64;

/// Opens segment files when they are first read and keeps them open.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    disk: Arc<dyn ReadDisk>,
    open: RwLock<BTreeMap<u64, Arc<dyn ReadFile>>>,
}

impl SegmentFiles {
    pub(crate) fn new(disk: Arc<dyn ReadDisk>) -> Self {
        Self { disk, open: RwLock::default() }
    }

    /// The segment that begins at `base`. `None` when there is no such file (any more).
    pub(crate) fn get(&self, base: u64) -> Result<Option<Arc<dyn ReadFile>>> {
        // A panic while the map was locked cannot have left it half changed: single insertions and removals.
        if let Some(file) = self.open.read().unwrap_or_else(PoisonError::into_inner).get(&base) {
            return Ok(Some(file.clone()));
        }
        let name = file_name::segment(base);
        let file = match self.disk.open_read(Folder::Root, &name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(open_error(self.disk.path(Folder::Root, &name), error)),
        };
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_FILES_MAX {
            // The oldest segment is the least likely to be read next.
            open.pop_first();
        }
        open.insert(base, file.clone());
        Ok(Some(file))
    }

    /// Closes files of segments below `base`, so that removed segments give their space back.
    pub(crate) fn forget_below(&self, base: u64) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *open = open.split_off(&base);
    }
}

/// What it means that a file with a journal's name could not be opened.
pub(crate) fn open_error(path: PathBuf, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::InvalidInput {
        let reason =
            "has a name of the journal's, but is a link, a pipe or another special file, or has two names";
        return Error::ForeignFile { path, reason };
    }
    Error::io("open", path, error)
}
