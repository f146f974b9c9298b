//! What a reader knows of the journal's segments: their headers, and a bounded number of open files. Many threads ask at
//! once, and far more often than anything changes.
//!
//! Guarantees: asking touches no memory that threads in other places write to, so it does not get slower with threads;
//! what was asked for stays as it was for as long as it is held. Must not know: durable ends, records.

use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Folder, ReadDisk, ReadFile, descriptors_max};
use crate::error::Result;
use crate::format::file_name;
use crate::format::segment_header::SegmentHeader;
use crate::segment::files::open_error;
use crate::segment::manager::SegmentManager;

/// A reader may keep so many files open whatever other readers have: enough for jumping between recent segments, little
/// against the usual limit of 1,024 descriptors a process.
const OPEN_FILES_KEPT: usize = 64;
/// Further files that all readers of the process keep open together are at most this part of the descriptors that it
/// may have.
const PART_OF_DESCRIPTORS: usize = 4;
/// Where a process may have very many: whenever a file is opened, all that are open are gone over.
const FURTHER_FILES_MAX: usize = 4096;
/// Threads that share a place meet there for some nanoseconds only.
const PLACES: usize = 16;

/// Segments and open files, as they were at one moment.
#[derive(Clone, Debug)]
pub(crate) struct View {
    segments: Arc<SegmentManager>,
    /// Ascending by base.
    open: Vec<OpenFile>,
}

#[derive(Clone, Debug)]
struct OpenFile {
    header: SegmentHeader,
    file: Arc<dyn ReadFile>,
    /// Those without one are not more than each reader may have.
    further: Option<Arc<Further>>,
}

/// The right to keep one further file open. It is given back when nobody looks at the file any more.
#[derive(Debug)]
struct Further;

/// Relaxed: only the number counts.
static FURTHER_FILES: AtomicUsize = AtomicUsize::new(0);

impl Further {
    fn take() -> Option<Arc<Self>> {
        let max = (descriptors_max() / PART_OF_DESCRIPTORS).min(FURTHER_FILES_MAX);
        let one_more = |taken| (taken < max).then_some(taken + 1);
        FURTHER_FILES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Arc::new(Self))
    }
}

impl Drop for Further {
    fn drop(&mut self) {
        FURTHER_FILES.fetch_sub(1, Ordering::Relaxed);
    }
}

impl View {
    pub(crate) fn segments(&self) -> &SegmentManager {
        &self.segments
    }

    /// The segment that holds `offset`, if its file is open.
    pub(crate) fn open_segment(&self, offset: u64) -> Option<(&SegmentHeader, &Arc<dyn ReadFile>)> {
        let behind = self.open.partition_point(|open| open.header.base <= offset);
        let OpenFile { header, file, .. } = self.open.get(behind.checked_sub(1)?)?;
        (offset < header.end()).then_some((header, file))
    }

    fn with_open(&self, header: SegmentHeader, file: Arc<dyn ReadFile>) -> Self {
        let mut open = self.open.clone();
        let mut further = None;
        if open.iter().filter(|other| other.further.is_none()).count() >= OPEN_FILES_KEPT {
            // The oldest segment is the least likely to be read next.
            further = Further::take().or_else(|| open.remove(0).further);
        }
        let place = open.partition_point(|other| other.header.base < header.base);
        open.insert(place, OpenFile { header, file, further });
        Self { segments: self.segments.clone(), open }
    }
}

/// A view as one place gives it out: in an `Arc` that is the place's alone, so that threads that count its users up and
/// down do not disturb those of other places.
#[derive(Debug)]
pub(crate) struct Shown(Arc<View>);

impl Deref for Shown {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0
    }
}

/// One place, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Place {
    view: Mutex<Arc<Shown>>,
    /// Bytes that a record is guessed to have, by those that were read here. Relaxed: a wrong guess costs one more read.
    guess: AtomicUsize,
}

/// The segments that a reader and all its clones know.
#[derive(Debug)]
pub(crate) struct KnownSegments {
    disk: Arc<dyn ReadDisk>,
    /// What the places hold too. Locked while it is changed, so that changes come one after the other.
    now: Mutex<Arc<View>>,
    /// How many lists were begun, and which of them the segments are from: of two who list at the same time the one that began
    /// first must not be the last to tell. (No lock: it would be held over reading, and in a forked child for ever.)
    begun: AtomicU64,
    shown: AtomicU64,
    places: [Place; PLACES],
}

