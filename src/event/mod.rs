//! The events that a pool reports to an observer and to `tracing`.

mod evict;
mod trace;

pub use evict::EvictReason;

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

/// Something that happened in a pool. Every event has the pool's name in `pool`.
///
/// Each event goes to the [`PoolObserver`], if there is one, and to `tracing`, with the target `conpool`. The
/// table lists level and message; the fields of the event keep their names. `since` is left out in `tracing`,
/// because an `Instant` has no meaning outside of the process. `error` is one text: the error and its causes,
/// joined by `: `.
///
/// | event | level | message | fields besides `pool` |
/// |---|---|---|---|
/// | `Created` | debug | connection created | `id`, `took` |
/// | `CreateFailed` | warn, limited | create failed | `error`, `transient`, `took`, (`more`) |
/// | `CheckedOut` | trace | connection checked out | `id`, `waited` |
/// | `CheckedIn` | trace | connection checked in | `id`, `held` |
/// | `Evicted` | debug | connection evicted | `id`, `reason`, `age`, `uses` |
/// | `TimedOut` | warn, limited | no connection in time | `waited`, `waiters`, (`more`) |
/// | `LeakSuspected` | warn | connection held for long | `id`, `file`, `line`, `thread`, `held`, (`since`) |
/// | `LeakResolved` | debug | connection held for long came back | `id`, `file`, `line`, `thread`, `held`, (`since`) |
/// | `Panicked` | error | hook panicked | `hook`, `message` (as `panic`) |
/// | `Cleared` | debug | pool cleared | `generation` |
/// | `Interrupted` | debug | connection interrupted | `id` |
/// | `WaitersCleared` | debug | waits ended | `waiters` |
/// | `Resized` | debug | pool resized | `max_size`, `min_idle` |
/// | `Suspended` | debug | pool suspended | |
/// | `Resumed` | debug | pool resumed | |
/// | `Closed` | debug | pool closed | |
///
/// These events go to `tracing` alone, because they concern the pool's own state or its threads:
///
/// | level | message | fields besides `pool` |
/// |---|---|---|
/// | warn, limited | check failed | `id`, `error`, (`more`) |
/// | warn, limited | connection came back broken (`has_broken` said so) | `id`, (`more`) |
/// | warn, limited | hook failed (`on_checkout` or `on_checkin`) | `hook`, `error`, (`more`) |
/// | warn | hook takes too long | `hook`, `after` |
/// | warn if it has become worse, else info | health changed | `from`, `to` |
/// | warn, about once a second | build waits, creates fail | `error`, `failures` |
/// | warn | the system refused a new thread | `error` |
///
/// # Limited lines
///
/// An outage fails every caller and every create, and an operator needs the cause once. At most one line per
/// second is written of each limited kind. The first line is written at once, in full. Further events in the
/// second after it are counted. In a pool with a collector, one line at the end of that second reports the
/// count. Without a collector, the next failure of that kind reports it, in its field `more`. The count is
/// written at the latest when the pool closes. All keys of a keyed pool share the limits. The observer
/// receives every event.
///
/// | level | message | fields besides `pool` |
/// |---|---|---|
/// | warn | creates failed | `count`, `error` (of the last) |
/// | warn | checks failed | `count`, `error` (of the last) |
/// | warn | connections came back broken | `count` |
/// | warn | hooks failed | `count` |
/// | warn | callers got no connection in time | `count`, `waiters` (now) |
///
/// # Order
///
/// A cause is reported before its effect, even across threads:
///
/// | first | then |
/// |---|---|
/// | `Created` | `CheckedOut` and `Evicted` of that connection |
/// | `CheckedOut` | `CheckedIn` of that checkout |
/// | `CheckedIn` | `Evicted` of a connection that does not go back, the next `CheckedOut` of one that does |
/// | `LeakSuspected` | `CheckedIn` of that checkout, and after it `LeakResolved` |
/// | `Panicked` | `CreateFailed` or `Evicted` of what the panic costs |
/// | `CreateFailed` | the errors that callers get for that failure, and `TimedOut` |
/// | `Evicted` | `Created` of the connection that takes its slot |
/// | `Created` | `Evicted { MaxLifetime }` of the connection that the new one replaces for `min_idle` |
/// | `Cleared` | `Evicted { Cleared }` |
/// | `Resized` | `Evicted { Shrunk }`, and `Created` in a new slot |
/// | `Resumed` | `Created` and `CheckedOut` for the callers that waited |
/// | `Closed` | `Evicted { Closed }`, and the errors of the callers that waited |
///
/// Ids are those of [`ConnectionInfo::id`](crate::ConnectionInfo::id). `age` and `held` follow the pool's
/// clock; the durations of waits and creates are real time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolEvent {
    /// `create` returned a connection.
    Created {
        /// The pool's name.
        pool: Arc<str>,
        /// The new connection.
        id: u64,
        /// How long `create` ran.
        took: Duration,
    },
    /// `create` failed.
    CreateFailed {
        /// The pool's name.
        pool: Arc<str>,
        /// The error.
        error: Arc<dyn Error + Send + Sync>,
        /// Whether the create is repeated for the callers that wait.
        transient: bool,
        /// How long `create` ran.
        took: Duration,
    },
    /// A caller got a connection.
    CheckedOut {
        /// The pool's name.
        pool: Arc<str>,
        /// The connection.
        id: u64,
        /// How long the caller waited; zero if a connection was free.
        waited: Duration,
    },
    /// A connection was given back. It may stay in the pool or be evicted.
    CheckedIn {
        /// The pool's name.
        pool: Arc<str>,
        /// The connection.
        id: u64,
        /// How long the connection was in use.
        held: Duration,
    },
    /// A connection leaves the pool. Its dispose has not started yet.
    Evicted {
        /// The pool's name.
        pool: Arc<str>,
        /// The connection.
        id: u64,
        /// The reason.
        reason: EvictReason,
        /// The age of the connection.
        age: Duration,
        /// The number of its checkouts.
        uses: u64,
    },
    /// A caller reached its deadline without a connection.
    TimedOut {
        /// The pool's name.
        pool: Arc<str>,
        /// How long the caller waited.
        waited: Duration,
        /// The number of callers that waited at that moment.
        waiters: usize,
    },
    /// A connection is in use for longer than `leak_threshold`. Reported once per checkout.
    LeakSuspected {
        /// The pool's name.
        pool: Arc<str>,
        /// The connection.
        id: u64,
        /// The file that called `get`.
        file: &'static str,
        /// The line in that file.
        line: u32,
        /// The thread that called `get`.
        thread: String,
        /// The moment of the checkout.
        since: Instant,
        /// How long the connection has been in use.
        held: Duration,
    },
    /// A connection reported as [`LeakSuspected`](Self::LeakSuspected) came back.
    LeakResolved {
        /// The pool's name.
        pool: Arc<str>,
        /// The connection.
        id: u64,
        /// The file that called `get`.
        file: &'static str,
        /// The line in that file.
        line: u32,
        /// The thread that called `get`.
        thread: String,
        /// The moment of the checkout.
        since: Instant,
        /// How long the connection was in use.
        held: Duration,
    },
    /// A hook, the factory of a keyed pool or the observer panicked. The pool continues. An observer that
    /// panics on this event is not called for that panic.
    Panicked {
        /// The pool's name.
        pool: Arc<str>,
        /// The name of a method of [`ConnectionManager`](crate::ConnectionManager), `on_event` or `factory`.
        hook: &'static str,
        /// The message of the panic.
        message: String,
    },
    /// The pool was cleared: connections of older generations are not reused.
    Cleared {
        /// The pool's name.
        pool: Arc<str>,
        /// The generation that starts.
        generation: u64,
    },
    /// A connection in use is interrupted. It is evicted at its check-in.
    Interrupted {
        /// The pool's name.
        pool: Arc<str>,
        /// The id of the connection.
        id: u64,
    },
    /// `clear_waiters` has ended the waits of all callers.
    WaitersCleared {
        /// The pool's name.
        pool: Arc<str>,
        /// How many callers waited.
        waiters: usize,
    },
    /// A size limit was changed.
    Resized {
        /// The pool's name.
        pool: Arc<str>,
        /// The new limit.
        max_size: usize,
        /// The new number of idle connections kept ready.
        min_idle: usize,
    },
    /// The pool hands out nothing until it is resumed.
    Suspended {
        /// The pool's name.
        pool: Arc<str>,
    },
    /// The pool hands out connections again.
    Resumed {
        /// The pool's name.
        pool: Arc<str>,
    },
    /// The pool is closed permanently.
    Closed {
        /// The pool's name.
        pool: Arc<str>,
    },
}

