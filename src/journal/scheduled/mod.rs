//! A model of `sync` for the scheduler of the crate `shuttle`: every step of a primitive is a place where another thread may
//! go on, and every schedule can be replayed.
//!
//! Guarantees: each primitive does what its documentation promises and no more, so a wait may end for no reason and a
//! patience may be over at any time. Left out: memory is sequentially consistent here.

pub(super) mod channel;
mod clock;
mod once;
mod word;

pub(super) use shuttle::hint;
pub(super) use shuttle::sync::{Mutex, atomic, mpsc};
pub(super) use shuttle::thread;
pub(super) use shuttle::thread_local;

pub(super) use clock::Instant;
pub(super) use once::OnceLock;
pub(super) use word::WakeWord;

/// Whether something happens that may happen and need not; the schedule decides.
fn happens(once_in: u32) -> bool {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_ratio(1, once_in)
}
