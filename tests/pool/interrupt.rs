//! Interrupts: a thread that hangs in a connection is freed, and the connection goes to nobody else.

use crate::common;

use common::{
    Log, SOON, Task, close_clean, eventually, interrupt_holder, ms, queued, quick, secs, spawn,
    stays, take, timed,
};
use conpool::{
    ConnectionManager, EvictReason, Hook, Interrupt, LeakAction, ManualClock, MemoryConnection,
    MemoryError, MemoryManager, Pool, PooledConnection,
};
use std::sync::{
    Arc, Barrier, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

/// A thread that hangs in a command on a connection of this pool.
fn stuck(pool: &Pool<MemoryManager>, backend: &MemoryManager) -> Task<Result<String, MemoryError>> {
    let before = backend.running(Hook::Execute);
    let task = spawn({
        let pool = pool.clone();
        move || {
            let mut guard = pool.get_timeout(SOON).unwrap();
            guard.execute("PING")
        }
    });
    eventually(|| backend.running(Hook::Execute) == before + 1);
    task
}

fn hanging(name: &str) -> (MemoryManager, Pool<MemoryManager>) {
    let backend = MemoryManager::new();
    let pool = quick(name).max_size(3).build(backend.clone()).unwrap();
    backend.hang(Hook::Execute);
    (backend, pool)
}

#[test]
fn the_holder_gets_the_error_of_its_driver_and_the_connection_is_evicted() {
    let (backend, pool) = hanging("one");
    let task = stuck(&pool, &backend);
    let id = pool.holders()[0].connection_id;
    assert!(pool.interrupt(id));
    assert!(matches!(task.join_soon(), Err(MemoryError::Dead { .. })));
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
    let stats = pool.stats();
    assert_eq!(
        (stats.evicted(EvictReason::Broken), stats.in_use),
        (0, 0),
        "{stats}"
    );
    backend.release();
    // The next caller gets another connection.
    assert_ne!(PooledConnection::info(&pool.get().unwrap()).id, id);
    close_clean(&pool, &backend);
}

#[test]
fn a_connection_is_interrupted_once_and_only_while_it_is_in_use() {
    let backend = MemoryManager::new();
    let pool = quick("once").build(backend.clone()).unwrap();
    let guard = pool.get().unwrap();
    let id = PooledConnection::info(&guard).id;
    assert!(pool.interrupt(id));
    assert!(!pool.interrupt(id), "a second time");
    assert!(!pool.interrupt(id + 100), "no such connection");
    drop(guard);
    assert!(!pool.interrupt(id), "it is gone");
    let id = PooledConnection::info(&pool.get().unwrap()).id;
    assert!(!pool.interrupt(id), "it is idle");
    assert_eq!(PooledConnection::info(&pool.get().unwrap()).id, id);
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 1);
    close_clean(&pool, &backend);
}

/// However the guard ends, the reason is the interrupt.
#[test]
fn a_discard_of_an_interrupted_connection_is_an_interrupt_and_a_detach_is_the_users() {
    let backend = MemoryManager::new();
    let pool = quick("ends").build(backend.clone()).unwrap();
    let guard = pool.get().unwrap();
    assert!(pool.interrupt(PooledConnection::info(&guard).id));
    PooledConnection::discard(guard);
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 1);
    let guard = pool.get().unwrap();
    assert!(pool.interrupt(PooledConnection::info(&guard).id));
    let mine = PooledConnection::detach(guard);
    eventually(|| !alive(&backend, &mine));
    drop(mine);
    assert_eq!(pool.stats().detached, 1);
}

fn alive(backend: &MemoryManager, connection: &MemoryConnection) -> bool {
    // A second kill reports whether the first came before.
    backend.kill(connection.id())
}

#[test]
fn close_interrupting_gives_a_grace_period_and_ends_what_hangs() {
    let (backend, pool) = hanging("closing");
    let tasks = [stuck(&pool, &backend), stuck(&pool, &backend)];
    let closing = spawn({
        let pool = pool.clone();
        move || pool.close_interrupting(ms(100), secs(60))
    });
    eventually(|| pool.is_closed());
    stays(|| tasks.iter().all(|task| !task.is_finished()) || closing.is_finished());
    closing.join_soon().unwrap();
    for task in tasks {
        assert!(task.join_soon().is_err());
    }
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 2);
    backend.release();
    assert_eq!(backend.counters().open, 0);
}

