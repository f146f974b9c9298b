//! The log writer: one write, one flush, one proof; and the choice of what carries it out.
//!
//! Guarantees: a flush starts only after every byte was reported written; a failed flush is never tried again (where the
//! kernel gave one up before it began, everything is written again before the next); after any other error or panic on the
//! way the writer refuses everything. io_uring that is refused is replaced by system calls only where the options allow
//! it, and the report says so.
//! Must not know: what the bytes are.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::file::NativeFile;
use super::syscalls::SyscallDevice;
use super::uring::RingDevice;
use super::{direct, probe, ring_setup, sys};
use crate::disk::{
    AlignedBuffer, BLOCK_BYTES, Backend, BackendReport, DeviceCounts, Durable, FlushMethod, FlushTiming,
    LogWriter, LogWriterOptions, WriteFile, block_floor, fork_count,
};

/// Opens the writer that the options ask for.
pub(super) fn open(options: &LogWriterOptions) -> io::Result<Box<dyn LogWriter>> {
    let refusal = match options.backend {
        Backend::Syscalls => return by_syscalls(options, "system calls were asked for".to_owned()),
        Backend::Auto | Backend::IoUring => match RingDevice::new(options.single_thread) {
            Ok(device) => {
                let asked = options.backend == Backend::IoUring;
                let reason = if asked { "io_uring was asked for" } else { "io_uring is available" };
                return Ok(Box::new(UringWriter::new(device, options, reason.to_owned())?));
            }
            Err(error) => error,
        },
    };
    let sentence = ring_setup::explain(&refusal);
    if options.backend == Backend::IoUring {
        return Err(io::Error::new(refusal.kind(), sentence));
    }
    by_syscalls(options, sentence)
}

fn by_syscalls(options: &LogWriterOptions, reason: String) -> io::Result<Box<dyn LogWriter>> {
    Ok(Box::new(SyscallWriter::new(SyscallDevice, options, reason)?))
}

/// Log writes through a ring.
pub(super) type UringWriter = NativeLogWriter<RingDevice>;
/// Log writes through system calls.
pub(super) type SyscallWriter = NativeLogWriter<SyscallDevice>;

/// What carries out single writes and flushes.
pub(super) trait Device: fmt::Debug + Send + 'static {
    const BACKEND: Backend;
    /// The flush methods it knows; of equals the first is taken.
    const METHODS: &'static [FlushMethod];

    /// Gets ready for writes from `buffer`. Called before every commit.
    fn adopt(&mut self, buffer: &AlignedBuffer);

    /// Writes what it can of the piece and says how much. Calls `meanwhile` while the device works, or before; it may
    /// be called more than once, and calls that follow the first do nothing. After an error other than EINTR
    /// and EAGAIN the device may have put another buffer in place of the piece's.
    fn write(&mut self, piece: Piece<'_>, meanwhile: &mut dyn FnMut()) -> io::Result<usize>;

    /// Flushes by `FlushMethod::RingFsync`.
    fn ring_fsync(&mut self, file: &NativeFile) -> io::Result<()>;

    /// Adds what it knows to the report.
    fn describe(&self, report: &mut BackendReport);
}

/// Bytes `from..to` of a buffer, to be written at `position`.
pub(super) struct Piece<'a> {
    pub(super) file: &'a NativeFile,
    pub(super) buffer: &'a mut AlignedBuffer,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) position: u64,
    /// Whether the write itself must be durable (`RWF_DSYNC`).
    pub(super) durably: bool,
}

/// A log writer over one of the devices.
#[derive(Debug)]
pub(super) struct NativeLogWriter<D> {
    /// Before the buffer: a ring is closed before the memory registered with it is freed.
    device: D,
    buffer: AlignedBuffer,
    file: Option<Arc<NativeFile>>,
    flush: FlushMethod,
    flush_is_open: bool,
    timings: Vec<FlushTiming>,
    counts: DeviceCounts,
    /// False while something is under way, so that it stays false when that ends in an error or a panic.
    usable: bool,
    forks: u32,
    reason: String,
}

impl<D: Device> NativeLogWriter<D> {
    pub(super) fn new(mut device: D, options: &LogWriterOptions, reason: String) -> io::Result<Self> {
        let flush_is_open = options.flush == FlushMethod::Auto;
        if !flush_is_open && !D::METHODS.contains(&options.flush) {
            let sentence = format!("{} is not possible with {}: {reason}", options.flush, D::BACKEND);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
        }
        let buffer = AlignedBuffer::new(options.buffer_bytes);
        device.adopt(&buffer);
        Ok(Self {
            device,
            buffer,
            file: None,
            flush: if flush_is_open { FlushMethod::Fdatasync } else { options.flush },
            flush_is_open,
            timings: Vec::new(),
            counts: DeviceCounts::default(),
            usable: true,
            forks: fork_count(),
            reason,
        })
    }

    fn refuse_if_unusable(&self) -> io::Result<()> {
        if self.forks != fork_count() {
            return Err(io::Error::other(
                "the log writer belongs to the process that this one was forked from",
            ));
        }
        if !self.usable {
            return Err(io::Error::other("the log writer failed before"));
        }
        Ok(())
    }

