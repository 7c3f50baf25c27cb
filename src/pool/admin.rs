//! The operations on a running pool: statistics, health, sweep, clear, suspend, interrupt and close.

use super::Pool;
use crate::error::{AddError, ReadyError, StillInUse};
use crate::shared::Which;
use crate::{
    ConnectionInfo, ConnectionManager, Health, HealthState, Holder, PoolStats, SweepReport,
};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

impl<M: ConnectionManager> Pool<M> {
    /// Returns a consistent snapshot of all gauges and counters.
    ///
    /// The call walks the slots under the lock of the pool, which takes microseconds per thousand connections.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.shared().stats()
    }

    /// Returns the holder of each connection in use, the longest first: the call site of `get`, the thread and the time.
    ///
    /// A checkout records its holder without a lock or an allocation, so a checkout that begins or ends during the call
    /// may be missing. A connection in a check of the pool has no holder. The call takes the lock of the pool for
    /// microseconds per thousand connections.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.shared().holders()
    }

    /// Checks every idle connection, and waits for the results. The pool evicts each connection that fails.
    ///
    /// A check that hangs counts as failed after `check_timeout`. Connections in use are not checked.
    ///
    /// At most four checks run at once. One connection stays idle for callers, unless it is the only one. No check
    /// starts later than `check_timeout` after the call, and the result does not count the remaining connections.
    ///
    /// The call also opens one connection, checks it and keeps it idle, if all idle connections fail, or if no
    /// connection is open and a create has failed before. The result therefore describes what a caller would
    /// experience. During the pause after a failed create the call opens nothing and reports the failure. A suspended
    /// or closed pool opens nothing.
    ///
    /// The call blocks for the duration of the checks, which is at most slightly more than twice `check_timeout`. If
    /// the call opens a connection, it blocks for up to `create_timeout` plus twice `check_timeout` longer. Without a
    /// collector the checks and the create run on the calling thread without a time limit.
    #[must_use = "the answer is the purpose"]
    pub fn check_health(&self) -> Health {
        self.shared().check_health()
    }

    /// Returns the health state for a readiness probe. The state is [`HealthState::Unhealthy`] only if a `get` would
    /// fail.
    ///
    /// The call is cheap and never waits. The state follows from creates, from checks (including `keepalive_interval`
    /// checks), and from connections that come back broken. The next success makes the state healthy again.
    ///
    /// A pool without open connections notices the recovery of its backend only by a create. If no connection is open
    /// and a create has failed before, a call of `health` makes the collector start a create, as often as `backoff`
    /// permits, and the new connection stays idle. An instance that gets no calls because it is not ready therefore
    /// becomes ready. Without a collector the next [`sweep`](Self::sweep) starts the create.
    /// [`check_health`](Self::check_health) starts a create at once. A suspended or closed pool opens nothing. The
    /// field `health` of [`stats`](Self::stats) contains this state; `stats` opens nothing.
    #[must_use]
    pub fn health(&self) -> HealthState {
        self.shared().health()
    }

    /// Waits until `n` connections are open, idle or in use, and opens those that are missing.
    ///
    /// A service calls this after `build_lazy` or [`resume`](Self::resume), before it reports ready. (psycopg_pool calls
    /// it `wait`.) The creates obey `max_creating` and `backoff`. The connections that `min_idle` does not need idle out
    /// as usual. A suspended pool opens nothing, so the wait lasts until the `resume`. A zero timeout starts the creates and
    /// returns at once.
    ///
    /// The calling thread sleeps meanwhile, and takes no place in the queue of the callers of `get`. Without a collector the
    /// creates run on the calling thread.
    ///
    /// # Errors
    ///
    /// - [`ReadyError::Config`] if `n` is more than `max_size`, or if it is more than `max_idle` and fewer are open.
    /// - [`ReadyError::Get`] with [`GetError::TimedOut`](crate::GetError::TimedOut) at the timeout, with the last cause;
    ///   with [`GetError::Create`](crate::GetError::Create) or [`GetError::Panicked`](crate::GetError::Panicked) as soon as a
    ///   create fails permanently while no connection is open; with [`GetError::Closed`](crate::GetError::Closed).
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::builder().build_lazy(MemoryManager::new())?;
    /// pool.wait_ready(3, Duration::from_secs(10))?;
    /// assert_eq!(pool.stats().idle, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_ready(&self, n: usize, timeout: Duration) -> Result<(), ReadyError<M::Error>> {
        self.shared().wait_ready(n, timeout)
    }

    /// Runs one complete pass of the collector, which begins after this call.
    ///
    /// The pass evicts expired connections, starts keepalive checks, and starts the refill of `min_idle`. The
    /// evictions are counted when the call returns. The disposals continue in the background. Without a collector the
    /// hooks run on the calling thread before the call returns.
    pub fn sweep(&self) -> SweepReport {
        self.shared().sweep()
    }

    /// Evicts every connection of the current generation. The pool stays open.
    ///
    /// The pool evicts idle connections now, connections in use at check-in, and connections in a running create when
    /// the create returns. Each call begins a new generation, so a late call evicts the connections that were opened
    /// after the previous call. Holders that notice one failover one after the other should call
    /// [`PooledConnection::clear_generation`](crate::PooledConnection::clear_generation) instead.
    pub fn clear(&self) {
        self.shared().clear();
    }

    /// Returns the current generation, which is the number of clears.
    ///
    /// [`PooledConnection::info`](crate::PooledConnection::info) contains the generation of a connection.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared().generation()
    }

    /// [Clears](Self::clear) the pool if `generation` is the current generation. Returns true if the pool was cleared.
    ///
    /// One of several calls for one generation clears the pool. The specification of connection pools of MongoDB has
    /// this rule: an error on a connection of an earlier generation clears nothing.
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool, PooledConnection};
    ///
    /// let pool = Pool::new(MemoryManager::new())?;
    /// let seen = pool.generation();
    /// assert!(pool.clear_generation(seen));
    /// // A second report of one failover clears nothing.
    /// assert!(!pool.clear_generation(seen));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_generation(&self, generation: u64) -> bool {
        self.shared().clear_generation(generation)
    }

    /// Evicts the idle connections for which `keep` returns false, and returns their number.
    ///
    /// The closure runs on the calling thread without a lock of the pool, for one connection at a time. The pool counts
    /// this connection as in use during the closure.
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool};
    ///
    /// let pool = Pool::new(MemoryManager::new())?;
    /// drop(pool.get()?);
    /// // The old server is being drained, so evict the connections to it.
    /// let evicted = pool.retain(|_connection, info| info.uses > 1);
    /// assert_eq!((evicted, pool.stats().idle), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `keep` panics. The pool evicts the connection that `keep` received and keeps the remaining connections.
    pub fn retain(&self, keep: impl FnMut(&mut M::Connection, &ConnectionInfo) -> bool) -> usize {
        self.shared().retain(keep)
    }

    /// Adds a connection from outside to the pool. The connection serves a waiter or becomes idle.
    ///
    /// The manager disposes the connection later. The pool neither creates nor checks an added connection, counts it in
    /// `added`, and emits no event.
    ///
    /// # Errors
    ///
    /// [`AddError::Full`] and [`AddError::Closed`]. The error contains the connection.
    pub fn add(&self, connection: M::Connection) -> Result<(), AddError<M::Connection>> {
        self.shared().add(connection)
    }

    /// Suspends the pool: `get` waits until its deadline or fails (see [`OnSuspend`](crate::OnSuspend)), `try_get` returns `None`, and the pool creates no connection.
    ///
    /// Check-ins and evictions continue. The call is idempotent.
    pub fn suspend(&self) {
        self.shared().suspend(true);
    }

    /// Fails every caller that waits, with [`GetError::Cleared`](crate::GetError::Cleared), and returns their number.
    ///
    /// A failover is known before the deadlines of the callers that wait for it. The call ends their waits at once, so
    /// that they can report, retry elsewhere or give up. Creates under way continue, and their connections become idle.
    /// Callers that come later wait as usual; [`suspend`](Self::suspend) with
    /// [`OnSuspend::Fail`](crate::OnSuspend::Fail) fails them too.
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool};
    /// use std::{thread, time::Duration};
    ///
    /// let pool = Pool::builder().max_size(1).build(MemoryManager::new())?;
    /// let held = pool.get()?;
    /// thread::scope(|scope| {
    ///     let waiter = scope.spawn(|| pool.get().map(drop));
    ///     while pool.clear_waiters_with("the primary is being replaced") == 0 {
    ///         thread::sleep(Duration::from_millis(1));
    ///     }
    ///     let error = waiter.join().expect("no panic").unwrap_err();
    ///     assert!(error.is_cleared());
    /// });
    /// # drop(held);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_waiters(&self) -> usize {
        self.shared().clear_waiters(None)
    }

    /// Fails every caller that waits, as [`clear_waiters`](Self::clear_waiters) does, and gives them this cause as the
    /// [`source`](std::error::Error::source) of their errors.
    pub fn clear_waiters_with(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> usize {
        self.shared().clear_waiters(Some(Arc::from(cause.into())))
    }

    /// Ends a [`suspend`](Self::suspend), and serves the waiting callers. The call is idempotent.
    pub fn resume(&self) {
        self.shared().suspend(false);
    }

    /// Closes the pool without waiting.
    ///
    /// Waiting callers fail at once. The pool disposes idle connections in the background, and connections in use at
    /// check-in. After the close `get` fails with [`GetError::Closed`](crate::GetError::Closed), `try_get` returns `None`, and `stats` continues
    /// to work. The call is idempotent.
    pub fn close(&self) {
        self.shared().close();
    }

    /// Closes the pool, and waits until every connection is disposed and every thread of the pool has ended.
    ///
    /// The calling thread sleeps while it waits. A zero timeout returns the current state at once. `Duration::MAX`
    /// waits without a limit. A caller that holds a guard waits for its own guard, and a call inside a hook waits for
    /// this hook.
    ///
    /// # Errors
    ///
    /// [`StillInUse`] at the timeout. The error contains the number of connections in use, the number of running hooks
    /// and the holders.
    pub fn close_timeout(&self, timeout: Duration) -> Result<(), StillInUse> {
        self.shared().close_timeout(timeout)
    }

    /// Closes the pool as [`close_timeout`](Self::close_timeout) does, and interrupts the connections that are still in use
    /// after `grace`.
    ///
    /// A thread that hangs in a `read` without a timeout never gives its connection back by itself. The interrupt ends the
    /// connection under it (see [`ConnectionManager::interrupter`]): the thread gets the error of its driver, and its guard is
    /// evicted at check-in ([`EvictReason::Interrupted`](crate::EvictReason::Interrupted)). `timeout` counts from the call and
    /// includes `grace`.
    ///
    /// # Errors
    ///
    /// [`StillInUse`] at the timeout, for example if a connection has no interrupter.
    ///
    /// ```
    /// use conpool::{Hook, MemoryManager, Pool};
    /// use std::{thread, time::Duration};
    ///
    /// let backend = MemoryManager::new();
    /// let pool = Pool::new(backend.clone())?;
    /// backend.hang(Hook::Execute);
    /// let mut held = pool.get()?;
    /// let stuck = thread::spawn(move || held.execute("PING"));
    /// pool.close_interrupting(Duration::from_millis(10), Duration::from_secs(10))?;
    /// assert!(stuck.join().expect("no panic").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close_interrupting(&self, grace: Duration, timeout: Duration) -> Result<(), StillInUse> {
        self.shared().close_interrupting(grace, timeout)
    }

    /// Clears the pool as [`clear`](Self::clear) does, and interrupts the connections of earlier generations that are in
    /// use. Returns the number of interrupts.
    ///
    /// After a failover the connections in use lead to the old server, and their holders may hang until the timeouts of
    /// their drivers. (The specification of MongoDB's pools calls this `interruptInUseConnections`.)
    pub fn clear_interrupting(&self) -> usize {
        self.shared().clear_interrupting()
    }

    /// Interrupts the connection with this id, as [`holders`](Self::holders) lists it. Returns true if the connection is in
    /// use, has an interrupter and was not interrupted before.
    ///
    /// The interrupt runs on a thread of the pool; without a collector it runs on the calling thread. The holder gets the
    /// error of its driver, and the connection is evicted at check-in
    /// ([`EvictReason::Interrupted`](crate::EvictReason::Interrupted)). No other caller gets it.
    pub fn interrupt(&self, connection_id: u64) -> bool {
        self.shared().interrupt(Which::One(connection_id)) == 1
    }

    /// Returns true if the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared().is_closed()
    }

    /// Returns the name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// Returns the manager, for example to create a connection outside the pool.
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.shared().manager
    }
}
