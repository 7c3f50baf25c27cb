//! The RAII guard of one checked-out connection.

use crate::shared::{Held, PoolCheckout, check_in};
use crate::{ConnectionInfo, ConnectionManager};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// A connection checked out of a [`Pool`](crate::Pool). Dropping it checks the connection in.
///
/// It dereferences to the connection, has no lifetime and may be sent to another thread and dropped
/// there. It does not keep its pool open: after the last `Pool` is gone the connection stays usable
/// and is disposed at check-in.
///
/// # Drop
///
/// Check-in runs [`has_broken`](ConnectionManager::has_broken) and
/// [`on_checkin`](ConnectionManager::on_checkin) on the dropping thread, never blocks on a lock held
/// by user code, and leaves `dispose` to a thread of the pool (without a collector: runs it). If the guard is dropped by a panic that
/// began after its checkout, the connection is evicted: nobody knows what state it is in. (The
/// standard library cannot tell one panic from another: a guard that was checked out while its thread
/// was panicking is not evicted by a later panic either.)
///
/// A guard that is forgotten (`mem::forget`) keeps its slot for ever; `stats().in_use` counts it and
/// [`Pool::holders`](crate::Pool::holders) finds it.
///
/// # Example
///
/// ```
/// use conpool::{EvictReason, MemoryManager, Pool, PooledConnection};
///
/// let pool = Pool::new(MemoryManager::new())?;
/// let mut connection = pool.get()?;
/// connection.execute("SET a 1")?;
/// assert_eq!(PooledConnection::info(&connection).uses, 1);
///
/// // Whoever does not know what state it is in does not give it to the next caller.
/// PooledConnection::discard(connection);
/// assert_eq!(pool.stats().evicted(EvictReason::Discarded), 1);
///
/// // This one leaves the pool for good.
/// let mine = PooledConnection::detach(pool.get()?);
/// assert_eq!((mine.id(), pool.stats().size), (2, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The other functions are associated ones (`PooledConnection::discard(guard)`), so that they never
/// hide a method of the connection.
#[must_use = "a guard that is dropped at once checks its connection in again"]
pub struct PooledConnection<M: ConnectionManager> {
    /// None only after one of the functions that consume the guard.
    held: Option<Held<M>>,
}

impl<M: ConnectionManager> PooledConnection<M> {
    #[inline]
    pub(crate) fn new(loan: PoolCheckout<M>) -> Self {
        Self {
            held: Some(Held::new(loan)),
        }
    }

    #[inline]
    fn held(&self) -> &Held<M> {
        let held = self.held.as_ref();
        held.expect("bug: a guard without a connection")
    }

    fn into_held(mut this: Self) -> Held<M> {
        let held = this.held.take();
        held.expect("bug: a guard without a connection")
    }

    /// This connection is bad: it is evicted (`EvictReason::Discarded`) and disposed, and a new one may
    /// be created in its place. Returns at once (without a collector: after `dispose`).
    pub fn discard(this: Self) {
        let held = Self::into_held(this);
        let shared = Arc::clone(&held.pooled.shared);
        shared.discard(held);
    }

    /// Discards this connection, and clears the pool if the connection belongs to its present generation.
    ///
    /// For a connection that has shown that its server is gone, as after a failover: every other connection
    /// of its time is as dead. A holder that notices later discards its own connection and leaves alone what
    /// was opened since. In a [`KeyedPool`](crate::KeyedPool) it clears the connections of its key.
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool, PooledConnection};
    ///
    /// let pool = Pool::new(MemoryManager::new())?;
    /// let (first, second) = (pool.get()?, pool.get()?);
    /// PooledConnection::clear_generation(first);
    /// drop(pool.get()?); // opened after the failover
    /// PooledConnection::clear_generation(second);
    /// assert_eq!((pool.generation(), pool.stats().idle), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_generation(this: Self) {
        let held = Self::into_held(this);
        let shared = Arc::clone(&held.pooled.shared);
        let generation = held.pooled.generation();
        shared.discard(held);
        shared.clear_generation(generation);
    }

    /// Takes the connection out of the pool for good. Its slot is free; `dispose` will not be called.
    #[must_use = "the connection is the caller's now"]
    pub fn detach(this: Self) -> M::Connection {
        let held = Self::into_held(this);
        let shared = Arc::clone(&held.pooled.shared);
        shared.detach(held)
    }

    /// What the pool knows of this connection. `uses` counts this checkout; `idle_for` is how long it
    /// had been idle before.
    #[must_use]
    pub fn info(this: &Self) -> ConnectionInfo {
        this.held().info()
    }
}

impl<M: ConnectionManager> Drop for PooledConnection<M> {
    #[inline]
    fn drop(&mut self) {
        check_in(&mut self.held);
    }
}

impl<M: ConnectionManager> Deref for PooledConnection<M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        &self.held().pooled.connection
    }
}

impl<M: ConnectionManager> DerefMut for PooledConnection<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        let held = self.held.as_mut();
        let held = held.expect("bug: a guard without a connection");
        &mut held.pooled.connection
    }
}

impl<M: ConnectionManager> fmt::Debug for PooledConnection<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.held().pooled;
        f.debug_struct("PooledConnection")
            .field("pool", &node.shared.name)
            .field("id", &node.id)
            .finish_non_exhaustive()
    }
}

// A panic while a guard is out never leaves the pool in a broken state: the connection is evicted.
impl<M: ConnectionManager> UnwindSafe for PooledConnection<M> {}
impl<M: ConnectionManager> RefUnwindSafe for PooledConnection<M> {}
