//! The settings of a [`WebSocketManager`] and how they are given.

use std::time::Duration;

use super::{
    WebSocketManager,
    settings::{Pushed, Settings},
    url::address,
};
#[cfg(feature = "tls")]
use crate::TlsConfig;
use crate::{ConbusSocketManager, ConbusSocketManagerBuilder};

/// Collects the settings of a [`WebSocketManager`]; made by [`WebSocketManager::builder`].
///
/// No setter fails. A value that makes no sense (a zero timeout, a URL that is none, a header that
/// cannot be sent) shows as a permanent [`WebSocketError`](super::WebSocketError) of the first create.
/// `Duration::MAX` means no limit everywhere.
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
                read_timeout: None,
                write_timeout: None,
                max_message_size: Some(64 * 1024 * 1024),
                max_frame_size: Some(16 * 1024 * 1024),
                pushed: Pushed::default(),
            },
        }
    }

    /// Adds a header to the request for the upgrade: `Authorization`, `Origin`, `Cookie` and the like.
    /// `Host` replaces the one from the URL. Those of the handshake itself are refused.
    ///
    /// The value is not shown by `Debug` and in no error. tungstenite shows the whole request to the
    /// facade `log`, at the level `trace`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a subprotocol that the server may choose, the most wanted first. A server that chooses
    /// none, or another one, fails the create for good.
    pub fn subprotocol(mut self, protocol: impl Into<String>) -> Self {
        self.settings.subprotocols.push(protocol.into());
        self
    }

    /// Whom to trust when the scheme is `wss`, which cannot be used without it. Has no effect on `ws`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: impl Into<TlsConfig>) -> Self {
        self.settings.tls = Some(config.into());
        self
    }

    /// Changes the settings of TCP: further addresses, `nodelay`, `keepalive`, `user_timeout`, `bind`.
    ///
    /// Without effect are `connect_timeout`, `read_timeout` and `write_timeout`, which are settings
    /// [here](Self::connect_timeout), and `unread` and `close_wait`, whose work is done by
    /// [`pushed`](Self::pushed) and [`close_timeout`](Self::close_timeout).
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

    /// How long one create may spend on connecting, all addresses together. Default 10 s. Not zero.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long the upgrade may take once the connection stands, and before it, with `wss`, the
    /// handshake of TLS. Default 10 s each. Not zero.
    ///
    /// All of the upgrade together: a server that sends byte after byte gains nothing.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// How long a health check waits for the pong. Default 10 s. Not zero.
    ///
    /// Must stay below the pool's `check_timeout`, which is 5 s unless set:
    /// [`pool_config`](WebSocketManager::pool_config) sees to that.
    pub fn ping_timeout(mut self, timeout: Duration) -> Self {
        self.settings.ping_timeout = timeout;
        self
    }

    /// How long a connection may be idle before the pool's collector pings it. Default 30 s. Not zero.
    ///
    /// The pool does this, by its `keepalive_interval`, so this takes effect through
    /// [`pool_config`](WebSocketManager::pool_config). Pings of the server are answered on the same
    /// occasion: the interval must be shorter than a server waits for its pongs.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.settings.ping_interval = interval;
        self
    }

    /// How long a dispose waits for the server's end of the closing handshake, all of it together.
    /// Default 1 s. Zero sends the close frame if there is room for it and waits for nothing.
    ///
    /// Must stay below the pool's `dispose_timeout`, which is 5 s unless set.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout;
        self
    }

    /// How long one [`read`](super::WebSocketConnection::read) of the user may wait for a whole
    /// message. Default `None`: for ever. Not zero.
    ///
    /// Set again at every check-in, so that a user who changes it does not change it for the next.
    pub fn read_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.read_timeout = timeout.into();
        self
    }

    /// How long one [`send`](super::WebSocketConnection::send) of the user may take. Default `None`:
    /// for ever. Not zero.
    ///
    /// Set again at every check-in.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.write_timeout = timeout.into();
        self
    }

    /// The longest message that is taken in. Default 64 MiB; `None`: any. A longer one breaks the
    /// connection.
    pub fn max_message_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.settings.max_message_size = bytes.into();
        self
    }

    /// The longest frame that is taken in. Default 16 MiB; `None`: any. A longer one breaks the
    /// connection, before memory is taken for it.
    pub fn max_frame_size(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.settings.max_frame_size = bytes.into();
        self
    }

    /// What happens to messages that arrive while nobody reads. Default: up to 1024 of them, with
    /// 1 MiB together, are kept for the next user.
    pub fn pushed(mut self, pushed: Pushed) -> Self {
        self.settings.pushed = pushed;
        self
    }

    /// The manager. Touches nothing: names resolve and sockets open in `create`.
    #[must_use]
    pub fn build(self) -> WebSocketManager {
        WebSocketManager::from_settings(self.settings)
    }
}
