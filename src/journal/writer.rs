//! `JournalWriter`: the single owner of a journal's end. The commit thread drives one; so can a program without threads.
//!
//! Guarantees: commits are strictly serial; the first failure is final; nothing is acknowledged without a
//! [`Durable`]. Must not know: queues, waiters.

use std::path::PathBuf;
use std::sync::Arc;

use super::options::{Options, Packing};
use super::receipt::Receipt;
use super::space_ahead::SpaceAhead;
use super::stage::{Room, Stage, Staged, Unplaced, bytes_of};
use super::stats::{Counters, Stats};
use crate::disk::{BackendReport, Disk, Durable, LogWriter, block_ceiling, block_floor, fork_count};
use crate::error::{Error, Result};
use crate::format::commit::{COMMIT_RECORD_BYTES, Chain, CommitRecord};
use crate::format::record::RECORD_HEADER_BYTES;
use crate::format::segment_header::{BLOCK_BYTES, CAPACITY_UNIT, SegmentHeader};
use crate::position::{Hash, JournalId, Offset};
use crate::recovery::{RecoveryReport, WriterLock};
use crate::segment::active::WritableSegment;
use crate::segment::prepare::{PrepareError, Preparer};
use crate::segment::watermark::{Mark, Watermark};

/// Space is kept written this far ahead of the commits.
const AHEAD_BYTES: u64 = 4 << 20;
/// So much behind the commits stays granted when zeros are written ahead again, so that no commit waits for the first of them.
const KEPT_BYTES: u64 = 64 << 10;
/// The next segment is prepared when no more than this, or half of the segment, is left of the active one.
const PREPARE_WHEN_LEFT_BYTES: u64 = 16 << 20;

/// A journal open for writing by one owner, without any thread.
///
/// Every call that appends returns when its records are durable. `Journal` lets many threads share one.
///
/// ```
/// # fn main() -> ringwal::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let directory = dir.path().join("journal");
/// let mut writer = ringwal::JournalWriter::open(&directory, ringwal::Options::new())?;
/// let receipt = writer.append(b"paid 5 to alice")?;
/// assert_eq!(writer.reader()?.read(receipt.offset)?.payload, b"paid 5 to alice");
/// writer.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct JournalWriter {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
    pub(super) id: JournalId,
    pub(super) options: Options,
    pub(super) log: Box<dyn LogWriter>,
    pub(super) active: Arc<WritableSegment>,
    pub(super) preparer: Arc<Preparer>,
    pub(super) watermark: Arc<Watermark>,
    pub(super) counters: Arc<Counters>,
    pub(super) report: RecoveryReport,
    /// Every offset below is durable.
    pub(super) durable_end: u64,
    pub(super) number: u64,
    pub(super) chain: Hash,
    /// Where the last commit begins.
    pub(super) last_commit: u64,
    /// The last commit holds records that no later commit vouches for.
    pub(super) unvouched: bool,
    /// The last commit is an orderly close, which lets an opening look at it alone and at no more than the two blocks behind it.
    /// It is taken back by an empty commit before any other: of a larger one a power cut could lose just those two blocks, and
    /// what stayed behind them would pass for the rest of a later commit.
    pub(super) close_stands: bool,
    /// The commit that is being gathered. It begins at the durable end, at the end of the commit that is on its way, or at the
    /// base of a segment that nothing was written to yet.
    pub(super) stage: Stage,
    /// The commit that is on its way; between commits, memory to use again.
    pub(super) flying: Staged,
    pub(super) space_ahead: SpaceAhead,
    pub(super) failed: Option<Error>,
    pub(super) closed: bool,
    /// With a last commit that says so.
    pub(super) closed_in_order: bool,
    pub(super) forks: u32,
    /// Given back last.
    pub(super) _lock: WriterLock,
}

