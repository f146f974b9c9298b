//! The disk: the only room that knows `std::fs`, `libc`, `io_uring` and `unsafe`.
//!
//! Everything above sees a journal's directory through the traits below. [`ReadDisk`] and [`ReadFile`] cannot
//! change anything: readers and inspectors hold only these. [`Disk`] and [`WriteFile`] can. [`LogWriter`] is the one
//! way to make log bytes durable, and the only source of a [`Durable`].
//!
//! Two implementations: [`native`] (real files, io_uring or system calls) and, with the feature `sim`, [`sim`] (a disk
//! in memory that keeps what was written apart from what is durable).
//!
//! Must not know: records, segments, journals. Errors are plain `io::Error`; the rooms above add the file's path.

mod backend;
mod buffer;
mod fork;
#[cfg(feature = "store")]
mod identity;
pub(crate) mod native;
#[cfg(feature = "sim")]
pub(crate) mod sim;
mod wake;

pub use backend::{Backend, BackendReport, FlushMethod, FlushTiming};
pub(crate) use backend::{FileSystem, LogWriterOptions};
pub(crate) use buffer::{AlignedBuffer, BLOCK_BYTES, block_ceiling, block_floor};
pub(crate) use fork::fork_count;
#[cfg(feature = "store")]
pub(crate) use identity::FileIdentity;
pub(crate) use native::{block_file_size_signal, descriptors_max, is_of_the_device};
#[cfg(all(feature = "group-commit", not(ringwal_shuttle)))]
pub(crate) use wake::WakeWord;

use std::any::Any;
use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The folders of a journal's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Folder {
    /// The directory itself.
    Root,
    /// `cursors/`
    Cursors,
    /// `cut/`
    Cut,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) kind: EntryKind,
}

/// What a name stands for, without following links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Folder,
    /// A link, a pipe, a socket or a device: never opened.
    Other,
}

/// A journal's directory, for those who only look.
pub(crate) trait ReadDisk: Send + Sync + Debug {
    /// Where the file is, for messages to people only.
    fn path(&self, folder: Folder, name: &str) -> PathBuf;

    /// All names in the folder, in no order. A folder that does not exist is `NotFound`.
    fn list(&self, folder: Folder) -> io::Result<Vec<Entry>>;

