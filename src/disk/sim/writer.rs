//! The writer of log bytes: each write and each flush is an operation of its own, so a crash can come between.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::file::SimFile;
use super::names::InodeNumber;
use super::state::Shared;
use crate::disk::{
    AlignedBuffer, BLOCK_BYTES, Backend, BackendReport, DeviceCounts, Durable, FlushMethod, LogWriter,
    WriteFile,
};

#[derive(Debug)]
pub(super) struct SimWriter {
    shared: Arc<Shared>,
    boot: u64,
    buffer: AlignedBuffer,
    /// Held as long as it is written, so that its lock is held as well.
    attached: Option<(InodeNumber, Arc<dyn WriteFile>)>,
    counts: DeviceCounts,
    failed: bool,
}

impl SimWriter {
    pub(super) fn new(shared: Arc<Shared>, boot: u64, buffer_bytes: usize) -> Self {
        let buffer = AlignedBuffer::new(buffer_bytes);
        Self { shared, boot, buffer, attached: None, counts: DeviceCounts::default(), failed: false }
    }

    fn write(&mut self, file: InodeNumber, position: u64, bytes: usize) -> io::Result<()> {
        let mut written = 0;
        while written < bytes {
            let mut state = self.shared.lock();
            state.check(self.boot)?;
            let part = state.write_size(bytes - written);
            let from = &self.buffer[written..written + part];
            state.write(self.boot, file, position + written as u64, from)?;
            self.counts.writes += 1;
            self.counts.bytes += part as u64;
            written += if cfg!(ringwal_zoo = "short_write_ignored") { bytes - written } else { part };
        }
        Ok(())
    }

    fn flush(&mut self, file: InodeNumber, position: u64, bytes: usize) -> io::Result<Durable> {
        self.counts.flushes += 1;
        let left_out =
            self.counts.flushes.is_multiple_of(2) && cfg!(ringwal_zoo = "every_second_flush_left_out");
        if left_out || cfg!(ringwal_zoo = "no_flush") {
            return Ok(Durable::after_flush());
        }
        let flush = || self.shared.lock().flush(self.boot, file, Some((position, bytes)), true);
        match flush() {
            Err(_) if cfg!(ringwal_zoo = "failed_flush_retried") => flush()?,
            flushed => flushed?,
        }
        Ok(Durable::after_flush())
    }
}

impl LogWriter for SimWriter {
    fn attach(&mut self, file: Arc<dyn WriteFile>) -> io::Result<()> {
        self.shared.lock().check(self.boot)?;
        let any: &dyn Any = file.as_ref();
        let inode = any.downcast_ref().and_then(|file: &SimFile| file.inode_on(&self.shared, self.boot));
        let inode = inode.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the file was not opened on this disk since it started",
            )
        })?;
        self.attached = Some((inode, file));
        Ok(())
    }

    fn buffer(&mut self) -> &mut AlignedBuffer {
        &mut self.buffer
    }

    fn write_durably(
        &mut self,
        position: u64,
        bytes: usize,
        meanwhile: &mut dyn FnMut(),
    ) -> io::Result<Durable> {
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "log writes start on a block boundary");
        assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES), "log writes are whole blocks");
        assert!(bytes <= self.buffer.len(), "the buffer does not hold that much");
        let file = self.attached.as_ref().expect("a file is attached before anything is written").0;
        if self.failed {
            meanwhile();
            self.shared.lock().faults.retries_after_error += 1;
            return Err(io::Error::other("the writer is used after it had failed"));
        }
        if cfg!(ringwal_zoo = "flush_before_the_write") {
            self.flush(file, position, bytes)?;
            self.write(file, position, bytes)?;
            meanwhile();
            return Ok(Durable::after_flush());
        }
        if cfg!(ringwal_zoo = "flush_together_with_the_write") {
            // Told of both at once, the device does the flush before the write's last block.
            self.write(file, position, bytes - BLOCK_BYTES)?;
            self.flush(file, position, bytes)?;
            self.write(file, position, bytes)?;
            meanwhile();
            return Ok(Durable::after_flush());
        }
        let written = self.write(file, position, bytes);
        // Between the two: what the caller does here must not take the write for durable. The disk is not held.
        meanwhile();
        let outcome = written.and_then(|()| self.flush(file, position, bytes));
        self.failed = outcome.is_err();
        outcome
    }

    /// There is only one method, and it costs nothing.
    fn choose_flush(&mut self, _position: u64, _budget: Duration) -> io::Result<()> {
        self.shared.lock().check(self.boot)
    }

    fn report(&self) -> BackendReport {
        BackendReport {
            backend: Backend::Syscalls,
            reason: "simulated disk".to_owned(),
            flush: FlushMethod::WriteDsync,
            timings: Vec::new(),
            direct: !self.shared.lock().faults.buffered_log,
            registered_buffer: false,
            ring_setup: String::new(),
        }
    }

    fn counts(&self) -> DeviceCounts {
        self.counts
    }
}
