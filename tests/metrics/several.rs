//! One `PoolMetrics` for several pools.

use crate::common::{Gate, close_clean, eventually, ms, quick, spawn, take};
use crate::recorder::TestRecorder;
use conpool::{EvictReason, KeyedPool, MemoryManager, PoolRegistry, PooledConnection};
use std::sync::Arc;

#[test]
fn clones_keep_pools_apart_by_their_names() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let metrics = recorder.metrics();
    let build = |name: &str| {
        let builder = quick(name).max_size(2).observer(metrics.clone());
        builder.build(backend.clone()).unwrap()
    };
    let (orders, devices) = (build("orders"), build("devices"));
    drop(take(&orders, 2));
    drop(take(&devices, 1));
    assert_eq!(recorder.samples("orders", "wait_time").len(), 2);
    assert_eq!(recorder.samples("devices", "wait_time").len(), 1);
    PooledConnection::discard(devices.get().unwrap());
    assert_eq!(recorder.evicted("devices", EvictReason::Discarded), 1);
    assert_eq!(recorder.evicted("orders", EvictReason::Discarded), 0);
}

#[test]
fn one_and_the_same_observer_may_serve_pools_of_different_names() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let observer = Arc::new(recorder.metrics());
    let pools = ["left", "right"].map(|name| {
        let builder = quick(name).observer(Arc::clone(&observer));
        builder.build(backend.clone()).unwrap()
    });
    for uses in 1..=3 {
        for pool in &pools {
            drop(pool.get().unwrap());
            assert_eq!(recorder.samples(pool.name(), "use_time").len(), uses);
        }
    }
    for pool in &pools {
        pool.get().map(PooledConnection::discard).unwrap();
        observer.publish(&pool.stats());
        assert_eq!(recorder.evicted(pool.name(), EvictReason::Discarded), 1);
    }
}

#[test]
fn a_pool_built_anew_under_a_name_counts_on_where_the_one_before_it_ended() {
    let (recorder, backend) = (TestRecorder::default(), MemoryManager::new());
    let metrics = recorder.metrics();
    for built in 1..=3 {
        let builder = quick("again").observer(metrics.clone());
        let pool = builder.build(backend.clone()).unwrap();
        PooledConnection::discard(pool.get().unwrap());
        metrics.publish(&pool.stats());
        close_clean(&pool, &backend);
        assert_eq!(recorder.evicted("again", EvictReason::Discarded), built);
    }
}

fn keyed_pool(metrics: &conpool::PoolMetrics) -> KeyedPool<u32, MemoryManager> {
    KeyedPool::builder()
        .name("tenants")
        .max_total(6)
        .max_per_key(4)
        .observer(metrics.clone())
        .build(|_| MemoryManager::new())
        .unwrap()
}

#[test]
fn all_keys_of_a_keyed_pool_report_under_its_name_with_its_total() {
    let recorder = TestRecorder::default();
    let metrics = recorder.metrics();
    let pool = keyed_pool(&metrics);
    let held = [1, 1, 2, 3].map(|key| pool.get(&key).unwrap());
    metrics.publish(&pool.stats());
    assert_eq!(recorder.in_state("tenants", "used"), 4.0);
    assert_eq!(recorder.gauge("tenants", "max"), 6.0);
    assert_eq!(recorder.samples("tenants", "wait_time").len(), 4);
    held.into_iter().for_each(PooledConnection::discard);
    assert_eq!(recorder.evicted("tenants", EvictReason::Discarded), 4);
}

#[test]
fn one_key_can_be_published_under_a_name_of_its_own() {
    let recorder = TestRecorder::default();
    let metrics = recorder.metrics();
    let pool = keyed_pool(&metrics);
    let _held = [1, 1, 2].map(|key| pool.get(&key).unwrap());
    metrics.publish_as("tenants-1", &pool.stats_for(&1).unwrap());
    assert_eq!(recorder.in_state("tenants-1", "used"), 2.0);
    assert_eq!(recorder.gauge("tenants-1", "max"), 4.0);
}

#[test]
fn a_caller_that_gives_up_while_the_manager_of_its_key_is_made_counts_as_a_timeout() {
    let recorder = TestRecorder::default();
    let (gate, entered) = (Gate::default(), Gate::default());
    let (shut, seen) = (gate.clone(), entered.clone());
    let pool = KeyedPool::<u32, MemoryManager>::builder()
        .name("made")
        .observer(recorder.metrics())
        .build(move |_| {
            seen.open();
            shut.pass();
            MemoryManager::new()
        })
        .unwrap();
    let first = pool.clone();
    let first = spawn(move || drop(first.get(&1).unwrap()));
    entered.pass();
    assert!(pool.get_timeout(&1, ms(5)).unwrap_err().is_timeout());
    gate.open();
    first.join_soon();
    assert_eq!(pool.stats().timeouts, 1);
    assert_eq!(recorder.counter("made", "timeouts"), 1);
}

#[test]
fn every_pool_of_a_registry_can_be_published() {
    let recorder = TestRecorder::default();
    let metrics = recorder.metrics();
    let registry = PoolRegistry::new();
    let mut held = Vec::new();
    for (name, used) in [("one", 1), ("two", 2)] {
        let pool = quick(name).build(MemoryManager::new()).unwrap();
        held.extend(take(&pool, used));
        registry.register(name, pool).unwrap();
    }
    for stats in registry.stats().values() {
        metrics.publish(stats);
    }
    assert_eq!(recorder.in_state("one", "used"), 1.0);
    assert_eq!(recorder.in_state("two", "used"), 2.0);
    eventually(|| !recorder.has("three"));
}
