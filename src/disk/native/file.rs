//! An open file of the journal's directory.
//!
//! Guarantees: it has one descriptor that goes through the page cache and, where the file system can, a second one
//! that goes past it. Linux keeps the two coherent: before a direct read the kernel writes back what is dirty in the
//! range, before and after a direct write it drops what is cached there. Neither makes anything durable: only `sync`
//! and the log writer do. Callers must not write the same block through both at the same time.
//! Must not know: what the bytes are.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::{direct, file_system, sys};
use crate::disk::{AlignedBuffer, ReadFile, WriteFile, block_floor, fork_count};

/// Zeros are written in pieces of this size.
const ZEROS_BYTES: usize = 256 << 10;
/// `FALLOC_FL_WRITE_ZEROES`, Linux 6.17: the device writes the zeros itself, and the space counts as written.
const WRITE_ZEROES: libc::c_int = 0x80;

/// An open file.
#[derive(Debug)]
pub(super) struct NativeFile {
    buffered: File,
    /// Opened with the file when it is for writing, else at the first read past the cache.
    direct: OnceLock<Option<File>>,
    /// The descriptor is there, but using it was refused. Set once; only saves further attempts, so relaxed.
    direct_refused: AtomicBool,
    /// As above, for `WRITE_ZEROES`.
    write_zeroes_refused: AtomicBool,
    /// Whether holes are asked for at all. Found out once; both answers are right.
    knows_its_holes: OnceLock<bool>,
    /// This very file took the lock, in the process that was so many forks away. Set after the kernel gave it, never
    /// cleared.
    locked_at: OnceLock<u32>,
    /// The kernel may still be at work on the file. Set once, by a user of the file who then lets go of it; whoever drops it
    /// last is told by the count of its users, so relaxed.
    is_in_flight: AtomicBool,
}

impl NativeFile {
    pub(super) fn for_reading(buffered: File) -> Self {
        Self::new(buffered, OnceLock::new())
    }

    /// `direct` is the same file, opened for direct writing, where that is possible.
    pub(super) fn for_writing(buffered: File, direct: Option<File>) -> Self {
        Self::new(buffered, OnceLock::from(direct))
    }

    fn new(buffered: File, direct: OnceLock<Option<File>>) -> Self {
        Self {
            buffered,
            direct,
            direct_refused: AtomicBool::new(false),
            write_zeroes_refused: AtomicBool::new(false),
            knows_its_holes: OnceLock::new(),
            locked_at: OnceLock::new(),
            is_in_flight: AtomicBool::new(false),
        }
    }

    /// The open file that log writes go through, and that carries the lock.
    pub(super) fn log_file(&self) -> &File {
        self.usable_direct().unwrap_or(&self.buffered)
    }

    /// Whether `log_file` goes past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.usable_direct().is_some()
    }

    /// To be called when it is not known whether the kernel is done with a write: the lock is then the kernel's to give
    /// back, when it lets go of the file.
    pub(super) fn leave_in_flight(&self) {
        self.is_in_flight.store(true, Ordering::Relaxed);
    }

    fn usable_direct(&self) -> Option<&File> {
        let direct = self.direct.get()?.as_ref()?;
        (!self.direct_refused.load(Ordering::Relaxed)).then_some(direct)
    }

    fn refuse_direct(&self) {
        self.direct_refused.store(true, Ordering::Relaxed);
    }

    /// Has the device write the zeros, where kernel, file system and device can; `false` where not.
    fn write_zeroes_by_device(&self, position: u64, bytes: u64) -> io::Result<bool> {
        if self.write_zeroes_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        match sys::allocate(self.buffered.as_fd(), WRITE_ZEROES, position, bytes) {
            Ok(()) => Ok(true),
            Err(error) if is_not_supported(&error) || error.raw_os_error() == Some(libc::EINVAL) => {
                self.write_zeroes_refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            // As in `allocate`; writing tells.
            Err(error) if is_without_room(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write_zero_piece(&self, zeros: &[u8], position: u64) -> io::Result<()> {
        if let Some(direct) = self.usable_direct() {
            match direct::write_all(direct, zeros, position) {
                Err(error) if direct::is_refusal(&error) => self.refuse_direct(),
                outcome => return outcome,
            }
        }
        direct::write_all(&self.buffered, zeros, position)
    }
}

impl ReadFile for NativeFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.buffered.metadata()?.len())
    }

    fn modified(&self) -> io::Result<SystemTime> {
        self.buffered.metadata()?.modified()
    }

    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        direct::read_cached(&self.buffered, into, position)
    }

    fn read_past_cache(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.direct.get_or_init(|| direct::reopen_for_reading(&self.buffered));
        if let Some(direct) = self.usable_direct() {
            match direct::read(direct, into, position) {
                Err(error) if direct::is_refusal(&error) => self.refuse_direct(),
                outcome => return outcome,
            }
        }
        direct::read_after_dropping_cache(&self.buffered, into, position)
    }

    fn written_from(&self, position: u64) -> io::Result<u64> {
        let file = self.buffered.as_fd();
        let knows = || sys::file_system_magic(file).is_ok_and(file_system::knows_its_holes);
        if !*self.knows_its_holes.get_or_init(knows) {
            return Ok(position);
        }
        match sys::seek_data(file, position) {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(self.len()?.max(position)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(position),
            outcome => outcome,
        }
    }

    fn is_cached(&self, position: u64) -> io::Result<bool> {
        sys::is_cached(self.buffered.as_fd(), position)
    }

    fn is_locked(&self) -> io::Result<bool> {
        // The kernel answers for other open files only: one's own lock is no obstacle to oneself.
        Ok(self.locked_at.get().is_some() || sys::is_locked_by_another(self.buffered.as_fd())?)
    }

    fn sync(&self) -> io::Result<()> {
        sys::sync(self.buffered.as_fd())
    }
}

