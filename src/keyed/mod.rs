//! Pools by key, within one total limit.

mod admin;
mod builder;
mod building;
mod checkout;
mod get_future;
mod hints;
mod keys;
mod settings;
mod tasks;

pub use builder::KeyedPoolBuilder;
pub use get_future::KeyedGetFuture;

use crate::error::GetError;
use crate::shared::GetTimeout;
use crate::{ConnectionManager, HealthState, Holder, PoolStats, PooledConnection};
use keys::Keys;
use std::fmt;
use std::hash::Hash;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pool for each key: for each host, database, tenant or device. Pools are created on first use.
///
/// Each key has a pool of its own, with the settings of the builder and at most `max_per_key` connections.
/// All keys together have at most `max_total` connections, including those being disposed. The pools share
/// one collector and the threads that run hooks.
///
/// Cloning creates another handle. Dropping the last handle closes the pool, as with [`Pool`](crate::Pool).
///
/// ```
/// use conpool::{KeyedPool, MemoryManager};
///
/// let pool = KeyedPool::<String, MemoryManager>::builder()
///     .max_total(100)
///     .max_per_key(30)
///     .build(|_host: &String| MemoryManager::new())?;
///
/// let mut connection = pool.get(&"db-1".to_owned())?;
/// assert_eq!(connection.execute("PING")?, "PONG");
/// drop(connection);
///
/// assert_eq!(pool.keys(), ["db-1"]);
/// assert_eq!(pool.stats().idle, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When the total is reached
///
/// A caller whose key is below `max_per_key` is not limited to the connections of its own key:
///
/// - The pool evicts the connection of another key that has been idle longest
///   ([`EvictReason::MadeRoom`](crate::EvictReason::MadeRoom)). The new connection is opened when the
///   `dispose` of the old one has ended.
/// - If no connection is idle, a check-in counts as a slot that becomes free. The slot goes to the caller
///   that has waited longest, of the same key or of another. For a caller of another key, the connection is
///   evicted. A key that is always busy therefore starves no other key, and two keys that want more than the
///   total take turns, at the cost of a connection each time. A total that is reached often is too small.
/// - The `min_idle` of a key is filled only from slots that no caller waits for. It does not protect idle
///   connections from eviction for another key, and it lapses when the key was not used for `idle_timeout`.
///
/// A backend that hangs costs other keys only the slots it holds, until its hooks time out.
///
/// # Unused keys
///
/// A key without open connections and waiters takes no memory after [`sweep`](Self::sweep). Without `sweep`,
/// such a key is removed when it was not used for `idle_timeout`, or earlier if many unused keys exist. Its
/// counts stay in [`stats`](Self::stats).
///
/// # Requirements for keys
///
/// `Eq`, `Hash` and `Clone` of the key run under a lock of the pool. They must not block, panic or call the
/// pool.
///
/// # The factory
///
/// The factory creates the manager of a key, on the thread of the first caller and without a lock. Other
/// callers of that key wait for it; callers of other keys do not. The factory should not talk to the backend:
/// `create` is for that, and has a timeout. If the factory panics, the caller gets [`GetError::Panicked`],
/// and the next caller tries again.
pub struct KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    keys: Arc<Keys<K, M>>,
    handle: Arc<Handle<K, M>>,
}

/// Closes the pools when the last handle is dropped.
struct Handle<K, M>(Arc<Keys<K, M>>)
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager;

