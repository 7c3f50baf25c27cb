//! Holders: who holds which connection, since when and from where, without any setting.

use crate::common;

use common::{SOON, ms, queued, quick, secs, spawn, take};
use conpool::{
    GetError, HealthCheck, Holder, Hook, KeyedPool, ManualClock, MemoryManager, Pool,
    PooledConnection, Timeout,
};
use std::{thread, time::Instant};

fn lines(holders: &[Holder]) -> Vec<u32> {
    assert!(
        holders.iter().all(|holder| holder.file == file!()),
        "{holders:?}"
    );
    holders.iter().map(|holder| holder.line).collect()
}

fn timeout<E: std::fmt::Debug>(result: Result<impl Sized, GetError<E>>) -> Box<Timeout<E>> {
    match result.err() {
        Some(GetError::TimedOut(timeout)) => timeout,
        other => panic!("{other:?} instead of a timeout"),
    }
}

#[test]
fn every_way_to_take_a_connection_records_its_own_call_site() {
    let pool = quick("ways")
        .max_size(5)
        .build(MemoryManager::new())
        .unwrap();
    assert!(pool.holders().is_empty());
    drop(take(&pool, 5));
    // The first round takes new connections, the second round used ones.
    for _ in 0..2 {
        let line = line!();
        let a = pool.get().unwrap();
        let b = pool.get_timeout(SOON).unwrap();
        let c = pool.get_deadline(Instant::now() + SOON).unwrap();
        let d = pool.try_get().unwrap();
        let mut found = lines(&pool.holders());
        found.sort_unstable();
        assert_eq!(found, [line + 1, line + 2, line + 3, line + 4]);
        let me = thread::current();
        let holders = pool.holders();
        assert!(
            holders
                .iter()
                .all(|holder| Some(&*holder.thread) == me.name())
        );
        let ids: Vec<_> = [&a, &b, &c, &d].map(|guard| guard.id()).into();
        let mut listed: Vec<_> = holders.iter().map(|holder| holder.connection_id).collect();
        listed.sort_unstable();
        assert_eq!(listed.len(), ids.len());
        drop((a, b, c, d));
        assert!(pool.holders().is_empty());
    }
}

#[test]
fn the_id_is_that_of_the_connection() {
    let pool = quick("ids")
        .max_size(3)
        .build(MemoryManager::new())
        .unwrap();
    let mut held = take(&pool, 3);
    let detached = held.pop().unwrap();
    let gone = PooledConnection::info(&detached).id;
    drop(PooledConnection::detach(detached));
    // The next connection gets the slot of the detached one, and another id.
    held.push(pool.get().unwrap());
    let new = PooledConnection::info(&held[2]).id;
    let ids: Vec<_> = pool
        .holders()
        .iter()
        .map(|holder| holder.connection_id)
        .collect();
    assert!(ids.contains(&new) && !ids.contains(&gone), "{ids:?}");
    assert_eq!(ids.len(), 3);
}

#[test]
fn an_added_connection_has_its_id_too() {
    let backend = MemoryManager::new();
    let pool = quick("added").build_lazy(backend.clone()).unwrap();
    let connection = conpool::ConnectionManager::create(&backend).unwrap();
    pool.add(connection).unwrap();
    let held = pool.get().unwrap();
    let id = PooledConnection::info(&held).id;
    assert_eq!(pool.holders()[0].connection_id, id);
}

#[test]
fn holders_come_longest_first() {
    let clock = ManualClock::new();
    let pool = quick("order")
        .clock(clock.clone())
        .build(MemoryManager::new())
        .unwrap();
    drop(take(&pool, 3));
    let mut held = take(&pool, 3);
    drop(held.remove(0));
    clock.advance(secs(5));
    held.push(pool.get().unwrap());
    clock.advance(secs(2));
    let times: Vec<_> = pool.holders().iter().map(|holder| holder.held).collect();
    assert_eq!(times, [secs(7), secs(7), secs(2)]);
}

#[test]
fn a_waiter_that_is_served_is_the_holder() {
    let pool = quick("served")
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let held = pool.get().unwrap();
    let (taken, line) = std::sync::mpsc::channel();
    let waiter = spawn({
        let pool = pool.clone();
        move || {
            let line = line!() + 1;
            let _held = pool.get_timeout(SOON).unwrap();
            taken.send((line, pool.holders())).unwrap();
        }
    });
    queued(&pool, 1);
    drop(held);
    let (line, holders) = line.recv_timeout(SOON).unwrap();
    assert_eq!(lines(&holders), [line]);
    waiter.join_soon();
}

#[test]
fn the_name_of_a_thread_that_has_ended_is_kept() {
    let pool = quick("ended").build(MemoryManager::new()).unwrap();
    let guard = {
        let pool = pool.clone();
        let named = thread::Builder::new().name("short-lived".into());
        named
            .spawn(move || pool.get().unwrap())
            .unwrap()
            .join()
            .unwrap()
    };
    assert_eq!(pool.holders()[0].thread, "short-lived");
    drop(guard);
    assert!(pool.holders().is_empty());
}

#[test]
fn a_connection_in_a_check_has_no_holder() {
    let backend = MemoryManager::new();
    let pool = quick("checked")
        .max_size(1)
        .health_check(HealthCheck::OnCheckout)
        .build(backend.clone())
        .unwrap();
    drop(pool.get().unwrap());
    backend.hang(Hook::Check);
    let error = timeout(pool.get_timeout(ms(20)));
    assert_eq!((error.in_use, error.holders.len()), (1, 0), "{error}");
    backend.release();
}