impl WriteFile for NativeFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        direct::write_all(&self.buffered, bytes, position)
    }

    fn write_zeros(&self, position: u64, bytes: u64) -> io::Result<()> {
        static ZEROS: OnceLock<AlignedBuffer> = OnceLock::new();
        assert!(block_floor(position) == position, "zeros start on a block boundary");
        assert!(block_floor(bytes) == bytes, "zeros are whole blocks");
        if bytes == 0 || self.write_zeroes_by_device(position, bytes)? {
            return Ok(());
        }
        let zeros = ZEROS.get_or_init(|| AlignedBuffer::new(ZEROS_BYTES));
        let mut done = 0;
        while done < bytes {
            let piece = usize::try_from(bytes - done).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
            self.write_zero_piece(&zeros[..piece], position + done)?;
            done += piece as u64;
        }
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<bool> {
        // Writing there would not only fail: the kernel would send what ends a process that has not said otherwise.
        if bytes > sys::file_bytes_max()? {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        let before = self.len()?;
        if before > bytes {
            self.buffered.set_len(bytes)?;
        }
        // Where there is too little room the file system may first reserve all there is, and everybody else's writes fail meanwhile.
        let more = bytes.saturating_sub(before);
        if sys::free_bytes(self.buffered.as_fd())?.is_some_and(|free| more > free) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        match sys::allocate(self.buffered.as_fd(), 0, 0, bytes) {
            Ok(()) => Ok(true),
            Err(error) if is_not_supported(&error) => {
                self.buffered.set_len(bytes)?;
                Ok(false)
            }
            Err(error) => {
                // The file system may have reserved all the room there was before it found that it is not enough.
                self.buffered.set_len(before.min(bytes))?;
                // XFS asks for room for all that it is told of, what the file has already included.
                if before >= bytes && is_without_room(&error) { Ok(false) } else { Err(error) }
            }
        }
    }

    fn written_until(&self, position: u64) -> io::Result<u64> {
        match sys::seek_hole(self.buffered.as_fd(), position) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENXIO)) => self.len(),
            outcome => outcome,
        }
    }

    /// The lock belongs to the open file description that log writes use, so a write in flight in the kernel
    /// keeps it after the process is gone.
    fn try_lock(&self) -> io::Result<bool> {
        if self.locked_at.get().is_some() {
            return Ok(true);
        }
        let taken = sys::lock(self.log_file().as_fd())?;
        if taken {
            self.locked_at.get_or_init(fork_count);
        }
        Ok(taken)
    }
}

impl Drop for NativeFile {
    fn drop(&mut self) {
        // A forked child shares the open files: closing alone would leave the lock with it, and the child in turn must
        // not take it from its parent.
        if self.locked_at.get() != Some(&fork_count()) || self.is_in_flight.load(Ordering::Relaxed) {
            return;
        }
        // Which of the two took it is not known any more: log writes may have left the direct one since.
        let direct = self.direct.get().and_then(Option::as_ref);
        for file in direct.into_iter().chain([&self.buffered]) {
            // Cannot fail on an open file; closing it gives the lock back as well.
            let _ = sys::unlock(file.as_fd());
        }
    }
}

fn is_not_supported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

/// Whether there is no room on the disk; that a file may not get so long is another matter.
fn is_without_room(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

#[cfg(test)]
mod tests;
