//! The errors of a registry: names, and a close that did not finish in time.

use crate::StillInUse;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// An operation of a [`PoolRegistry`](crate::PoolRegistry) failed.
///
/// # Example
///
/// ```
/// use conpool::{MemoryManager, PoolRegistry, RegistryError};
///
/// let registry = PoolRegistry::new();
/// let error = registry.get::<MemoryManager>("orders").unwrap_err();
/// assert!(matches!(error, RegistryError::Unknown(name) if name == "orders"));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RegistryError {
    /// No pool has this name.
    Unknown(String),
    /// Another pool is registered under this name.
    NameTaken(String),
    /// The pool of this name has a manager of another type.
    WrongType {
        /// The name.
        name: String,
        /// The type of its manager.
        registered: &'static str,
        /// The type of manager that the caller asked for.
        asked: &'static str,
    },
    /// The function that builds the pool failed, or asked for the pool that it was building.
    Build {
        /// The name.
        name: String,
        /// Why.
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "no pool is registered as {name:?}"),
            Self::NameTaken(name) => write!(f, "another pool is registered as {name:?}"),
            Self::WrongType {
                name,
                registered,
                asked,
            } => write!(
                f,
                "the pool registered as {name:?} has a {registered}, not a {asked}"
            ),
            Self::Build { name, .. } => {
                write!(
                    f,
                    "the pool to be registered as {name:?} could not be built"
                )
            }
        }
    }
}

// The impl is manual: a derived `source` would return the `Arc`, which cannot be downcast to its content.
impl Error for RegistryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Build { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

/// [`PoolRegistry::close_all`](crate::PoolRegistry::close_all) reached its timeout. Every pool is closed
/// nevertheless.
///
/// Displays as one line with the number of pools and the work that each still waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseAllError {
    /// Each pool that did not finish, by its registered name, sorted.
    pub pools: Vec<(String, StillInUse)>,
}

impl fmt::Display for CloseAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.pools.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} pool{plural} not done at the deadline")?;
        for (nth, (name, left)) in self.pools.iter().enumerate() {
            let before = if nth == 0 { ": " } else { "; " };
            write!(f, "{before}{name:?}: {left}")?;
        }
        Ok(())
    }
}

impl Error for CloseAllError {}
