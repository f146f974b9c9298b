//! Counts what reaches the device: calls that flush, and the device's own counters.
//!
//! Guarantees: every flush that this process asks for through the C library is counted, whichever crate or C++ library
//! asks; nobody's word is taken. The linker prefers the definitions here to the C library's. What goes through io_uring
//! does not come by here: a contender that uses it reports its own count, and the block device's counter shows both.

use std::ffi::{c_int, c_uint, c_void};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

static FLUSH_CALLS: AtomicU64 = AtomicU64::new(0);

/// Flushes asked for by system calls so far.
pub(crate) fn flush_calls() -> u64 {
    FLUSH_CALLS.load(Ordering::Relaxed)
}

fn flush() {
    FLUSH_CALLS.fetch_add(1, Ordering::Relaxed);
}

/// # Safety
/// As `fdatasync(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    flush();
    // SAFETY: the call touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_fdatasync, fd) as c_int }
}

/// # Safety
/// As `fsync(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    flush();
    // SAFETY: the call touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_fsync, fd) as c_int }
}

/// # Safety
/// As `syncfs(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn syncfs(fd: c_int) -> c_int {
    flush();
    // SAFETY: the call touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_syncfs, fd) as c_int }
}

/// # Safety
/// As `msync(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn msync(memory: *mut c_void, bytes: usize, flags: c_int) -> c_int {
    if flags & libc::MS_SYNC != 0 {
        flush();
    }
    // SAFETY: the caller's obligations are passed on unchanged.
    unsafe { libc::syscall(libc::SYS_msync, memory, bytes, flags) as c_int }
}

/// Without `SYNC_FILE_RANGE_*` there is nothing that flushes the device's cache: passed on, not counted.
///
/// # Safety
/// As `sync_file_range(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(fd: c_int, offset: i64, bytes: i64, flags: c_uint) -> c_int {
    // SAFETY: the call touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_sync_file_range, fd, offset, bytes, flags) as c_int }
}

/// # Safety
/// As `pwritev2(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev2(
    fd: c_int,
    pieces: *const libc::iovec,
    count: c_int,
    offset: i64,
    flags: c_int,
) -> isize {
    if flags & (libc::RWF_DSYNC | libc::RWF_SYNC) != 0 {
        flush();
    }
    // SAFETY: the caller's obligations are passed on unchanged; the kernel takes the offset in two halves, of which the
    // first is the whole on 64-bit machines.
    unsafe { libc::syscall(libc::SYS_pwritev2, fd, pieces, count, offset, 0, flags) as isize }
}

/// Makes sure that the calls of the standard library come by here.
pub(crate) fn check(directory: &Path) -> Result<()> {
    let path = directory.join("counting");
    let file = std::fs::File::create(&path)?;
    let before = flush_calls();
    file.sync_data()?;
    file.sync_all()?;
    std::fs::remove_file(&path)?;
    ensure!(flush_calls() == before + 2, "flushes are not counted: the figures would be worth nothing");
    Ok(())
}

/// The counters that the kernel keeps for a block device. They count what everybody does to it: measure alone.
#[derive(Clone, Debug)]
pub(crate) struct Device(PathBuf);

/// A reading of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeviceCounts {
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) flushes: u64,
}

impl Device {
    /// The device under the directory, if it is one that counts.
    pub(crate) fn under(directory: &Path) -> Result<Option<Self>> {
        let device = std::fs::metadata(directory)?.dev();
        let name = format!("/sys/dev/block/{}:{}/stat", libc::major(device), libc::minor(device));
        let device = Self(name.into());
        Ok(device.0.exists().then_some(device))
    }

    pub(crate) fn read(&self) -> Result<DeviceCounts> {
        let text =
            std::fs::read_to_string(&self.0).with_context(|| format!("reading {}", self.0.display()))?;
        let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        ensure!(fields.len() > 15, "the kernel is older than 5.5");
        // Documentation/block/stat.rst: writes, sectors of 512 bytes written, and requests to flush.
        Ok(DeviceCounts { writes: fields[4], written_bytes: fields[6] * 512, flushes: fields[15] })
    }
}

/// User and system time of all threads so far.
pub(crate) fn cpu_time() -> Result<Duration> {
    // SAFETY: a `rusage` is integers only, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the one pointer is to memory that is the call's to write.
    let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    ensure!(result == 0, "getrusage: {}", std::io::Error::last_os_error());
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}
