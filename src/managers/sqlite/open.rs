//! Opens and configures a connection.

use std::{fmt::Display, fs, io::ErrorKind, path::Path, sync::Arc};

use ::rusqlite::{Connection, MAIN_DB, OpenFlags, config::DbConfig};

use super::{
    SqliteConnection, SqliteError,
    settings::{Place, Settings, memory_uri},
    write_queue::{WriteQueue, retry_while_locked},
};
use crate::managers::deadline::{Deadline, whole_millis};

/// Opens the database, checks that it is one, applies all settings and calls the init hook.
///
/// Waiting for locks takes at most the busy timeout in all, without the init hook.
pub(super) fn open(
    settings: &Arc<Settings>,
    write_queue: &Arc<WriteQueue>,
) -> Result<SqliteConnection, SqliteError> {
    let deadline = Deadline::after(settings.busy_timeout);
    let mut connection = raw(settings)?;
    let setup = Setup {
        settings,
        connection: &connection,
        deadline,
    };
    setup.read()?;
    setup.configure()?;
    if let Some(init) = &settings.init {
        init(&mut connection).map_err(|source| SqliteError::Init {
            path: Arc::clone(&settings.label),
            source,
        })?;
        if !connection.is_autocommit() {
            return Err(SqliteError::InitUnfinished {
                path: Arc::clone(&settings.label),
            });
        }
    }
    SqliteConnection::new(connection, settings, write_queue)
}

/// Opens the connection that keeps a database in memory alive.
pub(super) fn keeper(name: &str, settings: &Settings) -> Result<Connection, SqliteError> {
    Connection::open_with_flags(memory_uri(name), memory_flags()).map_err(|source| {
        SqliteError::Open {
            path: Arc::clone(&settings.label),
            source,
        }
    })
}

fn raw(settings: &Settings) -> Result<Connection, SqliteError> {
    match &settings.place {
        Place::File(path) => {
            Connection::open_with_flags(path, file_flags(settings)).map_err(|source| {
                examine(path, settings).unwrap_or_else(|| SqliteError::Open {
                    path: Arc::clone(&settings.label),
                    source,
                })
            })
        }
        Place::Memory(name) => keeper(name, settings),
        Place::Unusable(_, rule) => Err(SqliteError::Name {
            path: Arc::clone(&settings.label),
            rule,
        }),
    }
}

/// Returns the flags without a mutex, because only one thread at a time uses a connection.
fn memory_flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_URI
}

fn file_flags(settings: &Settings) -> OpenFlags {
    let mode = match (settings.read_only, settings.create_if_missing) {
        (true, _) => OpenFlags::SQLITE_OPEN_READ_ONLY,
        (false, false) => OpenFlags::SQLITE_OPEN_READ_WRITE,
        (false, true) => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    mode | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

/// Finds the reason why a file could not be opened, which SQLite does not report. Returns None if SQLite's
/// error must do.
fn examine(path: &Path, settings: &Settings) -> Option<SqliteError> {
    let label = Arc::clone(&settings.label);
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Some(SqliteError::NotAFile { path: label }),
        Err(_) if path.parent().is_some_and(|folder| !folder.is_dir()) => {
            Some(SqliteError::NoFolder { path: label })
        }
        // A missing file that may be created is not the reason.
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && (settings.read_only || !settings.create_if_missing) =>
        {
            Some(SqliteError::Missing { path: label })
        }
        Ok(_) | Err(_) => None,
    }
}

/// A connection that is being configured.
struct Setup<'a> {
    settings: &'a Settings,
    connection: &'a Connection,
    deadline: Deadline,
}

