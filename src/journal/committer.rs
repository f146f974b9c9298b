//! The commit thread: gathers what waits, makes it durable, answers.
//!
//! Guarantees: an append is answered with `Ok` only for a [`Durable`]; after the first failure everything is answered
//! with it; however the thread ends, nobody is left waiting.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::group_commit::{Intake, Next, Queued, Request};
use super::regroup::{Answer, Regroup};
use super::rounds::Promise;
use super::stage::{Stage, Unplaced};
use super::sync::Instant;
use super::writer::JournalWriter;
use crate::disk::Durable;
use crate::error::{Error, Result};

/// Drives the writer until the journal is closed.
pub(super) struct Committer {
    /// Dropped before the promises, which refuse when they are dropped.
    writer: JournalWriter,
    gathering: Gathering,
    regroup: Regroup,
    /// Those who were answered are waited for: until so many requests have come in all, at most so long.
    awaited: Option<(u64, Duration)>,
    last_activity: Instant,
}

/// Requests on their way to an answer.
struct Gathering {
    intake: Intake,
    /// Taken for the commit that is gathered now.
    taken: Taken,
    /// Did not fit into the last commit.
    left_over: Option<Request>,
    closing: Option<Promise>,
    /// Somebody was refused in this round, who sleeps until the round is over.
    has_refused: bool,
    /// Their commit is on its way. Kept here, so that a panic meets them after the failure is noted.
    flying: Taken,
    /// Durable, and not answered yet.
    done: Option<Done>,
    /// Memory to use again.
    spare: Taken,
}

/// Requests that one commit answers.
#[derive(Default)]
struct Taken {
    /// Each with the offset of its first record.
    appends: Vec<(Promise, u64)>,
    /// Answered when everything before them is durable.
    syncs: Vec<Promise>,
}

/// A commit that is durable.
struct Done {
    round: u64,
    taken: Taken,
    end: u64,
    durable: Durable,
}

/// What gathering came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    Something,
    Nothing,
    Gone,
}

