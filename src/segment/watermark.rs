//! The watermark: the durable end, in a page that readers in other processes see at once.
//!
//! ```text
//! word 0        1, 2          8, 9, 10                          16, 17, 18
//! | magic      | journal id  | durable end, last commit, check  | the same for the commit before or after |
//! ```
//! Guarantees: what a reader takes from it was durable at the time; a torn, stale, foreign or damaged page gives nothing
//! or an older durable end, never a later one. It is evidence for recovery, never a reason to cut.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::disk::{BLOCK_BYTES, Disk, Durable, Folder, ReadDisk, SharedPage, fork_count};
use crate::error::{Error, Result};
use crate::format::file_name::WATERMARK;
use crate::position::JournalId;

const MAGIC_WORD: usize = 0;
const ID_WORDS: [usize; 2] = [1, 2];
const SLOTS: [usize; 2] = [8, 16];
const MAGIC: u64 = u64::from_le_bytes(*b"rwmark\0\x02");

/// What the watermark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Every offset below is durable.
    pub(crate) durable_end: u64,
    /// Where the commit begins that ends there.
    pub(crate) last_commit: u64,
}

/// The watermark page of one journal.
#[derive(Debug)]
pub(crate) struct Watermark {
    page: Arc<dyn SharedPage>,
    id: JournalId,
    /// Publications so far; only the writer counts. Its parity picks the slot, so that a reader always finds one slot
    /// that is not being changed.
    published: AtomicU64,
    /// The durable end that this process published last. Its own readers go by it: a flush of the page that fails can
    /// take the page back.
    own_end: AtomicU64,
    /// It is that of a writer in this process that has not closed the journal. Relaxed: whoever looks goes by locks and
    /// files afterwards.
    has_writer: AtomicBool,
    /// A forked child has a copy that nobody retires.
    forks: u32,
}

impl Watermark {
    fn new(page: Arc<dyn SharedPage>, id: JournalId) -> Self {
        let [published, own_end] = [0; 2].map(AtomicU64::new);
        Self { page, id, published, own_end, has_writer: AtomicBool::new(false), forks: fork_count() }
    }

    /// The journal's watermark as it is, for those who look. `None` where there is none, or it is no page.
    pub(crate) fn open(disk: &dyn ReadDisk, id: JournalId) -> Result<Option<Self>> {
        match disk.open_page(Folder::Root, WATERMARK) {
            Ok(page) => Ok(Some(Self::new(page, id))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                Ok(None)
            }
            Err(source) => Err(crate::segment::files::open_error(disk.path(Folder::Root, WATERMARK), source)),
        }
    }

