//! The error of `Pool::add`.

use std::{fmt, sync::Arc};

/// [`Pool::add`](crate::Pool::add) did not take the connection. The connection is intact;
/// [`into_inner`](Self::into_inner) returns it.
///
/// # Example
///
/// ```
/// use conpool::AddError;
///
/// let error = AddError::Full { pool: "orders".into(), max_size: 10, connection: 7 };
/// assert!(error.is_full());
/// assert_eq!(error.to_string(), r#"pool "orders": full, max_size (10) reached"#);
/// assert_eq!(error.into_inner(), 7);
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum AddError<C> {
    /// Every slot is taken.
    #[error("pool {pool:?}: full, max_size ({max_size}) reached")]
    Full {
        /// The pool's name.
        pool: Arc<str>,
        /// The limit that was reached, in connections.
        max_size: usize,
        /// The connection that was not added.
        connection: C,
    },
    /// The pool is closed.
    #[error("pool {pool:?}: closed")]
    Closed {
        /// The pool's name.
        pool: Arc<str>,
        /// The connection that was not added.
        connection: C,
    },
}

impl<C> AddError<C> {
    /// Returns the connection that was not added.
    #[must_use]
    pub fn into_inner(self) -> C {
        match self {
            Self::Full { connection, .. } | Self::Closed { connection, .. } => connection,
        }
    }

    /// Returns true if every slot was taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Returns true if the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

// The impl is manual: a derive would require `C: Debug`, which few connections implement, and `Error`
// requires `Debug`.
impl<C> fmt::Debug for AddError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { pool, max_size, .. } => f
                .debug_struct("Full")
                .field("pool", pool)
                .field("max_size", max_size)
                .finish_non_exhaustive(),
            Self::Closed { pool, .. } => f
                .debug_struct("Closed")
                .field("pool", pool)
                .finish_non_exhaustive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    struct Opaque;

    #[test]
    fn a_connection_without_any_trait_makes_an_error_all_the_same() {
        let error: Box<dyn Error> = Box::new(AddError::Closed {
            pool: "orders".into(),
            connection: Opaque,
        });
        assert_eq!(error.to_string(), r#"pool "orders": closed"#);
        assert_eq!(format!("{error:?}"), r#"Closed { pool: "orders", .. }"#);
    }

    #[test]
    fn the_connection_comes_back_from_both_kinds() {
        let full = AddError::Full {
            pool: "orders".into(),
            max_size: 1,
            connection: "a",
        };
        assert!(full.is_full() && !full.is_closed());
        assert_eq!(full.into_inner(), "a");
        let closed = AddError::Closed {
            pool: "orders".into(),
            connection: "b",
        };
        assert!(closed.is_closed() && !closed.is_full());
        assert_eq!(closed.into_inner(), "b");
    }
}
