//! Transactions that end with their closure, by `Ok`, by an error or by a panic.

mod error;
mod scope;

pub use error::{SavepointError, TransactionError};
pub use scope::SqliteTransaction;

use std::{cell::Cell, hash::Hash, time::Duration};

use ::rusqlite::Connection;

use super::{SqliteConnection, SqliteManager, write_queue::retry_while_locked};
use crate::{KeyedPool, Pool, managers::deadline::Deadline};

/// When a transaction takes its locks (`BEGIN DEFERRED`, `IMMEDIATE`, `EXCLUSIVE`).
///
/// Only one connection at a time may write. The levels differ in when a transaction waits for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// Takes its locks at its first read and at its first write. Suits transactions that only read.
    ///
    /// A transaction that reads first and writes later fails at once, without waiting, if another connection
    /// has written in between, because its reads are outdated. The whole transaction has to be run again.
    Deferred,
    /// Takes the write lock at the start. Suits every transaction that writes: it waits at the start, and
    /// later does not fail because of other connections.
    Immediate,
    /// Takes the write lock at the start and, without a write-ahead log, also blocks readers. With a
    /// write-ahead log, and in memory, equals `Immediate`.
    Exclusive,
}

impl IsolationLevel {
    fn begin(self) -> &'static str {
        match self {
            Self::Deferred => "BEGIN DEFERRED",
            Self::Immediate => "BEGIN IMMEDIATE",
            Self::Exclusive => "BEGIN EXCLUSIVE",
        }
    }
}

