//! Recovery as a whole: lock, look, decide, heal, and hand over a journal whose end is in order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::heal::{Cut, heal, new_beginning};
use super::leftovers::remove_leftovers;
use super::lock::{WriterLock, last_opened, wait_for_lock, writer_lives};
use super::observe::{Observation, observe};
use super::plan::{AtEnd, Decision, RecoveryPolicy, decide};
use super::report::{RecoveryReport, Verdict};
use super::tail::LogEnd;
use crate::disk::native::NativeDisk;
use crate::disk::{Disk, Folder, ReadDisk, WriteFile, block_ceiling};
use crate::error::{Error, Result};
use crate::format::commit::Chain;
use crate::format::file_name;
use crate::format::scan::{Expected, Scan};
use crate::format::segment_header::SegmentHeader;
use crate::position::Offset;
use crate::segment::active::WritableSegment;
use crate::segment::files::open_error;
use crate::segment::manager::{WRITTEN_MAX, list_bases};
use crate::segment::walk::{Cache, Item, SegmentFile, Walk};

/// How to recover.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecoverOptions {
    pub(crate) policy: RecoveryPolicy,
    /// Every offset below is known to have been durable.
    pub(crate) known_durable_below: u64,
    /// How long to wait for the lock of a segment file, which a write in flight of a killed process may still hold.
    pub(crate) lock_wait: Duration,
}

/// A journal whose end is in order, ready to be written.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) report: RecoveryReport,
    /// The segment to go on in.
    pub(crate) active: WritableSegment,
    /// The segment prepared behind it, if there is one.
    pub(crate) prepared: Option<WritableSegment>,
    pub(crate) end: LogEnd,
}

/// What a look at a journal found: what recovery would keep.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) report: RecoveryReport,
    /// Why the journal could not be opened for writing, under the policy asked for.
    pub(crate) refusal: Option<Error>,
}

/// What recovery of `directory` would do, without doing it or taking a lock: the report, or the error. Beside a living
/// writer it finds nothing to do, or, when something was appended meanwhile, nothing that could be relied on.
///
/// # Errors
/// What opening for writing with this policy would answer; [`Error::Locked`] beside a writer that appends.
pub fn plan_recovery(directory: impl AsRef<Path>, policy: RecoveryPolicy) -> Result<RecoveryReport> {
    let directory = directory.as_ref();
    let disk = NativeDisk::open_read(directory).map_err(|source| Error::io("open", directory, source))?;
    loop {
        let opened = last_opened(&*disk);
        let planned =
            examine(&*disk, policy, 0).and_then(|found| found.refusal.map_or(Ok(found.report), Err));
        if matches!(&planned, Ok(report) if report.verdict == Verdict::Clean) {
            return planned;
        }
        // A look takes a while, and beside a writer its parts do not fit each other.
        if writer_lives(&*disk)? {
            let path = disk.path(Folder::Root, file_name::LOCK);
            return Err(Error::Locked { path, holder: super::lock::holder(&*disk) });
        }
        if last_opened(&*disk) == opened {
            return planned;
        }
    }
}

/// Recovers the journal in `directory` under this policy and closes it again.
///
/// # Errors
/// As `Journal::open`. After an error the directory can be recovered the same way again.
pub fn recover_directory(directory: impl AsRef<Path>, policy: RecoveryPolicy) -> Result<RecoveryReport> {
    let directory = directory.as_ref();
    let disk: Arc<dyn Disk> =
        NativeDisk::open_write(directory, false).map_err(|source| Error::io("open", directory, source))?;
    let lock_wait = Duration::from_secs(10);
    let _lock = WriterLock::acquire(&*disk, Duration::from_millis(250))?;
    let options = RecoverOptions { policy, known_durable_below: 0, lock_wait };
    Ok(recover(&*disk, &options)?.report)
}

/// Recovers one segment file: the journal's last written one is put in order as when the journal is opened; an earlier,
/// sealed one is checked from its first record to its last and never changed.
///
/// # Errors
/// [`Error::Corrupt`] for damage, with its place; [`Error::NotAJournal`] when `path` is no segment of a journal;
/// otherwise as `Journal::open`.
pub fn recover_file(path: impl AsRef<Path>, policy: RecoveryPolicy) -> Result<RecoveryReport> {
    let path = path.as_ref();
    let start = Instant::now();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = path.file_name().and_then(|name| name.to_str()).and_then(file_name::parse_segment);
    let base = base.ok_or_else(|| Error::NotAJournal { directory: directory.into() })?;
    let disk = NativeDisk::open_read(directory).map_err(|source| Error::io("open", directory, source))?;
    // A name that no file has is a mistake, and no word about the journal's end, however high its number.
    if !list_bases(&*disk)?.contains(&base) {
        return Err(Error::NotAJournal { directory: directory.into() });
    }
    let seen = observe(&*disk, 0, false)?;
    if seen.tail.segment.header.base <= base {
        return recover_directory(directory, policy);
    }
    let header =
        seen.segments.header_at(base).ok_or_else(|| Error::NotAJournal { directory: directory.into() })?;
    check_sealed(&*disk, header, start)
}

