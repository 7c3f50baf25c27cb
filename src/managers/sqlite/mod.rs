//! A manager for SQLite databases, in files and in memory, on top of [`rusqlite`].
//!
//! [`SqliteManager`] opens and configures connections, and rolls back transactions that a user left open.
//! [`Pool::transaction`](crate::Pool#method.transaction) runs a closure in a transaction that ends with the
//! closure. [`SqlitePath`] is a key for a [`KeyedPool`](crate::KeyedPool) with a pool for each file.
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
//! # Limits
//!
//! | step | limit | when the limit is reached |
//! |---|---|---|
//! | waiting for a connection | the pool's `get_timeout` | [`Get`](TransactionError::Get) or the error of `get` |
//! | locks of others in create, all steps together | `busy_timeout` | `create` fails, transient: the pool repeats it until the caller's deadline |
//! | the rest of create: opening, the init hook | the pool's `create_timeout` | the create has failed; the late connection is disposed |
//! | the check | waits for no lock; the pool's `check_timeout` bounds its reads from the disk | the connection is evicted |
//! | a transaction that waits its turn among the writers of this manager | `busy_timeout` for each writer before it; `get_timeout` in all, or `busy_timeout` if longer | [`Begin`](TransactionError::Begin); the body did not run |
//! | its `BEGIN`, while another connection holds the lock | `busy_timeout` | [`Begin`](TransactionError::Begin); the body did not run |
//! | `COMMIT` | `busy_timeout` | [`Commit`](TransactionError::Commit), rolled back |
//! | the body of a transaction, and every statement that runs | none: use [`rusqlite::InterruptHandle`] | – |
//! | one statement of the user that needs a lock, in a file | `busy_timeout` | the user gets `SQLITE_BUSY` |
//! | one statement of the user that needs a lock, in memory | none: it does not wait | the user gets `SQLITE_LOCKED` at once |
//! | rollback at check-in | none: it waits for no lock, but may write to the disk | – |
//! | closing, one connection at a time; the last one checkpoints the write-ahead log into the file | the pool's `dispose_timeout` | the slot is freed, the closing continues |
//!
//! A thread that hangs in a system call (a network file system that does not answer) cannot be interrupted.
//! The pool abandons the thread and continues; its deadlines hold.
//!
//! # Faults
//!
//! | fault | what the pool and its callers see |
//! |---|---|
//! | the file is missing and must not be created; its folder is missing; the path is a folder | [`Missing`](SqliteError::Missing), [`NoFolder`](SqliteError::NoFolder), [`NotAFile`](SqliteError::NotAFile), at once |
//! | the file is not a database, or its schema is damaged | [`Read`](SqliteError::Read) with the code, at once; the file is not changed |
//! | the file is write-protected | [`WriteProtected`](SqliteError::WriteProtected), at once |
//! | the file cannot be opened | [`Open`](SqliteError::Open), at once |
//! | the database is locked for longer than `busy_timeout` | repeated until the deadline; the timeout carries [`Read`](SqliteError::Read) |
//! | SQLite does not accept a pragma | [`PragmaRefused`](SqliteError::PragmaRefused) with pragma, value and the value kept, at once |
//! | the init hook fails, leaves a transaction open, panics, hangs | [`Init`](SqliteError::Init), [`InitUnfinished`](SqliteError::InitUnfinished), the pool's `Panicked`, the pool's `create_timeout` |
//! | the file is deleted or replaced while the pool is open | the next check fails ([`Gone`](SqliteError::Gone), [`Replaced`](SqliteError::Replaced)) and the connection is evicted, so no more data goes into a file without a name. A new connection opens the file that exists, or creates an empty one; [`create_if_missing(false)`](SqliteManager::create_if_missing) protects files that must not vanish |
//! | the file is overwritten | without a write-ahead log the next check fails; with one SQLite notices when it reads that page |
//! | another connection holds a lock during a check | the connection is good |
//! | a connection comes back in a transaction | rolled back at check-in; evicted if that fails |
//! | a connection comes back with a leaked statement (`mem::forget`) | evicted; SQLite cannot close it |
//! | a connection comes back with other databases attached than at its start | evicted |
//! | another connection was swapped in, and the original perhaps closed | evicted, a new one is opened |
//! | a user panics while holding a connection | evicted; [`Pool::transaction`](crate::Pool#method.transaction) rolls back before it propagates the panic |
//!
//! # State at check-in
//!
//! Every check-in restores the busy timeout (also in place of a busy handler) and the enforcement of foreign
//! keys, because that is cheap. After a check-in no transaction is open, no statement runs, and no other
//! database is attached.
//!
//! The check-in does not restore other pragmas, temporary tables, functions, collations and hooks, the
//! statement cache and `last_insert_rowid`. A user that changes those must restore them or
//! [discard](crate::PooledConnection::discard) the connection.
//!
//! # Writers
//!
//! SQLite has one writer at a time. For a transaction that will write, use
//! [`Immediate`](IsolationLevel::Immediate): it waits at its start and then holds the lock. A
//! [`Deferred`](IsolationLevel::Deferred) transaction that reads and then writes fails without waiting if
//! another connection wrote in between.
//!
//! SQLite's own waiting polls: the connection that checks at the right moment is next, and under load some
//! connection is unlucky until the busy timeout ends. Writing transactions of one manager and its clones
//! therefore queue first, and get their turns in the order of arrival. Writers of other programs, of other
//! managers, and users that execute `BEGIN` themselves compete through SQLite's polling.
//!
//! # In memory
//!
//! The connections share one cache, so SQLite locks tables instead of the file: it returns `SQLITE_LOCKED`
//! instead of `SQLITE_BUSY`, and its busy timeout does not apply. The manager therefore repeats `create`, and
//! the `BEGIN` and `COMMIT` of [`Pool::transaction`](crate::Pool#method.transaction), for the length of the
//! busy timeout, so that transactions behave as they do in files, with two differences. A reader does not see
//! the old state while another connection writes: it fails, unless it queues as a writer too. And statements
//! run one after another over all connections: a long statement delays all others, limited only by the
//! timeouts of the pool.
//!
//! # Versions of rusqlite
//!
//! A program can contain only one SQLite, so all its crates that bring one must agree. Cargo selects one
//! version of rusqlite for all, from 0.32 to 0.41, which is re-exported as [`rusqlite`] here and at the crate
//! root:
//!
//! | beside | rusqlite |
//! |---|---|
//! | diesel 2.3.14 | up to 0.40 |
//! | diesel 2.2.12 | up to 0.37 |
//! | r2d2_sqlite 0.25 … 0.35 | 0.32 … 0.40, the one it asks for |
//! | neither | 0.41; needs Rust 1.89 |
//!
//! # Design
//!
//! `transaction` is a method of `Pool<SqliteManager>` and not of a trait, so no import is needed. The
//! connection is a type of its own, because it must know which file it has open, and whether it is still the
//! connection that was opened. It dereferences to [`rusqlite::Connection`], also mutably. The error of a body
//! is kept in [`TransactionError::Body`], without requirements on its type. If the rollback after such an
//! error fails, the connection is evicted, which also rolls back, so there is no further error to report.

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
