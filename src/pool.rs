//! The handle.

use crate::error::{AddError, GetError, StillInUse};
use crate::shared::{GetTimeout, PoolCheckout, PoolEngine, PoolSlotCache, Shared};
use crate::{
    ConfigError, ConnectionInfo, ConnectionManager, Health, HealthState, Holder, PoolConfig,
    PoolStats, PooledConnection, SweepReport,
};
use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pool of connections.
///
/// Cloning makes another handle to the same pool. When the last handle is dropped the pool closes:
/// that waits for nothing, guards that are out stay usable, and with a collector no hook runs on the
/// dropping thread. Call [`close_timeout`](Self::close_timeout) before `main` returns if disposals
/// should be over by then.
///
/// All methods take `&self` and may be called from any thread, also from inside a hook.
///
/// With [`background_collector(false)`](crate::PoolBuilder::background_collector) the calling thread does what
/// is said here to happen in the background: a `close`, `clear`, `retain`, `set_max_size` or check-in that
/// evicts runs the disposals before it returns, and no timeout bounds them.
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
/// Fork first, build pools then: a child that was forked before any pool existed is a process like
/// any other. A child of a process that has a pool is not. It has the pool's memory without its
/// threads, so nothing is created, checked or disposed any more, and a lock that another thread held
/// in that moment is held for ever. It has the parent's sockets, so what both say on one arrives
/// mixed up, and a `dispose` in the child ends the parent's connection: to shut down a socket, or to
/// say goodbye on it, is not undone by having another copy of the descriptor.
///
/// Such a child should do one of two things:
///
/// - Start another program at once. [`std::process::Command`] does just that, and is safe: the
///   sockets of [`ConbusSocketManager`](crate::ConbusSocketManager), as all that the standard
///   library opens, are closed on exec. A manager of your own that gets its descriptors from
///   elsewhere has to see to that.
/// - Leave the parent's pools, guards and connections alone: no `get`, no `close`, and no drop
///   (`std::mem::forget` them; leave by `_exit`, which runs no destructors). Unless the forking
///   thread was the only one of its process, do not build a pool in the child either, not even of
///   another kind: POSIX allows a child of several threads nothing but async-signal-safe calls until
///   it execs, and the lock tables it inherits may name threads that are not there.
///
/// For servers that fork workers: build the pool in the worker. For daemons: fork before `main` does
/// anything else.
pub struct Pool<M: ConnectionManager> {
    /// The same as in the handle, one step nearer.
    shared: Arc<Shared<M>>,
    /// Also in `shared`, and here to be reached with one step less.
    engine: Arc<PoolEngine<M>>,
    near: PoolSlotCache<M>,
    handle: Arc<Handle<M>>,
}

/// What the handles of a pool share: the pool lives as long as this, whoever else knows its insides.
struct Handle<M: ConnectionManager>(Arc<Shared<M>>);

impl<M: ConnectionManager> Drop for Handle<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<M: ConnectionManager> Pool<M> {
    pub(crate) fn open(shared: Arc<Shared<M>>) -> Self {
        Self {
            handle: Arc::new(Handle(Arc::clone(&shared))),
            engine: Arc::clone(&shared.engine),
            near: shared.engine.table.slot_cache(),
            shared,
        }
    }

