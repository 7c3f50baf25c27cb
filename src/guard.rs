//! The RAII guard of a checked-out connection.

use crate::shared::{Held, PoolCheckout, Which, check_in};
use crate::{ConnectionInfo, ConnectionManager};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// A guard of a connection that is checked out of a [`Pool`](crate::Pool). Dropping the guard checks the connection in.
///
/// The guard dereferences to the connection and has no lifetime parameter. A program may send the guard to another
/// thread and drop it there. A guard does not keep its pool open. After the drop of the last `Pool` the connection
/// stays usable, and the pool disposes the connection at check-in.
///
/// # Drop
///
/// A check-in runs [`has_broken`](ConnectionManager::has_broken), [`on_checkin`](ConnectionManager::on_checkin) and
/// [`needs_reset`](ConnectionManager::needs_reset), and a [`reset`](ConnectionManager::reset) that does not block, on the
/// thread that drops the guard. A check-in never blocks on a lock that user code holds. A thread of the pool runs
/// `dispose`; without a collector the check-in runs `dispose`.
///
/// If a panic that began after the checkout drops the guard, the pool evicts the connection, because its state is
/// unknown. The standard library does not distinguish two panics. A guard that was checked out while its thread was
/// panicking is therefore not evicted by a later panic.
///
/// A forgotten guard (`mem::forget`) occupies its slot forever. `stats().in_use` counts the connection, and
/// [`Pool::holders`](crate::Pool::holders) lists its holder.
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
/// // Discards a connection in an unknown state.
/// PooledConnection::discard(connection);
/// assert_eq!(pool.stats().evicted(EvictReason::Discarded), 1);
///
/// // Removes a connection from the pool.
/// let mine = PooledConnection::detach(pool.get()?);
/// assert_eq!((mine.id(), pool.stats().size), (2, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The functions of the guard are associated functions (`PooledConnection::discard(guard)`), so they hide no method of
/// the connection.
#[must_use = "a guard that is dropped at once checks its connection in again"]
pub struct PooledConnection<M: ConnectionManager> {
    /// `None` only after a function that consumes the guard.
    held: Option<Held<M>>,
}

impl<M: ConnectionManager> PooledConnection<M> {
    #[inline]
    pub(crate) fn new(checkout: PoolCheckout<M>) -> Self {
        Self {
            held: Some(Held::new(checkout)),
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

    /// Evicts the connection with `EvictReason::Discarded` and disposes it. A new connection may replace it.
    ///
    /// The call returns at once. Without a collector the call returns after `dispose`.
    pub fn discard(this: Self) {
        let held = Self::into_held(this);
        let shared = Arc::clone(&held.pooled.shared);
        shared.discard(held);
    }

    /// Discards the connection, and clears the pool if the connection belongs to the current generation of the pool.
    ///
    /// Call this function after an error that shows a failover: all connections of the generation are dead then. A
    /// holder that notices the failover later discards its own connection only, and the connections that were opened
    /// since the clear stay open. In a [`KeyedPool`](crate::KeyedPool) the call clears the connections of one key.
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

    /// Removes the connection from the pool and returns it. The slot becomes free, and the pool never calls `dispose`
    /// for the connection.
    #[must_use = "the connection is the caller's now"]
    pub fn detach(this: Self) -> M::Connection {
        let held = Self::into_held(this);
        let shared = Arc::clone(&held.pooled.shared);
        shared.detach(held)
    }

    /// Returns a function that interrupts this connection while it is checked out.
    pub(crate) fn interrupter(this: &Self) -> Box<dyn Fn() + Send> {
        let pooled = &this.held().pooled;
        let (shared, id) = (Arc::clone(&pooled.shared), pooled.id);
        Box::new(move || {
            shared.interrupt(Which::One(id));
        })
    }

    /// Returns the id, the ages and the number of uses of the connection.
    ///
    /// `uses` includes this checkout. `idle_for` is the idle time before this checkout.
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

// A panic that drops a guard evicts the connection, so the pool stays consistent.
impl<M: ConnectionManager> UnwindSafe for PooledConnection<M> {}
impl<M: ConnectionManager> RefUnwindSafe for PooledConnection<M> {}
