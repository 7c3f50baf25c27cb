//! Reports metrics under the names of OpenTelemetry, through the facade crate `metrics`.

mod instruments;
mod names;

use crate::{PoolEvent, PoolObserver, PoolStats};
use ::metrics::Recorder;
use instruments::Instruments;
use names::Register;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Reports pools to the crate [`metrics`](::metrics), under the names that OpenTelemetry gives to the
/// connection pools of database clients.
///
/// Needs the feature `metrics`.
///
/// A pool is reported in two ways:
///
/// - As the pool's [observer](PoolObserver), `PoolMetrics` receives events, and fills histograms and
///   counters.
/// - [`publish`](Self::publish) writes the current [`PoolStats`] to gauges. Call it before each scrape, or
///   every few seconds.
///
/// Clones share all state, so one `PoolMetrics` can serve all the pools of a program.
///
/// ```
/// use conpool::{MemoryManager, Pool, PoolMetrics};
///
/// // Install the recorder of your exporter first.
/// let metrics = PoolMetrics::new();
/// let pool = Pool::builder()
///     .name("orders")
///     .observer(metrics.clone())
///     .build(MemoryManager::new())?;
///
/// drop(pool.get()?);
/// metrics.publish(&pool.stats());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The metrics
///
/// Each name begins with `db.client.connection`, unless [`prefix`](Self::prefix) replaces it, and has the
/// attribute `db.client.connection.pool.name`.
///
/// | metric | kind | value |
/// |---|---|---|
/// | `.count` | gauge | connections, by `db.client.connection.state`: `idle` or `used` |
/// | `.idle.max`, `.idle.min`, `.max` | gauge | `max_size`, `min_idle` and `max_size`: idle connections have no limit of their own |
/// | `.pending_requests` | gauge | callers that wait |
/// | `.create_time` | histogram | seconds that a create took |
/// | `.wait_time` | histogram | seconds that a caller waited for the connection it got |
/// | `.use_time` | histogram | seconds that a connection was in use, in the resolution of the pool's clock (some milliseconds) |
/// | `.timeouts` | counter | callers that got no connection in time |
///
/// OpenTelemetry has no names for these:
///
/// | metric | kind | value |
/// |---|---|---|
/// | `.creating`, `.disposing` | gauge | slots of connections being created and disposed |
/// | `.abandoned` | gauge | hooks that exceeded their timeout and have not returned |
/// | `.evictions` | counter | connections evicted, by `db.client.connection.reason` (an [`EvictReason`](crate::EvictReason) as it displays) |
/// | `.create_errors` | counter | creates that failed, took too long or panicked |
/// | `.saturated` | counter | callers refused because of `max_waiters` |
/// | `.panics` | counter | panics of hooks and of the observer |
/// | `.leaks` | counter | connections in use for longer than `leak_threshold` |
///
/// # Cost
///
/// A pool with an observer reports each checkout and check-in. Where a get and its drop took 14 ns, they took
/// 23 ns with any observer and 30 ns with `PoolMetrics` (`cargo bench --bench costs --features metrics`). The
/// time that the exporter takes to record two samples comes on top.
///
/// Where the cost matters, do not pass `PoolMetrics` as an observer. `publish` then reads the counters from
/// the statistics as well, and the pool stays as fast as without metrics. The histograms and `.leaks` are
/// missing; the percentiles are in [`PoolStats`]. (Copying the pool's own histograms would take one call for
/// each checkout since the last `publish`, because many recorders accept only single samples.) Whether a pool
/// is observed is known from its first event.
///
/// # Names
///
/// A name stands for one pool, as OpenTelemetry requires. If several observed pools share a name, or a pool
/// is rebuilt, their counters add up, and the gauges are those of the pool published last. Counters read from
/// the statistics never fall, so a rebuilt pool has to exceed the count of its predecessor before they rise.
///
/// # Recorders
///
/// The recorder is the one given to [`recorder`](Self::recorder), or else the global one. The metrics of a
/// pool are registered once, at the first event or `publish` with its name; a recorder installed later is
/// ignored. Events also occur on threads of the pool, so a recorder set for the current thread is not enough.
///
/// # Several pools
///
/// A `KeyedPool` takes `PoolMetrics` as an observer like a pool does, and all its keys report under its name.
/// A registry may know a pool by a name that differs from its own. Publishing by the pool's own name keeps
/// gauges and events together:
///
/// ```
/// use conpool::{KeyedPool, MemoryManager, PoolMetrics, PoolRegistry};
///
/// let metrics = PoolMetrics::new();
/// let tenants = KeyedPool::<u32, MemoryManager>::builder()
///     .name("tenants")
///     .observer(metrics.clone())
///     .build(|_| MemoryManager::new())?;
/// let registry = PoolRegistry::new();
///
/// metrics.publish(&tenants.stats());
/// for stats in registry.stats().values() {
///     metrics.publish(stats);
/// }
/// // Publish single keys only if there are few: each name is a set of metrics that stays.
/// if let Some(stats) = tenants.stats_for(&7) {
///     metrics.publish_as("tenants-7", &stats);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it reports what it observes, and what it is told to publish"]
pub struct PoolMetrics {
    shared: Arc<SharedMetrics>,
    /// The first pool that this clone has received an event from. An observer usually has only one pool, and
    /// its events then need neither a lock nor a lookup in the map shared with other pools.
    own: OnceLock<Arc<Instruments>>,
}

