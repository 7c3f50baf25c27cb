//! What a body works with: the transaction, or a savepoint in it.

use std::{cell::Cell, fmt, ops::Deref};

use ::rusqlite::Connection;

use super::SavepointError;

/// An open transaction, or a savepoint inside one. Dereferences to the connection.
///
/// It ends when the body returns. A body that ends it by itself (`COMMIT`, `ROLLBACK`) is told so by
/// [`TransactionError::Ended`](super::TransactionError::Ended).
pub struct SqliteTransaction<'a> {
    connection: &'a Connection,
    /// How many savepoints are around.
    depth: usize,
    /// The transaction that the outermost body began is gone.
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

    /// Runs `body` in a savepoint: `Ok` keeps its work as part of the transaction around it, `Err` and a
    /// panic undo it and nothing else. To any depth.
    ///
    /// Where SQLite itself rolls back the whole transaction meanwhile (a full disk, `ON CONFLICT
    /// ROLLBACK`), nothing of it is committed, whatever the bodies around make of the error.
    ///
    /// # Errors
    ///
    /// [`SavepointError::Body`] with the error of `body`, unchanged.
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

/// A savepoint whose work is undone unless it is released.
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
        // The savepoint is gone, and the transaction around it with it. What the bodies around do now
        // would be committed statement by statement; so it goes into a transaction that never commits.
        let connection = self.inner.connection;
        self.inner.lost.set(true);
        if !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
        let _ = connection.execute_batch("BEGIN");
    }
}
