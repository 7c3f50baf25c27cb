//! How a transaction can fail.

use std::{error::Error, fmt};

use super::IsolationLevel;
use crate::{
    GetError,
    managers::sqlite::{SqliteError, error::is_locked},
};

/// Why a transaction did not commit. `E` is the body's own error.
///
/// It is an [`Error`] where `E` is one.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransactionError<E> {
    /// The pool gave no connection; the body did not run.
    Get(GetError<SqliteError>),
    /// The transaction could not begin, mostly because somebody else was writing for longer than the
    /// busy timeout; the body did not run.
    Begin {
        /// What was to begin.
        level: IsolationLevel,
        /// SQLite's answer.
        source: ::rusqlite::Error,
    },
    /// The body failed, with this error; everything was rolled back.
    Body(E),
    /// The body had succeeded, but SQLite would not commit, because of somebody who reads or of a
    /// foreign key that leads nowhere; everything was rolled back.
    Commit(::rusqlite::Error),
    /// The body said `Ok`, but its transaction was over by then: it had ended it itself, or SQLite had
    /// rolled it back (a full disk, `ON CONFLICT ROLLBACK`) and the body did not take the error for an
    /// answer.
    ///
    /// Statements that ran after that, on their own, have stayed.
    Ended,
}

impl<E> TransactionError<E> {
    /// The body's error, if it was the body that failed.
    #[must_use]
    pub fn body(&self) -> Option<&E> {
        match self {
            Self::Body(error) => Some(error),
            _ => None,
        }
    }

    /// The same, unchanged and owned.
    ///
    /// # Errors
    ///
    /// This error, if it was not the body that failed.
    pub fn into_body(self) -> Result<E, Self> {
        match self {
            Self::Body(error) => Ok(error),
            other => Err(other),
        }
    }

    /// Could it not begin, or not commit, because of locks of others? Then it may work another time.
    ///
    /// Of errors of the body it says no: it does not look into them.
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

/// Why the work of a savepoint was undone. `E` is the body's own error.
///
/// It is an [`Error`] where `E` is one. Where `E` is [`rusqlite::Error`](::rusqlite::Error), `?` turns
/// it into that.
#[derive(Debug)]
#[non_exhaustive]
pub enum SavepointError<E> {
    /// The savepoint could not be set; the body did not run.
    Begin(::rusqlite::Error),
    /// The body failed, with this error; its work was undone.
    Body(E),
    /// The body had succeeded, but its work could not be kept; it was undone.
    Release(::rusqlite::Error),
}

impl<E> SavepointError<E> {
    /// One error of the body's type, whatever failed.
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
