//! The io_uring back end: one write in flight at a time, then, where the method says so, one flush.
//!
//! No links and no drains: a flush is submitted only after every byte before it is known to be written. The kernel reads
//! the buffer from submission to completion. [`UringWriter::complete`] does not return in between, but for a panic or a
//! ring that is broken; then `in_flight` stays set, the writer refuses everything, and its buffers are never freed.

#![expect(unsafe_code, reason = "submissions and registrations name memory by address")]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};

use super::file::{NativeFile, is_passing};
use super::syscalls::own_file;
use super::uring_setup::make_ring;
use super::{flush, sys};
use crate::disk::{
    AlignedBuffer, BLOCK_BYTES, Backend, BackendReport, DeviceCounts, Durable, FlushMethod, FlushTiming, LogWriter,
    LogWriterOptions, WriteFile,
};

/// From this size on, work done while the device writes is worth a system call of its own to start the write.
const OVERLAP_FROM_BYTES: usize = 64 << 10;
const FILE_SLOT: u32 = 0;
const BUFFER_SLOT: u16 = 0;

pub(super) struct UringWriter {
    ring: IoUring,
    ring_setup: &'static str,
    /// Freed only when nothing is in flight.
    buffer: ManuallyDrop<AlignedBuffer>,
    /// One block of zeros for measuring; under the same rule.
    zeros: ManuallyDrop<AlignedBuffer>,
    in_flight: bool,
    failed: bool,
    /// Address and length of the buffer that is registered; growing the buffer moves it.
    registered_buffer: Option<(usize, usize)>,
    file: Option<Arc<NativeFile>>,
    has_file_table: bool,
    flush: FlushMethod,
    is_set: bool,
    timings: Vec<FlushTiming>,
    counts: DeviceCounts,
}

/// Which of the two buffers is written from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Buffer,
    Zeros,
}

impl UringWriter {
    pub(super) fn new(options: &LogWriterOptions) -> io::Result<Self> {
        let (ring, ring_setup) = make_ring(options.single_thread)?;
        let buffer = AlignedBuffer::new(options.buffer_bytes);
        // Without a table, writes name the descriptor; without a registered buffer, the kernel pins it each time.
        let has_file_table = ring.submitter().register_files_sparse(1).is_ok();
        let vector = libc::iovec { iov_base: buffer.as_ptr().cast_mut().cast(), iov_len: buffer.len() };
        // SAFETY: the vector describes memory that the writer owns and does not free while the ring lives (fields drop
        // in order of declaration, the ring first; a leaked buffer is never freed). A buffer that grows leaves its old
        // memory freed but registered: the kernel has pinned those pages, and no write names them any more.
        let registered = unsafe { ring.submitter().register_buffers(&[vector]) }.is_ok();
        let registered_buffer = registered.then(|| (buffer.as_ptr().addr(), buffer.len()));
        Ok(Self {
            ring,
            ring_setup,
            buffer: ManuallyDrop::new(buffer),
            zeros: ManuallyDrop::new(AlignedBuffer::new(BLOCK_BYTES)),
            in_flight: false,
            failed: false,
            registered_buffer,
            file: None,
            has_file_table,
            flush: if options.flush == FlushMethod::Auto { FlushMethod::Fdatasync } else { options.flush },
            is_set: options.flush != FlushMethod::Auto,
            timings: Vec::new(),
            counts: DeviceCounts::default(),
        })
    }

    fn file(&self) -> Arc<NativeFile> {
        self.file.clone().expect("a file is attached before the first write")
    }

