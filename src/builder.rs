//! The builder of a pool.

use crate::error::BuildError;
use crate::shared::Shared;
use crate::{
    Backoff, Clock, ConfigError, ConnectionManager, Fairness, HealthCheck, IdleOrder, LeakAction,
    OnSuspend, Pool, PoolConfig, PoolObserver,
};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Pool`]. Every setting has a default. [`PoolConfig`] describes all settings.
///
/// Setters never panic. [`build`](Self::build) and [`build_lazy`](Self::build_lazy) check all settings. The error for
/// an invalid value names the field, the value and the rule.
///
/// ```
/// use conpool::{MemoryManager, Pool};
/// use std::time::Duration;
///
/// let pool = Pool::builder()
///     .name("orders")
///     .max_size(4)
///     .min_idle(1)
///     .get_timeout(Duration::from_secs(5))
///     .max_lifetime(None)
///     .build(MemoryManager::new())?;
/// assert_eq!(pool.stats().idle, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct PoolBuilder<M: ConnectionManager> {
    config: PoolConfig,
    clock: Option<Arc<dyn Clock>>,
    observer: Option<Arc<dyn PoolObserver>>,
    manager: PhantomData<fn(M)>,
}

/// Defines the setters of a builder that has the fields `config`, `clock` and `observer`.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)+) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $name: $type) -> Self {
            self.config.$name = $name.into();
            self
        }
    )+};
    () => {
        $crate::builder::setters! {
            /// Sets the name of the pool in threads (`<pool>-<role>`), logs, errors and metrics. Default `"pool"`.
            name: impl Into<String>;
            /// Sets the number of idle connections that the pool keeps ready, as far as `max_size` permits. Default 0.
            min_idle: usize;
            /// Sets the time limit of `get`, everything included. Zero never waits. Default 30 s.
            get_timeout: Duration;
            /// Sets the idle time after which a connection is evicted, but never below `min_idle`. Default 10 min;
            /// `None` for never.
            idle_timeout: impl Into<Option<Duration>>;
            /// Sets how many connections may be idle after a check-in; one that comes back beyond them is evicted,
            /// unless a caller waits for it. Default `None`, no limit; at least `min_idle`.
            max_idle: impl Into<Option<usize>>;
            /// Sets the age after which a connection is evicted and never handed out. Default 30 min; `None` for never.
            max_lifetime: impl Into<Option<Duration>>;
            /// Sets the largest random share by which each lifetime is shortened, 0.0..=1.0. Default 0.1.
            lifetime_jitter: f64;
            /// Sets the number of checkouts after which a connection is evicted. Default `None`, never.
            max_uses: impl Into<Option<u64>>;
            /// Sets when a checkout checks the connection. Default `AfterIdle(500 ms)`.
            health_check: HealthCheck;
            /// Sets the time after which a check has failed. Default 5 s.
            check_timeout: Duration;
            /// Sets the idle time after which the collector checks a connection. Default `None`, never.
            keepalive_interval: impl Into<Option<Duration>>;
            /// Sets the time after which a create has failed. Default 30 s.
            create_timeout: Duration;
            /// Sets the time after which a dispose no longer holds its slot. Default 5 s.
            dispose_timeout: Duration;
            /// Sets the maximum number of simultaneous creates; at least 1. Default 4.
            max_creating: usize;
            /// Sets the pause between repeated creates. Default 50 ms, doubling up to 5 s, jitter 0.2. While a
            /// caller waits, the pause is at most 500 ms and a quarter of `get_timeout`.
            backoff: Backoff;
            /// If true, callers fail at once with the last cause while creates fail and no connection is open, and a
            /// build fails at its first failed create. Default false: callers and builds wait for the recovery.
            fail_fast: bool;
            /// Sets the maximum number of blocked callers; further callers are refused at once. Zero never queues.
            /// Default `None`, no limit.
            max_waiters: impl Into<Option<usize>>;
            /// Sets how long later callers may overtake the first waiter. Default `Eventual(500 µs)`.
            fairness: Fairness;
            /// Sets the time after which the pool reports a held connection. Default `None`, never.
            leak_threshold: impl Into<Option<Duration>>;
            /// Sets which idle connection a checkout takes. Default `Sticky`: the one that its thread used last.
            idle_order: IdleOrder;
            /// Sets what happens to a connection that is held longer than `leak_threshold`. Default `Report`.
            leak_action: LeakAction;
            /// If true, the pool is built suspended: nothing is opened before `resume`. Default false.
            suspended: bool;
            /// Sets what a get does while the pool is suspended. Default `Wait`.
            on_suspend: OnSuspend;
            /// If false, the pool never starts a thread. Default true.
            background_collector: bool;
        }

        /// Sets the clock for all ages. Default: the system clock.
        pub fn clock(mut self, clock: impl Clock) -> Self {
            self.clock = Some(Arc::new(clock));
            self
        }

        /// Sets the observer, which receives every event. Default: none.
        ///
        /// The pool calls the observer on the thread of the event and without a lock. The pool catches and counts a
        /// panic of the observer.
        pub fn observer(mut self, observer: impl PoolObserver) -> Self {
            self.observer = Some(Arc::new(observer));
            self
        }
    };
}
pub(crate) use setters;

