//! Thin safe faces of the system calls that std does not offer, or offers with retries that are wrong here.
//!
//! Guarantees: each function is one system call; only where it says so is EINTR dealt with.
//! Must not know: what the files are for.

#![expect(unsafe_code, reason = "the calls are foreign functions")]

use std::ffi::{CStr, OsString, c_int};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::os::unix::ffi::OsStringExt;
use std::ptr::{self, NonNull};

/// Opens `name` in `directory`; never handed on to programs that this process executes.
pub(super) fn open_at(directory: BorrowedFd<'_>, name: &CStr, flags: c_int, mode: u32) -> io::Result<File> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_LARGEFILE;
    let fd = until_not_interrupted(|| {
        // SAFETY: openat needs (1) an open directory: `directory` is borrowed for the call; (2) a string that ends
        // with zero: a `CStr`; (3) a mode where it creates: given always.
        unsafe { libc::openat(directory.as_raw_fd(), name.as_ptr(), flags, mode) }
    })?;
    // SAFETY: the descriptor was just opened and nothing else knows it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// The mode (kind and permissions) of what `name` in `directory` stands for, links not followed.
pub(super) fn mode_at(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<u32> {
    // SAFETY: `stat` consists of integers, for which zero is a value.
    let mut status: libc::stat = unsafe { mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: fstatat needs an open directory (borrowed), a string that ends with zero and a place for the answer.
    check(unsafe { libc::fstatat(directory.as_raw_fd(), name.as_ptr(), &raw mut status, flags) })?;
    Ok(status.st_mode)
}

pub(super) fn make_directory_at(directory: BorrowedFd<'_>, name: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: mkdirat needs an open directory (borrowed) and a string that ends with zero.
    check(unsafe { libc::mkdirat(directory.as_raw_fd(), name.as_ptr(), mode) }).map(drop)
}

pub(super) fn rename_at(from: (BorrowedFd<'_>, &CStr), to: (BorrowedFd<'_>, &CStr)) -> io::Result<()> {
    let (old, new) = (from.0.as_raw_fd(), to.0.as_raw_fd());
    // SAFETY: renameat needs two open directories (borrowed) and two strings that end with zero.
    check(unsafe { libc::renameat(old, from.1.as_ptr(), new, to.1.as_ptr()) }).map(drop)
}

pub(super) fn remove_at(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    // SAFETY: unlinkat needs an open directory (borrowed) and a string that ends with zero.
    check(unsafe { libc::unlinkat(directory.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
}

/// The magic number of the file system that holds `file`.
pub(super) fn file_system_magic(file: BorrowedFd<'_>) -> io::Result<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "magic numbers have 32 bits")]
    Ok(file_system(file)?.f_type as u32)
}

/// How much room the file system that holds `file` has, that for the superuser included; `None` where it does not tell.
pub(super) fn free_bytes(file: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let status = file_system(file)?;
    let block = u64::try_from(status.f_frsize).unwrap_or_default();
    Ok((status.f_blocks > 0 && block > 0).then(|| status.f_bfree.saturating_mul(block)))
}

fn file_system(file: BorrowedFd<'_>) -> io::Result<libc::statfs> {
    // SAFETY: `statfs` consists of integers, for which zero is a value.
    let mut status: libc::statfs = unsafe { mem::zeroed() };
    until_not_interrupted(|| {
        // SAFETY: fstatfs needs an open file (borrowed) and a place for the answer.
        unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut status) }
    })?;
    Ok(status)
}

/// Of what positions and lengths of direct I/O on `file` must be multiples; 0 when it knows no direct I/O, `None`
/// when the kernel does not tell.
pub(super) fn direct_alignment(file: BorrowedFd<'_>) -> Option<u32> {
    // SAFETY: `statx` consists of integers, for which zero is a value.
    let mut status: libc::statx = unsafe { mem::zeroed() };
    let (fd, mask) = (file.as_raw_fd(), libc::STATX_DIOALIGN);
    // SAFETY: statx with AT_EMPTY_PATH needs an open file (borrowed), a string that ends with zero and a place for
    // the answer.
    let result = unsafe { libc::statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, mask, &raw mut status) };
    let told = result == 0 && status.stx_mask & mask != 0;
    told.then(|| status.stx_dio_offset_align.max(status.stx_dio_mem_align))
}

/// Takes O_NONBLOCK away, which io_uring would take as leave to answer EAGAIN.
pub(super) fn set_blocking(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: F_GETFL takes no argument; the descriptor is borrowed.
    let flags = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) })?;
    // SAFETY: F_SETFL takes an integer; the descriptor is borrowed.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags & !libc::O_NONBLOCK) }).map(drop)
}

/// Takes the exclusive lock of the whole file for this open file description, or says `false`.
pub(super) fn lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    let range = whole_file(libc::F_WRLCK);
    // SAFETY: F_OFD_SETLK needs a descriptor (borrowed) and a `flock` to read, whose `l_pid` is zero.
    match check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) }) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives back the lock of this open file description, whoever else shares it; it need not have one.
