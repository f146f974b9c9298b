//! A segment that is written: its file, and how far its space was written ahead of use.
//!
//! Guarantees: no byte that a commit was granted is zeroed, unless the committer gave it back unused; commits go to space
//! that was really written before, or at least reserved, so that they change no metadata or never meet a full disk. Must
//! not know: commits.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::disk::{WriteFile, block_ceiling};
use crate::error::Error;
use crate::format::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::segment::prepare::PrepareError;
use std::path::PathBuf;

/// Zeros are written ahead in steps of this size: a few milliseconds on a slow disk, so that nobody waits long for one.
pub(crate) const AHEAD_STEP_BYTES: u64 = 1 << 20;

/// A segment open for writing. Its file is locked as long as anybody holds it.
#[derive(Debug)]
pub(crate) struct WritableSegment {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn WriteFile>,
    /// Whether the whole file's space is reserved.
    reserved: bool,
    ahead: Mutex<Ahead>,
    changed: Condvar,
}

#[derive(Debug)]
struct Ahead {
    /// File positions below were really written, or are the committer's.
    below: u64,
    /// The committer was granted all of the reserved space; up to here it was written before.
    whole: Option<u64>,
    /// Somebody writes the step that begins at `below`.
    busy: bool,
    failed: Option<Error>,
}

impl WritableSegment {
    /// `written_below` is a file position.
    pub(crate) fn new(
        path: PathBuf,
        header: SegmentHeader,
        file: Arc<dyn WriteFile>,
        reserved: bool,
        written_below: u64,
    ) -> Self {
        let ahead = Mutex::new(Ahead { below: written_below, whole: None, busy: false, failed: None });
        Self { path, header, file, reserved, ahead, changed: Condvar::new() }
    }

    /// The file position behind the segment's last byte.
    pub(crate) fn file_end(&self) -> u64 {
        SEGMENT_HEADER_BYTES as u64 + self.header.capacity
    }

    /// Grants the file positions below `end` to the committer: from now on nobody zeroes them. Waits for a step that is
    /// being written; where no space is reserved, writes what is missing.
    pub(crate) fn grant(&self, end: u64) -> Result<(), PrepareError> {
        assert!(end <= self.file_end(), "a commit reaches beyond its segment");
        loop {
            let mut ahead = self.lock();
            if let Some(failed) = &ahead.failed {
                return Err(PrepareError::Doubtful(failed.clone()));
            }
            if ahead.below >= end {
                return Ok(());
            }
            if ahead.busy {
                drop(self.changed.wait(ahead).unwrap_or_else(PoisonError::into_inner));
            } else if self.reserved {
                // The writer has overtaken the zeros: reserved space takes its bytes as well, only more slowly.
                ahead.below = end;
                return Ok(());
            } else {
                drop(ahead);
                self.write_step(end)?;
            }
        }
    }

    /// Grants all of the segment, written or not, where its space is reserved: commits will change metadata. Does nothing
    /// while a step is being written.
    pub(crate) fn grant_whole(&self) {
        let mut ahead = self.lock();
        if self.reserved && !ahead.busy && ahead.failed.is_none() && ahead.below < self.file_end() {
            ahead.whole = Some(ahead.below);
            ahead.below = self.file_end();
        }
    }

    /// Takes back what [`grant_whole`](Self::grant_whole) gave from file position `unused` on, which the committer
    /// has not used and will not use before it is granted again.
    pub(crate) fn give_back(&self, unused: u64) {
        let mut ahead = self.lock();
        if let Some(written) = ahead.whole.take() {
            assert!(!ahead.busy, "zeros are written in space that was granted");
            ahead.below = block_ceiling(unused).max(written).min(self.file_end());
        }
    }

    /// Why the file cannot be relied on any more, if so: a flush of it failed that may have covered a commit's bytes.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.lock().failed.clone()
    }

    /// Writes one more step of zeros when less than up to `target` is written; `false` when there was nothing to do.
    pub(crate) fn write_step(&self, target: u64) -> Result<bool, PrepareError> {
        let target = block_ceiling(target).min(self.file_end());
        let mut ahead = self.lock();
        if ahead.busy || ahead.below >= target || ahead.failed.is_some() {
            return Ok(false);
        }
        ahead.busy = true;
        let start = ahead.below;
        drop(ahead);
        let step = BusyStep(self);
        // What the committer was granted can end inside a block; that block is its own.
        let first = block_ceiling(start);
        let end = (first + AHEAD_STEP_BYTES).min(self.file_end());
        let zeros = if first < end { self.file.write_zeros(first, end - first) } else { Ok(()) };
        let synced = match &zeros {
            Ok(()) => self.file.sync().map_err(|source| Error::io("sync", &self.path, source)),
            Err(_) => Ok(()),
        };
        let mut ahead = self.lock();
        let outcome = match (zeros, synced) {
            (Ok(()), Ok(())) => {
                ahead.below = end;
                Ok(true)
            }
            (_, Err(error)) => {
                // The lost flush may have covered a commit's bytes, and will not be reported again.
                ahead.failed = Some(error.clone());
                Err(PrepareError::Doubtful(error))
            }
            (Err(error), Ok(())) => Err(PrepareError::of("write", &self.path, error)),
        };
        drop(ahead);
        drop(step);
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Ahead> {
        // The state is consistent at every await of the lock: plain assignments only.
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far ahead space is written, as a file position.
    pub(crate) fn written_below(&self) -> u64 {
        self.lock().below
    }
}

/// A step of zeros that is being written; ends it also when the thread panics, so that nobody waits for ever.
struct BusyStep<'a>(&'a WritableSegment);

