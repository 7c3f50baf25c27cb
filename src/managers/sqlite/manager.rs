//! The manager: its setters, and its implementation of `ConnectionManager`.

use std::{path::Path, sync::Arc, time::Duration};

use ::rusqlite::Connection;
use parking_lot::Mutex;

use super::{
    JournalMode, SqliteConnection, SqliteError, Synchronous, TempStore,
    error::is_locked,
    open::{keeper, open, read_schema},
    settings::{Journal, Place, Settings},
    write_queue::WriteQueue,
};
use crate::{ConnectionManager, Interrupt, managers::deadline::Deadline};

/// Manages connections to one SQLite database, in a file or in memory. The [module](crate::managers::sqlite)
/// lists the limit of each step.
///
/// Needs the feature `sqlite`.
///
/// The setters take the manager and return it. Setters never fail and never access the database: an invalid
/// value causes a permanent [`SqliteError`] in the first create. Clones share the queue of writers, and a
/// database in memory.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use conpool::{IsolationLevel, Pool, SqliteManager, Synchronous, rusqlite};
///
/// # let folder = std::env::temp_dir().join(format!("conpool-doc-manager-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("app.db");
/// let manager = SqliteManager::file(&path)
///     .synchronous(Synchronous::Normal)
///     .busy_timeout(Duration::from_secs(2))
///     .init(|connection| {
///         connection.execute_batch("CREATE TABLE IF NOT EXISTS visits (n INTEGER NOT NULL)")
///     });
/// let pool = Pool::new(manager)?;
///
/// pool.transaction(IsolationLevel::Immediate, |tx| {
///     tx.execute("INSERT INTO visits VALUES (1)", [])?;
///     Ok::<_, rusqlite::Error>(())
/// })?;
/// let visits: i64 = pool.get()?.query_row("SELECT sum(n) FROM visits", [], |row| row.get(0))?;
/// assert_eq!(visits, 1);
/// # pool.close_timeout(Duration::from_secs(5))?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a manager does nothing without a pool"]
pub struct SqliteManager {
    settings: Arc<Settings>,
    write_queue: Arc<WriteQueue>,
    /// Closes connections one at a time. Two connections that close concurrently each see the other one, and
    /// neither checkpoints the write-ahead log into the file.
    close_queue: Arc<WriteQueue>,
    /// The connection that keeps a database in memory alive. The first create opens it.
    keeper: Arc<Mutex<Option<Connection>>>,
}

impl SqliteManager {
    /// Creates a manager for the database in this file, with a write-ahead log, foreign keys on, a busy
    /// timeout of 5 s, and SQLite's defaults otherwise.
    ///
    /// A relative path is made absolute now, so that the program may change its current directory later. The
    /// first create opens the file, or creates a missing one. `:memory:` and URIs are refused with a
    /// permanent error of create.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::at(Place::file(path.as_ref()))
    }

    /// Creates a manager for the database of this name in the memory of this process. All connections of all
    /// managers with this name share the database.
    ///
    /// From the first create on, the manager holds a connection of its own, so the data lives as long as the
    /// manager, a clone of it or a connection, even if the pool evicts every connection. An empty name, or
    /// one with a zero byte, is refused with a permanent error of create.
    pub fn memory(name: impl Into<String>) -> Self {
        Self::at(Place::memory(name.into()))
    }

    fn at(place: Place) -> Self {
        Self {
            settings: Arc::new(Settings::new(place)),
            write_queue: Arc::default(),
            close_queue: Arc::default(),
            keeper: Arc::default(),
        }
    }

    /// Sets the journal mode that each connection requests. Default: [`Wal`](JournalMode::Wal) for a writable
    /// file, `None` otherwise. `None` leaves the database as it is.
    ///
    /// A database in memory supports only [`Memory`](JournalMode::Memory) and [`Off`](JournalMode::Off). A
    /// mode that SQLite does not accept fails the create ([`PragmaRefused`](SqliteError::PragmaRefused)).
    pub fn journal_mode(self, mode: impl Into<Option<JournalMode>>) -> Self {
        let journal = mode.into().map_or(Journal::Keep, Journal::Set);
        self.with(|settings| settings.journal = journal)
    }

    /// Sets when SQLite waits for the disk. Default: not set, which is [`Full`](Synchronous::Full).
    pub fn synchronous(self, synchronous: Synchronous) -> Self {
        self.with(|settings| settings.synchronous = Some(synchronous))
    }

    /// Sets where temporary tables are kept. Default: not set, which is [`Default`](TempStore::Default).
    pub fn temp_store(self, temp_store: TempStore) -> Self {
        self.with(|settings| settings.temp_store = Some(temp_store))
    }

    /// Sets how much of the database each connection caches, in the units of `PRAGMA cache_size`: a positive
    /// number counts pages, a negative number counts KiB. Default: not set, which is -2000, about 2 MB.
    pub fn cache_size(self, pages: i32) -> Self {
        self.with(|settings| settings.cache_size = Some(pages))
    }

    /// Sets whether foreign keys are enforced. Default true, unlike SQLite. Every check-in restores the
    /// setting.
    pub fn foreign_keys(self, enforced: bool) -> Self {
        self.with(|settings| settings.foreign_keys = enforced)
    }

    /// Sets how long a statement waits for a lock of another connection before it fails as busy. Default 5 s.
    /// Zero does not wait.
    ///
    /// The timeout also limits how long one writer may delay the next in
    /// [`Pool::transaction`](crate::Pool#method.transaction), and all waiting of a create. It is rounded up
    /// to whole milliseconds and capped at 24 days. Every check-in restores the timeout. Should stay below
    /// the pool's `create_timeout`.
    pub fn busy_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.busy_timeout = timeout)
    }

    /// Sets whether connections are read-only. Default false. A read-only manager never creates the file and
    /// never changes its journal mode; a database in memory is protected by `PRAGMA query_only`.
    ///
    /// A database with a write-ahead log can be read only if its `-wal` and `-shm` files exist or can be
    /// created.
    pub fn read_only(self, read_only: bool) -> Self {
        self.with(|settings| settings.read_only = read_only)
    }

    /// Sets whether a missing file is created. Default true, as in SQLite. If false, create fails with
    /// [`Missing`](SqliteError::Missing). Folders are never created. Has no effect in memory.
    ///
    /// If true, a file that is deleted while the pool is open is created again, empty.
    pub fn create_if_missing(self, create: bool) -> Self {
        self.with(|settings| settings.create_if_missing = create)
    }

    /// Sets a hook that each create calls with the new connection, after all other settings: for further
    /// pragmas, functions, attached databases and tables. Replaces an earlier hook. Default: none.
    ///
    /// An error of the hook fails the create, which is repeated if the cause is a lock. A transaction that
    /// the hook leaves open fails the create permanently. The hook runs on a thread of the pool, possibly on
    /// several at once, and is bounded by `create_timeout`.
    pub fn init(
        self,
        init: impl Fn(&mut Connection) -> ::rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.init = Some(Arc::new(init)))
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// Returns true if the connection belongs to this database. A connection of another pool can be added or
    /// swapped in.
    fn belongs_here(&self, connection: &SqliteConnection) -> bool {
        Arc::ptr_eq(&self.settings, &connection.settings)
            || self.settings.label == connection.settings.label
    }

    /// Opens the connection that keeps a database in memory alive, unless it is open.
    fn open_keeper(&self) -> Result<(), SqliteError> {
        let Place::Memory(name) = &self.settings.place else {
            return Ok(());
        };
        let mut kept = self.keeper.lock();
        if kept.is_none() {
            *kept = Some(keeper(name, &self.settings)?);
        }
        Ok(())
    }
}

