//! `Journal`: the handle that many threads share.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::cleanup::{CleanupReport, Retention, cleanup};
use super::committer::{Committer, EndOfRounds};
use super::cursor::Cursors;
use super::follow::Follow;
use super::group_commit::{GroupCommitBuffer, Intake, NotTaken, Queued, Request};
use super::options::Options;
use super::own_slot;
use super::reader::JournalReader;
use super::receipt::{Receipt, Record};
use super::records::Records;
use super::rounds::{Promise, Slot};
use super::stats::{Counters, Stats};
use super::sync::thread::{self, JoinHandle};
use super::sync::{Instant, Mutex, mpsc};
use super::ticket::{Ticket, TrySubmitError};
use super::writer::{JournalWriter, check_sizes};
use super::writer_open::Driver;
use crate::disk::{BackendReport, Disk, block_file_size_signal, fork_count};
use crate::error::{Error, Result};
use crate::format::record::{RECORD_HEADER_BYTES, RecordKind, UnplacedHeader};
use crate::position::{Hash, JournalId, Offset};
use crate::recovery::RecoveryReport;
use crate::segment::prepare::{Background, Preparer};

/// A journal open for writing, shared by many threads (by reference or in an `Arc`).
///
/// One commit thread turns their appends into few durable device writes. Every acknowledgement means: on stable storage.
/// Dropping the journal closes it, but cannot report; [`close`](Self::close) can.
///
/// ```
/// # fn main() -> ringwal::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let directory = dir.path().join("journal");
/// let journal = ringwal::Journal::open(&directory, ringwal::Options::new())?;
/// std::thread::scope(|scope| {
///     for worker in 0..4 {
///         let journal = &journal;
///         scope.spawn(move || journal.append(format!("from worker {worker}").as_bytes()));
///     }
/// });
/// assert_eq!(journal.iter_from(ringwal::Offset::ZERO)?.count(), 4);
/// journal.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Journal {
    queue: GroupCommitBuffer,
    thread: Mutex<Option<JoinHandle<()>>>,
    opened: Opened,
    options: Options,
    reader: JournalReader,
    forks: u32,
}

/// A record that is hashed and not handed over yet.
#[derive(Debug)]
pub(crate) struct Hashed(Queued);

/// What the commit thread tells of the writer that it opened.
#[derive(Debug)]
struct Opened {
    disk: Arc<dyn Disk>,
    preparer: Arc<Preparer>,
    report: RecoveryReport,
    backend: BackendReport,
    counters: Arc<Counters>,
}

impl Journal {
    /// Opens the journal in `directory`, creating it (mode 0700) where the options say so, and recovers from whatever
    /// ended the last writer.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::Locked`] while another writer has it open; [`Error::Corrupt`] and the like
    /// when acknowledged bytes are damaged (nothing is changed then); [`Error::Torn`] under `Strict`;
    /// [`Error::DiskFull`]; [`Error::Io`].
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self> {
        let directory = directory.as_ref().to_owned();
        let driver = Driver { single_thread: true, background: Background::Thread };
        Self::start(options, move |options| JournalWriter::open_directory(&directory, options, driver))
    }

