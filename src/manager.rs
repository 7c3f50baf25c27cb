//! The trait that defines a connection and its hooks. Users implement this trait.

use std::error::Error;

/// Creates, checks and disposes the connections of a [`Pool`](crate::Pool).
///
/// Most backends need three hooks: [`create`](Self::create), [`check_aliveness`](Self::check_aliveness) and, if a close
/// takes more than a `drop`, [`dispose`](Self::dispose). The other hooks have defaults that do nothing.
///
/// # Threads and locks
///
/// The pool holds no lock while a hook runs, so a hook may call the pool. Hooks run in parallel for different
/// connections, and one at a time for one connection.
///
/// | hook | runs on | limited by |
/// |---|---|---|
/// | `create`, `dispose`, `check_aliveness` | a thread of the pool | `create_timeout`, `dispose_timeout`, `check_timeout` |
/// | `check_aliveness` when [`check_may_block`](Self::check_may_block) is false | the thread that calls `get`; for `keepalive_interval` and `check_health` a thread of the pool | nothing: it must not wait |
/// | `has_broken`, `on_checkin`, `needs_reset` | the thread that drops the guard | nothing: they must not wait |
/// | `reset` | a thread of the pool | `check_timeout` |
/// | `reset` when [`reset_may_block`](Self::reset_may_block) is false | the thread that drops the guard | nothing: it must not wait |
/// | `on_checkout` | the thread that calls `get` | nothing: it must not wait |
/// | `interrupter` | where `create` ran, or the thread that calls `add` | nothing: it must not wait |
/// | [`Interrupt::interrupt`] | a thread of the pool | nothing: it should not wait for longer than `dispose_timeout` |
/// | `is_transient` | where `create` ran; after `on_checkout` failed on a new connection, the thread that calls `get` | nothing: it must not wait |
///
/// With [`background_collector(false)`](crate::PoolBuilder::background_collector) every hook runs on
/// the threads that call the pool.
///
/// # Panics
///
/// The pool catches a panic in a hook and evicts the connection. The pool counts the panic, logs it, and reports it as
/// an event.
///
/// # Example
///
/// ```
/// use conpool::{ConnectionManager, Pool};
/// use std::{convert::Infallible, sync::atomic::{AtomicU32, Ordering}};
///
/// /// Creates numbers. A real manager opens a socket or starts a process.
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
    /// The type of a connection. A guard dereferences to this type.
    type Connection: Send + 'static;

    /// The error of a create, a check, or another hook.
    type Error: Error + Send + Sync + 'static;

    /// Opens a new connection. May block.
    ///
    /// A call that takes longer than `create_timeout` counts as a transient failure, and the pool disposes a connection
    /// that the call returns later.
    ///
    /// # Errors
    ///
    /// The error of the backend. [`is_transient`](Self::is_transient) decides whether the pool repeats the create.
    fn create(&self) -> Result<Self::Connection, Self::Error>;

    /// Verifies that the connection works, for example with a ping.
    ///
    /// May block for up to `check_timeout`. Must not block if [`check_may_block`](Self::check_may_block) returns false.
    ///
    /// # Errors
    ///
    /// The pool evicts and disposes the connection after any error.
    fn check_aliveness(&self, connection: &mut Self::Connection) -> Result<(), Self::Error>;

    /// Closes a connection. May block. After `dispose_timeout` the connection no longer holds its slot.
    ///
    /// The pool calls `dispose` exactly once for every connection that `create` returned or
    /// [`Pool::add`](crate::Pool::add) accepted, except for detached connections.
    ///
    /// The default drops the connection.
    fn dispose(&self, connection: Self::Connection) {
        drop(connection);
    }

    /// Returns true if the connection is known to be broken. Must be cheap and must do no I/O.
    ///
    /// The pool calls this hook at check-in, except for connections that are discarded, detached or dropped by a panic.
    ///
    /// The default returns false.
    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Prepares a connection for the caller that receives it. Must not block.
    ///
    /// # Errors
    ///
    /// The pool evicts the connection and tries the next one. For a new connection the error counts as a failed create.
    fn on_checkout(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let _ = connection;
        Ok(())
    }

    /// Resets a connection at check-in, for example with a rollback. Must not block.
    ///
    /// The pool calls this hook after [`has_broken`](Self::has_broken) has returned false. A reset that takes a round
    /// trip belongs in [`reset`](Self::reset).
    ///
    /// # Errors
    ///
    /// The pool evicts the connection.
    fn on_checkin(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let _ = connection;
        Ok(())
    }

    /// Returns true if the connection must be reset before the next caller gets it. Must be cheap and must do no I/O.
    ///
    /// The pool calls this hook at check-in, after [`on_checkin`](Self::on_checkin) has succeeded, and not for a connection
    /// that it evicts anyway.
    ///
    /// The default returns false: the pool never calls [`reset`](Self::reset).
    fn needs_reset(&self, connection: &Self::Connection) -> bool {
        let _ = connection;
        false
    }

    /// Removes what the last caller left in the connection, for example an open transaction. May block for up to
    /// `check_timeout`. Must not block if [`reset_may_block`](Self::reset_may_block) returns false.
    ///
    /// The pool calls this hook after a check-in for which [`needs_reset`](Self::needs_reset) has returned true, and
    /// before anybody gets the connection. The drop of the guard does not wait for it, unless [`reset_may_block`](Self::reset_may_block) is false or
    /// the pool has no collector. Meanwhile the connection counts as
    /// in use, and a caller that waits takes another connection, or this one after its reset. A caller that waits for a
    /// reset for more than 100 ms gets a new connection if there is room.
    ///
    /// A reset on a thread of the pool costs a connection the time of a hand-over to that thread, some 10 µs, and the reset
    /// itself. (psycopg_pool has `reset`, and HikariCP resets the state of a JDBC connection at its close.)
    ///
    /// The default does nothing.
    ///
    /// # Errors
    ///
    /// The pool evicts the connection, with [`EvictReason::ResetFailed`](crate::EvictReason::ResetFailed). So it does
    /// after `check_timeout`.
    fn reset(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let _ = connection;
        Ok(())
    }

    /// Returns true if [`reset`](Self::reset) may block.
    ///
    /// The pool calls this method once, at build. If it returns false, the reset runs on the thread that drops the guard.
    /// A pool without a collector runs the reset there in any case.
    ///
    /// The default returns true.
    fn reset_may_block(&self) -> bool {
        true
    }

    /// Returns true if the pool should repeat a `create` after this error, within the deadline of the caller.
    ///
    /// The default returns false: the error reaches a waiting caller at once if no connection is open.
    fn is_transient(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// Returns a handle that ends this connection, or what runs on it, while a thread hangs in it, for example in a `read` without a timeout.
    ///
    /// The pool asks once for each connection, after its create. The handle must not keep the backend's end of the
    /// connection open after a `dispose`; the pool drops it before. [`Pool::interrupt`](crate::Pool::interrupt),
    /// [`Pool::close_interrupting`](crate::Pool::close_interrupting) and
    /// [`Pool::clear_interrupting`](crate::Pool::clear_interrupting) use it. A TCP manager returns a second descriptor that it
    /// shuts down.
    ///
    /// The default returns none: the connection cannot be interrupted.
    fn interrupter(&self, connection: &mut Self::Connection) -> Option<Box<dyn Interrupt>> {
        let _ = connection;
        None
    }

    /// Returns true if [`check_aliveness`](Self::check_aliveness) may block.
    ///
    /// The pool calls this method once, at build. A manager whose check is a non-blocking probe returns `false`. The
    /// pool then runs the check on the thread of the caller, as a part of the fast path: a checkout takes 1.4 times the
    /// time of a checkout without a check, plus the check. A check that may block runs on a thread of the pool, which
    /// costs one hand-over there and back, 8 to 20 µs (`cargo bench --bench costs`). In return a check that hangs never
    /// holds a caller beyond its deadline.
    ///
    /// The default returns true.
    fn check_may_block(&self) -> bool {
        true
    }
}

/// Ends a connection from another thread than the one that uses it. See
/// [`ConnectionManager::interrupter`].
pub trait Interrupt: Send + Sync + 'static {
    /// Ends the connection, so that the thread that hangs in it returns with an error.
    ///
    /// Called at most once, on a thread of the pool and without a lock. The connection may be in use, on its way back, or
    /// disposed already. A call that hangs keeps its thread, and makes [`Pool::close_timeout`](crate::Pool::close_timeout) fail; a panic is caught, counted and reported.
    fn interrupt(&self);
}
