use super::backend::{Backend, Books};
use crate::sync::outer::thread::{JoinHandle, spawn};
use crate::sync::world;
use crate::{Pool, PooledConnection};
use shuttle::rand::{Rng, thread_rng};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

fn roll(sides: u32) -> u32 {
    thread_rng().gen_range(0..sides)
}

/// Takes a connection in one of the ways there are, and parts with it in one of the ways there are.
fn use_once(pool: &Pool<Backend>, keep: &mut Vec<PooledConnection<Backend>>) {
    let got = match roll(5) {
        0 => pool.try_get(),
        1 => pool.get_timeout(Duration::from_millis(5)).ok(),
        2 => pool.get_timeout(Duration::ZERO).ok(),
        // Who holds one must not insist on another: all might.
        _ if !keep.is_empty() => pool.get_timeout(Duration::from_millis(50)).ok(),
        _ => match pool.get() {
            Ok(got) => Some(got),
            Err(error) => {
                assert!(!error.is_timeout(), "{error}");
                None
            }
        },
    };
    let Some(mut got) = got else { return };
    got.alone(|| match roll(3) {
        0 => world::turn(),
        1 => world::sleep(Duration::from_millis(1)),
        _ => {}
    });
    match roll(10) {
        0 => PooledConnection::discard(got),
        1 => {
            let detached = PooledConnection::detach(got);
            pool.manager().part(detached);
        }
        2 => {
            got.broken = true;
            drop(got);
        }
        3 if keep.is_empty() => keep.push(got),
        _ => drop(got),
    }
}

/// A thread that uses the pool some times, and for a while keeps a connection beside.
pub(super) fn user(pool: &Pool<Backend>, times: u32) -> JoinHandle<()> {
    let pool = pool.clone();
    spawn(move || {
        let mut kept = Vec::new();
        for _ in 0..times {
            use_once(&pool, &mut kept);
            if roll(2) == 0 {
                kept.clear();
            }
        }
    })
}

/// Who only takes and gives back, and needs a connection each time.
pub(super) fn modest_user(pool: &Pool<Backend>, times: u32) -> JoinHandle<()> {
    let pool = pool.clone();
    spawn(move || {
        for _ in 0..times {
            pool.get().expect("a connection").alone(world::turn);
        }
    })
}

/// A thread that does what operators do.
pub(super) fn operator(pool: &Pool<Backend>, times: u32) -> JoinHandle<()> {
    let pool = pool.clone();
    spawn(move || {
        for _ in 0..times {
            operate(&pool);
        }
    })
}

fn operate(pool: &Pool<Backend>) {
    match roll(10) {
        0 => drop(pool.sweep()),
        1 => pool.clear(),
        2 => drop(pool.retain(|connection, _| {
            connection.alone(|| ());
            roll(2) == 0
        })),
        3 => drop(pool.set_max_size(1 + roll(3) as usize)),
        4 => drop(pool.set_min_idle(roll(2) as usize)),
        5 => {
            pool.suspend();
            world::turn();
            pool.resume();
        }
        6 => {
            let own = pool.manager().connect();
            if let Err(refused) = pool.add(own) {
                pool.manager().part(refused.into_inner());
            }
        }
        7 => drop(pool.check_health()),
        8 => drop(pool.holders()),
        _ => {
            let stats = pool.stats();
            let size = stats.idle + stats.in_use + stats.creating;
            assert_eq!(stats.size, size, "{stats:?}");
            assert!(size + stats.disposing <= 3, "{stats:?}");
            let there = stats.created + stats.added - stats.disposed - stats.detached;
            let seen = (stats.idle + stats.in_use + stats.disposing) as u64;
            let unseen = stats.abandoned as u64;
            assert!((seen..=seen + unseen).contains(&there), "{stats:?}");
        }
    }
}

/// The pool can still give all it has, at the same time.
pub(super) fn serves_in_full(pool: &Pool<Backend>, size: usize) {
    pool.manager().heal();
    pool.resume();
    pool.set_min_idle(0).unwrap();
    pool.set_max_size(size).unwrap();
    let mut all = Vec::new();
    while all.len() < size {
        // What broke before the backend was healed may still come to light.
        if let Ok(got) = pool.get() {
            all.push(got);
        }
    }
    all.iter().for_each(|got| got.alone(|| ()));
}

/// Closes the pool, and finds nothing of it left.
pub(super) fn ends_well(pool: &Pool<Backend>) {
    let closed = pool.close_timeout(Duration::MAX);
    assert!(closed.is_ok(), "{closed:?}");
    let stats = pool.stats();
    assert_eq!(stats.size + stats.disposing + stats.waiters, 0, "{stats:?}");
}

/// What was opened was closed, once, by dispose or by who took it out of the pool. To be asked when
/// the last thread has ended.
pub(super) fn balances(books: &Books, most_open: usize) {
    let count = |counter: &AtomicUsize| counter.load(Relaxed);
    assert_eq!(count(&books.open), 0, "{books:?}");
    assert!(count(&books.peak_open) <= most_open, "{books:?}");
    assert_eq!(count(&books.dropped), count(&books.parted), "{books:?}");
    let ended = count(&books.disposed) + count(&books.parted);
    assert_eq!(ended, count(&books.created), "{books:?}");
}
