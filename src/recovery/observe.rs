//! Looking: everything that the decision needs, without changing anything.

use std::io;

use super::plan::AtEnd;
use super::search::search;
use super::tail::{self, Tail, closed_in_order, last_written};
use crate::disk::{Folder, ReadDisk};
use crate::error::{Error, Evidence, Result};
use crate::format::file_name;
use crate::format::segment_header::SegmentHeader;
use crate::format::state_file::StateKind;
use crate::position::Offset;
use crate::segment::manager::{Blank, Loaded, SegmentManager};
use crate::segment::state;
use crate::segment::walk::{Cache, SegmentFile};
use crate::segment::watermark::{Mark, Watermark};

/// Bytes behind the last written segment that are not zero though nothing there is valid.
#[derive(Clone, Debug)]
pub(super) struct Dirty {
    pub(super) segment: SegmentFile,
    pub(super) end: u64,
}

/// All that was seen.
#[derive(Debug)]
pub(super) struct Observation {
    /// All segments that fit together; with a fault, those before it.
    pub(super) segments: SegmentManager,
    /// Segments behind a fault, newest first.
    pub(super) behind_fault: Vec<u64>,
    pub(super) floor: u64,
    pub(super) tail: Tail,
    /// The first offset in the tail's segment behind the last byte that is not zero, if that lies behind what is kept.
    pub(super) dirty_end: Option<u64>,
    /// Later segments with bytes that are not zero.
    pub(super) dirty_later: Vec<Dirty>,
    /// Segments behind the one that comes next, newest first: more than a writer makes. Nothing that is kept is in them.
    pub(super) surplus: Vec<u64>,
    pub(super) ambiguous: bool,
    pub(super) evidence: Vec<Evidence>,
    pub(super) mark: Option<Mark>,
    /// Cursors beyond what is kept: (name, offset).
    pub(super) cursors_beyond: CursorsBeyond,
    /// A file under the name of the segment behind the last written one, with nothing in it, not even a header: to be
    /// made anew.
    pub(super) blank: Option<u64>,
}

/// Names and offsets.
type CursorsBeyond = Vec<(String, u64)>;

impl Observation {
    /// The first input of the table.
    pub(super) fn at_end(&self) -> AtEnd {
        if self.tail.unreadable.is_some() {
            AtEnd::Unreadable
        } else if self.tail.partial.is_none() && self.dirty_end.is_none() && self.dirty_later.is_empty() {
            AtEnd::Zeros
        } else {
            AtEnd::Failing
        }
    }
}

/// Looks at the journal on `disk`. `past_faults`: go on before a place where segments do not fit together instead of
/// answering with that error.
pub(super) fn observe(disk: &dyn ReadDisk, known_durable: u64, past_faults: bool) -> Result<Observation> {
    let floor_state = state::read_floor(disk)?;
    let floor = floor_state.map_or(0, |floor| floor.offset);
    let mut loaded = SegmentManager::load(disk, floor, None, Cache::Past)?;
    let id = loaded.segments.journal_id();
    if let Some(state) = floor_state.filter(|state| state.id != id) {
        let path = disk.path(Folder::Root, file_name::FLOOR);
        return Err(Error::WrongJournal { path, expected: id, found: state.id });
    }
    let blank = loaded.blank.take();
    let seen = observe_segments(disk, floor, loaded, known_durable, past_faults)?;
    let last = seen.tail.segment.header;
    // Only a journal that has written to its last segment makes the next one ready.
    let is_next = |blank: &Blank| seen.tail.kept_end() > last.base && blank.base == last.end();
    match blank {
        Some(blank) if !is_next(&blank) => Err(blank.error),
        blank => Ok(Observation { blank: blank.map(|blank| blank.base), ..seen }),
    }
}

fn observe_segments(
    disk: &dyn ReadDisk,
    floor: u64,
    loaded: Loaded,
    known_durable: u64,
    past_faults: bool,
) -> Result<Observation> {
    let Loaded { mut segments, short, fault, .. } = loaded;
    let has_fault = fault.is_some();
    let behind_fault = match fault {
        None => Vec::new(),
        Some(fault) if past_faults && fault.sound > 0 => segments.forget_from(fault.sound),
        Some(fault) => return Err(fault.error),
    };
    let mark = Watermark::open(disk, segments.journal_id())?.and_then(|watermark| watermark.read());
    let open = |header: &SegmentHeader| SegmentFile::open(disk, *header);
    if !has_fault
        && let Some(mark) = mark
        && let Some(tail) = closed_in_order(&segments, mark, open)?
    {
        let end = tail.end.offset();
        let (evidence, cursors_beyond) =
            outside_evidence(disk, &segments, end, floor, mark.into(), known_durable)?;
        if evidence.is_empty() {
            let (behind_fault, dirty_later, surplus) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(Observation {
                segments,
                behind_fault,
                floor,
                tail,
                dirty_end: None,
                dirty_later,
                surplus,
                ambiguous: false,
                evidence,
                mark: Some(mark),
                cursors_beyond,
                blank: None,
            });
        }
    }
    let seen = Seen { floor, mark, known_durable, past_faults, has_fault, behind_fault, short };
    let seen = look_through(disk, segments, seen)?;
    let (next, bases) =
        (seen.tail.segment.header.end(), seen.segments.headers().iter().map(|later| later.base));
    let surplus = bases.rev().filter(|base| *base > next).collect();
    Ok(Observation { surplus, ..seen })
}