#[test]
fn close_interrupting_interrupts_nobody_who_comes_back_in_time() {
    let backend = MemoryManager::new();
    let pool = quick("polite").build(backend.clone()).unwrap();
    let guard = pool.get().unwrap();
    let closing = spawn({
        let pool = pool.clone();
        move || pool.close_interrupting(secs(60), secs(60))
    });
    eventually(|| pool.is_closed());
    drop(guard);
    closing.join_soon().unwrap();
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 0);
    close_clean(&pool, &backend);
}

#[test]
fn clear_interrupting_ends_what_is_older_and_nothing_younger() {
    let (backend, pool) = hanging("failover");
    let task = stuck(&pool, &backend);
    assert_eq!(pool.clear_interrupting(), 1);
    assert!(task.join_soon().is_err());
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
    let younger = stuck(&pool, &backend);
    assert!(!younger.is_finished());
    backend.release();
    younger.join_soon().unwrap();
    close_clean(&pool, &backend);
}

/// The waiters behind a thread that hangs are served once it is interrupted.
#[test]
fn an_interrupt_frees_the_slot_for_a_waiter() {
    let backend = MemoryManager::new();
    let pool = quick("frees").max_size(1).build(backend.clone()).unwrap();
    backend.hang(Hook::Execute);
    let task = stuck(&pool, &backend);
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(secs(60)).map(|guard| guard.id())
    });
    queued(&pool, 1);
    interrupt_holder(&pool);
    assert!(task.join_soon().is_err());
    assert_eq!(waiter.join_soon().unwrap(), 2);
    backend.release();
    close_clean(&pool, &backend);
}

/// Each connection counts its users. None may have two, and none that was interrupted may have another.
#[test]
fn an_interrupt_that_races_the_check_in_hands_the_connection_to_nobody() {
    let backend = MemoryManager::new();
    let pool = quick("races").max_size(2).build(backend.clone()).unwrap();
    let mut interrupted = 0;
    for round in 0..300 {
        let guard = pool.get_timeout(SOON).unwrap();
        let id = PooledConnection::info(&guard).id;
        let start = Arc::new(Barrier::new(2));
        let holder = spawn({
            let start = Arc::clone(&start);
            move || {
                start.wait();
                drop(guard);
            }
        });
        start.wait();
        for _ in 0..round % 50 {
            std::hint::spin_loop();
        }
        let was = pool.interrupt(id);
        holder.join_soon();
        interrupted += u64::from(was);
        let next = PooledConnection::info(&pool.get_timeout(SOON).unwrap()).id;
        assert_eq!(next == id, !was, "round {round}");
        assert_eq!(pool.stats().evicted(EvictReason::Interrupted), interrupted);
    }
    close_clean(&pool, &backend);
}

/// A manager whose interrupt does what a test says.
#[derive(Clone)]
struct Scripted {
    backend: MemoryManager,
    calls: Arc<AtomicUsize>,
    what: Arc<dyn Fn() + Send + Sync>,
}

impl Interrupt for Scripted {
    fn interrupt(&self) {
        self.calls.fetch_add(1, SeqCst);
        (self.what)();
    }
}

impl ConnectionManager for Scripted {
    type Connection = MemoryConnection;
    type Error = MemoryError;
    fn create(&self) -> Result<MemoryConnection, MemoryError> {
        self.backend.create()
    }
    fn check_aliveness(&self, connection: &mut MemoryConnection) -> Result<(), MemoryError> {
        self.backend.check_aliveness(connection)
    }
    fn dispose(&self, connection: MemoryConnection) {
        self.backend.dispose(connection);
    }
    fn interrupter(&self, _: &mut MemoryConnection) -> Option<Box<dyn Interrupt>> {
        Some(Box::new(self.clone()))
    }
}

fn scripted(what: impl Fn() + Send + Sync + 'static) -> Scripted {
    Scripted {
        backend: MemoryManager::new(),
        calls: Arc::default(),
        what: Arc::new(what),
    }
}

