//! Transactions that end with their closure, and are repeated after a serialization failure.

mod error;
mod options;
mod scope;

pub use error::{BodyError, PostgresSavepointError, PostgresTransactionError};
pub use options::TxOptions;
pub use scope::PostgresTransaction;

use super::classify::{find, may_be_repeated};
use super::connection::PostgresConnection;
use super::manager::PostgresManager;
use crate::managers::deadline::Deadline;
use crate::{Pool, PooledConnection};
use ::postgres::{Client, Error, Transaction};
use std::thread;
use std::time::Duration;

/// The pause before the first repetition. Each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How one attempt ended.
enum Attempt<T, E> {
    Done(T),
    /// It can be repeated: the transaction was rolled back by the server.
    Again(PostgresTransactionError<E>),
    Failed(PostgresTransactionError<E>),
}

/// How the transaction of one attempt ended.
enum Ended<T, E> {
    NotBegun(Error),
    Committed(T),
    NotCommitted(Error),
    /// The body failed. The result is that of the rollback.
    RolledBack(E, Result<(), Error>),
}

fn run<T, E>(
    client: &mut Client,
    options: TxOptions,
    body: &mut impl FnMut(&mut PostgresTransaction<'_, '_>) -> Result<T, E>,
) -> Ended<T, E> {
    let mut transaction = match options.begin(client) {
        Ok(transaction) => transaction,
        Err(error) => return Ended::NotBegun(error),
    };
    match body(&mut PostgresTransaction::new(&mut transaction)) {
        Ok(value) => match commit(transaction) {
            Ok(()) => Ended::Committed(value),
            Err(error) => Ended::NotCommitted(error),
        },
        Err(error) => Ended::RolledBack(error, transaction.rollback()),
    }
}

/// Commits, if no statement of the transaction has failed.
///
/// The server answers a `COMMIT` of a failed transaction with success and rolls back. So a statement goes before it that
/// fails in such a transaction, in the same round trip.
fn commit(mut transaction: Transaction<'_>) -> Result<(), Error> {
    let result = transaction.batch_execute("SELECT 1; COMMIT");
    // The transaction has ended, or its end is the caller's task; its drop would send a ROLLBACK.
    std::mem::forget(transaction);
    result
}

