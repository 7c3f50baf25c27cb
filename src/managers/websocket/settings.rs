//! The settings of a [`WebSocketManager`](super::WebSocketManager).

use std::{fmt, time::Duration};

use super::url::shown;
use crate::ConbusSocketManagerBuilder;
#[cfg(feature = "tls")]
use crate::TlsConfig;

/// The handling of messages that arrive while no user reads: between two checkouts, or while a ping waits for
/// its pong.
///
/// Messages are never discarded silently. A user that does not want them can read and drop them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pushed {
    /// Keeps the messages in order; the next user of the connection reads them first. The default, with 1024
    /// messages and 1 MiB.
    ///
    /// A connection that exceeds either limit is evicted with
    /// [`PushedTooMuch`](super::WebSocketError::PushedTooMuch).
    Keep {
        /// The maximum number of whole messages.
        max_messages: usize,
        /// The maximum payload of these messages and of an incomplete one.
        max_bytes: usize,
    },
    /// Evicts a connection that receives data, because it is out of step.
    Reject,
}

impl Pushed {
    /// Returns the maximum number of messages and bytes.
    pub(super) fn limits(self) -> (usize, usize) {
        match self {
            Self::Keep {
                max_messages,
                max_bytes,
            } => (max_messages, max_bytes),
            Self::Reject => (0, 0),
        }
    }
}

impl Default for Pushed {
    fn default() -> Self {
        Self::Keep {
            max_messages: 1024,
            max_bytes: 1024 * 1024,
        }
    }
}

/// The timeouts that a user may change and the check-in restores.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timeouts {
    pub(super) read: Option<Duration>,
    pub(super) write: Option<Duration>,
}

/// The settings that the builder collects.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) subprotocols: Vec<String>,
    pub(super) tcp: ConbusSocketManagerBuilder,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsConfig>,
    pub(super) connect_timeout: Duration,
    pub(super) handshake_timeout: Duration,
    pub(super) ping_timeout: Duration,
    pub(super) ping_interval: Duration,
    pub(super) close_timeout: Duration,
    pub(super) timeouts: Timeouts,
    pub(super) max_message_size: Option<usize>,
    pub(super) max_frame_size: Option<usize>,
    pub(super) pushed: Pushed,
}

impl fmt::Debug for Settings {
    /// Omits the values of headers and the query of the URL, which may be confidential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Settings")
            .field("url", &shown(&self.url))
            .field("headers", &headers)
            .field("subprotocols", &self.subprotocols)
            .field("tcp", &self.tcp)
            .field("connect_timeout", &self.connect_timeout)
            .field("handshake_timeout", &self.handshake_timeout)
            .field("ping_timeout", &self.ping_timeout)
            .field("ping_interval", &self.ping_interval)
            .field("close_timeout", &self.close_timeout)
            .field("read_timeout", &self.timeouts.read)
            .field("write_timeout", &self.timeouts.write)
            .field("max_message_size", &self.max_message_size)
            .field("max_frame_size", &self.max_frame_size)
            .field("pushed", &self.pushed)
            .finish_non_exhaustive()
    }
}
