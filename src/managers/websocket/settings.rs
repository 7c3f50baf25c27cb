//! The settings of a [`WebSocketManager`](super::WebSocketManager).

use std::{fmt, time::Duration};

use super::url::shown;
use crate::ConbusSocketManagerBuilder;
#[cfg(feature = "tls")]
use crate::TlsConfig;

/// What happens to messages that arrive while nobody reads: between two checkouts, or while a ping
/// waits for its pong.
///
/// There is no way to throw them away unseen. Who wants to can read them and do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pushed {
    /// They are kept, in order, and the next user of the connection reads them first. The default,
    /// with 1024 messages and 1 MiB.
    ///
    /// With one more of either the connection is evicted, with
    /// [`PushedTooMuch`](super::WebSocketError::PushedTooMuch).
    Keep {
        /// Whole messages kept at a time.
        max_messages: usize,
        /// Their payload together, and that of a message that is not complete.
        max_bytes: usize,
    },
    /// A connection that has data for nobody is out of step, and is evicted.
    Reject,
}

impl Pushed {
    /// How many messages, and how many bytes.
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

/// What the builder collects.
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
    pub(super) read_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) max_message_size: Option<usize>,
    pub(super) max_frame_size: Option<usize>,
    pub(super) pushed: Pushed,
}

impl fmt::Debug for Settings {
    /// Without the values of headers and the query of the URL, which may be secrets.
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
            .field("read_timeout", &self.read_timeout)
            .field("write_timeout", &self.write_timeout)
            .field("max_message_size", &self.max_message_size)
            .field("max_frame_size", &self.max_frame_size)
            .field("pushed", &self.pushed)
            .finish_non_exhaustive()
    }
}
