//! `Records`: going over records forward, across segments, with large reads.

use super::reader::JournalReader;
use super::receipt::{Record, RecordRef};
use crate::error::{CorruptionKind, Error, Result};
use crate::format::bytes::is_zero;
use crate::format::commit::{COMMIT_RECORD_BYTES, CommitRecord};
use crate::format::scan::Scan;
use crate::format::segment_header::{BLOCK_BYTES, CAPACITY_UNIT};
use crate::position::{Hash, Offset};
use crate::recovery::find_next_commit;
use crate::segment::walk::{Cache, Item, SegmentFile, Walk};

const CHUNK_BYTES: usize = 256 << 10;

/// Records in the order of their offsets. [`next_ref`](Self::next_ref) borrows each payload from the reader's memory and
/// allocates nothing per record; as an `Iterator` it gives each record a payload of its own. At the durable end it ends,
/// and goes on when there is more.
///
/// Every record's checksum is checked, which binds it to its place, and that commits follow each other by number and
/// place. Hashes and the chain are not computed: [`JournalReader::verify`] does that.
#[derive(Debug)]
pub struct Records {
    reader: JournalReader,
    walk: Option<Walk>,
    /// Where the next record is looked for.
    offset: u64,
    current: Option<(u64, Hash)>,
    /// A walk that was begun by this iterator's caller may begin inside a commit.
    is_first: bool,
}

/// Where there may be more behind what is known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    AtTheJournal,
    #[cfg(feature = "group-commit")]
    AtWhatWasPublished,
}

impl Records {
    pub(super) fn new(reader: JournalReader, offset: u64) -> Self {
        Self { reader, walk: None, offset, current: None, is_first: true }
    }

    /// Where the next record is looked for: a cursor set here goes on behind what was given so far.
    #[must_use]
    pub fn offset(&self) -> Offset {
        Offset::new(self.offset)
    }

