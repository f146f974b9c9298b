//! Opening segment files.

use std::io;
use std::path::PathBuf;

use crate::error::Error;

/// What it means that a file with a journal's name could not be opened.
pub(crate) fn open_error(path: PathBuf, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::InvalidInput {
        let reason =
            "has a name of the journal's, but is a link, a pipe or another special file, or has two names";
        return Error::ForeignFile { path, reason };
    }
    Error::io("open", path, error)
}
