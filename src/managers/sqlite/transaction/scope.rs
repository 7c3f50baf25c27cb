//! The argument of a body: the transaction, or a savepoint in it.

use std::{cell::Cell, fmt, ops::Deref};

use ::rusqlite::Connection;

use super::SavepointError;

/// An open transaction, or a savepoint inside one. Dereferences to the connection.
///
/// The transaction ends when the body returns. If the body ends it itself (`COMMIT`, `ROLLBACK`), the
/// transaction returns [`TransactionError::Ended`](super::TransactionError::Ended).
pub struct SqliteTransaction<'a> {
    connection: &'a Connection,
    /// The number of enclosing savepoints.
    depth: usize,
    /// Whether the outermost transaction has been lost.
    lost: &'a Cell<bool>,
}

impl<'a> SqliteTransaction<'a> {
    pub(super) fn new(connection: &'a Connection, lost: &'a Cell<bool>) -> Self {
        Self {
            connection,
            depth: 0,
            lost,
        }
    }

    /// Runs `body` in a savepoint. `Ok` keeps its work as part of the enclosing transaction; `Err` and a
    /// panic undo only the work of the savepoint. Savepoints can be nested to any depth.
    ///
    /// If SQLite itself rolls back the whole transaction meanwhile (a full disk, `ON CONFLICT ROLLBACK`),
    /// none of it is committed, even if the enclosing bodies ignore the error.
    ///
    /// # Errors
    ///
    /// Returns [`SavepointError::Body`] with the error of `body`, unchanged.
    pub fn savepoint<T, E>(
        &mut self,
        body: impl FnOnce(&mut SqliteTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, SavepointError<E>> {
        let name = format!("conpool_{}", self.depth + 1);
        self.connection
            .execute_batch(&format!("SAVEPOINT {name}"))
            .map_err(SavepointError::Begin)?;
        let mut point = Point {
            name,
            inner: SqliteTransaction {
                connection: self.connection,
                depth: self.depth + 1,
                lost: self.lost,
            },
            over: false,
        };
        let value = body(&mut point.inner).map_err(SavepointError::Body)?;
        point.release().map_err(SavepointError::Release)?;
        Ok(value)
    }
}

impl Deref for SqliteTransaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl fmt::Debug for SqliteTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTransaction")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

/// A savepoint. Dropping it undoes its work, unless it was released.
struct Point<'a> {
    name: String,
    inner: SqliteTransaction<'a>,
    over: bool,
}

impl Point<'_> {
    fn release(&mut self) -> ::rusqlite::Result<()> {
        self.run("RELEASE")?;
        self.over = true;
        Ok(())
    }

    fn run(&self, what: &str) -> ::rusqlite::Result<()> {
        let sql = format!("{what} {}", self.name);
        self.inner.connection.execute_batch(&sql)
    }
}

impl Drop for Point<'_> {
    fn drop(&mut self) {
        if self.over || (self.run("ROLLBACK TO").is_ok() && self.run("RELEASE").is_ok()) {
            return;
        }
        // The savepoint has vanished together with its transaction. Further statements of the enclosing
        // bodies would be committed one by one, so they run in a new transaction that never commits.
        let connection = self.inner.connection;
        self.inner.lost.set(true);
        if !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        let _ = connection.execute_batch("BEGIN");
    }
}
