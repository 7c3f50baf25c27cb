//! The settings of a [`UnixSocketManager`] and how they are given.

use std::{path::PathBuf, time::Duration};

use super::UnixSocketManager;
use crate::{Unread, managers::socket::limit};

/// What the builder collects and every create reads.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) path: PathBuf,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) close_wait: Duration,
    pub(super) unread: Unread,
}

/// Collects the settings of a [`UnixSocketManager`]; made by [`UnixSocketManager::builder`].
///
/// No setter fails. A value that makes no sense (a zero timeout, a path that is too long) shows as a
/// permanent [`UnixSocketError`](super::UnixSocketError) of the first create. `Duration::MAX` means no
/// limit everywhere.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build is called"]
pub struct UnixSocketManagerBuilder {
    settings: Settings,
}

impl UnixSocketManagerBuilder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            settings: Settings {
                path,
                connect_timeout: Duration::from_secs(10),
                read_timeout: None,
                write_timeout: None,
                close_wait: Duration::from_millis(250),
                unread: Unread::default(),
            },
        }
    }

    /// How long one create may wait for a place in the queue of the listener. Default 10 s.
    ///
    /// Zero means that every create fails with [`OutOfTime`](super::UnixSocketError::OutOfTime).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long one read of the user may wait. Default `None`: for ever. Not zero.
    ///
    /// Set again at every check-in, so that a user who changes it does not change it for the next.
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.read_timeout = limit(timeout);
        self
    }

    /// How long one write of the user may wait. Default `None`: for ever. Not zero.
    ///
    /// Set again at every check-in.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.write_timeout = limit(timeout);
        self
    }

    /// How long a dispose waits for the server's end after it has sent its own. Default 250 ms.
    ///
    /// Zero closes without waiting. Should stay below the pool's `dispose_timeout`.
    pub fn close_wait(mut self, wait: Duration) -> Self {
        self.settings.close_wait = wait;
        self
    }

    /// What happens to bytes that arrived between two checkouts. Default: up to 64 KiB are thrown
    /// away.
    pub fn unread(mut self, unread: Unread) -> Self {
        self.settings.unread = unread;
        self
    }

    /// The manager. Touches nothing: sockets open in `create`.
    #[must_use]
    pub fn build(self) -> UnixSocketManager {
        UnixSocketManager::from_settings(self.settings)
    }
}
