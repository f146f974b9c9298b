//! System calls that the standard library lacks, one safe function each; results as `io::Result`.

#![expect(unsafe_code, reason = "system calls")]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A write that a signal or a busy device interrupted before it did anything is tried again this often at most.
pub(super) const RETRIES_MAX: u32 = 1000;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_bytes(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Repeats what a signal interrupted.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

pub(super) fn c_name(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a file name with a zero byte"))
}

/// `openat`, always close-on-exec.
pub(super) fn open_at(
    directory: BorrowedFd<'_>,
    name: &CStr,
    flags: libc::c_int,
    mode: libc::mode_t,
) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open for as long as it is borrowed; the name ends with a zero byte.
    let fd = uninterrupted(|| check(unsafe { libc::openat(directory.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC, mode) }))?;
    // SAFETY: the kernel has just given this descriptor to nobody but us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn stat(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    let mut stat = MaybeUninit::zeroed();
    // SAFETY: the descriptor is open; `stat` is writable memory of the right size.
    check(unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: `fstat` succeeded and filled it; zeroed bytes are a valid `stat` anyway.
    Ok(unsafe { stat.assume_init() })
}

pub(super) fn file_system_magic(fd: BorrowedFd<'_>) -> io::Result<i64> {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the descriptor is open; `stat` is writable memory of the right size.
    check(unsafe { libc::fstatfs(fd.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: `fstatfs` succeeded and filled it; zeroed bytes are a valid `statfs` anyway.
    #[expect(clippy::useless_conversion, reason = "the field has another width on other machines")]
    Ok(i64::from(unsafe { stat.assume_init() }.f_type))
}

pub(super) fn make_folder_at(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: the descriptor is open; the name ends with a zero byte.
    check(unsafe { libc::mkdirat(directory.as_raw_fd(), name.as_ptr(), 0o700) }).map(drop)
}

pub(super) fn rename_at(from: (BorrowedFd<'_>, &CStr), to: (BorrowedFd<'_>, &CStr)) -> io::Result<()> {
    let (from_fd, to_fd) = (from.0.as_raw_fd(), to.0.as_raw_fd());
    // SAFETY: both descriptors are open; both names end with a zero byte.
    check(unsafe { libc::renameat(from_fd, from.1.as_ptr(), to_fd, to.1.as_ptr()) }).map(drop)
}

pub(super) fn unlink_at(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: the descriptor is open; the name ends with a zero byte.
    check(unsafe { libc::unlinkat(directory.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
}

pub(super) fn set_mode(fd: BorrowedFd<'_>, mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    check(unsafe { libc::fchmod(fd.as_raw_fd(), mode) }).map(drop)
}

/// `fsync`. Not repeated when interrupted: the answer to a flush is taken once.
pub(super) fn sync(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    check(unsafe { libc::fsync(fd.as_raw_fd()) }).map(drop)
}

/// `fdatasync`. Not repeated when interrupted: the answer to a flush is taken once.
pub(super) fn sync_data(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open.
    check(unsafe { libc::fdatasync(fd.as_raw_fd()) }).map(drop)
}

/// `fallocate`.
pub(super) fn allocate(fd: BorrowedFd<'_>, mode: libc::c_int, position: u64, bytes: u64) -> io::Result<()> {
    let (position, bytes) = (offset(position)?, offset(bytes)?);
    // SAFETY: the descriptor is open.
    uninterrupted(|| check(unsafe { libc::fallocate(fd.as_raw_fd(), mode, position, bytes) }).map(drop))
}

pub(super) fn set_length(fd: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    let bytes = offset(bytes)?;
    // SAFETY: the descriptor is open.
    uninterrupted(|| check(unsafe { libc::ftruncate(fd.as_raw_fd(), bytes) }).map(drop))
}

/// The first hole at or after `position`.
pub(super) fn seek_hole(fd: BorrowedFd<'_>, position: u64) -> io::Result<u64> {
    // SAFETY: the descriptor is open. Its file offset is used by nobody: all reads and writes name their position.
    let found = unsafe { libc::lseek(fd.as_raw_fd(), offset(position)?, libc::SEEK_HOLE) };
    u64::try_from(found).map_err(|_| io::Error::last_os_error())
}

/// Drops the cached pages of the range, as far as they are clean.
pub(super) fn drop_cache(fd: BorrowedFd<'_>, position: u64, bytes: u64) -> io::Result<()> {
    let (position, bytes) = (offset(position)?, offset(bytes)?);
    // SAFETY: the descriptor is open. This call gives the error as its value.
    match unsafe { libc::posix_fadvise(fd.as_raw_fd(), position, bytes, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// One `pread`: at most `into.len()` bytes; 0 at the end of the file.
pub(super) fn read_once(fd: BorrowedFd<'_>, into: &mut [u8], position: u64) -> io::Result<usize> {
    let position = offset(position)?;
    // SAFETY: the descriptor is open; the kernel writes at most `into.len()` bytes to memory borrowed exclusively.
    check_bytes(unsafe { libc::pread(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), position) })
}

/// One `pwritev2` with one buffer: the bytes that were written.
pub(super) fn write_once(fd: BorrowedFd<'_>, bytes: &[u8], position: u64, flags: libc::c_int) -> io::Result<usize> {
    let vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let position = offset(position)?;
    // SAFETY: the descriptor is open; the one vector describes borrowed memory, which the kernel only reads.
    check_bytes(unsafe { libc::pwritev2(fd.as_raw_fd(), &raw const vector, 1, position, flags) })
}

fn lock_request() -> libc::flock {
    // SAFETY: `flock` is a plain structure of integers, for which zeros are valid: the whole file, from its start.
    let mut request: libc::flock = unsafe { MaybeUninit::zeroed().assume_init() };
    #[expect(clippy::cast_possible_truncation, reason = "the constants are 0 and 1")]
    {
        request.l_type = libc::F_WRLCK as libc::c_short;
        request.l_whence = libc::SEEK_SET as libc::c_short;
    }
    request
}

/// Takes the lock of this open file description on its whole file; `false` when another one has it.
pub(super) fn try_lock(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let request = lock_request();
    // SAFETY: the descriptor is open; the request lives in this frame.
    match check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) }) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether another open file description has the lock of `try_lock`. Takes nothing.
pub(super) fn is_locked(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut request = lock_request();
    // SAFETY: the descriptor is open; the request lives in this frame and may be written to.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut request) })?;
    Ok(libc::c_int::from(request.l_type) != libc::F_UNLCK)
}

/// Takes the exclusive `flock` of a directory; `false` when another open file description has it.
pub(super) fn try_flock(fd: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: the descriptor is open.
    match check(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn offset(number: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(number).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a file position past 2^63"))
}
