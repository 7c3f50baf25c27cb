//! The statements of `src/docs/comparison.md` about bb8 0.9 and deadpool 0.12 that their own pages do not
//! make, tested on them.

use crate::common;

use bb8::{ErrorSink, RunError};
use common::{Gate, Log, SOON, eventually, fill, ms, quick, spawn};
use conpool::MemoryManager;
use deadpool::managed;
use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use tokio::{
    runtime,
    time::{sleep, timeout},
};

/// The get timeout for bb8 here. Where a get must succeed, it is tried again.
const SHORT: Duration = ms(40);

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_time().build().unwrap().block_on(test)
}

/// A hook of bb8 or deadpool.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hook {
    Connect,
    Check,
    HasBroken,
}

/// A backend for both pools, whose connections are their numbers.
#[derive(Clone, Debug, Default)]
struct Peer(Arc<State>);

#[derive(Debug, Default)]
struct State {
    begun: AtomicU32,
    created: AtomicU32,
    down: AtomicBool,
    panics: Mutex<Option<Hook>>,
    hangs: Mutex<Option<Hook>>,
}

impl Peer {
    /// Makes the next call of `hook` panic.
    fn panic(&self, hook: Hook) {
        *self.0.panics.lock().unwrap() = Some(hook);
    }

    fn panicked(&self) -> bool {
        self.0.panics.lock().unwrap().is_none()
    }

    /// Makes calls of `hook` hang until another hook is set, or none.
    fn hang(&self, hook: impl Into<Option<Hook>>) {
        *self.0.hangs.lock().unwrap() = hook.into();
    }

    fn hangs(&self, hook: Hook) -> bool {
        *self.0.hangs.lock().unwrap() == Some(hook)
    }

    fn enter(&self, hook: Hook) {
        let hit = self.0.panics.lock().unwrap().take_if(|due| *due == hook);
        assert!(hit.is_none(), "{hook:?} panics");
    }

    async fn open(&self) -> Result<u32, &'static str> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.enter(Hook::Connect);
        while self.hangs(Hook::Connect) {
            sleep(ms(1)).await;
        }
        if self.0.down.load(Ordering::SeqCst) {
            return Err("refused");
        }
        Ok(self.0.created.fetch_add(1, Ordering::SeqCst) + 1)
    }

    async fn ask(&self) {
        self.enter(Hook::Check);
        while self.hangs(Hook::Check) {
            sleep(ms(1)).await;
        }
    }
}

impl bb8::ManageConnection for Peer {
    type Connection = u32;
    type Error = &'static str;

    async fn connect(&self) -> Result<u32, &'static str> {
        self.open().await
    }

    async fn is_valid(&self, _: &mut u32) -> Result<(), &'static str> {
        self.ask().await;
        Ok(())
    }

    fn has_broken(&self, _: &mut u32) -> bool {
        self.enter(Hook::HasBroken);
        false
    }
}

impl managed::Manager for Peer {
    type Type = u32;
    type Error = &'static str;

    async fn create(&self) -> Result<u32, &'static str> {
        self.open().await
    }

    async fn recycle(
        &self,
        _: &mut u32,
        _: &managed::Metrics,
    ) -> managed::RecycleResult<&'static str> {
        self.ask().await;
        Ok(())
    }
}

impl ErrorSink<&'static str> for Log {
    fn sink(&self, error: &'static str) {
        self.push(error);
    }

    fn boxed_clone(&self) -> Box<dyn ErrorSink<&'static str>> {
        Box::new(self.clone())
    }
}

/// Settings of bb8 for one connection, opened on demand.
fn single() -> bb8::Builder<Peer> {
    bb8::Pool::builder().max_size(1).connection_timeout(SHORT)
}

async fn served(pool: &bb8::Pool<Peer>) -> u32 {
    for _ in 0..100 {
        if let Ok(guard) = pool.get().await {
            return *guard;
        }
    }
    panic!("not served: {:?}", pool.state());
}

async fn refused(pool: &bb8::Pool<Peer>) {
    for _ in 0..2 {
        assert_eq!(
            pool.get().await.map(|guard| *guard),
            Err(RunError::TimedOut)
        );
    }
}

/// A pool of deadpool for one object.
fn one(peer: &Peer) -> managed::Pool<Peer> {
    managed::Pool::builder(peer.clone())
        .max_size(1)
        .build()
        .unwrap()
}

/// The timeouts of bb8 do not cover `connect`, and its slot is not replaced.
#[test]
fn bb8_keeps_the_slot_of_a_connect_that_hangs() {
    run(async {
        let peer = Peer::default();
        peer.hang(Hook::Connect);
        let pool = single().build_unchecked(peer.clone());
        refused(&pool).await;
        assert_eq!(peer.0.begun.load(Ordering::SeqCst), 1);
        peer.hang(None);
        assert_eq!(served(&pool).await, 1);
    });
}

/// The caller of bb8 keeps its deadline, and the connection of its unfinished check goes back as a good one.
#[test]
fn bb8_lends_again_a_connection_whose_check_hung() {
    run(async {
        let peer = Peer::default();
        let pool = single().build_unchecked(peer.clone());
        served(&pool).await;
        peer.hang(Hook::Check);
        refused(&pool).await;
        let state = pool.state();
        assert_eq!((state.connections, state.idle_connections), (1, 1));
        assert_eq!(state.statistics.connections_closed_invalid, 0);
        peer.hang(None);
        assert_eq!(served(&pool).await, 1);
    });
}

