//! Looking out: waiting without sleeping for what is expected within microseconds, and when to leave that off.
//!
//! Whoever sleeps must be woken, and a processor that went idle takes a while to come back. Guarantees: whoever looks out lets
//! others have its processor after every few looks, first of all the one that it waits for, which the scheduler may have put
//! on the same processor; after looking out in vain, or with the processor taken by somebody else, it is left off for some
//! waits, for more of them each time in a row. Must not know: what is waited for.

use std::time::Duration;

use super::sync::atomic::{AtomicU32, Ordering};
use super::sync::{Instant, hint, thread};

/// Looks before the processor is offered to others, which takes a system call.
const LOOKS: u32 = 32;
/// A processor that was away for so long was given to somebody else than the commit thread, who works for a few
/// microseconds at a time.
const AWAY_MAX: Duration = Duration::from_micros(100);
/// So many waits do not look out at most, after looking out in vain.
const WAITS_APART_MAX: u32 = 1024;
/// How long the commit thread looks out for the next append of a thread that is alone.
const FOR_REQUEST_MAX: Duration = Duration::from_micros(20);

/// Whether somebody who waits looks out for a while before it sleeps. Relaxed throughout: hints.
#[derive(Debug)]
pub(super) struct LookOut {
    /// How long at most; zero for never.
    longest: Duration,
    /// Who waits for an answer now, looking out or sleeping.
    waiting: AtomicU32,
    /// So many waits more do not look out.
    apart: AtomicU32,
    /// How many it will be the next time.
    next_apart: AtomicU32,
}

/// What looking out came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// What was waited for is there, or waiting has become another matter.
    Something,
    InVain,
}

impl LookOut {
    /// A waiter that is alone looks out for its answer for `longest` before it sleeps.
    pub(super) fn new(longest: Duration) -> Self {
        let [waiting, apart, next_apart] = [0; 3].map(AtomicU32::new);
        Self { longest, waiting, apart, next_apart }
    }

    /// Counts a waiter as long as it waits.
    pub(super) fn begin(&self) -> Waiting<'_> {
        Waiting { alone: self.waiting.fetch_add(1, Ordering::Relaxed) == 0, look_out: self }
    }

    /// Looks out, on the commit thread, until `is_there`, but not for long.
    pub(super) fn for_request(&self, is_there: impl Fn() -> bool) {
        if !self.longest.is_zero() && self.apart.load(Ordering::Relaxed) == 0 {
            let _ = look_out(self.longest.min(FOR_REQUEST_MAX), is_there);
        }
    }

    /// Whether this wait looks out; counts it if not.
    fn is_due(&self) -> bool {
        if self.longest.is_zero() {
            return false;
        }
        let apart = self.apart.load(Ordering::Relaxed);
        if apart > 0 {
            // Of two who are both told that they are alone, one may count for both.
            self.apart.store(apart - 1, Ordering::Relaxed);
        }
        apart == 0
    }

    fn note(&self, seen: Seen) {
        let next = self.next_apart.load(Ordering::Relaxed);
        let next = match seen {
            Seen::Something => next / 2,
            Seen::InVain => {
                self.apart.store(next, Ordering::Relaxed);
                (next * 2).clamp(1, WAITS_APART_MAX)
            }
        };
        self.next_apart.store(next, Ordering::Relaxed);
    }
}

/// Somebody who waits for an answer.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    look_out: &'a LookOut,
    /// Nobody else waited when it began.
    alone: bool,
}

impl Waiting<'_> {
    /// Looks out, if nobody else waits, until `is_answered`, for at most `left`.
    pub(super) fn for_answer(&self, left: Option<Duration>, is_answered: impl Fn() -> bool) {
        let Self { look_out: this, alone } = self;
        if !alone || !this.is_due() {
            return;
        }
        let longest = left.map_or(this.longest, |left| left.min(this.longest));
        let seen = look_out(longest, || is_answered() || this.waiting.load(Ordering::Relaxed) > 1);
        // A caller that has no time to wait says nothing about the journal.
        if seen == Seen::Something || longest == this.longest {
            this.note(seen);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.look_out.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn look_out(longest: Duration, is_there: impl Fn() -> bool) -> Seen {
    let start = Instant::now();
    let mut waited = Duration::ZERO;
    while waited < longest {
        for _ in 0..LOOKS {
            if is_there() {
                return Seen::Something;
            }
            hint::spin_loop();
        }
        thread::yield_now();
        let before = std::mem::replace(&mut waited, start.elapsed());
        if waited.saturating_sub(before) > AWAY_MAX {
            break;
        }
    }
    if is_there() { Seen::Something } else { Seen::InVain }
}

#[cfg(all(test, not(ringwal_shuttle)))]
mod tests {
    use super::*;
    use std::cell::Cell;

    const LONGEST: Duration = Duration::from_micros(50);

    /// Whether a wait that is answered at once, or never, looks at all.
    fn looks(look_out: &LookOut, is_answered: bool) -> bool {
        let looked = Cell::new(false);
        look_out.begin().for_answer(None, || {
            looked.set(true);
            is_answered
        });
        looked.get()
    }

    /// How many waits in a row do not look.
    fn pause(look_out: &LookOut) -> u32 {
        let mut waits = 0;
        while !looks(look_out, true) {
            waits += 1;
            assert!(waits <= WAITS_APART_MAX, "nobody looks out any more");
        }
        waits
    }

    #[test]
    fn after_looking_out_in_vain_more_and_more_waits_sleep_at_once() {
        let look_out = LookOut::new(LONGEST);
        let mut longest = 0;
        for time in 0..40 {
            while !looks(&look_out, false) {}
            let waits = (0..).take_while(|_| !looks(&look_out, false)).count();
            assert!(waits >= longest, "the pause became shorter: {waits} after {longest} (time {time})");
            longest = waits;
        }
        assert_eq!(longest, WAITS_APART_MAX as usize);
        let answered = (0..20).map(|_| pause(&look_out)).last();
        assert_eq!(answered, Some(0), "who is answered in time looks out each time again");
    }

    #[test]
    fn one_wait_in_vain_is_no_reason_to_sleep() {
        let look_out = LookOut::new(LONGEST);
        assert!(looks(&look_out, false));
        assert!(looks(&look_out, true));
    }

    #[test]
    fn nobody_looks_out_beside_another_waiter_or_where_the_options_forbid_it() {
        let look_out = LookOut::new(LONGEST);
        let other = look_out.begin();
        assert!(!looks(&look_out, true));
        drop(other);
        assert!(looks(&look_out, true));
        assert!(!looks(&LookOut::new(Duration::ZERO), true));
    }

    #[test]
    fn the_commit_thread_looks_out_only_for_those_who_do() {
        let look_out = LookOut::new(LONGEST);
        let looked = Cell::new(0);
        let request = || look_out.for_request(|| looked.replace(looked.get() + 1) > 0);
        request();
        assert_eq!(looked.get(), 2);
        (0..2).for_each(|_| assert!(looks(&look_out, false)));
        request();
        assert_eq!(looked.get(), 2, "waits sleep, and the commit thread looked out for them");
    }
}