/// Walks over a sealed segment up to the end that the next one vouches for.
fn check_sealed(disk: &dyn ReadDisk, header: SegmentHeader, start: Instant) -> Result<RecoveryReport> {
    let segment = SegmentFile::open(disk, header)?;
    let next = SegmentFile::open(disk, read_next_header(disk, &header)?)?;
    let end = next.first_commit(Cache::Past)?.map(|commit| commit.durable_below);
    let scan = Scan::at_commit(header.id, header.base, header.end(), None).check_hash(true);
    let mut walk = Walk::new(segment.clone(), scan, Cache::Past, 1 << 20);
    let mut records = 0;
    let kept = loop {
        match walk.next()? {
            Item::Record { .. } => records += 1,
            Item::Commit { .. } | Item::CommitEnd { .. } | Item::Padding { .. } => {}
            Item::SegmentEnd => break walk.offset(),
            Item::Bad { at, .. } if Some(at) == end => break at,
            Item::Bad { at, kind } => {
                return Err(Error::corrupt(&segment.path, at..end.unwrap_or(header.end()), kind, []));
            }
        }
    };
    Ok(RecoveryReport {
        verdict: Verdict::Clean,
        clean_shutdown: true,
        created: false,
        records_kept: records,
        bytes_kept: kept - header.base,
        bytes_cut: 0,
        cut_files: Vec::new(),
        end: Offset::new(kept),
        ambiguous: false,
        evidence: Vec::new(),
        duration: start.elapsed(),
    })
}

fn read_next_header(disk: &dyn ReadDisk, header: &SegmentHeader) -> Result<SegmentHeader> {
    let next = crate::segment::manager::read_header(disk, header.end(), Cache::Past)?;
    let directory = crate::segment::manager::directory_of(disk);
    next.map(|(header, _)| header).ok_or(Error::MissingSegment { directory, base: Offset::new(header.end()) })
}

/// Looks at a journal without changing anything: what recovery would keep.
pub(crate) fn examine(disk: &dyn ReadDisk, policy: RecoveryPolicy, known_durable: u64) -> Result<Found> {
    let start = Instant::now();
    let seen = observe(disk, known_durable, policy == RecoveryPolicy::TruncateCorrupt)?;
    let (refusal, verdict) = match judge(&seen, policy) {
        Ok(verdict) => (None, verdict),
        Err(error) => (Some(error), Verdict::Clean),
    };
    let report =
        report(&seen, verdict, Cut { bytes: bytes_to_cut(&seen), files: Vec::new() }, start.elapsed());
    Ok(Found { report, refusal })
}

/// Recovers the journal on `disk`, whose `LOCK` the caller holds.
pub(crate) fn recover(disk: &dyn Disk, options: &RecoverOptions) -> Result<Recovered> {
    let start = Instant::now();
    let mut files = Writable { disk, lock_wait: options.lock_wait, open: BTreeMap::new() };
    // Before anything is believed: whatever a killed writer had in flight has landed when these locks can be had, and
    // what only the cache knows of the last segment and the directory is on the device.
    if !cfg!(ringwal_zoo = "lock_on_the_lock_file_only") {
        for base in list_bases(disk)?.into_iter().rev().take(WRITTEN_MAX) {
            files.get(base)?;
        }
    }
    files.settle()?;
    let past_faults = options.policy == RecoveryPolicy::TruncateCorrupt;
    let mut seen = observe(disk, options.known_durable_below, past_faults)?;
    // What was given up may have left more empty segments behind the one that is written than a writer makes.
    while files.get_from(&seen)? {
        files.settle()?;
        seen = observe(disk, options.known_durable_below, past_faults)?;
    }
    let verdict = judge(&seen, options.policy)?;
    restore_length(&seen, &mut files)?;
    let is_in_order = verdict == Verdict::Clean;
    let cut = if is_in_order { Cut::default() } else { heal(disk, &seen, &mut |base| files.get(base))? };
    remove_leftovers(disk, &seen)?;
    let end = end_after(&seen);
    let report = report(&seen, verdict, cut, start.elapsed());
    let Observation { segments, tail, .. } = seen;
    let header = tail.segment.header;
    let active = files.segment(header, end.offset())?;
    let prepared = segments.header_at(header.end()).map(|header| files.segment(header, header.base));
    let prepared = prepared.transpose()?;
    Ok(Recovered { report, active, prepared, end })
}

