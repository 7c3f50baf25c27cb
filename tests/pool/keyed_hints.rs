//! Keyed pools: a thread finds the connection that served a key last without a look at the map of keys.

use crate::common;

use common::{Log, SOON, eventually, secs, spawn};
use conpool::{KeyedPool, ManualClock, MemoryManager, PooledConnection};
use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

/// How long the last checkout waited. The fast path waits for nothing, not even for the lock.
fn last_waited(log: &Log) -> String {
    let lines = log.lines();
    let last = lines
        .iter()
        .rfind(|line| line.starts_with("CheckedOut"))
        .unwrap();
    let (_, waited) = last.split_once("waited: ").unwrap();
    waited.to_owned()
}

#[test]
fn a_key_whose_connection_went_on_standby_is_soon_on_the_fast_path_again() {
    let (clock, log) = (ManualClock::new(), Log::default());
    let pool = KeyedPool::<u8, MemoryManager>::builder()
        .clock(clock.clone())
        .observer(log.clone())
        .idle_timeout(secs(100))
        .build(|_| MemoryManager::new())
        .unwrap();
    drop([pool.get(&1).unwrap(), pool.get(&1).unwrap()]);
    // The thread now takes the connection in the second slot, which came back last.
    drop(pool.get(&1).unwrap());
    pool.sweep();
    clock.advance(secs(2));
    pool.sweep();
    // Both connections are on standby, and this checkout takes the other one off standby.
    drop(pool.get(&1).unwrap());
    drop(pool.get(&1).unwrap());
    assert_eq!(last_waited(&log), "0ns }", "{:?}", log.lines());
}

type Pool = KeyedPool<Alike, MemoryManager>;

thread_local! {
    /// A comparison of two keys adds how many connections are in use.
    static SEEN: RefCell<Option<(Pool, usize)>> = const { RefCell::new(None) };
    static PANICS: RefCell<bool> = const { RefCell::new(false) };
}

/// A key whose hash says nothing.
#[derive(Clone, Debug)]
struct Alike(u8);

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(0);
    }
}

impl PartialEq for Alike {
    fn eq(&self, other: &Self) -> bool {
        SEEN.with_borrow_mut(|seen| {
            if let Some((pool, in_use)) = seen {
                *in_use += pool.stats().in_use;
            }
        });
        assert!(!PANICS.with_borrow(|panics| *panics), "cannot compare");
        self.0 == other.0
    }
}

impl Eq for Alike {}

fn pool_of_alike_keys() -> Pool {
    KeyedPool::builder()
        .max_waiters(0)
        .build(|_| MemoryManager::new())
        .unwrap()
}

#[test]
fn keys_with_one_hash_hide_no_connection_from_each_other_after_the_first_mistake() {
    let pool = pool_of_alike_keys();
    for key in [1, 1, 2, 2, 1] {
        drop(pool.get(&Alike(key)).unwrap());
    }
    SEEN.set(Some((pool.clone(), 0)));
    for key in [2, 1, 2, 1] {
        drop(pool.get(&Alike(key)).unwrap());
    }
    let (_, in_use) = SEEN.take().unwrap();
    assert_eq!(in_use, 0, "connections taken at the comparison of two keys");
    assert_eq!((pool.stats().size, pool.stats().idle), (2, 2));
}

#[test]
fn a_key_that_cannot_be_compared_loses_no_connection() {
    let pool = pool_of_alike_keys();
    for _ in 0..3 {
        drop(pool.get(&Alike(1)).unwrap());
    }
    PANICS.set(true);
    let got = catch_unwind(AssertUnwindSafe(|| pool.get(&Alike(1)).is_ok()));
    PANICS.set(false);
    assert!(got.is_err());
    assert_eq!((pool.stats().idle, pool.stats().in_use), (1, 0));
    drop(pool.get(&Alike(1)).unwrap());
    assert_eq!(pool.stats().size, 1);
}

#[test]
fn a_hint_leads_to_no_connection_of_before_a_clear_or_a_close() {
    let pool = KeyedPool::<u8, MemoryManager>::builder()
        .build(|_| MemoryManager::new())
        .unwrap();
    let id = || PooledConnection::info(&pool.get_timeout(&1, SOON).unwrap()).id;
    assert_eq!([id(), id(), id()], [1, 1, 1]);
    pool.clear_key(&1);
    assert_eq!([id(), id(), id()], [2, 2, 2]);
    pool.clear();
    pool.sweep();
    assert_eq!([id(), id(), id()], [3, 3, 3]);
    pool.close();
    assert!(pool.get(&1).unwrap_err().is_closed() && pool.try_get(&1).is_none());
}

#[test]
fn threads_that_take_turns_at_a_key_leave_one_connection_and_then_none() {
    let clock = ManualClock::new();
    let pool = KeyedPool::<u8, MemoryManager>::builder()
        .clock(clock.clone())
        .idle_timeout(secs(100))
        .build(|_| MemoryManager::new())
        .unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (turns, next) = mpsc::channel::<bool>();
            let (done, ended) = mpsc::channel();
            let pool = pool.clone();
            let work = move || {
                let mut held = None;
                for hold in next {
                    held = Some(pool.get_timeout(&1, SOON).unwrap()).filter(|_| hold);
                    done.send(()).unwrap();
                }
                drop(held);
            };
            (spawn(work), turns, ended)
        })
        .collect();
    let turn = |hold| {
        for (_, turns, ended) in &threads {
            turns.send(hold).unwrap();
            ended.recv_timeout(SOON).unwrap();
        }
    };
    turn(true);
    assert_eq!(pool.stats().size, 3);
    for _ in 0..60 {
        turn(false);
        clock.advance(secs(5));
        pool.sweep();
    }
    assert_eq!(pool.stats_for(&1).unwrap().size, 1);
    for _ in 0..3 {
        clock.advance(secs(101));
        pool.sweep();
    }
    eventually(|| {
        pool.sweep();
        pool.keys().is_empty()
    });
    for (thread, turns, _) in threads {
        drop(turns);
        thread.join_soon();
    }
}
