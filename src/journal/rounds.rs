//! Rounds: how the answers of the commit thread find those who wait for them.
//!
//! Every waiter of one commit waits on one word, so that one system call wakes them all. Guarantees: a promise that is
//! dropped without an answer answers with an error, so no waiter is left behind. Must not know: records, devices.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::group_commit::Queued;
use super::look_out::LookOut;
use super::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use super::sync::{Instant, Mutex, OnceLock, WakeWord, hint};
use crate::disk::Durable;
use crate::error::{Error, Result};

/// So many rounds can have waiters at once: one that is answered, one on its way, one that gathers, and the next.
const WORDS: usize = 4;

/// What the commit thread and all waiters share.
///
/// The commit thread works in rounds, numbered from 1: gather, make durable, answer. While one round is on its way, the
/// next one gathers and the one before may be answered. A waiter must sleep on the word of the round that its request is
/// answered in. There are four words, used in turn; each holds the low half of the number of the last of its rounds
/// that is over. Pairings: `gathering` is stored (release) after every request taken or refused in the round before has its `round`; a
/// waiter loads `gathering` (acquire) before its own `round`, so either it sees its round, or its request will be
/// taken in the round that `gathering` names or a later one. A word is stored (release) after the round's answers; a
/// waiter that loads it (acquire) sees them.
#[derive(Debug)]
pub(super) struct Rounds {
    gathering: AtomicU64,
    over: [Over; WORDS],
    /// The commit thread has ended: nothing will be answered any more.
    pub(super) ended: Arc<AtomicBool>,
    /// Why, if it did not end in order.
    failed: OnceLock<Error>,
    pub(super) look_out: LookOut,
}

/// The last round over, of every fourth.
#[derive(Debug)]
#[repr(align(64))]
struct Over {
    word: WakeWord,
    /// Who sleeps on the word, or is about to look at it once more before. Sequentially consistent, as is the word: the sleeper
    /// counts itself and then looks at the word, `finish` stores the word and then looks at the count, so at
    /// least one of the two sees the other.
    sleepers: AtomicU32,
}

impl Rounds {
    /// A waiter that is alone looks out for its answer for `spin` before it sleeps.
    pub(super) fn new(spin: Duration) -> Self {
        // The last rounds over before the first: 0, and the three before it.
        let over = [0, u32::MAX - 2, u32::MAX - 1, u32::MAX];
        Self {
            gathering: AtomicU64::new(1),
            over: over.map(|last| Over { word: WakeWord::new(last), sleepers: AtomicU32::new(0) }),
            ended: Arc::default(),
            failed: OnceLock::new(),
            look_out: LookOut::new(spin),
        }
    }

    fn over(&self, round: u64) -> &Over {
        let index = usize::try_from(round % WORDS as u64).expect("less than the number of words");
        &self.over[index]
    }

    /// The round that gathers now.
    pub(super) fn current(&self) -> u64 {
        self.gathering.load(Ordering::Relaxed)
    }

    /// Nothing more is taken in the current round. To be called by the commit thread only.
    pub(super) fn close_gathering(&self, round: u64) {
        self.gathering.store(round + 1, Ordering::Release);
    }

    /// Everything taken in `round` is answered: wakes all who wait for it.
    pub(super) fn finish(&self, round: u64) {
        let over = self.over(round);
        if cfg!(ringwal_zoo = "wake_before_the_word_is_stored") {
            over.word.wake_all();
            return over.word.store(low_half(round));
        }
        over.word.store(low_half(round));
        if over.sleepers.load(Ordering::SeqCst) > 0 && !cfg!(ringwal_zoo = "answers_without_a_wake") {
            over.word.wake_all();
        }
    }

    /// The commit thread ends; every request was answered.
    pub(super) fn end(&self, failed: Option<Error>) {
        if let Some(error) = failed {
            // Only the first cause counts.
            let _ = self.failed.set(error);
        }
        // After every answer that was given, before the wake-ups: whoever sees it and has no answer will get none.
        self.ended.store(true, Ordering::Release);
        let round = self.current();
        self.close_gathering(round);
        if cfg!(ringwal_zoo = "waiter_not_woken_on_failure") && self.failed.get().is_some() {
            return;
        }
        // Every word is over now for every round that a waiter can look at, so nobody goes to sleep any more.
        let words = if cfg!(ringwal_zoo = "end_wakes_one_word") { 1 } else { WORDS };
        (round..round + words as u64).for_each(|round| self.finish(round));
    }

    fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// What those are told whose requests were never taken.
    fn abandonment(&self) -> Error {
        self.failed.get().cloned().unwrap_or(Error::Closed)
    }

    pub(super) fn note_failure(&self, error: &Error) {
        let _ = self.failed.set(error.clone());
    }

    /// Why nothing is taken any more, if so.
    pub(super) fn refusal(&self) -> Option<Error> {
        // Before the look for a cause: the end comes after it.
        let ended = self.ended();
        self.failed.get().cloned().or_else(|| ended.then_some(Error::Closed))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted; halves are compared modulo 2^32"
)]
const fn low_half(round: u64) -> u32 {
    round as u32
}

/// One request's record, and where its answer goes.
#[derive(Debug)]
pub(super) struct Slot {
    rounds: Arc<Rounds>,
    /// The record of an append.
    pub(super) record: Mutex<Queued>,
    /// The round that the request was taken or refused in; the answer comes before that round is over. 0 before, and for a
    /// close, which no round answers.
    round: AtomicU64,
    /// `NONE`, `REFUSED`, or an offset that was acknowledged, plus `KEPT`. Stored (release) after `refusal`.
    answer: AtomicU64,
    refusal: OnceLock<Error>,
}