impl JournalWriter {
    /// Appends a record; it is durable when this returns.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::DiskFull`] and [`Error::Io`] (the next segment could not be made, as when there are no
    /// descriptors left): the record will never appear, the journal works. [`Error::Failed`]: whether the record is durable is
    /// not known; reopen. [`Error::Closed`], [`Error::Forked`].
    pub fn append(&mut self, payload: &[u8]) -> Result<Receipt> {
        let mut receipts = self.append_batch(&[payload])?;
        Ok(receipts.pop().expect("a receipt for each record"))
    }

    /// Appends records as one atomic batch: after a crash all of them are there or none. No records: nothing happens.
    ///
    /// # Errors
    /// As [`append`](Self::append); the limit of a batch is what fits into a segment.
    pub fn append_batch<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<Vec<Receipt>> {
        self.check_usable()?;
        let records = unplaced_batch(payloads, &self.options)?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let offset = match self.stage(&records)? {
            Some(offset) => offset,
            None => {
                self.commit()?;
                self.stage(&records)?.expect("an empty commit takes what the limits allow")
            }
        };
        self.commit()?;
        Ok(receipts(offset, &records))
    }

    /// Appends records with as few flushes as possible; after a crash any number of them, from the first on, may be
    /// there. All are durable when this returns.
    ///
    /// # Errors
    /// As [`append`](Self::append); the records before the one that is refused are durable then.
    pub fn append_group<P: AsRef<[u8]>>(&mut self, payloads: &[P]) -> Result<Vec<Receipt>> {
        self.check_usable()?;
        let mut all = Vec::with_capacity(payloads.len());
        let staged = payloads.iter().try_for_each(|payload| {
            let record = unplaced_batch(std::slice::from_ref(payload), &self.options)?;
            let offset = match self.stage(&record)? {
                Some(offset) => offset,
                None => {
                    self.commit()?;
                    self.stage(&record)?.expect("an empty commit takes what the limits allow")
                }
            };
            all.extend(receipts(offset, &record));
            Ok(())
        });
        // What stands before a record that was refused must not wait for whatever comes next.
        self.commit()?;
        staged.map(|()| all)
    }

