//! Preparing the next segment before it is needed, writing space ahead, and removing old segments: in the background where
//! there is a thread for it, else when it is needed.
//!
//! Guarantees: a segment gets its name only after its header and length are durable, and is handed out only after its
//! name is durable too. A full disk is reported to the one who needs the segment and changes nothing else.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::active::{AHEAD_STEP_BYTES, WritableSegment, is_full};
use crate::disk::{Disk, Folder, block_file_size_signal, fork_count, is_of_the_device};
use crate::error::{Error, Result};
use crate::format::file_name::{self, UNFINISHED};
use crate::format::segment_header::{SEGMENT_HEADER_BYTES, SegmentHeader};

/// So many segments are removed before anything else has its turn: they share one sync of the directory.
const REMOVED_AT_ONCE: usize = 64;

/// Why a segment could not be prepared.
#[derive(Clone, Debug)]
pub(crate) enum PrepareError {
    /// There is no room. Nothing happened; it can be tried again.
    Full(Arc<io::Error>),
    /// The system refused. Nothing happened; it can be tried again.
    Refused(Error),
    /// It is not known what is durable now.
    Doubtful(Error),
}

impl PrepareError {
    pub(crate) fn of(operation: &'static str, path: &Path, error: io::Error) -> Self {
        if is_full(&error) {
            Self::Full(Arc::new(error))
        } else {
            Self::Refused(Error::io(operation, path, error))
        }
    }

    fn may_be_tried_again(&self) -> bool {
        match self {
            Self::Full(_) | Self::Refused(_) => true,
            Self::Doubtful(_) => false,
        }
    }
}

/// Creates the segment: under its name only when it is whole and durable.
pub(crate) fn create_segment(
    disk: &dyn Disk,
    header: SegmentHeader,
) -> std::result::Result<WritableSegment, PrepareError> {
    let name = file_name::segment(header.base);
    let unfinished = format!("{name}{UNFINISHED}");
    let segment = create_unfinished(disk, header, &name, &unfinished).inspect_err(|_| {
        // What is left is removed when the journal is opened next; here it only gives its space back.
        let _ = disk.remove(Folder::Root, &unfinished);
    })?;
    let path = disk.path(Folder::Root, &name);
    let doubtful = |operation| {
        let path = path.clone();
        move |source| PrepareError::Doubtful(Error::io(operation, path, source))
    };
    disk.rename((Folder::Root, &unfinished), (Folder::Root, &name)).map_err(doubtful("rename"))?;
    if !cfg!(ringwal_zoo = "no_directory_sync") {
        disk.sync_folder(Folder::Root).map_err(doubtful("sync the directory of"))?;
    }
    Ok(segment)
}

fn create_unfinished(
    disk: &dyn Disk,
    header: SegmentHeader,
    name: &str,
    unfinished: &str,
) -> std::result::Result<WritableSegment, PrepareError> {
    let path = disk.path(Folder::Root, name);
    let refused = |operation| {
        let path = path.clone();
        move |error| PrepareError::of(operation, &path, error)
    };
    match disk.remove(Folder::Root, unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused("remove")(error)),
        _ => {}
    }
    let file = disk.create(Folder::Root, unfinished).map_err(refused("create"))?;
    if !file.try_lock().map_err(refused("lock"))? {
        return Err(PrepareError::Refused(Error::Locked { path, holder: None }));
    }
    let bytes = SEGMENT_HEADER_BYTES as u64 + header.capacity;
    let reserved = file.allocate(bytes).map_err(refused("allocate"))?;
    file.write_at(&header.encode(), 0).map_err(refused("write"))?;
    let first = AHEAD_STEP_BYTES.min(header.capacity);
    file.write_zeros(SEGMENT_HEADER_BYTES as u64, first).map_err(refused("write"))?;
    if !cfg!(ringwal_zoo = "segment_used_before_it_is_synced") {
        file.sync().map_err(|error| flush_failed(&path, error))?;
    }
    Ok(WritableSegment::new(path, header, file, reserved, SEGMENT_HEADER_BYTES as u64 + first))
}

