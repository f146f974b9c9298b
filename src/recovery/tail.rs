//! The last written segment, scanned past the page cache up to the first place that is no valid record.

use crate::error::{CorruptionKind, Error, Result};
use crate::format::bytes::is_zero;
use crate::format::commit::{COMMIT_RECORD_BYTES, Chain, CommitRecord};
use crate::format::scan::{Expected, OpenCommit, Scan};
use crate::format::segment_header::{BLOCK_BYTES, CAPACITY_UNIT, SegmentHeader};
use crate::position::Hash;
use crate::segment::manager::SegmentManager;
use crate::segment::walk::{Cache, Item, SegmentFile, Walk};
use crate::segment::watermark::Mark;

/// So much is read at a time: large enough for the device's full rate, small against the promised 8 MiB.
const CHUNK_BYTES: usize = 1 << 20;

/// Where a valid commit ends, and what the next one must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// What the next commit must say; its `durable_below` is the end.
    pub(crate) next: Expected,
    /// Where the last commit begins.
    pub(crate) last_commit: u64,
    /// Whether the last commit says that the journal was closed with it.
    pub(crate) clean: bool,
    /// Whether the last commit holds records that no later commit vouches for.
    pub(crate) unvouched: bool,
}

impl LogEnd {
    pub(crate) fn offset(&self) -> u64 {
        self.next.durable_below
    }
}

/// A commit of which not everything is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partial {
    pub(super) start: u64,
    pub(super) record: CommitRecord,
    /// Records that form whole atomic batches.
    pub(super) whole_records: u32,
    /// The end of the last of them.
    pub(super) whole_end: u64,
    /// The chain value of the commit behind this one once it is cut to its whole batches.
    next_chain: Hash,
}

impl Partial {
    fn of(segment: &SegmentFile, commit: &OpenCommit) -> Result<Self> {
        let (whole_records, whole_end) = commit.whole;
        let (start, record, next_chain) = (commit.start, commit.record, commit.record.chain);
        let mut partial = Self { start, record, whole_records, whole_end, next_chain };
        let (bytes, hash) = partial.surviving().encode(start, segment.header.id);
        assert_eq!(bytes.len(), COMMIT_RECORD_BYTES);
        let mut chain = Chain::begin(&record.chain, &hash);
        // The hashes are read again rather than kept for every commit: there can be millions in one.
        let scan = Scan::at_commit(segment.header.id, start, segment.header.end(), None);
        let mut walk = Walk::new(segment.clone(), scan, Cache::Past, CHUNK_BYTES);
        let mut left = whole_records;
        while left > 0 {
            match walk.next()? {
                Item::Record { hash, .. } => {
                    chain.add(&hash);
                    left -= 1;
                }
                Item::Commit { .. } => {}
                Item::CommitEnd { .. } | Item::Padding { .. } | Item::SegmentEnd | Item::Bad { .. } => {
                    let changed = std::io::Error::other("the file changed while it was read");
                    return Err(Error::io("read", &segment.path, changed));
                }
            }
        }
        partial.next_chain = chain.finish();
        Ok(partial)
    }

    /// The commit record of what survives: padded, so that no later commit rewrites a block that records were found in.
    pub(super) fn surviving(&self) -> CommitRecord {
        CommitRecord { records: self.whole_records, bytes: self.padded_end() - self.start, ..self.record }
    }

    fn padded_end(&self) -> u64 {
        self.whole_end.next_multiple_of(CAPACITY_UNIT)
    }

    /// The end of the journal once this commit is cut to its whole batches.
    pub(super) fn healed_end(&self) -> LogEnd {
        let next = Expected {
            number: self.record.number.saturating_add(1),
            chain: self.next_chain,
            durable_below: self.padded_end(),
        };
        LogEnd { next, last_commit: self.start, clean: false, unvouched: true }
    }
}

/// What a scan of the last written segment found.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: SegmentFile,
    pub(super) end: LogEnd,
    pub(super) partial: Option<Partial>,
    /// The first place that is no valid record, and what is wrong there.
    pub(super) bad: (u64, CorruptionKind),
    /// The device did not give the bytes there.
    pub(super) unreadable: Option<Error>,
    pub(super) records: u64,
    /// Nothing in this segment is kept: its end says nothing of the commits before it.
    pub(super) is_empty: bool,
}

impl Tail {
    /// Everything below is kept.
    pub(super) fn kept_end(&self) -> u64 {
        match self.partial {
            Some(partial) if partial.whole_records > 0 => partial.whole_end,
            _ => self.end.offset(),
        }
    }
}