#[test]
fn a_timeout_names_the_three_longest_and_counts_the_rest() {
    let clock = ManualClock::new();
    let pool = quick("orders")
        .clock(clock.clone())
        .max_size(5)
        .build(MemoryManager::new())
        .unwrap();
    let line = line!() + 1;
    let oldest = pool.get().unwrap();
    clock.advance(secs(28));
    let _held = take(&pool, 4);
    clock.advance(secs(2));
    let theirs = spawn({
        let pool = pool.clone();
        move || pool.get_timeout(ms(10)).map(drop)
    });
    let error = timeout(theirs.join_soon());
    assert_eq!((error.holders.len(), error.more_holders), (3, 2));
    assert_eq!(
        (error.holders[0].line, error.holders[0].held),
        (line, secs(30))
    );
    let me = thread::current();
    let first = format!(
        "; held longest: {}:{line} on {:?} for 30s, ",
        file!(),
        me.name().unwrap()
    );
    let text = error.to_string();
    assert!(
        text.contains(&first) && text.ends_with(" for 2s (2 more)"),
        "{text}"
    );
    // Statistics name them too.
    let stats = pool.stats();
    assert_eq!((stats.longest_holders.len(), stats.more_holders), (3, 2));
    assert!(stats.to_string().contains(&first), "{stats}");
    drop(oldest);
    assert!(!pool.stats().to_string().contains(&first));
}

#[test]
fn close_timeout_names_them() {
    let pool = quick("closing").build(MemoryManager::new()).unwrap();
    let line = line!() + 1;
    let held = pool.get().unwrap();
    let left = pool.close_timeout(ms(20)).unwrap_err();
    assert_eq!((left.in_use, lines(&left.holders)), (1, vec![line]));
    let named = format!("; held longest: {}:{line} on ", file!());
    assert!(left.to_string().contains(&named), "{left}");
    drop(held);
}

#[test]
fn where_the_total_of_all_keys_is_reached_the_holders_of_other_keys_are_named() {
    let pool = KeyedPool::<u8, MemoryManager>::builder()
        .max_total(2)
        .max_per_key(2)
        .build(|_| MemoryManager::new())
        .unwrap();
    let line = line!() + 1;
    let _held = [pool.get(&1).unwrap(), pool.get(&2).unwrap()];
    let error = timeout(pool.get_timeout(&3, ms(10)));
    assert_eq!(lines(&error.holders), [line; 2]);
    assert_eq!(lines(&pool.holders()), [line; 2]);
    assert_eq!(lines(&pool.stats().longest_holders), [line; 2]);
    let one = pool.stats_for(&1).unwrap();
    assert_eq!((one.longest_holders.len(), one.more_holders), (1, 0));
}

#[test]
fn threads_that_take_and_give_back_are_never_listed_wrongly() {
    let pool = quick("racing")
        .max_size(2)
        .build(MemoryManager::new())
        .unwrap();
    drop(take(&pool, 2));
    let until = Instant::now() + ms(200);
    let users = ["left", "right"].map(|name| {
        let pool: Pool<MemoryManager> = pool.clone();
        let user = move || {
            let mut line = 0;
            while Instant::now() < until {
                line = line!() + 1;
                drop(pool.get_timeout(SOON).unwrap());
            }
            line
        };
        thread::Builder::new()
            .name(name.into())
            .spawn(user)
            .unwrap()
    });
    let mut seen = Vec::new();
    while Instant::now() < until {
        seen.extend(pool.holders());
    }
    let line = users.map(|user| user.join().unwrap())[0];
    for holder in seen {
        assert_eq!(holder.line, line);
        assert!(["left", "right"].contains(&&*holder.thread), "{holder}");
        assert!((1..=2).contains(&holder.connection_id), "{holder}");
    }
}

/// Uses a pool in its destructor, while the values of the thread are destroyed.
struct AtExit(Option<(Pool<MemoryManager>, std::sync::mpsc::Sender<Vec<Holder>>)>);

impl Drop for AtExit {
    fn drop(&mut self) {
        let Some((pool, found)) = self.0.take() else {
            return;
        };
        let _held = pool.get_timeout(SOON).unwrap();
        found.send(pool.holders()).unwrap();
    }
}

#[test]
fn a_thread_that_ends_may_use_the_pool_and_is_named() {
    thread_local! {
        static LAST: std::cell::RefCell<AtExit> = const { std::cell::RefCell::new(AtExit(None)) };
    }
    for used_before in [true, false] {
        let pool = quick("atexit").build(MemoryManager::new()).unwrap();
        let (found, holders) = std::sync::mpsc::channel();
        let ending = thread::Builder::new().name("ending".into());
        let ending = ending.spawn({
            let pool = pool.clone();
            move || {
                if used_before {
                    drop(pool.get().unwrap());
                }
                LAST.set(AtExit(Some((pool.clone(), found))));
            }
        });
        ending.unwrap().join().unwrap();
        let holders = holders.recv_timeout(SOON).unwrap();
        assert_eq!(holders.len(), 1);
        assert_eq!(holders[0].thread, "ending");
        assert_eq!((pool.stats().idle, pool.holders()), (1, Vec::new()));
    }
}