    /// Puts records that belong together into the commit that is gathered, changing to the next segment where they must
    /// be; gives the offset of the first, or `None` when what is staged must be committed first.
    pub(crate) fn stage(&mut self, records: &[Unplaced<'_>]) -> Result<Option<u64>> {
        let room = self.make_room(bytes_of(records), records.len())?;
        Ok((room == Room::Enough).then(|| self.stage.put(records)))
    }

    /// Sees to it that records of so many bytes fit into the commit, changing to the next segment where they must.
    /// Gives `Enough` or `CommitFirst`.
    fn make_room(&mut self, bytes: usize, records: usize) -> Result<Room> {
        if self.close_stands && records > 0 && !cfg!(ringwal_zoo = "close_not_taken_back") {
            self.write_empty_surely(false)?;
        }
        let mut room = self.stage.room(bytes, records);
        let commit_bytes = (COMMIT_RECORD_BYTES + self.stage.staged.bytes + bytes) as u64;
        while room == Room::SegmentFull {
            // One that an earlier opening made smaller can be too small as a whole. It begins with a commit all the same, which
            // tells where the one before it ends.
            if self.stage.start == self.active.header.base {
                let max = self.active.header.capacity - COMMIT_RECORD_BYTES as u64;
                if self.active.header.capacity >= self.options.capacity() {
                    return Err(Error::TooLarge { bytes: bytes as u64, max });
                }
                self.write_empty_surely(false)?;
            }
            self.rotate()?;
            room = self.stage.room(bytes, records);
        }
        if room == Room::NotGranted {
            let end = block_ceiling(self.active.header.position_of(self.stage.start + commit_bytes));
            self.active.grant(end).map_err(|error| self.not_prepared(error))?;
            self.stage.limits.granted = self.active.written_below();
            room = Room::Enough;
        }
        Ok(room)
    }

    /// Makes what is staged durable. `None` when nothing is staged.
    pub(crate) fn commit(&mut self) -> Result<Option<Durable>> {
        self.commit_while(&mut |_| {})
    }

    /// Makes what is staged durable; meanwhile, once, lets the caller put records into the commit that follows. `None`
    /// when nothing is staged.
    pub(crate) fn commit_while(&mut self, meanwhile: &mut dyn FnMut(&mut Stage)) -> Result<Option<Durable>> {
        if self.stage.is_empty() {
            return Ok(None);
        }
        self.write_commit(false, meanwhile).map(Some)
    }

    /// Whether the last commit is one that an empty commit would vouch for.
    #[cfg(feature = "group-commit")]
    pub(crate) fn is_unvouched(&self) -> bool {
        self.unvouched && self.failed.is_none()
    }

    /// Vouches for the last record: writes an empty commit, from which recovery can tell that what stands before it was
    /// durable. For when nothing will be appended for a while; `Journal` does it by itself. Does nothing when the last
    /// commit is vouched for already, or when a new segment would be needed and cannot be made.
    ///
    /// # Errors
    /// [`Error::Failed`], [`Error::Closed`], [`Error::Forked`].
    pub fn vouch(&mut self) -> Result<()> {
        self.check_usable()?;
        if self.unvouched { self.write_empty(false) } else { Ok(()) }
    }

    fn write_empty(&mut self, clean: bool) -> Result<()> {
        let outcome = self.write_empty_surely(clean);
        // Where it could not be begun (no room, no descriptor) there is no such proof; nothing that was acknowledged depends on it.
        if self.failed.is_some() { outcome } else { Ok(()) }
    }

    fn write_empty_surely(&mut self, clean: bool) -> Result<()> {
        assert!(self.stage.is_empty(), "an empty commit while records are staged");
        self.make_room(0, 0)?;
        self.write_commit(clean, &mut |_| {}).map(drop)
    }

    fn write_commit(&mut self, clean: bool, meanwhile: &mut dyn FnMut(&mut Stage)) -> Result<Durable> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let (start, head) = (self.stage.start, self.stage.block_head());
        std::mem::swap(&mut self.flying, &mut self.stage.staged);
        let used = COMMIT_RECORD_BYTES + self.flying.bytes;
        let end = match self.options.packing {
            Packing::Dense => start + used as u64,
            Packing::Padded => (start + used as u64).next_multiple_of(CAPACITY_UNIT),
        };
        let record = CommitRecord {
            clean,
            records: self.flying.records,
            bytes: end - start,
            number: self.number,
            durable_below: if cfg!(ringwal_zoo = "vouches_for_itself") { end } else { self.durable_end },
            chain: self.chain,
        };
        let (bytes, hash) = record.encode(start, self.id);
        let position = block_floor(self.active.header.position_of(start));
        let total = (head + used).next_multiple_of(BLOCK_BYTES);
        let buffer = &mut self.stage.buffer;
        buffer.grow(total);
        buffer[head..head + COMMIT_RECORD_BYTES].copy_from_slice(&bytes);
        buffer[head + used..total].fill(0);
        // The device takes this buffer; the one of the commit before, which it is done with, is for the commit that follows.
        std::mem::swap(buffer, self.log.buffer());
        let last_block = total - BLOCK_BYTES;
        if !cfg!(ringwal_zoo = "last_block_forgotten") {
            self.stage.buffer[..BLOCK_BYTES].copy_from_slice(&self.log.buffer()[last_block..total]);
        }
        self.stage.start = end;
        let mut chain = Chain::begin(&self.chain, &hash);
        #[cfg(ringwal_zoo = "watermark_ahead_of_the_truth")]
        self.watermark.publish_early(Mark { durable_end: end, last_commit: start });
        let (stage, hashes) = (&mut self.stage, &self.flying.hashes);
        let written = self.log.write_durably(position, total, &mut || {
            chain.add_all(hashes);
            meanwhile(stage);
        });
        let durable = written.map_err(|source| {
            let error = Error::io("commit to", &self.active.path, source);
            if cfg!(ringwal_zoo = "failure_is_not_final") { error } else { self.fail(error) }
        })?;
        // A flush in the background that failed in the meantime may have been told of this commit's bytes, and its own
        // flush not any more.
        if let Some(failure) = self.active.failure().or_else(|| self.preparer.failure()) {
            return Err(self.fail(failure));
        }
        self.chain = chain.finish();
        self.advance((start, end), total as u64, &durable);
        Ok(durable)
    }

