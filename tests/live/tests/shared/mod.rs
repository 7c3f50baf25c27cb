//! Shared by the live tests: many users of one pool, and the helpers of the crate's own tests.

#![allow(
    dead_code,
    reason = "every test file uses its own part of these helpers"
)]

#[path = "../../../common/process.rs"]
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

/// The number of users and of connections of a pool under load.
pub(crate) const USERS: usize = 16;
pub(crate) const SIZE: usize = 4;
/// The get timeout of a user.
pub(crate) const DEADLINE: Duration = Duration::from_millis(300);

/// A pool builder for the load, with quick retries.
pub(crate) fn builder<M: ConnectionManager>(name: &str) -> PoolBuilder<M> {
    let _ = noise();
    Pool::builder()
        .name(name)
        .max_size(SIZE)
        .backoff(crate::common::quick_backoff())
}

/// The results of the users.
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

    /// Waits until this many more requests were served.
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

/// Ends the load, also on a panic.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Runs all users, each with requests of unique numbers, while `meanwhile` runs. A request gets a connection
/// and either its answer, which is checked, or an error of the client.
///
/// Asserts that a caller without a connection got its error in time, and that no user hangs.
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
            // Long enough for users of SQLite that wait for each other's locks on a busy machine.
            assert!(took < SOON * 6, "a request took {took:?}");
            match answer {
                Ok(()) => tally.served.fetch_add(1, SeqCst),
                // Dropped without a discard: the manager must tell whether it still works.
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

/// Returns the first timeout error that carries an error of the client. On a busy machine the first callers
/// may time out before anything was tried.
#[track_caller]
pub(crate) fn timeout_with_cause<M: ConnectionManager>(
    pool: &Pool<M>,
    timeout: Duration,
) -> GetError<M::Error> {
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

/// Freezes the server while two connections are in use, discards them, and runs callers that must time out.
/// The hook timeouts of the pool are shorter than the callers' timeout.
#[track_caller]
pub(crate) fn callers_time_out_during_a_hang<M: ConnectionManager>(
    pool: &Pool<M>,
    freeze: impl FnOnce(),
) {
    let mut held = take(pool, SIZE);
    held.truncate(2);
    freeze();
    // Discarding does not block.
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
    // Hanging hooks are abandoned, up to max(4, max_size) of them; the rest keep their slots.
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

/// Closes the pool and asserts that no thread of it is left.
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
