use super::world::{self, Flaw};
use shuttle::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// The swap cell, whose swap is one step between two turns of the scheduler.
#[derive(Debug)]
pub(crate) struct SwapCell<T> {
    /// An access of this atomic is a point at which the scheduler may switch threads, and orders the thread
    /// after the earlier accesses.
    turn: AtomicU32,
    /// Never contended: threads of a schedule take turns, and no turn ends while this is locked.
    value: Mutex<Option<Box<T>>>,
}

impl<T> SwapCell<T> {
    pub(crate) const fn new() -> Self {
        Self {
            turn: AtomicU32::new(0),
            value: Mutex::new(None),
        }
    }

    pub(crate) fn swap(&self, value: Option<Box<T>>) -> Option<Box<T>> {
        self.turn.fetch_add(1, Ordering::AcqRel);
        if world::strikes(Flaw::TornSwap) {
            let old = self.step(None);
            self.turn.fetch_add(1, Ordering::AcqRel);
            // This step overwrites, and so loses, a connection that was stored in between.
            self.step(value);
            return old;
        }
        self.step(value)
    }

    fn step(&self, value: Option<Box<T>>) -> Option<Box<T>> {
        let mut place = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut place, value)
    }
}