    /// Notes that the commit from `start` to `end` is durable.
    fn advance(&mut self, (start, end): (u64, u64), device_bytes: u64, durable: &Durable) {
        self.last_commit = start;
        self.durable_end = end;
        // As recovery counts: an honest journal never gets there, a forged one must not stop the process.
        self.number = self.number.saturating_add(1);
        self.unvouched = self.flying.records > 0;
        self.close_stands = false;
        let counters = &self.counters;
        Counters::add(&counters.records, u64::from(self.flying.records));
        Counters::add(&counters.payload_bytes, self.flying.payload_bytes);
        Counters::add(&counters.commits, 1);
        Counters::add(&counters.device_bytes, device_bytes);
        let counts = self.log.counts();
        counters.device_writes.store(counts.writes, std::sync::atomic::Ordering::Relaxed);
        counters.flushes.store(counts.flushes, std::sync::atomic::Ordering::Relaxed);
        self.flying.clear();
        self.watermark.publish(Mark { durable_end: end, last_commit: start }, durable);
        self.space_ahead.committed(device_bytes);
        self.look_ahead();
    }

    /// Has the next segment, and the space ahead of the commits, prepared in time.
    fn look_ahead(&mut self) {
        if self.space_ahead.is_left_unwritten() {
            self.active.grant_whole();
        } else {
            let staged = self.stage.start + (COMMIT_RECORD_BYTES + self.stage.staged.bytes) as u64;
            self.active.give_back(self.active.header.position_of(staged) + KEPT_BYTES);
        }
        self.stage.limits.granted = self.active.written_below();
        let header = &self.active.header;
        let position = header.position_of(self.durable_end);
        if position + AHEAD_BYTES / 2 > self.stage.limits.granted
            && self.stage.limits.granted < self.active.file_end()
        {
            self.preparer.write_ahead(&self.active, position + AHEAD_BYTES);
        }
        let left = header.end() - self.durable_end;
        if left <= (header.capacity / 2).max(PREPARE_WHEN_LEFT_BYTES) && self.preparer.wants_work() {
            let next = self.next_header();
            let ahead = if self.space_ahead.is_left_unwritten() { 0 } else { AHEAD_BYTES };
            self.preparer.want(next, next.position_of(next.base) + ahead);
        }
    }

    fn next_header(&self) -> SegmentHeader {
        let now = self.disk.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        SegmentHeader {
            id: self.id,
            base: self.active.header.end(),
            capacity: self.options.capacity(),
            created: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn rotate(&mut self) -> Result<()> {
        assert!(self.stage.is_empty(), "a change of segments in the middle of a commit");
        let next = self.preparer.take(self.next_header()).map_err(|error| self.not_prepared(error))?;
        if let Err(source) = self.log.attach(next.file.clone()) {
            return Err(self.fail(Error::io("write to", &next.path, source)));
        }
        self.stage.start = next.header.base;
        self.stage.limits.header = next.header;
        self.stage.limits.granted = next.written_below();
        self.active = next;
        Counters::add(&self.counters.rotations, 1);
        super::cleanup::after_rotation(self);
        Ok(())
    }

    fn not_prepared(&mut self, error: PrepareError) -> Error {
        match error {
            PrepareError::Full(source) => Error::DiskFull { path: self.directory.clone(), source },
            PrepareError::Refused(error) => error,
            PrepareError::Doubtful(error) => self.fail(error),
        }
    }

    /// Nothing more is taken; `first` is what everyone is told from now on.
    #[cold]
    pub(crate) fn fail(&mut self, first: Error) -> Error {
        let failed = self.failed.get_or_insert_with(|| Error::Failed { first: Arc::new(first) });
        let failed = failed.clone();
        self.watermark.wake();
        failed
    }

    pub(crate) fn check_usable(&self) -> Result<()> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.closed {
            return Err(Error::Closed);
        }
        if fork_count() != self.forks {
            return Err(Error::Forked);
        }
        Ok(())
    }

    /// After a panic nobody knows what is staged: nothing is written any more, also by a close. What is durable stays so.
    #[cfg(feature = "group-commit")]
    pub(super) fn abandon(&mut self) {
        self.closed = true;
    }

    /// Closes the journal: writes a last commit that says so. Without it nothing is lost, but the next opening has to
    /// look for the end.
    ///
    /// # Errors
    /// [`Error::Failed`] when the journal had failed or fails now; [`Error::Io`] when all is written, but the watermark could
    /// not be flushed. Everything acknowledged is durable either way.
    pub fn close(mut self) -> Result<()> {
        self.close_in_place()
    }

    pub(crate) fn close_in_place(&mut self) -> Result<()> {
        self.check_usable()?;
        self.commit()?;
        self.write_empty(true)?;
        (self.closed, self.closed_in_order) = (true, true);
        if let Some(failure) = self.preparer.retire() {
            return Err(self.fail(failure));
        }
        let path = self.disk.path(crate::disk::Folder::Root, crate::format::file_name::WATERMARK);
        self.watermark.sync().map_err(|source| Error::io("sync", path, source))
    }

    /// Every offset below is durable.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        Offset::new(self.durable_end)
    }