    /// The journal's watermark for its writer, with this content, durably.
    ///
    /// `mark` must be what recovery found and made durable.
    pub(crate) fn create(disk: &dyn Disk, id: JournalId, mark: Mark) -> Result<Self> {
        let path = disk.path(Folder::Root, WATERMARK);
        let failed = |operation| {
            let path = path.clone();
            move |source| Error::io(operation, path, source)
        };
        let watermark = match Self::open(disk, id)? {
            Some(watermark) if watermark.page.is_writable() => watermark,
            _ => {
                match disk.remove(Folder::Root, WATERMARK) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("remove")(error));
                    }
                    _ => {}
                }
                let file = disk.create(Folder::Root, WATERMARK).map_err(failed("create"))?;
                file.write_at(&[0; BLOCK_BYTES], 0).map_err(failed("write"))?;
                file.sync().map_err(failed("sync"))?;
                disk.sync_folder(Folder::Root).map_err(failed("sync the directory of"))?;
                let page = disk.open_page(Folder::Root, WATERMARK).map_err(failed("map"))?;
                Self::new(page, id)
            }
        };
        if !watermark.is_ours() {
            for slot in SLOTS {
                watermark.page.store(slot + 2, &[0]);
            }
            watermark.page.store(MAGIC_WORD, &[MAGIC]);
            watermark.page.store(ID_WORDS[0], &id_words(id));
        }
        if watermark.read() != Some(mark) {
            watermark.restart(mark);
            // The second: whether it names the last commit, as after an orderly close.
            let claims = |mark: Mark| (mark.durable_end, mark.last_commit < mark.durable_end);
            if watermark.read().is_some_and(|still| claims(still) > claims(mark)) {
                // Whoever reads would take for durable what recovery has given up, or for an orderly close what is none any more.
                let sentence = "no room to write it anew; free some space and open the journal again";
                let source = io::Error::new(io::ErrorKind::StorageFull, sentence);
                return Err(failed("take back the durable end in")(source));
            }
        }
        watermark.own_end.store(mark.durable_end, Ordering::Release);
        watermark.has_writer.store(true, Ordering::Relaxed);
        Ok(watermark)
    }

    /// Whether this is the watermark of a writer in this process that has not closed the journal: what it says is all there
    /// is to say.
    pub(crate) fn has_writer(&self) -> bool {
        self.has_writer.load(Ordering::Relaxed) && self.forks == fork_count()
    }

    /// Its writer has closed the journal and goes: whoever holds it looks at the journal itself from now on, and for those
    /// who come after.
    pub(crate) fn retire(&self) {
        self.has_writer.store(false, Ordering::Relaxed);
    }

    /// Sets both slots: after recovery, which may have gone back.
    fn restart(&self, mark: Mark) {
        self.store(mark);
        self.store(mark);
    }

    /// Publishes a new durable end and wakes those who follow.
    pub(crate) fn publish(&self, mark: Mark, _proof: &Durable) {
        self.store(mark);
        self.own_end.store(mark.durable_end, Ordering::Release);
        self.page.announce();
    }

    /// What must never be done: without a proof.
    #[cfg(ringwal_zoo = "watermark_ahead_of_the_truth")]
    pub(crate) fn publish_early(&self, mark: Mark) {
        self.store(mark);
    }

    fn store(&self, mark: Mark) {
        // Relaxed: only the writer's own thread counts.
        let published = self.published.fetch_add(1, Ordering::Relaxed);
        let slot = if published.is_multiple_of(2) { SLOTS[0] } else { SLOTS[1] };
        // A reader that sees a half-changed slot, in whatever mixture, finds that its check does not fit and takes the other
        // one.
        self.page.store(slot, &[mark.durable_end, mark.last_commit, self.check(mark)]);
    }

    /// What the page says, or `None` when it says nothing that can be believed.
    pub(crate) fn read(&self) -> Option<Mark> {
        if !self.is_ours() {
            return None;
        }
        // Two slots change in turn: a reader is too slow for both only when two commits pass during one look.
        const LOOKS: usize = 16;
        (0..LOOKS).find_map(|_| {
            let marks = SLOTS.map(|slot| self.read_slot(slot));
            marks.into_iter().flatten().max_by_key(|mark| mark.durable_end)
        })
    }

    /// Every offset below is durable, as far as the page says or this process has published; `None` when neither says
    /// anything.
    pub(crate) fn durable_end(&self) -> Option<u64> {
        let own = self.own_end.load(Ordering::Acquire);
        self.read().map(|mark| mark.durable_end).max((own > 0).then_some(own))
    }

    fn read_slot(&self, slot: usize) -> Option<Mark> {
        let check = self.page.load(slot + 2);
        let mark = Mark { durable_end: self.page.load(slot), last_commit: self.page.load(slot + 1) };
        (check == self.check(mark)).then_some(mark)
    }

    fn check(&self, mark: Mark) -> u64 {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes[16..24].copy_from_slice(&mark.durable_end.to_le_bytes());
        bytes[24..].copy_from_slice(&mark.last_commit.to_le_bytes());
        // The upper half sets a check apart from words that were never written.
        u64::from(crc32c::crc32c(&bytes)) | (MAGIC << 32)
    }

    fn is_ours(&self) -> bool {
        self.page.load(MAGIC_WORD) == MAGIC && ID_WORDS.map(|word| self.page.load(word)) == id_words(self.id)
    }

    /// To be read before a look at the durable end, and given to [`wait`](Self::wait) when that look was in vain.
    pub(crate) fn announcements(&self) -> u32 {
        self.page.announcements()
    }

    /// Waits for a publication after `seen`, at most `patience`.
    pub(crate) fn wait(&self, seen: u32, patience: Duration) {
        self.page.wait(seen, patience);
    }

    /// Wakes those who wait although nothing was published: the journal failed or is closed.
    pub(crate) fn wake(&self) {
        self.page.announce();
    }

    /// Makes the content durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.page.sync()
    }
}

fn id_words(id: JournalId) -> [u64; 2] {
    let word = |half: &[u8]| half.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    [word(&id.0[..8]), word(&id.0[8..])]
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::disk::sim::SimDisk;

    const ID: JournalId = JournalId([4; 16]);

    /// Found by reading: where a store needs room and there was none, giving up left a mark beyond what was kept and said that
    /// all was well.
    #[test]
    fn a_mark_that_cannot_be_taken_back_for_want_of_room_is_an_error() {
        let control = SimDisk::new(1);
        let disk = control.disk();
        let mark = |end| Mark { durable_end: end, last_commit: end - 104 };
        Watermark::create(&*disk, ID, mark(10_000)).unwrap();
        control.stores_need_room(true);
        control.set_room(Some(0));
        // The second names no last commit any more.
        for mark in [mark(5_000), Mark { last_commit: 10_000, ..mark(10_000) }] {
            let refused = Watermark::create(&*disk, ID, mark).unwrap_err();
            assert!(
                matches!(&refused, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
            );
        }
        assert_eq!(Watermark::open(&*disk, ID).unwrap().unwrap().read(), Some(mark(10_000)));
        control.set_room(None);
        assert_eq!(Watermark::create(&*disk, ID, mark(5_000)).unwrap().read(), Some(mark(5_000)));
    }
}