/// Where the records of a request go.
enum Onto<'a> {
    Writer(&'a mut JournalWriter),
    /// A commit is on its way: only what fits behind it without more ado is taken.
    Stage(&'a mut Stage),
}

impl Committer {
    pub(super) fn new(writer: JournalWriter, intake: Intake) -> Self {
        let gathering = Gathering {
            intake,
            taken: Taken::default(),
            left_over: None,
            closing: None,
            has_refused: false,
            flying: Taken::default(),
            done: None,
            spare: Taken::default(),
        };
        let (regroup, last_activity) = (Regroup::new(), Instant::now());
        Self { writer, gathering, regroup, awaited: None, last_activity }
    }

    /// The whole life of the commit thread.
    pub(super) fn run(mut self) {
        let working = AssertUnwindSafe(|| self.run_until_closed());
        let failed = catch_unwind(working).unwrap_or_else(|panic| {
            self.writer.abandon();
            Some(failure_of(&*panic))
        });
        // First the writer, and with it the locks and the background work: whoever is refused with a failure finds the disk at
        // rest and can reopen the journal. Then the promises that are left, which refuse with what is noted here.
        let Self { writer, gathering, .. } = self;
        let let_go = catch_unwind(AssertUnwindSafe(|| drop(writer)));
        if let Some(error) = failed.or_else(|| let_go.err().map(|panic| failure_of(&*panic))) {
            gathering.intake.rounds.note_failure(&error);
        }
    }

    /// Works until the journal is closed, or has failed: nothing can become durable any more then.
    fn run_until_closed(&mut self) -> Option<Error> {
        loop {
            let round = self.gathering.intake.rounds.current();
            if cfg!(ringwal_zoo = "gathering_closes_before_the_requests_have_their_round") {
                self.gathering.intake.rounds.close_gathering(round);
            }
            let gathered = self.gather(round);
            self.gathering.intake.rounds.close_gathering(round);
            match gathered {
                Gathered::Something => self.commit_round(round),
                Gathered::Nothing => self.idle(),
                Gathered::Gone => {}
            }
            if let Err(error @ Error::Failed { .. }) = self.writer.check_usable() {
                self.gathering.answer_done();
                return Some(error);
            }
            let is_over = self.gathering.closing.is_some() || gathered == Gathered::Gone;
            if is_over && self.gathering.is_empty() {
                self.end();
                return None;
            }
            if gathered != Gathered::Something {
                self.gathering.intake.rounds.finish(round);
            }
        }
    }

    /// Takes what waits, as far as it fits into one commit; waits for the first, and for those who are to come back.
    fn gather(&mut self, round: u64) -> Gathered {
        let Self { writer, gathering, .. } = self;
        gathering.has_refused = false;
        let mut has_room = gathering.take_all(round, &mut Onto::Writer(writer));
        if let Some((arrived, patience)) = self.awaited.take().filter(|_| has_room) {
            let start = Instant::now();
            gathering.intake.sleep_until(arrived, patience);
            self.regroup.regrouped(gathering.intake.arrived() >= arrived, start.elapsed());
            has_room = gathering.take_all(round, &mut Onto::Writer(writer));
        }
        if gathering.is_empty() && gathering.closing.is_none() && !gathering.has_refused {
            // Those who are answered in flight are not kept waiting for a flight that does not begin.
            gathering.answer_done();
            let patience = self.idle_patience();
            match self.gathering.intake.next(patience) {
                Next::Nothing => return Gathered::Nothing,
                Next::Gone => return Gathered::Gone,
                Next::Request(request) => {
                    let Self { writer, gathering, .. } = self;
                    let mut onto = Onto::Writer(writer);
                    has_room =
                        gathering.take(request, round, &mut onto) && gathering.take_all(round, &mut onto);
                }
            }
        }
        if has_room && self.gathering.closing.is_none() && !self.writer.options.linger.is_zero() {
            self.linger(round);
        }
        Gathered::Something
    }

    /// Takes what comes within the time that the options give.
    fn linger(&mut self, round: u64) {
        let deadline = Instant::now() + self.writer.options.linger;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Next::Request(request) = self.gathering.intake.next(Some(left)) else { return };
            if !self.gathering.take(request, round, &mut Onto::Writer(&mut self.writer)) || left.is_zero() {
                return;
            }
        }
    }

    fn commit_round(&mut self, round: u64) {
        let Self { writer, gathering, regroup, .. } = self;
        let begun = Instant::now();
        self.last_activity = begun;
        let spare = std::mem::take(&mut gathering.spare);
        gathering.flying = std::mem::replace(&mut gathering.taken, spare);
        let committed = writer.commit_while(&mut |stage| {
            if let Some((requests, duration)) = gathering.answer_done() {
                regroup.woke(requests, duration);
            }
            gathering.take_all(round + 1, &mut Onto::Stage(stage));
        });
        // In case that there was no flight.
        gathering.answer_done();
        match committed {
            Ok(Some(durable)) => {
                self.regroup.flew(begun.elapsed());
                let taken = std::mem::take(&mut gathering.flying);
                let requests = taken.requests();
                let end = writer.durable_end().get();
                gathering.done = Some(Done { round, taken, end, durable });
                self.answer(requests);
            }
            Ok(None) => {
                let taken = std::mem::take(&mut gathering.flying);
                assert!(taken.appends.is_empty(), "promises without staged records");
                let (refusal, end) = (writer.check_usable().err(), writer.durable_end().get());
                for promise in taken.syncs {
                    match &refusal {
                        Some(error) => promise.refuse(error.clone()),
                        None => promise.keep_earlier(end),
                    }
                }
                gathering.intake.rounds.finish(round);
            }
            // The writer has failed: this thread ends. They are refused when they are dropped, as is what was taken in flight.
            Err(_) => {}
        }
    }

    /// Answers those whose records have just become durable, or leaves it to the next commit's flight.
    fn answer(&mut self, requests: usize) {
        let gathering = &mut self.gathering;
        let others = gathering.taken.requests() + gathering.intake.waiting();
        let arrived = gathering.intake.arrived() + requests as u64;
        let answer = self.regroup.answer(requests, others);
        // The next flight must begin at once: neither wait for more, nor for a segment or for space.
        let begins_at_once = gathering.left_over.is_none() && self.writer.options.linger.is_zero();
        if answer == Answer::InFlight && begins_at_once {
            return;
        }
        if let Some((requests, duration)) = gathering.answer_done() {
            self.regroup.woke(requests, duration);
        }
        if let Answer::NowAndWait(patience) = answer {
            // More than the queue holds cannot come without being taken.
            let can_come = requests < gathering.intake.depth();
            self.awaited = can_come.then_some((arrived, patience));
        } else if requests == 1 && others == 0 {
            gathering.intake.look_out();
        }
    }

    /// How long to wait for the first request before vouching for the last commit.
    fn idle_patience(&self) -> Option<Duration> {
        let after = self.writer.options.idle_commit?;
        self.writer.is_unvouched().then(|| after.saturating_sub(self.last_activity.elapsed()))
    }

    fn idle(&mut self) {
        self.last_activity = Instant::now();
        // Nothing that was acknowledged depends on it. A failure is seen by whoever looks at the writer next; after
        // anything else (no room for a segment, no descriptor) it is tried again after a while.
        let _ = self.writer.vouch();
    }

    /// Closes the writer and answers whoever asked for it.
    fn end(&mut self) {
        self.gathering.answer_done();
        let closed = self.writer.close_in_place();
        if let Some(promise) = self.gathering.closing.take() {
            match &closed {
                Ok(()) => promise.keep_earlier(self.writer.durable_end().get()),
                Err(error) => promise.refuse(error.clone()),
            }
        }
        // One that is closed has not failed, whatever became of the watermark.
        if let Err(error) = closed
            && error.is_failed()
        {
            self.gathering.intake.rounds.note_failure(&error);
        }
    }
}

