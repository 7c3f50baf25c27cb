//! The builder of a [`TlsSocketManager`].

use std::time::Duration;

use super::{TlsConfig, TlsSocketManager};
use crate::{ConbusSocketManager, ConbusSocketManagerBuilder, Unread};

/// The settings that the builder collects and every hook reads.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) config: TlsConfig,
    pub(super) server_name: String,
    pub(super) handshake_timeout: Duration,
    pub(super) unread: Unread,
}

/// Builds a [`TlsSocketManager`]; created by [`TlsSocketManager::builder`].
///
/// Setters never fail. An invalid value causes a permanent [`TlsError`](super::TlsError) in the first create.
/// `Duration::MAX` means no limit.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build is called"]
pub struct TlsSocketManagerBuilder {
    tcp: ConbusSocketManagerBuilder,
    settings: Settings,
}

impl TlsSocketManagerBuilder {
    pub(super) fn new(address: String, config: TlsConfig) -> Self {
        let settings = Settings {
            config,
            server_name: host(&address).to_owned(),
            handshake_timeout: Duration::from_secs(10),
            unread: Unread::default(),
        };
        Self {
            tcp: ConbusSocketManager::builder(address),
            settings,
        }
    }

    /// Changes the settings of TCP: further addresses, `connect_timeout`, `read_timeout`, `write_timeout`,
    /// `nodelay`, `keepalive`, `user_timeout`, `bind`, `close_wait`. Its `unread` has no effect; use
    /// [`unread`](Self::unread) of this builder.
    ///
    /// ```
    /// # use conpool::{TlsConfig, TlsSocketManager};
    /// # use std::time::Duration;
    /// # fn manager(config: TlsConfig) -> TlsSocketManager {
    /// TlsSocketManager::builder("bridge.example:10443", config)
    ///     .tcp(|tcp| tcp.read_timeout(Duration::from_secs(2)).keepalive(Duration::from_secs(60)))
    ///     .build()
    /// # }
    /// ```
    pub fn tcp(
        mut self,
        change: impl FnOnce(ConbusSocketManagerBuilder) -> ConbusSocketManagerBuilder,
    ) -> Self {
        self.tcp = change(self.tcp);
        self
    }

    /// Sets the name that the server's certificate must contain: a DNS name or an IP address. Default: the
    /// host of the first address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.settings.server_name = name.into();
        self
    }

    /// Sets how long the handshake may take once TCP is connected. Default 10 s. With zero, every create
    /// fails.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.settings.handshake_timeout = timeout;
        self
    }

    /// Sets what happens to data that arrived between two checkouts. By default, up to 64 KiB are discarded.
    ///
    /// With [`Unread::Keep`], the end of a connection is not detected until the data before it has been read.
    pub fn unread(mut self, unread: Unread) -> Self {
        self.settings.unread = unread;
        self
    }

    /// Builds the manager. Performs no I/O: `create` resolves names and opens sockets.
    #[must_use]
    pub fn build(self) -> TlsSocketManager {
        // Bytes of TLS records must not be discarded.
        let tcp = self.tcp.unread(Unread::Keep).build();
        TlsSocketManager::from_settings(tcp, self.settings)
    }
}

/// Returns the host of an address: `bridge` of `bridge:10443`, `::1` of `[::1]:10443`.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_host_of_an_address_is_what_stands_before_the_port() {
        assert_eq!(host("bridge.example:10443"), "bridge.example");
        assert_eq!(host("127.0.0.1:1"), "127.0.0.1");
        assert_eq!(host("[::1]:10443"), "::1");
        assert_eq!(host("bridge"), "bridge");
    }
}
