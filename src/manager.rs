//! The trait a user implements: what a connection is, and how it comes, is checked and goes.

use std::error::Error;

/// Creates, checks and disposes the connections of a [`Pool`](crate::Pool).
///
/// Three hooks are the whole job for most backends: [`create`](Self::create),
/// [`check_aliveness`](Self::check_aliveness) and, where closing is more than `drop`,
/// [`dispose`](Self::dispose). The rest have defaults that do nothing.
///
/// # Threads and locks
///
/// No hook ever runs while the pool holds a lock, so a hook may call the pool. Hooks run in parallel
/// on different connections, never twice at once on the same one.
///
/// | hook | runs on | bounded by |
/// |---|---|---|
/// | `create`, `dispose`, `check_aliveness` | a thread of the pool | `create_timeout`, `dispose_timeout`, `check_timeout` |
/// | `check_aliveness` when [`check_may_block`](Self::check_may_block) is false | the thread that calls `get`; for `keepalive_interval` and `check_health` a thread of the pool | nothing: it must not wait |
/// | `has_broken`, `on_checkin` | the thread that drops the guard | nothing: they must not wait |
/// | `on_checkout` | the thread that calls `get` | nothing: it must not wait |
/// | `is_transient` | where `create` ran; after `on_checkout` failed on a new connection, the thread that calls `get` | nothing: it must not wait |
///
/// With [`background_collector(false)`](crate::PoolBuilder::background_collector) every hook runs on
/// the threads that call the pool.
///
/// # Panics
///
/// A panic in a hook is caught. It costs that one connection; the pool counts it, logs it, reports
/// it as an event and goes on.
///
/// # Example
///
/// ```
/// use conpool::{ConnectionManager, Pool};
/// use std::{convert::Infallible, sync::atomic::{AtomicU32, Ordering}};
///
/// /// Hands out numbered workers; a real manager would open a socket or start a process.
/// struct Numbers(AtomicU32);
///
/// impl ConnectionManager for Numbers {
///     type Connection = u32;
///     type Error = Infallible;
///     fn create(&self) -> Result<u32, Infallible> {
///         Ok(self.0.fetch_add(1, Ordering::Relaxed))
///     }
///     fn check_aliveness(&self, _: &mut u32) -> Result<(), Infallible> {
///         Ok(())
///     }
/// }
///
/// let pool = Pool::new(Numbers(AtomicU32::new(7)))?;
/// assert_eq!(*pool.get()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ConnectionManager: Send + Sync + 'static {
    /// What the pool holds and a guard dereferences to.
    type Connection: Send + 'static;

    /// Why a connection could not be made or is no longer good.
    type Error: Error + Send + Sync + 'static;

    /// Opens a new connection. May block; a call that takes longer than `create_timeout` has failed
    /// as a transient error, and what it returns later is disposed.
    ///
    /// # Errors
    ///
    /// Whatever the backend says. [`is_transient`](Self::is_transient) decides whether it is worth
    /// repeating.
    fn create(&self) -> Result<Self::Connection, Self::Error>;

    /// Proves that the connection still works, for example by a ping. May block up to
    /// `check_timeout`, unless [`check_may_block`](Self::check_may_block) says it never does.
    ///
    /// # Errors
    ///
    /// Any error means that the connection is evicted and disposed.
    fn check_aliveness(&self, connection: &mut Self::Connection) -> Result<(), Self::Error>;

    /// Closes a connection. Called exactly once for every connection that `create` returned or
    /// [`Pool::add`](crate::Pool::add) took, and that was not detached. May block; after `dispose_timeout` it no longer holds its slot.
    ///
    /// The default drops it.
    fn dispose(&self, connection: Self::Connection) {
        drop(connection);
    }

    /// Asked at check-in: is the connection known to be broken? Must be cheap and do no I/O. Not asked of
    /// what is discarded, detached or dropped by a panic.
    ///
    /// The default says no.
    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Prepares a connection for the caller that is about to get it. Must not block.
    ///
    /// # Errors
    ///
    /// The connection is evicted and the next one is tried. On a connection just created it counts
    /// as a failed create.
    fn on_checkout(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let _ = connection;
        Ok(())
    }

    /// Cleans a connection when its guard is dropped (a rollback, a reset), after
    /// [`has_broken`](Self::has_broken) said no. Must not block: a reset that takes a round trip belongs into
    /// [`check_aliveness`](Self::check_aliveness).
    ///
    /// # Errors
    ///
    /// The connection is evicted.
    fn on_checkin(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let _ = connection;
        Ok(())
    }

    /// Is this error of `create` worth repeating within the caller's deadline?
    ///
    /// The default says no: the error reaches a waiting caller at once if no connection is open.
    fn is_transient(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// Asked once, at build: may [`check_aliveness`](Self::check_aliveness) block? A manager whose
    /// check is a non-blocking probe says `false` and is checked on the caller's thread, which saves
    /// the way to a thread of the pool.
    ///
    /// The default says yes.
    fn check_may_block(&self) -> bool {
        true
    }
}
