//! Checkouts by tasks from a keyed pool, and closures on a connection of a key.

use super::{KeyedGetFuture, KeyedPool};
use crate::error::{GetError, InteractError};
use crate::interact::{Interact, call, discard_on_err};
use crate::shared::{GetTimeout, PoolCheckout, Shared};
use crate::{ConnectionManager, PooledConnection};
use std::hash::Hash;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

impl<K, M> KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// Checks out a connection of this key for a task, as [`Pool::get_async`](crate::Pool::get_async) does.
    ///
    /// The factory runs within a poll, and a task that needs the manager which another caller creates waits for it.
    ///
    /// # Errors
    ///
    /// See [`Pool::get_async`](crate::Pool::get_async) and [`get`](Self::get).
    ///
    /// ```
    /// use conpool::{KeyedPool, MemoryManager};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// let pool = KeyedPool::<String, _>::builder().build(|_: &String| MemoryManager::new())?;
    /// let mut connection = runtime.block_on(pool.get_async(&"db-1".to_owned()))?;
    /// assert_eq!(connection.execute("PING")?, "PONG");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn get_async(&self, key: &K) -> KeyedGetFuture<K, M> {
        KeyedGetFuture::new(self.clone(), key.clone(), None, Location::caller())
    }

    /// Checks out a connection of this key for a task. Waits at most `timeout` from the first poll on.
    ///
    /// # Errors
    ///
    /// See [`get_async`](Self::get_async).
    #[track_caller]
    pub fn get_async_timeout(&self, key: &K, timeout: Duration) -> KeyedGetFuture<K, M> {
        let timeout = Some(GetTimeout::For(timeout));
        KeyedGetFuture::new(self.clone(), key.clone(), timeout, Location::caller())
    }

    /// Checks out a connection of this key for a task. Waits until `deadline`.
    ///
    /// # Errors
    ///
    /// See [`get_async`](Self::get_async).
    #[track_caller]
    pub fn get_async_deadline(&self, key: &K, deadline: Instant) -> KeyedGetFuture<K, M> {
        let timeout = Some(GetTimeout::Until(deadline));
        KeyedGetFuture::new(self.clone(), key.clone(), timeout, Location::caller())
    }

    /// Calls the closure with a connection of this key, on a thread of the pool, as
    /// [`Pool::interact`](crate::Pool::interact) does.
    ///
    /// # Errors
    ///
    /// See [`Pool::interact`](crate::Pool::interact).
    #[track_caller]
    pub fn interact<T, F>(&self, key: &K, work: F) -> Interact<M, T>
    where
        F: FnOnce(&mut M::Connection) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.interact_on(self.get_async(key), work)
    }

    /// Calls the closure with a connection of this key, like [`interact`](Self::interact). Waits for the connection at most
    /// `timeout`.
    ///
    /// # Errors
    ///
    /// See [`interact`](Self::interact).
    #[track_caller]
    pub fn interact_timeout<T, F>(&self, key: &K, timeout: Duration, work: F) -> Interact<M, T>
    where
        F: FnOnce(&mut M::Connection) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.interact_on(self.get_async_timeout(key, timeout), work)
    }

    fn interact_on<T, F>(&self, get: KeyedGetFuture<K, M>, work: F) -> Interact<M, T>
    where
        F: FnOnce(&mut M::Connection) -> T + Send + 'static,
        T: Send + 'static,
    {
        let workers = self.keys.group.workers();
        Interact::new(workers, get, work)
    }

    /// Calls the closure with a connection of this key, on the calling thread, as
    /// [`Pool::with`](crate::Pool::with) does.
    ///
    /// # Errors
    ///
    /// See [`Pool::with`](crate::Pool::with).
    #[track_caller]
    pub fn with<T>(
        &self,
        key: &K,
        work: impl FnOnce(&mut M::Connection) -> T,
    ) -> Result<T, InteractError<M::Error>> {
        call(self.get(key)?, work).1
    }

    /// Calls the closure with a connection of this key, like [`with`](Self::with), and discards the connection if the
    /// closure returns `Err`.
    ///
    /// # Errors
    ///
    /// See [`with`](Self::with).
    #[track_caller]
    pub fn with_or_discard<T, E>(
        &self,
        key: &K,
        work: impl FnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> Result<Result<T, E>, InteractError<M::Error>> {
        discard_on_err(call(self.get(key)?, work))
    }

    /// Returns the pool of this connection, or of this key. Pending: another caller creates the manager of the key.
    pub(super) fn pool_for_task(
        &self,
        key: &K,
        found: Option<&PoolCheckout<M>>,
        wait: (Instant, Option<Instant>),
        waker: &Waker,
    ) -> Poll<Result<Arc<Shared<M>>, GetError<M::Error>>> {
        match found {
            Some(checkout) => Poll::Ready(Ok(Arc::clone(&checkout.entry.shared))),
            None => self.keys.poll_find_or_make(key, wait, waker),
        }
    }

    /// Whether a pool that was removed between its lookup and its use returned this error, so that the lookup must be
    /// repeated.
    pub(super) fn is_of_removed_key(
        &self,
        got: &Result<PooledConnection<M>, GetError<M::Error>>,
    ) -> bool {
        matches!(got, Err(GetError::Closed { .. })) && !self.keys.is_closed()
    }

    /// Returns the error of a closed keyed pool in place of that of a closed pool of one key.
    pub(super) fn name_closed(
        &self,
        got: Result<PooledConnection<M>, GetError<M::Error>>,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match got {
            Err(GetError::Closed { .. }) => Err(self.keys.group.closed()),
            got => got,
        }
    }

    pub(super) fn no_collector(&self) -> GetError<M::Error> {
        match self.is_closed() {
            true => self.keys.group.closed(),
            false => GetError::NoCollector {
                pool: Arc::clone(self.keys.group.name()),
            },
        }
    }
}