/// A device that loses a flush says so once, to whoever asked for it: what it lost may be a commit's bytes.
fn flush_failed(path: &Path, error: io::Error) -> PrepareError {
    if is_full(&error) {
        PrepareError::Full(Arc::new(error))
    } else {
        PrepareError::Doubtful(Error::io("sync", path, error))
    }
}

/// Who prepares, zeroes and removes.
#[derive(Debug)]
pub(crate) struct Preparer {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Without a thread, whoever wants the next segment prepares it, at once.
    by_caller: bool,
    forks: u32,
}

/// Who prepares the next segment before it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Background {
    /// Nobody: it is prepared when it is needed.
    Nobody,
    /// A thread of its own, which also writes space ahead and removes.
    Thread,
    /// The caller, right after the commit that wants it: what a thread may do, and the same every time.
    #[cfg(feature = "sim")]
    Caller,
}

#[derive(Default)]
struct Shared {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

/// Something else to be done in the background.
type Call = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Jobs {
    next: Next,
    /// Segments to write ahead in, each up to a file position.
    ahead: VecDeque<(Arc<WritableSegment>, u64)>,
    /// Segments to remove, oldest first.
    remove: VecDeque<u64>,
    calls: VecDeque<Call>,
    /// What leaves it open what the device holds; the first such error, for good.
    doubt: Option<Error>,
    stop: bool,
    /// The thread is in the middle of a job.
    busy: bool,
}

#[derive(Debug, Default)]
enum Next {
    #[default]
    Nothing,
    /// With the file position up to which zeros are to be written.
    Wanted(SegmentHeader, u64),
    InWork,
    Ready(Arc<WritableSegment>),
    Failed(PrepareError),
}

impl Preparer {
    pub(crate) fn new(disk: Arc<dyn Disk>, background: Background) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = if background == Background::Thread {
            let (disk, shared) = (disk.clone(), shared.clone());
            let builder = std::thread::Builder::new().name("ringwal-prepare".into());
            let spawned = builder.spawn(move || work(&*disk, &shared));
            Some(spawned.map_err(|source| Error::io("start a thread for", "segments", source))?)
        } else {
            None
        };
        let by_caller = !matches!(background, Background::Nobody | Background::Thread);
        Ok(Self { disk, shared, thread, by_caller, forks: fork_count() })
    }

    /// A segment that an earlier writer prepared.
    pub(crate) fn offer(&self, segment: Arc<WritableSegment>) {
        self.shared.lock().next = Next::Ready(segment);
    }

    /// Whether a call of [`want`](Self::want) would be of use: somebody prepares, and was not asked yet.
    pub(crate) fn wants_work(&self) -> bool {
        self.would_prepare(&self.shared.lock())
    }

    fn would_prepare(&self, jobs: &Jobs) -> bool {
        (self.by_caller || self.has_worker(jobs)) && matches!(jobs.next, Next::Nothing)
    }

    /// Whether somebody takes jobs: there is a thread, and it has not ended.
    fn has_worker(&self, jobs: &Jobs) -> bool {
        self.thread.is_some() && !jobs.stop
    }