    /// The journal's identity.
    #[must_use]
    pub fn journal_id(&self) -> JournalId {
        self.id
    }

    /// What recovery found and did when the journal was opened.
    #[must_use]
    pub fn recovery_report(&self) -> &RecoveryReport {
        &self.report
    }

    /// What carries the writes, and why.
    #[must_use]
    pub fn backend(&self) -> BackendReport {
        self.log.report()
    }

    /// Counters since the journal was opened.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { durable_end: self.durable_end(), ..self.counters.snapshot() }
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        // As `abandon`, where the panic goes through the caller.
        if !self.closed && !std::thread::panicking() {
            let _ = self.close_in_place();
        }
        // A handle can outlive the writer and holds the preparer too; the segments' locks must not wait for it.
        self.preparer.retire();
        // Else it is not known what is durable: its readers go on showing what was acknowledged, and no more.
        if self.closed_in_order {
            self.watermark.retire();
        }
    }
}

/// The records of a batch, hashed, each but the last marked to continue.
pub(crate) fn unplaced_batch<'a, P: AsRef<[u8]>>(
    payloads: &'a [P],
    options: &Options,
) -> Result<Vec<Unplaced<'a>>> {
    check_sizes(payloads.iter().map(|payload| payload.as_ref().len()), options)?;
    let last = payloads.len().saturating_sub(1);
    let unplaced = |(index, payload): (usize, &'a P)| Unplaced::new(payload.as_ref(), index < last);
    Ok(payloads.iter().enumerate().map(unplaced).collect())
}

/// Whether records of these sizes fit into one commit.
pub(crate) fn check_sizes(sizes: impl Iterator<Item = usize>, options: &Options) -> Result<()> {
    let max = options.payload_limit();
    let mut total = 0;
    for bytes in sizes {
        let bytes = bytes as u64;
        if bytes > max {
            return Err(Error::TooLarge { bytes, max });
        }
        total += bytes + RECORD_HEADER_BYTES as u64;
    }
    let max = options.records_bytes_max();
    if total > max { Err(Error::TooLarge { bytes: total, max }) } else { Ok(()) }
}

/// The receipts of records that stand one behind the other from `offset` on.
pub(crate) fn receipts(offset: u64, records: &[Unplaced<'_>]) -> Vec<Receipt> {
    let mut next = offset;
    let receipt = |record: &Unplaced<'_>| {
        let offset = Offset::new(next);
        next += (RECORD_HEADER_BYTES + record.payload.len()) as u64;
        Receipt { offset, hash: record.header.hash() }
    };
    records.iter().map(receipt).collect()
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
