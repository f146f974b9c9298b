//! Tickets: waiting for the acknowledgement of what was submitted.
//!
//! Every waiter of one commit waits on one word, so that one system call wakes them all. Guarantees: a promise that is
//! dropped without an answer answers with an error, so no waiter is left behind.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::receipt::Receipt;
use crate::disk::{Durable, WakeWord};
use crate::error::{Error, Result};
use crate::position::{Hash, Offset};

/// What the commit thread and all waiters share.
///
/// The commit thread works in rounds, numbered from 1: gather, make durable, answer. A waiter must sleep on the word of
/// the round that its request is answered in. There are two words, for rounds of even and odd number; each holds the
/// low half of the number of the last round of its parity that is over. Pairings: `gathering` is stored (release) after
/// every request taken in the round before has its `round`; a waiter loads `gathering` (acquire) before its own `round`,
/// so either it sees its round, or its request will be taken in the round that `gathering` names or a later one. A
/// word is stored (release) after the round's answers; a waiter that loads it (acquire) sees them.
#[derive(Debug)]
pub(super) struct Rounds {
    gathering: AtomicU64,
    over: [WakeWord; 2],
    /// The commit thread has ended: nothing will be answered any more.
    pub(super) ended: Arc<AtomicBool>,
    /// Why, if it did not end in order.
    failed: OnceLock<Error>,
}

impl Rounds {
    pub(super) fn new() -> Self {
        Self {
            gathering: AtomicU64::new(1),
            // The last rounds over before the first: 0, and the odd one before it.
            over: [WakeWord::new(0), WakeWord::new(u32::MAX)],
            ended: Arc::default(),
            failed: OnceLock::new(),
        }
    }

    fn word(&self, round: u64) -> &WakeWord {
        if round.is_multiple_of(2) { &self.over[0] } else { &self.over[1] }
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
        let word = self.word(round);
        word.store(low_half(round));
        word.wake_all();
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
        // Both words are over now for every round that a waiter can look at, so nobody goes to sleep any more.
        self.finish(round);
        self.finish(round + 1);
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
        if let Some(error) = self.failed.get() {
            return Some(error.clone());
        }
        self.ended().then_some(Error::Closed)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted; halves are compared modulo 2^32"
)]
const fn low_half(round: u64) -> u32 {
    round as u32
}

/// Where one request's answer goes.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The round that the request was taken in; 0 before.
    round: AtomicU64,
    answer: OnceLock<Result<u64>>,
}

/// The commit thread's side of a slot. Dropped without an answer, it answers `Closed`, or with the journal's failure.
#[derive(Debug)]
pub(super) struct Promise {
    slot: Arc<Slot>,
    rounds: Arc<Rounds>,
}

impl Promise {
    pub(super) fn new(rounds: &Arc<Rounds>) -> (Self, Arc<Slot>) {
        let slot = Arc::<Slot>::default();
        (Self { slot: slot.clone(), rounds: rounds.clone() }, slot)
    }

    /// The request was taken in this round.
    pub(super) fn taken(&self, round: u64) {
        self.slot.round.store(round, Ordering::Release);
    }

    /// The records from `offset` on are durable; the proof says so.
    pub(super) fn keep(self, offset: u64, _proof: &Durable) {
        let _ = self.slot.answer.set(Ok(offset));
    }

    /// What was asked for needed no new flush: everything below `offset` was durable already, by an earlier proof.
    pub(super) fn keep_earlier(self, offset: u64) {
        let _ = self.slot.answer.set(Ok(offset));
    }

    pub(super) fn refuse(self, error: Error) {
        let _ = self.slot.answer.set(Err(error));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.slot.answer.get().is_none() {
            let _ = self.slot.answer.set(Err(self.rounds.abandonment()));
        }
    }
}

/// The slot's answer, if there is one or there will be none: a request can be left in the queue when the commit thread
/// ends, and nobody takes it any more.
fn answer_now(slot: &Slot, rounds: &Rounds) -> Option<Result<u64>> {
    let ended = rounds.ended();
    match slot.answer.get() {
        Some(answer) => Some(answer.clone()),
        None => ended.then(|| Err(rounds.abandonment())),
    }
}

/// Waits for the slot's answer; `None` when there was none by the deadline.
pub(super) fn wait(slot: &Slot, rounds: &Rounds, deadline: Option<Instant>) -> Option<Result<u64>> {
    loop {
        if let Some(answer) = answer_now(slot, rounds) {
            return Some(answer);
        }
        let gathering = rounds.gathering.load(Ordering::Acquire);
        let round = match slot.round.load(Ordering::Acquire) {
            0 => gathering,
            taken => taken,
        };
        let word = rounds.word(round);
        let seen = word.load();
        // Modulo 2^32: whether the last round over is this one or a later one.
        if low_half(round).wrapping_sub(seen) as i32 <= 0 {
            // Answered by now, or taken in a later round than the one looked at.
            std::hint::spin_loop();
            continue;
        }
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
        word.wait(seen, patience);
    }
}

/// A record that was submitted. Dropping the ticket changes nothing: the record becomes durable all the same.
#[must_use = "a record is known to be durable only when its ticket says so"]
pub struct Ticket {
    slot: Arc<Slot>,
    rounds: Arc<Rounds>,
    hash: Hash,
}

impl Ticket {
    pub(super) fn new(slot: Arc<Slot>, rounds: Arc<Rounds>, hash: Hash) -> Self {
        Self { slot, rounds, hash }
    }

    /// Waits until the record is durable.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: the record will never appear. [`Error::Failed`]: whether it is durable is not known.
    /// [`Error::Closed`]: it will never appear.
    pub fn wait(self) -> Result<Receipt> {
        let answer = wait(&self.slot, &self.rounds, None).expect("without a deadline there is an answer");
        self.receipt(answer)
    }

    /// Waits at most `patience`; `None` when the record was not known to be durable by then.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, patience: Duration) -> Result<Option<Receipt>> {
        let deadline = Instant::now().checked_add(patience);
        wait(&self.slot, &self.rounds, deadline).map(|answer| self.receipt(answer)).transpose()
    }

    /// The receipt if the record is durable now.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn try_wait(&self) -> Result<Option<Receipt>> {
        answer_now(&self.slot, &self.rounds).map(|answer| self.receipt(answer)).transpose()
    }

    /// blake3 of the payload.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    fn receipt(&self, answer: Result<u64>) -> Result<Receipt> {
        answer.map(|offset| Receipt { offset: Offset::new(offset), hash: self.hash })
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("answer", &self.slot.answer)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// Why `try_submit` did not take a payload; gives it back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySubmitError {
    /// The queue is full: the commit thread is behind.
    #[error("the queue is full; try again later, or use `submit`, which waits")]
    Full {
        /// The payload.
        payload: Vec<u8>,
    },
    /// The journal does not take the payload.
    #[error("{error}")]
    Refused {
        /// The payload.
        payload: Vec<u8>,
        /// Why.
        #[source]
        error: Error,
    },
}