struct Seen {
    floor: u64,
    mark: Option<Mark>,
    known_durable: u64,
    past_faults: bool,
    has_fault: bool,
    behind_fault: Vec<u64>,
    short: Vec<u64>,
}

fn look_through(disk: &dyn ReadDisk, mut segments: SegmentManager, mut seen: Seen) -> Result<Observation> {
    let open = |header: &SegmentHeader| SegmentFile::open(disk, *header);
    let headers = segments.headers();
    let mut index = if seen.has_fault {
        // What lies before a fault is sealed: its end is the fault, not its last commit.
        headers.len() - 1
    } else {
        last_written(headers, open)?
    };
    let not_there = || Error::NotAJournal { directory: segments.directory().into() };
    let mut tail = tail::scan(open(headers.get(index).ok_or_else(not_there)?)?)?;
    while tail.is_empty && tail.unreadable.is_none() && index > 0 {
        // Of the segment's first commit too little is there to keep anything: the journal ends in the segment before.
        index -= 1;
        tail = tail::scan(open(headers.get(index).ok_or_else(not_there)?)?)?;
    }
    // The floor excuses segments below it from fitting together, but not those that would be kept again.
    if let Some(misfit) = segments.find_misfit(index, &seen.short) {
        if !seen.past_faults {
            return Err(misfit.error);
        }
        seen.behind_fault.extend(segments.forget_from(misfit.sound));
    }
    let headers = segments.headers();
    let bad = tail.bad.0;
    let mut evidence = Vec::new();
    let mut rest = super::search::Rest::default();
    let (mut dirty_later, mut ambiguous) = (Vec::new(), false);
    if tail.unreadable.is_none() {
        match search(&tail.segment, tail.kept_end().max(tail.end.offset()), bad) {
            Ok(found) => rest = found,
            Err(error) => tail.unreadable = Some(error),
        }
    }
    evidence.extend(rest.vouching.clone());
    for later in headers.iter().skip(index + 1) {
        let segment = open(later)?;
        let found = match search(&segment, later.base, bad) {
            Ok(found) => found,
            Err(error) => {
                tail.unreadable.get_or_insert(error);
                continue;
            }
        };
        evidence.extend(found.vouching.clone());
        ambiguous |= found.arrived_whole();
        if let Some(end) = found.dirty_end {
            dirty_later.push(Dirty { segment, end });
        }
    }
    evidence.extend(seen.behind_fault.iter().map(|base| Evidence::LaterSegment { base: Offset::new(*base) }));
    let (outside, cursors_beyond) = outside_evidence(
        disk,
        &segments,
        tail.kept_end().min(bad),
        seen.floor,
        seen.mark,
        seen.known_durable,
    )?;
    evidence.extend(outside);
    Ok(Observation {
        ambiguous: ambiguous || rest.arrived_whole(),
        dirty_end: rest.dirty_end,
        segments,
        behind_fault: seen.behind_fault,
        floor: seen.floor,
        tail,
        dirty_later,
        surplus: Vec::new(),
        evidence,
        mark: seen.mark,
        cursors_beyond,
        blank: None,
    })
}

/// Evidence that stands in other files than the segments.
fn outside_evidence(
    disk: &dyn ReadDisk,
    segments: &SegmentManager,
    bad: u64,
    floor: u64,
    mark: Option<Mark>,
    known_durable: u64,
) -> Result<(Vec<Evidence>, CursorsBeyond)> {
    let mut evidence = Vec::new();
    if let Some(mark) = mark.filter(|mark| mark.durable_end > bad) {
        evidence.push(Evidence::Watermark { durable_end: Offset::new(mark.durable_end) });
    }
    // Cleanup removes a segment only when there are commits behind it: a journal whose first segment is not its first
    // one can be empty only by damage.
    let empty_after_cleanup = bad > 0 && segments.headers().first().is_some_and(|first| first.base == bad);
    if floor > bad || empty_after_cleanup {
        evidence.push(Evidence::Floor { floor: Offset::new(floor) });
    }
    if known_durable > bad {
        evidence.push(Evidence::Caller { durable_below: Offset::new(known_durable) });
    }
    let beyond = cursors_beyond(disk, segments, bad)?;
    evidence.extend(
        beyond
            .iter()
            .map(|(name, offset)| Evidence::Cursor { name: name.clone(), offset: Offset::new(*offset) }),
    );
    Ok((evidence, beyond))
}