    /// The next record, its payload borrowed until the next call; `None` at the durable end.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::BelowFloor`] when cleanup was faster, [`Error::NotARecord`] when the first offset
    /// was none, [`Error::Io`]. After an error the same is tried again.
    pub fn next_ref(&mut self) -> Result<Option<RecordRef<'_>>> {
        if self.advance()? { Ok(self.record()) } else { Ok(None) }
    }

    /// The record that `advance` came to.
    pub(super) fn record(&self) -> Option<RecordRef<'_>> {
        let (offset, hash) = self.current?;
        let payload = self.walk.as_ref()?.payload();
        Some(RecordRef { offset: Offset::new(offset), hash, payload })
    }

    pub(super) fn reader(&self) -> &JournalReader {
        &self.reader
    }

    /// Goes to the next record; `false` at the durable end.
    pub(super) fn advance(&mut self) -> Result<bool> {
        // What was read is durable, whatever has become durable since.
        if let Some(walk) = &mut self.walk
            && let Some(record) = walk.record_at_hand()
        {
            self.current = Some(record);
            self.offset = walk.offset();
            walk.read_through_cache();
            return Ok(true);
        }
        self.advance_the_long_way(Look::AtTheJournal)
    }

    /// As [`advance`](Self::advance), where the writer has gone and there will be no more than it had published.
    #[cfg(feature = "group-commit")]
    pub(super) fn advance_published(&mut self) -> Result<bool> {
        self.advance_the_long_way(Look::AtWhatWasPublished)
    }

    fn advance_the_long_way(&mut self, look: Look) -> Result<bool> {
        self.current = None;
        loop {
            let mut durable_end = self.reader.durable().seen();
            if self.offset >= durable_end {
                durable_end = match look {
                    Look::AtTheJournal => self.reader.durable().news(&*self.reader.disk())?,
                    #[cfg(feature = "group-commit")]
                    Look::AtWhatWasPublished => self.reader.durable().published_so_far(),
                };
                if self.offset >= durable_end {
                    return self.reader.durable().refusal().map_or(Ok(false), Err);
                }
            }
            if self.walk.is_none() {
                self.enter_segment()?;
            }
            let walk = self.walk.as_mut().expect("a walk was just begun");
            walk.limit(durable_end);
            match walk.next()? {
                Item::Record { offset, hash, .. } => {
                    self.current = Some((offset, hash));
                    self.offset = walk.offset();
                    self.is_first = false;
                    walk.read_through_cache();
                    return Ok(true);
                }
                Item::Commit { .. } | Item::CommitEnd { .. } => {
                    self.offset = walk.offset();
                    self.is_first = false;
                }
                Item::Padding { from, end } => {
                    if !cfg!(ringwal_zoo = "lost_commit_taken_for_padding") {
                        // The walk stands behind it already: after an error it is met anew.
                        match records_end_at(walk.segment(), from, end) {
                            Ok(true) => {}
                            Ok(false) => return Err(self.nothing_here(from, CorruptionKind::Missing)),
                            Err(error) => {
                                self.walk = None;
                                return Err(error);
                            }
                        }
                    }
                    self.offset = end;
                    self.is_first = false;
                }
                Item::SegmentEnd => self.leave_segment(),
                Item::Bad { at, kind } => self.deal_with_bad(at, kind)?,
            }
        }
    }

    fn enter_segment(&mut self) -> Result<()> {
        let offset = self.offset;
        let Some((header, file)) = self.reader.find_segment(offset)? else {
            let offset = Offset::new(offset);
            if let Some(gone) = self.reader.why_gone(offset)? {
                return Err(gone);
            }
            let directory = self.reader.segments()?.directory().to_owned();
            return Err(Error::MissingSegment { directory, base: offset });
        };
        if offset != header.base && self.reader.sealed_end(&header)? == Some(offset) {
            self.offset = header.end();
            return self.enter_segment();
        }
        let segment = SegmentFile { path: self.reader.segment_path(header.base), header, file };
        let scan = if offset == header.base {
            Scan::at_commit(header.id, offset, header.end(), None)
        } else {
            Scan::at_record(header.id, offset, header.end())
        };
        self.walk = Some(Walk::new(segment, scan.without_chain(), Cache::Through, CHUNK_BYTES));
        Ok(())
    }

    fn leave_segment(&mut self) {
        if let Some(walk) = self.walk.take() {
            self.offset = walk.segment().header.end();
            self.is_first = false;
        }
    }

    /// Where no valid record stands: the end of a sealed segment, a page of the cache that is behind the device, an
    /// offset that is none, or damage.
    fn deal_with_bad(&mut self, at: u64, kind: CorruptionKind) -> Result<()> {
        let walk = self.walk.as_mut().expect("the walk that came to the bad place");
        let header = walk.segment().header;
        let sealed_end = self.reader.sealed_end(&header)?;
        if walk.open_commit().is_none() && sealed_end == Some(at) {
            self.leave_segment();
            return Ok(());
        }
        // Who knows the commit has seen its padding with it.
        if walk.is_unknown() {
            let durable_end = self.reader.durable().seen();
            let end = sealed_end.unwrap_or(durable_end);
            let segment = walk.segment();
            if only_padding(segment, at, end)? && records_end_at(segment, at, end)? {
                match sealed_end {
                    Some(_) => self.leave_segment(),
                    None => {
                        self.offset = durable_end;
                        self.walk = None;
                    }
                }
                return Ok(());
            }
        }
        let walk = self.walk.as_mut().expect("the walk that came to the bad place");
        if walk.cache() == Cache::Through {
            walk.reread_past_cache();
            return Ok(());
        }
        if was_cut(walk)? {
            // Recovery has cut the commit behind what was given of it: its padding is met anew.
            self.walk = None;
            return Ok(());
        }
        Err(self.nothing_here(at, kind))
    }

    /// The error for a place below the durable end where no valid record stands.
    #[cold]
    fn nothing_here(&mut self, at: u64, kind: CorruptionKind) -> Error {
        let walk = self.walk.take().expect("the walk that came to the bad place");
        match self.reader.why_gone(Offset::new(at)) {
            Ok(Some(gone)) => return gone,
            Ok(None) => {}
            Err(error) => return error,
        }
        let path = walk.segment().path.clone();
        let end = self.reader.durable().seen().min(walk.segment().header.end());
        if self.is_first && at == self.offset {
            // Not a boundary, or damage at one: reading it alone tells which.
            let offset = Offset::new(at);
            if let Err(error @ (Error::NotARecord { .. } | Error::Corrupt(_))) = self.reader.read(offset) {
                return error;
            }
        }
        Error::corrupt(&path, at..end, kind, [])
    }
}

