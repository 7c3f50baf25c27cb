//! The users and operators of the schedules, and the checks at their end.

use super::backend::{Backend, Connection, Counts};
use crate::sync::outer::thread::{JoinHandle, spawn};
use crate::sync::outer::{Condvar, Mutex};
use crate::sync::world;
use crate::{Pool, PooledConnection};
use shuttle::rand::{Rng, thread_rng};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn random(below: u32) -> u32 {
    thread_rng().gen_range(0..below)
}

/// An executor of one task.
struct Park {
    is_woken: Mutex<bool>,
    wake: Condvar,
}

impl Wake for Park {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock() = true;
        self.wake.notify_one();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let park = Arc::new(Park {
        is_woken: Mutex::new(false),
        wake: Condvar::new(),
    });
    let waker = Waker::from(Arc::clone(&park));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut is_woken = park.is_woken.lock();
        while !*is_woken {
            park.wake.wait(&mut is_woken);
        }
        *is_woken = false;
    }
}

/// Polls a future once or twice and drops it at a random moment.
fn begin_and_drop<T, E>(future: impl Future<Output = Result<T, E>>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for _ in 0..=random(2) {
        let polled = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(output) = polled {
            return output.ok();
        }
        world::turn();
    }
    None
}

/// Takes a connection in a random way, uses it, and gives it up in a random way.
fn use_once(pool: &Pool<Backend>, kept: &mut Vec<PooledConnection<Backend>>) {
    let got = match random(8) {
        0 => pool.try_get(),
        1 => pool.get_timeout(Duration::from_millis(5)).ok(),
        2 => pool.get_timeout(Duration::ZERO).ok(),
        3 => block_on(pool.get_async_timeout(Duration::from_millis(5))).ok(),
        4 => begin_and_drop(pool.get_async_timeout(Duration::from_millis(50))),
        5 => {
            let work = |connection: &mut Connection| connection.use_exclusively(world::turn);
            let job = pool.interact_timeout(Duration::from_millis(50), work);
            match random(2) {
                0 => drop(block_on(job)),
                _ => drop(begin_and_drop(job)),
            }
            None
        }
        // A user that holds a connection must not wait for another without limit: all users might.
        _ if !kept.is_empty() => pool.get_timeout(Duration::from_millis(50)).ok(),
        _ => match pool.get() {
            Ok(got) => Some(got),
            Err(error) => {
                assert!(!error.is_timeout(), "{error}");
                None
            }
        },
    };
    let Some(mut got) = got else { return };
    got.use_exclusively(|| match random(3) {
        0 => world::turn(),
        1 => world::sleep(Duration::from_millis(1)),
        _ => {}
    });
    match random(10) {
        0 => PooledConnection::discard(got),
        1 => {
            let detached = PooledConnection::detach(got);
            pool.manager().close_detached(detached);
        }
        2 => {
            got.broken = true;
            drop(got);
        }
        3 if kept.is_empty() => kept.push(got),
        _ => drop(got),
    }
}

/// Spawns a thread that uses the pool `times` times and sometimes keeps a second connection for a while.
pub(super) fn user(pool: &Pool<Backend>, times: u32) -> JoinHandle<()> {
    let pool = pool.clone();
    spawn(move || {
        let mut kept = Vec::new();
        for _ in 0..times {
            use_once(&pool, &mut kept);
            if random(2) == 0 {
                kept.clear();
            }
        }
    })
}

/// Spawns a thread that only takes and returns connections, and that must get one each time.
pub(super) fn get_only_user(pool: &Pool<Backend>, times: u32) -> JoinHandle<()> {
    let pool = pool.clone();
    spawn(move || {
        for _ in 0..times {
            // A pool without threads serves no task that has to wait.
            let by_task = random(2) == 0 && pool.config().background_collector;
            let got = match by_task {
                true => block_on(pool.get_async()),
                false => pool.get(),
            };
            got.expect("a connection").use_exclusively(world::turn);
        }
    })
}

/// Spawns a thread that runs random administrative operations.
pub(super) fn operator(pool: &Pool<Backend>, times: u32) -> JoinHandle<()> {
    let pool = pool.clone();
    spawn(move || {
        for _ in 0..times {
            operate(&pool);
        }
    })
}

fn operate(pool: &Pool<Backend>) {
    match random(10) {
        0 => drop(pool.sweep()),
        1 => pool.clear(),
        2 => drop(pool.retain(|connection, _| {
            connection.use_exclusively(|| ());
            random(2) == 0
        })),
        3 => drop(pool.set_max_size(1 + random(3) as usize)),
        4 => drop(pool.set_min_idle(random(2) as usize)),
        5 => {
            pool.suspend();
            world::turn();
            pool.resume();
        }
        6 => {
            let own = pool.manager().connect();
            if let Err(refused) = pool.add(own) {
                pool.manager().close_detached(refused.into_inner());
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

/// Asserts that the pool can still hand out `size` connections at the same time.
pub(super) fn assert_full_capacity(pool: &Pool<Backend>, size: usize) {
    pool.manager().heal();
    pool.resume();
    pool.set_min_idle(0).unwrap();
    pool.set_max_size(size).unwrap();
    let mut all = Vec::new();
    while all.len() < size {
        // Connections that broke before the backend was healed may still fail now.
        if let Ok(got) = pool.get() {
            all.push(got);
        }
    }
    all.iter().for_each(|got| got.use_exclusively(|| ()));
}

/// Closes the pool and asserts that no connection and no waiter is left.
pub(super) fn assert_closes(pool: &Pool<Backend>) {
    let closed = pool.close_timeout(Duration::MAX);
    assert!(closed.is_ok(), "{closed:?}");
    let stats = pool.stats();
    assert_eq!(stats.size + stats.disposing + stats.waiters, 0, "{stats:?}");
}

/// Asserts that every opened connection was closed once, by dispose or by the user that took it out of the
/// pool. Must be called when the last thread has ended.
pub(super) fn assert_balanced(counts: &Counts, most_open: usize) {
    let count = |counter: &AtomicUsize| counter.load(Relaxed);
    assert_eq!(count(&counts.open), 0, "{counts:?}");
    assert!(count(&counts.peak_open) <= most_open, "{counts:?}");
    assert_eq!(
        count(&counts.dropped),
        count(&counts.closed_detached),
        "{counts:?}"
    );
    let ended = count(&counts.disposed) + count(&counts.closed_detached);
    assert_eq!(ended, count(&counts.created), "{counts:?}");
}
