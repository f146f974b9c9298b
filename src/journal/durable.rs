//! How far a reader may read: the durable end that a living writer publishes, or what recovery would keep.
//!
//! Guarantees: what is shown once can never be taken back by a power cut; with a living writer nothing beyond what it
//! published. Takes no lock and changes nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use crate::disk::ReadDisk;
use crate::error::{Error, Result};
use crate::position::JournalId;
use crate::recovery::{RecoveryPolicy, examine, lock, lock::last_opened};
use crate::segment::watermark::{Mark, Watermark};

/// A follower looks whether the writer still lives, and whether there is a new watermark file, this often.
const LOOK_AROUND: Duration = Duration::from_millis(500);

/// Where the durable end comes from.
#[derive(Debug)]
pub(super) struct DurableEnd {
    id: JournalId,
    /// The highest durable end seen. Relaxed: the bytes below it are read from files, which order themselves.
    seen: AtomicU64,
    watermark: RwLock<Option<Arc<Watermark>>>,
    examined: Mutex<Option<Examined>>,
}

/// The last dead journal that was examined.
#[derive(Debug)]
struct Examined {
    /// What tells it from others.
    dead: DeadJournal,
    end: u64,
    /// Why it could not be opened for writing.
    refusal: Option<Error>,
}

/// A journal without a writer stays as it is until one has opened it, which writes `LOCK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeadJournal {
    mark: Option<Mark>,
    opened: Option<SystemTime>,
}

impl DurableEnd {
    pub(super) fn of_writer(watermark: Arc<Watermark>, id: JournalId) -> Self {
        let seen = AtomicU64::new(watermark.durable_end().unwrap_or(0));
        let watermark = RwLock::new(Some(watermark));
        Self { id, seen, watermark, examined: Mutex::default() }
    }

    pub(super) fn of_directory(disk: &dyn ReadDisk, id: JournalId) -> Result<Self> {
        let watermark = RwLock::new(Watermark::open(disk, id)?.map(Arc::new));
        let seen = AtomicU64::new(0);
        let this = Self { id, seen, watermark, examined: Mutex::default() };
        this.news(disk)?;
        Ok(this)
    }

    /// The highest durable end seen so far.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Whether a writer has said that every offset below `end` is durable, and not only what a look at what it left tells.
    pub(super) fn is_published(&self, end: u64) -> bool {
        let Some(watermark) = self.watermark() else { return false };
        // What a writer that has gone had published may have been given up since; the page would say so.
        let said = if watermark.has_writer() {
            watermark.durable_end()
        } else {
            watermark.read().map(|mark| mark.durable_end)
        };
        said.is_some_and(|published| published >= end)
    }

    /// Looks for a higher durable end, and is content with any. There may be more where a flush that failed has taken the
    /// watermark back: that is found when there is nothing new.
    pub(super) fn news(&self, disk: &dyn ReadDisk) -> Result<u64> {
        if let Some(end) = self.published() {
            self.forget_dead();
            return Ok(end);
        }
        self.refresh(disk)
    }

    /// The highest durable end that was seen or published, without a look at the journal.
    #[cfg(feature = "group-commit")]
    pub(super) fn published_so_far(&self) -> u64 {
        self.published();
        self.seen()
    }

    /// Looks for the durable end.
    pub(super) fn refresh(&self, disk: &dyn ReadDisk) -> Result<u64> {
        self.published();
        if self.has_writer() {
            return Ok(self.seen());
        }
        if lock::writer_lives(disk)? {
            self.forget_dead();
            // A writer that has just come may have made a new file.
            self.reopen(disk)?;
            self.published();
            return Ok(self.seen());
        }
        self.examine_dead(disk)
    }

    /// Where the journal ends as it is now, which is before the highest end seen where damage was given up since.
    pub(super) fn end_now(&self, disk: &dyn ReadDisk) -> Result<u64> {
        let seen = self.refresh(disk)?;
        if let Some(examined) = &*self.lock_examined() {
            return Ok(examined.end);
        }
        Ok(self.watermark().and_then(|watermark| watermark.durable_end()).unwrap_or(seen))
    }

    /// Without a living writer, as far as [`refresh`](Self::refresh) has seen: why the journal does not end at the durable
    /// end. What stands behind it is damaged, or the device does not give it.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.lock_examined().as_ref().and_then(|examined| examined.refusal.clone())
    }

    fn forget_dead(&self) {
        if !self.has_writer() {
            *self.lock_examined() = None;
        }
    }

    /// Whether the watermark is that of a writer in this process.
    fn has_writer(&self) -> bool {
        self.watermark().is_some_and(|watermark| watermark.has_writer())
    }

    fn lock_examined(&self) -> MutexGuard<'_, Option<Examined>> {
        self.examined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the watermark says when it is more than was seen before.
    fn published(&self) -> Option<u64> {
        let mut end = self.watermark()?.durable_end()?;
        if cfg!(ringwal_zoo = "reader_past_the_durable_end") {
            end += 4096;
        }
        let before = self.seen.fetch_max(end, Ordering::Relaxed);
        (end > before).then_some(end)
    }

    fn examine_dead(&self, disk: &dyn ReadDisk) -> Result<u64> {
        self.reopen(disk)?;
        // The lock is held during the examination, so that threads do not do it side by side.
        let mut examined = self.lock_examined();
        loop {
            let mark = self.watermark().and_then(|watermark| watermark.read());
            let dead = DeadJournal { mark, opened: last_opened(disk) };
            if examined.as_ref().is_some_and(|examined| examined.dead == dead) {
                return Ok(self.seen());
            }
            let found = examine(disk, RecoveryPolicy::TolerateTornTail, 0);
            // A writer may have come in the meantime; what it published is the truth then.
            if lock::writer_lives(disk)? {
                *examined = None;
                self.published();
                return Ok(self.seen());
            }
            // It may also have gone again; what was seen then is of two times.
            if last_opened(disk) == dead.opened {
                let found = found?;
                let (end, refusal) = (found.report.end.get(), found.refusal);
                self.seen.fetch_max(end, Ordering::Relaxed);
                *examined = Some(Examined { dead, end, refusal });
                return Ok(self.seen());
            }
        }
    }

    fn reopen(&self, disk: &dyn ReadDisk) -> Result<()> {
        let opened = Watermark::open(disk, self.id)?.map(Arc::new);
        *self.watermark.write().unwrap_or_else(PoisonError::into_inner) = opened;
        Ok(())
    }

    fn watermark(&self) -> Option<Arc<Watermark>> {
        self.watermark.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the durable end is above `end`, at most `patience`; may return for no reason.
    pub(super) fn wait_above(&self, disk: &dyn ReadDisk, end: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now().checked_add(patience);
        let Some(watermark) = self.watermark() else {
            // Nothing to wait on yet: look again soon, the file may come.
            std::thread::sleep(patience.min(LOOK_AROUND / 10));
            self.refresh(disk)?;
            return Ok(());
        };
        // The count is taken before the look, so that a publication in between is not slept through.
        let seen = watermark.announcements();
        if self.news(disk)? <= end {
            let left =
                deadline.map_or(patience, |deadline| deadline.saturating_duration_since(Instant::now()));
            watermark.wait(seen, left.min(LOOK_AROUND));
        }
        Ok(())
    }
}
