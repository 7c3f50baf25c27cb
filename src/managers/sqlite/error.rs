//! The errors of SQLite connections.

use std::{io, path::Path, sync::Arc};

use ::rusqlite::ErrorCode;

/// A connection to a database could not be opened or is no longer usable.
///
/// `path` is the absolute path of the file, or `:memory:` followed by the name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// The path or the name of the database breaks a rule.
    #[error("database {path:?}: {rule}")]
    Name {
        /// The path or the name.
        path: Arc<Path>,
        /// The rule.
        rule: &'static str,
    },

    /// The file does not exist and must not be created: `create_if_missing` is off or `read_only` is on.
    #[error("there is no database {path:?}")]
    Missing {
        /// The file.
        path: Arc<Path>,
    },

    /// The folder of the file does not exist.
    #[error("there is no folder for the database {path:?}")]
    NoFolder {
        /// The file.
        path: Arc<Path>,
    },

    /// The path leads to something other than a file.
    #[error("{path:?} is not a file")]
    NotAFile {
        /// The path.
        path: Arc<Path>,
    },

    /// SQLite could not open the file.
    #[error("cannot open the database {path:?}")]
    Open {
        /// The file.
        path: Arc<Path>,
        /// SQLite's error.
        source: ::rusqlite::Error,
    },

    /// The file can be read but not written, and `read_only` is off.
    #[error("the database {path:?} is write-protected; read_only opens it")]
    WriteProtected {
        /// The file.
        path: Arc<Path>,
    },

    /// The database could not be read: it is locked, damaged, or not a database.
    #[error("cannot read the database {path:?}")]
    Read {
        /// The file.
        path: Arc<Path>,
        /// SQLite's error.
        source: ::rusqlite::Error,
    },

    /// A pragma failed.
    #[error("cannot set {pragma} to {value} on the database {path:?}")]
    Pragma {
        /// The file.
        path: Arc<Path>,
        /// The pragma's name.
        pragma: &'static str,
        /// The requested value.
        value: Box<str>,
        /// SQLite's error.
        source: ::rusqlite::Error,
    },

    /// A pragma succeeded, but SQLite kept another value.
    #[error("cannot set {pragma} to {value} on the database {path:?}: it stays {actual}")]
    PragmaRefused {
        /// The file.
        path: Arc<Path>,
        /// The pragma's name.
        pragma: &'static str,
        /// The requested value.
        value: Box<str>,
        /// The value that SQLite kept.
        actual: Box<str>,
    },

    /// The init hook failed.
    #[error("the init hook failed on the database {path:?}")]
    Init {
        /// The file.
        path: Arc<Path>,
        /// The error of the hook.
        source: ::rusqlite::Error,
    },

    /// The init hook started a transaction and did not end it.
    #[error("the init hook left a transaction open on the database {path:?}")]
    InitUnfinished {
        /// The file.
        path: Arc<Path>,
    },

    /// The file that the connection has open no longer exists.
    #[error("the database {path:?} is gone")]
    Gone {
        /// The file.
        path: Arc<Path>,
    },

    /// Another file has replaced the one that the connection has open.
    #[error("the database {path:?} was replaced by another file")]
    Replaced {
        /// The file.
        path: Arc<Path>,
    },

    /// The system could not report the state of the file.
    #[error("cannot examine the database {path:?}")]
    Examine {
        /// The file.
        path: Arc<Path>,
        /// The system's error.
        source: io::Error,
    },

    /// A user swapped in another connection.
    #[error("the connection is not the one that was opened to the database {path:?}")]
    Exchanged {
        /// The file.
        path: Arc<Path>,
    },

    /// The user attached or detached databases.
    #[error(
        "the connection to the database {path:?} has other databases attached than at its start"
    )]
    Attached {
        /// The file.
        path: Arc<Path>,
    },

    /// The transaction that a user left open could not be rolled back.
    #[error("cannot roll back the transaction that was left open on the database {path:?}")]
    Rollback {
        /// The file.
        path: Arc<Path>,
        /// SQLite's error.
        source: ::rusqlite::Error,
    },
}

impl SqliteError {
    /// Returns true if another attempt may succeed soon.
    ///
    /// This holds if the database is busy or locked, in any step, and if another connection was setting up or
    /// removing a write-ahead log (`SQLITE_PROTOCOL`). All other errors are permanent: a missing, damaged or
    /// write-protected file stays so until someone repairs it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.sqlite().is_some_and(is_locked)
    }

    /// Returns SQLite's error code, if SQLite failed.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        self.sqlite().and_then(::rusqlite::Error::sqlite_error_code)
    }

    fn sqlite(&self) -> Option<&::rusqlite::Error> {
        match self {
            Self::Open { source, .. }
            | Self::Read { source, .. }
            | Self::Pragma { source, .. }
            | Self::Init { source, .. }
            | Self::Rollback { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Returns true if another connection holds the lock.
pub(super) fn is_locked(error: &::rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed
        )
    )
}