/// Requires the feature `sqlite`.
impl Pool<SqliteManager> {
    /// Checks out a connection, as [`get`](Self::get) does, and runs `body` in a transaction.
    ///
    /// `Ok` commits. `Err` rolls back and is returned unchanged in [`TransactionError::Body`]. A panic rolls
    /// back and propagates to the caller, and the connection is evicted. The work of the body is kept only if
    /// it returns `Ok`.
    ///
    /// Transactions that are [`Immediate`](IsolationLevel::Immediate) or
    /// [`Exclusive`](IsolationLevel::Exclusive) queue for their turn: the writers of this manager and its
    /// clones are served in order of arrival. The wait fails if one writer before takes longer than the
    /// manager's `busy_timeout`, or after the pool's `get_timeout`, or `busy_timeout` if that is longer. At
    /// its turn, the transaction waits at most `busy_timeout` for locks of other connections. The wait for
    /// the connection comes first, and takes at most `get_timeout`.
    ///
    /// Inside `body`, a second writing transaction of the same pool would wait for the first one in vain: use
    /// [`savepoint`](SqliteTransaction::savepoint).
    ///
    /// # Errors
    ///
    /// [`TransactionError`] names the step that failed. Work can be kept only after
    /// [`Ended`](TransactionError::Ended).
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::{IsolationLevel, Pool, SqliteManager, rusqlite};
    ///
    /// let pool = Pool::new(SqliteManager::memory("transaction-page"))?;
    /// pool.get()?.execute_batch("CREATE TABLE accounts (name TEXT PRIMARY KEY, cents INTEGER)")?;
    ///
    /// pool.transaction(IsolationLevel::Immediate, |tx| {
    ///     tx.execute("INSERT INTO accounts VALUES ('till', 100)", [])?;
    ///     // A failure in the savepoint does not affect the till.
    ///     let gift = tx.savepoint(|sp| {
    ///         sp.execute("INSERT INTO accounts VALUES ('gift', 5)", [])?;
    ///         sp.execute("INSERT INTO accounts VALUES ('till', 5)", [])
    ///     });
    ///     assert!(gift.is_err());
    ///     Ok::<_, rusqlite::Error>(())
    /// })?;
    ///
    /// let names: String =
    ///     pool.get()?.query_row("SELECT group_concat(name) FROM accounts", [], |row| row.get(0))?;
    /// assert_eq!(names, "till");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn transaction<T, E>(
        &self,
        level: IsolationLevel,
        body: impl FnOnce(&mut SqliteTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, TransactionError<E>> {
        match self.get() {
            Ok(mut connection) => connection.run(level, self.config().get_timeout, body),
            Err(error) => Err(TransactionError::Get(error)),
        }
    }
}

/// Requires the feature `sqlite`.
impl<K> KeyedPool<K, SqliteManager>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
{
    /// Checks out a connection of this key and runs `body` in a transaction, as
    /// [`Pool::transaction`](Pool#method.transaction) does.
    ///
    /// # Errors
    ///
    /// See [`Pool::transaction`](Pool#method.transaction).
    #[track_caller]
    pub fn transaction<T, E>(
        &self,
        key: &K,
        level: IsolationLevel,
        body: impl FnOnce(&mut SqliteTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, TransactionError<E>> {
        match self.get(key) {
            Ok(mut connection) => connection.run(level, self.config().get_timeout, body),
            Err(error) => Err(TransactionError::Get(error)),
        }
    }
}

impl SqliteConnection {
    /// Runs `body` in a transaction on this connection, as [`Pool::transaction`](Pool#method.transaction)
    /// does after its checkout. Waits for a turn no longer than the manager's `busy_timeout`.
    ///
    /// # Errors
    ///
    /// See [`Pool::transaction`](Pool#method.transaction), without [`Get`](TransactionError::Get). Returns
    /// [`Begin`](TransactionError::Begin) also if a transaction is already open.
    pub fn in_transaction<T, E>(
        &mut self,
        level: IsolationLevel,
        body: impl FnOnce(&mut SqliteTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, TransactionError<E>> {
        self.run(level, Duration::ZERO, body)
    }

    /// Runs `body` in a transaction. Waits for a turn at least as long as `wait`.
    fn run<T, E>(
        &mut self,
        level: IsolationLevel,
        wait: Duration,
        body: impl FnOnce(&mut SqliteTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, TransactionError<E>> {
        let busy_timeout = self.settings.busy_timeout;
        let (turn, writes) = match level {
            IsolationLevel::Deferred => (None, false),
            IsolationLevel::Immediate | IsolationLevel::Exclusive => {
                let deadline = Deadline::after(busy_timeout.max(wait));
                (self.write_queue.take(busy_timeout, deadline), true)
            }
        };
        // Without a turn, the transaction has waited long enough. `BEGIN` then returns SQLite's error without
        // further waiting.
        let gave_up = writes && turn.is_none();
        let wait = if gave_up {
            Duration::ZERO
        } else {
            busy_timeout
        };
        self.begin(level, Deadline::after(wait))
            .map_err(|source| TransactionError::Begin { level, source })?;
        let open = Open(self);
        let lost = Cell::new(false);
        let value =
            body(&mut SqliteTransaction::new(self, &lost)).map_err(TransactionError::Body)?;
        if lost.get() || self.is_autocommit() {
            return Err(TransactionError::Ended);
        }
        // In a file SQLite itself waits for the lock. In memory the retry waits, for the same time.
        retry_while_locked(Deadline::after(busy_timeout), || {
            self.execute_batch("COMMIT")
        })
        .map_err(TransactionError::Commit)?;
        drop(open);
        Ok(value)
    }

    fn begin(&self, level: IsolationLevel, deadline: Deadline) -> ::rusqlite::Result<()> {
        if !self.is_autocommit() {
            // A transaction is already open. SQLite returns the error without waiting.
            return self.execute_batch(level.begin());
        }
        let begun = retry_while_locked(deadline, || {
            self.wait_for_locks(deadline.left())?;
            self.execute_batch(level.begin())
        });
        begun.and_then(|()| self.wait_for_locks(self.settings.busy_timeout))
    }
}

/// An open transaction. Dropping it rolls back, also during a panic, unless the transaction has ended.
struct Open<'a>(&'a Connection);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // If the rollback fails, the check-in tries again, and evicts the connection if it fails too.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}