impl Gathering {
    /// Whether nothing waits for the commit that is gathered.
    fn is_empty(&self) -> bool {
        self.taken.appends.is_empty() && self.taken.syncs.is_empty() && self.left_over.is_none()
    }

    /// Takes what waits, until nothing does, nothing more fits or somebody is refused; whether all of it was taken.
    fn take_all(&mut self, round: u64, onto: &mut Onto<'_>) -> bool {
        if self.closing.is_some() && self.left_over.is_none() {
            return false;
        }
        if let Some(request) = self.left_over.take()
            && !self.take(request, round, onto)
        {
            return false;
        }
        while let Next::Request(request) = self.intake.next_now() {
            if !self.take(request, round, onto) {
                return false;
            }
        }
        true
    }

    /// Deals with one request; `false` when nothing more is to be taken into this commit.
    fn take(&mut self, request: Request, round: u64, onto: &mut Onto<'_>) -> bool {
        match request {
            Request::Append { promise } => {
                let staged = {
                    let mut record = promise.slot().record.lock().unwrap_or_else(PoisonError::into_inner);
                    let staged = onto.stage(std::slice::from_ref(&*record));
                    if matches!(staged, Ok(Some(_))) && !record.keeps_memory {
                        record.payload = Vec::new();
                    }
                    staged
                };
                self.note(staged, round, promise, |promise| Request::Append { promise })
            }
            Request::Batch { records, promise } => {
                let staged = onto.stage(&records);
                self.note(staged, round, promise, |promise| Request::Batch { records, promise })
            }
            Request::Sync { promise } => {
                promise.taken(round);
                self.taken.syncs.push(promise);
                true
            }
            // Answered when the thread ends, which no round answers: who asked sleeps through one round after the other.
            Request::Close { promise } => {
                if cfg!(ringwal_zoo = "closer_told_that_its_round_is_over") {
                    promise.taken(round);
                }
                self.closing = Some(promise);
                false
            }
            #[cfg(feature = "sim")]
            Request::Panic => panic!("the commit thread was told to panic"),
        }
    }

