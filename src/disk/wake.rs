//! Sleeping until a 32-bit word changes (futex), within a process and between processes.
//!
//! Guarantees: a wait never misses a change made before a wake; it may return for no reason, so callers loop.
//! Must not know: what the word means.

#![cfg_attr(
    any(not(feature = "group-commit"), ringwal_shuttle),
    allow(dead_code, reason = "only the commit thread's callers wait on a word")
)]
#![expect(unsafe_code, reason = "futex(2) has no safe face in std")]

use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A word that many threads of this process can sleep on and one call can wake.
#[derive(Debug)]
pub(crate) struct WakeWord(AtomicU32);

impl WakeWord {
    pub(crate) const fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    /// The value; everything before the [`store`](Self::store) that wrote it is visible (acquire). Sequentially
    /// consistent, as the store is, so that a word and a count of its sleepers can be looked at crosswise.
    pub(crate) fn load(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Sets the value (release, pairs with `load`). Wakes nobody.
    pub(crate) fn store(&self, value: u32) {
        self.0.store(value, Ordering::SeqCst);
    }

    /// Wakes all who wait, with one system call.
    pub(crate) fn wake_all(&self) {
        futex_wake_all(&self.0, Sharing::Process);
    }

    /// Returns when the value is not `seen` any more, on a wake, after `patience`, on a signal or for no reason.
    pub(crate) fn wait(&self, seen: u32, patience: Option<Duration>) {
        futex_wait(&self.0, seen, patience, Sharing::Process);
    }
}

/// Who may sleep on a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Threads of this process: the kernel finds them by address alone, which is cheaper.
    Process,
    /// All processes that map the file the word lies in.
    Machine,
}

impl Sharing {
    const fn operation(self, base: libc::c_int) -> libc::c_int {
        match self {
            Self::Process => base | libc::FUTEX_PRIVATE_FLAG,
            Self::Machine => base,
        }
    }
}

/// Sleeps while the word is `seen`, until a wake, a signal, `patience` or for no reason.
pub(super) fn futex_wait(word: &AtomicU32, seen: u32, patience: Option<Duration>, sharing: Sharing) {
    let patience = patience.map(timespec);
    let limit = patience.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: FUTEX_WAIT needs (1) a word that stays mapped and aligned during the call: the borrow of an `AtomicU32`;
    // (2) a `timespec` that lives as long as the call, or null for no limit: `patience` above. The remaining
    // arguments of the operation are ignored. The result is not needed: callers look at the word again.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), sharing.operation(libc::FUTEX_WAIT), seen, limit)
    };
}

/// Wakes all who sleep on the word.
pub(super) fn futex_wake_all(word: &AtomicU32, sharing: Sharing) {
    // SAFETY: FUTEX_WAKE needs the address only, as a key; the word is borrowed, so it is mapped. It cannot fail
    // with a mapped, aligned address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), sharing.operation(libc::FUTEX_WAKE), i32::MAX) };
}

/// Durations beyond some decades are cut: callers loop.
fn timespec(duration: Duration) -> libc::timespec {
    let seconds = i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
    let nanoseconds = i32::try_from(duration.subsec_nanos()).unwrap_or(0);
    libc::timespec { tv_sec: seconds.into(), tv_nsec: nanoseconds.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;
    use std::time::Instant;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn one_wake_reaches_all_sleepers() {
        let word = Arc::new(WakeWord::new(0));
        let sleepers: Vec<_> = (0..8)
            .map(|_| {
                let word = Arc::clone(&word);
                thread::spawn(move || {
                    let start = Instant::now();
                    while word.load() == 0 {
                        word.wait(0, Some(LONG));
                    }
                    start.elapsed()
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        word.store(1);
        word.wake_all();
        for sleeper in sleepers {
            assert!(sleeper.join().unwrap() < LONG / 2);
        }
    }

    #[test]
    fn a_wait_for_a_value_that_is_gone_returns_at_once() {
        let start = Instant::now();
        WakeWord::new(1).wait(0, None);
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn a_wait_ends_when_patience_does() {
        let start = Instant::now();
        let word = WakeWord::new(0);
        while start.elapsed() < Duration::from_millis(20) {
            word.wait(0, Some(Duration::from_millis(20)));
        }
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn endless_patience_is_cut_to_what_the_kernel_takes() {
        let longest = timespec(Duration::MAX);
        assert_eq!((longest.tv_sec, longest.tv_nsec), (i64::from(i32::MAX), 999_999_999));
    }
}