impl PoolEvent {
    /// Returns the name of the pool of this event.
    #[must_use]
    pub fn pool(&self) -> &str {
        match self {
            Self::Created { pool, .. }
            | Self::CreateFailed { pool, .. }
            | Self::CheckedOut { pool, .. }
            | Self::CheckedIn { pool, .. }
            | Self::Evicted { pool, .. }
            | Self::TimedOut { pool, .. }
            | Self::LeakSuspected { pool, .. }
            | Self::LeakResolved { pool, .. }
            | Self::Panicked { pool, .. }
            | Self::Cleared { pool, .. }
            | Self::Interrupted { pool, .. }
            | Self::WaitersCleared { pool, .. }
            | Self::Resized { pool, .. }
            | Self::Suspended { pool }
            | Self::Resumed { pool }
            | Self::Closed { pool } => pool,
        }
    }
}

/// Receives every [`PoolEvent`].
///
/// An observer runs on the thread where the event happened, often a caller's, so it must be quick and must
/// not block. The pool holds no lock during the call. A panic is caught and counted.
///
/// Closures are observers. An `Arc` of an observer is an observer too, and leaves a handle to read from.
///
/// # Example
///
/// ```
/// use conpool::{PoolEvent, PoolObserver};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// #[derive(Debug, Default)]
/// struct Timeouts(AtomicU64);
///
/// impl PoolObserver for Timeouts {
///     fn on_event(&self, event: &PoolEvent) {
///         if let PoolEvent::TimedOut { .. } = event {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let timeouts = Arc::new(Timeouts::default());
/// let observer = timeouts.clone(); // this one goes to the builder
/// observer.on_event(&PoolEvent::Closed { pool: "orders".into() });
/// assert_eq!(timeouts.0.load(Ordering::Relaxed), 0);
/// ```
pub trait PoolObserver: Send + Sync + 'static {
    /// Called once per event.
    fn on_event(&self, event: &PoolEvent);
}

