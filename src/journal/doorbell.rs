//! The doorbell: how the commit thread sleeps until enough has come in, and how whoever brings the last of it wakes it.
//!
//! Guarantees: whoever brings what is waited for wakes the sleeper; an arrival is never missed. A sleep may end early, so
//! sleepers look again. Must not know: what arrives.

use std::time::Duration;

use super::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use super::sync::{Instant, WakeWord};

/// Nothing is waited for.
const NOTHING: u64 = u64::MAX;

/// Counts arrivals. One thread sleeps on it, any number arrive.
///
/// `arrived` and `wanted` are sequentially consistent: who arrives counts and then looks at what is wanted, the sleeper says
/// what it wants and then looks at the count, so at least one of the two sees the other.
#[derive(Debug)]
pub(super) struct Doorbell {
    arrived: AtomicU64,
    /// The count of arrivals that ends the sleep.
    wanted: AtomicU64,
    /// Changes with every ring.
    rings: WakeWord,
    rung: AtomicU32,
    /// Nobody will come any more.
    gone: AtomicBool,
}

impl Doorbell {
    pub(super) fn new() -> Self {
        Self {
            arrived: AtomicU64::new(0),
            wanted: AtomicU64::new(NOTHING),
            rings: WakeWord::new(0),
            rung: AtomicU32::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// Counts one arrival; rings if it is the one that is waited for.
    pub(super) fn arrive(&self) {
        let arrived = self.arrived.fetch_add(1, Ordering::SeqCst) + 1;
        if arrived >= self.wanted.load(Ordering::SeqCst) {
            self.ring();
        }
    }

    /// Nobody will come any more: ends this sleep and every later one.
    pub(super) fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.ring();
    }

    fn ring(&self) {
        // Of several who come at the same time one rings.
        if self.wanted.swap(NOTHING, Ordering::SeqCst) != NOTHING {
            self.rings.store(self.rung.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
            self.rings.wake_all();
        }
    }

    /// Whether nobody will come any more.
    pub(super) fn is_left(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Arrivals so far.
    pub(super) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::SeqCst)
    }

    /// Sleeps until `count` have arrived in all, for `patience`, or until nobody will come any more.
    pub(super) fn sleep_until(&self, count: u64, patience: Option<Duration>) {
        // Beyond what a clock can tell is as long as it takes.
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        loop {
            let seen = self.rings.load();
            let is_late = cfg!(ringwal_zoo = "doorbell_looks_before_it_says_what_it_wants");
            if !is_late {
                self.wanted.store(count, Ordering::SeqCst);
            }
            if self.arrived() >= count || self.is_left() {
                break;
            }
            if is_late {
                self.wanted.store(count, Ordering::SeqCst);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            self.rings.wait(seen, left);
        }
        self.wanted.store(NOTHING, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn the_last_arrival_that_is_waited_for_ends_the_sleep_and_none_is_missed() {
        const ROUNDS: u64 = 20_000;
        const THREADS: u64 = 4;
        let bell = Arc::new(Doorbell::new());
        let start = Instant::now();
        let arriving: Vec<_> = (0..THREADS)
            .map(|_| {
                let bell = Arc::clone(&bell);
                thread::spawn(move || (0..ROUNDS).for_each(|_| bell.arrive()))
            })
            .collect();
        for count in (3..=ROUNDS * THREADS).step_by(3) {
            bell.sleep_until(count, Some(LONG));
            assert!(bell.arrived() >= count, "{count}");
        }
        arriving.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(start.elapsed() < LONG, "a sleeper was left to its patience");
    }

    #[test]
    fn a_sleep_ends_when_patience_does_or_nobody_will_come() {
        let bell = Arc::new(Doorbell::new());
        bell.sleep_until(1, Some(Duration::from_millis(1)));
        assert_eq!(bell.arrived(), 0);
        let sleeper = thread::spawn({
            let bell = Arc::clone(&bell);
            move || bell.sleep_until(1, None)
        });
        bell.leave();
        sleeper.join().unwrap();
        bell.sleep_until(2, None);
        assert!(bell.is_left());
    }
}