    /// Notes what staging a request came to; `false` when there was no room for it, or no way to take it.
    fn note(
        &mut self,
        staged: Result<Option<u64>>,
        round: u64,
        promise: Promise,
        again: impl FnOnce(Promise) -> Request,
    ) -> bool {
        match staged {
            Ok(Some(offset)) => {
                promise.taken(round);
                self.taken.appends.push((promise, offset));
            }
            Ok(None) => {
                self.left_over = Some(again(promise));
                return false;
            }
            Err(error) => {
                self.has_refused = true;
                if !cfg!(ringwal_zoo = "refused_in_no_round") {
                    promise.taken(round);
                }
                promise.refuse(error);
                // Nothing more is taken: where everybody is refused, and nobody waits for the answer, there always is more, and
                // whoever does wait sleeps until the round is over.
                return false;
            }
        }
        true
    }

    /// Answers those whose records are durable; gives how many there were and how long it took to wake them.
    fn answer_done(&mut self) -> Option<(usize, Duration)> {
        let Done { round, mut taken, end, durable } = self.done.take()?;
        let (start, requests) = (Instant::now(), taken.requests());
        for (promise, offset) in taken.appends.drain(..) {
            promise.keep(offset, &durable);
        }
        for promise in taken.syncs.drain(..) {
            promise.keep(end, &durable);
        }
        self.spare = taken;
        self.intake.rounds.finish(round);
        Some((requests, start.elapsed()))
    }
}

impl Taken {
    fn requests(&self) -> usize {
        self.appends.len() + self.syncs.len()
    }
}

impl Onto<'_> {
    fn stage(&mut self, records: &[Queued]) -> Result<Option<u64>> {
        match records {
            // The common case, without a list.
            [record] => self.put(&[Unplaced { header: record.header, payload: &record.payload }]),
            records => {
                let unplaced: Vec<_> = records
                    .iter()
                    .map(|record| Unplaced { header: record.header, payload: &record.payload })
                    .collect();
                self.put(&unplaced)
            }
        }
    }

    fn put(&mut self, records: &[Unplaced<'_>]) -> Result<Option<u64>> {
        match self {
            Self::Writer(writer) => {
                writer.check_usable()?;
                writer.stage(records)
            }
            Self::Stage(stage) => Ok(stage.try_put(records)),
        }
    }
}

/// Ends the rounds when the commit thread ends, in order or by a panic: after everything else of it has been dropped, so
/// that every promise it held has been answered.
pub(super) struct EndOfRounds {
    rounds: Arc<super::rounds::Rounds>,
    watermark: std::sync::OnceLock<Arc<crate::segment::watermark::Watermark>>,
}

impl EndOfRounds {
    pub(super) fn new(rounds: Arc<super::rounds::Rounds>) -> Self {
        Self { rounds, watermark: std::sync::OnceLock::new() }
    }

    /// Those who follow are woken too.
    pub(super) fn wakes(&self, watermark: Arc<crate::segment::watermark::Watermark>) {
        let _ = self.watermark.set(watermark);
    }

    /// Runs the commit thread; a panic inside becomes the journal's first failure.
    pub(super) fn run(self, work: impl FnOnce(&Self)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&self)));
        let failed = outcome.err().map(|panic| failure_of(&*panic));
        self.rounds.end(failed);
        if let Some(watermark) = self.watermark.get() {
            watermark.wake();
        }
    }
}

fn failure_of(panic: &(dyn std::any::Any + Send)) -> Error {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".into());
    Error::Failed { first: Arc::new(Error::Panicked { message }) }
}