    /// Checks a connection out, waiting at most the pool's `get_timeout` for it.
    ///
    /// # Errors
    ///
    /// [`GetError::TimedOut`] at the deadline, [`GetError::Saturated`] when too many callers wait already,
    /// [`GetError::Closed`] once the pool is closed. [`GetError::Create`] or [`GetError::Panicked`] when a
    /// create failed for good and no connection is open: at once for the first of those who wait, and for
    /// the next one when the next attempt has failed. With
    /// [`fail_fast`](crate::PoolBuilder::fail_fast) all of them hear of any failed create at once.
    #[inline]
    #[track_caller]
    pub fn get(&self) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_warm::<false>() {
            Ok(loan) => Ok(PooledConnection::new(loan)),
            Err(found) => self.get_cold(None, found),
        }
    }

    /// Checks a connection out, waiting at most `timeout` for it. A zero timeout takes an idle
    /// connection that needs no check that may block, or fails, and starts nothing; `Duration::MAX` waits
    /// for ever.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[inline]
    #[track_caller]
    pub fn get_timeout(
        &self,
        timeout: Duration,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_warm::<false>() {
            Ok(loan) => Ok(PooledConnection::new(loan)),
            Err(found) => self.get_cold(Some(GetTimeout::For(timeout)), found),
        }
    }

    /// Checks a connection out, waiting for it until `deadline`; one that has passed waits for nothing.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[inline]
    #[track_caller]
    pub fn get_deadline(
        &self,
        deadline: Instant,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_warm::<false>() {
            Ok(loan) => Ok(PooledConnection::new(loan)),
            Err(found) => self.get_cold(Some(GetTimeout::Until(deadline)), found),
        }
    }

    #[inline]
    fn get_warm<const TRIES: bool>(&self) -> Result<PoolCheckout<M>, Option<PoolCheckout<M>>> {
        self.shared.get_fast::<TRIES>(&self.engine, self.near)
    }

    /// Everything but the warm way. `found`: what the warm way took and could not vouch for.
    #[cold]
    #[inline(never)]
    #[track_caller]
    fn get_cold(
        &self,
        budget: Option<GetTimeout>,
        found: Option<PoolCheckout<M>>,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let budget = budget.unwrap_or_else(|| self.shared.default_timeout());
        let got = self.shared.get_slow(budget, Location::caller(), found);
        got.map(PooledConnection::new)
    }

    /// An idle connection now, or none. Never waits, never creates. One whose check is due and may
    /// block is checked in the background (without a collector: left alone), and the next one is looked at.
    /// So with [`HealthCheck::OnCheckout`](crate::HealthCheck::OnCheckout) and a check that may block there
    /// is never one.
    #[must_use = "the connection, if there is one, goes back when this is dropped"]
    #[inline]
    #[track_caller]
    pub fn try_get(&self) -> Option<PooledConnection<M>> {
        match self.get_warm::<true>() {
            Ok(loan) => Some(PooledConnection::new(loan)),
            Err(found) => self.try_cold(found),
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn try_cold(&self, found: Option<PoolCheckout<M>>) -> Option<PooledConnection<M>> {
        let got = self.shared.try_get_slow(Location::caller(), found);
        got.map(PooledConnection::new)
    }

    /// What the pool is doing and has done, in one consistent look. Walks the slots under the pool's
    /// lock: microseconds per thousand connections.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    /// Who holds what, since when, from which call site. Empty unless `leak_threshold` is set.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.shared.holders()
    }

    /// Checks every idle connection now and waits for the answers; those that fail are evicted. A
    /// check that hangs counts as failed after `check_timeout`. Connections in use are not asked.
    ///
    /// At most four are checked at once, and one stays idle unless it is the only one, so that callers find
    /// it. No check begins later than `check_timeout` after the call: what is left then is not counted.
    ///
    /// A pool that has nothing open and has failed before, or whose idle connections all fail now, also
    /// opens one connection, checks it and keeps it idle, so that the answer is what a caller would meet.
    /// During the pause after a failed create it does not: the answer is the failure then. A pool that is
    /// suspended or closed opens nothing.
    ///
    /// Blocks as long as the checks take, at most two times `check_timeout` and some; where one is opened,
    /// at most `create_timeout` and two times `check_timeout` longer. Without a collector checks and create
    /// run here, and nothing bounds them.
    #[must_use = "the answer is the purpose"]
    pub fn check_health(&self) -> Health {
        self.shared.check_health()
    }

    /// What a caller would meet, for a readiness probe: [`HealthState::Unhealthy`] only where a `get` would
    /// fail. Costs next to nothing and waits for nothing. Kept from creates, checks (those of the collector
    /// included, see `keepalive_interval`) and connections that come back broken; the next success makes
    /// it healthy again.
    ///
    /// A pool that has nothing open and has failed before learns of its backend's return by a create only.
    /// While it is asked here the collector tries one, as often as `backoff` permits, and keeps the
    /// connection idle: so an instance that gets no calls because it is not ready becomes ready. (Without a
    /// collector the next [`sweep`](Self::sweep) does; [`check_health`](Self::check_health) does so at once.)
    /// A pool that is suspended or closed opens nothing. The `health` in [`stats`](Self::stats) is the same
    /// and opens nothing.
    #[must_use]
    pub fn health(&self) -> HealthState {
        self.shared.health()
    }

    /// One whole pass of the collector, which begins after this call: evicts what is due, starts
    /// keepalive checks and the refill of `min_idle`. Its evictions are counted when it returns; their
    /// disposals go on in the background.
    ///
    /// Without a collector the hooks run on the calling thread, before it returns.
    pub fn sweep(&self) -> SweepReport {
        self.shared.sweep()
    }

    /// Evicts every connection of today's generation: the idle ones now, those in use at check-in,
    /// those being created when they arrive. The pool stays open.
    ///
    /// Each call begins another generation, so a call that comes late evicts what was opened after the one
    /// before. Holders that find their connections dead, one after the other, after a single failover use
    /// [`PooledConnection::clear_generation`].
    pub fn clear(&self) {
        self.shared.clear();
    }

    /// The number of the present generation: how often the pool was cleared.
    ///
    /// [`PooledConnection::info`] tells the generation of a connection.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// Clears the pool as [`clear`](Self::clear) does, but only if `generation` is still the present one.
    /// Returns whether it did.
    ///
    /// Of several calls for one generation, one clears. MongoDB's specification of connection pools has the
    /// same rule: an error of a connection of an earlier generation clears nothing.
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool, PooledConnection};
    ///
    /// let pool = Pool::new(MemoryManager::new())?;
    /// let seen = pool.generation();
    /// assert!(pool.clear_generation(seen));
    /// // A second report of the same failover comes too late.
    /// assert!(!pool.clear_generation(seen));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_generation(&self, generation: u64) -> bool {
        self.shared.clear_generation(generation)
    }

    /// Evicts the idle connections for which `keep` says no and returns how many. The closure runs on
    /// the calling thread, outside of the pool's locks, one connection at a time; that one counts as in
    /// use meanwhile.
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool};
    ///
    /// let pool = Pool::new(MemoryManager::new())?;
    /// drop(pool.get()?);
    /// // A server of the old version is being drained: away with what was connected before.
    /// let evicted = pool.retain(|_connection, info| info.uses > 1);
    /// assert_eq!((evicted, pool.stats().idle), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `keep` panics. The connection at hand is evicted, the others stay.
    pub fn retain(&self, keep: impl FnMut(&mut M::Connection, &ConnectionInfo) -> bool) -> usize {
        self.shared.retain(keep)
    }

    /// Gives the pool a connection from outside. It serves a waiter or goes idle, and is the manager's to
    /// dispose from now on. It is neither created nor checked, and counts in `added`; no event tells of it.
    ///
    /// # Errors
    ///
    /// [`AddError::Full`] and [`AddError::Closed`], with the connection in them.
    pub fn add(&self, connection: M::Connection) -> Result<(), AddError<M::Connection>> {
        self.shared.add(connection)
    }

    /// Changes the cap. Growth lets waiters create at once; a shrink evicts idle connections now and
    /// the rest at check-in.
    ///
    /// # Errors
    ///
    /// Zero, or less than `min_idle`; nothing is changed then.
    pub fn set_max_size(&self, n: usize) -> Result<(), ConfigError> {
        self.shared.set_max_size(n)
    }

    /// Changes how many idle connections are kept ready.
    ///
    /// # Errors
    ///
    /// More than `max_size`; nothing is changed then.
    pub fn set_min_idle(&self, n: usize) -> Result<(), ConfigError> {
        self.shared.set_min_idle(n)
    }

    /// Changes how long a connection may be idle before the collector checks it; `None` for never.
    ///
    /// # Errors
    ///
    /// Zero; nothing is changed then.
    pub fn set_keepalive_interval(
        &self,
        interval: impl Into<Option<Duration>>,
    ) -> Result<(), ConfigError> {
        self.shared.set_keepalive_interval(interval.into())
    }

    /// Stops handing out connections: `get` waits (its deadline holds), `try_get` is `None`, nothing
    /// is created. Check-ins and evictions go on. Idempotent.
    pub fn suspend(&self) {
        self.shared.suspend(true);
    }

    /// Ends a [`suspend`](Self::suspend) and serves whoever waits. Idempotent.
    pub fn resume(&self) {
        self.shared.suspend(false);
    }

    /// Closes the pool: waiting callers fail, idle connections are disposed in the background, those in
    /// use at check-in. Waits for nothing. From now on `get` fails with [`GetError::Closed`] and `try_get`
    /// is `None`; `stats` goes on. Idempotent.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Closes the pool and waits until every connection is back and disposed and the pool's threads
    /// have ended. Sleeps while it waits; zero looks once, `Duration::MAX` waits for ever. Called by one who
    /// holds a guard, or inside a hook, it waits for that one too.
    ///
    /// # Errors
    ///
    /// At the timeout: what is still in use, which hooks still run, and, with `leak_threshold` set,
    /// who holds what.
    pub fn close_timeout(&self, timeout: Duration) -> Result<(), StillInUse> {
        self.shared.close_timeout(timeout)
    }

    /// True once the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The settings in force, later changes of `max_size`, `min_idle` and `keepalive_interval` included.
    #[must_use]
    pub fn config(&self) -> PoolConfig {
        self.shared.config()
    }

    /// The manager, for what the pool has no name for: creating a connection without the pool, say.
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }
}

impl<M: ConnectionManager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            engine: Arc::clone(&self.engine),
            near: self.near,
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

// Every hook runs with panics caught, and no lock is held meanwhile: a panic cannot leave the pool in
// a state that another thread should not see.
impl<M: ConnectionManager> UnwindSafe for Pool<M> {}
impl<M: ConnectionManager> RefUnwindSafe for Pool<M> {}
