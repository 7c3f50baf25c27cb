//! Keyed pools with many keys: unused keys take no memory, and thousands of keys work at once.

#![cfg(target_os = "linux")]

use crate::common;
use crate::resources;

use common::{SOON, eventually, secs, threads, timed};
use conpool::{ConnectionManager, EvictReason, KeyedPool, KeyedPoolBuilder, PooledConnection};
use resources::{process::alone, usage::resident};
use std::{convert::Infallible, time::Instant};

/// Its connections are the key. Its size is that of a manager with a few settings.
struct Plain(u64, [u64; 16]);

impl ConnectionManager for Plain {
    type Connection = u64;
    type Error = Infallible;
    fn create(&self) -> Result<u64, Infallible> {
        Ok(self.0 + self.1[0])
    }
    fn check_aliveness(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }
}

type Keyed = KeyedPool<u64, Plain>;

fn build(
    settings: impl FnOnce(KeyedPoolBuilder<u64, Plain>) -> KeyedPoolBuilder<u64, Plain>,
) -> Keyed {
    let built = settings(KeyedPool::builder()).build(|key| Plain(*key, [0; 16]));
    built.unwrap()
}

/// Uses these keys once each, removes some by hand, and returns the highest number of keys.
fn visit(pool: &Keyed, keys: std::ops::Range<u64>) -> usize {
    let mut most = 0;
    for key in keys {
        let guard = pool.get_timeout(&key, SOON).unwrap();
        assert_eq!(*guard, key);
        if key % 4 != 0 {
            PooledConnection::discard(guard);
        }
        if key % 500 == 0 {
            most = most.max(pool.keys().len());
        }
    }
    most
}

/// Uses `warm` keys, then `more` others, and asserts that the process has hardly grown.
fn stays_flat(pool: &Keyed, warm: u64, more: u64, most_keys: usize) {
    visit(pool, 0..warm);
    let before = resident();
    let start = Instant::now();
    let most = visit(pool, warm..warm + more);
    let grown = resident().saturating_sub(before);
    println!(
        "{more} keys: {grown} bytes, at most {most} at a time, {:?}",
        start.elapsed()
    );
    assert!(before > 0 && most > 0, "nothing was measured");
    assert!(most <= most_keys, "{most} keys at a time");
    // Leaked pools, each more than a kibibyte, would take far more.
    let few = 1024 * 1024 + more * 16;
    assert!(grown <= few, "{grown} bytes for {more} keys");
    let stats = pool.stats();
    assert_eq!((stats.gets, stats.created), (warm + more, warm + more));
    assert!(stats.size <= stats.max_size);
    pool.clear();
    eventually(|| pool.stats().size + pool.stats().disposing == 0);
    pool.sweep();
    assert_eq!(pool.keys().len(), 0);
    pool.close_timeout(SOON).unwrap();
    assert_eq!(pool.stats().disposed, warm + more);
}

#[test]
fn fifty_thousand_keys_one_after_the_other_take_no_memory() {
    alone(|| {
        let pool = build(|builder| builder.max_total(8).background_collector(false));
        stays_flat(&pool, 4_000, 50_000, 200);
    });
}

#[test]
fn nor_do_those_whose_connections_are_made_and_disposed_by_threads() {
    alone(|| {
        let pool = build(|builder| builder.max_total(8));
        stays_flat(&pool, 4_000, 20_000, 200);
    });
}

#[test]
fn ten_thousand_keys_at_once_are_served_counted_and_let_go() {
    const KEYS: usize = 10_000;
    let pool = build(|builder| builder.name("many").max_total(KEYS).max_per_key(1));
    let held: Vec<_> = (0..KEYS as u64)
        .map(|key| pool.get_timeout(&key, SOON).unwrap())
        .collect();
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.idle, stats.size), (KEYS, 0, KEYS));
    assert_eq!((stats.max_size, stats.gets), (KEYS, KEYS as u64));
    assert_eq!(pool.keys().len(), KEYS);
    assert!(held.iter().zip(0..).all(|(guard, key)| **guard == key));
    drop(held);
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.idle, stats.disposed), (0, KEYS, 0));
    // One more key: an idle connection of another key is evicted.
    let (got, took) = timed(|| pool.get_timeout(&(KEYS as u64), SOON));
    drop(got.unwrap());
    let stats = pool.stats();
    // On a busy machine the dispose may take over 100 ms, so that a second one is evicted as well.
    let made_room = stats.evicted(EvictReason::MadeRoom) as usize;
    let most = 1 + took.as_millis() as usize / 100;
    assert!((1..=most).contains(&made_room), "{stats}");
    assert_eq!(stats.idle + made_room, KEYS + 1, "{stats}");
    // The collector and a few workers, for any number of keys.
    assert!(threads("many-") <= 16, "{}", threads("many-"));
    pool.clear();
    eventually(|| pool.stats().disposed == KEYS as u64 + 1);
    pool.sweep();
    assert_eq!(pool.keys().len(), 0);
    pool.close_timeout(secs(5)).unwrap();
    eventually(|| threads("many-") == 0);
}