/// Requires the feature `postgres`.
impl Pool<PostgresManager> {
    /// Checks out a session, as [`get`](Self::get) does, and runs `body` in a transaction.
    ///
    /// `Ok` commits. `Err` rolls back and is returned unchanged in [`PostgresTransactionError::Body`]. A panic rolls back and
    /// propagates to the caller, and the session is evicted.
    ///
    /// After a serialization failure (SQLSTATE 40001) or a deadlock (40P01), in the body or at the commit, the body runs
    /// again, in a new transaction on the same session: at most [`retries`](TxOptions::retries) times, after a pause with
    /// jitter that doubles each time (5 ms at first), and within the `get_timeout` of the pool, counted from the start of
    /// the call. So the body must have no effects outside of the transaction. A commit whose outcome is unknown, because the
    /// session ended meanwhile, is never repeated: [`PostgresTransactionError::CommitUnknown`].
    ///
    /// The session is evicted if it cannot roll back, and after an error that says that it is in the wrong place: a
    /// server that is read-only now (25006) or shuts down (57P01). A reset by [`Reset::Rollback`](super::Reset::Rollback) is
    /// not necessary after this call.
    ///
    /// # Errors
    ///
    /// [`PostgresTransactionError`] names the step that failed. The work is kept for certain only after `Ok`. A body that
    /// ignores the error of a statement and returns `Ok` gets [`PostgresTransactionError::Commit`] with the SQLSTATE 25P02,
    /// because the server refuses to commit; use a [savepoint](PostgresTransaction::savepoint) for a statement that may fail.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use conpool::{Pool, PostgresManager, TxOptions, postgres};
    ///
    /// let manager = PostgresManager::from_url("postgres://orders@localhost", postgres::NoTls)?;
    /// let pool = Pool::new(manager)?;
    /// let options = TxOptions::new()
    ///     .isolation(postgres::IsolationLevel::Serializable)
    ///     .retries(5);
    /// let left: i64 = pool.transaction(options, |tx| {
    ///     tx.execute("UPDATE stock SET n = n - 1 WHERE item = 7", &[])?;
    ///     // A failure in the savepoint does not affect the rest.
    ///     let gift = tx.savepoint(|sp| sp.execute("INSERT INTO gifts VALUES (7)", &[]));
    ///     if gift.is_err() {
    ///         tx.execute("INSERT INTO notes VALUES ('no gift')", &[])?;
    ///     }
    ///     Ok::<_, postgres::Error>(tx.query_one("SELECT n FROM stock WHERE item = 7", &[])?.get(0))
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn transaction<T, E: BodyError>(
        &self,
        options: TxOptions,
        mut body: impl FnMut(&mut PostgresTransaction<'_, '_>) -> Result<T, E>,
    ) -> Result<T, PostgresTransactionError<E>> {
        let deadline = Deadline::after(self.config().get_timeout);
        let mut guard = self.get().map_err(PostgresTransactionError::Get)?;
        let mut pause = FIRST_PAUSE;
        for left in (0..=options.retries).rev() {
            match guard.attempt(options, &mut body) {
                Attempt::Done(value) => return Ok(value),
                Attempt::Again(_) if left > 0 && deadline.left() > pause => {}
                Attempt::Again(error) => return Err(error),
                Attempt::Failed(error) => {
                    if guard.is_unusable {
                        PooledConnection::discard(guard);
                    }
                    return Err(error);
                }
            }
            // Transactions that failed because of each other must not meet again.
            thread::sleep(pause.mul_f64(jitter()));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        unreachable!("bug: the last attempt returns")
    }
}

impl PostgresConnection {
    fn attempt<T, E: BodyError>(
        &mut self,
        options: TxOptions,
        body: &mut impl FnMut(&mut PostgresTransaction<'_, '_>) -> Result<T, E>,
    ) -> Attempt<T, E> {
        self.is_used = true;
        match run(&mut self.client, options, body) {
            Ended::NotBegun(error) => {
                self.note(&error);
                Attempt::Failed(PostgresTransactionError::Begin(error))
            }
            Ended::Committed(value) => Attempt::Done(value),
            Ended::NotCommitted(error) => self.commit_failed(error),
            Ended::RolledBack(error, rolled_back) => self.body_failed(error, rolled_back),
        }
    }

    fn commit_failed<T, E>(&mut self, error: Error) -> Attempt<T, E> {
        self.note(&error);
        // An answer of the server says that nothing was committed. Anything else says nothing.
        if error.code().is_none() || self.is_unusable {
            self.is_unusable = true;
            return Attempt::Failed(PostgresTransactionError::CommitUnknown(error));
        }
        // The transaction is still open if a statement had failed before the commit.
        self.is_unusable |= self.roll_back().is_err();
        let repeats = may_be_repeated(&error) && !self.is_unusable;
        let error = PostgresTransactionError::Commit(error);
        match repeats {
            true => Attempt::Again(error),
            false => Attempt::Failed(error),
        }
    }

    fn body_failed<T, E: BodyError>(
        &mut self,
        error: E,
        rolled_back: Result<(), Error>,
    ) -> Attempt<T, E> {
        if let Some(cause) = error.as_error().and_then(find) {
            self.note(cause);
        }
        if let Err(rollback) = rolled_back {
            self.note(&rollback);
            self.is_unusable = true;
        }
        let repeats =
            !self.is_unusable && error.as_error().and_then(find).is_some_and(may_be_repeated);
        let error = PostgresTransactionError::Body(error);
        match repeats {
            true => Attempt::Again(error),
            false => Attempt::Failed(error),
        }
    }
}

/// Returns a number between 0.5 and 1.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};

    // Each state has random keys.
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    0.5 + 0.5 * bits as f64 / (1_u64 << 53) as f64
}