    /// Opens the journal on a simulated disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn open_simulated(disk: &crate::disk::sim::SimDisk, options: Options) -> Result<Self> {
        let disk = disk.disk();
        let driver = Driver { single_thread: true, background: Background::Thread };
        options.check()?;
        Self::start(options, move |options| JournalWriter::open_on(disk, options, driver))
    }

    /// Opens the journal on a disk that is open already; without `background`, segments are prepared by the commit
    /// thread itself.
    #[cfg(feature = "store")]
    pub(crate) fn open_on(disk: Arc<dyn Disk>, options: Options, background: bool) -> Result<Self> {
        let background = if background { Background::Thread } else { Background::Nobody };
        let driver = Driver { single_thread: true, background };
        Self::start(options, move |options| JournalWriter::open_on(disk, options, driver))
    }

    fn start(
        options: Options,
        open: impl FnOnce(Options) -> Result<JournalWriter> + Send + 'static,
    ) -> Result<Self> {
        options.check()?;
        let (queue, intake) = GroupCommitBuffer::new(options.queue_depth, spin(&options));
        let (tell, told) = mpsc::sync_channel(1);
        let of_thread = options.clone();
        // The ring belongs to one thread, so the thread that commits does the opening too.
        let thread = thread::Builder::new()
            .name("ringwal-commit".into())
            .spawn(move || commit_thread(intake, of_thread, open, &tell))
            .map_err(|source| Error::io("start the commit thread of", "journal", source))?;
        let opened = told.recv().unwrap_or_else(|_| {
            let message = "the commit thread ended while it opened the journal".into();
            Err(Error::Panicked { message })
        });
        let (opened, reader) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // It ends right after it has told why; joined, so that its locks are free when the caller tries again.
                let _ = thread.join();
                return Err(error);
            }
        };
        let thread = Mutex::new(Some(thread));
        Ok(Self { queue, thread, opened, options, reader, forks: fork_count() })
    }

    /// Appends a record and waits until it is durable. Records of one thread keep their order.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::DiskFull`], [`Error::Io`] (the next segment could not be made, as when there are no
    /// descriptors left), [`Error::Closed`]: the record will never appear.
    /// [`Error::Failed`]: whether it is durable is not known; reopen the journal. [`Error::Forked`].
    pub fn append(&self, payload: &[u8]) -> Result<Receipt> {
        self.check_fork()?;
        check_sizes([payload.len()].into_iter(), &self.options)?;
        let header = UnplacedHeader::new(payload, RecordKind::Payload { continues: false });
        let slot = own_slot::take(&self.queue.rounds, header, payload);
        self.queue.send(Request::Append { promise: Promise::new(&slot) })?;
        let offset = slot.wait()?;
        own_slot::put_back(slot);
        Ok(Receipt { offset: Offset::new(offset), hash: header.hash() })
    }

    /// Appends records as one atomic batch: after a crash all of them are there or none. No records: nothing happens.
    ///
    /// # Errors
    /// As [`append`](Self::append); the limit of a batch is what fits into a segment.
    pub fn append_batch<P: AsRef<[u8]>>(&self, payloads: &[P]) -> Result<Vec<Receipt>> {
        self.check_fork()?;
        check_sizes(payloads.iter().map(|payload| payload.as_ref().len()), &self.options)?;
        let Some(last) = payloads.len().checked_sub(1) else { return Ok(Vec::new()) };
        let queued = |(index, payload): (usize, &P)| queued(payload.as_ref().to_vec(), index < last);
        let records: Vec<Queued> = payloads.iter().enumerate().map(queued).collect();
        let placed: Vec<(u64, Hash)> = records
            .iter()
            .map(|record| ((RECORD_HEADER_BYTES + record.payload.len()) as u64, record.header.hash()))
            .collect();
        let mut next = self.ask(|promise| Request::Batch { records, promise })?;
        let receipt = |(bytes, hash)| {
            let offset = Offset::new(next);
            next += bytes;
            Receipt { offset, hash }
        };
        Ok(placed.into_iter().map(receipt).collect())
    }

    /// Hands a record over and returns at once (but waits while the queue is full). The ticket tells when it is durable.
    ///
    /// # Errors
    /// As [`append`](Self::append); failures of the device come with the ticket.
    pub fn submit(&self, payload: impl Into<Vec<u8>>) -> Result<Ticket> {
        self.submit_hashed(self.hash(payload.into())?)
    }

    /// The first half of [`submit`](Self::submit), for callers that submit under a lock: checks and hashes.
    pub(crate) fn hash(&self, payload: Vec<u8>) -> Result<Hashed> {
        check_sizes([payload.len()].into_iter(), &self.options)?;
        Ok(Hashed(queued(payload, false)))
    }

    /// The second half: hands the record over.
    pub(crate) fn submit_hashed(&self, Hashed(record): Hashed) -> Result<Ticket> {
        self.check_fork()?;
        let hash = record.header.hash();
        let slot = Arc::new(Slot::new(&self.queue.rounds, record));
        self.queue.send(Request::Append { promise: Promise::new(&slot) })?;
        Ok(Ticket::new(slot, hash))
    }

    /// As [`submit`](Self::submit), but never waits: gives the payload back when the queue is full.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`]; [`TrySubmitError::Refused`] with the errors of `submit`.
    pub fn try_submit(&self, payload: Vec<u8>) -> std::result::Result<Ticket, TrySubmitError> {
        let checked =
            self.check_fork().and_then(|()| check_sizes([payload.len()].into_iter(), &self.options));
        if let Err(error) = checked {
            return Err(TrySubmitError::Refused { payload, error });
        }
        let record = queued(payload, false);
        let hash = record.header.hash();
        let slot = Arc::new(Slot::new(&self.queue.rounds, record));
        match self.queue.try_send(Request::Append { promise: Promise::new(&slot) }) {
            Ok(()) => Ok(Ticket::new(slot, hash)),
            Err(NotTaken::Full(request)) => Err(TrySubmitError::Full { payload: payload_of(*request) }),
            Err(NotTaken::Refused(request, error)) => {
                Err(TrySubmitError::Refused { payload: payload_of(*request), error })
            }
        }
    }

    /// Waits until everything that was appended or submitted before is durable; gives the durable end.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::Closed`], [`Error::Forked`].
    pub fn sync(&self) -> Result<Offset> {
        self.check_fork()?;
        self.ask(|promise| Request::Sync { promise }).map(Offset::new)
    }

    /// Hands a request over that is no single append, and waits for its answer.
    fn ask(&self, request: impl FnOnce(Promise) -> Request) -> Result<u64> {
        let slot = Arc::new(Slot::new(&self.queue.rounds, queued(Vec::new(), false)));
        self.queue.send(request(Promise::new(&slot)))?;
        slot.wait()
    }

    /// Waits until the record at `offset` is durable, whoever appended it.
    ///
    /// # Errors
    /// [`Error::Failed`] and [`Error::Closed`] when it never will be; [`Error::Forked`].
    pub fn wait_durable(&self, offset: Offset) -> Result<()> {
        while !self.wait_durable_timeout(offset, Duration::from_secs(3600))? {}
        Ok(())
    }

    /// As [`wait_durable`](Self::wait_durable), at most for `patience`; `false` when it was not durable by then.
    ///
    /// # Errors
    /// As [`wait_durable`](Self::wait_durable).
    pub fn wait_durable_timeout(&self, offset: Offset, patience: Duration) -> Result<bool> {
        self.check_fork()?;
        // Beyond what a clock can tell is as long as it takes.
        let deadline = Instant::now().checked_add(patience);
        loop {
            // Before the look: when the journal ends in between, the look sees all that will ever be durable.
            let refusal = self.queue.rounds.refusal();
            if self.durable_end() > offset {
                return Ok(true);
            }
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
            let left =
                deadline.map_or(patience, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            let disk = self.reader.disk();
            self.reader.durable().wait_above(&*disk, offset.get(), left)?;
        }
    }

    /// Every offset below is durable.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        // As long as the journal is open this reads a page of memory and cannot fail; after that, what was seen last is
        // durable.
        self.reader.durable_end().unwrap_or(Offset::new(self.reader.durable().seen()))
    }

    /// The record at `offset`.
    ///
    /// # Errors
    /// As [`JournalReader::read`].
    pub fn read(&self, offset: Offset) -> Result<Record> {
        self.reader.read(offset)
    }

    /// Reads the record at `offset` into `payload`; allocates nothing once that has grown to the largest record.
    ///
    /// # Errors
    /// As [`JournalReader::read_into`].
    pub fn read_into(&self, offset: Offset, payload: &mut Vec<u8>) -> Result<Hash> {
        self.reader.read_into(offset, payload)
    }

    /// All records from `offset` on.
    ///
    /// # Errors
    /// As [`JournalReader::iter_from`].
    pub fn iter_from(&self, offset: Offset) -> Result<Records> {
        self.reader.iter_from(offset)
    }

    /// All records from `offset` on, waiting for more at the end, until the journal is closed.
    ///
    /// # Errors
    /// As [`JournalReader::follow`].
    pub fn follow(&self, offset: Offset) -> Result<Follow> {
        Ok(Follow::until(self.iter_from(offset)?, self.queue.rounds.ended.clone()))
    }

    /// A reader that goes on working after the journal is gone: as one that was opened then, or, after a failure, with what
    /// was acknowledged.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        self.reader.clone()
    }

    /// The journal's cursors.
    #[must_use]
    pub fn cursors(&self) -> Cursors {
        Cursors::of_writer(self.opened.disk.clone(), self.reader.clone(), &self.opened.preparer)
    }

    /// Raises the floor to the lowest pinned cursor, or as far below it as retention by bytes or age says, durably, and
    /// has the segments wholly below removed in the background. Without retention and without a pinned cursor nothing
    /// is removed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a cursor's file is damaged (nothing is removed then); [`Error::Io`]. Where that was a flush
    /// that failed, also in the background, the next commit is [`Error::Failed`]. [`Error::Failed`], [`Error::Closed`],
    /// [`Error::Forked`].
    pub fn cleanup(&self) -> Result<CleanupReport> {
        self.check_fork()?;
        if let Some(refusal) = self.queue.rounds.refusal() {
            return Err(refusal);
        }
        let Opened { disk, preparer, .. } = &self.opened;
        cleanup(&**disk, preparer, &self.reader, Retention::of(&self.options))
    }

    /// What carries the writes, why, and how commits are made durable.
    #[must_use]
    pub fn backend(&self) -> BackendReport {
        self.opened.backend.clone()
    }

    /// Counters since the journal was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let queued = self.queue.queued();
        Stats { queued, durable_end: self.durable_end(), ..self.opened.counters.snapshot() }
    }

    /// The queue in front of the commit thread.
    #[must_use]
    pub fn queue(&self) -> &GroupCommitBuffer {
        &self.queue
    }

    /// What recovery found and did when the journal was opened.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.opened.report
    }

    /// The journal's identity.
    #[must_use]
    pub fn journal_id(&self) -> JournalId {
        self.reader.journal_id()
    }

    /// Closes the journal: what was appended and submitted before becomes durable, then a last commit says that the end
    /// is in order. Appends of other threads that come too late get [`Error::Closed`]. Closing again does nothing.
    ///
    /// # Errors
    /// [`Error::Failed`] when the journal had failed or fails now; [`Error::Io`] when all is written, but the watermark could
    /// not be flushed; [`Error::Forked`]. Everything acknowledged is durable either way.
    pub fn close(&self) -> Result<()> {
        self.check_fork()?;
        let outcome = self.ask(|promise| Request::Close { promise });
        self.join();
        match outcome {
            // Somebody else closed it before or at the same time.
            Err(Error::Closed) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Its panics are caught inside and became the journal's failure.
            let _ = thread.join();
        }
    }

    pub(crate) fn check_fork(&self) -> Result<()> {
        if fork_count() == self.forks { Ok(()) } else { Err(Error::Forked) }
    }

    /// Has the commit thread panic.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn panic_commit_thread(&self) {
        let _ = self.queue.send(Request::Panic);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // A forked child has no commit thread to wait for; what it would close is the parent's.
        if self.check_fork().is_ok() {
            let _ = self.close();
            return;
        }
        // Nor must it let go of the thread's handle: the system may have given the same one to a thread of the child's.
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::forget(thread.take());
    }
}

