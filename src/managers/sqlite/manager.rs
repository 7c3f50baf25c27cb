//! The manager itself: its settings, and which hook does what.

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
use crate::{ConnectionManager, managers::limit::Limit};

/// Pools connections to one SQLite database, in a file or in memory; see the
/// [module](crate::managers::sqlite) for what bounds what.
///
/// Needs the feature `sqlite`.
///
/// The setters take the manager and return it. None fails and none touches the database: a value that
/// makes no sense shows as a permanent [`SqliteError`] of the first create. Clones share the queue of
/// the writers, and a database in memory.
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
    /// Connections close one after another: two that do so at once take each other for one that stays,
    /// and neither empties the write-ahead log into the file.
    close_queue: Arc<WriteQueue>,
    /// For a database in memory: the connection that keeps it. Opened by the first create.
    keeper: Arc<Mutex<Option<Connection>>>,
}

impl SqliteManager {
    /// A manager for the database in this file, with a write-ahead log, foreign keys on, a busy timeout
    /// of 5 s, and otherwise SQLite's own defaults.
    ///
    /// A relative path is made absolute now, so that a program may change its current directory later.
    /// Nothing else is touched: the file is opened, and made if it is missing, by the first create.
    /// `:memory:` and URIs are refused, by a permanent error of create.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::at(Place::file(path.as_ref()))
    }

    /// A manager for the database of this name in the memory of this process, shared by all connections
    /// of all managers of that name.
    ///
    /// The manager holds a connection of its own from the first create on, so the data lives as long as
    /// the manager, a clone of it or a connection does, whatever the pool evicts. An empty name, or one
    /// with a zero byte, is refused by a permanent error of create.
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

    /// What each connection makes sure of. Default: [`Wal`](JournalMode::Wal) for a file that may be
    /// written, `None` otherwise. `None` leaves the database as it is.
    ///
    /// A database in memory knows [`Memory`](JournalMode::Memory) and [`Off`](JournalMode::Off) only. A
    /// mode that SQLite does not take fails the create ([`PragmaRefused`](SqliteError::PragmaRefused)).
    pub fn journal_mode(self, mode: impl Into<Option<JournalMode>>) -> Self {
        let journal = mode.into().map_or(Journal::Keep, Journal::Set);
        self.with(|settings| settings.journal = journal)
    }

    /// When SQLite waits for the disk. Default: not set, which is [`Full`](Synchronous::Full).
    pub fn synchronous(self, synchronous: Synchronous) -> Self {
        self.with(|settings| settings.synchronous = Some(synchronous))
    }

    /// Where temporary tables are kept. Default: not set, which is [`Default`](TempStore::Default).
    pub fn temp_store(self, temp_store: TempStore) -> Self {
        self.with(|settings| settings.temp_store = Some(temp_store))
    }

    /// How much of the database each connection keeps in memory, as `PRAGMA cache_size` counts: so many
    /// pages, or if negative so many KiB. Default: not set, which is -2000, about 2 MB.
    pub fn cache_size(self, pages: i32) -> Self {
        self.with(|settings| settings.cache_size = Some(pages))
    }

    /// Are foreign keys enforced? Default true, which is not SQLite's own. Set again at every check-in.
    pub fn foreign_keys(self, enforced: bool) -> Self {
        self.with(|settings| settings.foreign_keys = enforced)
    }

    /// How long a statement waits for a lock of another connection before it fails as busy. Default 5 s.
    /// Zero: not at all.
    ///
    /// It also is how long one writer may keep the next one waiting in
    /// [`Pool::transaction`](crate::Pool#method.transaction), and bounds all waiting of a create. Whole milliseconds, rounded up; more than 24 days count as that. Set again at every
    /// check-in. Should stay below the pool's `create_timeout`.
    pub fn busy_timeout(self, timeout: Duration) -> Self {
        self.with(|settings| settings.busy_timeout = timeout)
    }

    /// Are connections for reading only? Default false. A file is then never made and its journal mode
    /// not changed; a database in memory is protected by `PRAGMA query_only`.
    ///
    /// A database with a write-ahead log can be read only where its `-wal` and `-shm` files exist or can
    /// be made.
    pub fn read_only(self, read_only: bool) -> Self {
        self.with(|settings| settings.read_only = read_only)
    }

    /// Is a file that is missing made? Default true, as SQLite does. If not, create fails with
    /// [`Missing`](SqliteError::Missing). A folder is never made. Means nothing in memory.
    ///
    /// With true, a file that is deleted while the pool is open is made anew, and empty.
    pub fn create_if_missing(self, create: bool) -> Self {
        self.with(|settings| settings.create_if_missing = create)
    }

    /// Called in each create with the new connection, when everything else is set: for more pragmas,
    /// functions, attached databases, tables to be made. Takes the place of one that was given before.
    /// Default: none.
    ///
    /// Its error fails the create; it is repeated where the cause is a lock. So is a transaction it
    /// leaves open, for good. It runs on a thread of the pool, several at once, and `create_timeout`
    /// bounds it.
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

    /// Is this a connection to this database? One of another pool can be added, or swapped in.
    fn belongs_here(&self, connection: &SqliteConnection) -> bool {
        Arc::ptr_eq(&self.settings, &connection.settings)
            || self.settings.label == connection.settings.label
    }

    /// Opens the connection that keeps a database in memory, unless it is there.
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
        // Whoever holds a lock is at work on the database, so it is there. Waiting would tell no more.
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
        // One that hangs keeps the others waiting, but not for ever.
        let busy_timeout = self.settings.busy_timeout;
        let _turn = self.close_queue.take(busy_timeout, Limit::of(busy_timeout));
        // Fails only where a statement was forgotten, and then there is nothing more to be done.
        let _ = connection.into_inner().close();
    }

    fn has_broken(&self, connection: &mut SqliteConnection) -> bool {
        // A statement that still runs was forgotten: it holds a lock that nobody can give back.
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

    fn is_transient(&self, error: &SqliteError) -> bool {
        error.is_transient()
    }

    fn check_may_block(&self) -> bool {
        true
    }
}
