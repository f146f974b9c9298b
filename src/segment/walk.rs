//! Walking over a segment's commits and records with large reads.
//!
//! Guarantees: memory is one chunk plus one record, and 256 KiB where a cold file is read ahead; no allocation per record once the window has grown to the largest
//! record; bytes behind the file's end read as zeros. Must not know: what a bad place means (torn or corrupt).

use std::sync::Arc;

use crate::disk::{Folder, ReadDisk, ReadFile};
use crate::error::{CorruptionKind, Error, Result};
use crate::format::commit::{COMMIT_RECORD_BYTES, CommitRecord};
use crate::format::file_name;
use crate::format::record::RECORD_HEADER_BYTES;
use crate::format::scan::{Expected, OpenCommit, Scan, Step};
use crate::format::segment_header::SegmentHeader;
use crate::position::Hash;
use crate::segment::files::open_error;
use crate::segment::read_ahead::ReadAhead;
use std::path::PathBuf;

/// Whether reads go through the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    Through,
    /// What the device holds.
    Past,
}

/// A segment file to walk over.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn ReadFile>,
}

impl SegmentFile {
    /// Opens the segment with this header.
    pub(crate) fn open(disk: &dyn ReadDisk, header: SegmentHeader) -> Result<Self> {
        let name = file_name::segment(header.base);
        let path = disk.path(Folder::Root, &name);
        match disk.open_read(Folder::Root, &name) {
            Ok(file) => Ok(Self { path, header, file }),
            Err(error) => Err(open_error(path, error)),
        }
    }

    /// The commit record that begins the segment, if it is valid.
    pub(crate) fn first_commit(&self, cache: Cache) -> Result<Option<CommitRecord>> {
        let mut bytes = [0; COMMIT_RECORD_BYTES];
        self.read(&mut bytes, self.header.base, cache)?;
        Ok(CommitRecord::decode(&bytes, self.header.base, self.header.id).map(|(record, _)| record))
    }

    /// The first offset that the file does not reach, at most the end of the segment: the header may claim more than
    /// the file holds.
    pub(crate) fn data_end(&self) -> Result<u64> {
        let length = self.file.len().map_err(|source| Error::io("stat", &self.path, source))?;
        let data = length.saturating_sub(self.header.position_of(self.header.base));
        Ok(self.header.base.saturating_add(data).min(self.header.end()))
    }

    /// The first offset at or after `offset` that can hold anything but zeros; far behind the segment's end where there is
    /// none.
    pub(crate) fn written_from(&self, offset: u64) -> Result<u64> {
        let position = self.header.position_of(offset);
        let found = self.file.written_from(position).map_err(|error| Error::io("seek", &self.path, error))?;
        Ok(offset.saturating_add(found - position))
    }

    /// Fills `into` from `offset` on; what lies behind the file's end reads as zeros.
    pub(crate) fn read(&self, into: &mut [u8], offset: u64, cache: Cache) -> Result<()> {
        let position = self.header.position_of(offset);
        let read = match cache {
            Cache::Through => self.file.read_at(into, position),
            Cache::Past => self.file.read_past_cache(into, position),
        };
        let read = read.map_err(|source| Error::io("read", &self.path, source))?;
        into.get_mut(read..).unwrap_or_default().fill(0);
        Ok(())
    }
}

/// Bytes of a segment, read in chunks.
#[derive(Debug)]
struct Window {
    bytes: Vec<u8>,
    start: u64,
    chunk: usize,
}

