//! Helpers that the behaviour tests share.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests time the pool from outside and are themselves the users' threads"
)]

pub(crate) mod acceptor;
pub(crate) mod executor;
pub(crate) mod folder;

use conpool::{
    Backoff, ConnectionManager, EvictReason, GetError, Hook, MemoryConnection, MemoryError,
    MemoryManager, Pool, PoolBuilder, PoolEvent, PoolObserver, PoolStats, PooledConnection,
    Timeout,
};
use std::{
    error::Error,
    fs::{self, File},
    io::{Read, Seek},
    panic,
    sync::{
        Arc, Condvar, Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The tolerance for a busy machine on a promised bound: 200 ms, plus four times the worst delay measured so
/// far.
pub(crate) fn noise() -> Duration {
    let latency_monitor = latency_monitor();
    // A stall that has just delayed the test also delays the monitor, and is known after its next sample.
    let samples = latency_monitor.samples.load(Ordering::Acquire);
    eventually(|| latency_monitor.samples.load(Ordering::Acquire) > samples);
    let worst = Duration::from_micros(latency_monitor.worst.load(Ordering::Relaxed));
    Duration::from_millis(200) + worst * 4
}

struct LatencyMonitor {
    /// The worst delay, in microseconds, of a thread that sleeps for some milliseconds and then starts
    /// another one. The scheduler favours sleepers, so a sleep alone shows too little.
    worst: AtomicU64,
    samples: AtomicU64,
}

fn latency_monitor() -> &'static LatencyMonitor {
    static MONITOR: LatencyMonitor = LatencyMonitor {
        worst: AtomicU64::new(0),
        samples: AtomicU64::new(0),
    };
    static START: Once = Once::new();
    START.call_once(|| {
        let mut load = File::open("/proc/loadavg").ok();
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        thread::spawn(move || {
            loop {
                let start = Instant::now();
                thread::sleep(Duration::from_millis(4));
                // Tests with a thread limit make this spawn fail, which is fine. Other threads cannot reuse a
                // stack this small.
                let other = thread::Builder::new().stack_size(64 * 1024).spawn(|| ());
                drop(other.map(thread::JoinHandle::join));
                let late = (start.elapsed().as_micros() as u64).saturating_sub(4000);
                let worst = late.max(run_queue_delay(&mut load, cores));
                MONITOR.worst.fetch_max(worst, Ordering::Relaxed);
                MONITOR.samples.fetch_add(1, Ordering::Release);
            }
        });
        // Many tests panic on purpose. A backtrace takes 100 ms of the panicking hook, so one line is
        // printed.
        panic::set_hook(Box::new(|info| eprintln!("{info}")));
    });
    &MONITOR
}

/// The estimated delay, in microseconds, of a thread that every runnable thread precedes for a time slice of
/// some milliseconds. Zero where the system does not report it. `load` stays open and the cores are counted
/// once, because tests count and limit descriptors.
fn run_queue_delay(load: &mut Option<File>, cores: u64) -> u64 {
    let mut text = [0; 64];
    let read = load.as_mut().map(|load| {
        load.rewind()?;
        load.read(&mut text)
    });
    let length = read.and_then(Result::ok).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]);
    let running = text.split(' ').nth(3);
    let running = running.and_then(|field| field.split('/').next());
    let running: u64 = running.and_then(|count| count.parse().ok()).unwrap_or(0);
    (running / cores).saturating_sub(1) * 4000
}

/// The bound on everything without a promised bound. It is long because a host that takes one of two cores
/// away stops some threads for seconds.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn now() -> Instant {
    latency_monitor();
    Instant::now()
}

pub(crate) fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let start = now();
    (work(), start.elapsed())
}

/// Asserts that `took` lies between `least` and `least` plus noise.
#[track_caller]
pub(crate) fn assert_at(took: Duration, least: Duration) {
    assert!(took >= least, "gave up after {took:?}, before {least:?}");
    assert!(
        took <= least + noise(),
        "took {took:?} instead of {least:?}"
    );
}

/// Returns the first timeout error that carries a cause. On a busy machine the first callers may time out
/// before anything was tried.
#[track_caller]
pub(crate) fn timeout_with_cause<M: ConnectionManager>(
    pool: &Pool<M>,
    timeout: Duration,
) -> Timeout<M::Error> {
    let start = now();
    loop {
        let (result, took) = timed(|| pool.get_timeout(timeout));
        assert_at(took, timeout);
        match result.map(drop).unwrap_err() {
            GetError::TimedOut(told) if told.last.is_some() => return *told,
            error => assert!(
                error.is_timeout() && start.elapsed() < SOON,
                "without a cause: {error}"
            ),
        }
    }
}