impl<F> PoolObserver for F
where
    F: Fn(&PoolEvent) + Send + Sync + 'static,
{
    fn on_event(&self, event: &PoolEvent) {
        self(event);
    }
}

impl<O: PoolObserver + ?Sized> PoolObserver for Arc<O> {
    fn on_event(&self, event: &PoolEvent) {
        (**self).on_event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn debug_begins_with_the_kind_of_event() {
        let event = PoolEvent::CreateFailed {
            pool: "orders".into(),
            error: "refused".to_owned().into_arc(),
            transient: true,
            took: Duration::from_millis(3),
        };
        assert!(format!("{event:?}").starts_with("CreateFailed {"));
        assert_eq!(event.clone().pool(), "orders");
    }

    #[test]
    fn closures_and_shared_observers_are_told() {
        let count = Arc::new(AtomicUsize::new(0));
        let seen = count.clone();
        let closure = move |_: &PoolEvent| {
            seen.fetch_add(1, Ordering::Relaxed);
        };
        let shared: Arc<dyn PoolObserver> = Arc::new(closure);
        notify(&shared);
        notify(&Arc::new(shared.clone()));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    fn notify(observer: &impl PoolObserver) {
        let pool = "orders".into();
        observer.on_event(&PoolEvent::Closed { pool });
    }

    trait IntoArc {
        fn into_arc(self) -> Arc<dyn Error + Send + Sync>;
    }

    impl IntoArc for String {
        fn into_arc(self) -> Arc<dyn Error + Send + Sync> {
            Arc::from(Box::<dyn Error + Send + Sync>::from(self))
        }
    }
}
