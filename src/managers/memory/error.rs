use super::Hook;

/// Why a hook of [`MemoryManager`](crate::MemoryManager) or a command of
/// [`MemoryConnection`](crate::MemoryConnection) failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The failure was asked for by [`fail`](crate::MemoryManager::fail) or
    /// [`fail_transient`](crate::MemoryManager::fail_transient).
    #[error("scripted failure of {hook}{}", if *transient { ", transient" } else { "" })]
    #[non_exhaustive]
    Scripted {
        /// The hook that failed.
        hook: Hook,
        /// Whether the failure counts as worth repeating.
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
    /// The command is not one of those that the connection understands. The connection stays good.
    #[error("unknown command {command:?}")]
    #[non_exhaustive]
    Command {
        /// The command as it was given.
        command: String,
    },
}

impl MemoryError {
    /// Is this worth repeating? True for failures scripted as transient, and only for them.
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
