//! What the hand-over between threads is made of: primitives of the standard library, the queue's channel, the word that
//! waiters sleep on.
//!
//! With `--cfg ringwal_shuttle` a model of them takes this module's place (`scheduled/`), in which a scheduler decides who
//! runs next; the code that uses them stays the same. Must not know: what is handed over.
#![cfg_attr(not(feature = "group-commit"), allow(unused_imports, reason = "there is nothing to hand over"))]

pub(super) use std::hint;
pub(super) use std::sync::{Mutex, OnceLock, atomic, mpsc};
pub(super) use std::thread;
pub(super) use std::time::Instant;

#[cfg(feature = "group-commit")]
pub(super) use crossbeam_channel as channel;

pub(super) use crate::disk::WakeWord;
