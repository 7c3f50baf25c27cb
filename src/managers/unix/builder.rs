//! The builder of a [`UnixSocketManager`].

use std::{path::PathBuf, time::Duration};

use super::UnixSocketManager;
use crate::{Unread, managers::socket::limit};

/// The settings that the builder collects and every create reads.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) path: PathBuf,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) close_wait: Duration,
    pub(super) interruptible: bool,
    pub(super) unread: Unread,
}

/// Builds a [`UnixSocketManager`]; created by [`UnixSocketManager::builder`].
///
/// Setters never fail. An invalid value (a zero timeout, or a path that is too long) causes a permanent
/// [`UnixSocketError`](super::UnixSocketError) in the first create. `Duration::MAX` means no limit in every
/// setting.
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
                interruptible: true,
                unread: Unread::default(),
            },
        }
    }

    /// Sets how long one create may wait for a place in the listener's queue. Default 10 s.
    ///
    /// With zero, every create fails with [`OutOfTime`](super::UnixSocketError::OutOfTime).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets how long one read of the user may wait. Default `None`, no limit. Not zero.
    ///
    /// Every check-in restores the timeout, so a change by one user does not affect the next.
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.read_timeout = limit(timeout);
        self
    }

    /// Sets how long one write of the user may wait. Default `None`, no limit. Not zero.
    ///
    /// Every check-in restores the timeout.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.write_timeout = limit(timeout);
        self
    }

    /// Sets how long a dispose waits for the server's end of stream after it has sent its own. Default 250
    /// ms.
    ///
    /// Zero closes without waiting. Should stay below the pool's `dispose_timeout`.
    pub fn close_wait(mut self, wait: Duration) -> Self {
        self.settings.close_wait = wait;
        self
    }

    /// Sets whether the pool can interrupt a connection in use (see [`Pool::interrupt`](crate::Pool::interrupt)).
    /// Default true.
    ///
    /// The interrupt shuts the socket down by a second descriptor, so each connection takes two descriptors. A
    /// thread that hangs in a read gets an end of stream, and a thread that hangs in a write gets an error.
    pub fn interruptible(mut self, interruptible: bool) -> Self {
        self.settings.interruptible = interruptible;
        self
    }

    /// Sets what happens to bytes that arrived between two checkouts. By default, up to 64 KiB are discarded.
    pub fn unread(mut self, unread: Unread) -> Self {
        self.settings.unread = unread;
        self
    }

    /// Builds the manager. Performs no I/O: `create` opens sockets.
    #[must_use]
    pub fn build(self) -> UnixSocketManager {
        UnixSocketManager::from_settings(self.settings)
    }
}