const NONE: u64 = 0;
const REFUSED: u64 = 1;
const KEPT: u64 = 2;

impl Slot {
    pub(super) fn new(rounds: &Arc<Rounds>, record: Queued) -> Self {
        Self {
            rounds: rounds.clone(),
            record: Mutex::new(record),
            round: AtomicU64::new(0),
            answer: AtomicU64::new(NONE),
            refusal: OnceLock::new(),
        }
    }

    /// Whether the slot belongs to this journal.
    pub(super) fn is_of(&self, rounds: &Arc<Rounds>) -> bool {
        Arc::ptr_eq(&self.rounds, rounds)
    }

    /// Makes the slot one for a new request, with this journal's record to be filled in.
    pub(super) fn renew(&mut self) -> &mut Queued {
        *self.round.get_mut() = 0;
        *self.answer.get_mut() = NONE;
        self.refusal.take();
        self.record.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The payload of a request that was not taken.
    pub(super) fn take_payload(&self) -> Vec<u8> {
        std::mem::take(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner).payload)
    }

    fn answer(&self) -> Option<Result<u64>> {
        match self.answer.load(Ordering::Acquire) {
            NONE => None,
            REFUSED => {
                Some(Err(self.refusal.get().expect("the refusal is stored before it is announced").clone()))
            }
            kept => Some(Ok(kept - KEPT)),
        }
    }

    fn keep(&self, offset: u64) {
        assert!(offset < u64::MAX - KEPT, "an offset at the end of the address space was acknowledged");
        self.answer.store(offset + KEPT, Ordering::Release);
    }

    fn refuse(&self, error: Error) {
        let _ = self.refusal.set(error);
        self.answer.store(REFUSED, Ordering::Release);
    }

    /// The slot's answer, if there is one or there will be none: a request can be left in the queue when the commit
    /// thread ends, and nobody takes it any more.
    pub(super) fn answer_now(&self) -> Option<Result<u64>> {
        let ended = self.rounds.ended();
        match self.answer() {
            Some(answer) => Some(answer),
            None => ended.then(|| Err(self.rounds.abandonment())),
        }
    }

    /// Waits for the answer, however long it takes.
    pub(super) fn wait(&self) -> Result<u64> {
        self.wait_until(None).expect("without a deadline there is an answer")
    }

    /// Waits for the answer; `None` when there was none by the deadline.
    pub(super) fn wait_until(&self, deadline: Option<Instant>) -> Option<Result<u64>> {
        if let Some(answer) = self.answer_now() {
            return Some(answer);
        }
        let waiting = self.rounds.look_out.begin();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        waiting.for_answer(left, || self.answer.load(Ordering::Relaxed) != NONE);
        // The last round that was found over without an answer.
        let mut over = 0;
        loop {
            if let Some(answer) = self.answer_now() {
                return Some(answer);
            }
            let gathering = self.rounds.gathering.load(Ordering::Acquire);
            let round = match self.round.load(Ordering::Acquire) {
                0 => gathering,
                taken => taken,
            };
            let patience = match deadline {
                None => None,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    Some(left)
                }
            };
            if self.rounds.over(round).sleep_through(round, patience) == Slept::NotAtAll {
                // What a round answers is answered before it is over, and the next one gathers by then.
                assert!(
                    over < round,
                    "a waiter looked twice at round {round}, which was over, and had no answer"
                );
                over = round;
            }
        }
    }
}

impl Over {
    /// Sleeps until `round` is over, for `patience`, or for no reason. Returns at once when it is over already.
    fn sleep_through(&self, round: u64, patience: Option<Duration>) -> Slept {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let seen = self.word.load();
        // Modulo 2^32: whether the last round over is before this one.
        let slept = if low_half(round).wrapping_sub(seen).cast_signed() > 0 {
            self.word.wait(seen, patience);
            Slept::UntilWoken
        } else {
            // Answered by now, or taken in a later round than the one looked at.
            hint::spin_loop();
            Slept::NotAtAll
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        slept
    }
}

/// What became of sleeping through a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slept {
    /// By a wake, by the clock or for no reason.
    UntilWoken,
    /// The round was over.
    NotAtAll,
}

/// The commit thread's side of a slot. Dropped without an answer, it answers `Closed`, or with the journal's failure.
#[derive(Debug)]
pub(super) struct Promise(Arc<Slot>);

impl Promise {
    pub(super) fn new(slot: &Arc<Slot>) -> Self {
        Self(slot.clone())
    }

    pub(super) fn slot(&self) -> &Slot {
        &self.0
    }

    /// The request was taken in this round.
    pub(super) fn taken(&self, round: u64) {
        self.0.round.store(round, Ordering::Release);
    }

    /// The records from `offset` on are durable; the proof says so.
    pub(super) fn keep(self, offset: u64, _proof: &Durable) {
        self.0.keep(offset);
    }

    /// What was asked for needed no new flush: everything below `offset` was durable already, by an earlier proof.
    pub(super) fn keep_earlier(self, offset: u64) {
        self.0.keep(offset);
    }

    pub(super) fn refuse(self, error: Error) {
        self.0.refuse(error);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        // Nobody else answers, so what was not answered before is not answered now.
        if self.0.answer.load(Ordering::Relaxed) == NONE {
            self.0.refuse(self.0.rounds.abandonment());
        }
    }
}
