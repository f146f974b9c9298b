//! The writer's locks: one on `LOCK`, which names the holder, and one on each segment file that may be written.
//!
//! A process killed with a direct write in flight gives `LOCK` back at once, yet its write lands later: only the lock of
//! the very file that is written is held until then. So both are taken, and nothing is read before.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::disk::{Disk, Folder, ReadDisk, WriteFile};
use crate::error::{Error, Result};
use crate::format::file_name::LOCK;
use crate::segment::files::open_error;

const PID_TEXT_BYTES: usize = 20;
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Held by the one writer.
#[derive(Debug)]
pub(crate) struct WriterLock {
    _file: Arc<dyn WriteFile>,
}

impl WriterLock {
    /// Takes the lock of the journal, waiting for it at most `patience`.
    pub(crate) fn acquire(disk: &dyn Disk, patience: Duration) -> Result<Self> {
        let file = open_or_create(disk)?;
        let path = disk.path(Folder::Root, LOCK);
        wait_for_lock(&*file, patience)
            .map_err(|source| Error::io("lock", &path, source))?
            .then_some(())
            .ok_or_else(|| Error::Locked { path: path.clone(), holder: holder(disk) })?;
        let text = format!("{:<width$}\n", std::process::id(), width = PID_TEXT_BYTES - 1);
        file.write_at(text.as_bytes(), 0).map_err(|source| Error::io("write", path, source))?;
        Ok(Self { _file: file })
    }
}

fn open_or_create(disk: &dyn Disk) -> Result<Arc<dyn WriteFile>> {
    let path = disk.path(Folder::Root, LOCK);
    match disk.open_write(Folder::Root, LOCK) {
        Ok(file) => return Ok(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(open_error(path, error)),
    }
    match disk.create(Folder::Root, LOCK) {
        Ok(file) => Ok(file),
        // Another process was faster; its lock decides.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.open_write(Folder::Root, LOCK).map_err(|error| open_error(path, error))
        }
        Err(error) => Err(Error::io("create", path, error)),
    }
}

/// When somebody opened the journal for writing last.
pub(crate) fn last_opened(disk: &dyn ReadDisk) -> Option<SystemTime> {
    disk.open_read(Folder::Root, LOCK).and_then(|file| file.modified()).ok()
}

/// The pid in the lock file, if it is one.
pub(crate) fn holder(disk: &dyn ReadDisk) -> Option<u32> {
    let file = disk.open_read(Folder::Root, LOCK).ok()?;
    let mut text = [0; PID_TEXT_BYTES];
    let read = file.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..read)?).ok()?.trim().parse().ok()
}

/// Whether a writer has the journal open.
pub(crate) fn writer_lives(disk: &dyn ReadDisk) -> Result<bool> {
    let path = disk.path(Folder::Root, LOCK);
    match disk.open_read(Folder::Root, LOCK) {
        Ok(file) => file.is_locked().map_err(|source| Error::io("look at the lock of", path, source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(open_error(path, error)),
    }
}

/// Takes the lock of the open file, waiting for it at most `patience`; `false` when it could not be had.
pub(super) fn wait_for_lock(file: &dyn WriteFile, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now().checked_add(patience);
    let mut pause = FIRST_PAUSE;
    loop {
        if file.try_lock()? {
            return Ok(true);
        }
        let left = deadline.map_or(patience, |deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(false);
        }
        // The kernel tells nobody, within a bounded time, that such a lock became free.
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::sim::{Failure, SimDisk};

    #[test]
    fn a_lock_file_that_cannot_be_opened_is_not_taken_for_none() {
        let control = SimDisk::new(1);
        let disk = control.disk();
        assert!(matches!(writer_lives(&*disk.clone().reader()), Ok(false)));
        let lock = WriterLock::acquire(&*disk, Duration::ZERO).unwrap();
        assert!(matches!(writer_lives(&*disk.clone().reader()), Ok(true)));
        drop(lock);
        assert!(matches!(writer_lives(&*disk.clone().reader()), Ok(false)));
        control.fail_operation(1, 5, Failure::Once);
        assert!(matches!(writer_lives(&*disk.reader()), Err(Error::Io { .. })));
    }

    #[test]
    fn a_lock_file_that_another_process_makes_in_the_same_moment_is_taken_as_it_is() {
        const ENOENT: i32 = 2;
        let control = SimDisk::new(1);
        let disk = control.disk();
        drop(WriterLock::acquire(&*disk, Duration::ZERO).unwrap());
        // The first look comes before the file is there, the attempt to create it after.
        control.fail_operation(1, ENOENT, Failure::Once);
        let _lock = WriterLock::acquire(&*disk, Duration::ZERO).unwrap();
        assert!(matches!(writer_lives(&*disk.reader()), Ok(true)));
    }
}
