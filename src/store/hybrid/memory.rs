//! How much memory the writes take that are not checkpointed, who waits for some, and when a checkpoint is due.
//!
//! Guarantees: what was reserved is never more than the bound; whoever waits is woken when there is room, when there will
//! be none, and when the store closes. Must not know: what the memory holds.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::store::error::{StoreError, StoreResult};

/// The account.
#[derive(Debug)]
pub(super) struct Memory {
    bytes_max: usize,
    checkpoint_bytes: usize,
    interval: Option<Duration>,
    state: Mutex<State>,
    /// There is room, or there will be none.
    room: Condvar,
    /// A checkpoint may be due.
    work: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Reserved and not given back.
    used: usize,
    /// The part of it that the active table holds.
    active: usize,
    /// Since when the active table holds anything.
    since: Option<Instant>,
    waiting: usize,
    failed: Option<StoreError>,
    closing: bool,
}

impl Memory {
    pub(super) fn new(bytes_max: usize, checkpoint_bytes: usize, interval: Option<Duration>) -> Self {
        let state = Mutex::default();
        Self { bytes_max, checkpoint_bytes, interval, state, room: Condvar::new(), work: Condvar::new() }
    }

    /// The bound.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Reserves room for a batch if there is some now.
    pub(super) fn try_reserve(&self, bytes: usize) -> StoreResult<bool> {
        let mut state = self.lock();
        self.take(&mut state, bytes)
    }

    /// Reserves room for a batch; waits for it.
    pub(super) fn reserve(&self, bytes: usize) -> StoreResult<()> {
        let mut state = self.lock();
        while !self.take(&mut state, bytes)? {
            state.waiting += 1;
            self.work.notify_one();
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        Ok(())
    }

    fn take(&self, state: &mut State, bytes: usize) -> StoreResult<bool> {
        assert!(bytes <= self.bytes_max, "a batch that can never have room");
        if state.closing {
            return Err(Error::Closed.into());
        }
        if state.used.checked_add(bytes).is_some_and(|used| used <= self.bytes_max) {
            state.used += bytes;
            return Ok(true);
        }
        state.failed.clone().map_or(Ok(false), Err)
    }

    /// Gives back what was reserved and is not needed.
    pub(super) fn give_back(&self, bytes: usize) {
        let mut state = self.lock();
        assert!(bytes <= state.used, "more is given back than was reserved");
        state.used -= bytes;
        if state.waiting > 0 {
            self.room.notify_all();
        }
    }

    /// The active table now holds so much more of what was reserved.
    pub(super) fn applied(&self, bytes: usize) {
        let mut state = self.lock();
        state.active += bytes;
        assert!(state.active <= state.used, "the table holds what nobody reserved");
        let is_first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        if is_first || state.waiting > 0 || state.active >= self.checkpoint_bytes {
            self.work.notify_one();
        }
    }

    /// The active table holds so much before anybody has reserved anything.
    pub(super) fn replayed(&self, bytes: usize) {
        let mut state = self.lock();
        state.used += bytes;
        state.active += bytes;
        state.since = (bytes > 0).then(Instant::now);
    }

    /// The active table begins anew; gives what it held.
    pub(super) fn freeze(&self) -> usize {
        let mut state = self.lock();
        state.since = None;
        std::mem::take(&mut state.active)
    }

    /// Nothing will be given back any more.
    pub(super) fn fail(&self, error: StoreError) {
        self.lock().failed.get_or_insert(error);
        self.room.notify_all();
    }

    /// Why no checkpoint can be made any more, if so.
    pub(super) fn failure(&self) -> Option<StoreError> {
        self.lock().failed.clone()
    }

    /// Nobody is to wait any more.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.room.notify_all();
        self.work.notify_all();
    }

    /// Whether a checkpoint is due by bytes.
    pub(super) fn is_due(&self) -> bool {
        let state = self.lock();
        state.active >= self.checkpoint_bytes && state.failed.is_none()
    }

    /// What is reserved now.
    pub(super) fn used(&self) -> usize {
        self.lock().used
    }

    /// Waits until a checkpoint is due; `false` when the store closes.
    pub(super) fn wait_for_work(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.closing {
                return false;
            }
            let due_in = self.due_in(&state);
            state = match due_in {
                Some(Duration::ZERO) => return true,
                Some(left) => self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// `None`: only news can make a checkpoint due.
    fn due_in(&self, state: &State) -> Option<Duration> {
        if state.active == 0 || state.failed.is_some() {
            return None;
        }
        if state.active >= self.checkpoint_bytes || state.waiting > 0 {
            return Some(Duration::ZERO);
        }
        let since = state.since?;
        Some(self.interval?.saturating_sub(since.elapsed()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
