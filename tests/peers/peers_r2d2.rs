//! The statements of `src/docs/peers.md` about r2d2 0.8, tested on r2d2 itself and compared with this crate.

use crate::common;

use common::{Gate, SOON, assert_at, eventually, fill, ms, queued, quick, spawn, timed};
use conpool::{HealthCheck, MemoryManager, PooledConnection};
use r2d2::{CustomizeConnection, ManageConnection};
use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// A hook of r2d2.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hook {
    Connect,
    OnAcquire,
    IsValid,
    HasBroken,
    OnRelease,
}

/// A backend for r2d2 whose connections are their numbers.
#[derive(Clone, Debug, Default)]
struct Peer(Arc<State>);

#[derive(Debug, Default)]
struct State {
    created: AtomicU32,
    checks: AtomicU32,
    panics: Mutex<Option<Hook>>,
    broken: Mutex<bool>,
    hang: Mutex<Option<Gate>>,
}

impl Peer {
    /// Makes the next call of `hook` panic.
    fn panic(&self, hook: Hook) {
        *self.0.panics.lock().unwrap() = Some(hook);
    }

    fn panicked(&self) -> bool {
        self.0.panics.lock().unwrap().is_none()
    }

    fn enter(&self, hook: Hook) {
        let hit = self.0.panics.lock().unwrap().take_if(|due| *due == hook);
        assert!(hit.is_none(), "{hook:?} panics");
    }
}

impl ManageConnection for Peer {
    type Connection = u32;
    type Error = Infallible;

    fn connect(&self) -> Result<u32, Infallible> {
        self.enter(Hook::Connect);
        Ok(self.0.created.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn is_valid(&self, _: &mut u32) -> Result<(), Infallible> {
        self.enter(Hook::IsValid);
        let gate = self.0.hang.lock().unwrap().clone();
        if let Some(gate) = gate {
            self.0.checks.fetch_add(1, Ordering::SeqCst);
            gate.pass();
        }
        Ok(())
    }

    fn has_broken(&self, _: &mut u32) -> bool {
        self.enter(Hook::HasBroken);
        *self.0.broken.lock().unwrap()
    }
}

impl CustomizeConnection<u32, Infallible> for Peer {
    fn on_acquire(&self, _: &mut u32) -> Result<(), Infallible> {
        self.enter(Hook::OnAcquire);
        Ok(())
    }

    fn on_release(&self, _: u32) {
        self.enter(Hook::OnRelease);
    }
}

/// A pool of r2d2 for one connection, opened on demand.
fn single(peer: &Peer) -> r2d2::Pool<Peer> {
    r2d2::Pool::builder()
        .max_size(1)
        .min_idle(Some(0))
        .connection_timeout(SOON)
        .connection_customizer(Box::new(peer.clone()))
        .build_unchecked(peer.clone())
}

/// Takes the connection of `pool` through its whole life while `hook` panics once.
fn live(pool: &r2d2::Pool<Peer>, peer: &Peer, hook: Hook) {
    if matches!(hook, Hook::IsValid | Hook::HasBroken | Hook::OnRelease) {
        drop(pool.get().unwrap());
    }
    peer.panic(hook);
    *peer.0.broken.lock().unwrap() = hook == Hook::OnRelease;
    // Outside of r2d2's thread pool: these panics come out of get and drop.
    let _ = catch_unwind(AssertUnwindSafe(|| pool.get_timeout(ms(100)).map(drop)));
    *peer.0.broken.lock().unwrap() = false;
    // A busy machine may take a while to connect.
    eventually(|| peer.panicked());
}

/// r2d2 0.8: the counts of connections and of pending ones are corrected after the hook, which a panic skips.
#[test]
fn r2d2_loses_a_slot_to_a_panic_in_any_hook_but_on_release_and_this_pool_to_none() {
    for hook in [
        Hook::Connect,
        Hook::OnAcquire,
        Hook::IsValid,
        Hook::HasBroken,
        Hook::OnRelease,
    ] {
        let peer = Peer::default();
        let pool = single(&peer);
        live(&pool, &peer, hook);
        // All connections are idle and the panics are over.
        if hook == Hook::OnRelease {
            assert_eq!(*pool.get().unwrap(), 2, "{hook:?}");
        } else {
            assert!(pool.get_timeout(ms(100)).is_err(), "{hook:?}");
            // A slot that was lost while connecting is not counted either.
            let connecting = matches!(hook, Hook::Connect | Hook::OnAcquire);
            let state = pool.state();
            assert_eq!(state.connections, u32::from(!connecting), "{hook:?}");
            assert_eq!(state.idle_connections, 0, "{hook:?}");
        }
    }
    for hook in [
        conpool::Hook::Create,
        conpool::Hook::Checkout,
        conpool::Hook::Check,
        conpool::Hook::HasBroken,
        conpool::Hook::Checkin,
        conpool::Hook::Dispose,
    ] {
        survive(hook);
    }
}

/// Runs a pool of this crate through a panic in `hook`, then uses its one connection once more.
fn survive(hook: conpool::Hook) {
    let backend = MemoryManager::new();
    let pool = quick("slots")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build_lazy(backend.clone())
        .unwrap();
    if hook != conpool::Hook::Create {
        fill(&pool, 1);
    }
    backend.panic(hook, 1);
    match pool.get_timeout(SOON) {
        Ok(guard) if hook == conpool::Hook::Dispose => PooledConnection::discard(guard),
        result => drop(result),
    }
    eventually(|| pool.stats().panics == 1);
    let again = pool.get_timeout(SOON);
    assert!(again.is_ok(), "{hook}: {again:?}");
}

/// r2d2 0.8: a connection that comes back broken frees its slot without waking a waiter; without min_idle no
/// replacement is opened.
#[test]
fn r2d2_strands_a_waiter_when_the_connection_comes_back_broken_and_this_pool_serves_it() {
    // r2d2 does not tell whether a caller is asleep, so a late caller that was served is tried again.
    let stranded = (0..10).any(|_| {
        let peer = Peer::default();
        let pool = single(&peer);
        let held = pool.get().unwrap();
        let waiter = spawn({
            let pool = pool.clone();
            move || timed(|| pool.get_timeout(ms(300)).map(|guard| *guard))
        });
        thread::sleep(ms(50));
        *peer.0.broken.lock().unwrap() = true;
        drop(held);
        *peer.0.broken.lock().unwrap() = false;
        let (result, took) = waiter.join_soon();
        if result.is_ok() {
            return false;
        }
        assert!(took >= ms(300));
        assert_eq!(
            *pool.get().unwrap(),
            2,
            "all the time there was room for it"
        );
        true
    });
    assert!(stranded, "r2d2 woke the waiter ten times");

    let backend = MemoryManager::new();
    let pool = quick("stranded")
        .max_size(1)
        .min_idle(0)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(Duration::MAX).map(|guard| guard.id())
    });
    queued(&pool, 1);
    backend.fail(conpool::Hook::HasBroken, 1);
    drop(held);
    assert_eq!(waiter.join_soon().unwrap(), 2);
}

