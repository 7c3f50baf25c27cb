//! Pools of different managers under their names.

use crate::common;

use common::{Gate, ms, quick, secs, spawn, take};
use conpool::{
    BuildError, ConbusSocketManager, ConfigError, Health, HealthCheck, Hook, MemoryManager, Pool,
    PoolRegistry, RegistryError,
};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Instant;

fn memory(name: &str) -> (Pool<MemoryManager>, MemoryManager) {
    let backend = MemoryManager::new();
    let pool = quick(name).max_size(2).build(backend.clone()).unwrap();
    (pool, backend)
}

fn socket() -> Pool<ConbusSocketManager> {
    Pool::builder()
        .build_lazy(ConbusSocketManager::new("localhost:9"))
        .unwrap()
}

#[test]
fn a_pool_is_found_by_the_name_it_was_registered_with_and_not_by_its_own() {
    let registry = PoolRegistry::new();
    let (pool, _backend) = memory("inside");
    registry.register("outside", pool.clone()).unwrap();
    let found = registry.get::<MemoryManager>("outside").unwrap();
    let _held = take(&found, 1);
    assert_eq!(pool.stats().in_use, 1, "another handle to the same pool");
    let error = registry.get::<MemoryManager>("inside").unwrap_err();
    assert!(matches!(&error, RegistryError::Unknown(name) if name == "inside"));
    assert_eq!(error.to_string(), r#"no pool is registered as "inside""#);
}

#[test]
fn pools_of_different_managers_live_side_by_side_and_names_come_sorted() {
    let registry = PoolRegistry::default();
    registry.register("orders", memory("orders").0).unwrap();
    registry.register("devices", socket()).unwrap();
    assert_eq!(registry.names(), ["devices", "orders"]);
    assert_eq!(registry.stats()["orders"].max_size, 2);
    assert_eq!(registry.stats().len(), 2);
    assert!(registry.get::<ConbusSocketManager>("devices").is_ok());
    let shown = format!("{registry:?}");
    assert!(shown.contains("devices"), "{shown}");
}

#[test]
fn a_name_is_taken_once_and_the_first_pool_keeps_it() {
    let registry = PoolRegistry::new();
    registry.register("one", memory("first").0).unwrap();
    let error = registry.register("one", memory("second").0).unwrap_err();
    assert!(matches!(&error, RegistryError::NameTaken(name) if name == "one"));
    assert_eq!(error.to_string(), r#"another pool is registered as "one""#);
    let kept = registry.get::<MemoryManager>("one").unwrap();
    assert_eq!(kept.name(), "first");
}

#[test]
fn the_wrong_type_of_manager_is_named_beside_the_right_one() {
    let registry = PoolRegistry::new();
    registry.register("orders", memory("orders").0).unwrap();
    let error = registry.get::<ConbusSocketManager>("orders").unwrap_err();
    let RegistryError::WrongType {
        name,
        registered,
        asked,
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(name, "orders");
    assert!(registered.contains("MemoryManager"), "{registered}");
    assert!(asked.contains("ConbusSocketManager"), "{asked}");
    let error = registry.get_or_register("orders", socket).unwrap_err();
    assert!(matches!(error, RegistryError::WrongType { .. }));
}

#[test]
fn many_threads_that_ask_for_a_name_at_once_make_one_pool() {
    let registry = Arc::new(PoolRegistry::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Barrier::new(8));
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let (registry, calls) = (Arc::clone(&registry), Arc::clone(&calls));
            let start = Arc::clone(&start);
            spawn(move || {
                start.wait();
                let make = || {
                    calls.fetch_add(1, SeqCst);
                    memory("shared").0
                };
                registry.get_or_register("shared", make).unwrap()
            })
        })
        .collect();
    let pools: Vec<_> = asking.into_iter().map(|task| task.join_soon()).collect();
    assert_eq!(calls.load(SeqCst), 1);
    let _held = take(&pools[0], 1);
    assert!(pools.iter().all(|pool| pool.stats().in_use == 1));
}

#[test]
fn a_pool_that_takes_long_to_build_delays_no_other_name() {
    let registry = Arc::new(PoolRegistry::new());
    let (gate, inside) = (Gate::default(), Arc::new(Barrier::new(2)));
    let building = {
        let (registry, gate, inside) = (Arc::clone(&registry), gate.clone(), Arc::clone(&inside));
        spawn(move || {
            let make = || {
                inside.wait();
                gate.pass();
                memory("slow").0
            };
            registry.get_or_register("slow", make).unwrap()
        })
    };
    inside.wait();
    let error = registry.get::<MemoryManager>("slow").unwrap_err();
    assert!(matches!(error, RegistryError::Unknown(_)), "not there yet");
    let error = registry.register("slow", memory("other").0).unwrap_err();
    assert!(
        matches!(error, RegistryError::NameTaken(_)),
        "but on its way"
    );
    registry.register("quick", memory("quick").0).unwrap();
    assert_eq!(registry.names(), ["quick"]);
    assert_eq!(registry.check_health().len(), 1);
    gate.open();
    building.join_soon();
    assert_eq!(registry.names(), ["quick", "slow"]);
}

#[test]
fn a_build_that_fails_keeps_its_cause_and_frees_the_name() {
    let registry = PoolRegistry::new();
    let refused = || Pool::builder().max_size(0).build(MemoryManager::new());
    let error = registry.get_or_register("orders", refused).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the pool to be registered as "orders" could not be built"#
    );
    let source = std::error::Error::source(&error).expect("the cause");
    assert!(source.to_string().starts_with("max_size = 0"), "{source}");
    let build = source.downcast_ref::<BuildError<conpool::MemoryError>>();
    assert!(matches!(
        build,
        Some(BuildError::Config(ConfigError { .. }))
    ));
    registry.register("orders", memory("orders").0).unwrap();
}

