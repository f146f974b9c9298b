//! The commit thread: gathers what waits, makes it durable, answers.
//!
//! Guarantees: an append is answered with `Ok` only for a [`Durable`]; after the first failure everything is answered
//! with it; however the thread ends, nobody is left waiting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::group_commit::{Intake, Next, Queued, Request};
use super::ticket::Promise;
use super::writer::{JournalWriter, Unplaced};
use crate::disk::Durable;
use crate::error::{Error, Result};

/// Drives the writer until the journal is closed.
pub(super) struct Committer {
    writer: JournalWriter,
    intake: Intake,
    /// Taken in this round and staged: each with the offset of its first record.
    staged: Vec<(Promise, u64)>,
    /// Answered when everything before them is durable.
    syncs: Vec<Promise>,
    /// Did not fit into the last commit.
    left_over: Option<Request>,
    closing: Option<Promise>,
    last_activity: Instant,
}

/// What gathering came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    Something,
    Nothing,
    Gone,
}

impl Committer {
    pub(super) fn new(writer: JournalWriter, intake: Intake) -> Self {
        Self {
            writer,
            intake,
            staged: Vec::new(),
            syncs: Vec::new(),
            left_over: None,
            closing: None,
            last_activity: Instant::now(),
        }
    }

    /// The whole life of the commit thread.
    pub(super) fn run(mut self) {
        loop {
            let round = self.intake.rounds.current();
            let gathered = self.gather(round);
            self.intake.rounds.close_gathering(round);
            match gathered {
                Gathered::Something => self.commit_round(),
                Gathered::Nothing => self.idle(),
                Gathered::Gone => {}
            }
            if let Err(error @ Error::Failed { .. }) = self.writer.check_usable() {
                // Nothing can become durable any more: the thread ends, and with it go the locks, so that the journal
                // can be reopened while handles of this one still live.
                return self.refuse_all(&error);
            }
            let is_over = self.closing.is_some() || gathered == Gathered::Gone;
            if is_over && self.left_over.is_none() {
                return self.end();
            }
            self.intake.rounds.finish(round);
        }
    }

    /// Takes what waits, as far as it fits into one commit; waits for the first.
    fn gather(&mut self, round: u64) -> Gathered {
        let first = match self.left_over.take() {
            Some(request) => request,
            None => match self.intake.next(self.idle_patience()) {
                Next::Request(request) => request,
                Next::Nothing => return Gathered::Nothing,
                Next::Gone => return Gathered::Gone,
            },
        };
        if !self.take(first, round) {
            return Gathered::Something;
        }
        let linger = self.writer.options.linger;
        let deadline = (!linger.is_zero()).then(|| Instant::now() + linger);
        loop {
            let next = match self.intake.next_now() {
                Next::Nothing => match deadline.map(|end| end.saturating_duration_since(Instant::now())) {
                    Some(left) if !left.is_zero() => self.intake.next(Some(left)),
                    _ => return Gathered::Something,
                },
                next => next,
            };
            match next {
                Next::Request(request) => {
                    if !self.take(request, round) {
                        return Gathered::Something;
                    }
                }
                Next::Nothing | Next::Gone => return Gathered::Something,
            }
        }
    }

    /// Deals with one request; `false` when nothing more fits into this round.
    fn take(&mut self, request: Request, round: u64) -> bool {
        match request {
            Request::Append { record, promise } => {
                promise.taken(round);
                match self.stage(std::slice::from_ref(&record)) {
                    Ok(Some(offset)) => self.staged.push((promise, offset)),
                    Ok(None) => {
                        self.left_over = Some(Request::Append { record, promise });
                        return false;
                    }
                    Err(error) => promise.refuse(error),
                }
            }
            Request::Batch { records, promise } => {
                promise.taken(round);
                match self.stage(&records) {
                    Ok(Some(offset)) => self.staged.push((promise, offset)),
                    Ok(None) => {
                        self.left_over = Some(Request::Batch { records, promise });
                        return false;
                    }
                    Err(error) => promise.refuse(error),
                }
            }
            Request::Sync { promise } => {
                promise.taken(round);
                self.syncs.push(promise);
            }
            Request::Close { promise } => {
                promise.taken(round);
                self.closing = Some(promise);
                return false;
            }
            #[cfg(feature = "sim")]
            Request::Panic => panic!("the commit thread was told to panic"),
        }
        true
    }

