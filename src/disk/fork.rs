//! Noticing that this process is a forked copy of the one that opened something.
//!
//! Guarantees: after the first call, every fork (by `fork(3)`) adds one in the child, before it runs anything else.
//! A process number would not do: it is reused, and a system call. A child made by the bare `clone` system call
//! is not noticed.
//! Must not know: what is done about it.

#![expect(unsafe_code, reason = "pthread_atfork has no safe face in std")]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// Written in a forked child only, where a single thread runs.
static FORKS: AtomicU32 = AtomicU32::new(0);
static WATCH: Once = Once::new();

/// How many forks this process is away from the one that first called this.
///
/// # Panics
/// When there is no memory for the fork handler.
pub(crate) fn fork_count() -> u32 {
    WATCH.call_once(|| {
        // SAFETY: pthread_atfork needs a handler that (1) stays valid: a function of this crate, whose unloading
        // glibc answers by removing the handler; (2) in the child of a process with threads does only what is
        // async-signal-safe: one atomic addition.
        let refused = unsafe { libc::pthread_atfork(None, None, Some(count_one)) };
        assert_eq!(refused, 0, "no memory for the fork handler");
    });
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn count_one() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_is_one_fork_away() {
        let before = fork_count();
        // SAFETY: the child calls nothing but an atomic load, a finished `Once` and `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = i32::from(fork_count() != before + 1);
            // SAFETY: `_exit` ends the child without running anything of the parent's.
            unsafe { libc::_exit(code) };
        }
        let mut status = -1;
        // SAFETY: `status` is a place for the answer, and `child` is a child of this process.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((waited, libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (child, true, 0));
        assert_eq!(fork_count(), before);
    }
}
