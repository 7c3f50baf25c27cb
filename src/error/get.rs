//! The error of `get` and its variants.

use super::{Cause, Timeout};
use std::{error::Error, fmt, sync::Arc};

/// [`Pool::get`](crate::Pool::get) or one of its variants returned no connection. `E` is the error type of
/// the manager.
///
/// # Example
///
/// ```
/// use conpool::GetError;
/// use std::{error::Error, io, sync::Arc};
///
/// let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
/// let error = GetError::Create { pool: "orders".into(), error: Arc::new(refused) };
///
/// assert_eq!(error.to_string(), r#"pool "orders": create failed"#);
/// let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
/// assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::ConnectionRefused));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum GetError<E> {
    /// The pool is closed, or was closed while the caller waited.
    Closed {
        /// The pool's name.
        pool: Arc<str>,
    },
    /// No connection is open, and a create failed permanently, or failed at all with `fail_fast`.
    Create {
        /// The pool's name.
        pool: Arc<str>,
        /// The error of `create`, or of `on_checkout` for a new connection. It is shared, because several
        /// callers can get the same error.
        error: Arc<E>,
    },
    /// No connection is open, and a hook or the factory of a keyed pool panicked.
    Panicked {
        /// The pool's name.
        pool: Arc<str>,
        /// The name of a method of [`ConnectionManager`](crate::ConnectionManager), or `factory`.
        hook: &'static str,
        /// The message of the panic.
        message: String,
    },
    /// `max_waiters` callers already wait, so this caller was refused at once.
    Saturated {
        /// The pool's name.
        pool: Arc<str>,
        /// The limit that was reached, in callers.
        max_waiters: usize,
    },
    /// The pool is suspended, and its setting `on_suspend` is [`OnSuspend::Fail`](crate::OnSuspend::Fail).
    Suspended {
        /// The pool's name.
        pool: Arc<str>,
    },
    /// [`Pool::clear_waiters`](crate::Pool::clear_waiters) ended the wait.
    Cleared {
        /// The pool's name.
        pool: Arc<str>,
        /// The cause that the caller of `clear_waiters_with` gave. All callers that waited share it.
        cause: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// A task would have to wait, and a pool without a collector has no thread that could wake it.
    NoCollector {
        /// The pool's name.
        pool: Arc<str>,
    },
    /// The deadline passed, or, with `fail_fast`, a create exceeded `create_timeout`; `waited` is zero then.
    /// The inner error describes the state of the pool.
    TimedOut(Box<Timeout<E>>),
}

impl<E> GetError<E> {
    /// Returns true if the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Returns true if the deadline passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }

    /// Returns true if the caller was refused because too many others wait.
    #[must_use]
    pub fn is_saturated(&self) -> bool {
        matches!(self, Self::Saturated { .. })
    }

    /// Returns true if the caller failed because the pool is suspended.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        matches!(self, Self::Suspended { .. })
    }

    /// Returns true if `clear_waiters` ended the wait.
    #[must_use]
    pub fn is_cleared(&self) -> bool {
        matches!(self, Self::Cleared { .. })
    }

    /// Returns the error of `create`: that of [`Create`](Self::Create), or the last cause inside
    /// [`TimedOut`](Self::TimedOut) if it is a failed create.
    #[must_use]
    pub fn last_create_error(&self) -> Option<&E> {
        match self {
            Self::Create { error, .. } => Some(error),
            Self::TimedOut(timeout) => timeout.last.as_ref().and_then(Cause::create_error),
            Self::Closed { .. }
            | Self::Panicked { .. }
            | Self::Saturated { .. }
            | Self::Suspended { .. }
            | Self::NoCollector { .. }
            | Self::Cleared { .. } => None,
        }
    }

    /// Returns the name of the pool.
    #[must_use]
    pub fn pool(&self) -> &str {
        match self {
            Self::Closed { pool }
            | Self::Create { pool, .. }
            | Self::Panicked { pool, .. }
            | Self::Saturated { pool, .. }
            | Self::Suspended { pool }
            | Self::NoCollector { pool }
            | Self::Cleared { pool, .. } => pool,
            Self::TimedOut(timeout) => &timeout.pool,
        }
    }
}

impl<E> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { pool } => write!(f, "pool {pool:?}: closed"),
            Self::Create { pool, .. } => write!(f, "pool {pool:?}: create failed"),
            // Debug keeps the pool's name and a message of user code on one line.
            Self::Panicked {
                pool,
                hook,
                message,
            } => write!(f, "pool {pool:?}: {hook} panicked with {message:?}"),
            Self::Saturated { pool, max_waiters } => write!(
                f,
                "pool {pool:?}: refused at once, max_waiters ({max_waiters}) reached"
            ),
            Self::Suspended { pool } => write!(f, "pool {pool:?}: suspended"),
            Self::Cleared { pool, .. } => write!(f, "pool {pool:?}: the wait was cleared"),
            Self::NoCollector { pool } => write!(
                f,
                "pool {pool:?}: a task cannot wait, because background_collector is false and the pool has no threads"
            ),
            Self::TimedOut(timeout) => timeout.fmt(f),
        }
    }
}

