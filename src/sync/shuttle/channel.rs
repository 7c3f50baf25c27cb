//! An unbounded channel with the interface of crossbeam-channel, in the time of the world.

use super::Condvar;
use crate::sync::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
struct Inner<T> {
    messages: Mutex<VecDeque<T>>,
    sent: Condvar,
}

#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Inner<T>>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Inner<T>>);

/// The error of a send to a channel without a receiver. The pool keeps both ends of each channel, so this
/// error never occurs.
#[derive(Debug)]
pub(crate) struct SendError;

#[derive(Debug)]
pub(crate) struct TryRecvError;

pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let inner = Arc::new(Inner {
        messages: Mutex::new(VecDeque::new()),
        sent: Condvar::new(),
    });
    (Sender(Arc::clone(&inner)), Receiver(inner))
}

impl<T> Sender<T> {
    pub(crate) fn send(&self, message: T) -> Result<(), SendError> {
        self.0.messages.lock().push_back(message);
        self.0.sent.notify_one();
        Ok(())
    }
}

impl<T> Receiver<T> {
    pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.messages.lock().pop_front().ok_or(TryRecvError)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.messages.lock().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

pub(crate) fn recv_by<T>(receiver: &Receiver<T>, deadline: Option<Instant>) -> Option<T> {
    let inner = &*receiver.0;
    let mut messages = inner.messages.lock();
    loop {
        if let Some(message) = messages.pop_front() {
            return Some(message);
        }
        match deadline {
            None => inner.sent.wait(&mut messages),
            Some(deadline) => {
                if inner.sent.wait_until(&mut messages, deadline).timed_out() {
                    return messages.pop_front();
                }
            }
        }
    }
}