    /// Opens a regular file for reading. Links are not followed and special files are refused (`InvalidInput`).
    fn open_read(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn ReadFile>>;

    /// The file as the system gives it, for a database that does its own reading; opened under the rules of `open_read`.
    /// `None` where there are no real files.
    #[cfg(feature = "store")]
    fn lend_read(&self, folder: Folder, name: &str) -> io::Result<Option<std::fs::File>>;

    /// Which file the name leads to now, under the rules of `open_read`. `None` where there are no real files.
    #[cfg(feature = "store")]
    fn identity(&self, folder: Folder, name: &str) -> io::Result<Option<FileIdentity>>;

    /// Maps the first block of a file that several processes share; writable where the file permits it.
    /// A file shorter than one block is refused (`InvalidData`).
    fn open_page(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn SharedPage>>;

    /// What file system the directory is on, for warnings.
    fn file_system(&self) -> FileSystem;

    /// With how many threads at once reading much and computing with it gets faster; at least 1.
    fn useful_threads(&self) -> usize;
}

/// A journal's directory, for the one writer.
pub(crate) trait Disk: ReadDisk {
    /// Opens an existing regular file for reading and writing, under the same rules as `open_read`. A file with more
    /// than one name (hard links) is refused (`InvalidInput`): a write through one name would change the other.
    fn open_write(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn WriteFile>>;

    /// As `lend_read`, for a database that writes too; opened under the rules of `open_write`.
    #[cfg(feature = "store")]
    fn lend_write(&self, folder: Folder, name: &str) -> io::Result<Option<std::fs::File>>;

    /// Creates a file, mode 0600. A name that exists is `AlreadyExists`. The name is durable after `sync_folder`.
    fn create(&self, folder: Folder, name: &str) -> io::Result<Arc<dyn WriteFile>>;

    /// Makes the folder, mode 0700; one that exists is no error. Durable after `sync_folder(Folder::Root)`.
    fn make_folder(&self, folder: Folder) -> io::Result<()>;

    /// Gives the file another name, atomically, in place of what has that name now. Durable after `sync_folder` of
    /// both folders.
    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()>;

    /// Removes the name. Durable after `sync_folder`.
    fn remove(&self, folder: Folder, name: &str) -> io::Result<()>;

    /// Makes names created, changed and removed in the folder durable.
    fn sync_folder(&self, folder: Folder) -> io::Result<()>;

    /// Makes the directory's own name durable, whoever made the directory.
    fn sync_name(&self) -> io::Result<()>;

    /// Waits, at most `patience`, for the lock of the folder that keeps other processes and threads out of the same
    /// section. `TimedOut` when it could not be had. Released when the guard is dropped.
    fn lock_folder(&self, folder: Folder, patience: Duration) -> io::Result<Box<dyn FolderLock>>;

    /// The writer of log bytes. To be called, and the result used, on the thread that will commit when
    /// `options.single_thread` is set.
    fn log_writer(&self, options: &LogWriterOptions) -> io::Result<Box<dyn LogWriter>>;

    /// 16 bytes that no other journal has.
    fn new_identity(&self) -> [u8; 16] {
        // The standard library keys its hash maps with random numbers of the operating system; the hash of a constant
        // under such a key is as unpredictable as the key.
        let key = std::collections::hash_map::RandomState::new();
        let halves = [0_u8, 1].map(|half| std::hash::BuildHasher::hash_one(&key, half));
        let mut identity = [0; 16];
        identity[..8].copy_from_slice(&halves[0].to_le_bytes());
        identity[8..].copy_from_slice(&halves[1].to_le_bytes());
        identity
    }

    /// The machine's clock.
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// This disk as one that cannot write.
    fn reader(self: Arc<Self>) -> Arc<dyn ReadDisk>;
}

/// Holds a folder's lock until dropped.
pub(crate) trait FolderLock: Send + Debug {}

/// An open file, for those who only look.
pub(crate) trait ReadFile: Any + Send + Sync + Debug {
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// When the file was last written, by the machine's clock.
    fn modified(&self) -> io::Result<SystemTime>;

    /// Fills `into` from `position` on; less only where the file ends. Short reads and EINTR are dealt with inside.
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize>;

    /// The same, past the page cache: what the device holds. Any position and length. Where the file system
    /// knows no direct reads, the cached pages of the range are dropped first.
    fn read_past_cache(&self, into: &mut [u8], position: u64) -> io::Result<usize>;

    /// The first position at or after `position` that can hold anything but zeros, or the file's length where there is none:
    /// what lies between is a hole or reserved space that was never written, which reads as zeros whatever the device
    /// holds. `position` itself where the file system cannot tell, or is not known to tell the truth.
    fn written_from(&self, position: u64) -> io::Result<u64>;

    /// Whether the byte at `position` can be read without waiting for the device, as far as the file system tells; `true`
    /// behind the file's end. Decides about speed only.
    fn is_cached(&self, position: u64) -> io::Result<bool>;

    /// fsync: content, length and all else of the file. A failure is final: it must not be called again.
    fn sync(&self) -> io::Result<()>;

    /// Whether some open file description, in any process, holds the lock of `WriteFile::try_lock` on this file.
    /// Takes nothing, not even for a moment.
    fn is_locked(&self) -> io::Result<bool>;
}

/// An open file, for the writer.
pub(crate) trait WriteFile: ReadFile {
    /// Writes all of `bytes` at `position`. Not durable before `sync`.
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Writes zeros, past the page cache where that is possible. `position` and `bytes` are whole blocks. Not
    /// durable before `sync`. The bytes are really written (not a hole): later writes there change no metadata.
    fn write_zeros(&self, position: u64, bytes: u64) -> io::Result<()>;

    /// Makes the file `bytes` long with its space reserved and reading as zeros. `Ok(false)` where the file
    /// system cannot reserve, or has no room to find out whether a file that is so long already has its space: then the file
    /// has its length, and no space but what it had. After an error it has the length it had, if that was not more.
    fn allocate(&self, bytes: u64) -> io::Result<bool>;

    /// The first position at or after `position` that was never really written (a hole or reserved space), or the
    /// file's length where the file system cannot tell.
    fn written_until(&self, position: u64) -> io::Result<u64>;

    /// Takes the exclusive lock of this open file, or says `false` when another open file has it, in this process
    /// or another. It is released when the last user of the open file in this process is gone, whatever forked children
    /// still have; where a write may be in flight in the kernel, or the process is killed, when nobody at all has the open
    /// file any more, the kernel included.
    fn try_lock(&self) -> io::Result<bool>;
}

/// The one way to make log bytes durable. Owns the buffer that the device writes from.
pub(crate) trait LogWriter: Debug + Send {
    /// From now on writes go to `file`, which must come from the same disk and be open for writing.
    fn attach(&mut self, file: Arc<dyn WriteFile>) -> io::Result<()>;

    /// The buffer that `write_durably` writes from.
    fn buffer(&mut self) -> &mut AlignedBuffer;

    /// Writes the first `bytes` of the buffer at `position` of the attached file and flushes the device. Both are
    /// whole blocks. While the device works, `meanwhile` is called once (it is called in every case, also before
    /// an error). Short writes are finished. After an error nothing is known about what reached the device, nothing
    /// must be retried, and the writer must not be used any more.
    ///
    /// # Panics
    /// When `position` or `bytes` are not whole blocks, `bytes` is zero or more than the buffer holds, or no file is attached.
    fn write_durably(
        &mut self,
        position: u64,
        bytes: usize,
        meanwhile: &mut dyn FnMut(),
    ) -> io::Result<Durable>;

    /// Measures what the flush methods cost by writing zeros at `position`, whose block must hold nothing but zeros,
    /// within about `budget`, and takes the cheapest from then on. Does nothing when the method was set by the options.
    fn choose_flush(&mut self, position: u64, budget: Duration) -> io::Result<()>;

    /// What runs, why, and how it flushes.
    fn report(&self) -> BackendReport;

    /// Counts since creation: (device writes, flushes, bytes written).
    fn counts(&self) -> DeviceCounts;
}

/// What a [`LogWriter`] did since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceCounts {
    pub(crate) writes: u64,
    pub(crate) flushes: u64,
    pub(crate) bytes: u64,
}

/// Proof that a flush was completed after everything it vouches for had been written.
///
/// Only a [`LogWriter`] makes one; an acknowledgement needs one.
#[derive(Debug)]
pub(crate) struct Durable(());

impl Durable {
    /// To be called only where a flush has just been reported complete and good.
    fn after_flush() -> Self {
        Self(())
    }
}

/// 512 words of 64 bits that several processes see, and a way to wait for a change of the first.
pub(crate) trait SharedPage: Send + Sync + Debug {
    /// The word; everything stored before the [`store`](Self::store) that wrote it is visible (acquire).
    fn load(&self, word: usize) -> u64;

    /// Sets words from `first` on, one after the other (release). On a page that is not writable this is a bug and panics.
    /// Where the file system has no room for it, nothing happens.
    fn store(&self, first: usize, values: &[u64]);

    /// Whether `store` and `announce` may be called.
    fn is_writable(&self) -> bool;

    /// The number of announcements so far, to be given to `wait`.
    fn announcements(&self) -> u32;

    /// Wakes all who wait, in all processes. Costs no system call for that when nobody does.
    fn announce(&self);

    /// Returns when there was an announcement after `seen` was read, after `patience`, or for no reason. On a page
    /// that is not writable it polls.
    fn wait(&self, seen: u32, patience: Duration);

    /// Makes the page's content durable.
    fn sync(&self) -> io::Result<()>;
}
