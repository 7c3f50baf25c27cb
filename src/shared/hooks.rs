//! Calling user code: hooks and the observer, outside of every lock, with panics caught.

use super::log::{Line, line_of, trace};
use super::{LastFailure, Shared};
use crate::engine::Now;
use crate::foreign::with_causes;
use crate::sync::outer::Mutex;
use crate::{ConnectionManager, PoolEvent, PoolObserver};
use std::any::Any;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tracing::level_filters::LevelFilter;

/// Asks the manager once, at build. One that panics here is taken to block.
pub(super) fn check_may_block<M: ConnectionManager>(
    manager: &M,
) -> Result<bool, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| manager.check_may_block()))
}

impl<M: ConnectionManager> Shared<M> {
    /// Calls a hook. A panic comes back as its message, counted and reported.
    #[inline]
    pub(super) fn call<R>(
        &self,
        hook: &'static str,
        call: impl FnOnce(&M) -> R,
    ) -> Result<R, String> {
        match catch_unwind(AssertUnwindSafe(|| call(&self.manager))) {
            Ok(answer) => Ok(answer),
            Err(payload) => Err(self.caught(hook, payload)),
        }
    }

    #[cold]
    pub(super) fn caught(&self, hook: &'static str, payload: Box<dyn Any + Send>) -> String {
        let message = message_of(payload);
        self.meter.panics.fetch_add(1, Relaxed);
        self.emit(|pool| PoolEvent::Panicked {
            pool,
            hook,
            message: message.clone(),
        });
        message
    }

    /// Reports an event to the observer and to `tracing`, if anybody listens.
    pub(super) fn emit(&self, event: impl FnOnce(Arc<str>) -> PoolEvent) {
        self.emit_as(&self.name, event);
    }

    /// The same under a name of which the caller has a copy of its own: its count is not shared.
    pub(super) fn emit_as(&self, name: &Arc<str>, event: impl FnOnce(Arc<str>) -> PoolEvent) {
        if self.observer.is_some() || LevelFilter::current() != LevelFilter::OFF {
            let event = event(Arc::clone(name));
            let line = line_of(&self.log_limit, &event);
            if let Line::Count { due } = line {
                self.wake_by(due);
            }
            if !notify(self.observer.as_deref(), &event, line) {
                self.meter.panics.fetch_add(1, Relaxed);
            }
        }
    }

    /// True if a checkout or a check-in would be told to somebody or noted somewhere.
    pub(super) fn is_instrumented(&self) -> bool {
        self.observer.is_some() || self.leaks.is_some() || self.executor.is_inline() || is_traced()
    }

    /// Keeps the text of an error and of its causes for `stats`. Its Display is user code as well.
    pub(super) fn record_error(&self, now: Now, error: &(dyn Error + 'static)) {
        let text = with_causes(error);
        *self.last_error.lock() = Some((now.real, text));
    }

    pub(super) fn set_last_failure(&self, failure: Option<LastFailure<M>>) {
        replace_outside_lock(&self.last_failure, failure);
    }

    /// The same, of a create. That is told in an outage, whatever a check has said since.
    pub(super) fn set_last_create_failure(&self, failure: Option<LastFailure<M>>) {
        let cause = failure.as_ref().map(|(_, cause)| cause.clone());
        replace_outside_lock(&self.last_create_failure, cause);
        self.set_last_failure(failure);
    }

    /// Asks whether an error is worth repeating; a panic says no.
    pub(super) fn ask_transient(&self, error: &M::Error) -> bool {
        self.call("is_transient", |manager| manager.is_transient(error))
            .unwrap_or(false)
    }
}

/// Tells whoever listens; false if one of them panicked. That is told once: an observer that panics at
/// its own panic hears of no more.
#[cold]
pub(super) fn notify(observer: Option<&dyn PoolObserver>, event: &PoolEvent, line: Line) -> bool {
    let tell = |event: &PoolEvent, line: Line| {
        catch_unwind(AssertUnwindSafe(|| {
            trace(event, line);
            if let Some(observer) = observer {
                observer.on_event(event);
            }
        }))
        .map_err(message_of)
    };
    let Err(message) = tell(event, line) else {
        return true;
    };
    let panicked = PoolEvent::Panicked {
        pool: Arc::from(event.pool()),
        hook: "on_event",
        message,
    };
    let _ = tell(&panicked, Line::Write { more: None });
    false
}

/// What was there holds the user's error: it is dropped here and not under the lock, with panics caught.
fn replace_outside_lock<T>(place: &Mutex<T>, value: T) {
    let before = std::mem::replace(&mut *place.lock(), value);
    drop(before);
}

/// Whether anybody may listen to the events of every checkout.
#[inline]
pub(super) fn is_traced() -> bool {
    LevelFilter::current() >= LevelFilter::TRACE
}

/// The text of a panic. The payload may panic itself when it is dropped.
pub(super) fn message_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // It has had its chance.
        std::mem::forget(second);
    }
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}
