//! The error of building a pool.

use super::{Cause, GetError, Timeout};
use crate::config::ConfigError;
use std::{error::Error, fmt, io, sync::Arc};

/// A pool could not be built. Connections and threads of the attempt are cleaned up. `E` is the error type of
/// the manager.
///
/// A lazy build touches no backend and fails only with [`Config`](Self::Config) or [`Thread`](Self::Thread).
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError<E> {
    /// A setting breaks its rule. Displays as the inner error.
    Config(ConfigError),
    /// The first connections could not be created.
    Create {
        /// The pool's name.
        pool: Arc<str>,
        /// The error of `create`.
        error: Arc<E>,
    },
    /// The first connections were not ready in time, or, with `fail_fast`, a create exceeded
    /// `create_timeout`. Displays as the inner error.
    TimedOut(Box<Timeout<E>>),
    /// A hook panicked on the first connections.
    Panicked {
        /// The pool's name.
        pool: Arc<str>,
        /// The name of a method of [`ConnectionManager`](crate::ConnectionManager).
        hook: &'static str,
        /// The message of the panic.
        message: String,
    },
    /// The system refused to start the pool's background thread.
    Thread(io::Error),
}

impl<E> BuildError<E> {
    /// Converts the error that ended a build's wait for the first connections.
    ///
    /// # Panics
    ///
    /// Panics on the errors that need a handle of the pool: while a pool is being built, none exists that could
    /// close it, suspend it or wait for it.
    pub(crate) fn from_get(error: GetError<E>) -> Self {
        match error {
            GetError::Create { pool, error } => Self::Create { pool, error },
            GetError::TimedOut(timeout) => Self::TimedOut(timeout),
            GetError::Panicked {
                pool,
                hook,
                message,
            } => Self::Panicked {
                pool,
                hook,
                message,
            },
            GetError::Closed { pool }
            | GetError::Saturated { pool, .. }
            | GetError::Suspended { pool }
            | GetError::NoCollector { pool }
            | GetError::Cleared { pool, .. } => {
                unreachable!("bug: pool {pool:?} was in use before it was built")
            }
        }
    }

    /// Returns true if the first connections were not ready in time.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }

    /// Returns the error of `create`: that of [`Create`](Self::Create), or the last cause inside
    /// [`TimedOut`](Self::TimedOut) if it is a failed create.
    #[must_use]
    pub fn last_create_error(&self) -> Option<&E> {
        match self {
            Self::Create { error, .. } => Some(error),
            Self::TimedOut(timeout) => timeout.last.as_ref().and_then(Cause::create_error),
            Self::Config(_) | Self::Panicked { .. } | Self::Thread(_) => None,
        }
    }
}

impl<E> From<ConfigError> for BuildError<E> {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl<E> fmt::Display for BuildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Create { pool, .. } => {
                write!(f, "pool {pool:?}: not built, create failed")
            }
            Self::TimedOut(timeout) => timeout.fmt(f),
            Self::Panicked {
                pool,
                hook,
                message,
            } => write!(
                f,
                "pool {pool:?}: not built, {hook} panicked with {message:?}"
            ),
            Self::Thread(_) => f.write_str("pool not built, the system refused a thread"),
        }
    }
}

// The impl is manual, as for `GetError`: the source is the error, not the `Arc` around it.
impl<E: Error + 'static> Error for BuildError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Create { error, .. } => Some(&**error),
            // Both variants display as their inner error, so their source is the source of that error.
            Self::Config(error) => error.source(),
            Self::TimedOut(timeout) => timeout.source(),
            Self::Thread(error) => Some(error),
            Self::Panicked { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::timeout::tests::{Refused, source_is, timeout};
    use super::*;

    #[test]
    fn a_bad_setting_reads_as_itself() {
        let config = ConfigError::new("max_size", 0, "must be at least 1");
        let error = BuildError::<Refused>::from(config.clone());
        assert_eq!(error.to_string(), config.to_string());
        assert!(error.source().is_none());
    }

    #[test]
    fn the_real_cause_comes_through() {
        let error = BuildError::from_get(GetError::Create {
            pool: "orders".into(),
            error: Arc::new(Refused),
        });
        assert_eq!(
            error.to_string(),
            r#"pool "orders": not built, create failed"#
        );
        assert!(source_is::<Refused>(&error));
        assert!(error.last_create_error().is_some());
    }

    #[test]
    fn a_timeout_reads_as_itself_with_its_cause_behind() {
        let mut inner = timeout();
        inner.last = Some(Cause::Create(Arc::new(Refused)));
        let text = inner.to_string();
        let error = BuildError::from_get(GetError::TimedOut(Box::new(inner)));
        assert_eq!(error.to_string(), text);
        assert!(source_is::<Cause<Refused>>(&error));
        assert!(error.last_create_error().is_some());
    }

    #[test]
    fn a_panic_names_pool_hook_and_message() {
        let error = BuildError::<Refused>::from_get(GetError::Panicked {
            pool: "orders".into(),
            hook: "create",
            message: "boom".into(),
        });
        assert_eq!(
            error.to_string(),
            r#"pool "orders": not built, create panicked with "boom""#
        );
    }

    #[test]
    fn a_refused_thread_keeps_the_systems_reason() {
        let error = BuildError::<Refused>::Thread(io::ErrorKind::WouldBlock.into());
        assert!(source_is::<io::Error>(&error));
    }
}