/// sfackler/r2d2 #116: a checkout waits for `is_valid` without a bound.
#[test]
fn r2d2_overruns_a_timeout_while_is_valid_hangs_and_this_pool_does_not() {
    let peer = Peer::default();
    let pool = single(&peer);
    drop(pool.get().unwrap());
    let gate = Gate::default();
    *peer.0.hang.lock().unwrap() = Some(gate.clone());
    let caller = spawn({
        let pool = pool.clone();
        move || timed(|| pool.get_timeout(ms(20)).map(drop))
    });
    eventually(|| peer.0.checks.load(Ordering::SeqCst) == 1);
    thread::sleep(ms(200));
    assert!(!caller.is_finished());
    gate.open();
    let (result, took) = caller.join_soon();
    assert!(took >= ms(200), "{took:?}");
    assert!(result.is_ok(), "a success, long after its time was up");

    let backend = MemoryManager::new();
    let pool = quick("overrun")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    backend.hang(conpool::Hook::Check);
    let (result, took) = timed(|| pool.get_timeout(ms(20)).map(drop));
    backend.release();
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(20));
}

/// r2d2 0.8: the longest timeout does not fit into an `Instant`.
#[test]
fn r2d2_panics_at_a_timeout_without_end_and_this_pool_waits() {
    let peer = Peer::default();
    let pool = single(&peer);
    let result = catch_unwind(AssertUnwindSafe(|| {
        pool.get_timeout(Duration::MAX).map(drop)
    }));
    assert!(result.is_err(), "r2d2 adds the timeout to the present time");

    let pool = quick("endless").build_lazy(MemoryManager::new()).unwrap();
    drop(pool.get_timeout(Duration::MAX).unwrap());
}

/// sfackler/r2d2 #53, a rejected change: do not keep a connection that a panic may have left in the middle of
/// an operation.
#[test]
fn r2d2_lends_again_what_a_panic_dropped_and_this_pool_does_not() {
    let peer = Peer::default();
    let pool = single(&peer);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = pool.get().unwrap();
        panic!("halfway through a reply");
    }));
    assert!(panicked.is_err());
    assert_eq!(*pool.get().unwrap(), 1);

    let pool = quick("tainted")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _guard = pool.get().unwrap();
        panic!("halfway through a reply");
    }));
    assert!(panicked.is_err());
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
}
