//! The word that waiters sleep on, with what futex(2) promises: the comparison and falling asleep are one step against a
//! wake; a wake reaches all who sleep at that moment and nobody later; a wait may end for no reason.

use std::sync::PoisonError;
use std::time::Duration;

use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::thread;

use super::{clock, happens};

/// As `disk::WakeWord`.
#[derive(Debug)]
pub(crate) struct WakeWord {
    value: AtomicU32,
    /// How many wakes there were.
    wakes: Mutex<u64>,
    woken: Condvar,
}

impl WakeWord {
    pub(crate) fn new(value: u32) -> Self {
        Self { value: AtomicU32::new(value), wakes: Mutex::new(0), woken: Condvar::new() }
    }

    pub(crate) fn load(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    pub(crate) fn store(&self, value: u32) {
        self.value.store(value, Ordering::Release);
    }

    pub(crate) fn wake_all(&self) {
        *self.lock() += 1;
        self.woken.notify_all();
    }

    pub(crate) fn wait(&self, seen: u32, patience: Option<Duration>) {
        let wakes = self.lock();
        if self.load() != seen || happens(8) {
            return;
        }
        let before = *wakes;
        let Some(patience) = patience else {
            drop(self.woken.wait(wakes));
            return;
        };
        drop(wakes);
        // Patience ends some time or other, so this does not block for good.
        while *self.lock() == before {
            if happens(4) {
                return clock::pass(patience);
            }
            thread::yield_now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
