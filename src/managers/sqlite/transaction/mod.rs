//! Transactions that end with their closure, whatever becomes of it.

mod error;
mod scope;

pub use error::{SavepointError, TransactionError};
pub use scope::SqliteTransaction;

use std::{cell::Cell, hash::Hash, time::Duration};

use ::rusqlite::Connection;

use super::{SqliteConnection, SqliteManager};
use crate::{KeyedPool, Pool, managers::limit::Limit};

/// When a transaction takes its locks (`BEGIN DEFERRED`, `IMMEDIATE`, `EXCLUSIVE`).
///
/// One connection at a time may write. What differs is when a transaction finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// At its first read and at its first write. Right for transactions that only read.
    ///
    /// One that reads first and writes later fails at once, without waiting, if somebody else has
    /// written in between, because what it read is no longer true. It has to be run again as a whole.
    Deferred,
    /// The lock to write at the start. Right for every transaction that writes: it waits at the start,
    /// and does not fail because of others later on.
    Immediate,
    /// As `Immediate`, and without a write-ahead log nobody else can read meanwhile. With one, and in
    /// memory, it is the same as `Immediate`.
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

/// With the feature `sqlite`.
impl Pool<SqliteManager> {
    /// Checks a connection out, as [`get`](Self::get) does, and runs `body` in a transaction.
    ///
    /// `Ok` commits. `Err` rolls back, and comes back unchanged in
    /// [`TransactionError::Body`]. A panic rolls back and goes on to the caller; the connection is
    /// evicted. Nothing of the body stays unless `Ok` is returned.
    ///
    /// [`Immediate`](IsolationLevel::Immediate) and [`Exclusive`](IsolationLevel::Exclusive) wait their
    /// turn: the writers that use this manager and its clones are served in the order they came. The wait
    /// ends without a turn when one of those before takes longer than the manager's `busy_timeout`, or
    /// when the pool's `get_timeout` is over, or `busy_timeout` if that is longer. Who has the turn waits
    /// for the locks of others as long as `busy_timeout`. Before all that the connection is waited for,
    /// as long as `get_timeout`. Inside `body`, a second transaction of the
    /// same pool that writes would wait for the first one, in vain: use
    /// [`savepoint`](SqliteTransaction::savepoint).
    ///
    /// # Errors
    ///
    /// [`TransactionError`] says which step failed. Only after
    /// [`Ended`](TransactionError::Ended) can something have stayed.
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
    ///     // What fails in here leaves the till alone.
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

/// With the feature `sqlite`.
impl<K> KeyedPool<K, SqliteManager>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
{
    /// Checks a connection of this key out and runs `body` in a transaction, as
    /// [`Pool::transaction`](Pool#method.transaction) does.
    ///
    /// # Errors
    ///
    /// As there.
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
    /// Runs `body` in a transaction on this connection: what
    /// [`Pool::transaction`](Pool#method.transaction) does once it has one. For a turn it waits no
    /// longer than the manager's `busy_timeout`.
    ///
    /// # Errors
    ///
    /// As there, but for [`Get`](TransactionError::Get).
    /// [`Begin`](TransactionError::Begin) too where a transaction is open already.
    pub fn in_transaction<T, E>(
        &mut self,
        level: IsolationLevel,
        body: impl FnOnce(&mut SqliteTransaction<'_>) -> Result<T, E>,
    ) -> Result<T, TransactionError<E>> {
        self.run(level, Duration::ZERO, body)
    }

    /// With a turn that is waited for as long, at least.
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
                let limit = Limit::of(busy_timeout.max(wait));
                (self.write_queue.take(busy_timeout, limit), true)
            }
        };
        // Who got no turn has waited long enough; now SQLite says who holds the lock.
        let gave_up = writes && turn.is_none();
        let limit = Limit::of(if gave_up { Duration::ZERO } else { busy_timeout });
        self.begin(level, limit)
            .map_err(|source| TransactionError::Begin { level, source })?;
        let open = Open(self);
        let lost = Cell::new(false);
        let value =
            body(&mut SqliteTransaction::new(self, &lost)).map_err(TransactionError::Body)?;
        if lost.get() || self.is_autocommit() {
            return Err(TransactionError::Ended);
        }
        // For a lock in a file SQLite has waited by itself, as long as for one in memory here.
        Limit::of(self.settings.busy_timeout)
            .retry(|| self.execute_batch("COMMIT"))
            .map_err(TransactionError::Commit)?;
        drop(open);
        Ok(value)
    }

    fn begin(&self, level: IsolationLevel, limit: Limit) -> ::rusqlite::Result<()> {
        if !self.is_autocommit() {
            // Without waiting: SQLite says at once what is wrong.
            return self.execute_batch(level.begin());
        }
        let begun = limit.retry(|| {
            self.wait_for_locks(limit.left())?;
            self.execute_batch(level.begin())
        });
        begun.and_then(|()| self.wait_for_locks(self.settings.busy_timeout))
    }
}

/// A transaction that is rolled back unless it is over when this is dropped, by a panic too.
struct Open<'a>(&'a Connection);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // Where this fails the check-in tries again, and evicts the connection if it cannot.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}
