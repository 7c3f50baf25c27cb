//! What became of the tasks of a scenario.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

/// The numbers of tasks that were served, and of those whose future was dropped before.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    served: AtomicUsize,
    cancelled: AtomicUsize,
    watcher: Mutex<Option<Waker>>,
}

/// A task of the tally. A drop counts it as cancelled.
pub(crate) struct Entry {
    tally: Arc<Tally>,
    is_served: bool,
}

impl Tally {
    /// Adds a task, which holds the entry from its spawn on.
    pub(crate) fn enter(self: &Arc<Self>) -> Entry {
        Entry {
            tally: Arc::clone(self),
            is_served: false,
        }
    }

    pub(crate) fn served(&self) -> usize {
        self.served.load(SeqCst)
    }

    pub(crate) fn cancelled(&self) -> usize {
        self.cancelled.load(SeqCst)
    }

    /// Waits until `n` tasks have been served or cancelled.
    pub(crate) fn ended(&self, n: usize) -> impl Future<Output = ()> + '_ {
        poll_fn(move |context| {
            // Before the look, so that a task that ends after the look finds it.
            *self.watcher.lock().unwrap() = Some(context.waker().clone());
            match self.served() + self.cancelled() == n {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
    }
}

impl Entry {
    pub(crate) fn served(mut self) {
        self.is_served = true;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let tally = &self.tally;
        match self.is_served {
            true => tally.served.fetch_add(1, SeqCst),
            false => tally.cancelled.fetch_add(1, SeqCst),
        };
        let watcher = tally.watcher.lock().unwrap().clone();
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }
}
