//! Looking out: waiting without sleeping for what is expected within microseconds.
//!
//! Whoever sleeps must be woken, and a processor that went idle takes a while to come back. Guarantees: nobody looks out for
//! longer than the options say, or beside another waiter. Must not know: what is waited for.

use std::time::Duration;

use super::sync::atomic::{AtomicU32, Ordering};
use super::sync::{Instant, hint};

/// Looks between two looks at the clock.
const LOOKS: u32 = 32;
/// How long the commit thread looks out for the next append of a thread that is alone.
const FOR_REQUEST_MAX: Duration = Duration::from_micros(20);

/// Whether somebody who waits looks out for a while before it sleeps. Relaxed throughout: hints.
#[derive(Debug)]
pub(super) struct LookOut {
    /// How long at most; zero for never.
    longest: Duration,
    /// Who waits for an answer now, looking out or sleeping.
    waiting: AtomicU32,
}

impl LookOut {
    /// A waiter that is alone looks out for its answer for `longest` before it sleeps.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, waiting: AtomicU32::new(0) }
    }

    /// Counts a waiter as long as it waits.
    pub(super) fn begin(&self) -> Waiting<'_> {
        Waiting { alone: self.waiting.fetch_add(1, Ordering::Relaxed) == 0, look_out: self }
    }

    /// Looks out, on the commit thread, until `is_there`, but not for long.
    pub(super) fn for_request(&self, is_there: impl Fn() -> bool) {
        look_out(self.longest.min(FOR_REQUEST_MAX), is_there);
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
        if *alone {
            let longest = left.map_or(this.longest, |left| left.min(this.longest));
            look_out(longest, || is_answered() || this.waiting.load(Ordering::Relaxed) > 1);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.look_out.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn look_out(longest: Duration, is_there: impl Fn() -> bool) {
    if longest.is_zero() {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < longest {
        for _ in 0..LOOKS {
            if is_there() {
                return;
            }
            hint::spin_loop();
        }
    }
}
