//! The ordered set of a journal's segments, and which of them holds an offset.
//!
//! Guarantees: bases fit together without gap or overlap above the floor; all segments are of one journal. Knows headers
//! only: what a segment holds is not read here. Changes nothing.

use std::path::{Path, PathBuf};

use crate::disk::{EntryKind, Folder, ReadDisk};
use crate::error::{CorruptionKind, Error, Result};
use crate::format::bytes::is_zero;
use crate::format::file_name;
use crate::format::segment_header::{FORMAT_VERSION, HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::position::{JournalId, Offset};
use crate::segment::walk::Cache;

/// The floor as the state file has it; every journal begins with 0.
pub(crate) fn floor_on(disk: &dyn ReadDisk) -> Result<u64> {
    Ok(super::state::read_floor(disk)?.map_or(0, |floor| floor.offset))
}

/// The segment that is written, and the one prepared behind it.
pub(crate) const WRITTEN_MAX: usize = 2;

/// So much of a file is read at a time to see whether there is anything in it.
const BLANK_CHUNK_BYTES: usize = 1 << 20;

/// One segment, as its header tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The file.
    pub path: PathBuf,
    /// The first offset in it.
    pub base: Offset,
    /// The first offset behind it: where the next segment begins.
    pub end: Offset,
    /// Nanoseconds since the Unix epoch when it was created, by the clock of that time.
    pub created: u64,
}

/// The ordered set of a journal's segments.
///
/// ```
/// # fn main() -> ringwal::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let directory = dir.path().join("journal");
/// # ringwal::JournalWriter::open(&directory, ringwal::Options::new())?.close()?;
/// let segments = ringwal::SegmentManager::open(&directory)?;
/// let first = segments.resolve(ringwal::Offset::ZERO).expect("every journal has a first segment");
/// assert_eq!(first.base, ringwal::Offset::ZERO);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SegmentManager {
    directory: PathBuf,
    id: JournalId,
    /// Ascending by base.
    headers: Vec<SegmentHeader>,
}

/// Segments as far as they fit together, and what is wrong behind them.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) segments: SegmentManager,
    /// Bases of segments whose files are shorter than their headers say.
    pub(crate) short: Vec<u64>,
    /// Above the floor, the segments fit together only up to this.
    pub(crate) fault: Option<Fault>,
    /// Behind the segments, a file under the next one's name that was never used, and of which the device has lost more
    /// than it should.
    pub(crate) blank: Option<Blank>,
}

/// A file that has the name of the next segment, but no valid header, and nothing behind the header.
#[derive(Debug)]
pub(crate) struct Blank {
    pub(crate) base: u64,
    /// What is wrong with its header.
    pub(crate) error: Error,
}

/// Where the ordered set breaks.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Segments before this index fit together; the last of them may be shorter than its header says. 0 when there is
    /// nothing to go on with.
    pub(crate) sound: usize,
    pub(crate) error: Error,
}

