//! Calls user code: hooks and the observer, outside of every lock and with panics caught.

use super::log::{Line, line_of, trace};
use super::{LastFailure, Shared};
use crate::engine::Now;
use crate::foreign::{message_of, with_causes};
use crate::sync::outer::Mutex;
use crate::{ConnectionManager, PoolEvent, PoolObserver};
use std::any::Any;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tracing::level_filters::LevelFilter;

/// Calls `check_may_block` or `reset_may_block`, once at build. The pool assumes that the hook may block if this call
/// panics.
pub(super) fn may_block<M: ConnectionManager>(
    manager: &M,
    ask: impl FnOnce(&M) -> bool,
) -> Result<bool, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| ask(manager)))
}

impl<M: ConnectionManager> Shared<M> {
    /// Calls a hook. Err carries the message of a panic, which is counted and reported.
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

    /// Counts and reports the panic of a hook, and returns its message.
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

    /// Reports the event of a checkout or a check-in to the observer, and to `tracing` if it listens.
    pub(super) fn observe(&self, event: &PoolEvent) {
        let Some(observer) = &self.observer else {
            return;
        };
        let reported = match is_traced() {
            true => notify(Some(&**observer), event, Line::Write { more: None }),
            false => {
                let report = AssertUnwindSafe(|| observer.on_event(event));
                match catch_unwind(report) {
                    Ok(()) => true,
                    Err(payload) => {
                        report_panic(Some(&**observer), event, message_of(payload));
                        false
                    }
                }
            }
        };
        if !reported {
            self.meter.panics.fetch_add(1, Relaxed);
        }
    }

    /// Reports an event to the observer and to `tracing`, if there is a listener.
    pub(super) fn emit(&self, event: impl FnOnce(Arc<str>) -> PoolEvent) {
        if self.observer.is_some() || LevelFilter::current() != LevelFilter::OFF {
            let event = event(Arc::clone(&self.name));
            let line = line_of(&self.log_limit, &event);
            if let Line::Count { due } = line {
                self.wake_by(due);
            }
            if !notify(self.observer.as_deref(), &event, line) {
                self.meter.panics.fetch_add(1, Relaxed);
            }
        }
    }

    /// Keeps the text of an error and of its causes for `stats`. The Display of the error is user code.
    pub(super) fn record_error(&self, now: Now, error: &(dyn Error + 'static)) {
        let text = with_causes(error);
        *self.last_error.lock() = Some((now.real, text));
    }

    /// Sets the last failure of a create or a check.
    pub(super) fn set_last_failure(&self, failure: Option<LastFailure<M>>) {
        replace_outside_lock(&self.last_failure, failure);
    }

    /// Sets the last failure of a create, which is also the last failure.
    ///
    /// Callers get this failure in an outage, even if a check has failed since.
    pub(super) fn set_last_create_failure(&self, failure: Option<LastFailure<M>>) {
        let cause = failure.as_ref().map(|(_, cause)| cause.clone());
        replace_outside_lock(&self.last_create_failure, cause);
        self.set_last_failure(failure);
    }

    /// Calls `is_transient`. A panic counts as false.
    pub(super) fn ask_transient(&self, error: &M::Error) -> bool {
        self.call("is_transient", |manager| manager.is_transient(error))
            .unwrap_or(false)
    }
}

/// Delivers an event to `tracing` and to the observer. False if one of them panicked.
///
/// The panic is reported once. If the report panics too, that second panic is not reported.
#[cold]
pub(super) fn notify(observer: Option<&dyn PoolObserver>, event: &PoolEvent, line: Line) -> bool {
    match deliver(observer, event, line) {
        Ok(()) => true,
        Err(payload) => {
            report_panic(observer, event, message_of(payload));
            false
        }
    }
}

fn deliver(
    observer: Option<&dyn PoolObserver>,
    event: &PoolEvent,
    line: Line,
) -> Result<(), Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(|| {
        trace(event, line);
        if let Some(observer) = observer {
            observer.on_event(event);
        }
    }))
}

/// Reports that the report of an event panicked.
#[cold]
fn report_panic(observer: Option<&dyn PoolObserver>, event: &PoolEvent, message: String) {
    let panicked = PoolEvent::Panicked {
        pool: Arc::from(event.pool()),
        hook: "on_event",
        message,
    };
    if let Err(second) = deliver(observer, &panicked, Line::Write { more: None }) {
        drop(message_of(second));
    }
}

/// Replaces a value and drops the previous one after unlock.
///
/// The previous value may hold an error of the user, whose drop is user code. Its `Caught` wrapper catches
/// panics.
fn replace_outside_lock<T>(place: &Mutex<T>, value: T) {
    let before = std::mem::replace(&mut *place.lock(), value);
    drop(before);
}

/// Returns whether `tracing` may have a subscriber for the events of every checkout.
#[inline]
pub(super) fn is_traced() -> bool {
    LevelFilter::current() >= LevelFilter::TRACE
}
