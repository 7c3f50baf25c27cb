//! Runs user code that is not a hook: the Drop of errors, connections, managers, observers, clocks, keys and
//! closures, and the code of a `tracing` subscriber.
//!
//! A panic in such code costs only its message: no slot, no waiter and no thread.

use std::any::Any;
use std::error::Error;
use std::fmt::{self, Write};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work` and catches its panics; returns false after a panic. `work` usually catches panics itself.
/// This call keeps the thread alive if one escapes, for example from a `tracing` subscriber.
pub(crate) fn guarded(work: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => true,
        Err(payload) => {
            // Dropping the payload might panic again.
            std::mem::forget(payload);
            false
        }
    }
}

/// Returns the text of a panic. The drop of the payload is user code and may panic too.
pub(crate) fn message_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Leak the second payload, because its drop may panic again.
        std::mem::forget(second);
    }
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}

/// The maximum number of causes in a text. A chain of causes may be cyclic.
const MAX_CAUSES: usize = 16;

/// Formats the error and its causes in one line. A subscriber that keeps only the error's own text would show
/// "db error" and not the message of the server. If the user's Display panics, the text written before stays.
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

/// A value of a user's type. Its Drop runs with panics caught.
pub(crate) struct Caught<T>(Option<T>);

impl<T> Caught<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Returns the value. Its Drop then runs in the code of the caller.
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
