//! A file of a journal: one descriptor through the page cache, one past it where the file system has that.
//!
//! The descriptor that the log is written through carries the file's lock: a write that a killed process left in the
//! kernel keeps that descriptor's file open, and so the lock, until it has landed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::sys;
use crate::disk::{AlignedBuffer, BLOCK_BYTES, ReadFile, WriteFile, block_ceiling, block_floor};

/// Reads past the cache into memory that is not aligned go through pieces of this size.
const BOUNCE_BYTES: usize = 1 << 20;
const ZERO_BYTES: usize = 256 << 10;
/// `FALLOC_FL_WRITE_ZEROES` of Linux 6.17: the device zeroes written extents by itself.
const WRITE_ZEROES: libc::c_int = 0x80;
/// Whether this kernel and its devices have refused that once; then nobody asks again.
static ZEROES_REFUSED: AtomicBool = AtomicBool::new(false);

#[derive(Debug)]
pub(super) struct NativeFile {
    cached: File,
    /// Opened with `O_DIRECT`; `None` where the file system refuses that.
    direct: Option<OwnedFd>,
}

impl NativeFile {
    pub(super) fn new(cached: OwnedFd, direct: Option<OwnedFd>) -> Self {
        Self { cached: File::from(cached), direct }
    }

    /// The descriptor that the log is written through.
    pub(super) fn log_fd(&self) -> BorrowedFd<'_> {
        match &self.direct {
            Some(direct) => direct.as_fd(),
            None => self.cached.as_fd(),
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.direct.is_some()
    }

    fn read_blocks(&self, direct: BorrowedFd<'_>, into: &mut [u8], position: u64) -> io::Result<usize> {
        read_fully(into, |rest, done| sys::read_once(direct, rest, position + done as u64))
    }
}

/// Reads until `into` is full or the file ends. A direct read that ends inside a block has come to the file's end.
fn read_fully(into: &mut [u8], mut read: impl FnMut(&mut [u8], usize) -> io::Result<usize>) -> io::Result<usize> {
    let mut done = 0;
    let mut retries = 0;
    while done < into.len() {
        let rest = into.get_mut(done..).unwrap_or_default();
        match read(rest, done) {
            Ok(0) => break,
            Ok(bytes) => done += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Some file systems answer a direct read so when they are busy.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && retries < sys::RETRIES_MAX => retries += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

impl ReadFile for NativeFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.cached.metadata()?.len())
    }

    fn modified(&self) -> io::Result<SystemTime> {
        let stat = sys::stat(self.cached.as_fd())?;
        let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
        let nanos = Duration::from_nanos(u64::try_from(stat.st_mtime_nsec).unwrap_or(0));
        Ok(SystemTime::UNIX_EPOCH + seconds + nanos)
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let cached = self.cached.as_fd();
        read_fully(into, |rest, done| sys::read_once(cached, rest, position + done as u64))
    }

    fn read_past_cache(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let Some(direct) = self.direct.as_ref().map(AsFd::as_fd) else {
            sys::drop_cache(self.cached.as_fd(), position, into.len() as u64)?;
            return self.read_at(into, position);
        };
        let block = BLOCK_BYTES as u64;
        let is_aligned = position.is_multiple_of(block)
            && into.len().is_multiple_of(BLOCK_BYTES)
            && into.as_ptr().addr().is_multiple_of(BLOCK_BYTES);
        if is_aligned {
            return self.read_blocks(direct, into, position);
        }
        let mut bounce = AlignedBuffer::new((into.len() + 2 * BLOCK_BYTES).min(BOUNCE_BYTES));
        let mut done = 0;
        while done < into.len() {
            let at = position + done as u64;
            let start = block_floor(at);
            let skip = usize::try_from(at - start).expect("less than a block");
            let wanted = (skip + into.len() - done).next_multiple_of(BLOCK_BYTES).min(bounce.len());
            let read = self.read_blocks(direct, &mut bounce[..wanted], start)?;
            let got = bounce.get(skip..read).unwrap_or_default();
            let bytes = got.len().min(into.len() - done);
            into[done..done + bytes].copy_from_slice(&got[..bytes]);
            done += bytes;
            if read < wanted {
                break;
            }
        }
        Ok(done)
    }

    /// The lock is looked for on behalf of the cached descriptor, which never holds it: so this file's own lock shows too.
    fn is_locked(&self) -> io::Result<bool> {
        sys::is_locked(self.cached.as_fd())
    }
}

impl WriteFile for NativeFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.cached, bytes, position)
    }

    fn write_zeros(&self, position: u64, bytes: u64) -> io::Result<()> {
        assert!(position == block_floor(position) && bytes == block_floor(bytes), "zeros are written in blocks");
        let fd = self.log_fd();
        if bytes > 0 && !ZEROES_REFUSED.load(Ordering::Relaxed) {
            match sys::allocate(fd, WRITE_ZEROES, position, bytes) {
                Ok(()) => return Ok(()),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::ENOSYS)) => {
                    ZEROES_REFUSED.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        let zeros = AlignedBuffer::new(ZERO_BYTES);
        let mut at = position;
        while at < position + bytes {
            let piece = usize::try_from(position + bytes - at).unwrap_or(ZERO_BYTES).min(ZERO_BYTES);
            write_fully(fd, &zeros[..piece], at, 0)?;
            at += piece as u64;
        }
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<bool> {
        let fd = self.log_fd();
        match sys::allocate(fd, 0, 0, bytes) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
                if self.len()? < bytes {
                    sys::set_length(fd, bytes)?;
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn written_until(&self, position: u64) -> io::Result<u64> {
        let length = self.len()?;
        match sys::seek_hole(self.cached.as_fd(), position.min(length.saturating_sub(1))) {
            Ok(hole) => Ok(hole.max(position).min(length)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENXIO | libc::EOPNOTSUPP)) => {
                Ok(length)
            }
            Err(error) => Err(error),
        }
    }

    fn sync(&self) -> io::Result<()> {
        // Both descriptors are of one file: this covers what was written through either.
        sys::sync(self.log_fd())
    }

    fn try_lock(&self) -> io::Result<bool> {
        sys::try_lock(self.log_fd())
    }
}

/// Writes all of `bytes`, finishing short writes; gives the number of write operations that took.
pub(super) fn write_fully(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    position: u64,
    flags: libc::c_int,
) -> io::Result<u64> {
    let mut done = 0;
    let mut writes = 0;
    let mut retries = 0;
    while done < bytes.len() {
        let rest = bytes.get(done..).unwrap_or_default();
        match sys::write_once(fd, rest, position + done as u64, flags) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                done += written;
                writes += 1;
            }
            Err(error) if is_passing(&error) && retries < sys::RETRIES_MAX => retries += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(writes)
}

/// Whether a write did nothing only because the moment was bad.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}
