//! The one place that runs code of the user's which no hook stands for: the Drop of errors, connections,
//! managers, observers, clocks, keys and closures, and whatever a `tracing` subscriber does.
//!
//! A panic in it costs nothing but its own message: no slot, no waiter, no thread.

use std::error::Error;
use std::fmt::{self, Write};
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

/// More causes than this are not written: a chain may lead back to itself.
const MAX_CAUSES: usize = 16;

/// The error and its causes in one line: a subscriber that keeps the first text alone would show "db error"
/// and not what the server said. What was written before a panic of the user's Display stays.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let whole = guarded(|| {
        let _ = write!(text, "{error}");
        let causes = std::iter::successors(error.source(), |&cause| cause.source());
        for cause in causes.take(MAX_CAUSES) {
            let _ = write!(text, ": {cause}");
        }
    });
    if !whole {
        text.push_str("(its Display panicked)");
    }
    text
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
