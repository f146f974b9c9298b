//! Regrouping: when those whose records have just become durable are answered, and whether the next commit waits for them.
//!
//! Threads that append in a loop come back right after they were answered. A commit that starts without them takes only
//! those who came while the one before was on its way, and the threads fall apart into two groups that take turns: the
//! device is busy all the time, but makes twice the commits. Which is better depends on how long a commit is on its way and
//! how long it takes to wake all who are answered and have them come back:
//!
//! - Few threads are back long before a commit would be through: the next commit waits for them.
//! - Waking many takes a good part of a commit's time by itself: they are woken while the next commit is on its way.
//! - In between they are answered at once, and the next commit takes who is there.
//!
//! The limits between the three were measured (docs/decisions/0009). Guarantees: nobody is kept waiting longer than three
//! quarters of what a commit takes, and in vain only once in many commits. Must not know: queues, records, devices.

use std::time::Duration;

/// Nobody is waited for longer than this, however slow the device is.
const PATIENCE_MAX: Duration = Duration::from_micros(500);
/// After waiting in vain, or too long, so many commits do not wait; twice as many after each time in a row.
const COMMITS_APART_MIN: u32 = 64;
const COMMITS_APART_MAX: u32 = 2048;
/// The weight of one commit in the averages, as a part of the whole.
const WEIGHT: u32 = 8;
/// Waiting for more than so many was never seen to pay, and waking fewer than so many in flight neither.
const TOGETHER_MAX: u32 = 8;
const IN_FLIGHT_MIN: u32 = 32;
/// Waking in flight pays when it takes more than half of a commit's time.
const WAKING_PART: u32 = 2;

/// What to do with a commit that has just become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Answer now, then wait at most so long for those who were answered.
    NowAndWait(Duration),
    /// Answer now; there is nobody to wait for.
    Now,
    /// Start the commit that was gathered in the meantime first.
    InFlight,
}

/// Remembers how long commits, waking and regrouping take.
#[derive(Debug)]
pub(super) struct Regroup {
    flight: Duration,
    /// To wake one.
    waking: Duration,
    /// So many commits more do not wait.
    apart: u32,
    next_apart: u32,
}

impl Regroup {
    pub(super) const fn new() -> Self {
        let (flight, waking) = (Duration::ZERO, Duration::ZERO);
        Self { flight, waking, apart: 0, next_apart: COMMITS_APART_MIN }
    }

    /// A commit took so long from submission to completion.
    pub(super) fn flew(&mut self, flight: Duration) {
        self.flight = average(self.flight, flight);
    }

    /// To answer so many, and wake those of them who slept, took so long.
    pub(super) fn woke(&mut self, requests: usize, duration: Duration) {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX).max(1);
        self.waking = average(self.waking, duration / requests);
    }

    /// What to do with a commit of so many requests, when so many others wait already.
    pub(super) fn answer(&mut self, requests: usize, others: usize) -> Answer {
        let all = u32::try_from(requests + others).unwrap_or(u32::MAX);
        let is_long = self.waking.saturating_mul(all) > self.flight / WAKING_PART;
        if all >= IN_FLIGHT_MIN && others > 0 && is_long {
            return Answer::InFlight;
        }
        // One alone is waited for as everybody is who comes first.
        if !(2..=TOGETHER_MAX).contains(&all) {
            return Answer::Now;
        }
        if self.apart > 0 {
            self.apart -= 1;
            return Answer::Now;
        }
        Answer::NowAndWait(self.patience())
    }

    /// Regrouping pays when all are back within three quarters of a commit's time.
    fn patience(&self) -> Duration {
        (self.flight * 3 / 4).min(PATIENCE_MAX)
    }

    /// Those who were waited for came, all of them or not, after so long.
    pub(super) fn regrouped(&mut self, all: bool, after: Duration) {
        if all && after <= self.patience() {
            self.next_apart = COMMITS_APART_MIN;
        } else {
            self.apart = self.next_apart;
            self.next_apart = (self.next_apart * 2).min(COMMITS_APART_MAX);
        }
    }
}

fn average(before: Duration, next: Duration) -> Duration {
    if before.is_zero() { next } else { before - before / WEIGHT + next / WEIGHT }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_micros(100);
    const MICROSECOND: Duration = Duration::from_micros(1);

    fn flown() -> Regroup {
        let mut regroup = Regroup::new();
        regroup.flew(COMMIT);
        regroup.woke(1, MICROSECOND);
        regroup
    }

    #[test]
    fn threads_that_are_back_soon_stay_one_group() {
        let mut regroup = flown();
        for _ in 0..10_000 {
            assert_eq!(regroup.answer(4, 0), Answer::NowAndWait(COMMIT * 3 / 4));
            regroup.regrouped(true, COMMIT / 3);
        }
    }

    #[test]
    fn threads_that_come_back_late_are_answered_at_once_and_seldom_waited_for() {
        let mut regroup = flown();
        let mut waits = 0;
        for _ in 0..100_000 {
            match regroup.answer(6, 2) {
                Answer::NowAndWait(_) => {
                    waits += 1;
                    regroup.regrouped(true, COMMIT);
                }
                answer => assert_eq!(answer, Answer::Now),
            }
        }
        assert!((40..70).contains(&waits), "{waits} of 100,000 commits waited to see whether it pays now");
    }

    #[test]
    fn many_are_woken_in_flight_of_the_next_commit() {
        let mut regroup = flown();
        regroup.woke(32, MICROSECOND * 32);
        assert_eq!(regroup.answer(64, 0), Answer::Now, "there is no next commit");
        for _ in 0..1000 {
            assert_eq!(regroup.answer(32, 32), Answer::InFlight);
        }
    }

    #[test]
    fn who_never_comes_back_is_waited_for_seldom_and_not_long() {
        let mut regroup = flown();
        (0..100).for_each(|_| regroup.flew(Duration::from_secs(1)));
        let mut waited = Duration::ZERO;
        for _ in 0..100_000 {
            if let Answer::NowAndWait(patience) = regroup.answer(8, 0) {
                waited += patience;
                regroup.regrouped(false, patience);
            }
        }
        assert!(waited > PATIENCE_MAX && waited < PATIENCE_MAX * 70, "{waited:?}");
    }

    #[test]
    fn neither_one_alone_nor_many_are_waited_for() {
        let mut regroup = flown();
        assert_eq!(regroup.answer(12, 4), Answer::Now);
        assert_eq!(regroup.answer(1, 0), Answer::Now);
        assert_ne!(regroup.answer(1, 1), Answer::Now);
    }
}