fn judge(seen: &Observation, policy: RecoveryPolicy) -> Result<Verdict> {
    let at_end = seen.at_end();
    let segment = &seen.tail.segment;
    let (bad, kind) = seen.tail.bad;
    let evidence = !seen.evidence.is_empty() && !cfg!(ringwal_zoo = "evidence_ignored");
    match decide(at_end, evidence, policy) {
        Decision::CleanEnd => Ok(Verdict::Clean),
        Decision::CutTorn => Ok(Verdict::CutTorn),
        Decision::CutCorrupt => Ok(Verdict::CutCorrupt),
        Decision::RefuseTorn => {
            Err(Error::Torn { path: segment.path.clone(), at: Offset::new(seen.tail.kept_end()) })
        }
        Decision::RefuseCorrupt => {
            Err(Error::corrupt(&segment.path, bad..segment.header.end(), kind, seen.evidence.clone()))
        }
        Decision::RefuseUnreadable => {
            Err(seen.tail.unreadable.clone().expect("the end is unreadable only because of an error"))
        }
    }
}

/// Gives a file back the length that its header says: a copy or a file system may have cut it.
fn restore_length(seen: &Observation, files: &mut Writable<'_>) -> Result<()> {
    let segment = &seen.tail.segment;
    let length = segment.file.len().map_err(|source| Error::io("stat", &segment.path, source))?;
    let whole = segment.header.position_of(segment.header.end());
    if length < whole {
        let file = files.get(segment.header.base)?;
        file.allocate(whole).map_err(|source| Error::io("allocate", &segment.path, source))?;
        file.sync().map_err(|source| Error::io("sync", &segment.path, source))?;
    }
    Ok(())
}

/// Where the journal ends once it is healed.
fn end_after(seen: &Observation) -> LogEnd {
    if let Some(first) = new_beginning(seen) {
        let (_, hash) = first.encode(first.durable_below, seen.segments.journal_id());
        let next = Expected {
            number: first.number + 1,
            chain: Chain::begin(&first.chain, &hash).finish(),
            durable_below: first.durable_below + first.bytes,
        };
        return LogEnd { next, last_commit: first.durable_below, clean: false, unvouched: false };
    }
    match seen.tail.partial {
        Some(partial) if partial.whole_records > 0 => partial.healed_end(),
        _ => seen.tail.end,
    }
}

fn bytes_to_cut(seen: &Observation) -> u64 {
    let tail = seen.dirty_end.map_or(0, |end| end - seen.tail.kept_end());
    tail + seen.dirty_later.iter().map(|dirty| dirty.end - dirty.segment.header.base).sum::<u64>()
}

fn report(seen: &Observation, verdict: Verdict, cut: Cut, duration: Duration) -> RecoveryReport {
    let kept_end = seen.tail.kept_end();
    let scanned = seen.tail.records > 0 || seen.tail.partial.is_some() || !seen.tail.end.clean;
    RecoveryReport {
        verdict,
        clean_shutdown: seen.tail.end.clean && seen.at_end() == AtEnd::Zeros && seen.evidence.is_empty(),
        created: false,
        records_kept: seen.tail.records,
        bytes_kept: if scanned { kept_end - seen.tail.segment.header.base } else { 0 },
        bytes_cut: cut.bytes,
        cut_files: cut.files,
        end: Offset::new(kept_end),
        ambiguous: verdict == Verdict::CutTorn && seen.ambiguous,
        evidence: seen.evidence.clone(),
        duration,
    }
}

/// Segment files open for writing, each with its lock.
struct Writable<'a> {
    disk: &'a dyn Disk,
    lock_wait: Duration,
    open: BTreeMap<u64, Arc<dyn WriteFile>>,
}

