//! Code of the user's that the pool runs without being asked to: the Drop and the Display of errors, the Drop of
//! connections, managers, observers, clocks and closures, and all that a key can do. A panic in it reaches
//! no caller and costs no slot, no waiter and no thread, wherever it happens.

use crate::common;

use common::{SOON, eventually, ms, quick_backoff, secs, spawn, stays};
use conpool::{
    Clock, ConnectionManager, EvictReason, HealthCheck, KeyedPool, Pool, PoolBuilder, PoolEvent,
    PoolObserver, PooledConnection,
};
use std::{
    error::Error,
    fmt,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Instant,
};

/// Panics so many times, each in the place that it is armed for, and remembers on which thread.
#[derive(Clone, Default)]
struct Fuse {
    left: Arc<AtomicUsize>,
    threads: Arc<Mutex<Vec<String>>>,
}

impl Fuse {
    fn arm(&self, times: usize) {
        self.left.store(times, SeqCst);
    }

    fn burn(&self) {
        // A second panic in a Drop that unwinding runs would end the process, whoever catches.
        if thread::panicking() {
            return;
        }
        let less = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(SeqCst, SeqCst, less).is_ok() {
            let name = thread::current().name().unwrap_or("unnamed").to_owned();
            self.threads.lock().unwrap().push(name);
            panic!("foreign code");
        }
    }

    fn is_spent(&self) -> bool {
        self.left.load(SeqCst) == 0 && !self.threads.lock().unwrap().is_empty()
    }

    #[track_caller]
    fn burnt_on(&self, thread: &str) {
        let threads = self.threads.lock().unwrap();
        assert!(
            threads.iter().any(|name| name.ends_with(thread)),
            "{threads:?}"
        );
    }
}

/// Panics when it is dropped.
struct Drops(Fuse);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.burn();
    }
}

/// An error that panics when it is dropped, or when it is printed.
struct Bad {
    printed: Fuse,
    _dropped: Drops,
}

impl fmt::Debug for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.printed.burn();
        f.write_str("bad")
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.printed.burn();
        f.write_str("bad")
    }
}

impl Error for Bad {}

/// How often each hook fails.
#[derive(Default)]
struct Failing {
    create: AtomicUsize,
    check: AtomicUsize,
    checkout: AtomicUsize,
    checkin: AtomicUsize,
}

/// What of a manager may panic where nobody asked for it.
#[derive(Clone, Default)]
struct Fuses {
    failing: Arc<Failing>,
    error_dropped: Fuse,
    error_printed: Fuse,
    connection_dropped: Fuse,
    manager_dropped: Fuse,
}

impl Fuses {
    fn manager(&self) -> Manager {
        Manager {
            _dropped: Drops(self.manager_dropped.clone()),
            fuses: self.clone(),
        }
    }

    fn error(&self) -> Bad {
        Bad {
            printed: self.error_printed.clone(),
            _dropped: Drops(self.error_dropped.clone()),
        }
    }

    fn fails(&self, times: &AtomicUsize) -> Result<(), Bad> {
        let less = |left: usize| left.checked_sub(1);
        match times.fetch_update(SeqCst, SeqCst, less) {
            Ok(_) => Err(self.error()),
            Err(_) => Ok(()),
        }
    }
}

struct Manager {
    fuses: Fuses,
    _dropped: Drops,
}

impl ConnectionManager for Manager {
    type Connection = Drops;
    type Error = Bad;

    fn create(&self) -> Result<Drops, Bad> {
        self.fuses.fails(&self.fuses.failing.create)?;
        Ok(Drops(self.fuses.connection_dropped.clone()))
    }

    fn check_aliveness(&self, _: &mut Drops) -> Result<(), Bad> {
        self.fuses.fails(&self.fuses.failing.check)
    }

    fn on_checkout(&self, _: &mut Drops) -> Result<(), Bad> {
        self.fuses.fails(&self.fuses.failing.checkout)
    }

    fn on_checkin(&self, _: &mut Drops) -> Result<(), Bad> {
        self.fuses.fails(&self.fuses.failing.checkin)
    }

    fn is_transient(&self, _: &Bad) -> bool {
        true
    }
}

fn builder(threads: bool) -> PoolBuilder<Manager> {
    Pool::builder()
        .name("foreign")
        .max_size(2)
        .background_collector(threads)
        .backoff(quick_backoff())
        .health_check(HealthCheck::OnCheckout)
}

/// It serves as many as it may, and ends.
#[track_caller]
fn is_whole(pool: &Pool<Manager>) {
    for _ in 0..3 {
        let both = [(); 2].map(|()| pool.get_timeout(SOON).expect("whole"));
        assert_eq!(pool.stats().in_use, 2);
        drop(both);
    }
    eventually(|| pool.stats().disposing == 0);
    let seen = pool.stats();
    assert!(seen.size <= 2 && seen.in_use == 0, "{seen}");
    pool.close_timeout(SOON).expect("nothing is left");
}

