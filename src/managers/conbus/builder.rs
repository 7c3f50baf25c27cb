//! The builder of a [`ConbusSocketManager`].

use std::time::Duration;

use super::{ConbusSocketManager, Unread};
use crate::managers::socket::limit;

/// Stays below the default `dispose_timeout` of 5 s, after which the pool would connect again anyway.
const SINGLE_CLIENT_CLOSE_WAIT: Duration = Duration::from_secs(4);

/// The settings that the builder collects and every create reads.
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
    pub(super) interruptible: bool,
    pub(super) unread: Unread,
}

/// Builds a [`ConbusSocketManager`]; created by [`ConbusSocketManager::builder`].
///
/// Setters never fail. An invalid value (a zero timeout, or a text that is no local address) causes a
/// permanent [`ConbusError`](super::ConbusError) in the first create. `Duration::MAX` means no limit in every
/// setting.
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
                interruptible: true,
                unread: Unread::default(),
            },
        }
    }

    /// Adds another address, `host:port`. It is tried after the addresses before it have failed.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.settings.addresses.push(address.into());
        self
    }

    /// Sets how long one create may spend on connecting, over all addresses. Default 10 s.
    ///
    /// Each address gets the remaining time divided by the number of addresses still to try, so that an
    /// unresponsive address leaves time for the next. Resolving names counts towards the timeout but cannot
    /// be interrupted. With zero, every create fails with
    /// [`OutOfTime`](super::ConbusError::OutOfTime).
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

    /// Sets whether small writes are sent at once instead of being collected (`TCP_NODELAY`). Default true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.settings.nodelay = nodelay;
        self
    }

    /// Sets the idle time after which the system probes a silent peer (TCP keepalive). Default `None`, never.
    /// Not zero; whole seconds, rounded up.
    ///
    /// The system decides how often it repeats the probe: Linux sends 9 probes, 75 s apart, so a vanished
    /// peer is noticed about eleven minutes later. With [`user_timeout`](Self::user_timeout) (Linux), probes
    /// are repeated at that interval, and the first probe without an answer ends the connection.
    pub fn keepalive(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.settings.keepalive = limit(idle);
        self
    }

    /// Sets how long sent data may stay unacknowledged before the system gives up the connection (Linux
    /// `TCP_USER_TIMEOUT`). Default `None`, the system's limit of about 15 minutes. Not zero; whole
    /// milliseconds, rounded up. Has no effect on other systems.
    pub fn user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.user_timeout = limit(timeout);
        self
    }

    /// Sets the local address to connect from: an `IpAddr`, a `SocketAddr` or the text of one. By default the
    /// system chooses. Port 0, or no port, means any port.
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

    /// Sets how long a dispose waits for the peer's end of stream after it has sent its own. Default 250 ms.
    ///
    /// A device that takes one client at a time is busy until it has seen the end of the last connection;
    /// [`single_client`](Self::single_client) sets a longer wait for it. Zero closes without waiting. Should
    /// stay below the pool's `dispose_timeout`.
    pub fn close_wait(mut self, wait: Duration) -> Self {
        self.settings.close_wait = wait;
        self
    }

    /// Sets [`close_wait`](Self::close_wait) to 4 s, for a device that takes one client at a time. This is
    /// one second less than the pool's default `dispose_timeout`.
    ///
    /// A device that is frozen for longer than `close_wait` would see the next connection before the end of
    /// the last one, and may refuse it. The longer wait delays only callers that need the slot of the closing
    /// connection, and ends as soon as the device has answered. Use it together with
    /// [`pool_config`](ConbusSocketManager::pool_config).
    pub fn single_client(self) -> Self {
        self.close_wait(SINGLE_CLIENT_CLOSE_WAIT)
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

    /// Builds the manager. Performs no I/O: `create` resolves names and opens sockets.
    #[must_use]
    pub fn build(self) -> ConbusSocketManager {
        ConbusSocketManager::from_settings(self.settings)
    }
}
