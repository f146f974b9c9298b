//! What the hand-over between threads is made of: primitives of the standard library, the queue's channel, the word that
//! waiters sleep on.
//!
//! With `--cfg ringwal_shuttle` a model of them takes this module's place (`scheduled/`), in which a scheduler decides who
//! runs next; the code that uses them stays the same. Must not know: what is handed over.

pub(super) use std::sync::atomic;

#[cfg(feature = "group-commit")]
pub(super) use {
    crate::disk::WakeWord,
    crossbeam_channel as channel,
    std::hint,
    std::sync::{Mutex, OnceLock, mpsc},
    std::thread,
    std::thread_local,
    std::time::Instant,
};
