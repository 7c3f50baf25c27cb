//! Building: defaults, refused values, and the difference between `build` and `build_lazy`.

use crate::common;

use common::{Custom, Gate, SOON, eventually, ms, noise, quick, secs, stays, take, threads, timed};
use conpool::{BuildError, Hook, MemoryManager, Pool, PoolBuilder, PoolConfig};
use std::{error::Error, thread, time::Duration};

type Builder = PoolBuilder<MemoryManager>;
type BadSetting = fn(Builder) -> Builder;

#[test]
fn the_defaults_are_the_documented_ones() {
    let pool = Pool::new(MemoryManager::new()).unwrap();
    let config = pool.config();
    assert_eq!(config.name, "pool");
    assert_eq!(
        (config.max_size, config.min_idle, config.max_creating),
        (10, 0, 4)
    );
    assert_eq!(config.get_timeout, secs(30));
    assert_eq!(config.idle_timeout, Some(secs(600)));
    assert_eq!(config.max_lifetime, Some(secs(1800)));
    assert!((config.lifetime_jitter - 0.1).abs() < 1e-9);
    assert_eq!((config.max_uses, config.max_waiters), (None, None));
    assert_eq!(
        (config.check_timeout, config.dispose_timeout),
        (secs(5), secs(5))
    );
    assert_eq!(config.create_timeout, secs(30));
    assert_eq!(
        (config.keepalive_interval, config.leak_threshold),
        (None, None)
    );
    assert!(config.background_collector);
    assert_eq!(
        (config.backoff.initial, config.backoff.max),
        (ms(50), secs(5))
    );
    assert_eq!(pool.name(), "pool");
}

#[test]
fn every_bad_value_is_refused_with_its_field_named() {
    let bad: Vec<(&str, BadSetting)> = vec![
        ("max_size", |builder| builder.max_size(0)),
        ("min_idle", |builder| builder.max_size(2).min_idle(3)),
        ("idle_timeout", |builder| {
            builder.idle_timeout(Duration::ZERO)
        }),
        ("max_lifetime", |builder| {
            builder.max_lifetime(Duration::ZERO)
        }),
        ("keepalive_interval", |builder| {
            builder.keepalive_interval(Duration::ZERO)
        }),
        ("leak_threshold", |builder| {
            builder.leak_threshold(Duration::ZERO)
        }),
        ("create_timeout", |builder| {
            builder.create_timeout(Duration::ZERO)
        }),
        ("check_timeout", |builder| {
            builder.check_timeout(Duration::ZERO)
        }),
        ("dispose_timeout", |builder| {
            builder.dispose_timeout(Duration::ZERO)
        }),
        ("max_creating", |builder| builder.max_creating(0)),
        ("max_uses", |builder| builder.max_uses(0)),
        ("lifetime_jitter", |builder| builder.lifetime_jitter(1.5)),
        ("lifetime_jitter", |builder| builder.lifetime_jitter(-0.1)),
        ("lifetime_jitter", |builder| {
            builder.lifetime_jitter(f64::NAN)
        }),
    ];
    for (field, spoil) in bad {
        for lazy in [false, true] {
            let backend = MemoryManager::new();
            let builder = spoil(Pool::builder());
            let result = if lazy {
                builder.build_lazy(backend.clone())
            } else {
                builder.build(backend.clone())
            };
            let error = result.unwrap_err();
            assert!(matches!(error, BuildError::Config(_)), "{field}: {error:?}");
            assert!(error.to_string().contains(field), "{field}: {error}");
            assert_eq!(
                backend.calls(Hook::Create),
                0,
                "{field}: a backend was touched"
            );
        }
    }
}

#[test]
fn none_switches_a_limit_off() {
    let config = quick("none")
        .idle_timeout(None)
        .max_lifetime(None)
        .max_uses(None)
        .keepalive_interval(None)
        .leak_threshold(None)
        .max_waiters(None)
        .build(MemoryManager::new())
        .unwrap()
        .config();
    assert_eq!((config.idle_timeout, config.max_lifetime), (None, None));
    assert_eq!((config.max_uses, config.max_waiters), (None, None));
}

#[test]
fn build_waits_for_min_idle_and_for_one_at_least() {
    for (min_idle, opened) in [(0, 1), (1, 1), (4, 4)] {
        let backend = MemoryManager::new();
        backend.delay(Hook::Create, ms(5));
        let pool = quick("eager")
            .min_idle(min_idle)
            .build(backend.clone())
            .unwrap();
        assert_eq!(pool.stats().idle, opened, "{:?}", pool.stats());
        assert_eq!(backend.counters().created, opened as u64);
    }
}

/// A backend whose create is slow once, followed by a fast one.
/// A thread that gets no core for a while must not cause more creates than were requested.
#[test]
fn build_waits_for_a_create_that_is_slower_than_a_later_one() {
    let backend = MemoryManager::new();
    let pool = Pool::builder()
        .name("overtaken")
        .min_idle(2)
        .max_size(4)
        .build(Custom::new(&backend, |hook, n| {
            if (hook, n) == (Hook::Create, 1) {
                thread::sleep(ms(150));
            }
        }))
        .unwrap();
    eventually(|| pool.stats().creating == 0);
    assert_eq!(backend.counters().created, 2);
}

