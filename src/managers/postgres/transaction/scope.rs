//! The argument of a body: the transaction, or a savepoint in it.

use super::error::PostgresSavepointError;
use ::postgres::{Error, Transaction};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// An open transaction, or a savepoint inside one. Dereferences to [`postgres::Transaction`](Transaction).
///
/// The transaction ends when the body returns. A body must not send `COMMIT` or `ROLLBACK` itself.
pub struct PostgresTransaction<'a> {
    inner: Transaction<'a>,
}

impl<'a> PostgresTransaction<'a> {
    pub(super) fn new(inner: Transaction<'a>) -> Self {
        Self { inner }
    }

    pub(super) fn commit(self) -> Result<(), Error> {
        self.inner.commit()
    }

    pub(super) fn roll_back(self) -> Result<(), Error> {
        self.inner.rollback()
    }

    /// Runs `body` in a savepoint. `Ok` keeps its work as a part of the transaction; `Err` and a panic undo the work of the
    /// savepoint only. Savepoints can be nested to any depth.
    ///
    /// # Errors
    ///
    /// [`PostgresSavepointError::Body`] with the error of `body`, unchanged. After a serialization failure return this error
    /// from the outer body, so that the whole transaction is repeated.
    pub fn savepoint<T, E>(
        &mut self,
        body: impl FnOnce(&mut PostgresTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, PostgresSavepointError<E>> {
        let inner = self.inner.transaction();
        let inner = inner.map_err(PostgresSavepointError::Begin)?;
        let mut point = PostgresTransaction { inner };
        match body(&mut point) {
            Ok(value) => {
                point.commit().map_err(PostgresSavepointError::Release)?;
                Ok(value)
            }
            Err(error) => {
                // If the rollback fails, so does the next statement of the transaction.
                let _ = point.roll_back();
                Err(PostgresSavepointError::Body(error))
            }
        }
    }
}

impl<'a> Deref for PostgresTransaction<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.inner
    }
}

impl<'a> DerefMut for PostgresTransaction<'a> {
    fn deref_mut(&mut self) -> &mut Transaction<'a> {
        &mut self.inner
    }
}

impl fmt::Debug for PostgresTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTransaction")
            .finish_non_exhaustive()
    }
}