/// Scans `segment` from its first commit on. The journal's own first commit stands at offset 0 and nowhere else.
pub(super) fn scan(segment: SegmentFile) -> Result<Tail> {
    let header = segment.header;
    let origin = Expected { number: 0, chain: Chain::origin(header.id), durable_below: header.base };
    let expected = (header.base == 0).then_some(origin);
    let scan = Scan::at_commit(header.id, header.base, header.end(), expected);
    let cache = if cfg!(ringwal_zoo = "tail_read_through_the_cache") { Cache::Through } else { Cache::Past };
    let mut walk = Walk::new(segment.clone(), scan, cache, CHUNK_BYTES);
    let mut last: Option<(u64, CommitRecord)> = None;
    let mut begun = None;
    let mut records = 0;
    let (bad, unreadable) = loop {
        match walk.next() {
            Ok(Item::Commit { offset, record }) => begun = Some((offset, record)),
            Ok(Item::Record { .. }) => records += 1,
            Ok(Item::CommitEnd { .. } | Item::Padding { .. }) => last = begun,
            Ok(Item::SegmentEnd) => break ((walk.offset(), CorruptionKind::Missing), None),
            Ok(Item::Bad { at, kind }) => break ((at, kind), None),
            Err(_) if cfg!(ringwal_zoo = "read_error_taken_for_torn") => {
                break ((walk.offset(), CorruptionKind::Missing), None);
            }
            Err(error) => break ((walk.offset(), CorruptionKind::Missing), Some(error)),
        }
    };
    let partial = match walk.open_commit() {
        Some(commit) if unreadable.is_none() => Some(Partial::of(&segment, commit)?),
        _ => None,
    };
    if let Some(commit) = walk.open_commit() {
        records -= u64::from(commit.records_seen - commit.whole.0);
    }
    let end = LogEnd {
        next: walk.expected().unwrap_or(origin),
        last_commit: last.map_or(header.base, |(offset, _)| offset),
        clean: last.is_some_and(|(_, record)| record.clean),
        unvouched: last.is_some_and(|(_, record)| record.records > 0),
    };
    let is_empty = walk.expected().is_none() && partial.is_none_or(|partial| partial.whole_records == 0);
    Ok(Tail { segment, end, partial, bad, unreadable, records, is_empty })
}

/// After an orderly close the watermark names the last commit, and that commit says that the journal was closed with it:
/// then nothing before it needs to be looked at. `None` when anything is not exactly so.
pub(super) fn closed_in_order(
    segments: &SegmentManager,
    mark: Mark,
    open: impl Fn(&SegmentHeader) -> Result<SegmentFile>,
) -> Result<Option<Tail>> {
    let Some(header) = segments.header_of(mark.last_commit) else { return Ok(None) };
    let later = segments.headers().iter().filter(|later| later.base > header.base);
    for later in later {
        if !first_block_is_zero(&open(later)?)? {
            return Ok(None);
        }
    }
    let segment = open(&header)?;
    if segment.file.len().map_err(|source| Error::io("stat", &segment.path, source))? < file_bytes(&header) {
        return Ok(None);
    }
    let mut bytes = [0; COMMIT_RECORD_BYTES];
    segment.read(&mut bytes, mark.last_commit, Cache::Past)?;
    let Some((record, hash)) = CommitRecord::decode(&bytes, mark.last_commit, header.id) else {
        return Ok(None);
    };
    let end = mark.last_commit.checked_add(record.bytes).filter(|end| *end <= header.end());
    let in_order = record.clean && record.records == 0 && end == Some(mark.durable_end);
    if !in_order || !zeros_follow(&segment, mark.durable_end)? {
        return Ok(None);
    }
    let next = Expected {
        number: record.number.saturating_add(1),
        chain: Chain::begin(&record.chain, &hash).finish(),
        durable_below: mark.durable_end,
    };
    let end = LogEnd { next, last_commit: mark.last_commit, clean: true, unvouched: false };
    let bad = (mark.durable_end, CorruptionKind::Missing);
    Ok(Some(Tail { segment, end, partial: None, bad, unreadable: None, records: 0, is_empty: false }))
}

fn file_bytes(header: &SegmentHeader) -> u64 {
    header.position_of(header.end())
}

pub(super) fn first_block_is_zero(segment: &SegmentFile) -> Result<bool> {
    let mut block = [0; BLOCK_BYTES];
    segment.read(&mut block, segment.header.base, Cache::Past)?;
    Ok(is_zero(&block))
}

/// Whether the rest of the block that `offset` is in, and the block behind it, are zeros.
fn zeros_follow(segment: &SegmentFile, offset: u64) -> Result<bool> {
    let end = (offset.next_multiple_of(CAPACITY_UNIT) + CAPACITY_UNIT).min(segment.header.end());
    let mut rest = [0; 2 * BLOCK_BYTES];
    let bytes = usize::try_from(end - offset).unwrap_or(rest.len());
    let rest = rest.get_mut(..bytes).unwrap_or_default();
    segment.read(rest, offset, Cache::Past)?;
    Ok(is_zero(rest))
}