impl<M: ConnectionManager> PoolBuilder<M> {
    /// Creates a builder with the default settings.
    pub fn new() -> Self {
        PoolConfig::default().into()
    }

    /// Sets the maximum number of connections; at least 1. Default 10.
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.config.max_size = max_size;
        self
    }

    setters!();

    /// Builds the pool, and waits until max(1, `min_idle`) connections are open.
    ///
    /// The build waits for at most `get_timeout`, or for at most `create_timeout` if `get_timeout` is zero. The
    /// connections open in parallel. A create is slow if it takes half a second longer than twice the time of a create
    /// that started after it. The build then starts another create in its place. With a `get_timeout` below two seconds
    /// the build starts the other create sooner.
    ///
    /// # Errors
    ///
    /// - [`BuildError::Config`] for an invalid setting.
    /// - [`BuildError::Thread`] if the collector does not start.
    /// - [`BuildError::Create`] or [`BuildError::Panicked`] at once if a create fails permanently.
    /// - [`BuildError::TimedOut`] with the last cause after `get_timeout`.
    ///
    /// After an error the build disposes all connections that it opened.
    ///
    /// The build repeats a create until `get_timeout` if [`is_transient`](ConnectionManager::is_transient) returns
    /// true for the error. The log contains a line at the first failure and then about one line per second (`tracing`,
    /// target `conpool`, level WARN, field `error` with the causes). With [`fail_fast`](Self::fail_fast) the first
    /// failed create ends the build whatever the error is: with [`BuildError::Create`], or with
    /// [`BuildError::TimedOut`] if the create took longer than `create_timeout`.
    ///
    /// With [`suspended`](Self::suspended) the build opens nothing and returns at once, as `build_lazy` does.
    pub fn build(self, manager: M) -> Result<Pool<M>, BuildError<M::Error>> {
        let eager = !self.config.suspended;
        let shared = self.start(manager, eager)?;
        if eager {
            shared.open_initial()?;
        }
        Ok(Pool::open(shared))
    }

    /// Builds the pool without a connection to the backend. The pool fills `min_idle` in the background.
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] for an invalid setting, and [`BuildError::Thread`] if the collector does not start.
    pub fn build_lazy(self, manager: M) -> Result<Pool<M>, BuildError<M::Error>> {
        Ok(Pool::open(self.start(manager, false)?))
    }

    /// Starts the collector. If `eager` is true, `build` opens the first connections and the collector opens none.
    fn start(self, manager: M, eager: bool) -> Result<Arc<Shared<M>>, BuildError<M::Error>> {
        self.config.validate()?;
        if let Some(total) = self.config.max_total {
            let rule = "belongs to a KeyedPool; the cap of this pool is max_size";
            return Err(ConfigError::new("max_total", total, rule).into());
        }
        let suspended = self.config.suspended;
        let shared = Shared::new(manager, self.config, self.clock, self.observer);
        if suspended {
            shared.start_suspended();
        }
        shared.set_building(eager);
        shared.start().map_err(BuildError::Thread)?;
        Ok(shared)
    }
}

// These functions are here so that imports have one direction: `pool` does not import `builder`.
impl<M: ConnectionManager> Pool<M> {
    /// Builds a pool with the default settings.
    ///
    /// # Errors
    ///
    /// The errors of [`PoolBuilder::build`].
    pub fn new(manager: M) -> Result<Self, BuildError<M::Error>> {
        Self::builder().build(manager)
    }

    /// Creates a builder for a pool.
    pub fn builder() -> PoolBuilder<M> {
        PoolBuilder::new()
    }
}

impl<M: ConnectionManager> Default for PoolBuilder<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: ConnectionManager> From<PoolConfig> for PoolBuilder<M> {
    fn from(config: PoolConfig) -> Self {
        Self {
            config,
            clock: None,
            observer: None,
            manager: PhantomData,
        }
    }
}

impl<M: ConnectionManager> Clone for PoolBuilder<M> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            clock: self.clock.clone(),
            observer: self.observer.clone(),
            manager: PhantomData,
        }
    }
}

impl<M: ConnectionManager> fmt::Debug for PoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("config", &self.config)
            .field("clock", &self.clock.as_ref().map(|_| "custom"))
            .field("observer", &self.observer.as_ref().map(|_| "custom"))
            .finish_non_exhaustive()
    }
}
