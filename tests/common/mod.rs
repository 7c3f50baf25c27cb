//! Helpers that the behaviour tests share.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "tests time the pool from outside and are themselves the users' threads"
)]

use conpool::{
    Backoff, ConnectionManager, GetError, Hook, MemoryConnection, MemoryError, MemoryManager, Pool,
    PoolBuilder, PoolEvent, PoolObserver, PooledConnection, Timeout,
};
use std::{
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

/// What a busy machine may add to a promised bound: 200 ms, and several times what it was just seen to add
/// to a sleep of some milliseconds and the start of a thread, or to make a thread wait for its turn.
pub(crate) fn noise() -> Duration {
    let watchdog = watchdog();
    // What has just held up the test has held up the watchdog too, and is known after its next look.
    let looks = watchdog.looks.load(Ordering::Acquire);
    eventually(|| watchdog.looks.load(Ordering::Acquire) > looks);
    let worst = Duration::from_micros(watchdog.worst.load(Ordering::Relaxed));
    Duration::from_millis(200) + worst * 4
}

struct Watchdog {
    /// The worst delay, in microseconds, that a thread has seen which sleeps for some milliseconds and then
    /// starts another one. A sleeper alone sees little: the scheduler is kind to it.
    worst: AtomicU64,
    looks: AtomicU64,
}

fn watchdog() -> &'static Watchdog {
    static WATCHDOG: Watchdog = Watchdog {
        worst: AtomicU64::new(0),
        looks: AtomicU64::new(0),
    };
    static START: Once = Once::new();
    START.call_once(|| {
        let mut load = File::open("/proc/loadavg").ok();
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        thread::spawn(move || {
            loop {
                let start = Instant::now();
                thread::sleep(Duration::from_millis(4));
                // Where threads are refused, that is what is tested; and of so small a stack no other thread
                // can make use then.
                let other = thread::Builder::new().stack_size(64 * 1024).spawn(|| ());
                drop(other.map(thread::JoinHandle::join));
                let late = (start.elapsed().as_micros() as u64).saturating_sub(4000);
                let worst = late.max(turn(&mut load, cores));
                WATCHDOG.worst.fetch_max(worst, Ordering::Relaxed);
                WATCHDOG.looks.fetch_add(1, Ordering::Release);
            }
        });
        // Panics are daily work in these tests, and a backtrace of each takes 100 ms of the hook that
        // panics: one line is enough.
        panic::set_hook(Box::new(|info| eprintln!("{info}")));
    });
    &WATCHDOG
}

/// How long, in microseconds, a thread may have to wait for its turn where all that want to run now take
/// theirs before it, some milliseconds each. Zero where the system does not tell. `load` stays open, and the
/// cores are counted once, for which files are opened too: tests count descriptors, and limit them.
fn turn(load: &mut Option<File>, cores: u64) -> u64 {
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

/// How long something without a promised bound may take before the test calls it wedged. A host that takes one
/// of two cores away stops some threads for seconds, while the others go on and see them stuck.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn now() -> Instant {
    watchdog();
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

/// What callers are told who give the pool this long, as soon as it carries a cause: on a busy machine the
/// first ones may be gone before anything was tried.
#[track_caller]
pub(crate) fn told<M: ConnectionManager>(pool: &Pool<M>, timeout: Duration) -> Timeout<M::Error> {
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

/// Asserts that `condition` comes true within five seconds.
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

    /// The thread's result; a thread that does not end soon fails the test instead of hanging it.
    #[track_caller]
    pub(crate) fn join_soon(self) -> T {
        eventually(|| self.0.is_finished());
        self.0.join().expect("a thread of the test panicked")
    }
}

pub(crate) fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    Task(thread::spawn(work))
}

/// How many threads of this process have a name that begins like this; 0 where the system does not
/// tell.
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

/// How many file descriptors this process has open on `target`.
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
    watchdog();
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

/// Opens `n` connections and gives them all back.
pub(crate) fn fill<M: ConnectionManager>(pool: &Pool<M>, n: usize) {
    drop(take(pool, n));
    eventually(|| pool.stats().idle >= n);
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

/// Closes `pool` and asserts that nothing of it is left.
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

/// A door that is shut until it is opened for good.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<AtGate>, Condvar)>);

#[derive(Debug, Default)]
struct AtGate {
    open: bool,
    came: usize,
}

impl Gate {
    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().open = true;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let mut at = self.0.0.lock().unwrap();
        at.came += 1;
        drop(self.0.1.wait_while(at, |at| !at.open).unwrap());
    }

    /// How many have come to the gate so far.
    pub(crate) fn came(&self) -> usize {
        self.0.0.lock().unwrap().came
    }
}

/// The clones of one list that threads, hooks and observers write to.
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

    /// The first line that begins like this.
    pub(crate) fn find(&self, start: &str) -> Option<String> {
        self.lines()
            .into_iter()
            .find(|line| line.starts_with(start))
    }

    /// Where the first line that begins like this stands.
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

type Before = Box<dyn Fn(Hook, u64) + Send + Sync>;

/// A memory manager that first runs a function in every hook, with the number of the connection
/// (for a create, which call it is, from 1). The function may block, panic or call a pool.
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
        /// Disposes in the end even if the function panics, so that the counters stay true.
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

    fn is_transient(&self, error: &MemoryError) -> bool {
        self.backend.is_transient(error)
    }

    fn check_may_block(&self) -> bool {
        self.backend.check_may_block()
    }
}

/// Small reproducible random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}
