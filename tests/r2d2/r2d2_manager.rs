//! `R2d2Manager`: which r2d2 hook implements which hook of the pool, on which thread each runs, and where its
//! errors go.

use crate::common;
use crate::r2d2;

use ::r2d2::{CustomizeConnection, ManageConnection};
use common::{
    SOON, assert_at, eventually, fill, ms, queued, spawn, take, timed, timeout_with_cause,
};
use conpool::{
    BuildError, Cause, ConnectionManager, EvictReason, GetError, HealthCheck, KeyedPool, Pool,
    PooledConnection, R2d2Manager,
};
use r2d2::{Conn, Fault, Hook, Peer, Refused, builder, close_clean, manager};
use std::{
    any::Any,
    cell::Cell,
    convert::Infallible,
    error::Error,
    sync::{Arc, Mutex},
    thread,
};

#[test]
fn a_new_connection_is_connected_then_acquired_and_never_acquired_again() {
    let peer = Peer::default();
    let pool = builder("r2order")
        .max_size(1)
        .build(manager(&peer))
        .unwrap();
    for _ in 0..3 {
        assert_eq!(pool.get().unwrap().id, 1);
    }
    let made: Vec<_> = peer.calls().into_iter().take(2).collect();
    assert_eq!(made, ["Connect", "OnAcquire 1"]);
    assert_eq!(
        (peer.count(Hook::Connect), peer.count(Hook::OnAcquire)),
        (1, 1)
    );
    close_clean(&pool, 0);
}

#[test]
fn every_connection_that_leaves_goes_to_on_release_once_whatever_it_died_of() {
    let peer = Peer::default();
    let pool = builder("r2release")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(manager(&peer))
        .unwrap();
    let released = |id: u64| {
        let calls = peer.calls();
        let line = format!("OnRelease {id}");
        calls.into_iter().filter(|call| *call == line).count()
    };
    PooledConnection::discard(pool.get().unwrap());
    eventually(|| released(1) == 1);

    peer.plan(Hook::HasBroken, Fault::Fail, 1);
    drop(pool.get().unwrap());
    eventually(|| released(2) == 1);

    drop(pool.get().unwrap());
    peer.plan(Hook::IsValid, Fault::Fail, 1);
    assert_eq!(pool.get().unwrap().id, 4);
    eventually(|| released(3) == 1);

    pool.clear();
    eventually(|| released(4) == 1);

    pool.set_max_size(3).unwrap();
    drop(take(&pool, 3));
    close_clean(&pool, 0);
    for id in 1..=peer.connected() {
        assert_eq!(released(id), 1, "{id}");
    }
}

#[test]
fn a_detached_connection_is_not_released() {
    let peer = Peer::default();
    let pool = builder("r2detach")
        .max_size(1)
        .build(manager(&peer))
        .unwrap();
    let mine: Conn = PooledConnection::detach(pool.get().unwrap());
    pool.close_timeout(SOON).unwrap();
    assert_eq!((mine.id, peer.released(), peer.dropped()), (1, 0, 0));
}

#[test]
fn what_on_acquire_refuses_is_dropped_without_a_release_and_another_is_made() {
    let peer = Peer::default();
    peer.plan(Hook::OnAcquire, Fault::Fail, 3);
    let pool = builder("r2acquire")
        .max_size(1)
        .build(manager(&peer))
        .unwrap();
    assert_eq!(pool.get().unwrap().id, 4);
    assert_eq!((peer.dropped(), peer.released()), (3, 0));
    assert_eq!(pool.stats().create_errors, 3);
    close_clean(&pool, 3);
}

#[test]
fn a_customizer_comes_by_itself_or_in_a_box_and_the_last_one_counts() {
    let [plain, boxed, unsized_, never] = [(); 4].map(|()| Peer::default());
    let dynamic: Box<dyn CustomizeConnection<Conn, Refused>> = Box::new(unsized_.clone());
    let peer = Peer::default();
    let inner = || R2d2Manager::new(peer.clone());
    for (manager, customizer) in [
        (inner().customizer(plain.clone()), plain),
        (inner().customizer(Box::new(boxed.clone())), boxed),
        (
            inner().customizer(never.clone()).customizer(dynamic),
            unsized_,
        ),
    ] {
        let pool = builder("r2custom").max_size(1).build(manager).unwrap();
        drop(pool.get().unwrap());
        pool.close_timeout(SOON).unwrap();
        let calls = (
            customizer.count(Hook::OnAcquire),
            customizer.count(Hook::OnRelease),
        );
        assert_eq!(calls, (1, 1));
    }
    assert_eq!(never.count(Hook::OnAcquire), 0);
}