impl<K, M> Drop for Handle<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<K, M> KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// Returns a builder.
    pub fn builder() -> KeyedPoolBuilder<K, M> {
        KeyedPoolBuilder::new()
    }

    fn open(keys: Arc<Keys<K, M>>) -> Self {
        let handle = Arc::new(Handle(Arc::clone(&keys)));
        Self { keys, handle }
    }

    /// Checks out a connection of this key. Waits at most `get_timeout`.
    ///
    /// # Errors
    ///
    /// See [`Pool::get`](crate::Pool::get). Also returns [`GetError::Panicked`] if the factory panicked. The
    /// numbers in the error are those of the key.
    #[inline]
    #[track_caller]
    pub fn get(&self, key: &K) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_fast(key, false, Location::caller()) {
            Ok(guard) => Ok(guard),
            Err(found) => self.get_slow_for_key(key, None, found),
        }
    }

    /// Checks out a connection of this key. Waits at most `timeout`: zero takes an idle connection or fails,
    /// and `Duration::MAX` waits for ever.
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    #[inline]
    #[track_caller]
    pub fn get_timeout(
        &self,
        key: &K,
        timeout: Duration,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_fast(key, false, Location::caller()) {
            Ok(guard) => Ok(guard),
            Err(found) => self.get_slow_for_key(key, Some(GetTimeout::For(timeout)), found),
        }
    }

    /// Checks out a connection of this key. Waits until `deadline`; a deadline that has passed does not wait.
    ///
    /// # Errors
    ///
    /// See [`get`](Self::get).
    #[inline]
    #[track_caller]
    pub fn get_deadline(
        &self,
        key: &K,
        deadline: Instant,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_fast(key, false, Location::caller()) {
            Ok(guard) => Ok(guard),
            Err(found) => self.get_slow_for_key(key, Some(GetTimeout::Until(deadline)), found),
        }
    }

    /// Returns an idle connection of this key, or `None`. Never waits, never creates, and never calls the
    /// factory.
    #[must_use = "the connection, if there is one, goes back when this is dropped"]
    #[inline]
    #[track_caller]
    pub fn try_get(&self, key: &K) -> Option<PooledConnection<M>> {
        match self.get_fast(key, true, Location::caller()) {
            Ok(guard) => Some(guard),
            Err(found) => self.try_get_slow(key, found),
        }
    }

    /// Returns the sums over all keys, as one consistent snapshot: `size` + `disposing` ≤ `max_total`.
    ///
    /// `max_size` is `max_total` here. The sums include the counts of removed keys. A peak is the highest
    /// value that a call of this function saw, or that one key reached alone. The call holds the locks of all
    /// keys while it reads the connection counts, which blocks their slow paths for fractions of a
    /// microsecond per key.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.keys.group.stats()
    }

    /// Returns the statistics of one key, or `None` if it has no pool now.
    #[must_use]
    pub fn stats_for(&self, key: &K) -> Option<PoolStats> {
        self.keys.find(key).map(|pool| pool.stats())
    }

    /// Returns the worst health of all keys: one dead host makes it [`HealthState::Unhealthy`]. As with
    /// [`Pool::health`](crate::Pool::health), a connection is opened for each key that has none open and has
    /// failed before, as far as `max_total` permits.
    #[must_use]
    pub fn health(&self) -> HealthState {
        let all = self.keys.all().into_iter();
        all.map(|(_, pool)| pool.health()).max().unwrap_or_default()
    }

    /// Returns the health of one key, as [`Pool::health`](crate::Pool::health) does, or `None` if it has no
    /// pool now.
    #[must_use]
    pub fn health_for(&self, key: &K) -> Option<HealthState> {
        self.keys.find(key).map(|pool| pool.health())
    }

    /// Returns the keys that have a pool now, in arbitrary order.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        let all = self.keys.all();
        all.into_iter().map(|(key, _)| key).collect()
    }

    /// Returns the holder of each connection in use, over all keys, the longest first. See
    /// [`Pool::holders`](crate::Pool::holders).
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.keys.group.holders()
    }

    /// Returns true if the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.keys.is_closed()
    }

    /// Returns the name, which all keys share.
    #[must_use]
    pub fn name(&self) -> &str {
        self.keys.group.name()
    }
}

impl<K, M> Clone for KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn clone(&self) -> Self {
        Self {
            keys: Arc::clone(&self.keys),
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<K, M> fmt::Debug for KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("KeyedPool")
            .field("name", &self.name())
            .field("max_total", &stats.max_size)
            .field("idle", &stats.idle)
            .field("in_use", &stats.in_use)
            .field("waiters", &stats.waiters)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

// Every hook runs with panics caught and without a lock held, as in `Pool`.
impl<K, M> UnwindSafe for KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
}
impl<K, M> RefUnwindSafe for KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
}
