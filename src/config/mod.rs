//! The settings of a pool and their validation.

mod backoff;
mod error;
mod policy;
#[cfg(feature = "serde")]
mod text;
mod validation;

pub use backoff::Backoff;
pub use error::ConfigError;
pub use policy::{Fairness, HealthCheck, IdleOrder, LeakAction, OnSuspend};

use std::time::{Duration, Instant};

/// Returns true if the duration means "no limit". `Duration::MAX` does, in every setting.
pub(crate) const fn is_unlimited(duration: Duration) -> bool {
    duration.as_nanos() == Duration::MAX.as_nanos()
}

/// Returns when a wait that starts at `since` ends by its timeout. None: the wait has no limit.
pub(crate) fn deadline(since: Instant, timeout: Duration) -> Option<Instant> {
    since
        .checked_add(timeout)
        .filter(|_| !is_unlimited(timeout))
}

/// Every setting of a pool that is plain data.
///
/// [`PoolBuilder`](crate::PoolBuilder) has a setter of the same name for each field but `max_total`, which
/// belongs to [`KeyedPoolBuilder`](crate::KeyedPoolBuilder). The builder also takes a clock and an observer.
///
/// Every duration may be `Duration::MAX`, which means no limit. `None` switches a setting off.
///
/// Common settings:
///
/// | field | what it sets | unit | default | floor | plays together with |
/// |---|---|---|---|---|---|
/// | `name` | name in threads, logs, errors and metrics | text without control characters | `"pool"` | not empty | |
/// | `max_size` | the hard cap on connections | connections | 10 | 1 | `max_creating` limits how fast the pool grows to it |
/// | `min_idle` | idle connections kept ready in the background | connections | 0 | 0 | at most `max_size`; `idle_timeout` never goes below it |
/// | `max_idle` | a connection that comes back beyond so many idle ones is evicted | connections | `None`: no limit | `min_idle` | makes every check-in take the pool's lock |
/// | `get_timeout` | time limit of one `get`, everything included | duration | 30 s | zero: never wait, hence start nothing | bounds what a caller sees of the hook timeouts; zero wants a `min_idle` |
/// | `idle_timeout` | idle longer than this: evicted | duration | 10 min | above zero; `None`: never | never below `min_idle`; may exceed `max_lifetime` |
/// | `max_lifetime` | older than this: evicted, at check-in if in use | duration | 30 min | above zero; `None`: never | shortened by `lifetime_jitter` |
/// | `health_check` | when a connection is checked at checkout | [`HealthCheck`] | `AfterIdle(500 ms)` | any | `check_timeout` |
///
/// Settings for particular backends:
///
/// | field | what it sets | unit | default | floor | plays together with |
/// |---|---|---|---|---|---|
/// | `create_timeout` | a create that takes longer has failed, as a transient error | duration | 30 s | above zero | `backoff` follows; needs `background_collector` |
/// | `check_timeout` | a check that takes longer has failed | duration | 5 s | above zero | needs `background_collector` |
/// | `dispose_timeout` | a dispose that takes longer frees its slot | duration | 5 s | above zero | needs `background_collector` |
/// | `keepalive_interval` | idle this long: checked in the background | duration | `None` | above zero; `None`: never | useful below `idle_timeout`; without `background_collector` a `sweep` does it |
/// | `max_uses` | evicted after so many checkouts | checkouts | `None` | 1; `None`: never | |
/// | `leak_threshold` | held longer than this: reported once, with call site and thread | duration | `None` | above zero; `None`: never | costs a checkout nothing |
/// | `leak_action` | what happens to a connection held longer than `leak_threshold` | [`LeakAction`] | `Report` | `Interrupt { after }`: at least `leak_threshold` | an interrupter of the manager |
/// | `max_waiters` | more blocked callers than this are refused at once | callers | `None` | 0: never queue; `None`: no limit | counted beyond idle connections and creates under way |
///
/// Rarely changed settings:
///
/// | field | what it sets | unit | default | floor | plays together with |
/// |---|---|---|---|---|---|
/// | `lifetime_jitter` | each lifetime is shortened by a random share up to this | ratio | 0.1 | 0.0, at most 1.0 | `max_lifetime` |
/// | `max_creating` | creates in flight at once | creates | 4 | 1 | `max_size` |
/// | `backoff` | pause between repeated creates | [`Backoff`] | 50 ms, ×2.0, up to 5 s, ±0.2 | see there | shared by callers and the refill of `min_idle`; while somebody waits at most 500 ms and a quarter of `get_timeout` |
/// | `fairness` | how long the first waiter may be overtaken | [`Fairness`] | `Eventual(500 µs)` | zero: strict | |
/// | `fail_fast` | while no connection is open, a failed create fails all callers at once; a build ends with its first failed create | bool | false | | `backoff` sets when the next attempt is made |
/// | `idle_order` | which idle connection a checkout takes | [`IdleOrder`] | `Sticky` | any | `Fifo` takes a lock, and keeps connections from idling out |
/// | `suspended` | whether the pool is suspended when it is built: nothing is opened before `resume` | bool | false | | |
/// | `on_suspend` | what a get does while the pool is suspended | [`OnSuspend`] | `Wait` | any | |
/// | `max_total` | of a keyed pool: the cap over all keys | connections | `None`: 100 | `max_size` | a `Pool` refuses it |
/// | `background_collector` | whether the pool has threads of its own | bool | true | | when false, hook timeouts do not apply and `min_idle` is filled by build and sweep only |
///
/// # Example
///
/// ```
/// use conpool::PoolConfig;
/// use std::time::Duration;
///
/// let mut config = PoolConfig::new();
/// config.name = "orders".into();
/// config.min_idle = 2;
/// config.max_lifetime = Some(Duration::from_secs(600));
/// config.validate()?;
/// # Ok::<(), conpool::ConfigError>(())
/// ```
#[cfg_attr(feature = "serde", doc = include_str!("../docs/settings.md"))]
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// The pool's name in threads (`<name>-<role>`), logs, errors and metrics. Default `"pool"`; not empty,
    /// no control characters.
    pub name: String,
    /// The maximum number of connections that exist at once. Default 10; at least 1.
    pub max_size: usize,
    /// The maximum number of connections over all keys of a [`KeyedPool`](crate::KeyedPool), where `max_size`
    /// limits one key. Default `None`, which means 100 in a keyed pool. At least `max_size`. A
    /// [`Pool`](crate::Pool) refuses the setting.
    pub max_total: Option<usize>,
    /// The number of idle connections kept ready, as far as `max_size` allows. Default 0; at most `max_size`.
    pub min_idle: usize,
    /// A connection that comes back while so many are idle already is evicted, unless a caller waits for one.
    /// Default `None`, no limit; at least `min_idle`. With this setting every check-in takes the pool's lock.
    pub max_idle: Option<usize>,
    /// The time limit of `get`, everything included. Default 30 s. Zero never waits: such a get takes an idle
    /// connection and starts nothing, so the pool needs a `min_idle`.
    pub get_timeout: Duration,
    /// A connection idle longer than this is evicted, but never below `min_idle`. Default 10 min; above zero,
    /// `None` for never.
    ///
    /// The pool shrinks to the peak number of connections in use at once, even if many threads take turns.
    /// For that, four times within this period, a checkout may take another idle connection than the one that
    /// its thread used last.
    pub idle_timeout: Option<Duration>,
    /// A connection older than this is evicted: while it is idle, at check-in, or instead of being handed
    /// out. Default 30 min; above zero, `None` for never.
    pub max_lifetime: Option<Duration>,
    /// Each connection's lifetime is shortened by a random share between 0.0 and this value, so that
    /// connections opened together do not expire together. Default 0.1; 0.0..=1.0.
    pub lifetime_jitter: f64,
    /// A connection is evicted after this number of checkouts. Default `None`, never; at least 1.
    pub max_uses: Option<u64>,
    /// When a connection is checked at checkout. Default `AfterIdle(500 ms)`.
    pub health_check: HealthCheck,
    /// A check that takes longer than this has failed. Default 5 s; above zero.
    pub check_timeout: Duration,
    /// A connection idle this long is checked in the background, off every caller's path. Default `None`,
    /// never; above zero.
    ///
    /// At most four connections are checked at once. One connection always stays idle, unless it is the only
    /// one. With more than four connections open, checks run up to a tenth of the interval early, so that
    /// connections that were opened together are not checked together. A caller that finds no idle connection
    /// waits up to 100 ms for one that is being checked before the pool opens another.
    pub keepalive_interval: Option<Duration>,
    /// A create that takes longer than this has failed as a transient error. The slot is freed, and a
    /// connection that the create returns late is disposed. Default 30 s; above zero.
    pub create_timeout: Duration,
    /// A dispose that takes longer than this no longer holds its slot. Default 5 s; above zero.
    pub dispose_timeout: Duration,
    /// The maximum number of creates in flight, which protects the server from a stampede. Default 4; at
    /// least 1.
    pub max_creating: usize,
    /// The pause between repeated creates, shared by all callers and the refill of `min_idle`. Default 50 ms,
    /// doubling up to 5 s, spread by 0.2. While a caller waits, the pause is at most 500 ms and at most a
    /// quarter of `get_timeout`.
    pub backoff: Backoff,
    /// Whether callers fail at once, with the last cause, while creates fail and no connection is open.
    /// Default false: callers wait for the recovery, up to their deadlines.
    ///
    /// With `fail_fast`, one caller tries again after each pause, and all callers wait as usual once an
    /// attempt has succeeded. A build ends with its first failed create. Without `fail_fast`, a build repeats
    /// transient errors until `get_timeout` is over.
    pub fail_fast: bool,
    /// The maximum number of blocked callers; further callers are refused at once. Callers are counted beyond
    /// the idle connections and the creates under way, one each. Default `None`, no limit; 0 never queues.
    pub max_waiters: Option<usize>,
    /// How long the first waiter may be overtaken by newcomers. Default `Eventual(500 µs)`.
    pub fairness: Fairness,
    /// A connection held longer than this is reported once, with its call site and thread, and once more when
    /// it comes back. Default `None`, never; above zero.
    pub leak_threshold: Option<Duration>,
    /// Which idle connection a checkout takes. Default `Sticky`: the one that its thread used last.
    pub idle_order: IdleOrder,
    /// What happens to a connection that is held longer than `leak_threshold`. Default `Report`.
    pub leak_action: LeakAction,
    /// Whether the pool is suspended when it is built. Default false. A suspended pool opens nothing, so `build`
    /// touches no backend. [`Pool::resume`](crate::Pool::resume) starts it. A
    /// [`KeyedPool`](crate::KeyedPool) refuses the setting.
    pub suspended: bool,
    /// What a get does while the pool is suspended. Default `Wait`, up to its deadline.
    pub on_suspend: OnSuspend,
    /// Whether the pool may start threads. Default true. When false the pool never starts one, callers run
    /// their own hooks, and hook timeouts do not apply.
    pub background_collector: bool,
}

impl PoolConfig {
    /// Returns the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            name: "pool".to_owned(),
            max_size: 10,
            max_total: None,
            min_idle: 0,
            max_idle: None,
            get_timeout: Duration::from_secs(30),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            lifetime_jitter: 0.1,
            max_uses: None,
            health_check: HealthCheck::default(),
            check_timeout: Duration::from_secs(5),
            keepalive_interval: None,
            create_timeout: Duration::from_secs(30),
            dispose_timeout: Duration::from_secs(5),
            max_creating: 4,
            backoff: Backoff::default(),
            fail_fast: false,
            max_waiters: None,
            fairness: Fairness::default(),
            leak_threshold: None,
            idle_order: IdleOrder::default(),
            leak_action: LeakAction::default(),
            suspended: false,
            on_suspend: OnSuspend::default(),
            background_collector: true,
        }
    }
}
