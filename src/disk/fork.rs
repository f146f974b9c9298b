//! Noticing that the process was forked: the child has the parent's handles, but none of its threads.

#![expect(unsafe_code, reason = "pthread_atfork")]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);
static REGISTER: Once = Once::new();

extern "C" fn count_fork() {
    // Relaxed, and nothing else: a forked child of a threaded process may do only what a signal handler may.
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between this process and the one that asked first. Forks by a bare `clone` call, past the C library,
/// are not counted.
pub(crate) fn fork_count() -> u32 {
    REGISTER.call_once(|| {
        // SAFETY: the handler is a function that lives as long as the program and only adds to an atomic, which is
        // async-signal-safe. A failure (no memory) leaves forks uncounted, as documented for bare clones.
        unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
    });
    FORKS.load(Ordering::Relaxed)
}
