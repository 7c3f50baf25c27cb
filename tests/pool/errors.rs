//! Errors: one line each, no cause twice, with the numbers that explain them.

use crate::common;

use common::{SOON, ms, quick, spawn, take};
use conpool::{GetError, Hook, MemoryError, MemoryManager};
use std::error::Error;

#[test]
fn a_timeout_names_the_pool_the_budget_and_the_numbers() {
    let pool = quick("orders")
        .max_size(2)
        .build(MemoryManager::new())
        .unwrap();
    let held = take(&pool, 2);
    let theirs = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(ms(30)).map(drop)
    });
    let text = theirs.join_soon().unwrap_err().to_string();
    for part in [
        "pool \"orders\": no connection within 30ms",
        "size 2/2",
        "0 idle",
        "2 in use",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    assert!(
        !text.contains('\n') && !text.contains("this thread"),
        "{text}"
    );

    let text = pool.get_timeout(ms(30)).unwrap_err().to_string();
    assert!(text.contains("this thread already holds 2"), "{text}");
    drop(held);
}

#[test]
fn the_cause_is_in_source_and_not_in_display() {
    let backend = MemoryManager::new();
    let pool = quick("sources").build_lazy(backend.clone()).unwrap();
    backend.fail(Hook::Create, 1);
    let error = pool.get().unwrap_err();
    assert!(error.to_string().contains("sources"), "{error}");
    assert_printed_once(&error);

    backend.fail_transient(Hook::Create, u64::MAX);
    let error = pool.get_timeout(ms(200)).unwrap_err();
    assert!(error.is_timeout());
    assert_printed_once(&error);
}

/// Asserts that the scripted failure appears exactly once in the chain, as a source.
#[track_caller]
fn assert_printed_once(error: &GetError<MemoryError>) {
    let mut chain = vec![error.to_string()];
    let mut next = error.source();
    while let Some(source) = next {
        chain.push(source.to_string());
        next = source.source();
    }
    let told = chain
        .iter()
        .filter(|text| text.contains("scripted failure"))
        .count();
    assert_eq!(told, 1, "{chain:?}");
    assert!(!chain[0].contains("scripted failure"), "{chain:?}");
}

#[test]
fn errors_are_send_sync_and_static() {
    fn portable<T: Error + Send + Sync + 'static>(_: &T) {}
    let pool = quick("portable").build(MemoryManager::new()).unwrap();
    pool.close();
    let error = pool.get().unwrap_err();
    portable(&error);
    let _boxed: Box<dyn Error + Send + Sync> = error.into();
}

#[test]
fn predicates_tell_the_kinds_apart() {
    let backend = MemoryManager::new();
    let pool = quick("kinds")
        .max_size(1)
        .max_waiters(0)
        .build(backend.clone())
        .unwrap();
    let held = pool.get().unwrap();
    let error = pool.get().unwrap_err();
    assert!(
        error.is_saturated() && !error.is_timeout() && !error.is_closed(),
        "{error}"
    );
    assert!(error.to_string().contains("kinds"), "{error}");
    drop(held);
    pool.close();
    let error = pool.get().unwrap_err();
    assert!(error.is_closed() && !error.is_saturated() && !error.is_timeout());
    assert!(error.last_create_error().is_none());
}

#[test]
fn a_timeout_after_a_failed_check_carries_that_cause() {
    let backend = MemoryManager::new();
    let pool = quick("checkcause")
        .max_size(1)
        .health_check(conpool::HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    backend.kill_all();
    backend.hang(Hook::Create);
    let error = pool.get_timeout(ms(200)).unwrap_err();
    let GetError::TimedOut(timeout) = error else {
        panic!("{error:?}");
    };
    assert!(
        matches!(timeout.last, Some(conpool::Cause::Check(_))),
        "{timeout:?}"
    );
    backend.release();
    drop(pool.get_timeout(SOON).unwrap());
}
