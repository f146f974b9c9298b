//! Opening a journal for writing: options, locks, recovery or creation, and the devices of the commit path.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cursor::Cursors;
use super::options::Options;
use super::reader::JournalReader;
use super::space_ahead::SpaceAhead;
use super::stage::{Limits, Stage, Staged};
#[cfg(feature = "group-commit")]
use super::stats::Counters;
use super::writer::JournalWriter;
use crate::disk::native::NativeDisk;
use crate::disk::{
    AlignedBuffer, BLOCK_BYTES, Disk, Folder, LogWriter, LogWriterOptions, block_ceiling, fork_count,
};
use crate::error::{Error, Result};
use crate::format::commit::Chain;
use crate::format::file_name;
use crate::format::scan::Expected;
use crate::format::segment_header::SegmentHeader;
use crate::position::{JournalId, Offset};
use crate::recovery::{LogEnd, RecoverOptions, Recovered, RecoveryReport, Verdict, WriterLock, recover};
use crate::segment::active::WritableSegment;
use crate::segment::manager::{directory_of, list_bases};
use crate::segment::prepare::{Background, PrepareError, Preparer, create_segment};
use crate::segment::state;
use crate::segment::walk::{Cache, SegmentFile};
use crate::segment::watermark::{Mark, Watermark};

/// A living writer does not go away; one that was killed gives this lock back within milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_millis(250);
/// What measuring the flush methods may add to opening a journal.
const MEASURE_BUDGET: Duration = Duration::from_millis(5);

/// Who drives the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Driver {
    /// One thread makes the writer and makes all its calls.
    pub(crate) single_thread: bool,
    pub(crate) background: Background,
}

impl JournalWriter {
    /// Opens the journal in `directory` for writing, creating it (mode 0700) where the options say so, and recovers
    /// from whatever ended the last writer.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]; [`Error::Locked`] while another writer has it open; [`Error::Corrupt`] and the like
    /// when acknowledged bytes are damaged (nothing is changed then); [`Error::Torn`] under `Strict`;
    /// [`Error::DiskFull`]; [`Error::Io`].
    pub fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self> {
        let driver = Driver { single_thread: false, background: Background::Nobody };
        Self::open_directory(directory.as_ref(), options, driver)
    }

    pub(crate) fn open_directory(directory: &Path, options: Options, driver: Driver) -> Result<Self> {
        options.check()?;
        let disk = NativeDisk::open_write(directory, options.create)
            .map_err(|source| Error::io("open", directory, source))?;
        Self::open_on(disk, options, driver)
    }