#[test]
fn hooks_that_may_block_run_on_threads_of_the_pool_and_has_broken_on_the_users() {
    let peer = Peer::default();
    let pool = builder("r2where")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(manager(&peer))
        .unwrap();
    let user = thread::Builder::new().name("the user".into());
    let pool_ = pool.clone();
    let user = user.spawn(move || drop(pool_.get().unwrap())).unwrap();
    user.join().unwrap();
    close_clean(&pool, 0);
    assert!(peer.count(Hook::IsValid) >= 1 && peer.count(Hook::HasBroken) == 1);
    for line in peer.log() {
        let (call, thread) = line.split_once(" on ").unwrap();
        match call {
            "HasBroken 1" => assert_eq!(thread, "the user", "{line}"),
            _ => assert!(thread.starts_with("r2where-"), "{line}"),
        }
    }
}

#[test]
fn is_valid_is_asked_when_the_health_check_says_so_and_by_the_keepalive() {
    for (check, expected) in [
        (HealthCheck::Never, 0),
        (HealthCheck::AfterIdle(SOON * 100), 0),
        (HealthCheck::OnCheckout, 5),
    ] {
        let peer = Peer::default();
        let pool = builder("r2check")
            .max_size(1)
            .health_check(check)
            .build(manager(&peer))
            .unwrap();
        for _ in 0..5 {
            drop(pool.get().unwrap());
        }
        assert_eq!(peer.count(Hook::IsValid), expected, "{check:?}");
        close_clean(&pool, 0);
    }
    let peer = Peer::default();
    let pool = builder("r2alive")
        .health_check(HealthCheck::Never)
        .keepalive_interval(ms(5))
        .build(manager(&peer))
        .unwrap();
    eventually(|| peer.count(Hook::IsValid) >= 2);
    close_clean(&pool, 0);
}

#[test]
fn a_broken_one_is_evicted_at_check_in_and_the_waiter_gets_a_new_one() {
    let peer = Peer::default();
    let pool = builder("r2broken")
        .max_size(1)
        .build(manager(&peer))
        .unwrap();
    let held = pool.get().unwrap();
    let waiter = spawn({
        let pool = pool.clone();
        move || pool.get().map(|guard| guard.id)
    });
    queued(&pool, 1);
    peer.plan(Hook::HasBroken, Fault::Fail, 1);
    drop(held);
    assert_eq!(waiter.join_soon().unwrap(), 2);
    assert_eq!(pool.stats().evicted(EvictReason::Broken), 1);
    close_clean(&pool, 0);
}

#[test]
fn without_a_customizer_connections_are_dropped_by_the_pool() {
    let peer = Peer::default();
    let pool = builder("r2plain")
        .build(R2d2Manager::new(peer.clone()))
        .unwrap();
    fill(&pool, 2);
    PooledConnection::discard(pool.get().unwrap());
    eventually(|| peer.dropped() == 1);
    pool.close_timeout(SOON).unwrap();
    assert_eq!((peer.dropped(), peer.released()), (peer.connected(), 0));
}

#[test]
fn every_error_of_a_create_is_repeated_until_the_deadline_and_is_then_the_cause() {
    for hook in [Hook::Connect, Hook::OnAcquire] {
        let peer = Peer::default();
        let pool = builder("r2down").build_lazy(manager(&peer)).unwrap();
        assert!(pool.manager().is_transient(&Refused(hook)));
        peer.plan(hook, Fault::Fail, u64::MAX);
        let told = timeout_with_cause(&pool, ms(80));
        let cause = told.last.unwrap();
        assert!(matches!(cause, Cause::Create(error) if *error == Refused(hook)));

        // The connection comes back, and the waiter gets no error.
        let waiter = spawn({
            let pool = pool.clone();
            move || pool.get().map(drop)
        });
        queued(&pool, 1);
        let tried = peer.count(hook);
        eventually(|| peer.count(hook) >= tried + 2);
        peer.heal();
        waiter.join_soon().unwrap();
        close_clean(&pool, peer.connected() - pool.stats().created);
    }
}