impl Setup<'_> {
    /// Reads the file for the first time. Before this, SQLite does not know whether the file is a database.
    fn read(&self) -> Result<(), SqliteError> {
        self.retry_while_locked(|| read_schema(self.connection))
            .map_err(|source| SqliteError::Read {
                path: Arc::clone(&self.settings.label),
                source,
            })
    }

    fn configure(&self) -> Result<(), SqliteError> {
        let settings = self.settings;
        let memory = settings.place.is_memory();
        if !memory && !settings.read_only {
            self.is_writable()?;
        }
        self.journal_mode()?;
        if let Some(synchronous) = settings.synchronous {
            self.number("synchronous", synchronous.number())?;
        }
        if let Some(temp_store) = settings.temp_store {
            self.number("temp_store", temp_store.number())?;
        }
        if let Some(pages) = settings.cache_size {
            self.number("cache_size", pages.into())?;
        }
        // A read-only connection to shared memory shares the data of writable ones, so a pragma protects it.
        if memory && settings.read_only {
            self.number("query_only", 1)?;
        }
        self.foreign_keys()?;
        self.connection
            .busy_timeout(whole_millis(settings.busy_timeout))
            .map_err(|source| {
                let value = format!("{:?}", settings.busy_timeout);
                self.failed("busy_timeout", &value, source)
            })
    }

    /// Checks that the file is writable. SQLite silently opens a write-protected file as read-only.
    fn is_writable(&self) -> Result<(), SqliteError> {
        let path = Arc::clone(&self.settings.label);
        match self.connection.is_readonly(MAIN_DB) {
            Ok(false) => Ok(()),
            Ok(true) => Err(SqliteError::WriteProtected { path }),
            Err(source) => Err(SqliteError::Open { path, source }),
        }
    }

    fn journal_mode(&self) -> Result<(), SqliteError> {
        let Some(wanted) = self.settings.journal_mode() else {
            return Ok(());
        };
        let sql = format!("PRAGMA main.journal_mode = {}", wanted.word());
        let actual = self
            .retry_while_locked(|| {
                self.connection
                    .query_row(&sql, [], |row| row.get::<_, String>(0))
            })
            .map_err(|source| self.failed("journal_mode", &wanted.word(), source))?;
        self.require("journal_mode", wanted.word(), &*actual.to_ascii_lowercase())
    }

    fn number(&self, pragma: &'static str, wanted: i64) -> Result<(), SqliteError> {
        let set = format!("PRAGMA {pragma} = {wanted}");
        let get = format!("PRAGMA {pragma}");
        let actual: i64 = self
            .retry_while_locked(|| {
                self.connection.execute_batch(&set)?;
                self.connection.query_row(&get, [], |row| row.get(0))
            })
            .map_err(|source| self.failed(pragma, &wanted, source))?;
        self.require(pragma, wanted, actual)
    }

    fn foreign_keys(&self) -> Result<(), SqliteError> {
        let wanted = self.settings.foreign_keys;
        let actual = self
            .connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, wanted)
            .map_err(|source| self.failed("foreign_keys", &wanted, source))?;
        self.require("foreign_keys", wanted, actual)
    }

    /// Repeats `step` while the database is locked, for the rest of the busy timeout. SQLite itself does not
    /// wait in memory.
    fn retry_while_locked<T>(
        &self,
        mut step: impl FnMut() -> ::rusqlite::Result<T>,
    ) -> ::rusqlite::Result<T> {
        retry_while_locked(self.deadline, || {
            let left = whole_millis(self.deadline.left());
            self.connection.busy_timeout(left)?;
            step()
        })
    }

    fn failed(
        &self,
        pragma: &'static str,
        value: &dyn Display,
        source: ::rusqlite::Error,
    ) -> SqliteError {
        SqliteError::Pragma {
            path: Arc::clone(&self.settings.label),
            pragma,
            value: value.to_string().into(),
            source,
        }
    }

    fn require<T: Copy + Display + PartialEq>(
        &self,
        pragma: &'static str,
        wanted: T,
        actual: T,
    ) -> Result<(), SqliteError> {
        if actual == wanted {
            return Ok(());
        }
        Err(SqliteError::PragmaRefused {
            path: Arc::clone(&self.settings.label),
            pragma,
            value: wanted.to_string().into(),
            actual: actual.to_string().into(),
        })
    }
}

/// Reads the first page, and the schema if it is unknown or has changed.
pub(super) fn read_schema(connection: &Connection) -> ::rusqlite::Result<()> {
    connection.query_row(
        "SELECT count(*) FROM (SELECT 1 FROM sqlite_master LIMIT 1)",
        [],
        |_| Ok(()),
    )
}