/// Whether the commit that the walk is in says something else now: it was torn when the walk met it, and recovered since.
#[cold]
fn was_cut(walk: &Walk) -> Result<bool> {
    let Some(open) = walk.open_commit() else { return Ok(false) };
    let segment = walk.segment();
    let mut bytes = [0; COMMIT_RECORD_BYTES];
    segment.read(&mut bytes, open.start, Cache::Past)?;
    let now = CommitRecord::decode(&bytes, open.start, segment.header.id);
    Ok(now.is_some_and(|(now, _)| now != open.record))
}

/// Whether the records of a commit that is padded up to `end` end at `from`. Only going over the segment from its
/// beginning tells padding from a commit that was lost: both are zeros. Padding is met so only by who begins to read in
/// the middle of a commit.
#[cold]
fn records_end_at(segment: &SegmentFile, from: u64, end: u64) -> Result<bool> {
    let header = segment.header;
    let walk_from = |at| {
        let mut walk = Walk::new(
            segment.clone(),
            Scan::at_commit(header.id, at, header.end(), None),
            Cache::Past,
            CHUNK_BYTES,
        );
        walk.limit(end);
        walk
    };
    let mut walk = walk_from(header.base);
    loop {
        let at = walk.offset();
        if at >= from {
            let whole = walk.open_commit().is_some_and(|commit| commit.is_complete() && commit.end() == end);
            return Ok(at == from && (whole || from == end));
        }
        match walk.next()? {
            Item::SegmentEnd => return Ok(false),
            // Damage before is no matter here.
            Item::Bad { at, .. } => match find_next_commit(segment, at + 1, at + 1)? {
                (Some(next), _) if next <= from => walk = walk_from(next),
                _ => return Ok(false),
            },
            Item::Commit { .. } | Item::Record { .. } | Item::CommitEnd { .. } | Item::Padding { .. } => {}
        }
    }
}

/// Whether nothing but the padding of a commit lies between `at` and `end`.
fn only_padding(segment: &SegmentFile, at: u64, end: u64) -> Result<bool> {
    let bytes = end.checked_sub(at).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
    let mut padding = [0; BLOCK_BYTES];
    if bytes == 0 || bytes >= padding.len() || !end.is_multiple_of(CAPACITY_UNIT) {
        return Ok(false);
    }
    let padding = padding.get_mut(..bytes).unwrap_or_default();
    segment.read(padding, at, Cache::Past)?;
    Ok(is_zero(padding))
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        self.next_ref().map(|record| record.map(|record| record.to_record())).transpose()
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::Folder;
    use crate::disk::sim::SimDisk;
    use crate::format::commit::Chain;
    use crate::format::file_name;
    use crate::format::segment_header::SegmentHeader;
    use crate::position::JournalId;

    /// Found by reading: behind a segment's last commit with less room than another one needs, the search for what stands
    /// before an offset there had no end. Only a forged journal has such an offset.
    #[test]
    fn an_offset_in_the_last_bytes_of_a_segment_is_answered() {
        let header = SegmentHeader { id: JournalId([4; 16]), base: 0, capacity: 60 << 10, created: 0 };
        let chain = Chain::origin(header.id);
        let bytes = header.capacity - 90;
        let commit = CommitRecord { clean: false, records: 0, bytes, number: 0, durable_below: 0, chain };
        let disk = SimDisk::new(1);
        let file = disk.disk().create(Folder::Root, &file_name::segment(0)).unwrap();
        file.write_at(&commit.encode(0, header.id).0, header.position_of(0)).unwrap();
        // Fewer than 104 bytes are left behind the last of these, and no valid commit is that long by padding alone.
        let at = header.end() - 90 - 104;
        let last = CommitRecord { bytes: 104, number: 1, durable_below: at, ..commit };
        file.write_at(&last.encode(at, header.id).0, header.position_of(at)).unwrap();
        let segment = SegmentFile::open(&*disk.disk().reader(), header).unwrap();
        assert!(!records_end_at(&segment, header.end() - 50, header.end()).unwrap());
    }
}
