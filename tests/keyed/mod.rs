//! Shared by the tests of keyed pools: a backend for each key, and counts over all of them.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]

use crate::common::{
    Log, SOON, Task, all_disposed, eventually, noise, quick_backoff, spawn, threads,
};
use conpool::{
    ConnectionManager, GetError, Hook, Interrupt, KeyedPool, KeyedPoolBuilder, MemoryConnection,
    MemoryError, MemoryManager, PoolStats, PooledConnection,
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

pub(crate) type Keyed = KeyedPool<u32, Member>;
pub(crate) type Guard = PooledConnection<Member>;
pub(crate) type Got = Result<Guard, GetError<MemoryError>>;
pub(crate) type Builder = KeyedPoolBuilder<u32, Member>;

type Before = Box<dyn Fn(u32, Hook) + Send + Sync>;

/// The backends of all keys. The test keeps a clone to control them.
#[derive(Clone)]
pub(crate) struct Backends(Arc<Inner>);

struct Inner {
    by_key: Mutex<BTreeMap<u32, MemoryManager>>,
    /// The key of every manager that the factory made.
    made: Log,
    /// The begin and the end of each create and each dispose.
    log: Log,
    before: Before,
    /// Slots in use as the managers see them: from the begin of a create to the end of the dispose.
    taken: AtomicUsize,
    peak: AtomicUsize,
}

impl Backends {
    pub(crate) fn new() -> Self {
        Self::with(|_, _| {})
    }

    /// Backends whose hooks first run this function; it may block or panic.
    pub(crate) fn with(before: impl Fn(u32, Hook) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            by_key: Mutex::default(),
            made: Log::default(),
            log: Log::default(),
            before: Box::new(before),
            taken: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        }))
    }

    /// The backend of this key. Every call of the factory uses the same one.
    pub(crate) fn of(&self, key: u32) -> MemoryManager {
        let mut by_key = self.0.by_key.lock().unwrap();
        by_key.entry(key).or_default().clone()
    }

    pub(crate) fn member(&self, key: u32) -> Member {
        self.0.made.push(format!("{key}."));
        Member {
            key,
            backend: self.of(key),
            backends: self.clone(),
        }
    }

    pub(crate) fn build(&self, builder: Builder) -> Keyed {
        let backends = self.clone();
        builder.build(move |key| backends.member(*key)).unwrap()
    }

    /// The number of factory calls for this key.
    pub(crate) fn made(&self, key: u32) -> usize {
        self.0.made.count(&format!("{key}."))
    }

    /// Lines like `create 7.`, `created 7.`, `dispose 7.` and `disposed 7.`, with the key.
    pub(crate) fn log(&self) -> &Log {
        &self.0.log
    }

    /// The highest number of slots in use at once, over all keys.
    pub(crate) fn peak(&self) -> usize {
        self.0.peak.load(SeqCst)
    }

    pub(crate) fn heal(&self) {
        self.each(|backend| backend.heal());
    }

    /// Asserts that every connection of every key went through `dispose`, once.
    #[track_caller]
    pub(crate) fn all_disposed(&self) {
        self.each(all_disposed);
    }

    fn each(&self, work: impl Fn(&MemoryManager)) {
        let by_key = self.0.by_key.lock().unwrap().clone();
        by_key.values().for_each(work);
    }

    fn enter(&self) -> Taken<'_> {
        let taken = self.0.taken.fetch_add(1, SeqCst) + 1;
        self.0.peak.fetch_max(taken, SeqCst);
        Taken(&self.0)
    }
}

/// Frees its slot on drop; forgotten when a connection owns the slot.
struct Taken<'a>(&'a Inner);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, SeqCst);
    }
}

/// The manager of one key.
pub(crate) struct Member {
    key: u32,
    backend: MemoryManager,
    backends: Backends,
}

impl Member {
    fn before(&self, hook: Hook) {
        (self.backends.0.before)(self.key, hook);
    }

    fn note(&self, what: &str) {
        self.backends.log().push(format!("{what} {}.", self.key));
    }
}

impl ConnectionManager for Member {
    type Connection = MemoryConnection;
    type Error = MemoryError;

    fn create(&self) -> Result<MemoryConnection, MemoryError> {
        let taken = self.backends.enter();
        self.note("create");
        self.before(Hook::Create);
        let connection = self.backend.create()?;
        self.note("created");
        std::mem::forget(taken);
        Ok(connection)
    }

    fn check_aliveness(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        self.before(Hook::Check);
        self.backend.check_aliveness(connection)
    }

