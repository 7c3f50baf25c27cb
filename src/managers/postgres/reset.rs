//! What happens to a session between two callers.

/// What the pool does with a session after its check-in, before the next caller gets it.
///
/// Each of them but `None` takes one to three round trips, on a thread of the pool. The drop of the guard does not wait for it. A
/// session whose reset fails is evicted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Reset {
    /// Nothing. For programs that begin transactions by [`Client::transaction`](::postgres::Client::transaction) or by
    /// [`Pool::transaction`](crate::Pool#method.transaction-1) only, which end them in any case.
    None,
    /// Rolls back a transaction that is still open. This is the default.
    ///
    /// The pool skips this reset if the caller has used the session only through
    /// [`Pool::transaction`](crate::Pool#method.transaction-1), or not at all. The driver does not tell whether a
    /// transaction is open, so the reset sends `BEGIN; ROLLBACK`, which logs nothing at the server if there was none.
    #[default]
    Rollback,
    /// Rolls back, and discards what `DISCARD ALL` discards, but for prepared statements, which the driver goes on to use:
    /// settings, roles, cursors, temporary tables, `LISTEN`, advisory locks and sequences.
    DiscardAll,
    /// Rolls back, and then sends this text, which may contain several statements.
    Query(String),
}