/// The last segment that begins with a valid commit record; the first one kept where none does.
pub(super) fn last_written(
    headers: &[SegmentHeader],
    open: impl Fn(&SegmentHeader) -> Result<SegmentFile>,
) -> Result<usize> {
    for (index, header) in headers.iter().enumerate().skip(1).rev() {
        if open(header)?.first_commit(Cache::Past)?.is_some() {
            return Ok(index);
        }
    }
    Ok(0)
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::Folder;
    use crate::disk::sim::{Failure, SimDisk};
    use crate::format::file_name;
    use crate::format::record::{RecordKind, UnplacedHeader};
    use crate::position::JournalId;

    const ID: JournalId = JournalId([4; 16]);

    /// A segment at `base` that begins with one commit.
    fn segment(base: u64, commit: &CommitRecord) -> SegmentFile {
        let header = SegmentHeader { id: ID, base, capacity: 60 << 10, created: 0 };
        let disk = SimDisk::new(1).disk();
        let file = disk.create(Folder::Root, &file_name::segment(base)).unwrap();
        file.allocate(header.position_of(header.end())).unwrap();
        file.write_at(&header.encode(), 0).unwrap();
        file.write_at(&commit.encode(base, ID).0, header.position_of(base)).unwrap();
        SegmentFile::open(&*disk.reader(), header).unwrap()
    }

    fn commit(number: u64, chain: Hash, durable_below: u64) -> CommitRecord {
        CommitRecord { clean: false, records: 0, bytes: 104, number, durable_below, chain }
    }

    /// A journal's first segment, of 4 MiB, with one commit of these records in it; `true` goes on in the next record.
    fn segment_of(records: &[(&[u8], bool)], change: impl FnOnce(&mut Vec<u8>)) -> (SimDisk, SegmentFile) {
        let header = SegmentHeader { id: ID, base: 0, capacity: 4 << 20, created: 0 };
        let mut image = vec![0; COMMIT_RECORD_BYTES];
        for (payload, continues) in records {
            let kind = RecordKind::Payload { continues: *continues };
            image.extend(UnplacedHeader::new(payload, kind).place(image.len() as u64, ID));
            image.extend(*payload);
        }
        let record = CommitRecord {
            records: u32::try_from(records.len()).unwrap(),
            bytes: image.len() as u64,
            ..commit(0, Chain::origin(ID), 0)
        };
        image.splice(..COMMIT_RECORD_BYTES, record.encode(0, ID).0);
        change(&mut image);
        let control = SimDisk::new(1);
        let file = control.disk().create(Folder::Root, &file_name::segment(0)).unwrap();
        file.allocate(header.position_of(header.end())).unwrap();
        file.write_at(&header.encode(), 0).unwrap();
        file.write_at(&image, header.position_of(0)).unwrap();
        let segment = SegmentFile::open(&*control.disk().reader(), header).unwrap();
        (control, segment)
    }

    #[test]
    fn records_that_no_later_commit_vouches_for_are_told() {
        let tail = scan(segment_of(&[(b"one", false)], |_| {}).1).unwrap();
        assert_eq!((tail.end.unvouched, tail.records, tail.end.offset()), (true, 1, 147));
    }

    #[test]
    fn only_records_of_whole_batches_count() {
        let records: [(&[u8], bool); 4] = [(b"one", false), (b"a", true), (b"b", true), (b"c", false)];
        let tail = scan(segment_of(&records, |image| *image.last_mut().unwrap() ^= 1).1).unwrap();
        assert_eq!((tail.records, tail.kept_end(), tail.is_empty), (1, 147, false));
        assert_eq!(tail.partial.map(|partial| partial.whole_records), Some(1));
    }

    #[test]
    fn nothing_of_a_commit_is_kept_when_the_device_does_not_give_all_of_it() {
        let large = vec![7; 2 * CHUNK_BYTES];
        let (control, segment) = segment_of(&[(b"one", false), (&large, false)], |_| {});
        // The first read gives the commit's beginning, the next one nothing.
        control.fail_operation(2, 5, Failure::Once);
        let tail = scan(segment).unwrap();
        assert!(tail.unreadable.is_some() && tail.partial.is_none());
        assert_eq!(tail.kept_end(), 0);
    }

    #[test]
    fn only_the_journals_own_first_commit_begins_its_first_segment() {
        let origin = Chain::origin(ID);
        let ends = |base, commit: &CommitRecord| scan(segment(base, commit)).unwrap().kept_end();
        assert_eq!(ends(0, &commit(0, origin, 0)), 104);
        assert_eq!(ends(0, &commit(1, origin, 0)), 0);
        assert_eq!(ends(0, &commit(0, Hash([1; 32]), 0)), 0);
        // Behind segments that cleanup has removed, the first one kept begins anywhere in the chain.
        assert_eq!(ends(61_440, &commit(7, Hash([1; 32]), 61_440)), 61_440 + 104);
    }

    #[test]
    fn an_end_without_records_is_vouched_for_and_tells_where_its_commit_begins() {
        let tail = scan(segment(61_440, &commit(7, Hash([1; 32]), 61_440))).unwrap();
        assert_eq!((tail.end.last_commit, tail.end.unvouched, tail.end.clean), (61_440, false, false));
        assert_eq!((tail.end.next.number, tail.records, tail.is_empty), (8, 0, false));
        let clean = CommitRecord { clean: true, ..commit(7, Hash([1; 32]), 61_440) };
        assert!(scan(segment(61_440, &clean)).unwrap().end.clean);
    }
}