fn cursors_beyond(disk: &dyn ReadDisk, segments: &SegmentManager, bad: u64) -> Result<CursorsBeyond> {
    let entries = match disk.list(Folder::Cursors) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io("list", disk.path(Folder::Cursors, ""), source)),
    };
    let mut beyond = Vec::new();
    for entry in entries {
        let Some(name) = entry.name.to_str().filter(|name| file_name::is_cursor_name(name)) else { continue };
        let cursor = match state::read(disk, Folder::Cursors, name) {
            Ok(Some(cursor)) => cursor,
            // Nobody knows what it would say.
            Err(error @ Error::Io { .. }) => return Err(error),
            // One that has gone since the folder was listed is none. A damaged one is its consumer's and cleanup's error; it
            // says nothing about the log.
            Ok(None) | Err(_) => continue,
        };
        let is_cursor = cursor.kind != StateKind::Floor && cursor.id == segments.journal_id();
        if is_cursor && cursor.offset > bad {
            beyond.push((name.to_owned(), cursor.offset));
        }
    }
    beyond.sort();
    Ok(beyond)
}

#[cfg(test)]
#[cfg(feature = "sim")]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::Disk;
    use crate::disk::sim::{Failure, SimDisk};
    use crate::format::state_file::StateFile;
    use crate::position::JournalId;

    const ID: JournalId = JournalId([4; 16]);

    /// A journal of one segment, which begins at `base`.
    pub(in crate::recovery) fn journal(base: u64) -> (SimDisk, Arc<dyn Disk>, SegmentManager) {
        let header = SegmentHeader { id: ID, base, capacity: 60 << 10, created: 0 };
        let control = SimDisk::new(1);
        let disk = control.disk();
        let file = disk.create(Folder::Root, &file_name::segment(base)).unwrap();
        file.allocate(header.position_of(header.end())).unwrap();
        file.write_at(&header.encode(), 0).unwrap();
        let segments =
            SegmentManager::load(&*disk.clone().reader(), base, None, Cache::Past).unwrap().segments;
        (control, disk, segments)
    }

    #[test]
    fn a_floor_is_evidence_beyond_the_bad_place_and_where_cleanup_has_left_nothing() {
        for (base, bad, floor, is_evidence) in [
            (0, 0, 0, false),
            (61_440, 61_440, 61_440, true),
            (61_440, 61_544, 61_440, false),
            (61_440, 61_544, 61_544, false),
            (61_440, 61_544, 61_545, true),
        ] {
            let (_control, disk, segments) = journal(base);
            let (evidence, _) = outside_evidence(&*disk.reader(), &segments, bad, floor, None, 0).unwrap();
            let expected =
                if is_evidence { vec![Evidence::Floor { floor: Offset::new(floor) }] } else { vec![] };
            assert_eq!(evidence, expected, "bad at {bad} of a segment at {base}, floor {floor}");
        }
    }

    #[test]
    fn only_the_journals_own_cursors_beyond_the_bad_place_are_evidence() {
        let (control, disk, segments) = journal(0);
        disk.make_folder(Folder::Cursors).unwrap();
        let other = JournalId([5; 16]);
        for (name, kind, id, offset) in [
            ("own", StateKind::PinnedCursor, ID, 105),
            ("advisory", StateKind::AdvisoryCursor, ID, 105),
            ("at_the_place", StateKind::PinnedCursor, ID, 104),
            ("of_another_journal", StateKind::PinnedCursor, other, 105),
            ("no_cursor", StateKind::Floor, ID, 105),
        ] {
            state::write(&*disk, Folder::Cursors, name, &StateFile { kind, id, offset }).unwrap();
        }
        let reader = disk.reader();
        let beyond = cursors_beyond(&*reader, &segments, 104).unwrap();
        assert_eq!(beyond, [("advisory".to_owned(), 105), ("own".to_owned(), 105)]);
        control.fail_operation(1, 5, Failure::Once);
        assert!(matches!(cursors_beyond(&*reader, &segments, 104), Err(Error::Io { .. })));
    }

    /// Found by reading: a cursor whose file could not be read counted as none, and a loss that it would have proved passed for
    /// a crash.
    #[test]
    fn a_cursor_that_cannot_be_read_is_no_missing_evidence() {
        const ENOENT: i32 = 2;
        const EIO: i32 = 5;
        const EACCES: i32 = 13;
        const EMFILE: i32 = 24;
        let (control, disk, segments) = journal(0);
        disk.make_folder(Folder::Cursors).unwrap();
        let cursor = StateFile { kind: StateKind::PinnedCursor, id: ID, offset: 105 };
        state::write(&*disk, Folder::Cursors, "reader", &cursor).unwrap();
        let reader = disk.reader();
        let mut refusals = 0;
        for errno in [EIO, EACCES, EMFILE] {
            let before = control.operations();
            assert_eq!(cursors_beyond(&*reader, &segments, 104).unwrap(), [("reader".to_owned(), 105)]);
            for nth in 1..=control.operations() - before {
                control.fail_operation(nth, errno, Failure::Once);
                let seen = cursors_beyond(&*reader, &segments, 104);
                assert!(matches!(seen, Err(Error::Io { .. })), "operation {nth}: {seen:?}");
                refusals += 1;
            }
        }
        assert!(refusals >= 6, "only {refusals} operations failed");
        // Removed by its consumer since the folder was listed.
        control.fail_operation(2, ENOENT, Failure::Once);
        assert_eq!(cursors_beyond(&*reader, &segments, 104).unwrap(), []);
    }
}