impl Drop for BusyStep<'_> {
    fn drop(&mut self) {
        let mut ahead = self.0.lock();
        ahead.busy = false;
        if std::thread::panicking() && ahead.failed.is_none() {
            ahead.failed =
                Some(Error::Panicked { message: "writing space ahead has stopped half-way".into() });
        }
        self.0.changed.notify_all();
    }
}

/// Whether the disk, or what this user may use of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::Folder;
    use crate::disk::sim::{Failure, SimDisk};
    use crate::position::JournalId;

    const STEPS: u64 = 3;
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;
    const EDQUOT: i32 = 122;

    /// A segment of so many steps, its first one written; space is reserved or not.
    fn segment(reserved: bool) -> (SimDisk, WritableSegment) {
        let sim = SimDisk::new(1);
        let capacity = STEPS * AHEAD_STEP_BYTES;
        let whole = usize::try_from(SEGMENT_HEADER_BYTES as u64 + capacity).unwrap();
        sim.set_content("a", vec![0; whole]);
        let file = sim.disk().open_write(Folder::Root, "a").unwrap();
        let header = SegmentHeader { id: JournalId([1; 16]), base: 0, capacity, created: 0 };
        let below = SEGMENT_HEADER_BYTES as u64 + AHEAD_STEP_BYTES;
        (sim, WritableSegment::new("a".into(), header, file, reserved, below))
    }

    #[test]
    fn zeros_ahead_that_the_disk_does_not_take_can_be_tried_again() {
        for (errno, is_full) in [(ENOSPC, true), (EDQUOT, true), (EIO, false)] {
            let (sim, segment) = segment(false);
            let below = segment.written_below();
            sim.fail_operation(1, errno, Failure::Once);
            match segment.grant(below + 1).unwrap_err() {
                PrepareError::Full(_) => assert!(is_full),
                PrepareError::Refused(_) => assert!(!is_full),
                PrepareError::Doubtful(error) => panic!("nothing is in doubt: {error}"),
            }
            assert!(segment.failure().is_none());
            assert_eq!(segment.written_below(), below);
            segment.grant(below + 1).unwrap();
            assert_eq!(segment.written_below(), below + AHEAD_STEP_BYTES);
        }
    }

    #[test]
    fn a_failed_flush_of_zeros_ahead_is_final_for_the_file() {
        let (sim, segment) = segment(false);
        let end = segment.file_end();
        // The zeros are the first operation, their flush is the second.
        sim.fail_operation(2, EIO, Failure::Once);
        assert!(matches!(segment.write_step(end), Err(PrepareError::Doubtful(_))));
        let first = segment.failure().unwrap().to_string();
        let before = sim.operations();
        let Err(PrepareError::Doubtful(again)) = segment.grant(end) else { panic!("granted") };
        assert_eq!(again.to_string(), first);
        assert!(!segment.write_step(end).unwrap());
        assert_eq!(sim.operations(), before, "the file is left alone");
    }

    #[test]
    fn a_writer_that_overtakes_the_zeros_in_reserved_space_does_not_wait_for_them() {
        let (sim, segment) = segment(true);
        let before = sim.operations();
        let granted = segment.written_below() + 5000;
        segment.grant(granted).unwrap();
        assert_eq!((segment.written_below(), sim.operations()), (granted, before));
        // The block that the grant ends in belongs to the committer; zeros begin behind it.
        assert!(segment.write_step(segment.file_end()).unwrap());
        assert_eq!(segment.written_below(), block_ceiling(granted) + AHEAD_STEP_BYTES);
    }

    #[test]
    fn what_a_whole_grant_left_unused_is_zeroed_after_it_was_given_back() {
        let (sim, segment) = segment(true);
        let (written, before) = (segment.written_below(), sim.operations());
        segment.grant_whole();
        assert_eq!(segment.written_below(), segment.file_end());
        assert!(!segment.write_step(segment.file_end()).unwrap(), "the committer's space is zeroed");
        assert_eq!(sim.operations(), before, "granting writes nothing");
        // Used up to the middle of a block: that block stays the committer's.
        let used = written + AHEAD_STEP_BYTES / 2 + 5000;
        segment.give_back(used);
        assert_eq!(segment.written_below(), block_ceiling(used));
        assert!(segment.write_step(segment.file_end()).unwrap());
        // Only a whole grant is given back.
        let below = segment.written_below();
        segment.give_back(0);
        assert_eq!(segment.written_below(), below);
        segment.grant_whole();
        segment.give_back(0);
        assert_eq!(segment.written_below(), below, "what was written once is not zeroed again");
    }

    #[test]
    fn space_that_is_not_reserved_is_never_granted_unwritten() {
        let (_sim, segment) = segment(false);
        let written = segment.written_below();
        segment.grant_whole();
        assert_eq!(segment.written_below(), written);
    }

    #[test]
    fn a_step_that_panics_keeps_nobody_waiting() {
        let (_sim, segment) = segment(false);
        segment.lock().busy = true;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _step = BusyStep(&segment);
            panic!("half-way");
        }));
        assert!(panicked.is_err());
        assert!(matches!(segment.grant(segment.file_end()), Err(PrepareError::Doubtful(_))));
    }
}
