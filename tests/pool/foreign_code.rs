//! User code that the pool runs implicitly: the Drop and the Display of errors, the Drop of connections,
//! managers, observers, clocks and closures, and the traits of a key. A panic in it reaches no caller and
//! costs no slot, no waiter and no thread.

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

/// Panics a set number of times where it is called, and records the thread.
#[derive(Clone, Default)]
struct PanicTrigger {
    left: Arc<AtomicUsize>,
    threads: Arc<Mutex<Vec<String>>>,
}

impl PanicTrigger {
    fn arm(&self, times: usize) {
        self.left.store(times, SeqCst);
    }

    fn fire(&self) {
        // A second panic in a Drop that unwinding runs would abort the process.
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

    fn is_used_up(&self) -> bool {
        self.left.load(SeqCst) == 0 && !self.threads.lock().unwrap().is_empty()
    }

    #[track_caller]
    fn fired_on(&self, thread: &str) {
        let threads = self.threads.lock().unwrap();
        assert!(
            threads.iter().any(|name| name.ends_with(thread)),
            "{threads:?}"
        );
    }
}

/// Panics when it is dropped.
struct PanicsOnDrop(PanicTrigger);

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        self.0.fire();
    }
}

/// An error that panics when it is dropped, or when it is printed.
struct Bad {
    printed: PanicTrigger,
    _dropped: PanicsOnDrop,
}

impl fmt::Debug for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.printed.fire();
        f.write_str("bad")
    }
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.printed.fire();
        f.write_str("bad")
    }
}

impl Error for Bad {}

/// The number of failures of each hook.
#[derive(Default)]
struct Failing {
    create: AtomicUsize,
    check: AtomicUsize,
    checkout: AtomicUsize,
    checkin: AtomicUsize,
}

/// The parts of a manager that may panic implicitly.
#[derive(Clone, Default)]
struct PanicTriggers {
    failing: Arc<Failing>,
    error_dropped: PanicTrigger,
    error_printed: PanicTrigger,
    connection_dropped: PanicTrigger,
    manager_dropped: PanicTrigger,
}

impl PanicTriggers {
    fn manager(&self) -> Manager {
        Manager {
            _dropped: PanicsOnDrop(self.manager_dropped.clone()),
            triggers: self.clone(),
        }
    }

