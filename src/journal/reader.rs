//! `JournalReader`: reading by offset, in the writer's process or any other, with read permission only.
//!
//! Guarantees: never shows what a power cut could take back; never writes. Must not know: the writer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::durable::DurableEnd;
use super::follow::Follow;
use super::receipt::{Receipt, Record};
use super::records::Records;
use crate::disk::native::NativeDisk;
use crate::disk::{ReadDisk, ReadFile};
use crate::error::{CorruptionKind, Error, Result};
use crate::format::checksum::StoredChecksum;
use crate::format::record::{RECORD_HEADER_BYTES, RecordHeader};
use crate::format::scan::Scan;
use crate::format::segment_header::SegmentHeader;
use crate::position::{Hash, JournalId, Offset};
use crate::recovery::lock;
use crate::segment::known::{KnownSegments, Shown};
use crate::segment::manager::{SegmentManager, floor_on};
use crate::segment::walk::{Cache, Item, SegmentFile, Walk};
use crate::segment::watermark::Watermark;

/// So much of a record is read with its header in one go at most: to read so much in vain costs no more than to read a
/// second time.
const FIRST_READ_BYTES_MAX: usize = 4096;
/// A record is taken to be so large before any was read.
const FIRST_GUESS_BYTES: usize = 512;
const CHUNK_BYTES: usize = 256 << 10;

/// Reads a journal. Cheap to clone; clones share open files. Follows rotation and cleanup by itself.
#[derive(Clone, Debug)]
pub struct JournalReader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn ReadDisk>,
    id: JournalId,
    checksum: StoredChecksum,
    segments: KnownSegments,
    durable: DurableEnd,
    /// The highest floor seen. Relaxed: it only makes an answer more precise.
    floor: AtomicU64,
}

/// A writer that has the journal open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterInfo {
    /// The process that says it is the writer, if it says so.
    pub pid: Option<u32>,
}

