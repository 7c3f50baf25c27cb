//! The `{:?}` output for logs: short, with the important names.

use crate::common;

use common::quick;
use conpool::{Clock, ManualClock, MemoryManager, Pool, PoolBuilder, PooledConnection};

#[test]
fn a_guard_shows_its_pool_and_its_connection_but_not_what_is_in_it() {
    let pool = quick("orders").build(MemoryManager::new()).unwrap();
    let guard = pool.get().unwrap();
    let shown = format!("{guard:?}");
    let id = PooledConnection::info(&guard).id;
    assert_eq!(
        shown,
        format!("PooledConnection {{ pool: \"orders\", id: {id}, .. }}")
    );
}

#[test]
fn a_pool_shows_its_numbers() {
    let pool = quick("orders")
        .max_size(3)
        .build(MemoryManager::new())
        .unwrap();
    let _guard = pool.get().unwrap();
    let shown = format!("{pool:?}");
    for part in ["\"orders\"", "max_size: 3", "in_use: 1", "closed: false"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn a_builder_shows_its_settings_and_a_clone_of_it_has_the_same() {
    let builder = PoolBuilder::<MemoryManager>::default()
        .name("orders")
        .max_size(7)
        .clock(ManualClock::default());
    let shown = format!("{builder:?}");
    for part in ["\"orders\"", "max_size: 7", "clock: Some(\"custom\")"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(shown, format!("{:?}", builder.clone()));
    let pool = builder.clone().build(MemoryManager::new()).unwrap();
    assert_eq!(pool.config().max_size, 7);
    drop(builder);
}

#[test]
fn a_default_builder_is_a_new_one() {
    let new = Pool::<MemoryManager>::builder();
    let default = PoolBuilder::<MemoryManager>::default();
    assert_eq!(format!("{new:?}"), format!("{default:?}"));
}

#[test]
fn a_manual_clock_shows_its_time() {
    let clock = ManualClock::new();
    assert!(format!("{clock:?}").contains(&format!("{:?}", clock.now())));
}
