//! The handle of a pool.

mod admin;
mod get_future;
mod settings;
mod tasks;

pub use get_future::GetFuture;

use crate::error::GetError;
use crate::shared::{GetTimeout, PoolCheckout, PoolEngine, PoolSlotCache, Shared};
use crate::{ConnectionManager, PooledConnection};
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pool of connections.
///
/// A clone is another handle to one pool. Dropping the last handle closes the pool and waits for nothing. Guards stay
/// usable after the close. With a collector no hook runs on the thread that drops the last handle. Call
/// [`close_timeout`](Self::close_timeout) before `main` returns to wait for the disposals.
///
/// All methods take `&self`. Any thread may call them, also from inside a hook.
///
/// With [`background_collector(false)`](crate::PoolBuilder::background_collector) the calling thread does all
/// background work: a `close`, `clear`, `retain`, `set_max_size` or check-in that evicts a connection runs the
/// `dispose` before it returns, and no timeout limits the `dispose`.
///
/// # Example
///
/// ```
/// use conpool::{MemoryManager, Pool};
/// use std::{thread, time::Duration};
///
/// let pool = Pool::builder().max_size(2).build(MemoryManager::new())?;
/// thread::scope(|scope| {
///     for n in 0..8 {
///         let pool = &pool;
///         scope.spawn(move || {
///             let mut connection = pool.get_timeout(Duration::from_secs(5)).expect("a connection");
///             connection.execute(&format!("SET key{n} {n}")).expect("an answer");
///         });
///     }
/// });
/// assert_eq!(pool.get()?.execute("GET key7")?, "7");
/// assert!(pool.stats().peak_in_use <= 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # After fork
///
/// Fork first and build pools afterwards. A child that is forked before any pool exists can use pools without
/// restrictions.
///
/// A child of a process that has a pool inherits the memory of the pool without the threads of the pool. In the child
/// the pool creates, checks and disposes nothing, and a lock that another thread held at the fork is held forever. The
/// child also inherits the sockets of the parent. If both processes use one socket, their data is mixed. A `dispose` in
/// the child ends the connection of the parent, because a shutdown of a socket affects all copies of its descriptor.
///
/// Such a child should do one of two things:
///
/// - Start another program at once. [`std::process::Command`] starts a program and is safe, because exec closes the
///   sockets of [`ConbusSocketManager`](crate::ConbusSocketManager) and all descriptors of the standard library. A
///   manager that gets its descriptors from another source must set close-on-exec itself.
/// - Leave the pools, guards and connections of the parent untouched: no `get`, no `close`, and no drop. Call
///   `std::mem::forget` on each of them, and leave the process by `_exit`, which runs no destructors. If the parent had
///   several threads, do not build a pool in the child, not even of another type. POSIX permits only async-signal-safe
///   calls between a fork of a process with several threads and exec, and the inherited lock tables may name threads
///   that do not exist.
///
/// A server that forks workers should build the pool in the worker. A daemon should fork at the start of `main`.
pub struct Pool<M: ConnectionManager> {
    slot_cache: PoolSlotCache<M>,
    /// One reference count, so that a clone of the pool writes to one place.
    handle: Arc<Handle<M>>,
}

/// Closes the pool when the last handle is dropped. Guards and workers also own the `Shared` but keep no pool open.
struct Handle<M: ConnectionManager> {
    shared: Arc<Shared<M>>,
    /// A copy of the pointer in `shared`, which saves one indirection.
    engine: Arc<PoolEngine<M>>,
}

impl<M: ConnectionManager> Drop for Handle<M> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<M: ConnectionManager> Pool<M> {
    pub(crate) fn open(shared: Arc<Shared<M>>) -> Self {
        Self {
            slot_cache: shared.engine.table.slot_cache(),
            handle: Arc::new(Handle {
                engine: Arc::clone(&shared.engine),
                shared,
            }),
        }
    }