/// The state that clones share.
struct SharedMetrics {
    prefix: String,
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
    described: AtomicBool,
    pools: RwLock<HashMap<String, Arc<Instruments>>>,
}

impl PoolMetrics {
    /// Creates metrics under the names of OpenTelemetry, for the global recorder.
    pub fn new() -> Self {
        Self::with(names::PREFIX.to_owned(), None)
    }

    /// Replaces `db.client.connection` in the names of metrics and attributes. Call this before any use.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self::with(prefix.into(), self.shared.recorder.clone())
    }

    /// Replaces the global recorder. Call this before any use.
    pub fn recorder(self, recorder: impl Recorder + Send + Sync + 'static) -> Self {
        Self::with(self.shared.prefix.clone(), Some(Arc::new(recorder)))
    }

    fn with(prefix: String, recorder: Option<Arc<dyn Recorder + Send + Sync>>) -> Self {
        let shared = SharedMetrics {
            prefix,
            recorder,
            described: AtomicBool::new(false),
            pools: RwLock::default(),
        };
        Self {
            shared: Arc::new(shared),
            own: OnceLock::new(),
        }
    }

    /// Sets the gauges of a pool, and the counters of a pool that is not observed.
    ///
    /// `stats` should be a snapshot. The counters of a [window](PoolStats::since) begin at zero again, and the
    /// counters of a metric never fall.
    pub fn publish(&self, stats: &PoolStats) {
        self.publish_as(stats.name(), stats);
    }

    /// Sets the gauges of a pool, and the counters of a pool that is not observed, under another name than
    /// the pool's own.
    pub fn publish_as(&self, pool: &str, stats: &PoolStats) {
        self.shared.of(pool).set(stats);
    }
}

impl PoolObserver for PoolMetrics {
    fn on_event(&self, event: &PoolEvent) {
        let pool = event.pool();
        match self.own.get().filter(|own| own.pool == pool) {
            Some(own) => own.count(event),
            None => {
                let instruments = self.shared.of(pool);
                instruments.expect_events();
                instruments.count(event);
                let _first = self.own.set(instruments);
            }
        }
    }
}

impl SharedMetrics {
    fn of(&self, pool: &str) -> Arc<Instruments> {
        if let Some(known) = self.pools.read().get(pool) {
            return Arc::clone(known);
        }
        // Registering happens outside of the lock, because a recorder is user code and may be slow. Two
        // threads may both register; the recorder gives both the same metrics.
        let new = Arc::new(match &self.recorder {
            Some(recorder) => self.register(pool, recorder),
            None => ::metrics::with_recorder(|recorder| self.register(pool, recorder)),
        });
        Arc::clone(self.pools.write().entry(pool.to_owned()).or_insert(new))
    }

    fn register(&self, pool: &str, recorder: &dyn Recorder) -> Instruments {
        let prefix = &self.prefix;
        let register = Register {
            recorder,
            prefix,
            pool,
        };
        if !self.described.swap(true, Relaxed) {
            register.describe();
        }
        Instruments::register(&register)
    }
}

impl Default for PoolMetrics {
    /// Equals [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for PoolMetrics {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            // The clone may be given to another pool.
            own: OnceLock::new(),
        }
    }
}

impl fmt::Debug for PoolMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pools: Vec<String> = self.shared.pools.read().keys().cloned().collect();
        pools.sort_unstable();
        f.debug_struct("PoolMetrics")
            .field("prefix", &self.shared.prefix)
            .field("pools", &pools)
            .finish_non_exhaustive()
    }
}