#[test]
fn a_build_that_panics_frees_the_name_for_those_who_wait() {
    let registry = Arc::new(PoolRegistry::new());
    let (gate, inside) = (Gate::default(), Arc::new(Barrier::new(2)));
    let fails = {
        let (registry, gate, inside) = (Arc::clone(&registry), gate.clone(), Arc::clone(&inside));
        std::thread::spawn(move || {
            let make = || -> Pool<MemoryManager> {
                inside.wait();
                gate.pass();
                std::panic::resume_unwind(Box::new("no pool today"));
            };
            registry.get_or_register("orders", make).map(drop)
        })
    };
    inside.wait();
    let waits = {
        let registry = Arc::clone(&registry);
        spawn(move || registry.get_or_register("orders", || memory("second").0))
    };
    gate.open();
    assert!(fails.join().is_err(), "the panic is its own");
    assert_eq!(waits.join_soon().unwrap().name(), "second");
}

#[test]
fn building_a_pool_that_asks_for_itself_is_an_error_and_no_deadlock() {
    let registry = PoolRegistry::new();
    let make = || registry.get_or_register("circle", || memory("inner").0);
    let error = registry.get_or_register("circle", make).unwrap_err();
    assert!(matches!(error, RegistryError::Build { .. }), "{error}");
    assert!(registry.names().is_empty());
}

#[test]
fn a_service_whose_checks_hang_delays_no_other_answer() {
    let registry = PoolRegistry::new();
    let (well, _backend) = memory("well");
    let backends: Vec<_> = (0..4).map(|_| MemoryManager::new()).collect();
    for (number, backend) in backends.iter().enumerate() {
        let pool = quick("hanging")
            .check_timeout(ms(300))
            .health_check(HealthCheck::Never)
            .build(backend.clone())
            .unwrap();
        registry.register(format!("hanging{number}"), pool).unwrap();
        backend.hang(Hook::Check);
    }
    registry.register("well", well).unwrap();
    let start = Instant::now();
    let answers = registry.check_health();
    let took = start.elapsed();
    assert!(answers["well"].is_healthy());
    assert_eq!(answers["hanging3"].failed(), 1);
    assert!(!matches!(answers["hanging0"], Health::Healthy { .. }));
    // One after the other would take four times as long.
    assert!(took < ms(900) + common::noise(), "{took:?}");
    backends.iter().for_each(MemoryManager::release);
    registry.close_all(secs(10)).unwrap();
}

#[test]
fn one_deadline_covers_every_pool_and_the_answer_names_who_still_holds() {
    let registry = PoolRegistry::new();
    let mut held = Vec::new();
    for name in ["a", "b", "c"] {
        let (pool, _backend) = memory(name);
        if name != "b" {
            held.extend(take(&pool, 1));
        }
        registry.register(name, pool).unwrap();
    }
    let start = Instant::now();
    let error = registry.close_all(ms(100)).unwrap_err();
    assert!(
        start.elapsed() < ms(180) + common::noise(),
        "not 100 ms each"
    );
    let names: Vec<_> = error.pools.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    assert!(error.pools.iter().all(|(_, left)| left.in_use == 1));
    let line = error.to_string();
    assert!(
        line.starts_with("2 pools not done at the deadline: \"a\": "),
        "{line}"
    );
    assert!(!line.contains('\n'));
    drop(held);
    registry.close_all(secs(10)).unwrap();
    let closed = registry.get::<MemoryManager>("b").unwrap();
    assert!(closed.is_closed());
}

#[test]
fn a_removed_name_is_free_and_the_pool_lives_on_in_its_other_handles() {
    let registry = PoolRegistry::new();
    let (pool, _backend) = memory("orders");
    registry.register("orders", pool.clone()).unwrap();
    assert!(registry.remove("orders"));
    assert!(!registry.remove("orders"));
    assert!(!pool.is_closed());
    registry.register("orders", memory("new").0).unwrap();
    assert_eq!(
        registry.get::<MemoryManager>("orders").unwrap().name(),
        "new"
    );
}

#[test]
fn a_name_may_be_any_text_even_one_that_no_thread_can_have() {
    let registry = PoolRegistry::new();
    registry.register("a\0b", memory("odd").0).unwrap();
    assert!(registry.check_health()["a\0b"].is_healthy());
    registry.close_all(secs(10)).unwrap();
}

static POOLS: PoolRegistry = PoolRegistry::new();

#[test]
fn a_registry_is_shared_and_survives_panics() {
    fn shared<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    shared::<PoolRegistry>();
    POOLS.register("static", memory("static").0).unwrap();
    assert_eq!(POOLS.names(), ["static"]);
    POOLS.close_all(secs(10)).unwrap();
}