/// Asserts that `condition` comes true within [`SOON`].
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < SOON, "still not true after {SOON:?}");
        thread::sleep(ms(1));
    }
}

/// Asserts that `condition` holds now and for a while.
#[track_caller]
pub(crate) fn stays(mut condition: impl FnMut() -> bool) {
    for _ in 0..10 {
        assert!(condition(), "does not stay true");
        thread::sleep(ms(5));
    }
    assert!(condition(), "does not stay true");
}

/// A thread of the test.
#[derive(Debug)]
pub(crate) struct Task<T>(thread::JoinHandle<T>);

impl<T> Task<T> {
    pub(crate) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// The thread's result. A thread that does not end soon fails the test instead of blocking it.
    #[track_caller]
    pub(crate) fn join_soon(self) -> T {
        eventually(|| self.0.is_finished());
        self.0.join().expect("a thread of the test panicked")
    }
}

pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    Task(thread::spawn(work))
}

/// The number of threads of this process whose name starts with `prefix`; 0 where the system does not report
/// it.
pub(crate) fn threads(prefix: &str) -> usize {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return 0;
    };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with(prefix))
        .count()
}

/// The number of file descriptors of this process that are open on `target`.
pub(crate) fn descriptors(target: &std::path::Path) -> usize {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return 0;
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|link| link == target)
        .count()
}

/// Pauses of 5 ms between repeated creates, so that tests of failure stay short.
pub(crate) fn quick_backoff() -> Backoff {
    let mut backoff = Backoff::default();
    backoff.initial = ms(5);
    backoff.max = ms(5);
    backoff.jitter = 0.0;
    backoff
}

/// A pool of memory connections with quick retries and otherwise the defaults.
pub(crate) fn quick(name: &str) -> PoolBuilder<MemoryManager> {
    latency_monitor();
    Pool::builder().name(name).backoff(quick_backoff())
}

/// Takes `n` connections at once.
pub(crate) fn take<M: ConnectionManager>(pool: &Pool<M>, n: usize) -> Vec<PooledConnection<M>> {
    (0..n)
        .map(|_| pool.get_timeout(SOON).expect("a connection"))
        .collect()
}

/// Waits until exactly `n` callers are blocked in `get`.
#[track_caller]
pub(crate) fn queued<M: ConnectionManager>(pool: &Pool<M>, n: usize) {
    eventually(|| pool.stats().waiters == n);
}

/// Blocks a thread in `get`, the only one. Its result is the id of its connection, which goes back.
#[track_caller]
pub(crate) fn waiter(pool: &Pool<MemoryManager>) -> Task<Result<u64, GetError<MemoryError>>> {
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(SOON).map(|guard| guard.id())
    });
    queued(pool, 1);
    waiter
}

/// Interrupts the only connection in use, once there is one.
#[track_caller]
pub(crate) fn interrupt_holder<M: ConnectionManager>(pool: &Pool<M>) {
    eventually(|| pool.holders().len() == 1);
    assert!(pool.interrupt(pool.holders()[0].connection_id));
}

/// Opens `n` connections and gives all of them back.
pub(crate) fn fill<M: ConnectionManager>(pool: &Pool<M>, n: usize) {
    drop(take(pool, n));
    eventually(|| pool.stats().idle >= n);
}

/// The number of connections found dead at a checkout: by the check where it was due, else by the probe of
/// every checkout.
pub(crate) fn found_dead(stats: &PoolStats) -> u64 {
    stats.evicted(EvictReason::CheckFailed) + stats.evicted(EvictReason::HookFailed)
}

/// An error with all its causes, each after a colon.
pub(crate) fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

/// Asserts that a closed pool of this name has disposed every connection and ended its threads, without a
/// panic.
#[track_caller]
pub(crate) fn left_nothing(stats: &PoolStats, name: &str) {
    assert_eq!(stats.created, stats.disposed, "{stats}");
    assert_eq!(stats.size + stats.disposing + stats.abandoned, 0, "{stats}");
    assert_eq!(stats.panics, 0, "{stats}");
    let prefix = format!("{name}-");
    eventually(|| threads(&prefix) == 0);
}

/// Asserts that every connection of `backend` went through `dispose`, once.
#[track_caller]
pub(crate) fn all_disposed(backend: &MemoryManager) {
    backend.wait_for(|seen| seen.open == 0 && seen.in_hook == 0, SOON);
    let seen = backend.counters();
    assert_eq!(seen.open, 0, "{seen:?}");
    assert_eq!(seen.disposed, seen.created, "{seen:?}");
    assert_eq!(seen.dropped_undisposed, 0, "{seen:?}");
}

