use super::{MemoryError, backend::Backend};
use std::{fmt, sync::Arc};

/// A connection to the key-value store that all clones of one
/// [`MemoryManager`](crate::MemoryManager) share.
pub struct MemoryConnection {
    id: u64,
    backend: Arc<Backend>,
    /// Set by a command that found the connection dead; a driver knows no sooner.
    pub(super) known_dead: bool,
    /// Whether `dispose` was called with it; a drop without that is counted apart.
    pub(super) disposed: bool,
}

impl MemoryConnection {
    pub(super) fn new(backend: Arc<Backend>) -> Self {
        Self {
            id: backend.open(),
            backend,
            known_dead: false,
            disposed: false,
        }
    }

    /// The number of this connection: 1 for the first that the backend opened, and never used
    /// again.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Runs one command, which must be in capitals:
    ///
    /// | command | answer |
    /// |---|---|
    /// | `PING` | `PONG` |
    /// | `SET key value` | `OK`; the value is the rest of the line, spaces included |
    /// | `GET key` | the value, or an empty string if the key was never set |
    ///
    /// Values are seen by all connections at once and outlive each of them.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Dead`] when the connection was killed; from then on
    /// [`has_broken`](crate::ConnectionManager::has_broken) knows it too.
    /// [`MemoryError::Command`] for anything that is not in the table; the connection stays good.
    ///
    /// # Examples
    ///
    /// ```
    /// use conpool::{ConnectionManager, MemoryManager};
    ///
    /// let mut connection = MemoryManager::new().create()?;
    /// connection.execute("SET colour dark green")?;
    /// assert_eq!(connection.execute("GET colour")?, "dark green");
    /// # Ok::<(), conpool::MemoryError>(())
    /// ```
    pub fn execute(&mut self, command: &str) -> Result<String, MemoryError> {
        let answer = self.backend.execute(self.id, command);
        if matches!(answer, Err(MemoryError::Dead { .. })) {
            self.known_dead = true;
        }
        answer
    }
}

impl Drop for MemoryConnection {
    fn drop(&mut self) {
        self.backend.closed(self.id, self.disposed);
    }
}

impl fmt::Debug for MemoryConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConnection")
            .field("id", &self.id)
            .field("known_dead", &self.known_dead)
            .finish_non_exhaustive()
    }
}