    /// Writes `bytes` of the source at `position` and flushes by `method`.
    fn write_and_flush(
        &mut self,
        source: Source,
        bytes: usize,
        position: u64,
        method: FlushMethod,
        meanwhile: &mut dyn FnMut(),
    ) -> io::Result<()> {
        let flags = if method == FlushMethod::WriteDsync { libc::RWF_DSYNC } else { 0 };
        let mut done = 0;
        let mut retries = 0;
        let mut meanwhile = Some(meanwhile);
        while done < bytes {
            let entry = self.write_entry(source, done..bytes, position, flags);
            let overlap = meanwhile.take();
            match self.complete(&entry, overlap, bytes - done >= OVERLAP_FROM_BYTES) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    done += usize::try_from(written).unwrap_or(usize::MAX).min(bytes - done);
                    self.counts.writes += 1;
                }
                Err(error) if is_passing(&error) && !self.in_flight && retries < sys::RETRIES_MAX => retries += 1,
                Err(error) => return Err(error),
            }
        }
        match method {
            FlushMethod::Fdatasync => sys::sync_data(self.file().log_fd()),
            FlushMethod::RingFsync => {
                let entry = self.flush_entry();
                self.complete(&entry, None, false).map(drop)
            }
            FlushMethod::WriteDsync | FlushMethod::Auto => Ok(()),
        }
    }

    fn write_entry(
        &self,
        source: Source,
        range: std::ops::Range<usize>,
        position: u64,
        flags: libc::c_int,
    ) -> squeue::Entry {
        let buffer = match source {
            Source::Buffer => &self.buffer,
            Source::Zeros => &self.zeros,
        };
        let memory = &buffer[range.clone()];
        let position = position + range.start as u64;
        // More than fits into one operation is written short, and the rest follows.
        let bytes = u32::try_from(memory.len()).unwrap_or(1 << 30);
        let is_registered =
            source == Source::Buffer && self.registered_buffer == Some((buffer.as_ptr().addr(), buffer.len()));
        macro_rules! with_file {
            ($build:expr) => {
                if self.has_file_table {
                    $build(types::Fixed(FILE_SLOT).into())
                } else {
                    $build(Target::Fd(types::Fd(self.file().log_fd().as_raw_fd())))
                }
            };
        }
        if is_registered {
            with_file!(|target| write_fixed(target, memory, bytes, position, flags))
        } else {
            with_file!(|target| write_plain(target, memory, bytes, position, flags))
        }
    }

    fn flush_entry(&self) -> squeue::Entry {
        let datasync = types::FsyncFlags::DATASYNC;
        if self.has_file_table {
            opcode::Fsync::new(types::Fixed(FILE_SLOT)).flags(datasync).build()
        } else {
            opcode::Fsync::new(types::Fd(self.file().log_fd().as_raw_fd())).flags(datasync).build()
        }
    }

    /// Submits one operation and waits for its completion: what the kernel answered.
    fn complete(
        &mut self,
        entry: &squeue::Entry,
        meanwhile: Option<&mut dyn FnMut()>,
        overlap: bool,
    ) -> io::Result<i32> {
        assert!(!self.in_flight, "a second operation while one is in flight");
        let meanwhile = match meanwhile {
            // For a short write, what is to be done meanwhile costs less than starting the write separately would.
            Some(meanwhile) if !overlap => {
                meanwhile();
                None
            }
            meanwhile => meanwhile,
        };
        self.in_flight = true;
        // SAFETY: (1) the descriptor the entry names, or the file in the table's slot, is kept open by `self.file`, which
        // changes only while nothing is in flight; (2) the memory it names belongs to `self.buffer` or `self.zeros`,
        // which are neither changed (this holds `&mut self`) nor freed (see `drop`) until `in_flight` is cleared
        // below, after the completion was taken.
        unsafe { self.ring.submission().push(entry) }
            .map_err(|_| io::Error::other("the submission queue is full although nothing is in flight"))?;
        if let Some(meanwhile) = meanwhile {
            self.enter(0)?;
            meanwhile();
        }
        loop {
            if let Some(completion) = self.ring.completion().next() {
                self.in_flight = false;
                let result = completion.result();
                return if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) };
            }
            self.enter(1)?;
        }
    }

    /// `io_uring_enter`: hands over what is queued and waits for so many completions. What a signal or a busy kernel
    /// interrupted is repeated: what is queued stays queued. Any other error means that nothing is known any more.
    fn enter(&mut self, completions: usize) -> io::Result<()> {
        let mut retries = 0;
        loop {
            match self.ring.submitter().submit_and_wait(completions) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) && retries < sys::RETRIES_MAX =>
                {
                    retries += 1;
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a submission names as its file.
#[derive(Clone, Copy)]
enum Target {
    Fd(types::Fd),
    Fixed(types::Fixed),
}

impl From<types::Fixed> for Target {
    fn from(fixed: types::Fixed) -> Self {
        Self::Fixed(fixed)
    }
}

fn write_fixed(target: Target, memory: &[u8], bytes: u32, position: u64, flags: libc::c_int) -> squeue::Entry {
    let start = memory.as_ptr();
    match target {
        Target::Fd(fd) => {
            opcode::WriteFixed::new(fd, start, bytes, BUFFER_SLOT).offset(position).rw_flags(flags).build()
        }
        Target::Fixed(slot) => {
            opcode::WriteFixed::new(slot, start, bytes, BUFFER_SLOT).offset(position).rw_flags(flags).build()
        }
    }
}

fn write_plain(target: Target, memory: &[u8], bytes: u32, position: u64, flags: libc::c_int) -> squeue::Entry {
    let start = memory.as_ptr();
    match target {
        Target::Fd(fd) => opcode::Write::new(fd, start, bytes).offset(position).rw_flags(flags).build(),
        Target::Fixed(slot) => opcode::Write::new(slot, start, bytes).offset(position).rw_flags(flags).build(),
    }
}

impl LogWriter for UringWriter {
    fn attach(&mut self, file: Arc<dyn WriteFile>) -> io::Result<()> {
        assert!(!self.in_flight, "a change of files while a write is in flight");
        let file = own_file(file);
        if self.has_file_table {
            self.ring.submitter().register_files_update(FILE_SLOT, &[file.log_fd().as_raw_fd()])?;
        }
        self.file = Some(file);
        Ok(())
    }

    fn buffer(&mut self) -> &mut AlignedBuffer {
        assert!(!self.in_flight, "the buffer belongs to the kernel while a write is in flight");
        &mut self.buffer
    }

    fn write_durably(&mut self, position: u64, bytes: usize, meanwhile: &mut dyn FnMut()) -> io::Result<Durable> {
        assert!(position.is_multiple_of(BLOCK_BYTES as u64), "a commit is written at a block boundary");
        assert!(bytes.is_multiple_of(BLOCK_BYTES) && bytes > 0, "a commit is written in whole blocks");
        assert!(bytes <= self.buffer.len(), "a commit larger than its buffer");
        if self.failed || self.in_flight {
            meanwhile();
            return Err(io::Error::other("an earlier write or flush failed"));
        }
        let outcome = self.write_and_flush(Source::Buffer, bytes, position, self.flush, meanwhile);
        self.failed = outcome.is_err();
        outcome?;
        self.counts.flushes += 1;
        self.counts.bytes += bytes as u64;
        Ok(Durable::after_flush())
    }

    fn choose_flush(&mut self, position: u64, budget: Duration) -> io::Result<()> {
        if self.is_set {
            return Ok(());
        }
        let methods = [FlushMethod::WriteDsync, FlushMethod::Fdatasync, FlushMethod::RingFsync];
        let counts = self.counts;
        let timings = flush::measure(&methods, position, budget, |method, zeros, at| {
            self.write_and_flush(Source::Zeros, zeros.len(), at, method, &mut || ())
        });
        self.counts = counts;
        self.timings = timings.inspect_err(|_| self.failed = true)?;
        if let Some(cheapest) = self.timings.first() {
            self.flush = cheapest.method;
        }
        Ok(())
    }

    fn report(&self) -> BackendReport {
        BackendReport {
            backend: Backend::IoUring,
            reason: "io_uring is allowed and has what is needed".into(),
            flush: self.flush,
            timings: self.timings.clone(),
            direct: self.file.as_ref().is_some_and(|file| file.is_direct()),
            registered_file: self.has_file_table,
            registered_buffer: self.registered_buffer.is_some(),
            ring_setup: self.ring_setup.to_owned(),
        }
    }

    fn counts(&self) -> DeviceCounts {
        self.counts
    }
}

impl Drop for UringWriter {
    fn drop(&mut self) {
        if self.in_flight {
            // The kernel may read the buffers at any time from now on: they are left to it.
            return;
        }
        // SAFETY: dropped once, here, and not used after; nothing is in flight, so the kernel does not read it.
        unsafe { ManuallyDrop::drop(&mut self.buffer) };
        // SAFETY: as above.
        unsafe { ManuallyDrop::drop(&mut self.zeros) };
    }
}

impl std::fmt::Debug for UringWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringWriter")
            .field("ring_setup", &self.ring_setup)
            .field("flush", &self.flush)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
