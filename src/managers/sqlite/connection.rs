//! A pooled connection, with the state that the pool needs to validate it.

use std::{
    fmt, fs, io,
    ops::{Deref, DerefMut},
    path::Path,
    sync::Arc,
    time::Duration,
};

use ::rusqlite::{Connection, config::DbConfig};

use super::{SqliteError, settings::Settings, write_queue::WriteQueue};
use crate::managers::deadline::whole_millis;

/// A connection to a database. Dereferences to [`rusqlite::Connection`](::rusqlite::Connection), and tracks
/// whether it is still the connection that was opened.
///
/// A function that takes a `&mut rusqlite::Connection` accepts `&mut guard`:
///
/// ```
/// use conpool::{Pool, SqliteManager, rusqlite};
///
/// fn migrate(connection: &mut rusqlite::Connection) -> rusqlite::Result<()> {
///     connection.execute_batch("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)")
/// }
///
/// let pool = Pool::new(SqliteManager::memory("connection-page"))?;
/// let mut connection = pool.get()?;
/// migrate(&mut connection)?;
/// connection.execute("INSERT INTO notes VALUES (?1)", ["buy milk"])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteConnection {
    connection: Connection,
    identity: Identity,
    /// The number of databases attached when the connection was opened, including `main` and `temp`.
    databases: usize,
    pub(super) settings: Arc<Settings>,
    pub(super) write_queue: Arc<WriteQueue>,
}

/// Identifies the opened connection. A user can swap in another through `&mut Connection`.
enum Identity {
    /// A file: its name in SQLite, and the identity of the file.
    File { name: Option<String>, file: FileId },
    /// A database in memory has no name that SQLite reports. A database option without effect there serves as
    /// the mark.
    Memory,
}

/// The maximum number of attached databases in SQLite, plus the two that always exist.
const MAX_DATABASES: usize = 127;

const MEMORY_MARK: DbConfig = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;

impl SqliteConnection {
    /// Wraps a connection that is fully set up.
    pub(super) fn new(
        connection: Connection,
        settings: &Arc<Settings>,
        write_queue: &Arc<WriteQueue>,
    ) -> Result<Self, SqliteError> {
        let path = Arc::clone(&settings.label);
        let identity = if settings.place.is_memory() {
            connection
                .set_db_config(MEMORY_MARK, true)
                .map_err(|source| SqliteError::Open { path, source })?;
            Identity::Memory
        } else {
            Identity::File {
                name: connection.path().map(str::to_owned),
                file: FileId::of(&path)?,
            }
        };
        let databases = (0..=MAX_DATABASES)
            .take_while(|index| connection.db_name(*index).is_ok())
            .count();
        Ok(Self {
            connection,
            identity,
            databases,
            settings: Arc::clone(settings),
            write_queue: Arc::clone(write_queue),
        })
    }

    /// Returns the underlying connection. It keeps working, outside of the pool.
    #[must_use]
    pub fn into_inner(self) -> Connection {
        self.connection
    }

    /// Returns true if this is still the connection that was opened. Asks only SQLite and accesses no file.
    pub(super) fn is_original(&self) -> bool {
        match &self.identity {
            Identity::File { name, .. } => self.connection.path() == name.as_deref(),
            Identity::Memory => {
                self.connection.path().is_none_or(str::is_empty)
                    && matches!(self.connection.db_config(MEMORY_MARK), Ok(true))
            }
        }
    }

    /// Checks that the file at the path is still the one that the connection has open.
    pub(super) fn examine_file(&self) -> Result<(), SqliteError> {
        let Identity::File { file, .. } = &self.identity else {
            return Ok(());
        };
        let path = Arc::clone(&self.settings.label);
        if *file == FileId::of(&path)? {
            Ok(())
        } else {
            Err(SqliteError::Replaced { path })
        }
    }

    /// Returns true if the attached databases are those of the start.
    pub(super) fn has_original_databases(&self) -> bool {
        self.connection.db_name(self.databases).is_err()
            && self.connection.db_name(self.databases - 1).is_ok()
    }

    /// Restores the settings that are cheap to set, in case a user has changed them.
    pub(super) fn restore(&self) -> ::rusqlite::Result<()> {
        // Setting the busy timeout also replaces a busy handler.
        self.wait_for_locks(self.settings.busy_timeout)?;
        self.connection.set_db_config(
            DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY,
            self.settings.foreign_keys,
        )?;
        Ok(())
    }

    pub(super) fn wait_for_locks(&self, timeout: Duration) -> ::rusqlite::Result<()> {
        self.connection.busy_timeout(whole_millis(timeout))
    }
}

impl Deref for SqliteConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for SqliteConnection {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl AsRef<Connection> for SqliteConnection {
    fn as_ref(&self) -> &Connection {
        &self.connection
    }
}

impl fmt::Debug for SqliteConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteConnection")
            .field("path", &self.settings.label)
            .finish_non_exhaustive()
    }
}

/// The identity of a file, independent of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(path: &Arc<Path>) -> Result<Self, SqliteError> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Self::from_metadata(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SqliteError::Gone {
                path: Arc::clone(path),
            }),
            Err(source) => Err(SqliteError::Examine {
                path: Arc::clone(path),
                source,
            }),
        }
    }

    #[cfg(unix)]
    fn from_metadata(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    /// On other systems an open file cannot be deleted or replaced, so its existence is enough.
    #[cfg(not(unix))]
    fn from_metadata(_: &fs::Metadata) -> Self {
        Self(0, 0)
    }
}