impl SegmentManager {
    /// Reads the headers of all segments in `directory`. Needs read permission only, takes no lock, changes nothing.
    ///
    /// # Errors
    /// [`Error::NotAJournal`] without segments; [`Error::MissingSegment`], [`Error::OverlappingSegments`],
    /// [`Error::WrongJournal`], [`Error::ForeignFile`], [`Error::UnsupportedVersion`] or [`Error::Corrupt`] when they
    /// do not fit together; [`Error::Io`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let disk = crate::disk::native::NativeDisk::open_read(directory)
            .map_err(|source| Error::io("open", directory, source))?;
        Ok(Self::load_kept(&*disk, None, &|| floor_on(&*disk))?.1)
    }

    /// The floor and the segments, as they fit each other.
    pub(crate) fn load_kept(
        disk: &dyn ReadDisk,
        mut known: Option<&Self>,
        read_floor: &dyn Fn() -> Result<u64>,
    ) -> Result<(u64, Self)> {
        let mut floor = read_floor()?;
        loop {
            match Self::load_sound(disk, floor, known) {
                Ok(segments) => return Ok((floor, segments)),
                // What is known may be of segments that were made anew since.
                Err(_) if known.is_some() => known = None,
                // Cleanup removes files between the look at the floor and the look at the segments: then the floor has risen.
                Err(error) => match read_floor()? {
                    now if now == floor => return Err(error),
                    now => floor = now,
                },
            }
        }
    }

    /// As [`load`](Self::load), a fault being an error.
    pub(crate) fn load_sound(disk: &dyn ReadDisk, floor: u64, known: Option<&Self>) -> Result<Self> {
        let loaded = Self::load(disk, floor, known, Cache::Through)?;
        match loaded.fault {
            Some(fault) => Err(fault.error),
            None => Ok(loaded.segments),
        }
    }

    /// Reads the headers of all segments but those `known`, and checks that they fit together above the floor. `newest`:
    /// where from for the segments that will be written next; of the others nobody has changed the cached headers.
    pub(crate) fn load(
        disk: &dyn ReadDisk,
        floor: u64,
        known: Option<&Self>,
        newest: Cache,
    ) -> Result<Loaded> {
        let directory = directory_of(disk);
        let mut headers = Vec::new();
        let mut short = Vec::new();
        let mut blank = None;
        let bases = list_bases(disk)?;
        let old = bases.len().saturating_sub(WRITTEN_MAX);
        for (index, base) in bases.iter().copied().enumerate() {
            // The newest may have been made anew, with another size, where recovery found them empty.
            if index < old
                && let Some(header) = known.and_then(|known| known.header_at(base))
            {
                headers.push(header);
                continue;
            }
            let is_old = index < old || cfg!(ringwal_zoo = "header_believed_from_the_cache");
            let cache = if is_old { Cache::Through } else { newest };
            match read_header(disk, base, cache) {
                Ok(Some((header, is_short))) => {
                    headers.push(header);
                    if is_short {
                        short.push(base);
                    }
                }
                Ok(None) => {}
                Err(error @ (Error::ForeignFile { .. } | Error::Corrupt(_)))
                    if index + 1 == bases.len() && is_blank(disk, headers.last(), base)? =>
                {
                    blank = Some(Blank { base, error });
                }
                Err(error) => return Err(error),
            }
        }
        let Some(first) = headers.first() else { return Err(Error::NotAJournal { directory }) };
        let id = first.id;
        let segments = Self { directory, id, headers };
        if let Some(other) = segments.headers.iter().find(|header| header.id != id) {
            return Err(Error::WrongJournal {
                path: segments.path(other.base),
                expected: id,
                found: other.id,
            });
        }
        let fault = segments.find_fault(floor, &short);
        Ok(Loaded { segments, short, fault, blank })
    }

    fn find_fault(&self, floor: u64, short: &[u64]) -> Option<Fault> {
        let kept = self.count_below(floor);
        let Some(first) = self.headers.get(kept) else {
            // Everything lies below the floor; the floor can stand exactly at the end of all segments only when
            // cleanup ran ahead of appending, which it never does.
            return Some(Fault { sound: 0, error: self.missing(floor) });
        };
        if first.base > floor {
            return Some(Fault { sound: 0, error: self.missing(floor) });
        }
        self.find_misfit(kept, short)
    }

    /// The first place from segment number `from` on where a segment does not begin where the one before it ends.
    pub(crate) fn find_misfit(&self, from: usize, short: &[u64]) -> Option<Fault> {
        for (index, header) in self.headers.iter().enumerate().skip(from) {
            let next = self.headers.get(index + 1);
            if next.is_some() && short.contains(&header.base) {
                let range = header.base..header.end();
                let error = Error::corrupt(&self.path(header.base), range, CorruptionKind::Missing, []);
                return Some(Fault { sound: index + 1, error });
            }
            match next {
                Some(next) if next.base > header.end() => {
                    return Some(Fault { sound: index + 1, error: self.missing(header.end()) });
                }
                Some(next) if next.base < header.end() => {
                    let (first, second) = (self.path(header.base), self.path(next.base));
                    return Some(Fault {
                        sound: index + 1,
                        error: Error::OverlappingSegments { first, second },
                    });
                }
                _ => {}
            }
        }
        None
    }

    fn missing(&self, base: u64) -> Error {
        Error::MissingSegment { directory: self.directory.clone(), base: Offset::new(base) }
    }

    /// The journal's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The journal's identity.
    #[must_use]
    pub fn journal_id(&self) -> JournalId {
        self.id
    }

    /// The segment that holds `offset`, by binary search; `None` below the first and behind the last.
    #[must_use]
    pub fn resolve(&self, offset: Offset) -> Option<SegmentInfo> {
        self.header_of(offset.get()).map(|header| self.info(&header))
    }

    /// All segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = SegmentInfo> {
        self.headers.iter().map(|header| self.info(header))
    }

    fn info(&self, header: &SegmentHeader) -> SegmentInfo {
        SegmentInfo {
            path: self.path(header.base),
            base: Offset::new(header.base),
            end: Offset::new(header.end()),
            created: header.created,
        }
    }

    pub(crate) fn headers(&self) -> &[SegmentHeader] {
        &self.headers
    }

    pub(crate) fn header_of(&self, offset: u64) -> Option<SegmentHeader> {
        let behind = self.headers.partition_point(|header| header.base <= offset);
        let header = self.headers.get(behind.checked_sub(1)?)?;
        (offset < header.end()).then_some(*header)
    }

    pub(crate) fn header_at(&self, base: u64) -> Option<SegmentHeader> {
        let index = self.headers.binary_search_by_key(&base, |header| header.base).ok()?;
        self.headers.get(index).copied()
    }

    pub(crate) fn path(&self, base: u64) -> PathBuf {
        self.directory.join(file_name::segment(base))
    }

    /// How many segments lie wholly below `floor`. Those may overlap, so this is no matter for a binary search.
    fn count_below(&self, floor: u64) -> usize {
        self.headers.iter().take_while(|header| header.end() <= floor).count()
    }

    /// Forgets the segments that lie wholly below `floor`, but never the last, and names them, oldest first.
    pub(crate) fn forget_below(&mut self, floor: u64) -> Vec<u64> {
        let count = self.count_below(floor).min(self.headers.len().saturating_sub(1));
        self.headers.drain(..count).map(|header| header.base).collect()
    }

    /// The same, but keeps the segment at `base` and all behind it.
    pub(crate) fn forget_below_and_before(&mut self, floor: u64, base: u64) -> Vec<u64> {
        let before = self.headers.partition_point(|header| header.base < base);
        let count = self.count_below(floor).min(before);
        self.headers.drain(..count).map(|header| header.base).collect()
    }

    /// Forgets all segments from `index` on and names them, newest first.
    pub(crate) fn forget_from(&mut self, index: usize) -> Vec<u64> {
        self.headers.drain(index.min(self.headers.len())..).map(|header| header.base).rev().collect()
    }
}

