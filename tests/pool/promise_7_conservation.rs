//! Promise 7: a created connection is in exactly one place, and is disposed exactly once.

use crate::common;

use common::{
    Custom, HOOKS, SOON, all_disposed, close_clean, descriptors, eventually, fill, ms, quick,
    quick_backoff, spawn, take, threads,
};
use conpool::{
    BuildError, ConnectionManager, HealthCheck, Hook, MemoryManager, Pool, PooledConnection,
};
use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

/// Runs some of every operation; errors are ignored.
fn use_pool<M: ConnectionManager>(pool: &Pool<M>) {
    let users = [(); 3].map(|()| {
        let pool = pool.clone();
        spawn(move || {
            for round in 0..6 {
                match pool.get_timeout(ms(30)) {
                    Ok(guard) if round == 4 => PooledConnection::discard(guard),
                    _ => {}
                }
            }
        })
    });
    users.into_iter().for_each(|user| user.join_soon());
    pool.clear();
    drop(pool.get_timeout(ms(30)));
    pool.sweep();
}

#[test]
fn whichever_hook_fails_or_panics_every_connection_is_disposed_once() {
    type Fault = fn(&MemoryManager, Hook);
    let faults: [(&str, Fault); 5] = [
        ("fails", |backend, hook| backend.fail(hook, 2)),
        ("fails transiently", |backend, hook| {
            backend.fail_transient(hook, 2)
        }),
        ("panics", |backend, hook| backend.panic(hook, 2)),
        ("always fails", |backend, hook| backend.fail(hook, u64::MAX)),
        ("always panics", |backend, hook| {
            backend.panic(hook, u64::MAX)
        }),
    ];
    for collector in [true, false] {
        for hook in HOOKS {
            for (name, fault) in faults {
                let backend = MemoryManager::new();
                backend.needs_reset(hook == Hook::Reset);
                let pool = quick("matrix")
                    .max_size(3)
                    .background_collector(collector)
                    .health_check(HealthCheck::OnCheckout)
                    .build(backend.clone())
                    .unwrap_or_else(|error| panic!("{hook} {name}: {error}"));
                fault(&backend, hook);
                use_pool(&pool);
                assert!(pool.stats().disposing <= 3);
                backend.heal();
                drop(
                    pool.get_timeout(SOON)
                        .unwrap_or_else(|error| panic!("{hook} {name}: wedged, {error}")),
                );
                close_clean(&pool, &backend);
            }
        }
    }
}

/// A panic payload that panics again when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the payload went off");
    }
}

#[test]
fn a_panic_payload_that_panics_when_dropped_does_no_more_harm_than_any_other() {
    for hook in HOOKS {
        let backend = MemoryManager::new();
        backend.needs_reset(hook == Hook::Reset);
        let armed = AtomicU64::new(0);
        let manager = Custom::new(&backend, move |now, _| {
            // The second and third calls, so that build can succeed.
            if now == hook && (1..=2).contains(&armed.fetch_add(1, Ordering::SeqCst)) {
                panic_any(PanicsOnDrop);
            }
        });
        let pool = Pool::builder()
            .name("bomb")
            .max_size(2)
            .backoff(quick_backoff())
            .health_check(HealthCheck::OnCheckout)
            .build(manager)
            .unwrap();
        use_pool(&pool);
        // The last of the scripted panics may still come.
        eventually(|| pool.get_timeout(SOON).is_ok());
        close_clean(&pool, &backend);
    }
}

#[test]
fn a_snapshot_accounts_for_every_connection_when_nothing_moves() {
    let backend = MemoryManager::new();
    let pool = quick("ledger").max_size(5).build(backend.clone()).unwrap();
    fill(&pool, 4);
    pool.add(backend.create().unwrap()).unwrap();
    let held = take(&pool, 2);
    drop(PooledConnection::detach(pool.get().unwrap()));
    PooledConnection::discard(pool.get().unwrap());
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
    eventually(|| pool.stats().disposing == 0);
    let stats = pool.stats();
    let (created, added, detached) = (stats.created, 1, 1);
    let present = stats.idle + stats.in_use + stats.disposing;
    assert_eq!(
        created + added - stats.disposed - detached,
        present as u64,
        "{stats:?}"
    );
    assert_eq!((stats.idle, stats.in_use), (1, 2));
    drop(held);
}

#[test]
fn a_detached_connection_is_never_disposed_and_frees_its_slot() {
    let backend = MemoryManager::new();
    let pool = quick("detach").max_size(1).build(backend.clone()).unwrap();
    let mut mine = PooledConnection::detach(pool.get().unwrap());
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
    pool.close_timeout(SOON).unwrap();
    assert_eq!(mine.execute("PING").unwrap(), "PONG");
    drop(mine);
    let seen = backend.counters();
    assert_eq!(
        (seen.disposed, seen.dropped_undisposed, seen.open),
        (1, 1, 0)
    );
}