#[test]
fn the_text_of_an_error_says_it_once_and_the_r2d2_managers_error_is_behind_it() {
    let peer = Peer::default();
    peer.plan(Hook::Connect, Fault::Fail, u64::MAX);
    let pool = builder("r2text").build_lazy(manager(&peer)).unwrap();
    let error = GetError::TimedOut(Box::new(timeout_with_cause(&pool, ms(40))));
    let text = error.to_string();
    assert!(
        text.starts_with("pool \"r2text\": no connection within 40ms"),
        "{text}"
    );
    let mut chain = Vec::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = next {
        chain.push(error);
        next = error.source();
    }
    let last = chain.last().unwrap();
    assert_eq!(last.downcast_ref(), Some(&Refused(Hook::Connect)));
    let whole: Vec<_> = chain.iter().map(ToString::to_string).collect();
    let said = whole.iter().filter(|text| text.contains("Connect refuses"));
    assert_eq!(said.count(), 1, "{whole:?}");
    close_clean(&pool, 0);
}

#[test]
fn a_build_that_finds_no_backend_ends_in_time_with_the_cause_and_leaves_nothing() {
    let peer = Peer::default();
    peer.plan(Hook::OnAcquire, Fault::Fail, u64::MAX);
    // A busy machine may not have tried yet.
    eventually(|| {
        let build = || builder("r2build").get_timeout(ms(60)).build(manager(&peer));
        let (result, took) = timed(build);
        assert_at(took, ms(60));
        let error = result.unwrap_err();
        assert!(matches!(error, BuildError::TimedOut(_)), "{error:?}");
        error.last_create_error() == Some(&Refused(Hook::OnAcquire))
    });
    eventually(|| peer.dropped() == peer.connected() && common::threads("r2build-") == 0);
    assert_eq!(peer.released(), 0);
}

#[test]
fn with_fail_fast_an_outage_is_told_at_once() {
    let peer = Peer::default();
    let pool = builder("r2fast")
        .fail_fast(true)
        .build_lazy(manager(&peer))
        .unwrap();
    peer.plan(Hook::Connect, Fault::Fail, u64::MAX);
    let (result, took) = timed(|| pool.get_timeout(SOON * 10).map(drop));
    assert!(took < SOON, "{took:?}");
    assert_eq!(
        result.unwrap_err().last_create_error(),
        Some(&Refused(Hook::Connect))
    );
    close_clean(&pool, 0);
}

/// A manager for which only the refusals of `on_acquire` are transient.
fn classifying(peer: &Peer) -> R2d2Manager<Peer> {
    manager(peer).transient(|error: &Refused| error.0 == Hook::OnAcquire)
}

#[test]
fn what_the_classifier_calls_permanent_is_told_at_once_and_leaves_nothing() {
    let peer = Peer::default();
    peer.plan(Hook::Connect, Fault::Fail, u64::MAX);
    let build = || builder("r2perm").build(classifying(&peer));
    let (result, took) = timed(build);
    assert_at(took, ms(0));
    let error = result.unwrap_err();
    assert!(matches!(error, BuildError::Create { .. }), "{error:?}");
    assert_eq!(error.last_create_error(), Some(&Refused(Hook::Connect)));
    assert_eq!(peer.count(Hook::Connect), 1);
    eventually(|| common::threads("r2perm-") == 0);

    let lazy = builder("r2permget").build_lazy(classifying(&peer));
    let pool = lazy.unwrap();
    let (result, took) = timed(|| pool.get().map(drop));
    assert_at(took, ms(0));
    let error = result.unwrap_err();
    assert!(matches!(error, GetError::Create { .. }), "{error:?}");
    close_clean(&pool, 0);
}

#[test]
fn what_the_classifier_calls_transient_is_repeated_until_it_succeeds() {
    let peer = Peer::default();
    peer.plan(Hook::OnAcquire, Fault::Fail, 3);
    let pool = builder("r2trans").build(classifying(&peer)).unwrap();
    assert_eq!(peer.count(Hook::OnAcquire), 4);
    close_clean(&pool, 3);
}

