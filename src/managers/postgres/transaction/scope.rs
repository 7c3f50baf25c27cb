//! The argument of a body: the transaction, or a savepoint in it.

use super::error::PostgresSavepointError;
use ::postgres::{Error, Transaction};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// An open transaction, or a savepoint inside one. Dereferences to [`postgres::Transaction`](Transaction).
///
/// The transaction ends when the body returns. A body must not send `COMMIT` or `ROLLBACK` itself.
pub struct PostgresTransaction<'a, 't> {
    inner: &'a mut Transaction<'t>,
    /// The number of enclosing savepoints.
    depth: usize,
}

impl<'a, 't> PostgresTransaction<'a, 't> {
    pub(super) fn new(inner: &'a mut Transaction<'t>) -> Self {
        Self { inner, depth: 0 }
    }

    /// Runs `body` in a savepoint. `Ok` keeps its work as a part of the transaction. `Err` and a panic undo the work of
    /// the savepoint only. Savepoints can be nested to any depth.
    ///
    /// A statement that fails makes the server refuse every further statement of the savepoint. If the body ignores the
    /// error and returns `Ok`, the result is [`PostgresSavepointError::Release`], and the work is undone.
    ///
    /// # Errors
    ///
    /// [`PostgresSavepointError::Body`] with the error of `body`, unchanged. After a serialization failure return this
    /// error from the outer body, so that the whole transaction is repeated.
    pub fn savepoint<T, E>(
        &mut self,
        body: impl FnOnce(&mut PostgresTransaction<'_, 't>) -> Result<T, E>,
    ) -> Result<T, PostgresSavepointError<E>> {
        let depth = self.depth + 1;
        let begun = self
            .inner
            .batch_execute(&format!("SAVEPOINT conpool_{depth}"));
        begun.map_err(PostgresSavepointError::Begin)?;
        let mut point = Point {
            scope: PostgresTransaction {
                inner: self.inner,
                depth,
            },
            is_released: false,
        };
        let value = body(&mut point.scope).map_err(PostgresSavepointError::Body)?;
        point.release().map_err(PostgresSavepointError::Release)?;
        Ok(value)
    }
}

/// An open savepoint. Dropping it undoes its work, also during a panic, unless it was released.
struct Point<'a, 't> {
    scope: PostgresTransaction<'a, 't>,
    is_released: bool,
}

impl Point<'_, '_> {
    fn release(&mut self) -> Result<(), Error> {
        let depth = self.scope.depth;
        let release = format!("RELEASE SAVEPOINT conpool_{depth}");
        self.scope.inner.batch_execute(&release)?;
        self.is_released = true;
        Ok(())
    }
}

impl Drop for Point<'_, '_> {
    fn drop(&mut self) {
        if !self.is_released {
            let depth = self.scope.depth;
            let undo =
                format!("ROLLBACK TO SAVEPOINT conpool_{depth}; RELEASE SAVEPOINT conpool_{depth}");
            // If this fails, so does the next statement of the transaction.
            let _ = self.scope.inner.batch_execute(&undo);
        }
    }
}

impl<'t> Deref for PostgresTransaction<'_, 't> {
    type Target = Transaction<'t>;

    fn deref(&self) -> &Transaction<'t> {
        self.inner
    }
}

impl<'t> DerefMut for PostgresTransaction<'_, 't> {
    fn deref_mut(&mut self) -> &mut Transaction<'t> {
        self.inner
    }
}

impl fmt::Debug for PostgresTransaction<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransaction")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}
