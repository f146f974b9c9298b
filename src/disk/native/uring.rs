//! Log writes through io_uring: one operation in flight, never more, and never a link or a drain between two.
//!
//! Guarantees: memory that the kernel may still read is never freed. A write returns only when its completion was
//! seen, whatever `meanwhile` does; where that cannot be known any more, the buffer is leaked, another is put in its
//! place, the file keeps its lock until the kernel lets go of it, and the ring is refused from then on. So between calls
//! nothing is in flight that anybody waits for, and dropping the ring, the buffer and the file needs no order. (They are
//! dropped ring first all the same.)
//! Must not know: how a commit is put together from pieces.

#![expect(unsafe_code, reason = "submission and registration hand memory to the kernel")]

use std::any::Any;
use std::fmt;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

use super::file::NativeFile;
use super::log_writer::{Device, Piece};
use super::{ring_setup, syscalls};
use crate::disk::{AlignedBuffer, Backend, BackendReport, FlushMethod, fork_count};

/// The kernel cuts longer writes itself; this is what it takes, rounded down to a power of two.
const PIECE_BYTES_MAX: usize = 1 << 30;
/// How often the kernel may say in a row that it has no room for a submission; with the pauses about ten seconds.
const PATIENCE: u32 = 10_000;
const PAUSE: Duration = Duration::from_millis(1);

/// A ring and the buffers registered with it. No file is: the kernel lets go of a registered file, and so of its lock, only
/// tens of milliseconds after the process was killed, and whoever opens the journal next waits for that
/// (docs/decisions/0018). One that an operation in flight uses is held by the operation.
pub(super) struct RingDevice {
    /// Its memory is not handed on by a fork, so a child must not drop it.
    ring: ManuallyDrop<IoUring>,
    setup: &'static str,
    buffers: Registrations,
    /// Number of the operation in flight, or of the last one.
    operation: u64,
    /// An operation's fate is unknown.
    lost: bool,
    forks: u32,
}

/// Places of the ring's table of buffers: commits are written from two buffers in turn.
const PLACES: u16 = 2;

/// Which memory stands in the ring's table of buffers, by the numbers of the buffers; 0 for none.
#[derive(Debug)]
struct Registrations {
    /// The ring has a table. False after that, or a buffer, was refused.
    has_table: bool,
    places: [u64; PLACES as usize],
    /// The place of the buffer that is written from next.
    current: u16,
}

/// How an operation ended. `outcome` is the completion's result, or why it was never seen.
struct Ran {
    outcome: io::Result<i32>,
    panic: Option<Box<dyn Any + Send>>,
}

impl RingDevice {
    pub(super) fn new(single_thread: bool) -> io::Result<Self> {
        let setup = ring_setup::set_up(single_thread)?;
        let submitter = setup.ring.submitter();
        // Before Linux 5.11, of which this feature is a mark, a fork could part registered memory from what the
        // process writes to it. (An empty table needs 5.19 anyhow.)
        let has_buffer_table = setup.ring.params().is_feature_ext_arg()
            && submitter.register_buffers_sparse(PLACES.into()).is_ok();
        Ok(Self {
            ring: ManuallyDrop::new(setup.ring),
            setup: setup.words,
            buffers: Registrations { has_table: has_buffer_table, places: [0; PLACES as usize], current: 0 },
            operation: 0,
            lost: false,
            forks: fork_count(),
        })
    }

