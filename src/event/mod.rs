//! What a pool reports while it runs, to an observer and to `tracing`.

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
/// Each goes to the [`PoolObserver`], if there is one, and to `tracing`: target `conpool`, level and
/// message as below, the event's fields under their own names. `since` is left out there, as it says
/// nothing outside of the process; `error` is one text, the error and its causes, joined by `: `.
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
/// | `Resized` | debug | pool resized | `max_size`, `min_idle` |
/// | `Suspended` | debug | pool suspended | |
/// | `Resumed` | debug | pool resumed | |
/// | `Closed` | debug | pool closed | |
///
/// What is told to `tracing` alone, as it is about the pool's own state or its threads:
///
/// | level | message | fields besides `pool` |
/// |---|---|---|
/// | warn, limited | check failed | `id`, `error`, (`more`) |
/// | warn, limited | connection came back broken (`has_broken` said so) | `id`, (`more`) |
/// | warn, limited | hook failed (`on_checkout` or `on_checkin`) | `hook`, `error`, (`more`) |
/// | warn | hook takes too long | `hook`, `after` |
/// | warn if it has become worse, else info | health changed | `from`, `to` |
/// | warn, about once a second | build waits, creates fail | `error`, `failures` |
/// | warn | no thread to be had | `error` |
///
/// # Limited lines
///
/// An outage fails every caller and every create, and an operator needs the cause once. Of each limited kind
/// one line is written per second at most: the first at once, in full. Those of the second after it are
/// counted, and at its end one line says how many there were: in a pool with a collector, else with the next
/// failure of that kind (its field `more`), at the latest when the pool closes. All keys of a keyed pool are
/// limited together. The observer is told of every event.
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
/// A cause is reported before its effect, on whichever threads the two happen:
///
/// | first | then |
/// |---|---|
/// | `Created` | `CheckedOut` and `Evicted` of that connection |
/// | `CheckedOut` | `CheckedIn` of that checkout |
/// | `CheckedIn` | `Evicted` of a connection that does not go back, the next `CheckedOut` of one that does |
/// | `LeakSuspected` | `CheckedIn` of that checkout, and after it `LeakResolved` |
/// | `Panicked` | `CreateFailed` or `Evicted` of what the panic costs |
/// | `CreateFailed` | whatever the callers are told of that failure, `TimedOut` among it |
/// | `Evicted` | `Created` of the connection that takes its slot |
/// | `Created` | `Evicted { MaxLifetime }` of the connection that `min_idle` had replaced first |
/// | `Cleared` | `Evicted { Cleared }` |
/// | `Resized` | `Evicted { Shrunk }`, and `Created` in a slot that is there now |
/// | `Resumed` | `Created` and `CheckedOut` for those that waited |
/// | `Closed` | `Evicted { Closed }`, and the errors of those that waited |
///
/// Ids are those of [`ConnectionInfo::id`](crate::ConnectionInfo::id). Durations that end with a
/// connection (`age`, `held`) follow the pool's clock, those of waits and creates are real time.
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
        /// Why.
        error: Arc<dyn Error + Send + Sync>,
        /// Whether it is repeated for the callers that wait.
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
        /// How long the caller waited; zero where the connection was free.
        waited: Duration,
    },
    /// A connection was given back, whatever becomes of it.
    CheckedIn {
        /// The pool's name.
        pool: Arc<str>,
        /// The connection.
        id: u64,
        /// How long it was out.
        held: Duration,
    },
    /// A connection leaves the pool. Its dispose has not started yet.
    Evicted {
        /// The pool's name.
        pool: Arc<str>,
        /// The connection.
        id: u64,
        /// Why.
        reason: EvictReason,
        /// How old it is.
        age: Duration,
        /// How often it was checked out.
        uses: u64,
    },
    /// A caller gave up at its deadline.
    TimedOut {
        /// The pool's name.
        pool: Arc<str>,
        /// How long it waited.
        waited: Duration,
        /// How many callers waited then.
        waiters: usize,
    },
    /// A connection is out for longer than `leak_threshold`. Reported once per checkout.
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
        /// When.
        since: Instant,
        /// How long it has been out.
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
        /// When.
        since: Instant,
        /// How long it was out.
        held: Duration,
    },
    /// A hook, the factory of a keyed pool or the observer panicked. The pool goes on. (An observer that
    /// panics at this hears of it no more.)
    Panicked {
        /// The pool's name.
        pool: Arc<str>,
        /// Which hook: the name of a method of [`ConnectionManager`](crate::ConnectionManager), `on_event` or
        /// `factory`.
        hook: &'static str,
        /// The text of the panic.
        message: String,
    },
    /// The pool was cleared: connections of older generations do not come back.
    Cleared {
        /// The pool's name.
        pool: Arc<str>,
        /// The generation that begins.
        generation: u64,
    },
    /// A size limit was changed.
    Resized {
        /// The pool's name.
        pool: Arc<str>,
        /// The cap from now on.
        max_size: usize,
        /// The idle connections kept ready from now on.
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
    /// The pool is closed for good.
    Closed {
        /// The pool's name.
        pool: Arc<str>,
    },
}

impl PoolEvent {
    /// The name of the pool in which it happened.
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
            | Self::Resized { pool, .. }
            | Self::Suspended { pool }
            | Self::Resumed { pool }
            | Self::Closed { pool } => pool,
        }
    }
}

/// Is told of every [`PoolEvent`].
///
/// Runs on the thread where the event happened, often a caller's: it must be quick and must not
/// block. The pool holds no lock meanwhile. A panic in it is caught and counted.
///
/// Closures are observers, and so is an `Arc` of one, which leaves you a handle to read from.
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