    /// Checks out a connection, and waits for at most the `get_timeout` of the pool.
    ///
    /// # Errors
    ///
    /// - [`GetError::TimedOut`] at the deadline.
    /// - [`GetError::Saturated`] if `max_waiters` callers wait already.
    /// - [`GetError::Closed`] if the pool is closed.
    /// - [`GetError::Create`] or [`GetError::Panicked`] if a create failed permanently and no connection is open. The
    ///   first waiting caller gets the error at once. The next caller gets the error of the next attempt. With
    ///   [`fail_fast`](crate::PoolBuilder::fail_fast) all waiting callers get the error of any failed create at once.
    #[inline]
    #[track_caller]
    pub fn get(&self) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_fast::<false>(Location::caller()) {
            Ok(checkout) => Ok(PooledConnection::new(checkout)),
            Err(found) => self.get_slow(None, found),
        }
    }

    /// Checks out a connection, and waits for at most `timeout`.
    ///
    /// With a zero timeout the call takes an idle connection that needs no blocking check, or fails. Such a call starts
    /// no create. With `Duration::MAX` the call waits without a limit.
    ///
    /// # Errors
    ///
    /// The errors of [`get`](Self::get).
    #[inline]
    #[track_caller]
    pub fn get_timeout(
        &self,
        timeout: Duration,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_fast::<false>(Location::caller()) {
            Ok(checkout) => Ok(PooledConnection::new(checkout)),
            Err(found) => self.get_slow(Some(GetTimeout::For(timeout)), found),
        }
    }

    /// Checks out a connection, and waits until `deadline`. A deadline in the past is equal to a zero timeout.
    ///
    /// # Errors
    ///
    /// The errors of [`get`](Self::get).
    #[inline]
    #[track_caller]
    pub fn get_deadline(
        &self,
        deadline: Instant,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_fast::<false>(Location::caller()) {
            Ok(checkout) => Ok(PooledConnection::new(checkout)),
            Err(found) => self.get_slow(Some(GetTimeout::Until(deadline)), found),
        }
    }

    #[inline]
    fn get_fast<const TRY_GET: bool>(
        &self,
        at: &'static Location<'static>,
    ) -> Result<PoolCheckout<M>, Option<PoolCheckout<M>>> {
        let Handle { shared, engine } = &*self.handle;
        shared.get_fast::<TRY_GET>(engine, self.slot_cache, at)
    }

    fn shared(&self) -> &Arc<Shared<M>> {
        &self.handle.shared
    }

    /// The slow path of a checkout. `found` is a connection that the fast path took and that needs validation.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn get_slow(
        &self,
        budget: Option<GetTimeout>,
        found: Option<PoolCheckout<M>>,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let budget = budget.unwrap_or_else(|| self.shared().default_timeout());
        let got = self.shared().get_slow(budget, Location::caller(), found);
        got.map(PooledConnection::new)
    }

    /// Checks out an idle connection, or returns `None`. Never waits, and never creates a connection.
    ///
    /// If the check of a connection is due and may block, the call starts the check in the background and tries the
    /// next connection. Without a collector the call skips such a connection. With
    /// [`HealthCheck::OnCheckout`](crate::HealthCheck::OnCheckout) and a check that may block, the result is always
    /// `None`.
    #[must_use = "the connection, if there is one, goes back when this is dropped"]
    #[inline]
    #[track_caller]
    pub fn try_get(&self) -> Option<PooledConnection<M>> {
        match self.get_fast::<true>(Location::caller()) {
            Ok(checkout) => Some(PooledConnection::new(checkout)),
            Err(found) => self.try_get_slow(found),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn try_get_slow(&self, found: Option<PoolCheckout<M>>) -> Option<PooledConnection<M>> {
        let got = self.shared().try_get_slow(Location::caller(), found);
        got.map(PooledConnection::new)
    }
}

impl<M: ConnectionManager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self {
            slot_cache: self.slot_cache,
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<M: ConnectionManager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("Pool")
            .field("name", &self.name())
            .field("max_size", &stats.max_size)
            .field("idle", &stats.idle)
            .field("in_use", &stats.in_use)
            .field("waiters", &stats.waiters)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

// The pool catches every panic of a hook and holds no lock during a hook. A panic therefore leaves the pool in a
// consistent state.
impl<M: ConnectionManager> UnwindSafe for Pool<M> {}
impl<M: ConnectionManager> RefUnwindSafe for Pool<M> {}
