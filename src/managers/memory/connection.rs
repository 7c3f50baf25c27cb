use super::{MemoryError, backend::Backend};
use std::{fmt, sync::Arc};

/// A connection to the key-value store that all clones of one
/// [`MemoryManager`](crate::MemoryManager) share.
pub struct MemoryConnection {
    id: u64,
    backend: Arc<Backend>,
    /// Set when a command finds the connection dead, as in a driver.
    pub(super) known_dead: bool,
    /// Whether `dispose` was called. A drop without `dispose` is counted separately.
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

    /// Returns the number of this connection. The first connection of the backend has the number 1, and
    /// numbers are never reused.
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
    /// All connections see a value at once, and it outlives each of them.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Dead`] if the connection was killed.
    /// [`has_broken`](crate::ConnectionManager::has_broken) returns true from then on.
    /// [`MemoryError::Command`] for a command that is not in the table; the connection stays good.
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
