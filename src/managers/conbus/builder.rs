//! The settings of a [`ConbusSocketManager`] and how they are given.

use std::time::Duration;

use super::{ConbusSocketManager, Unread};
use crate::managers::socket::limit;

/// Below the default `dispose_timeout` of 5 s, after which the pool would connect again anyway.
const SINGLE_CLIENT_CLOSE_WAIT: Duration = Duration::from_secs(4);

/// What the builder collects and every create reads.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) addresses: Vec<String>,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    pub(super) nodelay: bool,
    pub(super) keepalive: Option<Duration>,
    pub(super) user_timeout: Option<Duration>,
    pub(super) bind: Option<String>,
    pub(super) close_wait: Duration,
    pub(super) unread: Unread,
}

/// Collects the settings of a [`ConbusSocketManager`]; made by
/// [`ConbusSocketManager::builder`].
///
/// No setter fails. A value that makes no sense (a zero timeout, a local address that is none) shows
/// as a permanent [`ConbusError`](super::ConbusError) of the first create. `Duration::MAX` means no
/// limit everywhere.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build is called"]
pub struct ConbusSocketManagerBuilder {
    settings: Settings,
}

impl ConbusSocketManagerBuilder {
    pub(super) fn new(address: String) -> Self {
        Self {
            settings: Settings {
                addresses: vec![address],
                connect_timeout: Duration::from_secs(10),
                read_timeout: None,
                write_timeout: None,
                nodelay: true,
                keepalive: None,
                user_timeout: None,
                bind: None,
                close_wait: Duration::from_millis(250),
                unread: Unread::default(),
            },
        }
    }

    /// Adds another address, `host:port`, tried when those before it did not work.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.settings.addresses.push(address.into());
        self
    }

    /// How long one create may spend on connecting, all addresses together. Default 10 s.
    ///
    /// An address gets what is left divided by the addresses still to try, so that one that does not
    /// answer leaves time for the next. Resolving names takes from the same budget but cannot be
    /// interrupted. Zero means that every create fails with
    /// [`OutOfTime`](super::ConbusError::OutOfTime).
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

    /// Sends small writes at once instead of collecting them (`TCP_NODELAY`). Default true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.settings.nodelay = nodelay;
        self
    }

    /// Lets the system ask a silent peer for a sign of life after this long. Default `None`: never.
    /// Not zero; whole seconds, rounded up.
    ///
    /// How often it asks again, and how many times, is the system's: on Linux 9 times, 75 s apart, so
    /// a peer that vanished is noticed some eleven minutes later. With
    /// [`user_timeout`](Self::user_timeout) (Linux) it asks again after that time, and the first
    /// question without an answer ends the connection.
    pub fn keepalive(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.settings.keepalive = limit(idle);
        self
    }

    /// How long sent data may stay unacknowledged before the system gives the connection up (Linux
    /// `TCP_USER_TIMEOUT`). Default `None`: the system's, some 15 minutes. Not zero; whole
    /// milliseconds, rounded up. No effect on other systems.
    pub fn user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.user_timeout = limit(timeout);
        self
    }

    /// The local address to connect from: an `IpAddr`, a `SocketAddr` or the text of one. Default:
    /// the system chooses. Port 0, or none, means any port.
    ///
    /// Only peers of the same address family are tried.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "an address is Copy and a text is a literal: by value reads best at the call"
    )]
    pub fn bind(mut self, local: impl ToString) -> Self {
        self.settings.bind = Some(local.to_string());
        self
    }

    /// How long a dispose waits for the peer's end after it has sent its own. Default 250 ms.
    ///
    /// A device that takes one client at a time is busy until it has seen the end of the last one:
    /// [`single_client`](Self::single_client) sets a longer wait. Zero closes without waiting. Should
    /// stay below the pool's `dispose_timeout`.
    pub fn close_wait(mut self, wait: Duration) -> Self {
        self.settings.close_wait = wait;
        self
    }

    /// The preset for a device that takes one client at a time: sets [`close_wait`](Self::close_wait) to
    /// 4 s, one second less than the pool's default `dispose_timeout`.
    ///
    /// A device that is frozen for longer than `close_wait` would meet the next connection before it has
    /// noticed the end of the last one, and may refuse it. The longer wait delays only a caller who needs
    /// the slot of the connection that is closed, and ends as soon as the device has answered. Goes with
    /// [`pool_config`](ConbusSocketManager::pool_config).
    pub fn single_client(self) -> Self {
        self.close_wait(SINGLE_CLIENT_CLOSE_WAIT)
    }

    /// What happens to bytes that arrived between two checkouts. Default: up to 64 KiB are thrown
    /// away.
    pub fn unread(mut self, unread: Unread) -> Self {
        self.settings.unread = unread;
        self
    }

    /// The manager. Touches nothing: names resolve and sockets open in `create`.
    #[must_use]
    pub fn build(self) -> ConbusSocketManager {
        ConbusSocketManager::from_settings(self.settings)
    }
}
