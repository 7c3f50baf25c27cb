//! Handles: the drop of the last one, at every place.

use crate::common;

use common::{
    Custom, Gate, Log, SOON, all_disposed, eventually, fill, ms, quick, spawn, take, threads,
};
use conpool::{HealthCheck, Hook, MemoryManager, Pool, PooledConnection};
use std::sync::{Arc, Mutex};

/// The only handle, which a hook drops.
type Slot = Arc<Mutex<Option<Pool<Custom>>>>;

/// A manager whose `hook` drops the handle in the slot, once `gate` is open.
fn dropping(backend: &MemoryManager, hook: Hook, slot: &Slot, gate: &Gate) -> Custom {
    let (slot, gate) = (Arc::clone(slot), gate.clone());
    Custom::new(backend, move |now, _| {
        if now == hook {
            gate.pass();
            // Taken under the lock, dropped after it.
            let last = slot.lock().unwrap().take();
            drop(last);
        }
    })
}

#[test]
fn guards_that_outlive_the_pool_stay_usable_and_are_disposed_at_check_in() {
    let backend = MemoryManager::new();
    let pool = quick("outlive").max_size(3).build(backend.clone()).unwrap();
    let held = take(&pool, 3);
    drop(pool);
    for mut guard in held {
        assert_eq!(guard.execute("PING").unwrap(), "PONG");
        assert_eq!(backend.counters().dropped_undisposed, 0);
    }
    all_disposed(&backend);
    eventually(|| threads("outlive-") == 0);
}

#[test]
fn dropping_the_last_handle_disposes_everything_without_running_hooks_on_that_thread() {
    let backend = MemoryManager::new();
    let log = Log::default();
    let manager = Custom::new(&backend, {
        let log = log.clone();
        move |hook, _| log.push(format!("{hook} {:?}", std::thread::current().id()))
    });
    let pool = Pool::builder()
        .name("lasthdl")
        .max_size(3)
        .build(manager)
        .unwrap();
    fill(&pool, 3);
    drop(pool);
    all_disposed(&backend);
    eventually(|| log.count("dispose") == 3);
    let here = format!("dispose {:?}", std::thread::current().id());
    assert_eq!(log.count(&here), 0);
    eventually(|| threads("lasthdl-") == 0);
}

#[test]
fn the_last_handle_may_be_dropped_inside_a_hook_that_check_in_runs() {
    for hook in [Hook::HasBroken, Hook::Checkin, Hook::Dispose] {
        let (backend, slot, gate) = (MemoryManager::new(), Slot::default(), Gate::default());
        gate.open();
        let pool = Pool::builder()
            .name("inhook")
            .max_size(2)
            .build(dropping(&backend, hook, &slot, &gate))
            .unwrap();
        fill(&pool, 2);
        let held = pool.get().unwrap();
        *slot.lock().unwrap() = Some(pool);
        if hook == Hook::Dispose {
            PooledConnection::discard(held);
        } else {
            drop(held);
        }
        eventually(|| slot.lock().unwrap().is_none());
        all_disposed(&backend);
        eventually(|| threads("inhook-") == 0);
    }
}

#[test]
fn the_last_handle_may_be_dropped_inside_a_hook_on_a_thread_of_the_pool() {
    for hook in [Hook::Create, Hook::Check] {
        let (backend, slot, gate) = (MemoryManager::new(), Slot::default(), Gate::default());
        let builder = Pool::builder()
            .name("inthread")
            .max_size(1)
            .health_check(HealthCheck::OnCheckout);
        let manager = dropping(&backend, hook, &slot, &gate);
        let pool = if hook == Hook::Create {
            builder.build_lazy(manager)
        } else {
            builder.build(manager)
        }
        .unwrap();
        assert!(pool.get_timeout(ms(30)).unwrap_err().is_timeout());
        *slot.lock().unwrap() = Some(pool);
        gate.open();
        eventually(|| slot.lock().unwrap().is_none());
        all_disposed(&backend);
        eventually(|| threads("inthread-") == 0);
    }
}

#[test]
fn hooks_may_call_their_own_pool() {
    let (backend, slot) = (MemoryManager::new(), Slot::default());
    let manager = Custom::new(&backend, {
        let slot = Arc::clone(&slot);
        move |_, _| {
            let pool = slot.lock().unwrap().clone();
            if let Some(pool) = pool {
                assert!(pool.stats().size <= 1);
                assert!(
                    pool.get_timeout(ms(1)).is_err(),
                    "the one slot is taken by this hook"
                );
                assert!(pool.try_get().is_none());
                drop(pool.holders());
                let _ = pool.config();
            }
        }
    });
    let pool = Pool::builder()
        .name("selfcall")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(manager)
        .unwrap();
    *slot.lock().unwrap() = Some(pool.clone());
    for _ in 0..3 {
        PooledConnection::discard(pool.get_timeout(SOON).unwrap());
        drop(pool.get_timeout(SOON).unwrap());
    }
    assert_eq!(pool.stats().panics, 0);
    slot.lock().unwrap().take();
    pool.close_timeout(SOON).unwrap();
    all_disposed(&backend);
}

#[test]
fn a_hook_may_close_its_own_pool() {
    for hook in [
        Hook::Checkout,
        Hook::Checkin,
        Hook::Dispose,
        Hook::HasBroken,
    ] {
        let (backend, slot) = (MemoryManager::new(), Slot::default());
        let manager = Custom::new(&backend, {
            let slot = Arc::clone(&slot);
            move |now, _| {
                let pool = slot.lock().unwrap().clone();
                if let (true, Some(pool)) = (now == hook, pool) {
                    pool.close();
                    drop(pool.close_timeout(ms(1)));
                }
            }
        });
        let pool = Pool::builder()
            .name("selfclose")
            .max_size(2)
            .build(manager)
            .unwrap();
        *slot.lock().unwrap() = Some(pool.clone());
        let user = spawn({
            let pool = pool.clone();
            move || drop(pool.get_timeout(SOON).map(PooledConnection::discard))
        });
        user.join_soon();
        drop(pool.get_timeout(SOON));
        slot.lock().unwrap().take();
        pool.close_timeout(SOON).unwrap();
        all_disposed(&backend);
    }
}
