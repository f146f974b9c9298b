//! A bounded channel with what crossbeam's documentation promises. What still lies in it when the receiver goes may be
//! dropped with it or with the last sender.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use crossbeam_channel::SendError;
pub(crate) use crossbeam_channel::{TryRecvError, TrySendError};
use shuttle::sync::{Condvar, Mutex, MutexGuard};

use super::happens;

pub(crate) fn bounded<T>(depth: usize) -> (Sender<T>, Receiver<T>) {
    assert!(depth > 0, "a channel without room is another thing");
    let state = State { queue: VecDeque::new(), has_sender: true, has_receiver: true };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), depth });
    (Sender(shared.clone()), Receiver(shared))
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    depth: usize,
}

#[derive(Debug)]
struct State<T> {
    queue: VecDeque<T>,
    has_sender: bool,
    has_receiver: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    pub(crate) fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut state = self.0.lock();
        while state.has_receiver && state.queue.len() >= self.0.depth {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.has_receiver {
            return Err(SendError(message));
        }
        state.queue.push_back(message);
        self.0.changed.notify_all();
        Ok(())
    }

    pub(crate) fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.lock();
        if !state.has_receiver {
            return Err(TrySendError::Disconnected(message));
        }
        if state.queue.len() >= self.0.depth {
            return Err(TrySendError::Full(message));
        }
        state.queue.push_back(message);
        self.0.changed.notify_all();
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().queue.len()
    }

    pub(crate) fn capacity(&self) -> Option<usize> {
        Some(self.0.depth)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().has_sender = false;
        self.0.changed.notify_all();
    }
}

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().queue.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn capacity(&self) -> Option<usize> {
        Some(self.0.depth)
    }

    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        let mut state = self.0.lock();
        match state.queue.pop_front() {
            Some(message) => {
                self.0.changed.notify_all();
                Ok(message)
            }
            None if state.has_sender => Err(TryRecvError::Empty),
            None => Err(TryRecvError::Disconnected),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.has_receiver = false;
        let left = if happens(2) { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        self.0.changed.notify_all();
        drop(state);
        // What is dropped may have steps of its own.
        drop(left);
    }
}
