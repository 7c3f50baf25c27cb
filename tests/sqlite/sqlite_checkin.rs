//! Returns to the pool: what the next user finds of the last user's state, and which connections are not
//! handed out any more.

use crate::common;
use crate::sqlite;

use common::{SOON, eventually, ms};
use conpool::{ConnectionManager, EvictReason, PooledConnection, rusqlite};
use sqlite::{Folder, both, id, insert, memory, number, numbers, pool, quick};
use std::mem;

#[test]
fn a_connection_that_comes_back_in_a_transaction_is_rolled_back() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-dirty", manager);
        let first = pool.get().unwrap();
        let (first_id, dirty) = (id(&first), first);
        dirty.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&dirty, 1);
        drop(dirty);
        let next = pool.get().unwrap();
        assert_eq!(id(&next), first_id);
        assert!(next.is_autocommit());
        assert_eq!(numbers(&next), []);
        // The lock is free too.
        let other = pool.get().unwrap();
        other.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
    }
}

#[test]
fn a_connection_with_a_forgotten_statement_is_never_handed_on() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("tx-forgotten", manager);
        let held = pool.get().unwrap();
        insert(&held, 1);
        insert(&held, 2);
        let held_id = id(&held);
        let mut statement = held.prepare("SELECT n FROM t").unwrap();
        let mut rows = statement.query([]).unwrap();
        assert!(rows.next().unwrap().is_some());
        std::mem::forget(rows);
        std::mem::forget(statement);
        drop(held);
        assert_eq!(pool.stats().evicted(EvictReason::Broken), 1);
        assert_ne!(id(&pool.get().unwrap()), held_id);
    }
}

#[test]
fn what_a_user_changed_of_locks_and_foreign_keys_is_set_again() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("again", manager);
        let held = pool.get().unwrap();
        let held_id = id(&held);
        held.busy_timeout(ms(1)).unwrap();
        held.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        drop(held);
        let mut held = pool.get().unwrap();
        assert_eq!(id(&held), held_id);
        assert_eq!(number(&held, "PRAGMA busy_timeout"), 2_000);
        assert_eq!(number(&held, "PRAGMA foreign_keys"), 1);

        // A busy handler too.
        let user: &mut rusqlite::Connection = &mut held;
        user.busy_handler(Some(|_| panic!("the next one's locks are not mine")))
            .unwrap();
        drop(held);
        let (held, other) = (pool.get().unwrap(), pool.get().unwrap());
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        held.busy_timeout(ms(1)).unwrap();
        held.execute_batch("BEGIN IMMEDIATE").unwrap_err();
    }
}

#[test]
fn what_a_user_left_in_a_connection_otherwise_stays() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("stays", manager);
        let held = pool.get().unwrap();
        held.execute_batch("CREATE TEMP TABLE mine (n); PRAGMA cache_size = 55")
            .unwrap();
        drop(held);
        let held = pool.get().unwrap();
        assert_eq!(number(&held, "SELECT count(*) FROM mine"), 0);
        assert_eq!(number(&held, "PRAGMA cache_size"), 55);
    }
}

#[test]
fn a_connection_with_other_databases_than_at_its_start_is_evicted() {
    let (folder, managers) = both();
    let other = folder.file("other.db");
    let attach = format!("ATTACH '{}' AS other", other.display());
    for manager in managers {
        let pool = pool("attach", manager.clone());
        let held = pool.get().unwrap();
        held.execute_batch(&attach).unwrap();
        drop(held);
        assert_eq!(pool.stats().evicted(EvictReason::HookFailed), 1);

        // A database that the init hook attached stays attached.
        let attaching = attach.clone();
        let manager = manager.init(move |connection| connection.execute_batch(&attaching));
        let pool = quick("attached").build(manager).unwrap();
        let held = pool.get().unwrap();
        let held_id = id(&held);
        drop(held);
        let held = pool.get().unwrap();
        assert_eq!(id(&held), held_id);
        held.execute_batch("DETACH other").unwrap();
        drop(held);
        assert_eq!(pool.stats().evicted(EvictReason::HookFailed), 1);
    }
}

#[test]
fn a_handle_closed_behind_the_back_of_the_pool_is_replaced() {
    let (_folder, managers) = both();
    for manager in managers {
        let pool = pool("closed", manager);
        let mut held = pool.get().unwrap();
        insert(&held, 1);
        let held_id = id(&held);
        // Safe code can only swap the connection for another one.
        let stranger = rusqlite::Connection::open_in_memory().unwrap();
        mem::replace(&mut **held, stranger).close().unwrap();
        drop(held);
        assert_eq!(pool.stats().evicted(EvictReason::Broken), 1);
        let next = pool.get().unwrap();
        assert_ne!(id(&next), held_id);
        assert_eq!(numbers(&next), [1]);
        drop(next);
        pool.close_timeout(SOON).unwrap();
    }
}

#[test]
fn a_connection_of_another_pool_is_not_handed_out() {
    let (a, b) = (memory(), memory());
    let (mine, other) = (pool("mine", a.clone()), pool("other", b));
    insert(&mine.get().unwrap(), 1);
    let theirs = PooledConnection::detach(other.get().unwrap());
    mine.clear();
    eventually(|| mine.stats().size == 0);
    mine.add(theirs).unwrap();
    assert_eq!(numbers(&mine.get().unwrap()), [1]);
    // A connection of the manager's clone is as good as the pool's own.
    mine.clear();
    eventually(|| mine.stats().size == 0);
    mine.add(a.create().unwrap()).unwrap();
    let creates = mine.stats().created;
    assert_eq!(numbers(&mine.get().unwrap()), [1]);
    assert_eq!(mine.stats().created, creates);
}

#[test]
fn a_detached_connection_is_the_callers_own() {
    let folder = Folder::new();
    let pool = pool("detached", folder.manager());
    let taken = PooledConnection::detach(pool.get().unwrap());
    let shown = format!("{taken:?}");
    assert!(shown.contains("test.db"), "{shown}");
    let own: rusqlite::Connection = taken.into_inner();
    pool.close_timeout(SOON).unwrap();
    insert(&own, 1);
    own.close().unwrap();
}