/// Ends the running statement of a connection.
struct Interrupter(::rusqlite::InterruptHandle);

impl Interrupt for Interrupter {
    fn interrupt(&self) {
        self.0.interrupt();
    }
}

impl ConnectionManager for SqliteManager {
    type Connection = SqliteConnection;
    type Error = SqliteError;

    fn create(&self) -> Result<SqliteConnection, SqliteError> {
        self.open_keeper()?;
        open(&self.settings, &self.write_queue)
    }

    fn check_aliveness(&self, connection: &mut SqliteConnection) -> Result<(), SqliteError> {
        let path = || Arc::clone(&self.settings.label);
        if !self.belongs_here(connection) || !connection.is_original() {
            return Err(SqliteError::Exchanged { path: path() });
        }
        connection.examine_file()?;
        // A lock held by another connection proves that the database exists, so the check does not wait for
        // it.
        connection
            .wait_for_locks(Duration::ZERO)
            .and_then(|()| match read_schema(connection) {
                Err(error) if is_locked(&error) => Ok(()),
                answer => answer,
            })
            .and_then(|()| connection.wait_for_locks(self.settings.busy_timeout))
            .map_err(|source| SqliteError::Read {
                path: path(),
                source,
            })
    }

    fn dispose(&self, connection: SqliteConnection) {
        // A close that hangs delays the others only up to the busy timeout.
        let busy_timeout = self.settings.busy_timeout;
        let _turn = self
            .close_queue
            .take(busy_timeout, Deadline::after(busy_timeout));
        // Closing fails only if a statement was leaked, which cannot be repaired.
        let _ = connection.into_inner().close();
    }

    fn has_broken(&self, connection: &mut SqliteConnection) -> bool {
        // A statement that still runs was leaked: its lock can never be released.
        connection.is_busy() || !self.belongs_here(connection) || !connection.is_original()
    }

    fn on_checkout(&self, connection: &mut SqliteConnection) -> Result<(), SqliteError> {
        if self.belongs_here(connection) {
            Ok(())
        } else {
            Err(SqliteError::Exchanged {
                path: Arc::clone(&self.settings.label),
            })
        }
    }

    fn on_checkin(&self, connection: &mut SqliteConnection) -> Result<(), SqliteError> {
        let path = || Arc::clone(&self.settings.label);
        let failed = |source| SqliteError::Rollback {
            path: path(),
            source,
        };
        if !connection.is_autocommit() {
            connection.execute_batch("ROLLBACK").map_err(failed)?;
        }
        if !connection.has_original_databases() {
            return Err(SqliteError::Attached { path: path() });
        }
        connection.restore().map_err(failed)
    }

    /// Returns the interrupt handle of SQLite: the running statement fails with `SQLITE_INTERRUPT`.
    fn interrupter(&self, connection: &mut SqliteConnection) -> Option<Box<dyn Interrupt>> {
        Some(Box::new(Interrupter(connection.get_interrupt_handle())))
    }

    fn is_transient(&self, error: &SqliteError) -> bool {
        error.is_transient()
    }

    fn check_may_block(&self) -> bool {
        true
    }
}