pub(super) fn unlock(file: BorrowedFd<'_>) -> io::Result<()> {
    let range = whole_file(libc::F_UNLCK);
    // SAFETY: F_OFD_SETLK needs a descriptor (borrowed) and a `flock` to read, whose `l_pid` is zero.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) }).map(drop)
}

/// Whether another open file description than this one holds a lock on the file.
pub(super) fn is_locked_by_another(file: BorrowedFd<'_>) -> io::Result<bool> {
    let mut range = whole_file(libc::F_WRLCK);
    // SAFETY: F_OFD_GETLK needs a descriptor (borrowed) and a `flock` to read and write, whose `l_pid` is zero.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut range) })?;
    Ok(c_int::from(range.l_type) != libc::F_UNLCK)
}

fn whole_file(kind: c_int) -> libc::flock {
    // SAFETY: `flock` consists of integers, for which zero is a value; zero start and length mean the whole file.
    let mut range: libc::flock = unsafe { mem::zeroed() };
    #[expect(clippy::cast_possible_truncation, reason = "the kinds of locks are 0 to 2")]
    {
        range.l_type = kind as libc::c_short;
    }
    range
}

/// Reserves or zeroes `bytes` from `position` on. EINTR is dealt with.
pub(super) fn allocate(file: BorrowedFd<'_>, mode: c_int, position: u64, bytes: u64) -> io::Result<()> {
    let (position, bytes) = (file_offset(position)?, file_offset(bytes)?);
    until_not_interrupted(|| {
        // SAFETY: fallocate needs a descriptor (borrowed) and integers.
        unsafe { libc::fallocate64(file.as_raw_fd(), mode, position, bytes) }
    })
    .map(drop)
}

/// How long a file may get that this process writes (RLIMIT_FSIZE).
pub(super) fn file_bytes_max() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit needs a place for the answer.
    check(unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) })?;
    Ok(limit.rlim_cur)
}

/// How many descriptors this process may have; what is usual, where that is not told.
pub(crate) fn descriptors_max() -> usize {
    const USUAL: usize = 1024;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit needs a place for the answer.
    match check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }) {
        Ok(_) => usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX),
        Err(_) => USUAL,
    }
}

/// Whether the error is a device's own, and not one of opening something or of a limit: what `block/blk-core.c` of Linux
/// makes of a failed request (but for a full device), and what a file system says that has stopped after one.
pub(crate) fn is_of_the_device(error: &io::Error) -> bool {
    use libc::{EBADE, EILSEQ, EIO, ENODATA, ENOLINK, EREMOTEIO, EROFS, ESHUTDOWN, ETIMEDOUT};
    let errors = [EIO, EREMOTEIO, ENODATA, ETIMEDOUT, ENOLINK, EILSEQ, EBADE, ESHUTDOWN, EROFS];
    error.raw_os_error().is_some_and(|number| errors.contains(&number))
}

/// Has the calling thread, and those that it starts, told by an error alone that a file may not get that long, and not by
/// SIGXFSZ as well, which ends a process that has not said otherwise.
pub(crate) fn block_file_size_signal() {
    // SAFETY: `sigset_t` consists of integers, for which zero is a value.
    let mut signals: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: sigemptyset needs a place for a set.
    unsafe { libc::sigemptyset(&raw mut signals) };
    // SAFETY: sigaddset needs a set that was initialised, and the number of a signal.
    unsafe { libc::sigaddset(&raw mut signals, libc::SIGXFSZ) };
    // SAFETY: pthread_sigmask reads a set and, with null, gives no old one back. It cannot fail with a right number.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, ptr::null_mut()) };
}

/// The first hole at or after `position`; the end of the file counts as one.
pub(super) fn seek_hole(file: BorrowedFd<'_>, position: u64) -> io::Result<u64> {
    let position = file_offset(position)?;
    // SAFETY: lseek needs a descriptor (borrowed) and integers. The position it moves is used by nobody.
    let hole = unsafe { libc::lseek64(file.as_raw_fd(), position, libc::SEEK_HOLE) };
    u64::try_from(hole).map_err(|_| io::Error::last_os_error())
}

/// The first place at or after `position` that is no hole; `ENXIO` where none follows.
pub(super) fn seek_data(file: BorrowedFd<'_>, position: u64) -> io::Result<u64> {
    let position = file_offset(position)?;
    // SAFETY: as in `seek_hole`.
    let data = unsafe { libc::lseek64(file.as_raw_fd(), position, libc::SEEK_DATA) };
    u64::try_from(data).map_err(|_| io::Error::last_os_error())
}