    fn error(&self) -> Bad {
        Bad {
            printed: self.error_printed.clone(),
            _dropped: PanicsOnDrop(self.error_dropped.clone()),
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
    triggers: PanicTriggers,
    _dropped: PanicsOnDrop,
}

impl ConnectionManager for Manager {
    type Connection = PanicsOnDrop;
    type Error = Bad;

    fn create(&self) -> Result<PanicsOnDrop, Bad> {
        self.triggers.fails(&self.triggers.failing.create)?;
        Ok(PanicsOnDrop(self.triggers.connection_dropped.clone()))
    }

    fn check_aliveness(&self, _: &mut PanicsOnDrop) -> Result<(), Bad> {
        self.triggers.fails(&self.triggers.failing.check)
    }

    fn on_checkout(&self, _: &mut PanicsOnDrop) -> Result<(), Bad> {
        self.triggers.fails(&self.triggers.failing.checkout)
    }

    fn on_checkin(&self, _: &mut PanicsOnDrop) -> Result<(), Bad> {
        self.triggers.fails(&self.triggers.failing.checkin)
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

/// Asserts that the pool serves at full size, and closes.
#[track_caller]
fn serves_at_full_size(pool: &Pool<Manager>) {
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

/// Lets a hook fail twice: the second error replaces the first, which is dropped then.
fn a_failing_hook_whose_errors_panic(
    threads: bool,
    hook: fn(&Failing) -> &AtomicUsize,
    trigger: fn(&PanicTriggers) -> &PanicTrigger,
) -> PanicTriggers {
    let triggers = PanicTriggers::default();
    let pool = builder(threads).build(triggers.manager()).unwrap();
    trigger(&triggers).arm(1);
    hook(&triggers.failing).store(3, SeqCst);
    let mut turn = 0;
    eventually(|| {
        turn += 1;
        match pool.get_timeout(SOON) {
            // A create follows only a discard, and a check only a return.
            Ok(guard) if turn % 2 == 0 => PooledConnection::discard(guard),
            Ok(guard) => drop(guard),
            // The caller owns its errors and would drop them.
            Err(error) => std::mem::forget(error),
        }
        hook(&triggers.failing).load(SeqCst) == 0
    });
    serves_at_full_size(&pool);
    triggers
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
            let triggers = a_failing_hook_whose_errors_panic(threads, hook, |triggers| {
                &triggers.error_dropped
            });
            eventually(|| triggers.error_dropped.is_used_up());
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
            let triggers = a_failing_hook_whose_errors_panic(threads, hook, |triggers| {
                &triggers.error_printed
            });
            assert!(triggers.error_printed.is_used_up(), "stats print it");
        }
    }
}

#[test]
fn a_connection_that_panics_when_it_is_dropped_costs_itself_on_a_worker_and_on_a_caller() {
    for threads in [true, false] {
        let triggers = PanicTriggers::default();
        let pool = builder(threads).build(triggers.manager()).unwrap();
        triggers.connection_dropped.arm(1);
        PooledConnection::discard(pool.get_timeout(SOON).unwrap());
        eventually(|| triggers.connection_dropped.is_used_up());
        if threads {
            triggers.connection_dropped.fired_on("worker");
        }
        eventually(|| pool.stats().panics == 1);
        serves_at_full_size(&pool);
    }
}

#[test]
fn a_manager_that_panics_when_it_is_dropped_reaches_no_thread_that_ends_the_pool() {
    // The drop by the last handle, by the last guard, and by a thread of the pool.
    for threads in [true, false] {
        for guard_is_last in [true, false] {
            let triggers = PanicTriggers::default();
            let pool = builder(threads).build(triggers.manager()).unwrap();
            triggers.manager_dropped.arm(1);
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
            eventually(|| triggers.manager_dropped.is_used_up());
            // Its thread-local cache entries serve the next pool of this type.
            serves_at_full_size(
                &builder(threads)
                    .build(PanicTriggers::default().manager())
                    .unwrap(),
            );
        }
    }
}

struct Observing {
    called: PanicTrigger,
    _dropped: PanicsOnDrop,
}

impl PoolObserver for Observing {
    fn on_event(&self, _: &PoolEvent) {
        self.called.fire();
    }
}

#[test]
fn an_observer_that_panics_at_an_event_or_when_it_is_dropped_costs_nothing() {
    for threads in [true, false] {
        let (dropped, called) = (PanicTrigger::default(), PanicTrigger::default());
        let observer = Observing {
            called: called.clone(),
            _dropped: PanicsOnDrop(dropped.clone()),
        };
        let pool = builder(threads)
            .observer(observer)
            .build(PanicTriggers::default().manager());
        let pool = pool.unwrap();
        called.arm(3);
        drop(pool.get_timeout(SOON).unwrap());
        drop(pool.get_timeout(SOON).unwrap());
        serves_at_full_size(&pool);
        dropped.arm(1);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(pool))).is_ok());
        eventually(|| dropped.is_used_up());
        assert!(called.is_used_up());
    }
}

struct Watch {
    read: PanicTrigger,
    _dropped: PanicsOnDrop,
}

impl Clock for Watch {
    fn now(&self) -> Instant {
        self.read.fire();
        Instant::now()
    }
}

#[test]
fn a_clock_that_panics_when_it_is_read_or_dropped_costs_nothing() {
    for threads in [true, false] {
        let (dropped, read) = (PanicTrigger::default(), PanicTrigger::default());
        let watch = Watch {
            read: read.clone(),
            _dropped: PanicsOnDrop(dropped.clone()),
        };
        let pool = builder(threads)
            .clock(watch)
            .build(PanicTriggers::default().manager());
        let pool = pool.unwrap();
        read.arm(10);
        drop(pool.get_timeout(SOON).unwrap());
        let _ = pool.sweep();
        eventually(|| {
            drop(pool.get_timeout(SOON).unwrap());
            read.is_used_up()
        });
        serves_at_full_size(&pool);
        dropped.arm(1);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(pool))).is_ok());
        eventually(|| dropped.is_used_up());
    }
}

