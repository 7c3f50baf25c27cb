//! The error of a wait for open connections.

use super::GetError;
use crate::config::ConfigError;
use std::{error::Error, fmt};

/// [`Pool::wait_ready`](crate::Pool::wait_ready) returned before enough connections were open. `E` is the error
/// type of the manager.
///
/// Displays and has a source as the error inside.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadyError<E> {
    /// The number of connections is above `max_size` or `max_idle`, so the wait could not end.
    Config(ConfigError),
    /// The pool was closed, the deadline passed (with the last cause inside), or a create failed permanently
    /// while no connection was open.
    Get(GetError<E>),
}

impl<E> ReadyError<E> {
    /// Returns true if the deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Get(error) if error.is_timeout())
    }

    /// Returns true if the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Get(error) if error.is_closed())
    }

    /// Returns the error of the last failed create, as [`GetError::last_create_error`] does.
    #[must_use]
    pub fn last_create_error(&self) -> Option<&E> {
        match self {
            Self::Config(_) => None,
            Self::Get(error) => error.last_create_error(),
        }
    }
}

impl<E> From<ConfigError> for ReadyError<E> {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl<E> From<GetError<E>> for ReadyError<E> {
    fn from(error: GetError<E>) -> Self {
        Self::Get(error)
    }
}

impl<E> fmt::Display for ReadyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Get(error) => error.fmt(f),
        }
    }
}

// The impl is manual: a derive would add the error itself to the chain, which would print it twice.
impl<E: Error + 'static> Error for ReadyError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Config(error) => error.source(),
            Self::Get(error) => error.source(),
        }
    }
}
