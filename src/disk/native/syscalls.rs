//! The back end of system calls: `pwritev2` and `fdatasync`.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::file::{NativeFile, write_fully};
use super::{flush, sys};
use crate::disk::{
    AlignedBuffer, BLOCK_BYTES, Backend, BackendReport, DeviceCounts, Durable, FlushMethod, FlushTiming, LogWriter,
    LogWriterOptions, WriteFile,
};

#[derive(Debug)]
pub(super) struct SyscallWriter {
    buffer: AlignedBuffer,
    file: Option<Arc<NativeFile>>,
    flush: FlushMethod,
    /// The options named the method.
    is_set: bool,
    timings: Vec<FlushTiming>,
    reason: String,
    counts: DeviceCounts,
    failed: bool,
}

impl SyscallWriter {
    pub(super) fn new(options: &LogWriterOptions, reason: String) -> Self {
        let is_set = options.flush != FlushMethod::Auto;
        // `fdatasync` works everywhere, which matters where nothing can be measured.
        let flush = match options.flush {
            FlushMethod::WriteDsync => FlushMethod::WriteDsync,
            _ => FlushMethod::Fdatasync,
        };
        Self {
            buffer: AlignedBuffer::new(options.buffer_bytes),
            file: None,
            flush,
            is_set,
            timings: Vec::new(),
            reason,
            counts: DeviceCounts::default(),
            failed: false,
        }
    }
}

/// One durable write by the method; gives the write operations it took.
pub(super) fn write_and_flush(file: &NativeFile, method: FlushMethod, bytes: &[u8], at: u64) -> io::Result<u64> {
    if method == FlushMethod::WriteDsync {
        return write_fully(file.log_fd(), bytes, at, libc::RWF_DSYNC);
    }
    let writes = write_fully(file.log_fd(), bytes, at, 0)?;
    sys::sync_data(file.log_fd())?;
    Ok(writes)
}

/// The file as one of this disk's.
///
/// # Panics
/// When it is of another disk: files are attached to writers of their own disk.
pub(super) fn own_file(file: Arc<dyn WriteFile>) -> Arc<NativeFile> {
    let any: Arc<dyn Any + Send + Sync> = file;
    any.downcast().expect("a file of the same disk as the writer")
}

impl LogWriter for SyscallWriter {
    fn attach(&mut self, file: Arc<dyn WriteFile>) -> io::Result<()> {
        self.file = Some(own_file(file));
        Ok(())
    }

    fn buffer(&mut self) -> &mut AlignedBuffer {
        &mut self.buffer
    }

    fn write_durably(&mut self, position: u64, bytes: usize, meanwhile: &mut dyn FnMut()) -> io::Result<Durable> {
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "a commit is written at a block boundary");
        assert!(bytes.is_multiple_of(BLOCK_BYTES) && bytes > 0, "a commit is written in whole blocks");
        meanwhile();
        if self.failed {
            return Err(io::Error::other("an earlier write or flush failed"));
        }
        let file = self.file.as_ref().expect("a file is attached before the first write");
        let outcome = write_and_flush(file, self.flush, &self.buffer[..bytes], position);
        self.failed = outcome.is_err();
        self.counts.writes += outcome?;
        self.counts.flushes += 1;
        self.counts.bytes += bytes as u64;
        Ok(Durable::after_flush())
    }

    fn choose_flush(&mut self, position: u64, budget: Duration) -> io::Result<()> {
        if self.is_set {
            return Ok(());
        }
        let file = self.file.clone().expect("a file is attached before flushes are measured");
        let methods = [FlushMethod::WriteDsync, FlushMethod::Fdatasync];
        self.timings = flush::measure(&methods, position, budget, |method, zeros, at| {
            write_and_flush(&file, method, zeros, at).map(drop)
        })?;
        if let Some(cheapest) = self.timings.first() {
            self.flush = cheapest.method;
        }
        Ok(())
    }

    fn report(&self) -> BackendReport {
        BackendReport {
            backend: Backend::Syscalls,
            reason: self.reason.clone(),
            flush: self.flush,
            timings: self.timings.clone(),
            direct: self.file.as_ref().is_some_and(|file| file.is_direct()),
            registered_file: false,
            registered_buffer: false,
            ring_setup: String::new(),
        }
    }

    fn counts(&self) -> DeviceCounts {
        self.counts
    }
}