#[test]
fn an_interrupt_that_panics_is_counted_and_the_connection_is_evicted_all_the_same() {
    let manager = scripted(|| panic!("scripted"));
    let log = Log::default();
    let pool = Pool::builder()
        .observer(log.clone())
        .build(manager.clone())
        .unwrap();
    let guard = pool.get().unwrap();
    assert!(pool.interrupt(PooledConnection::info(&guard).id));
    eventually(|| pool.stats().panics == 1);
    assert!(log.find("Panicked").unwrap().contains("interrupt"));
    drop(guard);
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 1);
    drop(pool.get().unwrap());
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn an_interrupt_that_hangs_holds_up_nobody_but_the_close() {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap();
    let manager = scripted({
        let gate = Arc::clone(&gate);
        move || drop(gate.lock())
    });
    let pool = Pool::builder().max_size(4).build(manager.clone()).unwrap();
    let held: Vec<_> = (0..4).map(|_| pool.get().unwrap()).collect();
    for guard in &held {
        assert!(pool.interrupt(PooledConnection::info(guard).id));
    }
    eventually(|| manager.calls.load(SeqCst) == 4);
    drop(held);
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 4);
    // Creates, disposes and callers go on.
    drop(pool.get_timeout(SOON).unwrap());
    eventually(|| pool.stats().disposing == 0);
    let (result, took) = timed(|| pool.close_interrupting(ms(10), ms(100)));
    assert!(result.unwrap_err().hooks_running >= 1);
    assert!(took < secs(30), "{took:?}");
    drop(closed);
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn a_connection_without_an_interrupter_is_not_interrupted() {
    struct Plain;
    impl ConnectionManager for Plain {
        type Connection = ();
        type Error = std::convert::Infallible;
        fn create(&self) -> Result<(), Self::Error> {
            Ok(())
        }
        fn check_aliveness(&self, (): &mut ()) -> Result<(), Self::Error> {
            Ok(())
        }
    }
    let pool = Pool::new(Plain).unwrap();
    let guard = pool.get().unwrap();
    assert!(!pool.interrupt(PooledConnection::info(&guard).id));
    assert_eq!(pool.clear_interrupting(), 0);
    let left = pool.close_interrupting(ms(1), ms(20)).unwrap_err();
    assert_eq!(left.in_use, 1);
    drop(guard);
}

#[test]
fn an_added_connection_can_be_interrupted() {
    let backend = MemoryManager::new();
    let pool = quick("added").build_lazy(backend.clone()).unwrap();
    pool.add(backend.create().unwrap()).unwrap();
    let held = take(&pool, 1);
    interrupt_holder(&pool);
    drop(held);
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 1);
}

#[test]
fn without_a_collector_the_interrupt_runs_on_the_calling_thread() {
    let backend = MemoryManager::new();
    let pool = quick("inline")
        .background_collector(false)
        .build(backend.clone())
        .unwrap();
    let mut guard = pool.get().unwrap();
    assert!(pool.interrupt(PooledConnection::info(&guard).id));
    assert!(guard.execute("PING").is_err());
    drop(guard);
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 1);
    close_clean(&pool, &backend);
}

#[test]
fn a_leak_can_be_interrupted_after_a_time() {
    let (clock, log, backend) = (ManualClock::new(), Log::default(), MemoryManager::new());
    let pool = quick("leaky")
        .clock(clock.clone())
        .observer(log.clone())
        .leak_threshold(secs(10))
        .leak_action(LeakAction::Interrupt { after: secs(60) })
        .build(backend.clone())
        .unwrap();
    backend.hang(Hook::Execute);
    let task = stuck(&pool, &backend);
    clock.advance(secs(30));
    eventually(|| log.count("LeakSuspected") == 1);
    stays(|| !task.is_finished());
    clock.advance(secs(31));
    assert!(task.join_soon().is_err());
    eventually(|| log.count("LeakResolved") == 1);
    assert_eq!(pool.stats().evicted(EvictReason::Interrupted), 1);
    backend.release();
    close_clean(&pool, &backend);
}

#[test]
fn a_leak_action_needs_a_threshold_and_not_less_time_than_that() {
    let action = LeakAction::Interrupt { after: secs(5) };
    let error = quick("without")
        .leak_action(action)
        .build(MemoryManager::new())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "leak_action = Interrupt { after: 5s }: needs a leak_threshold"
    );
    let builder = quick("early").leak_threshold(secs(10)).leak_action(action);
    let error = builder.build(MemoryManager::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "leak_action = Interrupt { after: 5s }: must not be before leak_threshold (10s)"
    );
}