#[test]
fn bb8_loses_a_slot_to_a_panic_in_connect_or_has_broken_and_none_to_one_in_is_valid() {
    run(async {
        for hook in [Hook::Connect, Hook::HasBroken, Hook::Check] {
            let peer = Peer::default();
            let pool = single().build_unchecked(peer.clone());
            if hook != Hook::Connect {
                served(&pool).await;
            }
            peer.panic(hook);
            // Hooks outside of bb8's tasks panic in the caller's task.
            while !peer.panicked() {
                let pool = pool.clone();
                let _ = tokio::spawn(async move { pool.get().await.map(drop) }).await;
            }
            if hook == Hook::Check {
                assert_eq!(served(&pool).await, 1);
                continue;
            }
            refused(&pool).await;
            let state = pool.state();
            // A slot that was lost while connecting is not counted either.
            assert_eq!(state.connections, u32::from(hook == Hook::HasBroken));
            assert_eq!(state.idle_connections, 0, "{hook:?}");
        }
    });
}

#[test]
fn bb8_tells_its_sink_why_there_is_no_connection_and_its_caller_that_time_is_up() {
    run(async {
        for retry in [true, false] {
            let peer = Peer::default();
            peer.0.down.store(true, Ordering::SeqCst);
            let sink = Log::default();
            let pool = single()
                .retry_connection(retry)
                .error_sink(Box::new(sink.clone()))
                .build_unchecked(peer.clone());
            refused(&pool).await;
            assert!(sink.count("refused") > 0, "retry: {retry}");
        }
    });
}

/// A connection whose close takes a while.
#[derive(Debug)]
struct Slow(Gate);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.pass();
    }
}

#[derive(Debug)]
struct SlowDrop(Gate);

impl bb8::ManageConnection for SlowDrop {
    type Connection = Slow;
    type Error = Infallible;

    async fn connect(&self) -> Result<Slow, Infallible> {
        Ok(Slow(self.0.clone()))
    }

    async fn is_valid(&self, _: &mut Slow) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Slow) -> bool {
        false
    }
}

/// The reaper drops expired idle connections while it holds the lock of the pool.
#[test]
fn bb8_stands_still_while_a_connection_that_was_idle_too_long_closes() {
    let gate = Gate::default();
    let (send, receive) = mpsc::channel();
    let reaper = spawn({
        let gate = gate.clone();
        move || {
            run(async move {
                let pool = bb8::Pool::builder()
                    .idle_timeout(ms(1))
                    .reaper_rate(ms(10))
                    .build_unchecked(SlowDrop(gate.clone()));
                drop(pool.get().await.unwrap());
                send.send(pool).unwrap();
                while gate.arrivals() == 0 {
                    sleep(ms(1)).await;
                }
            });
        }
    });
    let pool = receive.recv_timeout(SOON).unwrap();
    eventually(|| gate.arrivals() == 1);
    let asker = spawn(move || pool.state().connections);
    thread::sleep(ms(50));
    assert!(!asker.is_finished());
    gate.open();
    assert_eq!(asker.join_soon(), 0);
    reaper.join_soon();
}

#[test]
fn deadpool_drops_a_create_whose_caller_gives_up_and_its_slot_is_free() {
    run(async {
        let peer = Peer::default();
        peer.hang(Hook::Connect);
        let pool = one(&peer);
        assert!(timeout(ms(20), pool.get()).await.is_err());
        peer.hang(None);
        assert_eq!(*pool.get().await.unwrap(), 1);
        assert_eq!(peer.0.begun.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn deadpool_drops_an_object_whose_check_is_given_up_and_makes_another() {
    run(async {
        let peer = Peer::default();
        let pool = one(&peer);
        drop(pool.get().await.unwrap());
        peer.hang(Hook::Check);
        assert!(timeout(ms(20), pool.get()).await.is_err());
        assert_eq!(pool.status().size, 0);
        peer.hang(None);
        assert_eq!(*pool.get().await.unwrap(), 2);
    });
}

#[test]
fn deadpool_loses_no_slot_to_a_panic_in_create_or_recycle() {
    run(async {
        for hook in [Hook::Connect, Hook::Check] {
            let peer = Peer::default();
            let pool = one(&peer);
            if hook == Hook::Check {
                drop(pool.get().await.unwrap());
            }
            peer.panic(hook);
            let caller = tokio::spawn({
                let pool = pool.clone();
                async move { pool.get().await.map(drop) }
            });
            assert!(caller.await.unwrap_err().is_panic(), "{hook:?}");
            let next = *pool.get().await.unwrap();
            assert_eq!(next, 1 + u32::from(hook == Hook::Check));
        }
    });
}

/// deadpool runs the closure under its lock, which a panic poisons.
#[test]
fn deadpool_is_of_no_use_after_a_panic_in_retain_and_this_pool_is() {
    run(async {
        let pool = one(&Peer::default());
        drop(pool.get().await.unwrap());
        let retain = || pool.retain(|_, _| panic!("not this one"));
        assert!(catch_unwind(AssertUnwindSafe(retain)).is_err());
        let next = tokio::spawn(async move { pool.get().await.map(drop) });
        assert!(next.await.unwrap_err().is_panic());
    });

    let pool = quick("retain").build(MemoryManager::new()).unwrap();
    fill(&pool, 1);
    let retain = || pool.retain(|_, _| panic!("not this one"));
    assert!(catch_unwind(AssertUnwindSafe(retain)).is_err());
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
}
