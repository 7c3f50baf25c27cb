//! The builder of a [`WebSocketManager`].

use std::time::Duration;

use super::{
    WebSocketManager,
    settings::{Pushed, Settings, Timeouts},
    url::address,
};
#[cfg(feature = "tls")]
use crate::TlsConfig;
use crate::{ConbusSocketManager, ConbusSocketManagerBuilder};

/// Builds a [`WebSocketManager`]; created by [`WebSocketManager::builder`].
///
/// Setters never fail. An invalid value (a zero timeout, an invalid URL, or a header that cannot be sent)
/// causes a permanent [`WebSocketError`](super::WebSocketError) in the first create. `Duration::MAX` means no
/// limit in every setting.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build is called"]
pub struct WebSocketManagerBuilder {
    settings: Settings,
}

impl WebSocketManagerBuilder {
    pub(super) fn new(url: String) -> Self {
        Self {
            settings: Settings {
                tcp: ConbusSocketManager::builder(address(&url)),
                url,
                headers: Vec::new(),
                subprotocols: Vec::new(),
                #[cfg(feature = "tls")]
                tls: None,
                connect_timeout: Duration::from_secs(10),
                handshake_timeout: Duration::from_secs(10),
                ping_timeout: Duration::from_secs(10),
                ping_interval: Duration::from_secs(30),
                close_timeout: Duration::from_secs(1),
                timeouts: Timeouts::default(),
                max_message_size: Some(64 * 1024 * 1024),
                max_frame_size: Some(16 * 1024 * 1024),
                pushed: Pushed::default(),
            },
        }
    }

    /// Adds a header to the upgrade request, such as `Authorization`, `Origin` or `Cookie`. `Host` replaces
    /// the host of the URL. Headers of the handshake itself are refused.
    ///
    /// `Debug` and errors never show the value. tungstenite logs the whole request through the facade `log`,
    /// at the level `trace`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a subprotocol that the server may choose; add the preferred one first. A server that chooses
    /// none, or another one, fails the create permanently.
    pub fn subprotocol(mut self, protocol: impl Into<String>) -> Self {
        self.settings.subprotocols.push(protocol.into());
        self
    }

    /// Sets the trusted certificates for `wss`, which requires this setting. Has no effect on `ws`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<TlsConfig>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Changes the settings of TCP: further addresses, `nodelay`, `keepalive`, `user_timeout`, `bind`.
    ///
    /// `connect_timeout`, `read_timeout` and `write_timeout` have no effect here, because they are settings
    /// of [this builder](Self::connect_timeout). `unread` and `close_wait` have none either;
    /// [`pushed`](Self::pushed) and [`close_timeout`](Self::close_timeout) replace them.
    ///
    /// ```
    /// # use conpool::WebSocketManager;
    /// # use std::time::Duration;
    /// let manager = WebSocketManager::builder("ws://feed.example/prices")
    ///     .tcp(|tcp| tcp.address("spare.example:80").keepalive(Duration::from_secs(60)))
    ///     .build();
    /// ```
    pub fn tcp(
        mut self,
        change: impl FnOnce(ConbusSocketManagerBuilder) -> ConbusSocketManagerBuilder,
    ) -> Self {
        self.settings.tcp = change(self.settings.tcp);
        self
    }

    /// Sets how long one create may spend on connecting, over all addresses. Default 10 s. Not zero.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets how long the upgrade may take once the connection is open, and, with `wss`, the TLS handshake
    /// before it. Default 10 s each. Not zero.
    ///
    /// The limit applies to the whole upgrade, even if the server sends single bytes.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// Sets how long a health check waits for the pong. Default 10 s. Not zero.
    ///
    /// Must stay below the pool's `check_timeout`, whose default is 5 s:
    /// [`pool_config`](WebSocketManager::pool_config) raises it accordingly.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.settings.ping_timeout = timeout;
        self
    }

    /// Sets how long a connection may be idle before the pool's collector pings it. Default 30 s. Not zero.
    ///
    /// The setting takes effect through [`pool_config`](WebSocketManager::pool_config), which sets the pool's
    /// `keepalive_interval`. The check also answers pings of the server, so the interval must be shorter than
    /// the time that the server waits for its pongs.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.settings.ping_interval = interval;
        self
    }

    /// Sets how long a dispose waits for the server to finish the closing handshake. Default 1 s. Zero sends
    /// the close frame if the socket has room for it and does not wait.
    ///
    /// Must stay below the pool's `dispose_timeout`, whose default is 5 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout;
        self
    }

    /// Sets how long one [`read`](super::WebSocketConnection::read) of the user may wait for a whole message.
    /// Default `None`, no limit. Not zero.
    ///
    /// Every check-in restores the timeout, so a change by one user does not affect the next.
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.read = timeout.into();
        self
    }

    /// Sets how long one [`send`](super::WebSocketConnection::send) of the user may take. Default `None`, no
    /// limit. Not zero.
    ///
    /// Every check-in restores the timeout.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.timeouts.write = timeout.into();
        self
    }

    /// Sets the maximum size of a received message. Default 64 MiB; `None` for no limit. A longer message
    /// breaks the connection.
    pub fn max_message_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.settings.max_message_size = bytes.into();
        self
    }

    /// Sets the maximum size of a received frame. Default 16 MiB; `None` for no limit. A longer frame breaks
    /// the connection before memory is allocated for it.
    pub fn max_frame_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.settings.max_frame_size = bytes.into();
        self
    }

    /// Sets what happens to messages that arrive while no user reads. By default, up to 1024 messages with 1
    /// MiB in total are kept for the next user.
    pub fn pushed(mut self, pushed: Pushed) -> Self {
        self.settings.pushed = pushed;
        self
    }

    /// Builds the manager. Performs no I/O: `create` resolves names and opens sockets.
    #[must_use]
    pub fn build(self) -> WebSocketManager {
        WebSocketManager::from_settings(self.settings)
    }
}