    fn stage(&mut self, records: &[Queued]) -> Result<Option<u64>> {
        self.writer.check_usable()?;
        match records {
            // The common case, without a list.
            [record] => self.writer.stage(&[Unplaced { header: record.header, payload: &record.payload }]),
            records => {
                let unplaced: Vec<_> = records
                    .iter()
                    .map(|record| Unplaced { header: record.header, payload: &record.payload })
                    .collect();
                self.writer.stage(&unplaced)
            }
        }
    }

    fn commit_round(&mut self) {
        self.last_activity = Instant::now();
        match self.writer.commit() {
            Ok(Some(durable)) => self.acknowledge(&durable),
            Ok(None) => {
                assert!(self.staged.is_empty(), "promises without staged records");
                let refusal = self.writer.check_usable().err();
                let end = self.writer.durable_end().get();
                for promise in self.syncs.drain(..) {
                    match &refusal {
                        Some(error) => promise.refuse(error.clone()),
                        None => promise.keep_earlier(end),
                    }
                }
            }
            Err(error) => self.refuse_all(&error),
        }
    }

    fn acknowledge(&mut self, durable: &Durable) {
        for (promise, offset) in self.staged.drain(..) {
            promise.keep(offset, durable);
        }
        let end = self.writer.durable_end().get();
        for promise in self.syncs.drain(..) {
            promise.keep(end, durable);
        }
    }

    fn refuse_all(&mut self, error: &Error) {
        // Before the answers: whoever is refused must find the journal refusing.
        self.intake.rounds.note_failure(error);
        for (promise, _) in self.staged.drain(..) {
            promise.refuse(error.clone());
        }
        for promise in self.syncs.drain(..) {
            promise.refuse(error.clone());
        }
    }

    /// How long to wait for the first request before vouching for the last commit.
    fn idle_patience(&self) -> Option<Duration> {
        let after = self.writer.options.idle_commit?;
        self.writer.is_unvouched().then(|| after.saturating_sub(self.last_activity.elapsed()))
    }

    fn idle(&mut self) {
        if let Err(error) = self.writer.vouch() {
            self.refuse_all(&error);
        }
    }

    /// Closes the writer and answers whoever asked for it.
    fn end(mut self) {
        let closed = self.writer.close_in_place();
        if let Some(promise) = self.closing.take() {
            match &closed {
                Ok(()) => promise.keep_earlier(self.writer.durable_end().get()),
                Err(error) => promise.refuse(error.clone()),
            }
        }
        if let Err(error) = closed {
            self.intake.rounds.note_failure(&error);
        }
    }
}

/// Ends the rounds when the commit thread ends, in order or by a panic: after everything else of it has been dropped, so
/// that every promise it held has been answered.
pub(super) struct EndOfRounds {
    rounds: Arc<super::ticket::Rounds>,
    watermark: std::sync::OnceLock<Arc<crate::segment::watermark::Watermark>>,
}

impl EndOfRounds {
    pub(super) fn new(rounds: Arc<super::ticket::Rounds>) -> Self {
        Self { rounds, watermark: std::sync::OnceLock::new() }
    }

    /// Those who follow are woken too.
    pub(super) fn wakes(&self, watermark: Arc<crate::segment::watermark::Watermark>) {
        let _ = self.watermark.set(watermark);
    }

    /// Runs the commit thread; a panic inside becomes the journal's first failure.
    pub(super) fn run(self, work: impl FnOnce(&Self)) {
        let rounds = self.rounds.clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let guard = NoteFailure(&rounds);
            work(&self);
            std::mem::forget(guard);
        }));
        let failed = outcome.err().map(|panic| failure_of(&*panic));
        rounds.end(failed);
        if let Some(watermark) = self.watermark.get() {
            watermark.wake();
        }
    }
}

/// While a panic unwinds, promises are dropped: they must find the failure to answer with.
struct NoteFailure<'a>(&'a super::ticket::Rounds);

impl Drop for NoteFailure<'_> {
    fn drop(&mut self) {
        self.0.note_failure(&panicked("see the panic's own message".into()));
    }
}

fn failure_of(panic: &(dyn std::any::Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".into());
    panicked(message)
}

fn panicked(message: String) -> Error {
    Error::Failed { first: Arc::new(Error::Panicked { message }) }
}
