//! The settings of a [`SqliteManager`](super::SqliteManager).

use std::{
    fmt,
    path::{self, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ::rusqlite::Connection;

/// How SQLite keeps the old content of pages until a transaction ends (`PRAGMA journal_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JournalMode {
    /// A rollback journal that is deleted after each transaction. The default of SQLite.
    Delete,
    /// A rollback journal that is truncated after each transaction.
    Truncate,
    /// A rollback journal whose header is overwritten after each transaction.
    Persist,
    /// A rollback journal in memory. A crash during a transaction corrupts the database.
    Memory,
    /// A write-ahead log: readers and the writer do not block each other. The default of the manager.
    Wal,
    /// No journal and no rollback. The state after a failed transaction is undefined.
    Off,
}

impl JournalMode {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Persist => "persist",
            Self::Memory => "memory",
            Self::Wal => "wal",
            Self::Off => "off",
        }
    }
}

/// When SQLite waits for the disk (`PRAGMA synchronous`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Synchronous {
    /// Never. A power failure can corrupt the database.
    Off,
    /// At the critical moments. With a write-ahead log, a power failure can lose the last transactions but
    /// never corrupts the database.
    Normal,
    /// At each commit: a committed transaction is durable. The default of SQLite.
    Full,
    /// At each commit, and the folder is synchronised too.
    Extra,
}

impl Synchronous {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Off => 0,
            Self::Normal => 1,
            Self::Full => 2,
            Self::Extra => 3,
        }
    }
}

/// Where temporary tables and indices are kept (`PRAGMA temp_store`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TempStore {
    /// As compiled into SQLite: in files, for the bundled version.
    Default,
    /// In files.
    File,
    /// In memory.
    Memory,
}

impl TempStore {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Default => 0,
            Self::File => 1,
            Self::Memory => 2,
        }
    }
}

/// The location of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// An absolute path, because the current directory may change between two creates.
    File(PathBuf),
    /// The name of a database in memory.
    Memory(String),
    /// The given path or name, and the rule that it breaks. Creates return the error, because constructors
    /// never fail.
    Unusable(PathBuf, &'static str),
}

impl Place {
    pub(super) fn file(given: &Path) -> Self {
        let unusable = |rule| Self::Unusable(given.to_owned(), rule);
        if given.as_os_str().is_empty() {
            return unusable("must not be empty");
        }
        if given == Path::new(":memory:") {
            return unusable("must be a file; SqliteManager::memory keeps a database in memory");
        }
        // SQLite would take a relative path of this form for a URI, and an absolute one for a file of this
        // name. The latter is hardly ever intended.
        if given.as_os_str().as_encoded_bytes().starts_with(b"file:") {
            return unusable("must be a path and no URI; write ./file:... for a file of this name");
        }
        match path::absolute(given) {
            Ok(absolute) => Self::File(absolute),
            Err(_) => unusable("must be absolute where the current directory cannot be told"),
        }
    }

    pub(super) fn memory(name: String) -> Self {
        if name.is_empty() {
            return Self::Unusable(name.into(), "must not be an empty name");
        }
        if name.contains('\0') {
            return Self::Unusable(name.into(), "must be a name without a zero byte");
        }
        Self::Memory(name)
    }

    /// Returns the name in errors: the path, or `:memory:` followed by the name.
    fn label(&self) -> PathBuf {
        match self {
            Self::File(path) | Self::Unusable(path, _) => path.clone(),
            Self::Memory(name) => format!(":memory:{name}").into(),
        }
    }

    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }
}

/// Returns the URI that all connections to one database in memory share.
pub(super) fn memory_uri(name: &str) -> String {
    let mut uri = String::from("file:");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            uri.push(byte.into());
        } else {
            // Slashes are escaped too, because two of them would start a host name.
            uri.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    uri + "?mode=memory&cache=shared"
}

fn digit(value: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(value)])
}

/// The setting of the journal mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    /// Not set.
    Unset,
    /// Set to `None`: the database keeps its mode.
    Keep,
    Set(JournalMode),
}

pub(super) type Init = Arc<dyn Fn(&mut Connection) -> ::rusqlite::Result<()> + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) place: Place,
    /// The place as errors name it.
    pub(super) label: Arc<Path>,
    pub(super) journal: Journal,
    pub(super) synchronous: Option<Synchronous>,
    pub(super) temp_store: Option<TempStore>,
    pub(super) cache_size: Option<i32>,
    pub(super) foreign_keys: bool,
    pub(super) busy_timeout: Duration,
    pub(super) read_only: bool,
    pub(super) create_if_missing: bool,
    pub(super) init: Option<Init>,
}

impl Settings {
    pub(super) fn new(place: Place) -> Self {
        Self {
            label: place.label().into(),
            place,
            journal: Journal::Unset,
            synchronous: None,
            temp_store: None,
            cache_size: None,
            foreign_keys: true,
            busy_timeout: Duration::from_secs(5),
            read_only: false,
            create_if_missing: true,
            init: None,
        }
    }

    /// Returns the journal mode to request. By default, a read-only connection and a database in memory
    /// request none, because they cannot have a write-ahead log set.
    pub(super) fn journal_mode(&self) -> Option<JournalMode> {
        match self.journal {
            Journal::Set(mode) => Some(mode),
            Journal::Keep => None,
            Journal::Unset if self.read_only || self.place.is_memory() => None,
            Journal::Unset => Some(JournalMode::Wal),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("place", &self.place)
            .field("journal_mode", &self.journal_mode())
            .field("synchronous", &self.synchronous)
            .field("temp_store", &self.temp_store)
            .field("cache_size", &self.cache_size)
            .field("foreign_keys", &self.foreign_keys)
            .field("busy_timeout", &self.busy_timeout)
            .field("read_only", &self.read_only)
            .field("create_if_missing", &self.create_if_missing)
            .field("init", &self.init.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_uri_in_which_nothing_means_something_else() {
        assert_eq!(
            memory_uri("a/b?c=d&é %"),
            "file:a%2Fb%3Fc%3Dd%26%C3%A9%20%25?mode=memory&cache=shared"
        );
    }

    #[test]
    fn a_relative_path_is_made_absolute_and_what_is_no_path_is_refused() {
        let Place::File(path) = Place::file(Path::new("app.db")) else {
            panic!("refused")
        };
        assert!(path.is_absolute());
        for given in ["", ":memory:", "file:app.db?mode=ro"] {
            assert!(
                matches!(Place::file(Path::new(given)), Place::Unusable(..)),
                "{given}"
            );
        }
        for name in ["", "a\0b"] {
            assert!(matches!(
                Place::memory(name.to_owned()),
                Place::Unusable(..)
            ));
        }
    }
}