    fn attached(&self) -> Arc<NativeFile> {
        Arc::clone(self.file.as_ref().expect("a file is attached before anything is written"))
    }

    /// Writes the first `bytes` of the buffer, or of `scratch`, and flushes by `method`.
    fn carry_out(
        &mut self,
        method: FlushMethod,
        (position, bytes): (u64, usize),
        scratch: Option<&mut AlignedBuffer>,
        meanwhile: &mut dyn FnMut(),
    ) -> io::Result<()> {
        let file = self.attached();
        let durably = method == FlushMethod::WriteDsync && !cfg!(ringwal_zoo = "no_flush");
        let mut pending = Some(meanwhile);
        let mut once = || {
            if let Some(meanwhile) = pending.take() {
                meanwhile();
            }
        };
        let buffer = scratch.unwrap_or(&mut self.buffer);
        let mut done = 0;
        while done < bytes {
            let position = position + done as u64;
            let written = direct::patiently(|| {
                let piece =
                    Piece { file: &file, buffer: &mut *buffer, from: done, to: bytes, position, durably };
                self.device.write(piece, &mut once)
            });
            // In every case, also before an error.
            once();
            match written? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                _ if cfg!(ringwal_zoo = "short_write_ignored") => done = bytes,
                written => done += written,
            }
            self.counts.writes += 1;
            self.counts.flushes += u64::from(durably);
        }
        assert!(done == bytes, "a device cannot write more than it was given");
        match method {
            _ if cfg!(ringwal_zoo = "no_flush") => {}
            FlushMethod::WriteDsync => {}
            FlushMethod::RingFsync => self.device.ring_fsync(&file)?,
            FlushMethod::Fdatasync | FlushMethod::Auto => {
                let synced = sys::sync_content(file.log_file().as_fd());
                if !cfg!(ringwal_zoo = "failed_flush_retried") || synced.is_ok() {
                    synced?;
                } else {
                    sys::sync_content(file.log_file().as_fd())?;
                }
            }
        }
        self.counts.flushes += u64::from(!durably);
        self.counts.bytes += bytes as u64;
        Ok(())
    }
}

impl<D: Device> LogWriter for NativeLogWriter<D> {
    fn attach(&mut self, file: Arc<dyn WriteFile>) -> io::Result<()> {
        self.refuse_if_unusable()?;
        let file: Arc<dyn Any + Send + Sync> = file;
        let file = file.downcast::<NativeFile>().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "the file comes from another kind of disk")
        })?;
        self.file = Some(file);
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
        assert!(block_floor(position) == position, "log writes start on a block boundary");
        assert!(bytes > 0 && bytes.is_multiple_of(BLOCK_BYTES), "log writes are whole blocks");
        assert!(bytes <= self.buffer.len(), "log writes come from the buffer");
        assert!(self.file.is_some(), "a file is attached before anything is written");
        if let Err(error) = self.refuse_if_unusable() {
            meanwhile();
            return Err(error);
        }
        self.usable = false;
        self.device.adopt(&self.buffer);
        match self.carry_out(self.flush, (position, bytes), None, meanwhile) {
            // The kernel could start no thread to flush in. That flush was never begun; the bytes are written once more all the
            // same, so that nothing hangs on which of two flushes was for them.
            Err(error)
                if self.flush == FlushMethod::RingFsync && error.raw_os_error() == Some(libc::ECANCELED) =>
            {
                self.carry_out(FlushMethod::Fdatasync, (position, bytes), None, &mut || {})?;
            }
            outcome => outcome?,
        }
        self.usable = true;
        Ok(Durable::after_flush())
    }

    fn choose_flush(&mut self, position: u64, budget: Duration) -> io::Result<()> {
        if !self.flush_is_open {
            return Ok(());
        }
        assert!(block_floor(position) == position, "log writes start on a block boundary");
        self.refuse_if_unusable()?;
        self.usable = false;
        // Not the buffer, which may hold the beginning of the first commit already.
        let mut zeros = AlignedBuffer::new(BLOCK_BYTES);
        let counts = self.counts;
        let timings = probe::measure(D::METHODS, budget, &mut |method| {
            self.carry_out(method, (position, BLOCK_BYTES), Some(&mut zeros), &mut || {})
        })?;
        if let Some(cheapest) = timings.first() {
            self.flush = cheapest.method;
        }
        self.timings = timings;
        // The counts are of commits: what measuring cost is not theirs.
        self.counts = counts;
        self.usable = true;
        Ok(())
    }

    fn report(&self) -> BackendReport {
        let mut report = BackendReport {
            backend: D::BACKEND,
            reason: self.reason.clone(),
            flush: self.flush,
            timings: self.timings.clone(),
            direct: self.file.as_ref().is_some_and(|file| file.is_direct()),
            registered_buffer: false,
            ring_setup: String::new(),
        };
        self.device.describe(&mut report);
        report
    }

    fn counts(&self) -> DeviceCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests;
