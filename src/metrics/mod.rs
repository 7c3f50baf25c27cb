//! Metrics under the names of OpenTelemetry, through the facade of the crate `metrics`.

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
/// It has two sides, because a pool has two: what happens, and how it stands.
///
/// - As the pool's [observer](PoolObserver) it hears of events and fills histograms and counters.
/// - [`publish`](Self::publish) reads the [`PoolStats`] of the moment into gauges. Call it before each
///   scrape, or every few seconds.
///
/// Clones share everything; one of them serves all the pools of a program.
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
/// Each begins with `db.client.connection`, unless [`prefix`](Self::prefix) says otherwise, and has the
/// attribute `db.client.connection.pool.name`.
///
/// | metric | kind | what |
/// |---|---|---|
/// | `.count` | gauge | connections, by `db.client.connection.state`: `idle` or `used` |
/// | `.idle.max`, `.idle.min`, `.max` | gauge | `max_size`, `min_idle` and `max_size`: nothing else limits idle connections |
/// | `.pending_requests` | gauge | callers that wait |
/// | `.create_time` | histogram | seconds that a create took |
/// | `.wait_time` | histogram | seconds that a caller waited for the connection it got |
/// | `.use_time` | histogram | seconds that a connection was out, in the resolution of the pool's clock (some milliseconds) |
/// | `.timeouts` | counter | callers that got none in time |
///
/// OpenTelemetry has no names for these:
///
/// | metric | kind | what |
/// |---|---|---|
/// | `.creating`, `.disposing` | gauge | slots taken by connections on their way in and out |
/// | `.abandoned` | gauge | hooks that outlived their timeout and have not returned |
/// | `.evictions` | counter | connections that had to leave, by `db.client.connection.reason` (an [`EvictReason`](crate::EvictReason) as it displays) |
/// | `.create_errors` | counter | creates that failed, took too long or panicked |
/// | `.saturated` | counter | callers refused because of `max_waiters` |
/// | `.panics` | counter | panics of hooks and of the observer |
/// | `.leaks` | counter | connections out for longer than `leak_threshold` |
///
/// # What it costs, and how to do without
///
/// A pool with an observer reports each checkout and check-in, which makes them slower. Where a get and its
/// drop took 18 ns, they took 73 ns with an observer, whatever it does, and some 160 ns with this one and the
/// histograms of a Prometheus exporter. Beside any work with a connection that is nothing.
///
/// Where it does matter, do not pass it as an observer: `publish` then reads the counters from the
/// statistics as well, and the pool stays as fast as without metrics. Missing are the histograms, whose
/// percentiles are in [`PoolStats`], and `.leaks`. (To hand the pool's own histograms over would take a
/// call for each checkout since the last time, as many recorders take samples one by one.) Whether a pool is observed is known from its first event.
///
/// # Names
///
/// A name stands for one pool, as OpenTelemetry wants it. Of several observed pools with one name (or one
/// built anew) the counters add up; the gauges are those of the pool published last. Counters read from
/// the statistics never fall: a pool that is built anew has to pass the count of the one before it.
///
/// # Which recorder
///
/// The one given by [`recorder`](Self::recorder), else the global one. The metrics of a pool are
/// registered once, at the first event or `publish` with its name: a recorder installed later is not seen.
/// Events come on threads of the pool too, so that a recorder set for the current thread is not enough.
///
/// # Several pools
///
/// A `KeyedPool` takes it as an observer like a pool, and all its keys report under its name. A registry
/// may know a pool by another name than its own; published by its own, it agrees with its events:
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
/// // One key of many, only where there are few: each name is a set of metrics that stays.
/// if let Some(stats) = tenants.stats_for(&7) {
///     metrics.publish_as("tenants-7", &stats);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it reports what it observes, and what it is told to publish"]
pub struct PoolMetrics {
    book: Arc<Book>,
    /// The pool that this clone has heard of first. As an observer it has but one, as a rule: then an
    /// event takes no lock and no look into a map that other pools use too.
    own: OnceLock<Arc<Instruments>>,
}

/// What clones share.
struct Book {
    prefix: String,
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
    described: AtomicBool,
    pools: RwLock<HashMap<String, Arc<Instruments>>>,
}

impl PoolMetrics {
    /// Metrics under the names of OpenTelemetry, for the global recorder.
    pub fn new() -> Self {
        Self::with(names::PREFIX.to_owned(), None)
    }

    /// Other names: this instead of `db.client.connection`, in metrics and attributes. Comes before any
    /// use.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self::with(prefix.into(), self.book.recorder.clone())
    }

    /// For this recorder instead of the global one. Comes before any use.
    pub fn recorder(self, recorder: impl Recorder + Send + Sync + 'static) -> Self {
        Self::with(self.book.prefix.clone(), Some(Arc::new(recorder)))
    }

    fn with(prefix: String, recorder: Option<Arc<dyn Recorder + Send + Sync>>) -> Self {
        let book = Book {
            prefix,
            recorder,
            described: AtomicBool::new(false),
            pools: RwLock::default(),
        };
        Self {
            book: Arc::new(book),
            own: OnceLock::new(),
        }
    }

    /// Sets the gauges of a pool, and for one that is not observed the counters.
    pub fn publish(&self, stats: &PoolStats) {
        self.publish_as(stats.name(), stats);
    }

    /// The same under another name than the pool's own.
    pub fn publish_as(&self, pool: &str, stats: &PoolStats) {
        self.book.of(pool).set(stats);
    }
}

impl PoolObserver for PoolMetrics {
    fn on_event(&self, event: &PoolEvent) {
        let pool = event.pool();
        match self.own.get().filter(|own| own.pool == pool) {
            Some(own) => own.count(event),
            None => {
                let instruments = self.book.of(pool);
                instruments.expect_events();
                instruments.count(event);
                let _first = self.own.set(instruments);
            }
        }
    }
}

impl Book {
    fn of(&self, pool: &str) -> Arc<Instruments> {
        if let Some(known) = self.pools.read().get(pool) {
            return Arc::clone(known);
        }
        // Not under the lock: a recorder is somebody else's code, and takes its own time. Two threads
        // that come at once both register; the recorder gives both the same metrics.
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
    /// The same as [`new`](Self::new).
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for PoolMetrics {
    fn clone(&self) -> Self {
        Self {
            book: Arc::clone(&self.book),
            // The clone may be given to another pool.
            own: OnceLock::new(),
        }
    }
}

impl fmt::Debug for PoolMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pools: Vec<String> = self.book.pools.read().keys().cloned().collect();
        pools.sort_unstable();
        f.debug_struct("PoolMetrics")
            .field("prefix", &self.book.prefix)
            .field("pools", &pools)
            .finish_non_exhaustive()
    }
}