impl JournalReader {
    /// Opens the journal in `directory` for reading. Takes no lock, changes nothing, needs read permission only. With a
    /// living writer the reader sees what that one has published as durable, as it comes; without, what recovery would
    /// keep.
    ///
    /// # Errors
    /// [`Error::NotAJournal`]; [`Error::MissingSegment`] and the like when segments do not fit together;
    /// [`Error::Corrupt`] when a state file is damaged; [`Error::Io`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let disk = NativeDisk::open_read(directory).map_err(|source| Error::io("open", directory, source))?;
        Self::open_on(disk)
    }

    /// Opens the journal on a simulated disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub fn open_simulated(disk: &crate::disk::sim::SimDisk) -> Result<Self> {
        Self::open_on(disk.disk().reader())
    }

    pub(crate) fn open_on(disk: Arc<dyn ReadDisk>) -> Result<Self> {
        let (floor, segments) = SegmentManager::load_kept(&*disk, None, &|| floor_on(&*disk))?;
        let id = segments.journal_id();
        let durable = DurableEnd::of_directory(&*disk, id)?;
        Ok(Self::new(disk, segments, durable, floor))
    }

    /// The identity of the journal on `disk`, by its segments' headers alone; `None` where there is none yet.
    #[cfg(feature = "store")]
    pub(crate) fn identity_on(disk: &dyn ReadDisk) -> Result<Option<JournalId>> {
        if crate::segment::manager::list_bases(disk)?.is_empty() {
            return Ok(None);
        }
        Ok(Some(SegmentManager::load_kept(disk, None, &|| floor_on(disk))?.1.journal_id()))
    }

    pub(super) fn of_writer(
        disk: Arc<dyn ReadDisk>,
        watermark: Arc<Watermark>,
        id: JournalId,
    ) -> Result<Self> {
        let (floor, segments) = SegmentManager::load_kept(&*disk, None, &|| floor_on(&*disk))?;
        Ok(Self::new(disk, segments, DurableEnd::of_writer(watermark, id), floor))
    }

    fn new(disk: Arc<dyn ReadDisk>, segments: SegmentManager, durable: DurableEnd, floor: u64) -> Self {
        let id = segments.journal_id();
        let segments = KnownSegments::new(disk.clone(), segments, FIRST_GUESS_BYTES);
        let floor = AtomicU64::new(floor);
        let checksum = StoredChecksum::new(id);
        Self { inner: Arc::new(Inner { disk, id, checksum, segments, durable, floor }) }
    }

    /// The record at `offset`. Its checksum is checked, its hash is not: [`Record::has_right_hash`] does that.
    ///
    /// # Errors
    /// [`Error::NotYetDurable`]; [`Error::BelowFloor`]; [`Error::NotARecord`]; [`Error::Corrupt`]; [`Error::Io`].
    pub fn read(&self, offset: Offset) -> Result<Record> {
        let mut payload = Vec::new();
        let hash = self.read_into(offset, &mut payload)?;
        Ok(Record { offset, hash, payload })
    }

    /// Reads the record at `offset` into `payload`, in place of what that held, and gives its hash. Allocates nothing
    /// once `payload` has grown to the largest record, with 40 bytes to spare, or to 4 KiB where that is more. Threads
    /// that read at the same time, up to 16 of them, do not get into each other's way.
    ///
    /// # Errors
    /// As [`read`](Self::read); `payload` then holds nothing of use.
    pub fn read_into(&self, offset: Offset, payload: &mut Vec<u8>) -> Result<Hash> {
        let (view, guess) = self.inner.segments.look();
        let (at, seen) = (offset.get(), self.inner.durable.seen());
        if at < seen
            && at >= self.inner.floor.load(Ordering::Relaxed)
            && let Some((header, file)) = view.open_segment(at)
        {
            let place = Place { header, file: &**file, offset: at, limit: seen.min(header.end()) };
            if let Some(hash) = self.try_read(&place, payload, guess, Cache::Through)? {
                return Ok(hash);
            }
        }
        drop(view);
        self.read_the_long_way(offset, payload, guess)
    }

    /// Where the segment is not known yet, or nothing valid was found at the first glance.
    #[cold]
    fn read_the_long_way(&self, offset: Offset, payload: &mut Vec<u8>, guess: &AtomicUsize) -> Result<Hash> {
        let (mut header, mut file) = self.segment_of(offset)?;
        loop {
            let limit = self.inner.durable.seen().min(header.end());
            let place = Place { header: &header, file: &*file, offset: offset.get(), limit };
            // Direct writes and cached reads can meet in the active segment: the device decides.
            for cache in [Cache::Through, Cache::Past] {
                if let Some(hash) = self.try_read(&place, payload, guess, cache)? {
                    return Ok(hash);
                }
            }
            // A writer may have made the segment anew, of another size, since recovery found it empty.
            match self.refresh_segments().and_then(|()| self.segment_of(offset)) {
                Ok((now, opened)) if now != header => (header, file) = (now, opened),
                _ => return Err(self.why_unreadable(header, file, offset, limit)?),
            }
        }
    }

    /// Checks that the record of a receipt is there, with the payload of which the receipt holds the hash.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`Error::Corrupt`] with [`CorruptionKind::Hash`] when the payload has another hash.
    pub fn check_receipt(&self, receipt: &Receipt) -> Result<()> {
        let record = self.read(receipt.offset)?;
        if record.hash == receipt.hash && record.has_right_hash() {
            return Ok(());
        }
        let (header, _) = self.segment_of(receipt.offset)?;
        let start = receipt.offset.get();
        let range = start..start + (RECORD_HEADER_BYTES + record.payload.len()) as u64;
        Err(Error::corrupt(&self.segment_path(header.base), range, CorruptionKind::Hash, []))
    }

    /// One try to read the record: `None` when no valid record stands there.
    fn try_read(
        &self,
        place: &Place<'_>,
        payload: &mut Vec<u8>,
        guess: &AtomicUsize,
        cache: Cache,
    ) -> Result<Option<Hash>> {
        let room = usize::try_from(place.limit.saturating_sub(place.offset)).unwrap_or(usize::MAX);
        let guessed = guess.load(Ordering::Relaxed).clamp(RECORD_HEADER_BYTES, FIRST_READ_BYTES_MAX);
        payload.resize(guessed.min(room), 0);
        let mut have = self.read_bytes(place, payload, 0, cache)?;
        let Some(record) = RecordHeader::decode(payload.get(..have).unwrap_or_default()) else {
            return Ok(None);
        };
        let bytes = record.record_bytes();
        if bytes > room || record.is_control() {
            return Ok(None);
        }
        payload.resize(bytes, 0);
        if have < bytes {
            have += self.read_bytes(place, payload, have, cache)?;
        }
        if have < bytes || record.check(payload, place.offset, self.inner.checksum).is_err() {
            return Ok(None);
        }
        note_size(guess, guessed, bytes);
        payload.drain(..RECORD_HEADER_BYTES);
        Ok(Some(record.hash))
    }

    /// Fills `into`, which begins where the record does, from byte `from` on.
    fn read_bytes(&self, place: &Place<'_>, into: &mut [u8], from: usize, cache: Cache) -> Result<usize> {
        let position = place.header.position_of(place.offset) + from as u64;
        let into = into.get_mut(from..).unwrap_or_default();
        let read = match cache {
            Cache::Through => place.file.read_at(into, position),
            Cache::Past => place.file.read_past_cache(into, position),
        };
        read.map_err(|source| Error::io("read", self.segment_path(place.header.base), source))
    }

    /// Why there is no record at `offset`: found out by going over the segment from its beginning.
    #[cold]
    fn why_unreadable(
        &self,
        header: SegmentHeader,
        file: Arc<dyn ReadFile>,
        offset: Offset,
        limit: u64,
    ) -> Result<Error> {
        let path = self.segment_path(header.base);
        let segment = SegmentFile { path: path.clone(), header, file };
        let scan = Scan::at_commit(header.id, header.base, header.end(), None);
        let mut walk = Walk::new(segment, scan, Cache::Past, CHUNK_BYTES);
        walk.limit(limit);
        loop {
            let at = walk.offset();
            if at > offset.get() || at >= limit {
                return Ok(Error::NotARecord { offset });
            }
            match walk.next()? {
                Item::Bad { at, .. } if self.sealed_end(&header)? == Some(at) => {
                    return Ok(Error::NotARecord { offset });
                }
                Item::Bad { at, kind } => {
                    let gone = self.why_gone(offset)?;
                    return Ok(gone.unwrap_or_else(|| Error::corrupt(&path, at..limit, kind, [])));
                }
                Item::SegmentEnd => return Ok(Error::NotARecord { offset }),
                Item::Record { .. } | Item::Commit { .. } | Item::CommitEnd { .. } | Item::Padding { .. } => {
                }
            }
        }
    }

    /// Why there is nothing at `offset` any more, if a cleanup was faster. Who has a removed segment's file open can go on
    /// reading it, but not know where its records end: the next segment, which says so, is gone too.
    pub(super) fn why_gone(&self, offset: Offset) -> Result<Option<Error>> {
        let floor = self.refresh_floor()?;
        Ok((offset < floor).then_some(Error::BelowFloor { offset, floor }))
    }

    /// Where the records of a segment end that another one follows: the commit that begins the next one says so.
    pub(super) fn sealed_end(&self, header: &SegmentHeader) -> Result<Option<u64>> {
        if self.inner.durable.seen() <= header.end() {
            return Ok(None);
        }
        let Some((next, file)) = self.find_segment(header.end())? else { return Ok(None) };
        let segment = SegmentFile { path: self.segment_path(next.base), header: next, file };
        let mut commit = segment.first_commit(Cache::Through)?;
        if commit.is_none() {
            commit = segment.first_commit(Cache::Past)?;
        }
        Ok(commit.map(|commit| commit.durable_below))
    }

    /// The segment of a durable offset that is not below the floor.
    fn segment_of(&self, offset: Offset) -> Result<(SegmentHeader, Arc<dyn ReadFile>)> {
        let known = self.inner.durable.seen();
        if offset.get() >= known {
            let durable_end = self.look_for(offset, known)?;
            if offset >= durable_end {
                return Err(self.beyond(offset, durable_end));
            }
        }
        let floor = Offset::new(self.inner.floor.load(Ordering::Relaxed));
        if offset < floor {
            return Err(Error::BelowFloor { offset, floor });
        }
        match self.find_segment(offset.get())? {
            Some(found) => Ok(found),
            None => {
                if let Some(gone) = self.why_gone(offset)? {
                    return Err(gone);
                }
                let directory = self.view().segments().directory().to_owned();
                Err(Error::MissingSegment { directory, base: offset })
            }
        }
    }

    /// Looks whether `offset`, which is not below what was known to be durable, or right behind it, is durable now.
    fn look_for(&self, offset: Offset, known: u64) -> Result<Offset> {
        let (durable, disk) = (&self.inner.durable, &*self.inner.disk);
        let news = durable.news(disk).and_then(|end| {
            // Without news it has looked at the journal itself.
            if offset.get() < end || end == known { Ok(end) } else { durable.refresh(disk) }
        });
        news.map(Offset::new).map_err(|error| in_question(error, offset, Offset::new(known)))
    }

    /// Why nothing is read at `offset`, which is not below the durable end.
    #[cold]
    fn beyond(&self, offset: Offset, durable_end: Offset) -> Error {
        let not_yet = Error::NotYetDurable { offset, durable_end };
        self.inner.durable.refusal().map_or(not_yet, |refusal| in_question(refusal, offset, durable_end))
    }

    /// The segment that holds `offset`; looks for new segments once when it is not known.
    pub(super) fn find_segment(&self, offset: u64) -> Result<Option<(SegmentHeader, Arc<dyn ReadFile>)>> {
        if let Some(found) = self.inner.segments.segment(offset)? {
            return Ok(Some(found));
        }
        self.refresh_segments()?;
        self.inner.segments.segment(offset)
    }

    fn view(&self) -> Arc<Shown> {
        self.inner.segments.look().0
    }

    fn refresh_segments(&self) -> Result<()> {
        let floor = || Ok(self.refresh_floor()?.get());
        let disk = &*self.inner.disk;
        self.inner.segments.refresh(|known| Ok(SegmentManager::load_kept(disk, Some(known), &floor)?.1))
    }

    /// All records from `offset` on, forward, up to the durable end at the time each is asked for. `offset` may be that of
    /// a record, of a cursor, the floor, the beginning of a segment, or the durable end.
    ///
    /// # Errors
    /// [`Error::NotYetDurable`] beyond the durable end, or [`Error::Corrupt`] where the journal does not end there but is
    /// damaged; [`Error::BelowFloor`]; [`Error::Io`]. An offset inside a record
    /// shows with the first record: [`Error::NotARecord`].
    pub fn iter_from(&self, offset: Offset) -> Result<Records> {
        let known = self.inner.durable.seen();
        if offset.get() > known {
            let durable_end = self.look_for(offset, known)?;
            if offset > durable_end {
                return Err(self.beyond(offset, durable_end));
            }
        }
        match self.why_gone(offset)? {
            Some(gone) => Err(gone),
            None => Ok(Records::new(self.clone(), offset.get())),
        }
    }

    /// All records from `offset` on, waiting for more at the end.
    ///
    /// # Errors
    /// As [`iter_from`](Self::iter_from).
    pub fn follow(&self, offset: Offset) -> Result<Follow> {
        Ok(Follow::new(self.iter_from(offset)?))
    }

    /// Every offset below is durable; looks for news.
    ///
    /// # Errors
    /// [`Error::Io`]; without a living writer also what a look at the journal's end comes to.
    pub fn durable_end(&self) -> Result<Offset> {
        self.inner.durable.refresh(&*self.inner.disk).map(Offset::new)
    }

    /// The lowest offset kept.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the floor's file is damaged; [`Error::Io`].
    pub fn floor(&self) -> Result<Offset> {
        self.refresh_floor()
    }

    pub(super) fn refresh_floor(&self) -> Result<Offset> {
        let floor = floor_on(&*self.inner.disk)?;
        self.note_floor(floor);
        Ok(Offset::new(floor))
    }

    pub(super) fn note_floor(&self, floor: u64) {
        self.inner.floor.store(floor, Ordering::Relaxed);
    }

    /// Checks that a cursor may stand at `offset`: a record, or a place between commits, not below the floor, not
    /// beyond the durable end.
    pub(super) fn check_boundary(&self, offset: Offset) -> Result<()> {
        let mut records = self.iter_from(offset)?;
        records.advance().map(drop)
    }

    /// The journal's segments as they are now.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn segments(&self) -> Result<SegmentManager> {
        self.refresh_segments()?;
        Ok(self.view().segments().clone())
    }

    /// The journal's identity.
    #[must_use]
    pub fn journal_id(&self) -> JournalId {
        self.inner.id
    }

    /// The writer that has the journal open now, or `None`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn writer(&self) -> Result<Option<WriterInfo>> {
        let lives = lock::writer_lives(&*self.inner.disk)?;
        Ok(lives.then(|| WriterInfo { pid: lock::holder(&*self.inner.disk) }))
    }

    /// The name of the file system that the journal is on.
    #[must_use]
    pub fn file_system(&self) -> String {
        self.inner.disk.file_system().name
    }

    /// Why the promises are weaker on that file system than people expect, if they are.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.inner.disk.file_system().warning.map(str::to_owned)
    }

    pub(super) fn disk(&self) -> Arc<dyn ReadDisk> {
        self.inner.disk.clone()
    }

    pub(super) fn durable(&self) -> &DurableEnd {
        &self.inner.durable
    }

    pub(super) fn segment_path(&self, base: u64) -> std::path::PathBuf {
        self.view().segments().path(base)
    }
}

/// A place where a record is looked for, in the segment that holds it. Nothing is read at or behind `limit`.
struct Place<'a> {
    header: &'a SegmentHeader,
    file: &'a dyn ReadFile,
    offset: u64,
    limit: u64,
}

/// The guess goes up at once and comes down slowly: a guess that is too low costs a second read, one that is too high a
/// few cache lines.
fn note_size(guess: &AtomicUsize, guessed: usize, bytes: usize) {
    let next =
        if bytes >= guessed { bytes.min(FIRST_READ_BYTES_MAX) } else { guessed - (guessed - bytes) / 8 };
    if next != guessed {
        guess.store(next, Ordering::Relaxed);
    }
}

/// Damage at the journal's end, told to who asks for `offset`: what belongs to a commit that is damaged farther on, or stands behind
/// a file that is, is in question from the last known durable end on.
#[cold]
fn in_question(error: Error, offset: Offset, durable_end: Offset) -> Error {
    let Error::Corrupt(mut damage) = error else { return error };
    damage.range.start = damage.range.start.min(durable_end);
    damage.range.end = damage.range.end.max(Offset::new(offset.get().saturating_add(1)));
    Error::Corrupt(damage)
}
