//! A channel that is never disconnected.

use crate::sync::outer::channel::{Receiver, Sender, unbounded};

pub(super) struct Channel<T> {
    sender: Sender<T>,
    pub(super) receiver: Receiver<T>,
}

impl<T> Default for Channel<T> {
    fn default() -> Self {
        let (sender, receiver) = unbounded();
        Self { sender, receiver }
    }
}

impl<T> Channel<T> {
    pub(super) fn send(&self, message: T) {
        // A channel that holds its own receiver is never disconnected.
        let _ = self.sender.send(message);
    }
}