impl Window {
    /// The bytes that are there from `offset` on.
    fn from(&self, offset: u64) -> &[u8] {
        let skip = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.bytes.get(skip..)).unwrap_or_default()
    }

    /// Sees to it that at least `bytes` are there from `offset` on, as far as the segment goes.
    fn fill(
        &mut self,
        segment: &SegmentFile,
        offset: u64,
        bytes: usize,
        cache: Cache,
        end: u64,
    ) -> Result<()> {
        let room = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = bytes.max(self.chunk).min(room);
        let keep = self.from(offset).len();
        let skip = self.bytes.len() - keep;
        self.bytes.copy_within(skip.., 0);
        self.bytes.resize(wanted.max(keep), 0);
        self.start = offset;
        let into = self.bytes.get_mut(keep..).unwrap_or_default();
        let read = segment.read(into, offset + keep as u64, cache);
        if read.is_err() {
            self.bytes.truncate(keep);
        }
        read
    }
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Commit {
        offset: u64,
        record: CommitRecord,
    },
    /// Its payload is given by [`Walk::payload`].
    Record {
        offset: u64,
        hash: Hash,
        payload_bytes: usize,
    },
    CommitEnd {
        end: u64,
    },
    /// See [`Step::Padding`].
    Padding {
        from: u64,
        end: u64,
    },
    /// The segment is used up.
    SegmentEnd,
    /// Nothing valid stands here.
    Bad {
        at: u64,
        kind: CorruptionKind,
    },
}

/// A walk over one segment.
#[derive(Debug)]
pub(crate) struct Walk {
    segment: SegmentFile,
    scan: Scan,
    window: Window,
    cache: Cache,
    /// Nothing at or behind this offset is read.
    limit: u64,
    payload: (u64, usize),
    ahead: ReadAhead,
}

impl Walk {
    /// A walk that does as `scan` says, reading `chunk` bytes at a time.
    pub(crate) fn new(segment: SegmentFile, scan: Scan, cache: Cache, chunk: usize) -> Self {
        let limit = segment.header.end();
        let window = Window { bytes: Vec::new(), start: scan.offset(), chunk };
        Self { segment, scan, window, cache, limit, payload: (0, 0), ahead: ReadAhead::default() }
    }

    /// Goes on in this segment as `scan` says. What was read is kept.
    pub(crate) fn go_on(&mut self, scan: Scan) {
        self.scan = scan;
    }

    /// Forgets what was read: beside a writer the file may say more by now.
    pub(crate) fn forget(&mut self) {
        self.window.bytes.clear();
    }

    /// What was read of the segment from `offset` on; nothing where that is not known any more, or not yet.
    pub(crate) fn at_hand(&self, offset: u64) -> &[u8] {
        self.window.from(offset)
    }

    /// Reads nothing at or behind `offset`; to be moved up as more becomes durable. What was read is kept.
    pub(crate) fn limit(&mut self, offset: u64) {
        self.limit = offset.min(self.segment.header.end());
    }

    pub(crate) fn segment(&self) -> &SegmentFile {
        &self.segment
    }

    /// The offset that the next item is looked for at.
    pub(crate) fn offset(&self) -> u64 {
        self.scan.offset()
    }

    pub(crate) fn open_commit(&self) -> Option<&OpenCommit> {
        self.scan.open_commit()
    }

    /// Whether the walk began inside a commit and has not come to another one.
    pub(crate) fn is_unknown(&self) -> bool {
        self.scan.is_unknown()
    }

    pub(crate) fn expected(&self) -> Option<Expected> {
        self.scan.expected()
    }

    /// Forgets what was read and reads past the page cache for the next item.
    pub(crate) fn reread_past_cache(&mut self) {
        self.window.bytes.clear();
        self.cache = Cache::Past;
    }

    /// Reads through the page cache again.
    pub(crate) fn read_through_cache(&mut self) {
        self.cache = Cache::Through;
    }

    pub(crate) fn cache(&self) -> Cache {
        self.cache
    }

    /// The next record, its offset and hash, where that takes neither reading nor more than a look at its own bytes.
    /// `None` says nothing: [`next`](Self::next) does.
    pub(crate) fn record_at_hand(&mut self) -> Option<(u64, Hash)> {
        let bytes = self.window.from(self.scan.offset());
        let (offset, header) = self.scan.record_at_hand(bytes)?;
        self.payload = (offset + RECORD_HEADER_BYTES as u64, header.payload_bytes());
        Some((offset, header.hash))
    }