    /// Opens the journal on a simulated disk.
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn open_simulated(disk: &crate::disk::sim::SimDisk, options: Options) -> Result<Self> {
        Self::open_simulated_with(disk, options, Background::Nobody)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn open_simulated_with(
        disk: &crate::disk::sim::SimDisk,
        options: Options,
        background: Background,
    ) -> Result<Self> {
        options.check()?;
        Self::open_on(disk.disk(), options, Driver { single_thread: true, background })
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, options: Options, driver: Driver) -> Result<Self> {
        let lock = WriterLock::acquire(&*disk, LOCK_PATIENCE)?;
        let is_new = list_bases(&*disk)?.is_empty();
        let opened = if is_new { create(&*disk, &options)? } else { reopen(&*disk, &options)? };
        let Recovered { report, active, prepared, end, .. } = opened;
        let id = active.header.id;
        let mut log = open_log(&*disk, &options, driver, &active)?;
        let mut stage = open_stage(&options, &active, &end);
        load_last_block(&mut stage, &active)?;
        measure(&mut *log, &active, &end)?;
        let mark = Mark { durable_end: end.offset(), last_commit: end.last_commit };
        let watermark = Arc::new(Watermark::create(&*disk, id, mark)?);
        let preparer = Arc::new(Preparer::new(disk.clone(), driver.background)?);
        if let Some(prepared) = prepared {
            preparer.offer(Arc::new(prepared));
        }
        stage.limits.granted = active.written_below();
        Ok(Self {
            directory: directory_of(&*disk),
            disk,
            id,
            options,
            log,
            active: Arc::new(active),
            preparer,
            watermark,
            counters: Arc::default(),
            report,
            durable_end: end.offset(),
            number: end.next.number,
            chain: end.next.chain,
            last_commit: end.last_commit,
            unvouched: end.unvouched,
            close_stands: end.clean && end.offset() > 0,
            stage,
            flying: Staged::default(),
            space_ahead: SpaceAhead::default(),
            failed: None,
            closed: false,
            closed_in_order: false,
            forks: fork_count(),
            _lock: lock,
        })
    }

    /// A reader of this journal, for this or another thread. It goes on working after the writer is gone: as one that was
    /// opened then, or, after a failure, with what was acknowledged.
    ///
    /// # Errors
    /// [`Error::Io`] and the errors of damaged state files.
    pub fn reader(&self) -> Result<JournalReader> {
        JournalReader::of_writer(self.disk.clone().reader(), self.watermark.clone(), self.id)
    }

    /// The journal's cursors.
    ///
    /// # Errors
    /// As [`reader`](Self::reader).
    pub fn cursors(&self) -> Result<Cursors> {
        Ok(Cursors::of_writer(self.disk.clone(), self.reader()?, &self.preparer))
    }

    #[cfg(feature = "group-commit")]
    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

fn reopen(disk: &dyn Disk, options: &Options) -> Result<Recovered> {
    let options = RecoverOptions {
        policy: options.policy,
        known_durable_below: options.known_durable_below.get(),
        lock_wait: options.lock_wait,
    };
    recover(disk, &options)
}

/// Makes the first segment of a new journal.
fn create(disk: &dyn Disk, options: &Options) -> Result<Recovered> {
    let start = Instant::now();
    let directory = directory_of(disk);
    if !options.create {
        return Err(Error::NotAJournal { directory });
    }
    refuse_orphans(disk)?;
    // Whoever made the directory may have been killed before its name was durable.
    disk.sync_name().map_err(|source| Error::io("sync the parent of", &directory, source))?;
    let id = JournalId(disk.new_identity());
    let now = disk.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let created = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let header = SegmentHeader { id, base: 0, capacity: options.capacity(), created };
    let active = create_segment(disk, header).map_err(|error| match error {
        PrepareError::Full(source) => Error::DiskFull { path: directory.clone(), source },
        PrepareError::Refused(error) | PrepareError::Doubtful(error) => error,
    })?;
    let next = Expected { number: 0, chain: Chain::origin(id), durable_below: 0 };
    let end = LogEnd { next, last_commit: 0, clean: true, unvouched: false };
    let report = RecoveryReport {
        verdict: Verdict::Clean,
        clean_shutdown: true,
        created: true,
        records_kept: 0,
        bytes_kept: 0,
        bytes_cut: 0,
        cut_files: Vec::new(),
        end: Offset::ZERO,
        ambiguous: false,
        evidence: Vec::new(),
        duration: start.elapsed(),
    };
    Ok(Recovered { report, active, prepared: None, end })
}

/// A directory without segments, but with what stands beside them, has lost them: that is no place for a new journal.
fn refuse_orphans(disk: &dyn Disk) -> Result<()> {
    let directory = directory_of(disk);
    if let Some(floor) = state::read_floor(disk)? {
        return Err(Error::MissingSegment { directory, base: Offset::new(floor.offset) });
    }
    match disk.open_read(Folder::Root, file_name::WATERMARK) {
        Ok(_) => Err(Error::MissingSegment { directory, base: Offset::ZERO }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            let path = disk.path(Folder::Root, file_name::WATERMARK);
            Err(crate::segment::files::open_error(path, error))
        }
    }
}

fn open_log(
    disk: &dyn Disk,
    options: &Options,
    driver: Driver,
    active: &WritableSegment,
) -> Result<Box<dyn LogWriter>> {
    let log_options = LogWriterOptions {
        backend: options.backend,
        flush: options.flush,
        single_thread: driver.single_thread,
        buffer_bytes: buffer_bytes(options),
    };
    let log = disk.log_writer(&log_options);
    let mut log = log.map_err(|source| Error::io("start the back end for", directory_of(disk), source))?;
    log.attach(active.file.clone()).map_err(|source| Error::io("write to", &active.path, source))?;
    Ok(log)
}

/// The stage of the commit at the journal's end.
fn open_stage(options: &Options, active: &WritableSegment, end: &LogEnd) -> Stage {
    let limits = Limits {
        id: active.header.id,
        commit_bytes_max: options.commit_bytes_max,
        commit_records_max: options.commit_records_max as usize,
        header: active.header,
        granted: active.written_below(),
    };
    let buffer = AlignedBuffer::new(buffer_bytes(options));
    Stage { buffer, start: end.offset(), staged: Staged::default(), limits }
}

/// The block before a commit's first byte, and the commit.
const fn buffer_bytes(options: &Options) -> usize {
    options.commit_bytes_max + 2 * BLOCK_BYTES
}

/// Puts the bytes before the journal's end that share its block into the buffer, past the cache: they are written again
/// with the next commit, so they must be what the device holds.
fn load_last_block(stage: &mut Stage, active: &WritableSegment) -> Result<()> {
    let head = stage.block_head();
    let start = stage.start - head as u64;
    let file = SegmentFile { path: active.path.clone(), header: active.header, file: active.file.clone() };
    let block = stage.buffer.get_mut(..head).expect("a buffer of at least a block");
    file.read(block, start, Cache::Past)
}

/// Measures the flush methods on the first whole block behind the end that is written space: it holds zeros, and zeros
/// are what is written.
fn measure(log: &mut dyn LogWriter, active: &WritableSegment, end: &LogEnd) -> Result<()> {
    let position = block_ceiling(active.header.position_of(end.offset()));
    let block = BLOCK_BYTES as u64;
    if position + block > active.file_end() {
        return Ok(());
    }
    active.grant(position + block).map_err(|error| match error {
        PrepareError::Full(source) => Error::DiskFull { path: active.path.clone(), source },
        PrepareError::Refused(error) | PrepareError::Doubtful(error) => error,
    })?;
    log.choose_flush(position, MEASURE_BUDGET)
        .map_err(|source| Error::io("measure flushes on", &active.path, source))
}
