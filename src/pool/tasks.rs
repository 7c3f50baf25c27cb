//! Checkouts by tasks, and closures on a connection.

use super::{GetFuture, Pool};
use crate::ConnectionManager;
use crate::error::{GetError, InteractError};
use crate::interact::{Interact, call, discard_on_err};
use crate::shared::GetTimeout;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl<M: ConnectionManager> Pool<M> {
    /// Checks out a connection for a task, and waits for at most the `get_timeout` of the pool.
    ///
    /// The future needs no runtime and no feature: any executor can poll it. See [`GetFuture`] for its polls, its
    /// drop and its place in the queue. The guard is the one that [`get`](Self::get) returns. Operations on the connection may block. Use
    /// a driver that waits for a network through [`interact`](Self::interact).
    ///
    /// # Errors
    ///
    /// - The errors of [`get`](Self::get).
    /// - [`GetError::NoCollector`] if no connection is idle in a pool without a collector. Such a pool has no thread that
    ///   could wake the task. The future does not run a check that may block either.
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// let pool = Pool::new(MemoryManager::new())?;
    /// let answer = runtime.block_on(async {
    ///     let mut connection = pool.get_async().await?;
    ///     connection.execute("PING").map_err(Into::<Box<dyn std::error::Error>>::into)
    /// })?;
    /// assert_eq!(answer, "PONG");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn get_async(&self) -> GetFuture<M> {
        GetFuture::new(self.clone(), None, Location::caller())
    }

    /// Checks out a connection for a task, and waits for at most `timeout` from the first poll on.
    ///
    /// With a zero timeout the future never waits, as in [`get_timeout`](Self::get_timeout). The collector of the pool watches the
    /// timeout, and no timer of a runtime is needed.
    ///
    /// # Errors
    ///
    /// The errors of [`get_async`](Self::get_async).
    #[inline]
    #[track_caller]
    pub fn get_async_timeout(&self, timeout: Duration) -> GetFuture<M> {
        let timeout = Some(GetTimeout::For(timeout));
        GetFuture::new(self.clone(), timeout, Location::caller())
    }

    /// Checks out a connection for a task, and waits until `deadline`.
    ///
    /// # Errors
    ///
    /// The errors of [`get_async`](Self::get_async).
    #[inline]
    #[track_caller]
    pub fn get_async_deadline(&self, deadline: Instant) -> GetFuture<M> {
        let timeout = Some(GetTimeout::Until(deadline));
        GetFuture::new(self.clone(), timeout, Location::caller())
    }

    /// Calls the closure with a connection, on a thread of the pool, and gives the connection back.
    ///
    /// The closure may block, so a task can use a synchronous driver. The task waits for a connection for at most
    /// the `get_timeout` of the pool. No timeout limits the closure. [`Interact`] describes the threads and
    /// the cancellation.
    ///
    /// # Errors
    ///
    /// - [`InteractError::Get`] with the errors of [`get_async`](Self::get_async). A pool without a collector always returns
    ///   [`GetError::NoCollector`], because it has no threads.
    /// - [`InteractError::Panicked`] if the closure panics. The pool then evicts the connection.
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// let pool = Pool::new(MemoryManager::new())?;
    /// let answer = runtime.block_on(pool.interact(|connection| connection.execute("PING")))??;
    /// assert_eq!(answer, "PONG");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn interact<T, F>(&self, work: F) -> Interact<M, T>
    where
        F: FnOnce(&mut M::Connection) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.interact_on(self.get_async(), work)
    }

    /// Calls the closure with a connection, like [`interact`](Self::interact), and waits for the connection for at most
    /// `timeout`. The timeout does not limit the closure.
    ///
    /// # Errors
    ///
    /// The errors of [`interact`](Self::interact).
    #[track_caller]
    pub fn interact_timeout<T, F>(&self, timeout: Duration, work: F) -> Interact<M, T>
    where
        F: FnOnce(&mut M::Connection) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.interact_on(self.get_async_timeout(timeout), work)
    }

    fn interact_on<T, F>(&self, get: GetFuture<M>, work: F) -> Interact<M, T>
    where
        F: FnOnce(&mut M::Connection) -> T + Send + 'static,
        T: Send + 'static,
    {
        let workers = self.shared().workers();
        Interact::new(workers, get, work)
    }

    /// Calls the closure with a connection, on the calling thread, and gives the connection back: the counterpart of
    /// [`interact`](Self::interact) for threads.
    ///
    /// # Errors
    ///
    /// - [`InteractError::Get`] with the errors of [`get`](Self::get).
    /// - [`InteractError::Panicked`] if the closure panics. The pool then evicts the connection.
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool};
    ///
    /// let pool = Pool::new(MemoryManager::new())?;
    /// assert_eq!(pool.with(|connection| connection.execute("PING"))??, "PONG");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn with<T>(
        &self,
        work: impl FnOnce(&mut M::Connection) -> T,
    ) -> Result<T, InteractError<M::Error>> {
        // The guard is dropped here, after the closure.
        call(self.get()?, work).1
    }

    /// Calls the closure with a connection, like [`with`](Self::with), and discards the connection if the closure returns
    /// `Err`.
    ///
    /// # Errors
    ///
    /// The errors of [`with`](Self::with).
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::{EvictReason, MemoryManager, Pool};
    ///
    /// let pool = Pool::new(MemoryManager::new())?;
    /// let refused = pool.with_or_discard(|_connection| Err::<(), _>("a protocol error"))?;
    /// assert!(refused.is_err());
    /// assert_eq!(pool.stats().evicted(EvictReason::Discarded), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn with_or_discard<T, E>(
        &self,
        work: impl FnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> Result<Result<T, E>, InteractError<M::Error>> {
        discard_on_err(call(self.get()?, work))
    }
}

impl<M: ConnectionManager> Pool<M> {
    /// Returns the error of a closure in a pool without threads.
    pub(super) fn no_collector(&self) -> GetError<M::Error> {
        let pool = Arc::clone(&self.shared().name);
        match self.is_closed() {
            true => GetError::Closed { pool },
            false => GetError::NoCollector { pool },
        }
    }
}
