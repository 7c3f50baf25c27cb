use super::Hook;

/// A hook of [`MemoryManager`](crate::MemoryManager) or a command of
/// [`MemoryConnection`](crate::MemoryConnection) failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The failure was scripted by [`fail`](crate::MemoryManager::fail) or
    /// [`fail_transient`](crate::MemoryManager::fail_transient).
    #[error("scripted failure of {hook}{}", if *transient { ", transient" } else { "" })]
    #[non_exhaustive]
    Scripted {
        /// The hook that failed.
        hook: Hook,
        /// Whether the failure is transient.
        transient: bool,
    },
    /// The connection was killed by [`kill`](crate::MemoryManager::kill) or
    /// [`kill_all`](crate::MemoryManager::kill_all).
    #[error("connection {id} is dead")]
    #[non_exhaustive]
    Dead {
        /// The number of the connection.
        id: u64,
    },
    /// The command is unknown. The connection stays good.
    #[error("unknown command {command:?}")]
    #[non_exhaustive]
    Command {
        /// The command as given.
        command: String,
    },
}

impl MemoryError {
    /// Returns true if the failure was scripted as transient.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Scripted {
                transient: true,
                ..
            }
        )
    }
}
