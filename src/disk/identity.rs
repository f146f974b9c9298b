//! Telling files apart, whatever their names.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

/// Which file it is: the same through all names and open files of one file, and no other file's while one of them is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    number: u64,
}

impl FileIdentity {
    /// Which file it is that was lent.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { device: metadata.dev(), number: metadata.ino() })
    }
}
