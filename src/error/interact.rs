//! The error of `interact` and `with`.

use super::GetError;
use std::{error::Error, fmt};

/// [`Pool::interact`](crate::Pool::interact) or [`Pool::with`](crate::Pool::with) returned no result of the closure. `E` is
/// the error type of the manager.
#[derive(Debug)]
#[non_exhaustive]
pub enum InteractError<E> {
    /// There was no connection, so the closure was not called.
    Get(GetError<E>),
    /// The closure panicked. The pool has evicted its connection.
    Panicked {
        /// The message of the panic.
        message: String,
    },
}

impl<E> InteractError<E> {
    /// Returns the error of the checkout, if there was no connection.
    #[must_use]
    pub fn get_error(&self) -> Option<&GetError<E>> {
        match self {
            Self::Get(error) => Some(error),
            Self::Panicked { .. } => None,
        }
    }
}

impl<E> From<GetError<E>> for InteractError<E> {
    fn from(error: GetError<E>) -> Self {
        Self::Get(error)
    }
}

impl<E> fmt::Display for InteractError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(error) => error.fmt(f),
            // Debug keeps a message of user code on one line.
            Self::Panicked { message } => write!(f, "the closure panicked with {message:?}"),
        }
    }
}

impl<E: Error + 'static> Error for InteractError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // This error displays as the error of the checkout, so its source is that error's source.
            Self::Get(error) => error.source(),
            Self::Panicked { .. } => None,
        }
    }
}

// The impl is manual: a derive would require `E: Clone`.
impl<E> Clone for InteractError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Get(error) => Self::Get(error.clone()),
            Self::Panicked { message } => Self::Panicked {
                message: message.clone(),
            },
        }
    }
}
