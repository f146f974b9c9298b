//! The small state files: read with a typed answer, replaced atomically and durably.
//!
//! Guarantees: after a crash at any point a state file holds its old or its new content, never something else; a damaged
//! one is an error, never a default.

use std::io;
use std::time::Duration;

use crate::disk::{Disk, Folder, ReadDisk};
use crate::error::{CorruptionKind, Error, Result};
use crate::format::file_name::{FLOOR, UNFINISHED};
use crate::format::state_file::{STATE_FILE_BYTES, StateFile, StateKind};

/// How long the lock of the cursors' folder is waited for: setting a cursor takes milliseconds, and cleanup holds it no longer.
pub(crate) const FOLDER_PATIENCE: Duration = Duration::from_secs(10);

/// The floor, or `None` where none was ever set.
pub(crate) fn read_floor(disk: &dyn ReadDisk) -> Result<Option<StateFile>> {
    let state = read(disk, Folder::Root, FLOOR)?;
    match state {
        Some(state) if state.kind != StateKind::Floor => Err(damaged(disk, Folder::Root, FLOOR)),
        state => Ok(state),
    }
}

/// The state file of that name, or `None` where there is none.
pub(crate) fn read(disk: &dyn ReadDisk, folder: Folder, name: &str) -> Result<Option<StateFile>> {
    let path = disk.path(folder, name);
    let file = match disk.open_read(folder, name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(super::files::open_error(path, error)),
    };
    // One byte more than a state file has, so that a longer file is seen to be one.
    let mut bytes = [0; STATE_FILE_BYTES + 1];
    let read = file.read_at(&mut bytes, 0).map_err(|source| Error::io("read", path, source))?;
    let state = bytes.get(..read).and_then(|bytes| StateFile::decode(bytes, name));
    state.map(Some).ok_or_else(|| damaged(disk, folder, name))
}

fn damaged(disk: &dyn ReadDisk, folder: Folder, name: &str) -> Error {
    Error::corrupt(&disk.path(folder, name), 0..0, CorruptionKind::StateFile, [])
}

/// Replaces the state file: when this returns, the new content is durable.
pub(crate) fn write(disk: &dyn Disk, folder: Folder, name: &str, state: &StateFile) -> Result<()> {
    let path = disk.path(folder, name);
    let failed = |operation| {
        let path = path.clone();
        move |source| Error::io(operation, path, source)
    };
    if cfg!(ringwal_zoo = "cursor_written_in_place")
        && let Ok(file) = disk.open_write(folder, name)
    {
        file.write_at(&state.encode(name), 0).map_err(failed("write"))?;
        return file.sync().map_err(failed("sync"));
    }
    let unfinished = format!("{name}{UNFINISHED}");
    match disk.remove(folder, &unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(error)),
        _ => {}
    }
    let file = disk.create(folder, &unfinished).map_err(failed("create"))?;
    file.write_at(&state.encode(name), 0).map_err(failed("write"))?;
    file.sync().map_err(failed("sync"))?;
    disk.rename((folder, &unfinished), (folder, name)).map_err(failed("rename"))?;
    disk.sync_folder(folder).map_err(failed("sync"))
}

/// Removes the state file durably; one that is not there is no error.
pub(crate) fn remove(disk: &dyn Disk, folder: Folder, name: &str) -> Result<()> {
    let path = disk.path(folder, name);
    match disk.remove(folder, name) {
        Ok(()) => {}
        // Who removed it before may have died before that was durable.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("remove", path, error)),
    }
    disk.sync_folder(folder).map_err(|source| Error::io("sync", path, source))
}