#[test]
fn without_a_classifier_every_error_is_transient_and_of_two_the_last_counts() {
    let peer = Peer::default();
    let refused = Refused(Hook::Connect);
    let plain = R2d2Manager::new(peer.clone());
    assert!(plain.is_transient(&refused));
    let never = plain.transient(|_| false);
    assert!(!never.is_transient(&refused));
    let last = never.transient(|error: &Refused| error.0 == Hook::Connect);
    assert!(last.is_transient(&refused));
    assert!(!last.is_transient(&Refused(Hook::OnAcquire)));
    assert!(format!("{last:?}").ends_with(r#"customizer: None, transient: "custom" }"#));
}

#[test]
fn the_manager_inside_is_at_hand_and_debug_names_only_its_type() {
    let peer = Peer::default();
    let manager = manager(&peer);
    manager.get_ref().plan(Hook::Connect, Fault::Fail, 1);
    assert_eq!(manager.create().unwrap_err(), Refused(Hook::Connect));
    let plain = format!("{:?}", R2d2Manager::new(peer.clone()));
    assert_eq!(
        plain,
        "R2d2Manager { inner: r2d2::r2d2::Peer, customizer: None }"
    );
    assert!(format!("{manager:?}").contains("customizer: Some(Peer("));
    let boxed = R2d2Manager::new(peer.clone()).customizer(Box::new(peer));
    assert_eq!(format!("{boxed:?}"), format!("{manager:?}"));
}

/// Neither Debug nor Clone, with a connection that is not Sync.
struct Bare(Mutex<u8>);

impl ManageConnection for Bare {
    type Connection = Cell<Option<Box<dyn Any + Send>>>;
    type Error = Infallible;

    fn connect(&self) -> Result<Self::Connection, Infallible> {
        let mut last = self.0.lock().unwrap();
        *last += 1;
        Ok(Cell::new(Some(Box::new(*last))))
    }

    fn is_valid(&self, _: &mut Self::Connection) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        connection.get_mut().is_none()
    }
}

#[test]
fn nothing_is_asked_of_a_manager_or_a_connection_that_r2d2_does_not_ask() {
    let pool = Pool::builder()
        .name("r2bare")
        .max_size(1)
        .build(R2d2Manager::new(Bare(Mutex::new(0))))
        .unwrap();
    let number = |guard: PooledConnection<R2d2Manager<Bare>>| {
        *guard.take().unwrap().downcast::<u8>().unwrap()
    };
    assert_eq!(number(pool.get().unwrap()), 1);
    assert_eq!(number(pool.get().unwrap()), 2, "the first came back empty");
    pool.close_timeout(SOON).unwrap();
}

#[test]
fn keys_each_have_an_r2d2_manager_of_their_own() {
    let peers = Arc::new([Peer::default(), Peer::default()]);
    let shared = Arc::clone(&peers);
    let pools = KeyedPool::<usize, R2d2Manager<Peer>>::builder()
        .name("r2keys")
        .max_total(2)
        .build(move |key: &usize| manager(&shared[*key]))
        .unwrap();
    let first = pools.get(&0).unwrap();
    let second = pools.get(&1).unwrap();
    assert_eq!((first.id, second.id), (1, 1));
    drop((first, second));
    pools.close_timeout(SOON).unwrap();
    for peer in peers.iter() {
        assert_eq!((peer.connected(), peer.released()), (1, 1));
    }
}

#[test]
fn without_threads_the_users_run_every_hook() {
    let peer = Peer::default();
    let pool = builder("r2alone")
        .background_collector(false)
        .health_check(HealthCheck::OnCheckout)
        .build(manager(&peer))
        .unwrap();
    drop(pool.get().unwrap());
    PooledConnection::discard(pool.get().unwrap());
    close_clean(&pool, 0);
    let me = thread::current();
    let me = format!(" on {}", me.name().unwrap());
    assert!(
        peer.log().iter().all(|line| line.ends_with(&me)),
        "{peer:?}"
    );
    assert!(peer.count(Hook::IsValid) >= 1 && peer.released() == 1);
}
