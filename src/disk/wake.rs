//! Waiting on a word of memory: the kernel's futex, for one process and for pages that several share.

#![expect(unsafe_code, reason = "the futex system call")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Who can wait on the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Process,
    Shared,
}

/// A word that threads of this process wait on, all of whom one call wakes.
#[derive(Debug)]
pub(crate) struct WakeWord(AtomicU32);

impl WakeWord {
    pub(crate) const fn new(value: u32) -> Self {
        Self(AtomicU32::new(value))
    }

    /// The value; what was written before the `store` of it is visible (acquire).
    pub(crate) fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Sets the value (release). Wakes nobody.
    pub(crate) fn store(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }

    /// Wakes everyone who waits.
    pub(crate) fn wake_all(&self) {
        futex_wake_all(&self.0, Scope::Process);
    }

    /// Returns when the value is not `seen`, when woken, after `patience`, or for no reason.
    pub(crate) fn wait(&self, seen: u32, patience: Option<Duration>) {
        futex_wait(&self.0, seen, patience, Scope::Process);
    }
}

const fn operation(operation: libc::c_int, scope: Scope) -> libc::c_int {
    match scope {
        Scope::Process => operation | libc::FUTEX_PRIVATE_FLAG,
        Scope::Shared => operation,
    }
}

pub(super) fn futex_wake_all(word: &AtomicU32, scope: Scope) {
    let operation = operation(libc::FUTEX_WAKE, scope);
    // SAFETY: FUTEX_WAKE takes the address only to find who waits on it, and does not access it; the count is by value.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, i32::MAX) };
}

pub(super) fn futex_wait(word: &AtomicU32, seen: u32, patience: Option<Duration>, scope: Scope) {
    let timeout = patience.map(|patience| libc::timespec {
        tv_sec: libc::time_t::try_from(patience.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(patience.subsec_nanos().cast_signed()),
    });
    let timeout: *const libc::timespec = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let operation = operation(libc::FUTEX_WAIT, scope);
    // SAFETY: (1) `word` is a live, aligned 32-bit atomic for as long as the call lasts; (2) `timeout` is null or points
    // to a timespec that lives in this frame. Errors (EAGAIN, EINTR, ETIMEDOUT) mean "look again", as every return does.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, seen, timeout) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn one_call_wakes_all_who_wait() {
        let word = WakeWord::new(0);
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        while word.load() == 0 {
                            word.wait(0, None);
                        }
                    })
                })
                .collect();
            word.store(1);
            word.wake_all();
            for waiter in waiters {
                waiter.join().unwrap();
            }
        });
    }

    #[test]
    fn a_wait_ends_with_its_patience_and_does_not_begin_on_another_value() {
        let word = WakeWord::new(5);
        let start = Instant::now();
        word.wait(4, None);
        word.wait(5, Some(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(15), "{:?}", start.elapsed());
    }
}
