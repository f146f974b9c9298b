//! `GroupCommitBuffer`: the queue through which the appends of many threads become few commits.
//!
//! Guarantees: a bounded number of appends wait; an append that was taken is answered; order is that of the queue. Must
//! not know: segments, devices.

use std::sync::Arc;
use std::time::Duration;

use super::doorbell::Doorbell;
use super::rounds::{Promise, Rounds};
use super::sync::Instant;
use super::sync::channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use crate::error::{Error, Result};
use crate::format::record::UnplacedHeader;

/// The queue in front of a journal's commit thread. Made by `Journal::open`; seen through `Journal::queue`.
#[derive(Debug)]
pub struct GroupCommitBuffer {
    sender: Sender<Request>,
    bell: Arc<Doorbell>,
    pub(super) rounds: Arc<Rounds>,
}

/// A record on its way: hashed by the caller's thread, placed by the commit thread.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) header: UnplacedHeader,
    pub(super) payload: Vec<u8>,
    /// Whether the memory of the payload is used again.
    pub(super) keeps_memory: bool,
}

/// What the commit thread is asked for.
#[derive(Debug)]
pub(super) enum Request {
    /// The record is in the promise's slot.
    Append {
        promise: Promise,
    },
    Batch {
        records: Vec<Queued>,
        promise: Promise,
    },
    /// Answered when everything before it is durable.
    Sync {
        promise: Promise,
    },
    /// Answered by the end of the commit thread.
    Close {
        promise: Promise,
    },
    /// For tests: panics the commit thread.
    #[cfg(feature = "sim")]
    Panic,
}

/// Why a request was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    Full(Box<Request>),
    Refused(Box<Request>, Error),
}

impl GroupCommitBuffer {
    pub(super) fn new(depth: usize, spin: Duration) -> (Self, Intake) {
        let (sender, receiver) = bounded(depth);
        let (rounds, bell) = (Arc::new(Rounds::new(spin)), Arc::new(Doorbell::new()));
        let intake = Intake { receiver, bell: bell.clone(), rounds: rounds.clone() };
        (Self { sender, bell, rounds }, intake)
    }

    /// Appends that wait for the commit thread now.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.sender.len()
    }

    /// How many can wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.sender.capacity().unwrap_or(usize::MAX)
    }

    /// Hands over a request; waits while the queue is full.
    pub(super) fn send(&self, request: Request) -> Result<()> {
        if let Some(refusal) = self.rounds.refusal() {
            return Err(refusal);
        }
        self.sender.send(request).map_err(|_| self.refusal())?;
        self.bell.arrive();
        Ok(())
    }

    /// Hands over a request if there is room.
    pub(super) fn try_send(&self, request: Request) -> std::result::Result<(), NotTaken> {
        if let Some(refusal) = self.rounds.refusal() {
            return Err(NotTaken::Refused(Box::new(request), refusal));
        }
        self.sender.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) => NotTaken::Full(Box::new(request)),
            TrySendError::Disconnected(request) => NotTaken::Refused(Box::new(request), self.refusal()),
        })?;
        self.bell.arrive();
        Ok(())
    }

    fn refusal(&self) -> Error {
        self.rounds.refusal().unwrap_or(Error::Closed)
    }
}

impl Drop for GroupCommitBuffer {
    fn drop(&mut self) {
        self.bell.leave();
    }
}

/// The commit thread's end of the queue.
#[derive(Debug)]
pub(super) struct Intake {
    receiver: Receiver<Request>,
    bell: Arc<Doorbell>,
    pub(super) rounds: Arc<Rounds>,
}

/// What waiting for a request came to.
#[derive(Debug)]
pub(super) enum Next {
    Request(Request),
    Nothing,
    /// Nobody can ask for anything any more.
    Gone,
}

impl Intake {
    /// The next request; waits for it at most `patience`, or for as long as it takes.
    pub(super) fn next(&self, patience: Option<Duration>) -> Next {
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        loop {
            // Before the look: a request can be in the queue, and taken, before it is counted, and then its count must
            // not stand for another one's.
            let (arrived, is_left) = (self.bell.arrived(), self.bell.is_left());
            match self.next_now() {
                // What was sent before the queue was left has been found.
                Next::Nothing if is_left => return Next::Gone,
                Next::Nothing => {}
                next => return next,
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Next::Nothing;
            }
            self.bell.sleep_until(arrived + 1, left);
        }
    }

    /// The next request if there is one now.
    pub(super) fn next_now(&self) -> Next {
        match self.receiver.try_recv() {
            Ok(request) => Next::Request(request),
            Err(TryRecvError::Disconnected) => Next::Gone,
            Err(TryRecvError::Empty) => Next::Nothing,
        }
    }

    /// Requests that came so far, those that were taken included.
    pub(super) fn arrived(&self) -> u64 {
        self.bell.arrived()
    }

    /// Requests in the queue.
    pub(super) fn waiting(&self) -> usize {
        self.receiver.len()
    }

    /// Sleeps until so many requests came in all, at most for `patience`.
    pub(super) fn sleep_until(&self, arrived: u64, patience: Duration) {
        self.bell.sleep_until(arrived, Some(patience));
    }

    /// Looks out for a request without sleeping, for a few microseconds.
    pub(super) fn look_out(&self) {
        self.rounds.look_out.for_request(|| !self.receiver.is_empty());
    }

    /// How many requests the queue holds.
    pub(super) fn depth(&self) -> usize {
        self.receiver.capacity().unwrap_or(usize::MAX)
    }
}