/// Two failures of a hook: the second replaces the error of the first, which is dropped then.
fn a_failing_hook_whose_errors_panic(
    threads: bool,
    hook: fn(&Failing) -> &AtomicUsize,
    fuse: fn(&Fuses) -> &Fuse,
) -> Fuses {
    let fuses = Fuses::default();
    let pool = builder(threads).build(fuses.manager()).unwrap();
    fuse(&fuses).arm(1);
    hook(&fuses.failing).store(3, SeqCst);
    let mut turn = 0;
    eventually(|| {
        turn += 1;
        match pool.get_timeout(SOON) {
            // A create follows only a discard, a check only a return.
            Ok(guard) if turn % 2 == 0 => PooledConnection::discard(guard),
            Ok(guard) => drop(guard),
            // The caller's own errors are the caller's to drop.
            Err(error) => std::mem::forget(error),
        }
        hook(&fuses.failing).load(SeqCst) == 0
    });
    is_whole(&pool);
    fuses
}

#[test]
fn an_error_that_panics_when_it_is_dropped_costs_nothing_else() {
    let hooks: [fn(&Failing) -> &AtomicUsize; 4] = [
        |failing| &failing.create,
        |failing| &failing.check,
        |failing| &failing.checkout,
        |failing| &failing.checkin,
    ];
    for threads in [true, false] {
        for hook in hooks {
            let fuses =
                a_failing_hook_whose_errors_panic(threads, hook, |fuses| &fuses.error_dropped);
            eventually(|| fuses.error_dropped.is_spent());
        }
    }
}

#[test]
fn an_error_that_panics_when_it_is_printed_costs_nothing_else() {
    for threads in [true, false] {
        for hook in [
            |failing: &Failing| &failing.create,
            |failing: &Failing| &failing.check,
        ] as [fn(&Failing) -> &AtomicUsize; 2]
        {
            let fuses =
                a_failing_hook_whose_errors_panic(threads, hook, |fuses| &fuses.error_printed);
            assert!(fuses.error_printed.is_spent(), "stats print it");
        }
    }
}

#[test]
fn a_connection_that_panics_when_it_is_dropped_costs_itself_on_a_worker_and_on_a_caller() {
    for threads in [true, false] {
        let fuses = Fuses::default();
        let pool = builder(threads).build(fuses.manager()).unwrap();
        fuses.connection_dropped.arm(1);
        PooledConnection::discard(pool.get_timeout(SOON).unwrap());
        eventually(|| fuses.connection_dropped.is_spent());
        if threads {
            fuses.connection_dropped.burnt_on("worker");
        }
        eventually(|| pool.stats().panics == 1);
        is_whole(&pool);
    }
}

#[test]
fn a_manager_that_panics_when_it_is_dropped_reaches_no_thread_that_ends_the_pool() {
    // By the last handle, by the last guard, and by a thread of the pool.
    for threads in [true, false] {
        for guard_is_last in [true, false] {
            let fuses = Fuses::default();
            let pool = builder(threads).build(fuses.manager()).unwrap();
            fuses.manager_dropped.arm(1);
            let guard = pool.get_timeout(SOON).unwrap();
            let ended = catch_unwind(AssertUnwindSafe(|| {
                if guard_is_last {
                    drop(pool);
                    drop(guard);
                } else {
                    drop(guard);
                    drop(pool);
                }
            }));
            assert!(ended.is_ok(), "the panic reached the caller");
            eventually(|| fuses.manager_dropped.is_spent());
            // The slots that it leaves serve the next pool of this type.
            is_whole(&builder(threads).build(Fuses::default().manager()).unwrap());
        }
    }
}

struct Observing {
    called: Fuse,
    _dropped: Drops,
}

impl PoolObserver for Observing {
    fn on_event(&self, _: &PoolEvent) {
        self.called.burn();
    }
}

#[test]
fn an_observer_that_panics_at_an_event_or_when_it_is_dropped_costs_nothing() {
    for threads in [true, false] {
        let (dropped, called) = (Fuse::default(), Fuse::default());
        let observer = Observing {
            called: called.clone(),
            _dropped: Drops(dropped.clone()),
        };
        let pool = builder(threads)
            .observer(observer)
            .build(Fuses::default().manager());
        let pool = pool.unwrap();
        called.arm(3);
        drop(pool.get_timeout(SOON).unwrap());
        drop(pool.get_timeout(SOON).unwrap());
        is_whole(&pool);
        dropped.arm(1);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(pool))).is_ok());
        eventually(|| dropped.is_spent());
        assert!(called.is_spent());
    }
}

struct Watch {
    read: Fuse,
    _dropped: Drops,
}

impl Clock for Watch {
    fn now(&self) -> Instant {
        self.read.burn();
        Instant::now()
    }
}