fn commit_thread(
    intake: Intake,
    options: Options,
    open: impl FnOnce(Options) -> Result<JournalWriter>,
    tell: &mpsc::SyncSender<Result<(Opened, JournalReader)>>,
) {
    block_file_size_signal();
    EndOfRounds::new(intake.rounds.clone()).run(move |end| {
        let opened = open(options).and_then(|writer| Ok((writer.reader()?, writer)));
        let (reader, writer) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let _ = tell.send(Err(error));
                return;
            }
        };
        end.wakes(writer.watermark.clone());
        let opened = Opened {
            disk: writer.disk.clone(),
            preparer: writer.preparer.clone(),
            report: writer.recovery_report().clone(),
            backend: writer.backend(),
            counters: writer.counters(),
        };
        // The handle may be gone already when its thread panicked; then the queue is closed and so is the journal.
        let _ = tell.send(Ok((opened, reader)));
        Committer::new(writer, intake).run();
    });
}

fn queued(payload: Vec<u8>, continues: bool) -> Queued {
    let header = UnplacedHeader::new(&payload, RecordKind::Payload { continues });
    Queued { header, payload, keeps_memory: false }
}

/// How long a waiter that is alone looks out for its answer.
fn spin(options: &Options) -> Duration {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if processors > 1 { options.spin } else { Duration::ZERO }
}

/// The payload of an append that was not taken.
fn payload_of(request: Request) -> Vec<u8> {
    match request {
        Request::Append { promise } => promise.slot().take_payload(),
        _ => unreachable!("only appends are tried"),
    }
}