#[test]
fn a_closure_that_panics_in_retain_costs_one_connection() {
    let pool = builder(true)
        .build(PanicTriggers::default().manager())
        .unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        pool.retain(|_, _| panic!("the caller's own"))
    }));
    assert!(caught.is_err(), "it is the caller's panic");
    assert_eq!(pool.stats().evicted(EvictReason::Panicked), 1);
    serves_at_full_size(&pool);
}

// ---- keys --------------------------------------------------------------------------------------------

#[derive(Clone, Default)]
struct KeyTriggers {
    hash: PanicTrigger,
    eq: PanicTrigger,
    clone: PanicTrigger,
    drop: PanicTrigger,
}

struct Key(u32, KeyTriggers);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.1.hash.fire();
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.1.eq.fire();
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Clone for Key {
    fn clone(&self) -> Self {
        self.1.clone.fire();
        Self(self.0, self.1.clone())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.1.drop.fire();
    }
}

fn keyed(triggers: &PanicTriggers) -> KeyedPool<Key, Manager> {
    let triggers = triggers.clone();
    KeyedPool::builder()
        .name("keys")
        .idle_timeout(ms(20))
        .health_check(HealthCheck::Never)
        .backoff(quick_backoff())
        .build(move |_: &Key| triggers.manager())
        .unwrap()
}

/// A key panics on its caller's thread and the caller gets the panic; other callers are not delayed.
#[test]
fn a_key_that_panics_in_a_callers_hand_keeps_no_other_caller_out() {
    for trigger in [
        |key: &KeyTriggers| &key.hash,
        |key: &KeyTriggers| &key.eq,
        |key: &KeyTriggers| &key.clone,
    ] as [fn(&KeyTriggers) -> &PanicTrigger; 3]
    {
        for nth in 1..6 {
            let (of_key, pool) = (KeyTriggers::default(), keyed(&PanicTriggers::default()));
            drop(pool.get(&Key(1, of_key.clone())).unwrap());
            // A get of a new key runs the key's code several times; each of them is tried.
            let panicking_key = Key(2, of_key.clone());
            for _ in 0..nth {
                trigger(&of_key).arm(1);
                let got = catch_unwind(AssertUnwindSafe(|| {
                    pool.get_timeout(&panicking_key, SOON).map(drop)
                }));
                if let Ok(got) = got {
                    got.unwrap();
                }
            }
            trigger(&of_key).arm(0);
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
    for trigger in [
        |key: &KeyTriggers| &key.hash,
        |key: &KeyTriggers| &key.eq,
        |key: &KeyTriggers| &key.drop,
    ] as [fn(&KeyTriggers) -> &PanicTrigger; 3]
    {
        let (of_key, pool) = (KeyTriggers::default(), keyed(&PanicTriggers::default()));
        for number in 0..3 {
            drop(
                pool.get_timeout(&Key(number, of_key.clone()), SOON)
                    .unwrap(),
            );
        }
        // Idle for long, and removed by the collector, which calls the key's code or drops it.
        trigger(&of_key).arm(usize::MAX);
        eventually(|| pool.stats().size == 0);
        stays(|| pool.stats().size == 0);
        let patience = Instant::now() + secs(1);
        while trigger(&of_key).threads.lock().unwrap().is_empty() && Instant::now() < patience {
            thread::sleep(ms(5));
        }
        trigger(&of_key).arm(0);
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
    let trigger = PanicTrigger::default();
    let drops = PanicsOnDrop(trigger.clone());
    let triggers = PanicTriggers::default();
    let pool = KeyedPool::<u32, Manager>::builder()
        .build(move |_: &u32| {
            let _kept = &drops;
            triggers.manager()
        })
        .unwrap();
    drop(pool.get(&1).unwrap());
    trigger.arm(1);
    pool.close_timeout(SOON).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| drop(pool))).is_ok());
    eventually(|| trigger.is_used_up());
}
