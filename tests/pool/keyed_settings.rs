//! Keyed pools: settings, their limits, and each key's share.

use crate::common;
use crate::keyed;

use common::{Log, eventually, ms};
use conpool::{
    BuildError, EvictReason, HealthCheck, KeyedPool, KeyedPoolBuilder, MemoryManager, PoolConfig,
    PoolEvent, PoolObserver,
};
use keyed::{Backends, Builder, quick_keyed, take_each};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

#[test]
fn every_setting_holds_for_each_key() {
    let (backends, log) = (Backends::new(), Log::default());
    let pool = backends.build(
        quick_keyed("kset")
            .max_per_key(2)
            .max_waiters(0)
            .max_uses(3)
            .health_check(HealthCheck::OnCheckout)
            .get_timeout(ms(30))
            .observer(log.clone()),
    );
    for key in [1, 2] {
        let held = take_each(&pool, &[key, key]);
        let error = pool.get(&key).unwrap_err();
        assert!(error.is_saturated(), "{error:?}");
        drop(held);
        for _ in 0..2 {
            drop(take_each(&pool, &[key, key]));
        }
        eventually(|| backends.of(key).counters().disposed == 2);
        // Each at its second and third checkout, and once more where a check took so long that its caller had
        // the other one checked too.
        assert!(backends.of(key).counters().checked >= 4);
        let stats = pool.stats_for(&key).unwrap();
        assert_eq!((stats.max_size, stats.saturated), (2, 1));
        assert_eq!(stats.evicted(EvictReason::MaxUses), 2);
    }
    eventually(|| log.count("Created") == 4 && log.count("Evicted") == 4);
    let config = pool.config();
    assert_eq!((config.max_size, config.max_uses), (2, Some(3)));
    assert_eq!(pool.name(), "kset");
}

#[test]
fn a_bad_setting_is_named_with_its_value_and_its_rule() {
    let refused = |spoil: fn(Builder) -> Builder| {
        let backends = Backends::new();
        let made = backends.clone();
        let built = spoil(KeyedPool::builder()).build(move |key| made.member(*key));
        match built.unwrap_err() {
            BuildError::Config(error) => {
                let text = error.to_string();
                assert!(
                    text.contains(error.field()) && text.contains(error.rule()),
                    "{text}"
                );
                (
                    error.field().to_owned(),
                    error.value().to_owned(),
                    error.rule().to_owned(),
                )
            }
            other => panic!("{other:?}"),
        }
    };
    let is = |spoil, field: &str, value: &str, rule: &str| {
        let (found, shown, why) = refused(spoil);
        assert_eq!((&*found, &*shown), (field, value));
        assert!(why.contains(rule), "{field}: {why}");
    };
    is(|b| b.max_total(0), "max_total", "0", "at least 1");
    is(|b| b.max_per_key(0), "max_per_key", "0", "at least 1");
    is(|b| b.max_total(5).max_per_key(6), "max_per_key", "6", "5");
    is(|b| b.max_per_key(101), "max_per_key", "101", "100");
    is(|b| b.min_idle(11), "min_idle", "11", "max");
    is(|b| b.max_total(3).min_idle(4), "min_idle", "4", "max");
    is(|b| b.max_creating(0), "max_creating", "0", "1");
    is(
        |b| b.idle_timeout(Duration::ZERO),
        "idle_timeout",
        "0ns",
        "",
    );
    is(|b| b.lifetime_jitter(1.5), "lifetime_jitter", "1.5", "");
}

#[test]
fn the_limits_themselves_are_legal_and_the_defaults_are_the_documented_ones() {
    let per_key = |builder: Builder| {
        let pool = Backends::new().build(builder);
        (pool.stats().max_size, pool.config().max_size)
    };
    assert_eq!(per_key(KeyedPool::builder()), (100, 10));
    assert_eq!(per_key(KeyedPoolBuilder::default().max_total(10)), (10, 10));
    assert_eq!(per_key(Builder::new().max_total(9)), (9, 9));
    assert_eq!(per_key(Builder::new().max_total(1).max_per_key(1)), (1, 1));
    assert_eq!(per_key(Builder::new().max_per_key(100)), (100, 100));
    let wide = Builder::new()
        .max_total(usize::MAX)
        .get_timeout(Duration::MAX);
    assert_eq!(per_key(wide.min_idle(10)), (usize::MAX, 10));
    let mut config = PoolConfig::new();
    config.max_size = 7;
    assert_eq!(per_key(Builder::from(config)), (100, 7));
    assert_eq!(Backends::new().build(Builder::new()).name(), "pool");
}

#[test]
fn a_timeout_that_the_total_causes_says_so() {
    let pool = KeyedPool::<u8, MemoryManager>::builder().name("full");
    let pool = pool.max_total(2).max_per_key(1);
    let pool = pool.build(|_| MemoryManager::new()).unwrap();
    let held = [0, 1].map(|key| pool.get(&key).unwrap());
    let error = pool.get_timeout(&2, Duration::from_millis(1)).unwrap_err();
    let text = error.to_string();
    let start = "pool \"full\": no connection within 1ms (size 0/1: 0 idle, 0 in use, 0 creating; \
                 0 waiters); max_total (2) is reached; held longest: tests/pool/keyed_settings.rs:";
    assert!(text.starts_with(start), "{text}");
    assert!(text.ends_with("; this thread already holds 2"), "{text}");
    drop(held);
    let _idle = pool.get(&0).unwrap();
    let error = pool.get_timeout(&0, Duration::from_millis(1)).unwrap_err();
    assert!(
        error.to_string().contains("this thread already holds 1"),
        "{error}"
    );
}

#[test]
fn the_end_is_told_once_whatever_the_number_of_keys() {
    struct Ends(Arc<AtomicUsize>);
    impl PoolObserver for Ends {
        fn on_event(&self, event: &PoolEvent) {
            let ended = matches!(event, PoolEvent::Closed { .. });
            self.0.fetch_add(usize::from(ended), SeqCst);
        }
    }
    for keys in [0, 1, 3] {
        let ends = Arc::new(AtomicUsize::new(0));
        let pool = KeyedPool::<u8, MemoryManager>::builder().observer(Ends(Arc::clone(&ends)));
        let pool = pool.build(|_| MemoryManager::new()).unwrap();
        for key in 0..keys {
            drop(pool.get(&key).unwrap());
        }
        pool.close();
        pool.close();
        drop(pool);
        assert_eq!(ends.load(SeqCst), 1, "{keys} keys");
    }
}