#[test]
fn a_clock_that_panics_when_it_is_read_or_dropped_costs_nothing() {
    for threads in [true, false] {
        let (dropped, read) = (Fuse::default(), Fuse::default());
        let watch = Watch {
            read: read.clone(),
            _dropped: Drops(dropped.clone()),
        };
        let pool = builder(threads)
            .clock(watch)
            .build(Fuses::default().manager());
        let pool = pool.unwrap();
        read.arm(10);
        drop(pool.get_timeout(SOON).unwrap());
        let _ = pool.sweep();
        eventually(|| {
            drop(pool.get_timeout(SOON).unwrap());
            read.is_spent()
        });
        is_whole(&pool);
        dropped.arm(1);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(pool))).is_ok());
        eventually(|| dropped.is_spent());
    }
}

#[test]
fn a_closure_that_panics_in_retain_costs_one_connection() {
    let pool = builder(true).build(Fuses::default().manager()).unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        pool.retain(|_, _| panic!("the caller's own"))
    }));
    assert!(caught.is_err(), "it is the caller's panic");
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 1);
    is_whole(&pool);
}

// ---- keys --------------------------------------------------------------------------------------------

#[derive(Clone, Default)]
struct KeyFuses {
    hash: Fuse,
    eq: Fuse,
    clone: Fuse,
    drop: Fuse,
}

struct Key(u32, KeyFuses);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.hash.burn();
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.1.eq.burn();
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        self.1.clone.burn();
        Self(self.0, self.1.clone())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.1.drop.burn();
    }
}

fn keyed(fuses: &Fuses) -> KeyedPool<Key, Manager> {
    let fuses = fuses.clone();
    KeyedPool::builder()
        .name("keys")
        .idle_timeout(ms(20))
        .health_check(HealthCheck::Never)
        .backoff(quick_backoff())
        .build(move |_: &Key| fuses.manager())
        .unwrap()
}

/// A key panics on its caller's thread, which is the caller's affair; nobody else is kept waiting by it.
#[test]
fn a_key_that_panics_in_a_callers_hand_keeps_no_other_caller_out() {
    for fuse in [
        |key: &KeyFuses| &key.hash,
        |key: &KeyFuses| &key.eq,
        |key: &KeyFuses| &key.clone,
    ] as [fn(&KeyFuses) -> &Fuse; 3]
    {
        for nth in 1..6 {
            let (of_key, pool) = (KeyFuses::default(), keyed(&Fuses::default()));
            drop(pool.get(&Key(1, of_key.clone())).unwrap());
            // The key's code runs some times in a get of a new key; each of them is tried.
            let burning = Key(2, of_key.clone());
            for _ in 0..nth {
                fuse(&of_key).arm(1);
                let got = catch_unwind(AssertUnwindSafe(|| {
                    pool.get_timeout(&burning, SOON).map(drop)
                }));
                if let Ok(got) = got {
                    got.unwrap();
                }
            }
            fuse(&of_key).arm(0);
            let other = spawn({
                let (pool, key) = (pool.clone(), Key(2, of_key.clone()));
                move || drop(pool.get_timeout(&key, SOON).unwrap())
            });
            other.join_soon();
            drop(pool.get_timeout(&Key(1, of_key), SOON).unwrap());
            pool.close_timeout(SOON).unwrap();
        }
    }
}

#[test]
fn a_key_that_panics_on_the_collectors_thread_does_not_wedge_the_pool() {
    for fuse in [
        |key: &KeyFuses| &key.hash,
        |key: &KeyFuses| &key.eq,
        |key: &KeyFuses| &key.drop,
    ] as [fn(&KeyFuses) -> &Fuse; 3]
    {
        let (of_key, pool) = (KeyFuses::default(), keyed(&Fuses::default()));
        for number in 0..3 {
            drop(
                pool.get_timeout(&Key(number, of_key.clone()), SOON)
                    .unwrap(),
            );
        }
        // Idle for long, and let go by the collector, which asks the key or drops it.
        fuse(&of_key).arm(usize::MAX);
        eventually(|| pool.stats().size == 0);
        stays(|| pool.stats().size == 0);
        let patience = Instant::now() + secs(1);
        while fuse(&of_key).threads.lock().unwrap().is_empty() && Instant::now() < patience {
            thread::sleep(ms(5));
        }
        fuse(&of_key).arm(0);
        for number in 0..3 {
            drop(
                pool.get_timeout(&Key(number, of_key.clone()), SOON)
                    .unwrap(),
            );
        }
        pool.close_timeout(SOON).unwrap();
    }
}

#[test]
fn a_factory_that_panics_when_it_is_dropped_reaches_nobody() {
    let fuse = Fuse::default();
    let drops = Drops(fuse.clone());
    let fuses = Fuses::default();
    let pool = KeyedPool::<u32, Manager>::builder()
        .build(move |_: &u32| {
            let _kept = &drops;
            fuses.manager()
        })
        .unwrap();
    drop(pool.get(&1).unwrap());
    fuse.arm(1);
    pool.close_timeout(SOON).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(pool))).is_ok());
    eventually(|| fuse.is_spent());
}
