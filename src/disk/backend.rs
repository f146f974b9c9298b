//! Which back end runs and how it flushes: the choice a user makes, and the report of what came of it.

use std::fmt;
use std::time::Duration;

/// Which kernel interface carries the log's writes. Both keep the same promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// io_uring where the kernel allows it, else system calls. [`BackendReport`] tells which, and why.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// `pwritev2` and `fdatasync`.
    Syscalls,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Syscalls => "syscalls",
        })
    }
}

/// How a commit's bytes are made durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FlushMethod {
    /// The cheapest of the others, measured when the journal is opened.
    #[default]
    Auto,
    /// One write with `RWF_DSYNC`.
    WriteDsync,
    /// A completed write, then `fdatasync(2)`.
    Fdatasync,
    /// A completed write, then a flush through the ring. Only with io_uring.
    RingFsync,
}

impl fmt::Display for FlushMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::WriteDsync => "write-dsync",
            Self::Fdatasync => "write+fdatasync",
            Self::RingFsync => "write+ring-fsync",
        })
    }
}

/// What one flush method cost when the journal was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushTiming {
    /// The method.
    pub method: FlushMethod,
    /// Median duration of one durable 4 KiB write.
    pub median: Duration,
    /// A quarter of the writes were at least as fast; this decides, because noise only ever adds.
    pub fast_quarter: Duration,
    /// How many writes were timed.
    pub rounds: u32,
}

/// What carries the log's writes in an open journal, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendReport {
    /// The back end that runs; never [`Backend::Auto`].
    pub backend: Backend,
    /// Why it runs, as a sentence for people; where io_uring was refused, by what and what to do.
    pub reason: String,
    /// How commits are made durable; never [`FlushMethod::Auto`] once the journal is open.
    pub flush: FlushMethod,
    /// The measurements behind the choice; empty when the method was set by the options or only one is possible.
    pub timings: Vec<FlushTiming>,
    /// Whether writes go past the page cache (`O_DIRECT`).
    pub direct: bool,
    /// Whether the commit buffer is registered with the ring.
    pub registered_buffer: bool,
    /// The ring's set-up flags in words; empty with system calls.
    pub ring_setup: String,
}

/// What a `LogWriter` is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogWriterOptions {
    pub(crate) backend: Backend,
    pub(crate) flush: FlushMethod,
    /// The writer is made and used on one thread only: the ring may be told so.
    pub(crate) single_thread: bool,
    /// Bytes of the commit buffer at the start, whole blocks; it can grow.
    pub(crate) buffer_bytes: usize,
}

/// The file system under a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    /// Its name as people know it (`ext4`, `tmpfs`, ...), or its magic number in hex.
    pub(crate) name: String,
    /// Why durability is weaker there than people expect, if it is.
    pub(crate) warning: Option<&'static str>,
}
