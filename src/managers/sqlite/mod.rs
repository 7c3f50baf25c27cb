//! A manager for SQLite databases, in files and in memory, on top of [`rusqlite`].
//!
//! [`SqliteManager`] opens connections and sets them up, and rolls back what a user left open.
//! [`Pool::transaction`](crate::Pool#method.transaction) runs a closure in a transaction that ends with
//! it. [`SqlitePath`] is the key for a [`KeyedPool`](crate::KeyedPool) with a pool for each file.
//!
//! ```
//! use conpool::{IsolationLevel, Pool, SqliteManager, rusqlite};
//!
//! let pool = Pool::new(SqliteManager::memory("the-page"))?;
//! pool.get()?.execute_batch("CREATE TABLE stock (item TEXT PRIMARY KEY, n INTEGER)")?;
//!
//! pool.transaction(IsolationLevel::Immediate, |tx| {
//!     tx.execute("INSERT INTO stock VALUES (?1, ?2)", ("nails", 100))?;
//!     tx.execute("UPDATE stock SET n = n - 7 WHERE item = 'nails'", [])?;
//!     Ok::<_, rusqlite::Error>(())
//! })?;
//!
//! let left: i64 = pool.get()?.query_row("SELECT n FROM stock", [], |row| row.get(0))?;
//! assert_eq!(left, 93);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What bounds what
//!
//! | step | bounded by | when that is over |
//! |---|---|---|
//! | waiting for a connection | the pool's `get_timeout` | [`Get`](TransactionError::Get) or the error of `get` |
//! | locks of others in create, all steps together | `busy_timeout` | `create` fails, transient: the pool repeats it until the caller's deadline |
//! | the rest of create: opening, the init hook | the pool's `create_timeout` | the create has failed; the late connection is disposed |
//! | the check | it waits for no lock; what it reads from the disk is bounded by the pool's `check_timeout` | the connection is evicted |
//! | a transaction that waits its turn among the writers of this manager | `busy_timeout` for each of those before it; `get_timeout` in all, or `busy_timeout` if longer | [`Begin`](TransactionError::Begin); the body did not run |
//! | its `BEGIN`, where somebody else holds the lock | `busy_timeout` | the same |
//! | `COMMIT` | `busy_timeout` | [`Commit`](TransactionError::Commit), rolled back |
//! | the body of a transaction, and every statement that runs | nothing: use [`rusqlite::InterruptHandle`] | – |
//! | one statement of the user that needs a lock, in a file | `busy_timeout` | the user gets `SQLITE_BUSY` |
//! | the same in memory | nothing to bound: it does not wait | the user gets `SQLITE_LOCKED` at once |
//! | rollback at check-in | nothing: it waits for no lock, but may write to the disk | – |
//! | closing, one connection after another; the last one empties the write-ahead log into the file | the pool's `dispose_timeout` | the slot is free, the closing goes on |
//!
//! A thread that hangs in a system call (a network file system that does not answer) cannot be
//! interrupted. The pool gives up on it and goes on; its deadlines hold.
//!
//! # What happens when
//!
//! | fault | what the pool and its callers see |
//! |---|---|
//! | the file is missing and may not be made; its folder is missing; it is a folder | [`Missing`](SqliteError::Missing), [`NoFolder`](SqliteError::NoFolder), [`NotAFile`](SqliteError::NotAFile), at once |
//! | it is no database, or its schema is damaged | [`Read`](SqliteError::Read) with the code, at once; the file is left alone |
//! | it may not be written | [`WriteProtected`](SqliteError::WriteProtected), at once |
//! | it may not be opened | [`Open`](SqliteError::Open), at once |
//! | it is locked for longer than `busy_timeout` | repeated until the deadline; the timeout carries [`Read`](SqliteError::Read) |
//! | a pragma is not taken | [`PragmaRefused`](SqliteError::PragmaRefused) with pragma, value and what it stays, at once |
//! | the init hook fails, leaves a transaction open, panics, hangs | [`Init`](SqliteError::Init), [`InitUnfinished`](SqliteError::InitUnfinished), the pool's `Panicked`, the pool's `create_timeout` |
//! | the file is deleted or replaced while the pool is open | the next check fails ([`Gone`](SqliteError::Gone), [`Replaced`](SqliteError::Replaced)) and the connection is evicted: nothing more goes into a file that has no name. A new connection opens what is there, and makes an empty file if it may: [`create_if_missing(false)`](SqliteManager::create_if_missing) is for files that must not vanish |
//! | the file is overwritten | without a write-ahead log the next check fails; with one SQLite notices when it reads that page |
//! | somebody holds a lock during a check | the connection is good |
//! | a connection comes back in a transaction | rolled back at check-in; evicted where that fails |
//! | it comes back with a statement that was forgotten (`mem::forget`) | evicted; SQLite cannot close it |
//! | it comes back with other databases attached than at its start | evicted |
//! | another connection was swapped in, and the right one perhaps closed | evicted, a new one is opened |
//! | a panic with a connection in hand | evicted; in [`Pool::transaction`](crate::Pool#method.transaction) rolled back before the panic goes on |
//!
//! # What the next user finds
//!
//! Set again at every check-in, because it costs next to nothing: the busy timeout (in place of a busy
//! handler too) and whether foreign keys are enforced. No transaction is open, no statement runs, no
//! other database is attached.
//!
//! Not set again: other pragmas, temporary tables, functions, collations and hooks, the statement
//! cache, `last_insert_rowid`. Whoever changes those puts them back or
//! [discards](crate::PooledConnection::discard) the connection.
//!
//! # Writers
//!
//! SQLite has one writer at a time. Where a transaction will write, say
//! [`Immediate`](IsolationLevel::Immediate): it waits at its start and then has the lock. A
//! [`Deferred`](IsolationLevel::Deferred) one that reads and then writes fails without waiting when
//! somebody else wrote in between.
//!
//! SQLite's own waiting is polling: whoever looks at the right moment is next, and under load somebody
//! is out of luck until the busy timeout ends. So the transactions of one manager and its clones that
//! will write stand in a line first, and get their turn in the order they came. Writers of other
//! programs, of other managers, and those who write `BEGIN` themselves, are met as SQLite does it.
//!
//! # In memory
//!
//! The connections share one cache, and so SQLite locks whole tables and not the file: it says
//! `SQLITE_LOCKED` where it would say `SQLITE_BUSY`, and its busy timeout does not apply. `create`,
//! `BEGIN` and `COMMIT` of [`Pool::transaction`](crate::Pool#method.transaction) are repeated here for as
//! long as the busy timeout, so that transactions do as they do in files, with two differences. A reader
//! does not see the old state while somebody writes: it fails, unless it asks for its turn too. And
//! statements run one after another, whatever the connection: a long one keeps all others waiting, for
//! which there is no timeout but those of the pool.
//!
//! # Versions of rusqlite
//!
//! A program can have one SQLite, so all its crates that bring one must agree. Cargo finds a version of
//! rusqlite for all, from 0.32 to 0.41; it is re-exported as [`rusqlite`] here and at the crate root:
//!
//! | beside | rusqlite |
//! |---|---|
//! | diesel 2.3.14 | up to 0.40 |
//! | diesel 2.2.12 | up to 0.37 |
//! | r2d2_sqlite 0.25 … 0.35 | 0.32 … 0.40, the one it asks for |
//! | neither | 0.41; needs Rust 1.89 |
//!
//! # Why it is built this way
//!
//! `transaction` belongs to `Pool<SqliteManager>` itself rather than to a trait, so that there is nothing
//! to import. The connection is a type of its own, because only so can a connection tell which file it
//! has open, and whether it is still the one that was opened; it dereferences to
//! [`rusqlite::Connection`], mutably too. The error of a body is kept in
//! [`TransactionError::Body`] and asks nothing of its type; where a rollback fails after it, the
//! connection is evicted, which rolls back as well, so there is nothing to tell.

mod connection;
mod error;
mod manager;
mod open;
mod path;
mod settings;
mod transaction;
mod write_queue;

pub use ::rusqlite;
pub use connection::SqliteConnection;
pub use error::SqliteError;
pub use manager::SqliteManager;
pub use path::SqlitePath;
pub use settings::{JournalMode, Synchronous, TempStore};
pub use transaction::{IsolationLevel, SavepointError, SqliteTransaction, TransactionError};