/// With a small timeout the caller does not wait so long that the other create would come too late. (Tried
/// again where a busy machine has used up the timeout.)
#[test]
fn build_opens_another_connection_in_place_of_one_whose_create_hangs() {
    for budget in [secs(30), ms(400)] {
        let built = (0..20).find_map(|_| {
            let (backend, gate) = (MemoryManager::new(), Gate::default());
            let pool = Pool::builder()
                .name("instead")
                .min_idle(2)
                .max_size(4)
                .get_timeout(budget)
                .build(Custom::first_create_waits(&backend, &gate));
            let seen = pool.as_ref().map(|pool| pool.stats());
            gate.open();
            seen.ok()
        });
        let seen = built.expect("a pool, though one create hangs");
        assert_eq!((seen.idle, seen.creating), (2, 1), "{budget:?}: {seen}");
    }
}

#[test]
fn build_fails_with_the_real_cause_and_at_once() {
    let backend = MemoryManager::new();
    backend.fail(Hook::Create, u64::MAX);
    let (result, took) = timed(|| quick("cause").build(backend.clone()));
    assert!(took <= noise(), "{took:?}");
    let error = result.unwrap_err();
    assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
    let source = error.source().expect("the error of the backend");
    assert!(
        source.to_string().contains("scripted failure of create"),
        "{source}"
    );
    assert!(
        !error.to_string().contains("scripted"),
        "printed twice: {error}"
    );
}

#[test]
fn build_repeats_transient_errors_within_get_timeout() {
    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, 3);
    let pool = quick("patient").build(backend).unwrap();
    assert_eq!(pool.stats().idle, 1);
}

#[test]
fn build_lazy_touches_no_backend_and_returns_at_once() {
    let backend = MemoryManager::new();
    backend.hang(Hook::Create);
    let (pool, took) = timed(|| {
        quick("lazy")
            .min_idle(2)
            .build_lazy(backend.clone())
            .unwrap()
    });
    assert!(took <= noise(), "{took:?}");
    backend.release();
    assert_eq!(take(&pool, 2).len(), 2);

    let backend = MemoryManager::new();
    let _idle = quick("lazier").build_lazy(backend.clone()).unwrap();
    stays(|| backend.calls(Hook::Create) == 0);
}

#[test]
fn a_config_can_be_taken_from_a_pool_and_builds_the_same_again() {
    let pool = quick("again")
        .max_size(3)
        .max_uses(9)
        .build(MemoryManager::new())
        .unwrap();
    let config: PoolConfig = pool.config();
    let twin = PoolBuilder::from(config)
        .build(MemoryManager::new())
        .unwrap();
    assert_eq!(twin.name(), "again");
    assert_eq!(
        (twin.config().max_size, twin.config().max_uses),
        (3, Some(9))
    );
}

#[test]
fn idle_timeout_may_exceed_max_lifetime() {
    quick("longidle")
        .idle_timeout(secs(7200))
        .max_lifetime(secs(60))
        .build(MemoryManager::new())
        .unwrap();
}

#[test]
fn the_threads_of_a_pool_carry_its_name_and_vanish_after_close() {
    let pool = quick("nm").build(MemoryManager::new()).unwrap();
    drop(take(&pool, 3));
    if cfg!(target_os = "linux") {
        assert!(threads("nm-") >= 1);
    }
    pool.close_timeout(SOON).unwrap();
    eventually(|| threads("nm-") == 0);
}

#[test]
fn long_and_odd_names_are_legal() {
    for name in ["a name with spaces", "ünïcödé", &"x".repeat(300)] {
        let pool = quick(name).build(MemoryManager::new()).unwrap();
        assert_eq!(pool.name(), name);
        drop(pool.get_timeout(SOON).unwrap());
    }
}

#[test]
fn a_name_that_no_thread_or_no_line_can_have_is_refused() {
    for name in ["", "nul\0inside", "two\nlines", "alarm\u{7}"] {
        let error = quick(name).build(MemoryManager::new()).unwrap_err();
        assert!(error.to_string().starts_with("name = "), "{error}");
    }
}

#[test]
fn a_pool_is_send_sync_clone_debug_and_unwind_safe() {
    fn has_it_all<T>(_: &T)
    where
        T: Send + Sync + Clone + std::fmt::Debug,
        T: std::panic::UnwindSafe + std::panic::RefUnwindSafe + 'static,
    {
    }
    fn movable<T: Send + std::fmt::Debug + 'static>(_: &T) {}
    let pool = quick("traits").build(MemoryManager::new()).unwrap();
    has_it_all(&pool);
    movable(&pool.get().unwrap());
}

#[test]
fn a_pool_whose_callers_never_wait_can_be_built_all_the_same() {
    let backend = MemoryManager::new();
    backend.delay(Hook::Create, ms(5));
    let pool = quick("nowait")
        .get_timeout(std::time::Duration::ZERO)
        .max_size(1)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    assert!(pool.get().unwrap_err().is_timeout());
    drop(held);
    let hung = MemoryManager::new();
    hung.hang(Hook::Create);
    let (result, took) = timed(|| {
        quick("nowaithung")
            .get_timeout(std::time::Duration::ZERO)
            .create_timeout(ms(50))
            .build(hung.clone())
    });
    assert!(result.is_err());
    common::assert_at(took, ms(50));
    hung.release();
}