    /// The next item. After `Bad` and `SegmentEnd` the walk stays where it is.
    pub(crate) fn next(&mut self) -> Result<Item> {
        loop {
            let offset = self.scan.offset();
            let step = self.scan.step(self.window.from(offset));
            return Ok(match step {
                Step::Need(bytes) if offset.saturating_add(bytes as u64) > self.limit => {
                    let max = self.limit.saturating_sub(offset);
                    Item::Bad { at: offset, kind: CorruptionKind::Length { found: bytes as u64, max } }
                }
                Step::Need(bytes) if !self.may_be_there(offset, bytes)? => {
                    let max = self.segment.data_end()?.saturating_sub(offset);
                    Item::Bad { at: offset, kind: CorruptionKind::Length { found: bytes as u64, max } }
                }
                Step::Need(bytes) => {
                    self.window.fill(&self.segment, offset, bytes, self.cache, self.limit)?;
                    self.note_read(offset);
                    continue;
                }
                Step::Commit { offset, record } => Item::Commit { offset, record },
                Step::Record { offset, header } => {
                    self.payload = (offset + RECORD_HEADER_BYTES as u64, header.payload_bytes());
                    Item::Record { offset, hash: header.hash, payload_bytes: header.payload_bytes() }
                }
                Step::CommitEnd { end } => Item::CommitEnd { end },
                Step::Padding { from, end } => Item::Padding { from, end },
                Step::SegmentEnd => Item::SegmentEnd,
                Step::Bad(kind) => Item::Bad { at: offset, kind },
            });
        }
    }

    fn note_read(&mut self, offset: u64) {
        if self.cache == Cache::Through {
            let header = &self.segment.header;
            let end = header.position_of(offset + self.window.bytes.len() as u64);
            self.ahead.note(
                &self.segment.file,
                header.position_of(offset)..end,
                header.position_of(self.limit),
            );
        }
    }

    /// Whether the file may hold `bytes` from `offset` on, give or take a chunk that reads as zeros: memory is not taken
    /// on the word of a length alone.
    fn may_be_there(&self, offset: u64, bytes: usize) -> Result<bool> {
        let unproven = bytes.saturating_sub(self.window.chunk) as u64;
        Ok(cfg!(ringwal_zoo = "length_believed")
            || unproven == 0
            || offset.saturating_add(unproven) <= self.segment.data_end()?)
    }

    /// The payload of the record that was the last item.
    pub(crate) fn payload(&self) -> &[u8] {
        let (offset, bytes) = self.payload;
        self.window.from(offset).get(..bytes).unwrap_or_default()
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::Folder;
    use crate::disk::sim::{Failure, SimDisk};
    use crate::format::commit::Chain;
    use crate::format::file_name;
    use crate::position::JournalId;

    /// Found by reading: after two errors, the memory that they should have filled was taken for the file's bytes.
    #[test]
    fn a_device_that_goes_on_failing_is_never_taken_for_damage() {
        const EIO: i32 = 5;
        let id = JournalId([4; 16]);
        let header = SegmentHeader { id, base: 0, capacity: 60 << 10, created: 0 };
        let chain = Chain::origin(id);
        let commit =
            CommitRecord { clean: false, records: 1, bytes: 9000, number: 0, durable_below: 0, chain };
        let control = SimDisk::new(1);
        let file = control.disk().create(Folder::Root, &file_name::segment(0)).unwrap();
        file.allocate(header.position_of(header.end())).unwrap();
        file.write_at(&commit.encode(0, id).0, header.position_of(0)).unwrap();
        let segment = SegmentFile::open(&*control.disk().reader(), header).unwrap();
        let mut walk = Walk::new(segment, Scan::at_commit(id, 0, header.end(), None), Cache::Past, 110);
        assert!(matches!(walk.next(), Ok(Item::Commit { .. })));
        control.fail_operation(1, EIO, Failure::Forever);
        for _ in 0..4 {
            let next = walk.next();
            assert!(matches!(next, Err(Error::Io { .. })), "{next:?}");
        }
    }
}