/// Closes `pool` and asserts that it has released everything.
#[track_caller]
pub(crate) fn close_clean<M: ConnectionManager>(pool: &Pool<M>, backend: &MemoryManager) {
    if let Err(left) = pool.close_timeout(SOON) {
        panic!("not closed: {left:?}, {:?}", pool.stats());
    }
    all_disposed(backend);
    let stats = pool.stats();
    assert_eq!(
        stats.size + stats.disposing + stats.abandoned,
        0,
        "{stats:?}"
    );
}

/// A latch: callers of `pass` block until it is opened. It stays open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    arrivals: usize,
}

impl Gate {
    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().open = true;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let mut at = self.0.0.lock().unwrap();
        at.arrivals += 1;
        drop(self.0.1.wait_while(at, |at| !at.open).unwrap());
    }

    /// The number of calls of `pass` so far.
    pub(crate) fn arrivals(&self) -> usize {
        self.0.0.lock().unwrap().arrivals
    }
}

/// A shared list of lines, written by threads, hooks and observers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn push(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, start: &str) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }

    /// The first line with this prefix.
    pub(crate) fn find(&self, start: &str) -> Option<String> {
        self.lines()
            .into_iter()
            .find(|line| line.starts_with(start))
    }

    /// The index of the first line with this prefix.
    #[track_caller]
    pub(crate) fn position(&self, start: &str) -> usize {
        let lines = self.lines();
        lines
            .iter()
            .position(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("no {start:?} in {lines:?}"))
    }
}

impl PoolObserver for Log {
    fn on_event(&self, event: &PoolEvent) {
        self.push(format!("{event:?}"));
    }
}

/// All hooks.
pub(crate) const HOOKS: [Hook; 7] = [
    Hook::Create,
    Hook::Check,
    Hook::Dispose,
    Hook::HasBroken,
    Hook::Checkout,
    Hook::Checkin,
    Hook::Reset,
];

type Before = Box<dyn Fn(Hook, u64) + Send + Sync>;

/// A memory manager that first runs a function in every hook, with the number of the connection (for a create
/// the number of the call, from 1). The function may block, panic or call a pool.
pub(crate) struct Custom {
    backend: MemoryManager,
    before: Before,
    creates: AtomicU64,
}

impl Custom {
    pub(crate) fn new(
        backend: &MemoryManager,
        before: impl Fn(Hook, u64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            backend: backend.clone(),
            before: Box::new(before),
            creates: AtomicU64::new(0),
        }
    }

    /// Waits in the first create for the gate.
    pub(crate) fn first_create_waits(backend: &MemoryManager, gate: &Gate) -> Self {
        let gate = gate.clone();
        Self::new(backend, move |hook, n| {
            if (hook, n) == (Hook::Create, 1) {
                gate.pass();
            }
        })
    }
}

impl ConnectionManager for Custom {
    type Connection = MemoryConnection;
    type Error = MemoryError;

    fn create(&self) -> Result<MemoryConnection, MemoryError> {
        (self.before)(
            Hook::Create,
            self.creates.fetch_add(1, Ordering::SeqCst) + 1,
        );
        self.backend.create()
    }

    fn check_aliveness(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        (self.before)(Hook::Check, connection.id());
        self.backend.check_aliveness(connection)
    }

    fn dispose(&self, connection: MemoryConnection) {
        /// Disposes even if the function panics, so that the counters stay correct.
        struct Finally<'a>(&'a MemoryManager, Option<MemoryConnection>);
        impl Drop for Finally<'_> {
            fn drop(&mut self) {
                self.0.dispose(self.1.take().unwrap());
            }
        }
        let id = connection.id();
        let _finally = Finally(&self.backend, Some(connection));
        (self.before)(Hook::Dispose, id);
    }

    fn has_broken(&self, connection: &mut MemoryConnection) -> bool {
        (self.before)(Hook::HasBroken, connection.id());
        self.backend.has_broken(connection)
    }

    fn on_checkout(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        (self.before)(Hook::Checkout, connection.id());
        self.backend.on_checkout(connection)
    }

    fn on_checkin(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        (self.before)(Hook::Checkin, connection.id());
        self.backend.on_checkin(connection)
    }

    fn needs_reset(&self, connection: &MemoryConnection) -> bool {
        ConnectionManager::needs_reset(&self.backend, connection)
    }

    fn reset(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        (self.before)(Hook::Reset, connection.id());
        self.backend.reset(connection)
    }

    fn is_transient(&self, error: &MemoryError) -> bool {
        self.backend.is_transient(error)
    }

    fn check_may_block(&self) -> bool {
        self.backend.check_may_block()
    }
}

/// A small reproducible random number generator.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}
