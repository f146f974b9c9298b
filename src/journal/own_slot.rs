//! A slot of its own for every thread that appends, so that an append allocates nothing.
//!
//! Guarantees: a slot is used again only when nobody else holds it. A thread keeps one slot, of the journal it appended
//! to last, and little memory with it, until it ends. Must not know: queues, commits.

use std::cell::RefCell;
use std::sync::Arc;

use super::group_commit::Queued;
use super::rounds::{Rounds, Slot};
use super::sync::thread_local;
use crate::format::record::UnplacedHeader;

/// Memory of a payload up to this size is kept.
const KEPT_BYTES_MAX: usize = 64 << 10;

thread_local! {
    static OWN: RefCell<Option<Arc<Slot>>> = const { RefCell::new(None) };
}

/// A slot for an append to the journal of `rounds`: the thread's own, or a new one.
pub(super) fn take(rounds: &Arc<Rounds>, header: UnplacedHeader, payload: &[u8]) -> Arc<Slot> {
    let keeps_memory = payload.len() <= KEPT_BYTES_MAX;
    // While a thread ends its own slot can be gone already.
    let own = OWN.try_with(|own| own.borrow_mut().take()).ok().flatten();
    if let Some(mut slot) = own.filter(|slot| slot.is_of(rounds))
        && let Some(unshared) = Arc::get_mut(&mut slot)
    {
        let record = unshared.renew();
        record.header = header;
        record.payload.clear();
        record.payload.extend_from_slice(payload);
        record.keeps_memory = keeps_memory;
        return slot;
    }
    Arc::new(Slot::new(rounds, Queued { header, payload: payload.to_vec(), keeps_memory }))
}

/// Gives a slot back whose answer was taken.
pub(super) fn put_back(slot: Arc<Slot>) {
    let _ = OWN.try_with(|own| *own.borrow_mut() = Some(slot));
}
