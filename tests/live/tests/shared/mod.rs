//! What the live tests share: many users of one pool, and what the crate's own tests count with.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]

#[path = "../../../resources/process.rs"]
pub(crate) mod process;
#[path = "../../../resources/usage.rs"]
pub(crate) mod usage;

use crate::common::{SOON, assert_at, ms, noise, now, spawn, take, threads, timed};
use conpool::{ConnectionManager, GetError, Pool, PoolBuilder, PooledConnection};
use std::{
    fmt::Debug,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

/// The users and the connections of a pool under load.
pub(crate) const USERS: usize = 16;
pub(crate) const SIZE: usize = 4;
/// What a user gives the pool.
pub(crate) const DEADLINE: Duration = Duration::from_millis(300);

/// A pool for them, with quick retries.
pub(crate) fn builder<M: ConnectionManager>(name: &str) -> PoolBuilder<M> {
    let _ = noise();
    Pool::builder()
        .name(name)
        .max_size(SIZE)
        .backoff(crate::common::quick_backoff())
}

/// What the users met.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests that got their answer.
    pub(crate) served: AtomicU64,
    /// Callers that got no connection.
    pub(crate) refused: AtomicU64,
    /// Requests that ended with an error of the client.
    pub(crate) broken: AtomicU64,
    number: AtomicU64,
}

impl Tally {
    pub(crate) fn served(&self) -> u64 {
        self.served.load(SeqCst)
    }

    /// Waits until so many more requests were served.
    #[track_caller]
    pub(crate) fn wait_for_more(&self, more: u64) {
        let goal = self.served() + more;
        let start = now();
        while self.served() < goal {
            assert!(start.elapsed() < SOON * 4, "not served: {self:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Ends the load, also when a panic does.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Has all users make requests, each with a number of its own, while `meanwhile` runs. A request is
/// given a connection and either has its answer, which it checks, or an error of the client.
///
/// Asserts that whoever got no connection was told so in time, and that no user hangs.
pub(crate) fn under_load<M: ConnectionManager, E: Debug>(
    pool: &Pool<M>,
    request: impl Fn(&mut M::Connection, u64) -> Result<(), E> + Sync,
    meanwhile: impl FnOnce(&Tally),
) -> Tally {
    let tally = Tally::default();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _done = Done(&done);
        for _ in 0..USERS {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    one_request(pool, &request, &tally);
                }
            });
        }
        meanwhile(&tally);
    });
    tally
}

fn one_request<M: ConnectionManager, E: Debug>(
    pool: &Pool<M>,
    request: &impl Fn(&mut M::Connection, u64) -> Result<(), E>,
    tally: &Tally,
) {
    let (result, took) = timed(|| pool.get_timeout(DEADLINE));
    assert!(took <= DEADLINE + noise(), "a get took {took:?}");
    match result {
        Ok(mut connection) => {
            let number = tally.number.fetch_add(1, SeqCst);
            let (answer, took) = timed(|| request(&mut connection, number));
            // Long enough for users of SQLite who wait for each other's locks on a busy machine.
            assert!(took < SOON * 6, "a request took {took:?}");
            match answer {
                Ok(()) => tally.served.fetch_add(1, SeqCst),
                // Dropped as it is: whether it still works is the manager's to know.
                Err(_) => tally.broken.fetch_add(1, SeqCst),
            };
        }
        Err(error) => {
            assert!(error.is_timeout(), "{error}");
            assert!(took >= DEADLINE, "gave up after {took:?}");
            tally.refused.fetch_add(1, SeqCst);
        }
    }
}

/// What callers are told who give the pool this long, as soon as it carries an error of the client: on a
/// busy machine the first ones may be gone before anything was tried.
#[track_caller]
pub(crate) fn told<M: ConnectionManager>(pool: &Pool<M>, timeout: Duration) -> GetError<M::Error> {
    let start = now();
    loop {
        let (result, took) = timed(|| pool.get_timeout(timeout));
        assert_at(took, timeout);
        let error = result.expect_err("nothing to connect to");
        if error.last_create_error().is_some() {
            return error;
        }
        assert!(start.elapsed() < SOON, "without a cause: {error}");
    }
}

/// Has the server hang while two connections are out, gives those up, and has callers come in vain. The
/// hook timeouts of the pool are shorter than what the callers give it.
#[track_caller]
pub(crate) fn callers_hear_of_a_hang_in_time<M: ConnectionManager>(
    pool: &Pool<M>,
    freeze: impl FnOnce(),
) {
    let mut held = take(pool, SIZE);
    held.truncate(2);
    freeze();
    // What is given up meanwhile holds nobody.
    let ((), took) = timed(|| {
        PooledConnection::discard(held.pop().unwrap());
        drop(held);
    });
    assert!(took < noise(), "{took:?}");
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            spawn(move || timed(|| pool.get_timeout(ms(300)).map(drop)))
        })
        .collect();
    for caller in callers {
        let (result, took) = caller.join_soon();
        assert!(result.unwrap_err().is_timeout());
        assert_at(took, ms(300));
    }
    // Hooks that hang are given up, up to max(4, max_size) of them; the rest keep their slots.
    let stats = pool.stats();
    assert!((1..=SIZE).contains(&stats.abandoned), "{stats}");
    assert!(stats.size + stats.disposing <= SIZE, "{stats}");
}

/// Takes every connection at once and makes a request on each.
#[track_caller]
pub(crate) fn serves_in_full<M: ConnectionManager, E: Debug>(
    pool: &Pool<M>,
    mut request: impl FnMut(&mut M::Connection) -> Result<(), E>,
) {
    let size = pool.config().max_size;
    let mut held = take(pool, size);
    for connection in &mut held {
        request(connection).expect("a connection that works");
    }
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.waiters), (size, 0), "{stats}");
}

/// Closes the pool; no thread of it is left.
#[track_caller]
pub(crate) fn close<M: ConnectionManager>(pool: &Pool<M>) {
    if let Err(left) = pool.close_timeout(SOON) {
        panic!("{left}: {}", pool.stats());
    }
    let stats = pool.stats();
    assert_eq!(stats.created, stats.disposed, "{stats}");
    assert_eq!(stats.size + stats.disposing + stats.abandoned, 0, "{stats}");
    let prefix = format!("{}-", pool.name());
    crate::common::eventually(|| threads(&prefix) == 0);
}
