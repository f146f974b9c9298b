//! `GroupCommitBuffer`: the queue through which the appends of many threads become few commits.
//!
//! Guarantees: a bounded number of appends wait; an append that was taken is answered; order is that of the queue. Must
//! not know: segments, devices.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};

use super::ticket::{Promise, Rounds, Slot};
use crate::error::{Error, Result};
use crate::format::record::UnplacedHeader;

/// The queue in front of a journal's commit thread. Made by `Journal::open`; seen through `Journal::queue`.
#[derive(Debug)]
pub struct GroupCommitBuffer {
    sender: Sender<Request>,
    pub(super) rounds: Arc<Rounds>,
}

/// A record on its way: hashed by the caller's thread, placed by the commit thread.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) header: UnplacedHeader,
    pub(super) payload: Vec<u8>,
}

/// What the commit thread is asked for.
#[derive(Debug)]
pub(super) enum Request {
    Append {
        record: Queued,
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
    pub(super) fn new(depth: usize) -> (Self, Intake) {
        let (sender, receiver) = bounded(depth);
        let rounds = Arc::new(Rounds::new());
        (Self { sender, rounds: rounds.clone() }, Intake { receiver, rounds })
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

    pub(super) fn promise(&self) -> (Promise, Arc<Slot>) {
        Promise::new(&self.rounds)
    }

    /// Hands over a request; waits while the queue is full.
    pub(super) fn send(&self, request: Request) -> Result<()> {
        if let Some(refusal) = self.rounds.refusal() {
            return Err(refusal);
        }
        self.sender.send(request).map_err(|_| self.refusal())
    }

    /// Hands over a request if there is room.
    pub(super) fn try_send(&self, request: Request) -> std::result::Result<(), NotTaken> {
        if let Some(refusal) = self.rounds.refusal() {
            return Err(NotTaken::Refused(Box::new(request), refusal));
        }
        self.sender.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) => NotTaken::Full(Box::new(request)),
            TrySendError::Disconnected(request) => NotTaken::Refused(Box::new(request), self.refusal()),
        })
    }

    fn refusal(&self) -> Error {
        self.rounds.refusal().unwrap_or(Error::Closed)
    }
}

/// The commit thread's end of the queue.
#[derive(Debug)]
pub(super) struct Intake {
    receiver: Receiver<Request>,
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
        let received = match patience {
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(patience) => self.receiver.recv_timeout(patience),
        };
        match received {
            Ok(request) => Next::Request(request),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::Gone,
        }
    }

    /// The next request if there is one now.
    pub(super) fn next_now(&self) -> Next {
        match self.receiver.try_recv() {
            Ok(request) => Next::Request(request),
            Err(TryRecvError::Empty) => Next::Nothing,
            Err(TryRecvError::Disconnected) => Next::Gone,
        }
    }
}
