//! From settings to a running pool.

use crate::error::BuildError;
use crate::shared::Shared;
use crate::{
    Backoff, Clock, ConfigError, ConnectionManager, Fairness, HealthCheck, Pool, PoolConfig,
    PoolObserver,
};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Pool`]. Every setting has a default; [`PoolConfig`] describes them all.
///
/// Setters never panic. Everything is checked in [`build`](Self::build) and
/// [`build_lazy`](Self::build_lazy), and a bad value is an error that names the field, the value and
/// the rule.
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

/// The setters of a builder with the fields `config`, `clock` and `observer`.
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
            /// The pool's name, in threads (`<pool>-<role>`), logs, errors and metrics. Default `"pool"`.
            name: impl Into<String>;
            /// Idle connections kept ready in the background, as far as there is room. Default 0.
            min_idle: usize;
            /// The budget of `get`, everything included; zero never waits. Default 30 s.
            get_timeout: Duration;
            /// Idle longer than this is evicted, never below `min_idle`. Default 10 min; `None` for never.
            idle_timeout: impl Into<Option<Duration>>;
            /// Older than this is evicted and never handed out. Default 30 min; `None` for never.
            max_lifetime: impl Into<Option<Duration>>;
            /// Each lifetime is shortened by a random share of up to this; 0.0..=1.0. Default 0.1.
            lifetime_jitter: f64;
            /// Evicted after so many checkouts. Default `None`, never.
            max_uses: impl Into<Option<u64>>;
            /// When a checkout checks the connection. Default `AfterIdle(500 ms)`.
            health_check: HealthCheck;
            /// A check that takes longer has failed. Default 5 s.
            check_timeout: Duration;
            /// The collector checks connections idle this long. Default `None`, never.
            keepalive_interval: impl Into<Option<Duration>>;
            /// A create that takes longer has failed. Default 30 s.
            create_timeout: Duration;
            /// A dispose that takes longer no longer holds its slot. Default 5 s.
            dispose_timeout: Duration;
            /// Creates in flight at once; at least 1. Default 4.
            max_creating: usize;
            /// The pause between repeated creates. Default 50 ms, doubling up to 5 s, jitter 0.2; while
            /// somebody waits at most 500 ms and a quarter of `get_timeout`.
            backoff: Backoff;
            /// While creates fail and nothing is open, callers fail at once with the last cause, and so does
            /// a build after its first failed create. Default false: they wait for the recovery.
            fail_fast: bool;
            /// More blocked callers than this are refused at once; 0 never queues. Default `None`, no limit.
            max_waiters: impl Into<Option<usize>>;
            /// How long the first waiter may be overtaken. Default `Eventual(500 µs)`.
            fairness: Fairness;
            /// A checkout held longer is reported. Default `None`, never.
            leak_threshold: impl Into<Option<Duration>>;
            /// False: the pool never starts a thread. Default true.
            background_collector: bool;
        }

        /// The clock that ages are read from. Default: the system's.
        pub fn clock(mut self, clock: impl Clock) -> Self {
            self.clock = Some(Arc::new(clock));
            self
        }

        /// Hears of every event. Called on the thread where the event happens, under no lock of the pool;
        /// a panic in it is caught and counted. Default: nobody.
        pub fn observer(mut self, observer: impl PoolObserver) -> Self {
            self.observer = Some(Arc::new(observer));
            self
        }
    };
}
pub(crate) use setters;

impl<M: ConnectionManager> PoolBuilder<M> {
    /// A builder with the default settings.
    pub fn new() -> Self {
        PoolConfig::default().into()
    }

    /// The most connections at once; at least 1. Default 10.
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.config.max_size = max_size;
        self
    }

    setters!();

    /// Builds the pool, opens max(1, `min_idle`) connections and waits for them, at most
    /// `get_timeout` (if that is zero, which is meant for callers: at most `create_timeout`). They are opened
    /// side by side; in place of one that takes half a second longer than twice the time of another that
    /// began after it, one more is tried (sooner with a `get_timeout` below two seconds).
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] for a bad setting, [`BuildError::Thread`] if the collector could not be
    /// started, and the real cause if the connections could not be opened: [`BuildError::Create`] and
    /// [`BuildError::Panicked`] at once, [`BuildError::TimedOut`] with the last cause after
    /// `get_timeout`. Nothing is left behind then: what was opened is disposed.
    ///
    /// An error that [`is_transient`](ConnectionManager::is_transient) calls worth it is repeated until
    /// `get_timeout` is over; at the first failure, and then about once a second, the log says so (`tracing`,
    /// target `conpool`, level WARN, field `error` with the causes). With [`fail_fast`](Self::fail_fast) the first
    /// failed create ends the build, whatever its error: [`BuildError::Create`], or [`BuildError::TimedOut`] when
    /// it took longer than `create_timeout`.
    pub fn build(self, manager: M) -> Result<Pool<M>, BuildError<M::Error>> {
        let shared = self.start(manager, true)?;
        shared.open_initial()?;
        Ok(Pool::open(shared))
    }

    /// Builds the pool without touching the backend; `min_idle` is filled in the background.
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] for a bad setting, [`BuildError::Thread`] if the collector could not be
    /// started.
    pub fn build_lazy(self, manager: M) -> Result<Pool<M>, BuildError<M::Error>> {
        Ok(Pool::open(self.start(manager, false)?))
    }

    /// `eager`: the first connections are about to be opened, so the collector leaves them alone.
    fn start(self, manager: M, eager: bool) -> Result<Arc<Shared<M>>, BuildError<M::Error>> {
        self.config.validate()?;
        if let Some(total) = self.config.max_total {
            let rule = "belongs to a KeyedPool; the cap of this pool is max_size";
            return Err(ConfigError::new("max_total", total, rule).into());
        }
        let shared = Shared::new(manager, self.config, self.clock, self.observer);
        shared.set_building(eager);
        shared.start().map_err(BuildError::Thread)?;
        Ok(shared)
    }
}

// Here and not beside the handle, so that imports point one way.
impl<M: ConnectionManager> Pool<M> {
    /// A pool with the default settings.
    ///
    /// # Errors
    ///
    /// As [`PoolBuilder::build`].
    pub fn new(manager: M) -> Result<Self, BuildError<M::Error>> {
        Self::builder().build(manager)
    }

    /// Settings for a pool.
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
