//! The errors of transactions and savepoints.

use crate::GetError;
use ::postgres::Error as DriverError;
use std::error::Error;
use std::fmt;

/// The error type of the body of a transaction: lets the pool find the driver's error in it, to decide about a repetition.
///
/// Implemented for the driver's error and for boxed errors. For an error type of your own, return `Some(self)`:
///
/// ```
/// use conpool::{BodyError, postgres};
/// use std::error::Error;
///
/// #[derive(Debug)]
/// enum OrderError {
///     SoldOut,
///     Database(postgres::Error),
/// }
/// # impl std::fmt::Display for OrderError {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("no order") }
/// # }
///
/// impl Error for OrderError {
///     fn source(&self) -> Option<&(dyn Error + 'static)> {
///         match self {
///             Self::SoldOut => None,
///             Self::Database(error) => Some(error),
///         }
///     }
/// }
///
/// impl BodyError for OrderError {
///     fn as_error(&self) -> Option<&(dyn Error + 'static)> {
///         Some(self)
///     }
/// }
/// ```
pub trait BodyError {
    /// Returns this error, or its cause, from which the chain of causes leads to the driver's error. None: the error comes
    /// from no statement, so the transaction is not repeated.
    fn as_error(&self) -> Option<&(dyn Error + 'static)>;
}

impl BodyError for DriverError {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        Some(self)
    }
}

impl BodyError for Box<dyn Error> {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self)
    }
}

impl BodyError for Box<dyn Error + Send + Sync> {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        Some(&**self)
    }
}

impl BodyError for std::convert::Infallible {
    fn as_error(&self) -> Option<&(dyn Error + 'static)> {
        None
    }
}

/// The transaction was not committed, or the outcome of its commit is unknown. `E` is the body's own error.
///
/// Implements [`Error`] if `E` does.
#[derive(Debug)]
#[non_exhaustive]
pub enum PostgresTransactionError<E> {
    /// The pool returned no session. The body did not run.
    Get(GetError<DriverError>),
    /// The transaction could not begin. The body did not run.
    Begin(DriverError),
    /// The body failed with this error. The transaction was rolled back.
    Body(E),
    /// The server refused the commit, for example because of a deferred constraint or because a statement had failed, and
    /// rolled back.
    Commit(DriverError),
    /// The session ended during the commit. The transaction may have been committed or not.
    CommitUnknown(DriverError),
}

impl<E> PostgresTransactionError<E> {
    /// Returns the body's error, if the body failed.
    #[must_use]
    pub fn body(&self) -> Option<&E> {
        match self {
            Self::Body(error) => Some(error),
            _ => None,
        }
    }

    /// Returns true if the work was certainly not kept.
    #[must_use]
    pub fn is_rolled_back(&self) -> bool {
        !matches!(self, Self::CommitUnknown(_))
    }
}

impl<E> fmt::Display for PostgresTransactionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get(_) => "no session for the transaction",
            Self::Begin(_) => "cannot begin the transaction",
            Self::Body(_) => "the transaction failed and was rolled back",
            Self::Commit(_) => "the transaction could not be committed and was rolled back",
            Self::CommitUnknown(_) => {
                "the session ended during the commit, whose outcome is unknown"
            }
        })
    }
}

impl<E: Error + 'static> Error for PostgresTransactionError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Get(source) => Some(source),
            Self::Begin(source) | Self::Commit(source) | Self::CommitUnknown(source) => {
                Some(source)
            }
            Self::Body(source) => Some(source),
        }
    }
}

/// The work of a savepoint was undone. `E` is the body's own error.
///
/// Implements [`Error`] if `E` does. If `E` is the driver's error, `?` converts this error to it.
#[derive(Debug)]
#[non_exhaustive]
pub enum PostgresSavepointError<E> {
    /// The savepoint could not be set; the body did not run.
    Begin(DriverError),
    /// The body failed with this error. Its work was undone.
    Body(E),
    /// The body succeeded, but the savepoint could not be released.
    Release(DriverError),
}

impl<E> PostgresSavepointError<E> {
    /// Converts every variant to the body's type of error.
    #[must_use]
    pub fn flatten(self) -> E
    where
        E: From<DriverError>,
    {
        match self {
            Self::Body(error) => error,
            Self::Begin(error) | Self::Release(error) => error.into(),
        }
    }
}

impl<E> fmt::Display for PostgresSavepointError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begin(_) => "cannot set the savepoint",
            Self::Body(_) => "the work of the savepoint failed and was undone",
            Self::Release(_) => "the work of the savepoint could not be kept and was undone",
        })
    }
}

impl<E: Error + 'static> Error for PostgresSavepointError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Begin(source) | Self::Release(source) => Some(source),
            Self::Body(source) => Some(source),
        }
    }
}

impl From<PostgresSavepointError<DriverError>> for DriverError {
    fn from(error: PostgresSavepointError<DriverError>) -> Self {
        error.flatten()
    }
}
