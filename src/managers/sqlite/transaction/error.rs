//! The errors of transactions and savepoints.

use std::{error::Error, fmt};

use super::IsolationLevel;
use crate::{
    GetError,
    managers::sqlite::{SqliteError, error::is_locked},
};

/// A transaction did not commit. `E` is the body's own error.
///
/// Implements [`Error`] if `E` does.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransactionError<E> {
    /// The pool returned no connection. The body did not run.
    Get(GetError<SqliteError>),
    /// The transaction could not begin, usually because another connection wrote for longer than the busy
    /// timeout. The body did not run.
    Begin {
        /// The level of the transaction.
        level: IsolationLevel,
        /// SQLite's error.
        source: ::rusqlite::Error,
    },
    /// The body failed with this error. The transaction was rolled back.
    Body(E),
    /// The body succeeded, but SQLite could not commit, because of a reader or a violated foreign key. The
    /// transaction was rolled back.
    Commit(::rusqlite::Error),
    /// The body returned `Ok`, but its transaction had already ended: the body ended it itself, or SQLite
    /// rolled it back (a full disk, `ON CONFLICT ROLLBACK`) and the body ignored the error.
    ///
    /// Statements that the body ran on their own after that are kept.
    Ended,
}

impl<E> TransactionError<E> {
    /// Returns the body's error, if the body failed.
    #[must_use]
    pub fn body(&self) -> Option<&E> {
        match self {
            Self::Body(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the body's error by value.
    ///
    /// # Errors
    ///
    /// Returns this error unchanged if the body did not fail.
    pub fn into_body(self) -> Result<E, Self> {
        match self {
            Self::Body(error) => Ok(error),
            other => Err(other),
        }
    }

    /// Returns true if the transaction could not begin or commit because of locks of other connections.
    /// Another attempt may then succeed.
    ///
    /// Always returns false for errors of the body.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        match self {
            Self::Begin { source, .. } | Self::Commit(source) => is_locked(source),
            _ => false,
        }
    }
}

impl<E> fmt::Display for TransactionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(_) => f.write_str("no connection for the transaction"),
            Self::Begin { level, .. } => write!(f, "cannot begin the transaction ({level:?})"),
            Self::Body(_) => f.write_str("the transaction failed and was rolled back"),
            Self::Commit(_) => {
                f.write_str("the transaction could not be committed and was rolled back")
            }
            Self::Ended => f.write_str("the transaction had ended before its body did"),
        }
    }
}

impl<E: Error + 'static> Error for TransactionError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Get(source) => Some(source),
            Self::Begin { source, .. } | Self::Commit(source) => Some(source),
            Self::Body(source) => Some(source),
            Self::Ended => None,
        }
    }
}

/// The work of a savepoint was undone. `E` is the body's own error.
///
/// Implements [`Error`] if `E` does. If `E` is [`rusqlite::Error`](::rusqlite::Error), `?` converts this
/// error to it.
#[derive(Debug)]
#[non_exhaustive]
pub enum SavepointError<E> {
    /// The savepoint could not be set; the body did not run.
    Begin(::rusqlite::Error),
    /// The body failed with this error. Its work was undone.
    Body(E),
    /// The body succeeded, but the savepoint could not be released. Its work was undone.
    Release(::rusqlite::Error),
}

impl<E> SavepointError<E> {
    /// Converts every variant to the body's type of error.
    #[must_use]
    pub fn flatten(self) -> E
    where
        E: From<::rusqlite::Error>,
    {
        match self {
            Self::Body(error) => error,
            Self::Begin(error) | Self::Release(error) => error.into(),
        }
    }
}

impl<E> fmt::Display for SavepointError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begin(_) => "cannot set the savepoint",
            Self::Body(_) => "the work of the savepoint failed and was undone",
            Self::Release(_) => "the work of the savepoint could not be kept and was undone",
        })
    }
}

impl<E: Error + 'static> Error for SavepointError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Begin(source) | Self::Release(source) => Some(source),
            Self::Body(source) => Some(source),
        }
    }
}

impl From<SavepointError<::rusqlite::Error>> for ::rusqlite::Error {
    fn from(error: SavepointError<::rusqlite::Error>) -> Self {
        error.flatten()
    }
}
