//! What can go wrong between a pool and a database.

use std::{io, path::Path, sync::Arc};

use ::rusqlite::ErrorCode;

/// Why a connection to a database could not be opened or is no longer good.
///
/// `path` is the absolute path of the file, or `:memory:` and the name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// The path or the name that the manager was given breaks a rule.
    #[error("database {path:?}: {rule}")]
    Name {
        /// What was given.
        path: Arc<Path>,
        /// The rule.
        rule: &'static str,
    },

    /// There is no such file, and none is made: `create_if_missing` is off or `read_only` is on.
    #[error("there is no database {path:?}")]
    Missing {
        /// The file.
        path: Arc<Path>,
    },

    /// The folder that the file should be in does not exist.
    #[error("there is no folder for the database {path:?}")]
    NoFolder {
        /// The file.
        path: Arc<Path>,
    },

    /// The path leads to something that is no file.
    #[error("{path:?} is not a file")]
    NotAFile {
        /// The folder, or whatever it is.
        path: Arc<Path>,
    },

    /// The system would not open the file.
    #[error("cannot open the database {path:?}")]
    Open {
        /// The file.
        path: Arc<Path>,
        /// SQLite's answer.
        source: ::rusqlite::Error,
    },

    /// The file can be read and not written, and `read_only` is off.
    #[error("the database {path:?} is write-protected; read_only opens it")]
    WriteProtected {
        /// The file.
        path: Arc<Path>,
    },

    /// Nothing could be read from the database: it is locked, damaged, or no database at all.
    #[error("cannot read the database {path:?}")]
    Read {
        /// The file.
        path: Arc<Path>,
        /// SQLite's answer.
        source: ::rusqlite::Error,
    },

    /// A pragma failed.
    #[error("cannot set {pragma} to {value} on the database {path:?}")]
    Pragma {
        /// The file.
        path: Arc<Path>,
        /// The pragma's name.
        pragma: &'static str,
        /// What it was to be.
        value: Box<str>,
        /// SQLite's answer.
        source: ::rusqlite::Error,
    },

    /// A pragma did not fail, but SQLite kept another value.
    #[error("cannot set {pragma} to {value} on the database {path:?}: it stays {actual}")]
    PragmaRefused {
        /// The file.
        path: Arc<Path>,
        /// The pragma's name.
        pragma: &'static str,
        /// What it was to be.
        value: Box<str>,
        /// What it is.
        actual: Box<str>,
    },

    /// The init hook failed.
    #[error("the init hook failed on the database {path:?}")]
    Init {
        /// The file.
        path: Arc<Path>,
        /// What it returned.
        source: ::rusqlite::Error,
    },

    /// The init hook began a transaction and did not end it.
    #[error("the init hook left a transaction open on the database {path:?}")]
    InitUnfinished {
        /// The file.
        path: Arc<Path>,
    },

    /// The file that the connection has open is not there any more.
    #[error("the database {path:?} is gone")]
    Gone {
        /// The file.
        path: Arc<Path>,
    },

    /// Another file has taken the place of the one that the connection has open.
    #[error("the database {path:?} was replaced by another file")]
    Replaced {
        /// The file.
        path: Arc<Path>,
    },

    /// The system would not tell about the file.
    #[error("cannot examine the database {path:?}")]
    Examine {
        /// The file.
        path: Arc<Path>,
        /// The system's answer.
        source: io::Error,
    },

    /// Somebody put another connection in the place of the one that the pool opened.
    #[error("the connection is not the one that was opened to the database {path:?}")]
    Exchanged {
        /// The file.
        path: Arc<Path>,
    },

    /// The user attached databases that create had not, or detached some that it had.
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
        /// SQLite's answer.
        source: ::rusqlite::Error,
    },
}

impl SqliteError {
    /// Is it worth trying again in a moment?
    ///
    /// Yes where the database is busy or locked, whichever step met it, and where a write-ahead log was
    /// just being set up or taken down by somebody else (`SQLITE_PROTOCOL`). No for everything else: a
    /// file that is missing, damaged or write-protected stays so until somebody does something about it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.sqlite().is_some_and(is_locked)
    }

    /// What SQLite calls it, where it was SQLite that failed.
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

/// Does somebody else hold what was asked for?
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