impl Writable<'_> {
    fn get(&mut self, base: u64) -> Result<Arc<dyn WriteFile>> {
        if let Some(file) = self.open.get(&base) {
            return Ok(file.clone());
        }
        let name = file_name::segment(base);
        let path = self.disk.path(Folder::Root, &name);
        let file =
            self.disk.open_write(Folder::Root, &name).map_err(|error| open_error(path.clone(), error))?;
        if !wait_for_lock(&*file, self.lock_wait).map_err(|source| Error::io("lock", &path, source))? {
            return Err(Error::Locked { path, holder: super::lock::holder(self.disk) });
        }
        self.open.insert(base, file.clone());
        Ok(file)
    }

    /// Opens and locks what is not yet open from the last written segment on. Whether there was anything.
    fn get_from(&mut self, seen: &Observation) -> Result<bool> {
        if cfg!(ringwal_zoo = "lock_on_the_lock_file_only") {
            return Ok(false);
        }
        let open_before = self.open.len();
        let end = seen.tail.segment.header.base;
        let mut bases = seen.segments.headers().iter().map(|header| header.base).filter(|base| *base >= end);
        bases.try_for_each(|base| self.get(base).map(drop))?;
        Ok(self.open.len() > open_before)
    }

    /// Syncs the directory and the files that are open.
    fn settle(&self) -> Result<()> {
        for (base, file) in &self.open {
            let path = self.disk.path(Folder::Root, &file_name::segment(*base));
            file.sync().map_err(|source| Error::io("sync", path, source))?;
        }
        let path = crate::segment::manager::directory_of(self.disk);
        self.disk.sync_folder(Folder::Root).map_err(|source| Error::io("sync", path, source))
    }

    /// Below `used`, an offset, are commits.
    fn segment(&mut self, header: SegmentHeader, used: u64) -> Result<WritableSegment> {
        let file = self.get(header.base)?;
        let path = self.disk.path(Folder::Root, &file_name::segment(header.base));
        let stat = |source| Error::io("stat", &path, source);
        let whole = header.position_of(header.end());
        // Files are made with their whole length; what is behind `written` is reserved, where the file system reserves.
        let written = file.written_until(header.position_of(header.base)).map_err(stat)?.min(whole);
        let reserved = file.allocate(whole).map_err(|source| Error::io("allocate", &path, source))?;
        let used = block_ceiling(header.position_of(used)).min(whole);
        let is_hole_told = reserved || written < whole;
        // A hole inside of the commits (a copy may have made one of zeros) is no space for zeros. A file that is neither
        // reserved nor has a hole may be nothing but holes of which the file system does not tell: zeros are written anew.
        let written = if is_hole_told { written.max(used) } else { used };
        Ok(WritableSegment::new(path, header, file, reserved, written))
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::format::commit::{COMMIT_RECORD_BYTES, Chain, CommitRecord};
    use crate::format::record::{RecordKind, UnplacedHeader};
    use crate::position::JournalId;

    const ID: JournalId = JournalId([4; 16]);

    /// A segment with one commit, whose payload stays a hole but for its last bytes, as in a copy that leaves zeros out.
    /// Gives the commit's end.
    fn commit_with_a_hole(disk: &dyn Disk, header: SegmentHeader) -> u64 {
        let payload = vec![0; 20_000];
        let record = UnplacedHeader::new(&payload, RecordKind::Payload { continues: false });
        let end = (COMMIT_RECORD_BYTES + 40 + payload.len()) as u64;
        let (bytes, chain) = (end, Chain::origin(ID));
        let commit = CommitRecord { clean: false, records: 1, bytes, number: 0, durable_below: 0, chain };
        let file = disk.create(Folder::Root, &file_name::segment(0)).unwrap();
        file.allocate(header.position_of(header.end())).unwrap();
        file.write_at(&header.encode(), 0).unwrap();
        file.write_at(&commit.encode(0, ID).0, header.position_of(0)).unwrap();
        file.write_at(&record.place(104, ID), header.position_of(104)).unwrap();
        file.write_at(&[0; 100], header.position_of(end - 100)).unwrap();
        file.sync().unwrap();
        end
    }

    fn recovered(disk: &dyn Disk) -> Recovered {
        let policy = RecoveryPolicy::TolerateTornTail;
        let options = RecoverOptions { policy, known_durable_below: 0, lock_wait: Duration::ZERO };
        recover(disk, &options).unwrap()
    }

    /// Found by reading: where no space is reserved, zeros were written from the first hole on, over commits behind it.
    #[test]
    fn a_hole_inside_of_a_commit_is_no_space_for_zeros() {
        let header = SegmentHeader { id: ID, base: 0, capacity: 60 << 10, created: 0 };
        let control = SimDisk::new(1);
        let disk = control.disk();
        let end = commit_with_a_hole(&*disk, header);
        let recovered = recovered(&*disk);
        assert_eq!((recovered.end.offset(), recovered.report.records_kept), (end, 1));
        assert!(recovered.active.written_below() >= header.position_of(end));
    }

    /// Found by reading: the whole file was taken for written, and a full disk was met by a commit, which is final.
    #[test]
    fn space_that_is_not_reserved_and_whose_holes_are_not_told_is_written_before_it_is_used() {
        let header = SegmentHeader { id: ID, base: 0, capacity: 60 << 10, created: 0 };
        let control = SimDisk::new(1);
        control.reserves(false);
        let disk = control.disk();
        let end = commit_with_a_hole(&*disk, header);
        let first = recovered(&*disk);
        assert_eq!(first.active.written_below(), block_ceiling(header.position_of(end)));
        first.active.grant(first.active.file_end()).unwrap();
        drop(first);
        // The zeros came behind the commit.
        let second = recovered(&*disk);
        assert_eq!((second.end.offset(), second.report.records_kept), (end, 1));
    }
}