// The impl is manual: thiserror's derive would return the `Arc` as the source, on which `downcast_ref::<E>()`
// fails.
impl<E: Error + 'static> Error for GetError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Create { error, .. } => Some(&**error),
            // This error displays as the timeout, so its source is the source of the timeout.
            Self::TimedOut(timeout) => timeout.source(),
            Self::Cleared { cause, .. } => cause.as_deref().map(|cause| cause as _),
            Self::Closed { .. }
            | Self::Panicked { .. }
            | Self::Saturated { .. }
            | Self::NoCollector { .. }
            | Self::Suspended { .. } => None,
        }
    }
}

// The impl is manual: a derive would require `E: Clone`.
impl<E> Clone for GetError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Closed { pool } => Self::Closed { pool: pool.clone() },
            Self::Create { pool, error } => Self::Create {
                pool: pool.clone(),
                error: error.clone(),
            },
            Self::Panicked {
                pool,
                hook,
                message,
            } => Self::Panicked {
                pool: pool.clone(),
                hook,
                message: message.clone(),
            },
            Self::Saturated { pool, max_waiters } => Self::Saturated {
                pool: pool.clone(),
                max_waiters: *max_waiters,
            },
            Self::Suspended { pool } => Self::Suspended { pool: pool.clone() },
            Self::NoCollector { pool } => Self::NoCollector { pool: pool.clone() },
            Self::Cleared { pool, cause } => Self::Cleared {
                pool: pool.clone(),
                cause: cause.clone(),
            },
            Self::TimedOut(timeout) => Self::TimedOut(timeout.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::timeout::tests::{Refused, source_is, timeout};
    use super::*;

    fn pool() -> Arc<str> {
        "orders".into()
    }

    fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
        std::iter::successors(Some(error), |&e| e.source())
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_line_names_the_pool_and_says_its_own_part_only() {
        let create = GetError::Create {
            pool: pool(),
            error: Arc::new(Refused),
        };
        assert_eq!(
            chain(&create),
            [r#"pool "orders": create failed"#, "refused"]
        );
        let panicked = GetError::<Refused>::Panicked {
            pool: pool(),
            hook: "create",
            message: "two\nlines".into(),
        };
        assert_eq!(
            chain(&panicked),
            [r#"pool "orders": create panicked with "two\nlines""#]
        );
        let closed = GetError::<Refused>::Closed { pool: pool() };
        assert_eq!(chain(&closed), [r#"pool "orders": closed"#]);
        let saturated = GetError::<Refused>::Saturated {
            pool: pool(),
            max_waiters: 8,
        };
        assert_eq!(
            chain(&saturated),
            [r#"pool "orders": refused at once, max_waiters (8) reached"#]
        );
    }

    #[test]
    fn a_timeout_prints_each_cause_once() {
        let mut inner = timeout();
        let text = inner.to_string();
        inner.last = Some(Cause::Create(Arc::new(Refused)));
        let error = GetError::TimedOut(Box::new(inner));
        assert_eq!(chain(&error), [&text, "the last create failed", "refused"]);
    }

    #[test]
    fn the_managers_error_is_found_as_itself() {
        let create = GetError::Create {
            pool: pool(),
            error: Arc::new(Refused),
        };
        assert!(source_is::<Refused>(&create));
        let mut inner = timeout();
        inner.last = Some(Cause::Check(Arc::new(Refused)));
        let error = GetError::TimedOut(Box::new(inner));
        let cause = error.source().expect("the last cause");
        assert!(cause.is::<Cause<Refused>>());
        assert!(source_is::<Refused>(cause));
    }

    #[test]
    fn predicates_tell_the_kinds_apart() {
        let closed = GetError::<Refused>::Closed { pool: pool() };
        let saturated = GetError::<Refused>::Saturated {
            pool: pool(),
            max_waiters: 0,
        };
        let timed_out = GetError::TimedOut(Box::new(timeout()));
        let kinds = |e: &GetError<Refused>| [e.is_closed(), e.is_saturated(), e.is_timeout()];
        assert_eq!(kinds(&closed), [true, false, false]);
        assert_eq!(kinds(&saturated), [false, true, false]);
        assert_eq!(kinds(&timed_out), [false, false, true]);
        for error in [closed, saturated, timed_out] {
            assert_eq!(error.pool(), "orders");
        }
    }

    #[test]
    fn the_last_create_error_is_that_of_a_create_and_of_nothing_else() {
        let with = |last| {
            let mut inner = timeout();
            inner.last = last;
            GetError::TimedOut(Box::new(inner))
        };
        let error = Arc::new(Refused);
        assert!(
            with(Some(Cause::Create(error.clone())))
                .last_create_error()
                .is_some()
        );
        assert!(
            with(Some(Cause::Check(error.clone())))
                .last_create_error()
                .is_none()
        );
        assert!(with(None).last_create_error().is_none());
        let create = GetError::Create {
            pool: pool(),
            error,
        };
        assert!(create.last_create_error().is_some());
    }

    #[test]
    fn clones_need_no_clone_of_the_managers_error_and_share_it() {
        let error = Arc::new(Refused);
        let original = GetError::Create {
            pool: pool(),
            error: error.clone(),
        };
        let GetError::Create { error: copy, .. } = original.clone() else {
            panic!("bug: a clone is of the same kind");
        };
        assert!(Arc::ptr_eq(&copy, &error));
    }
}