    fn dispose(&self, connection: MemoryConnection) {
        /// Disposes even if the function panics, so that the counts stay correct.
        struct Finally<'a>(&'a Member, Option<MemoryConnection>);
        impl Drop for Finally<'_> {
            fn drop(&mut self) {
                let _taken = Taken(&self.0.backends.0);
                self.0.note("disposed");
                let connection = self.1.take().unwrap();
                if thread::panicking() {
                    // A second panic, of the script, would abort the process.
                    self.0.backend.panic(Hook::Dispose, 0);
                }
                self.0.backend.dispose(connection);
            }
        }
        self.note("dispose");
        let _finally = Finally(self, Some(connection));
        self.before(Hook::Dispose);
    }

    fn needs_reset(&self, connection: &MemoryConnection) -> bool {
        ConnectionManager::needs_reset(&self.backend, connection)
    }

    fn reset(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        self.before(Hook::Reset);
        self.backend.reset(connection)
    }

    fn has_broken(&self, connection: &mut MemoryConnection) -> bool {
        self.before(Hook::HasBroken);
        self.backend.has_broken(connection)
    }

    fn on_checkout(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        self.before(Hook::Checkout);
        self.backend.on_checkout(connection)
    }

    fn on_checkin(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        self.before(Hook::Checkin);
        self.backend.on_checkin(connection)
    }

    fn is_transient(&self, error: &MemoryError) -> bool {
        self.backend.is_transient(error)
    }

    fn check_may_block(&self) -> bool {
        self.backend.check_may_block()
    }

    fn interrupter(&self, connection: &mut MemoryConnection) -> Option<Box<dyn Interrupt>> {
        self.backend.interrupter(connection)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the manager of key {}", self.key)
    }
}

/// A keyed pool with quick retries and otherwise the defaults.
pub(crate) fn quick_keyed(name: &str) -> Builder {
    // Starts the latency monitor.
    noise();
    KeyedPool::builder().name(name).backoff(quick_backoff())
}

/// Takes one connection of each of these keys.
#[track_caller]
pub(crate) fn take_each(pool: &Keyed, keys: &[u32]) -> Vec<Guard> {
    keys.iter()
        .map(|key| pool.get_timeout(key, SOON).expect("a connection"))
        .collect()
}

/// Calls `get` on a thread of its own, and returns when it waits as the `nth`.
#[track_caller]
pub(crate) fn wait_as(pool: &Keyed, nth: usize, key: u32, timeout: Duration) -> Task<Got> {
    let asking = pool.clone();
    let task = spawn(move || asking.get_timeout(&key, timeout));
    await_waiters(pool, nth);
    task
}

/// Waits until exactly `n` callers are blocked, over all keys.
#[track_caller]
pub(crate) fn await_waiters(pool: &Keyed, n: usize) {
    eventually(|| pool.stats().waiters == n);
}

/// The keys in order.
pub(crate) fn sorted_keys(pool: &Keyed) -> Vec<u32> {
    let mut keys = pool.keys();
    keys.sort_unstable();
    keys
}

/// Asserts the invariants of a snapshot of all keys.
#[track_caller]
pub(crate) fn audit(pool: &Keyed, max_total: usize) -> PoolStats {
    let stats = pool.stats();
    assert_eq!(stats.size, stats.idle + stats.in_use + stats.creating);
    assert!(stats.size + stats.disposing <= max_total, "{stats:?}");
    stats
}

/// Closes `pool` and asserts that it has released everything.
#[track_caller]
pub(crate) fn close_all(pool: &Keyed, backends: &Backends) {
    if let Err(left) = pool.close_timeout(SOON) {
        panic!("not closed: {left:?}, {:?}", pool.stats());
    }
    backends.all_disposed();
    let stats = pool.stats();
    let left = stats.size + stats.disposing + stats.abandoned + stats.waiters;
    assert_eq!(left, 0, "{stats:?}");
    assert_eq!(stats.created, stats.disposed + stats.detached, "{stats:?}");
    let name: String = pool.name().chars().take(13).collect();
    eventually(|| threads(&format!("{name}-")) == 0);
}

/// Runs `work` on `n` threads, each with its number, and returns the time of the slowest.
#[track_caller]
pub(crate) fn crowd(n: u64, work: impl Fn(u64) + Clone + Send + 'static) -> Duration {
    let start = Instant::now();
    let users: Vec<_> = (0..n)
        .map(|n| {
            let work = work.clone();
            thread::spawn(move || work(n))
        })
        .collect();
    for user in users {
        user.join().expect("a thread of the crowd panicked");
    }
    start.elapsed()
}