    /// Runs one operation to its end, and `meanwhile`, if any, once in between.
    ///
    /// # Safety
    /// The memory that `entry` points to must stay valid and unchanged until this returns; and for ever when the
    /// outcome is an error.
    unsafe fn run(&mut self, entry: Entry, meanwhile: Option<&mut dyn FnMut()>) -> Ran {
        if self.lost {
            return Ran { outcome: Err(io::Error::other("the ring failed before")), panic: None };
        }
        self.operation += 1;
        let entry = entry.user_data(self.operation);
        // SAFETY: the entry's memory stays valid until its completion was seen, or for ever: the caller's promise.
        if unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.lost = true;
            return Ran { outcome: Err(io::Error::other("the ring is full")), panic: None };
        }
        let panic = meanwhile.and_then(|meanwhile| {
            // A call of its own, so that `meanwhile` runs while the device works. Where `meanwhile` did nothing this was
            // measured to cost no more than one call for submission and wait together (94 us both).
            // An error is not lost: the wait submits what is still queued and finds it again.
            let _ = self.ring.submit();
            catch_unwind(AssertUnwindSafe(meanwhile)).err()
        });
        let outcome = self.wait();
        self.lost = outcome.is_err();
        Ran { outcome, panic }
    }

    /// Waits for the completion of the operation in flight.
    fn wait(&mut self) -> io::Result<i32> {
        let mut refusals = 0;
        loop {
            if let Some(completion) = self.ring.completion().find(|c| c.user_data() == self.operation) {
                return Ok(completion.result());
            }
            match self.ring.submit_and_wait(1) {
                Ok(_) => refusals = 0,
                // The operation is still queued or in flight, and nothing but this call can bring its completion.
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY) if refusals < PATIENCE => {
                        refusals += 1;
                        thread::sleep(PAUSE);
                    }
                    Some(libc::EAGAIN | libc::EBUSY) => {
                        return Err(io::Error::other(format!(
                            "io_uring takes no operations any more ({error})"
                        )));
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    fn write_entry(&self, piece: &Piece<'_>) -> io::Result<Entry> {
        let bytes = &piece.buffer[piece.from..piece.to];
        let length = bytes.len().min(PIECE_BYTES_MAX);
        let length = u32::try_from(length).map_err(io::Error::other)?;
        let (start, position) = (bytes.as_ptr(), piece.position);
        let flags = if piece.durably { libc::RWF_DSYNC } else { 0 };
        let file = types::Fd(piece.file.log_file().as_raw_fd());
        Ok(match self.buffers.place_of(piece.buffer) {
            Some(place) => {
                opcode::WriteFixed::new(file, start, length, place).offset(position).rw_flags(flags).build()
            }
            None => opcode::Write::new(file, start, length).offset(position).rw_flags(flags).build(),
        })
    }

    /// Puts the buffer into the place of the table that was not written from last: with two buffers in turn, what
    /// stands there is the memory that this one had before it grew.
    fn register(&mut self, buffer: &AlignedBuffer) {
        let place = (self.buffers.current + 1) % PLACES;
        let memory = libc::iovec { iov_base: buffer.as_ptr().cast_mut().cast(), iov_len: buffer.len() };
        // SAFETY: register_buffers_update needs memory that is valid until its place is given to other memory or the
        // ring is gone. The kernel pins the pages, so memory that was freed before that is not written by anyone else
        // through the ring: `write_entry` names a place only for the buffer whose number stands there, and no
        // other memory ever has that number.
        let updated = unsafe { self.ring.submitter().register_buffers_update(place.into(), &[memory], None) };
        match updated {
            Ok(_) => {
                self.buffers.places[usize::from(place)] = buffer.number();
                self.buffers.current = place;
            }
            Err(_) => {
                self.buffers.has_table = false;
                self.buffers.places.fill(0);
            }
        }
    }
}

impl Registrations {
    fn place_of(&self, buffer: &AlignedBuffer) -> Option<u16> {
        (0..).zip(self.places).find_map(|(place, number)| (number == buffer.number()).then_some(place))
    }
}

impl Device for RingDevice {
    const BACKEND: Backend = Backend::IoUring;
    const METHODS: &'static [FlushMethod] =
        &[FlushMethod::Fdatasync, FlushMethod::WriteDsync, FlushMethod::RingFsync];

    fn adopt(&mut self, buffer: &AlignedBuffer) {
        match self.buffers.place_of(buffer) {
            Some(place) => self.buffers.current = place,
            None if self.buffers.has_table => self.register(buffer),
            None => {}
        }
    }

    fn write(&mut self, piece: Piece<'_>, meanwhile: &mut dyn FnMut()) -> io::Result<usize> {
        let entry = self.write_entry(&piece)?;
        // SAFETY: `entry` points into `piece.buffer`, which is borrowed exclusively throughout. When the outcome is an
        // error its memory is leaked in the next statement, before anything can return or unwind: `run` holds a
        // panic of `meanwhile` back.
        let ran = unsafe { self.run(entry, Some(meanwhile)) };
        if ran.outcome.is_err() {
            piece.file.leave_in_flight();
            let fresh = AlignedBuffer::new(piece.buffer.len());
            let unknown = mem::replace(piece.buffer, fresh);
            if !cfg!(ringwal_zoo = "buffer_freed_before_its_completion") {
                mem::forget(unknown);
            }
        }
        if let Some(panic) = ran.panic {
            resume_unwind(panic);
        }
        let result = ran.outcome?;
        if result == -libc::ECANCELED {
            // Nobody began it: the kernel needed a thread of its own for the write and could start none, because of signals
            // without end or limits of processes. (Nothing here cancels.)
            return syscalls::write(&piece);
        }
        usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
    }

    fn ring_fsync(&mut self, file: &NativeFile) -> io::Result<()> {
        let flags = types::FsyncFlags::DATASYNC;
        let entry = opcode::Fsync::new(types::Fd(file.log_file().as_raw_fd())).flags(flags).build();
        // SAFETY: a flush points to no memory.
        let ran = unsafe { self.run(entry, None) };
        if ran.outcome.is_err() {
            file.leave_in_flight();
        }
        match ran.outcome? {
            0 => Ok(()),
            result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
            _ => Err(io::Error::other("a flush that neither succeeded nor failed")),
        }
    }

    fn describe(&self, report: &mut BackendReport) {
        report.registered_buffer = self.buffers.places != [0; PLACES as usize];
        self.setup.clone_into(&mut report.ring_setup);
    }
}

impl Drop for RingDevice {
    fn drop(&mut self) {
        if self.forks != fork_count() {
            // A forked child has not got the ring's memory: at its addresses is nothing, or something of the child's own
            // that unmapping would take away.
            // SAFETY: an `OwnedFd` needs an open descriptor that nothing else closes: it is the ring's, and the ring, which
            // alone would close it, is never dropped in this process.
            drop(unsafe { OwnedFd::from_raw_fd(self.ring.as_raw_fd()) });
            return;
        }
        // SAFETY: the ring must not be used after this: `self` is going, and nothing else reaches the ring.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
    }
}

impl fmt::Debug for RingDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingDevice")
            .field("setup", &self.setup)
            .field("buffers", &self.buffers)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}
