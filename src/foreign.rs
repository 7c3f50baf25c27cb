//! The one place that runs code of the user's which no hook stands for: the Drop of errors, connections,
//! managers, observers, clocks, keys and closures, and whatever a `tracing` subscriber does.
//!
//! A panic in it costs nothing but its own message: no slot, no waiter, no thread.

use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs something whose panics are caught where they belong, inside. Should one come out all the same (a
/// `tracing` subscriber that panics, say), the thread has to live on. False if one did.
pub(crate) fn guarded(work: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => true,
        Err(payload) => {
            // Dropping it might panic again.
            std::mem::forget(payload);
            false
        }
    }
}

/// A value of the user's whose Drop may panic: it is dropped with panics caught.
pub(crate) struct Caught<T>(Option<T>);

impl<T> Caught<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// The value, for somebody who drops it on an account of his own: a caller.
    pub(crate) fn into_inner(mut self) -> T {
        let value = self.0.take();
        value.expect("bug: only into_inner and drop take it")
    }
}

impl<T> Deref for Caught<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let value = self.0.as_ref();
        value.expect("bug: only into_inner and drop take it")
    }
}

impl<T: Clone> Clone for Caught<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Drop for Caught<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            guarded(|| drop(value));
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Caught<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