#[test]
fn a_forgotten_guard_costs_its_slot_and_nothing_else() {
    let backend = MemoryManager::new();
    let pool = quick("forget").max_size(2).build(backend.clone()).unwrap();
    std::mem::forget(pool.get().unwrap());
    for _ in 0..5 {
        drop(pool.get_timeout(SOON).unwrap());
    }
    assert_eq!(pool.stats().in_use, 1);
    let left = pool.close_timeout(ms(50)).unwrap_err();
    assert_eq!(left.in_use, 1);
    assert!(backend.wait_for(|seen| seen.disposed == 1 && seen.open == 1, SOON));
    drop(pool);
    eventually(|| threads("forget-") == 0);
}

#[test]
fn a_build_that_fails_leaves_nothing_behind() {
    let backend = MemoryManager::new();
    let gone = Custom::new(&backend, |hook, n| {
        assert!(
            hook != Hook::Create || n < 3,
            "every create from the third on fails"
        );
    });
    let result = Pool::builder()
        .name("nobuild")
        .min_idle(3)
        .max_size(3)
        .get_timeout(ms(100))
        .build(gone);
    assert!(
        matches!(
            result,
            Err(BuildError::Panicked { .. } | BuildError::TimedOut(_))
        ),
        "{result:?}"
    );
    all_disposed(&backend);
    eventually(|| threads("nobuild-") == 0);

    let backend = MemoryManager::new();
    backend.fail_transient(Hook::Create, u64::MAX);
    let result = quick("nobuild").get_timeout(ms(50)).build(backend.clone());
    assert!(matches!(result, Err(BuildError::TimedOut(_))), "{result:?}");
    eventually(|| threads("nobuild-") == 0 && backend.counters().in_hook == 0);
    let calls = backend.calls(Hook::Create);
    common::stays(|| backend.calls(Hook::Create) == calls);
}

#[test]
fn a_create_that_outlives_its_failed_build_is_disposed_when_it_returns() {
    let backend = MemoryManager::new();
    backend.hang(Hook::Create);
    let result = quick("hungbuild")
        .get_timeout(ms(300))
        .build(backend.clone());
    assert!(matches!(result, Err(BuildError::TimedOut(_))), "{result:?}");
    backend.release();
    assert!(backend.wait_for(|seen| seen.created == 1 && seen.in_hook == 0, SOON));
    all_disposed(&backend);
    eventually(|| threads("hungbuild-") == 0);
}

/// Connections that are open files, to count descriptors.
#[derive(Debug)]
struct Files;

impl ConnectionManager for Files {
    type Connection = File;
    type Error = io::Error;
    fn create(&self) -> io::Result<File> {
        File::open("/dev/null")
    }
    fn check_aliveness(&self, file: &mut File) -> io::Result<()> {
        file.metadata().map(drop)
    }
}

#[test]
#[cfg(target_os = "linux")]
fn after_close_no_descriptor_and_no_thread_is_left() {
    crate::process::alone(open_and_close);
}

#[cfg(target_os = "linux")]
fn open_and_close() {
    let null = Path::new("/dev/null");
    let before = descriptors(null);
    let pool = Pool::builder()
        .name("fds")
        .max_size(9)
        .build(Files)
        .unwrap();
    fill(&pool, 9);
    assert_eq!(descriptors(null), before + 9);
    let held = pool.get().unwrap();
    use_pool(&pool);
    drop(held);
    pool.close_timeout(SOON).unwrap();
    assert_eq!(descriptors(null), before);
    eventually(|| threads("fds-") == 0);
}

#[test]
fn a_guard_taken_and_dropped_while_unwinding_is_checked_in_and_one_dropped_by_it_is_evicted() {
    /// Uses the pool in its destructor.
    struct UsesPoolOnDrop(Pool<MemoryManager>);
    impl Drop for UsesPoolOnDrop {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            self.0.get_timeout(SOON).unwrap().execute("PING").unwrap();
        }
    }
    let backend = MemoryManager::new();
    let pool = quick("unwind").max_size(1).build(backend.clone()).unwrap();
    let late = UsesPoolOnDrop(pool.clone());
    catch_unwind(AssertUnwindSafe(|| {
        let _late = late;
        panic!("the user's own panic");
    }))
    .unwrap_err();
    assert_eq!(
        backend.counters().disposed,
        0,
        "the panic began before that checkout"
    );
    assert_eq!(pool.get().unwrap().id(), 1);

    let guard = pool.get().unwrap();
    catch_unwind(AssertUnwindSafe(|| {
        let _guard = guard;
        panic!("the user's own panic");
    }))
    .unwrap_err();
    assert_eq!(pool.get_timeout(SOON).unwrap().id(), 2);
    assert_eq!(pool.stats().evicted(conpool::EvictReason::Panicked), 1);
    close_clean(&pool, &backend);
}