/// The journal's directory, for messages.
pub(crate) fn directory_of(disk: &dyn ReadDisk) -> PathBuf {
    let lock = disk.path(Folder::Root, file_name::LOCK);
    lock.parent().map(Path::to_owned).unwrap_or(lock)
}

/// The bases that segment files are named by, ascending.
pub(crate) fn list_bases(disk: &dyn ReadDisk) -> Result<Vec<u64>> {
    let entries = disk.list(Folder::Root).map_err(|source| Error::io("list", directory_of(disk), source))?;
    let mut bases = Vec::new();
    for entry in entries {
        let Some(name) = entry.name.to_str() else { continue };
        let Some(base) = file_name::parse_segment(name) else { continue };
        if entry.kind != EntryKind::File {
            let reason = "has the name of a segment, but is not a regular file";
            return Err(Error::ForeignFile { path: disk.path(Folder::Root, name), reason });
        }
        bases.push(base);
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Whether the file named by `base` is the segment behind `before` as far as it was made ready, with some of that lost, and
/// holds nothing else: zeros from the header on, on the device.
fn is_blank(disk: &dyn ReadDisk, before: Option<&SegmentHeader>, base: u64) -> Result<bool> {
    let Some(before) = before.filter(|before| before.end() == base) else { return Ok(false) };
    let name = file_name::segment(base);
    let path = disk.path(Folder::Root, &name);
    let file =
        disk.open_read(Folder::Root, &name).map_err(|error| super::files::open_error(path.clone(), error))?;
    let length = file.len().map_err(|source| Error::io("stat", &path, source))?;
    let mut chunk = vec![0; BLANK_CHUNK_BYTES];
    let mut at = 0;
    while at < length {
        let read = file.read_past_cache(&mut chunk, at).map_err(|source| Error::io("read", &path, source))?;
        let bytes = chunk.get(..read).unwrap_or_default();
        let (header, data) = bytes.split_at(if at == 0 { read.min(SEGMENT_HEADER_BYTES) } else { 0 });
        let is_used = !is_zero(data) && !cfg!(ringwal_zoo = "lost_segment_taken_for_unused");
        if is_used || (at == 0 && !SegmentHeader::is_remnant(header, before.id, base)) {
            return Ok(false);
        }
        if read == 0 {
            break;
        }
        at += read as u64;
    }
    Ok(true)
}

/// The header of the segment file named by `base`, and whether the file is shorter than the header says. `None` when the
/// file has gone since it was listed.
pub(crate) fn read_header(
    disk: &dyn ReadDisk,
    base: u64,
    cache: Cache,
) -> Result<Option<(SegmentHeader, bool)>> {
    let name = file_name::segment(base);
    let path = disk.path(Folder::Root, &name);
    let file = match disk.open_read(Folder::Root, &name) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(super::files::open_error(path, error)),
    };
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
    let read = match cache {
        Cache::Through => file.read_at(&mut bytes, 0),
        Cache::Past => file.read_past_cache(&mut bytes, 0),
    };
    let read = read.map_err(|source| Error::io("read", &path, source))?;
    let length = file.len().map_err(|source| Error::io("stat", &path, source))?;
    let header =
        SegmentHeader::decode(bytes.get(..read).unwrap_or_default()).map_err(|error| match error {
            HeaderError::Foreign => {
                let reason = "has the name of a segment, but does not begin like one";
                Error::ForeignFile { path: path.clone(), reason }
            }
            HeaderError::Version { found } => {
                Error::UnsupportedVersion { path: path.clone(), found, newest: FORMAT_VERSION }
            }
            HeaderError::Damaged => Error::corrupt(&path, base..base, CorruptionKind::Header, []),
        })?;
    if header.base != base {
        let reason = "says of itself that it begins at another offset than its name does";
        return Err(Error::ForeignFile { path, reason });
    }
    Ok(Some((header, length < SEGMENT_HEADER_BYTES as u64 + header.capacity)))
}