/// Drops the clean cached pages that lie wholly within the range.
pub(super) fn drop_cached(file: BorrowedFd<'_>, position: u64, bytes: u64) -> io::Result<()> {
    let (position, bytes) = (file_offset(position)?, file_offset(bytes)?);
    // SAFETY: posix_fadvise needs a descriptor (borrowed) and integers.
    let refused =
        unsafe { libc::posix_fadvise64(file.as_raw_fd(), position, bytes, libc::POSIX_FADV_DONTNEED) };
    if refused == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(refused)) }
}

/// fsync once: an error, EINTR too, is the caller's to take as final. (std's `sync_all` would try again.)
pub(super) fn sync(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: fsync needs a descriptor (borrowed).
    check(unsafe { libc::fsync(file.as_raw_fd()) }).map(drop)
}

/// fdatasync once, under the same rule.
pub(super) fn sync_content(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: fdatasync needs a descriptor (borrowed).
    check(unsafe { libc::fdatasync(file.as_raw_fd()) }).map(drop)
}

/// One pwritev2 with `flags`; says how many bytes it wrote.
pub(super) fn write_with_flags(
    file: BorrowedFd<'_>,
    bytes: &[u8],
    position: u64,
    flags: c_int,
) -> io::Result<usize> {
    let piece = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let position = file_offset(position)?;
    // SAFETY: pwritev2 needs (1) a descriptor (borrowed); (2) one `iovec`, which lives in this frame, of memory that
    // can be read: the slice is borrowed for the call; it is not written to, whatever the pointer's type says.
    let written = unsafe { libc::pwritev2(file.as_raw_fd(), &raw const piece, 1, position, flags) };
    usize::try_from(written).map_err(|_| io::Error::last_os_error())
}

/// Whether the byte at `position` is in the page cache; `true` where the file system does not tell.
pub(super) fn is_cached(file: BorrowedFd<'_>, position: u64) -> io::Result<bool> {
    let mut byte = 0_u8;
    let place = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let position = file_offset(position)?;
    // SAFETY: preadv2 needs (1) a descriptor (borrowed); (2) one `iovec`, which lives in this frame, of memory that can
    // be written: one byte of this frame that nothing else borrows.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &raw const place, 1, position, libc::RWF_NOWAIT) };
    if read >= 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Ok(false),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL) => Ok(true),
        _ => Err(error),
    }
}

/// An open directory's entries, one after the other; closed when dropped.
pub(super) struct Listing(NonNull<libc::DIR>);

impl Listing {
    /// Takes the directory's file, which must have been opened for this alone: its position is moved.
    pub(super) fn new(directory: File) -> io::Result<Self> {
        // SAFETY: fdopendir needs an open directory and takes it over when it succeeds.
        let stream = unsafe { libc::fdopendir(directory.as_raw_fd()) };
        let stream = NonNull::new(stream).ok_or_else(io::Error::last_os_error)?;
        // The stream owns the descriptor from here on.
        let _ = directory.into_raw_fd();
        Ok(Self(stream))
    }

    /// The next name and its kind (`DT_...`; `DT_UNKNOWN` where the file system does not tell); `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(OsString, u8)>> {
        // SAFETY: the call needs nothing.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: the place of this thread's errno is valid as long as the thread.
        unsafe { *errno = 0 };
        // SAFETY: the stream is open until `self` is dropped, and borrowed exclusively.
        let entry: *const libc::dirent64 = unsafe { libc::readdir64(self.0.as_ptr()) };
        if entry.is_null() {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(0) { Ok(None) } else { Err(error) };
        }
        // SAFETY: the entry is valid until the next call on the stream; only the address of its name is taken,
        // since the record may be shorter than the type says.
        let name = unsafe { (&raw const (*entry).d_name).cast() };
        // SAFETY: the name ends with zero and is valid as long as the entry.
        let name = unsafe { CStr::from_ptr(name) };
        // SAFETY: the entry is valid, as above, and every record has this field.
        let kind = unsafe { (*entry).d_type };
        Ok(Some((OsString::from_vec(name.to_bytes().to_vec()), kind)))
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        // SAFETY: the stream is open and used for the last time.
        unsafe { libc::closedir(self.0.as_ptr()) };
    }
}

/// A shared mapping of the first bytes of a file; unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is an address and a length; access to the memory behind it is its users' business.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives the address only.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn new(file: &File, bytes: usize, writable: bool) -> io::Result<Self> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: mmap without a wished address touches no memory that is in use; the file is borrowed for the call
        // and may be closed after it.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { start, bytes })
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Makes the content durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        // SAFETY: msync needs a mapped range that starts on a page: the whole of this mapping.
        check(unsafe { libc::msync(self.start.as_ptr().cast(), self.bytes, libc::MS_SYNC) }).map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is this mapping and nothing borrows from it any more: borrows end before `self` does.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn until_not_interrupted(mut call: impl FnMut() -> c_int) -> io::Result<c_int> {
    loop {
        match check(call()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

fn file_offset(position: u64) -> io::Result<i64> {
    i64::try_from(position).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))
}