    /// Why nothing that was flushed meanwhile can be relied on, if so: some other work on the journal met an error that
    /// leaves it open what the device holds. One that its thread has met and not told yet is told to the next commit, or to
    /// the close.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.shared.lock().doubt.clone()
    }

    /// Takes note of an error of work that the committer knows nothing of, where it is the device's answer to a flush: a
    /// device that loses a flush says so once, to whoever asked for it, and what it lost may be a commit's bytes.
    pub(crate) fn note(&self, error: &Error) {
        // A child after a fork has no writer to tell; see also `drop`.
        if fork_count() == self.forks {
            self.shared.lock().note(error);
        }
    }

    /// Has the segment prepared in the background, and zeros written in it up to file position `ahead`.
    pub(crate) fn want(&self, header: SegmentHeader, ahead: u64) {
        let mut jobs = self.shared.lock();
        if !self.would_prepare(&jobs) {
            return;
        }
        if self.by_caller {
            jobs.prepared(prepare(&*self.disk, header));
        } else {
            jobs.next = Next::Wanted(header, ahead);
            self.shared.changed.notify_all();
        }
    }

    /// The prepared segment; waits for it, or prepares it. What an earlier try met counts for nothing: the cause may have
    /// gone since.
    pub(crate) fn take(
        &self,
        header: SegmentHeader,
    ) -> std::result::Result<Arc<WritableSegment>, PrepareError> {
        let mut jobs = self.shared.lock();
        let mut is_own_try = false;
        loop {
            match std::mem::take(&mut jobs.next) {
                Next::Ready(segment) => {
                    assert_eq!(
                        segment.header.base, header.base,
                        "another segment was prepared than the next one"
                    );
                    return Ok(segment);
                }
                Next::Failed(error) if is_own_try || !error.may_be_tried_again() => return Err(error),
                Next::Nothing | Next::Failed(_) if self.has_worker(&jobs) => {
                    is_own_try = true;
                    // In a hurry: what is written ahead from the start is enough for now.
                    jobs.next = Next::Wanted(header, 0);
                    self.shared.changed.notify_all();
                }
                Next::Nothing | Next::Failed(_) => {
                    drop(jobs);
                    return create_segment(&*self.disk, header).map(Arc::new);
                }
                waiting @ (Next::Wanted(..) | Next::InWork) => {
                    jobs.next = waiting;
                    jobs = self.shared.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Has zeros written up to file position `target`.
    pub(crate) fn write_ahead(&self, segment: &Arc<WritableSegment>, target: u64) {
        if segment.written_below() >= target.min(segment.file_end()) {
            return;
        }
        let mut jobs = self.shared.lock();
        if !self.has_worker(&jobs) {
            return;
        }
        match jobs.ahead.iter_mut().find(|(queued, _)| Arc::ptr_eq(queued, segment)) {
            Some((_, queued)) => *queued = target.max(*queued),
            None => jobs.ahead.push_back((segment.clone(), target)),
        }
        self.shared.changed.notify_all();
    }

    /// Has the segments removed, in this order.
    pub(crate) fn remove(&self, bases: Vec<u64>) -> Result<()> {
        let mut jobs = self.shared.lock();
        if self.has_worker(&jobs) {
            jobs.remove.extend(bases);
            self.shared.changed.notify_all();
            return Ok(());
        }
        drop(jobs);
        remove_segments(&*self.disk, bases).inspect_err(|error| self.note(error))
    }

    /// Has `call` run in the background, or runs it.
    pub(crate) fn run(&self, call: Call) {
        let mut jobs = self.shared.lock();
        if self.has_worker(&jobs) {
            jobs.calls.push_back(call);
            self.shared.changed.notify_all();
            return;
        }
        drop(jobs);
        call();
    }

    /// Waits until everything that was asked for is done, and lets go of the segments held ready: with them go their
    /// locks. Gives what [`failure`](Self::failure) would have given.
    pub(crate) fn retire(&self) -> Option<Error> {
        let mut jobs = self.shared.lock();
        while jobs.busy
            || !jobs.remove.is_empty()
            || !jobs.calls.is_empty()
            || matches!(jobs.next, Next::Wanted(..) | Next::InWork)
        {
            jobs = self.shared.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        jobs.ahead.clear();
        jobs.next = Next::Nothing;
        jobs.doubt.clone()
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        // A child after a fork has no such thread, and its lock may be held for ever by the one that the parent has.
        if fork_count() != self.forks {
            std::mem::forget(self.thread.take());
            return;
        }
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        // A job may be the last to hold this; its thread ends by itself.
        if let Some(thread) = self.thread.take().filter(|thread| !is_own(thread)) {
            // A panic there was reported by its hook; nothing is lost by it that the next open does not find.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("next", &self.lock().next).finish_non_exhaustive()
    }
}

impl Jobs {
    fn prepared(&mut self, next: Next) {
        if let Next::Failed(PrepareError::Doubtful(error)) = &next {
            self.doubt(error);
        }
        self.next = next;
    }

    fn note(&mut self, error: &Error) {
        let is_of_a_flush =
            |operation: &str, source| operation.starts_with("sync") && is_of_the_device(source);
        if matches!(error, Error::Io { operation, source, .. } if is_of_a_flush(operation, source)) {
            self.doubt(error);
        }
    }

    fn doubt(&mut self, error: &Error) {
        self.doubt.get_or_insert_with(|| error.clone());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Job {
    Prepare(SegmentHeader, u64),
    Ahead(Arc<WritableSegment>, u64),
    Remove(Vec<u64>),
    Call(Call),
}

/// The background thread: the most urgent job first, until it is told to stop.
fn work(disk: &dyn Disk, shared: &Shared) {
    let _stopped = StoppedByPanic(shared);
    block_file_size_signal();
    while let Some(job) = next_job(shared) {
        match job {
            Job::Prepare(header, ahead) => {
                let next = prepare(disk, header);
                let ahead = match &next {
                    Next::Ready(segment) => Some((segment.clone(), ahead)),
                    _ => None,
                };
                let mut jobs = shared.lock();
                jobs.prepared(next);
                jobs.ahead.extend(ahead);
            }
            Job::Ahead(segment, target) => {
                // A full disk, or a refusal, is met again by the committer.
                match segment.write_step(target) {
                    Ok(true) => shared.lock().ahead.push_back((segment, target)),
                    Err(PrepareError::Doubtful(error)) => shared.lock().doubt(&error),
                    Ok(false) | Err(_) => {}
                }
            }
            Job::Remove(bases) => {
                // What cannot be removed now is found again by the next cleanup or open.
                if let Err(error) = remove_segments(disk, bases) {
                    shared.lock().note(&error);
                }
            }
            Job::Call(call) => call(),
        }
        shared.lock().busy = false;
        shared.changed.notify_all();
    }
}

fn prepare(disk: &dyn Disk, header: SegmentHeader) -> Next {
    match create_segment(disk, header) {
        Ok(segment) => Next::Ready(Arc::new(segment)),
        Err(error) => Next::Failed(error),
    }
}

fn next_job(shared: &Shared) -> Option<Job> {
    let mut jobs = shared.lock();
    loop {
        if jobs.stop {
            return None;
        }
        let job = if let Next::Wanted(header, ahead) = jobs.next {
            jobs.next = Next::InWork;
            Some(Job::Prepare(header, ahead))
        } else if let Some((segment, target)) = jobs.ahead.pop_front() {
            Some(Job::Ahead(segment, target))
        } else if !jobs.remove.is_empty() {
            let at_once = jobs.remove.len().min(REMOVED_AT_ONCE);
            Some(Job::Remove(jobs.remove.drain(..at_once).collect()))
        } else {
            jobs.calls.pop_front().map(Job::Call)
        };
        if job.is_some() {
            jobs.busy = true;
            return job;
        }
        jobs = shared.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Lets nobody wait for a thread that has gone.
struct StoppedByPanic<'a>(&'a Shared);

impl Drop for StoppedByPanic<'_> {
    fn drop(&mut self) {
        let mut jobs = self.0.lock();
        jobs.busy = false;
        jobs.stop = true;
        jobs.remove.clear();
        jobs.calls.clear();
        if matches!(jobs.next, Next::Wanted(..) | Next::InWork) {
            let error = Error::Panicked { message: "the thread that prepares segments has stopped".into() };
            jobs.prepared(Next::Failed(PrepareError::Doubtful(error)));
        }
        self.0.changed.notify_all();
    }
}

/// Removes segment files, in this order; those that are gone already are no error.
pub(crate) fn remove_segments(disk: &dyn Disk, bases: impl IntoIterator<Item = u64>) -> Result<()> {
    let mut removed = false;
    let mut bases: Vec<u64> = bases.into_iter().collect();
    if cfg!(ringwal_zoo = "newest_removed_first") {
        bases.reverse();
    }
    for base in bases {
        let name = file_name::segment(base);
        match disk.remove(Folder::Root, &name) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", disk.path(Folder::Root, &name), error)),
        }
    }
    if removed {
        let path = super::manager::directory_of(disk);
        disk.sync_folder(Folder::Root).map_err(|source| Error::io("sync", path, source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