impl KnownSegments {
    /// `record_bytes` is the first guess of how large a record is.
    pub(crate) fn new(disk: Arc<dyn ReadDisk>, segments: SegmentManager, record_bytes: usize) -> Self {
        let view = Arc::new(View { segments: Arc::new(segments), open: Vec::new() });
        let place = |_| Place {
            view: Mutex::new(Arc::new(Shown(view.clone()))),
            guess: AtomicUsize::new(record_bytes),
        };
        let places = std::array::from_fn(place);
        Self { disk, now: Mutex::new(view), begun: AtomicU64::new(0), shown: AtomicU64::new(0), places }
    }

    /// What is known now, and the guess that goes with the place of this thread.
    pub(crate) fn look(&self) -> (Arc<Shown>, &AtomicUsize) {
        let place = self.places.get(place_of_thread()).expect("places are counted modulo their number");
        (locked(&place.view).clone(), &place.guess)
    }

    /// The known segment that holds `offset`, its file opened. `None` when there is no such file (any more).
    pub(crate) fn segment(&self, offset: u64) -> Result<Option<(SegmentHeader, Arc<dyn ReadFile>)>> {
        let (view, _) = self.look();
        if let Some((header, file)) = view.open_segment(offset) {
            return Ok(Some((*header, file.clone())));
        }
        let Some(header) = view.segments.header_of(offset) else { return Ok(None) };
        let name = file_name::segment(header.base);
        let file = match self.disk.open_read(Folder::Root, &name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(open_error(self.disk.path(Folder::Root, &name), error)),
        };
        let mut now = locked(&self.now);
        // Another thread may have opened it, or learned that it is gone, in the meantime.
        if now.open_segment(offset).is_none() && now.segments.header_at(header.base) == Some(header) {
            let view = now.with_open(header, file.clone());
            self.show(&mut now, view);
        }
        Ok(Some((header, file)))
    }

    /// Knows from now on what `list` finds, which is given what was known.
    ///
    /// # Errors
    /// Those of `list`; what was known is known still.
    pub(crate) fn refresh(&self, list: impl Fn(&SegmentManager) -> Result<SegmentManager>) -> Result<()> {
        loop {
            // What is known now, and the lists that are told meanwhile, were begun before.
            let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
            let (known, _) = self.look();
            if self.replace(list(known.segments())?, number) {
                return Ok(());
            }
            // Nobody knows which of the two lists saw more.
        }
    }

    /// Knows these segments from now on, and closes the files of all others, so that removed ones give their space back.
    /// `false`, and nothing is changed, where a list that was begun later has been told.
    fn replace(&self, segments: SegmentManager, number: u64) -> bool {
        let mut now = locked(&self.now);
        if self.shown.load(Ordering::Relaxed) > number {
            return false;
        }
        self.shown.store(number, Ordering::Relaxed);
        let is_there = |open: &&OpenFile| segments.header_at(open.header.base) == Some(open.header);
        let open = now.open.iter().filter(is_there).cloned().collect();
        self.show(&mut now, View { segments: Arc::new(segments), open });
        true
    }

    fn show(&self, now: &mut Arc<View>, view: View) {
        *now = Arc::new(view);
        for place in &self.places {
            *locked(&place.view) = Arc::new(Shown(now.clone()));
        }
    }
}

/// A panic while one of these was locked cannot have left it half changed: whole values are put in.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads get places in turn.
fn place_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    PLACE.with(|place| *place)
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::disk::sim::SimDisk;
    use crate::position::JournalId;
    use crate::segment::prepare::create_segment;

    /// Found by reading: who had listed the segments before the next one was there told last, and that one was not known again.
    #[test]
    fn an_older_list_never_takes_the_place_of_a_newer_one() {
        let sim = SimDisk::new(1);
        let first = SegmentHeader { id: JournalId([4; 16]), base: 0, capacity: 60 << 10, created: 0 };
        let second = SegmentHeader { base: first.end(), ..first };
        drop(create_segment(&*sim.disk(), first).unwrap());
        let disk = sim.disk().reader();
        let list = || Ok(SegmentManager::load_kept(&*disk, None, &|| Ok(0))?.1);
        let known = KnownSegments::new(disk.clone(), list().unwrap(), 100);
        let (has_listed, listed) = mpsc::channel();
        let (goes_on, go_on) = mpsc::channel();
        std::thread::scope(|scope| {
            let (known, list) = (&known, &list);
            let older = scope.spawn(move || {
                known.refresh(|_| {
                    let older = list();
                    // Once more only when it was told that another one is newer.
                    if has_listed.send(()).is_ok() {
                        let () = go_on.recv().unwrap();
                    }
                    older
                })
            });
            listed.recv().unwrap();
            drop(create_segment(&*sim.disk(), second).unwrap());
            known.refresh(|_| list()).unwrap();
            drop(listed);
            goes_on.send(()).unwrap();
            older.join().unwrap().unwrap();
        });
        assert_eq!(known.look().0.segments().header_at(second.base), Some(second));
    }
}
