//! The implementation of `ConnectionManager` for WebSockets.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tungstenite::{
    ClientHandshake, Error, HandshakeError,
    error::ProtocolError,
    handshake::client::generate_key,
    http::{HeaderValue, header},
};

use super::{
    WebSocketConnection, WebSocketError, WebSocketManagerBuilder, connect_params::ConnectParams,
    failure::is_timeout, settings::Settings, url::Unusable, wire::Wire,
};
use crate::{ConnectionManager, HealthCheck, Interrupt, PoolConfig, Transport};

/// The difference between the pool's limits and the manager's, so that the manager's limits apply first.
const MARGIN: Duration = Duration::from_secs(1);

/// Manages WebSockets to one URL. The [module](crate::managers::websocket) lists the limit of each step.
///
/// Needs the feature `websocket`.
///
/// Clones share the counter of [`unread`](Self::unread).
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
/// use conpool::{PoolBuilder, WebSocketManager};
///
/// let manager = WebSocketManager::builder("ws://feed.example/prices")
///     .header("Authorization", "Bearer 4711")
///     .read_timeout(Duration::from_secs(5))
///     .build();
/// let pool = PoolBuilder::from(manager.pool_config()).max_size(4).build(manager)?;
/// let mut feed = pool.get()?;
/// feed.send("EURUSD".into())?;
/// println!("{}", feed.read()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct WebSocketManager {
    settings: Settings,
    params: Result<Arc<ConnectParams>, Unusable>,
    unread: Arc<AtomicU64>,
}

impl WebSocketManager {
    /// Creates a manager for a `ws` URL with the default settings. Never fails: each create resolves the
    /// name.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self::builder(url).build()
    }

    /// Returns a builder for a URL with the scheme `ws` or `wss`.
    pub fn builder(url: impl Into<String>) -> WebSocketManagerBuilder {
        WebSocketManagerBuilder::new(url.into())
    }

    pub(super) fn from_settings(settings: Settings) -> Self {
        Self {
            params: ConnectParams::of(&settings).map(Arc::new),
            settings,
            unread: Arc::default(),
        }
    }

    /// Returns pool settings for this manager. All settings not listed are the defaults.
    ///
    /// The name is `websocket`. The collector pings idle connections every `ping_interval`, and a checkout
    /// checks a connection that was not checked for that long. `check_timeout`, `dispose_timeout` and
    /// `create_timeout` are at least a second above the manager's own limits.
    ///
    /// The pool's `idle_timeout` still evicts unused connections, by default after 10 minutes.
    #[must_use]
    pub fn pool_config(&self) -> PoolConfig {
        let settings = &self.settings;
        let default = PoolConfig::default();
        let above = |default: Duration, own: Duration| default.max(own.saturating_add(MARGIN));
        let opening = settings
            .connect_timeout
            .saturating_add(settings.handshake_timeout)
            .saturating_add(settings.handshake_timeout);
        PoolConfig {
            name: "websocket".into(),
            keepalive_interval: Some(settings.ping_interval),
            health_check: HealthCheck::AfterIdle(settings.ping_interval),
            check_timeout: above(default.check_timeout, settings.ping_timeout),
            dispose_timeout: above(default.dispose_timeout, settings.close_timeout),
            create_timeout: above(default.create_timeout, opening),
            ..default
        }
    }

    /// Returns the number of messages that were lost with disposed connections: kept messages that no user
    /// read, and messages that arrived during the close. Each such dispose also logs a warning to `tracing`
    /// (target `conpool`).
    pub fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    fn upgrade(
        &self,
        params: &ConnectParams,
        transport: Transport,
    ) -> Result<WebSocketConnection, WebSocketError> {
        let limit = self.settings.handshake_timeout;
        let mut wire = Wire::new(transport);
        wire.within(limit);
        let mut request = params.request.clone();
        let key = HeaderValue::try_from(generate_key()).expect("letters and digits");
        request.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key);
        let handshake = ClientHandshake::start(wire, request, Some(params.config));
        let handshake = handshake.map_err(|source| WebSocketError::Handshake { source })?;
        let (socket, response) = match handshake.handshake() {
            Ok(upgraded) => upgraded,
            Err(HandshakeError::Failure(error)) => return Err(refused(error, limit)),
            // Unreachable: the wire blocks, and reports its timeout as another error.
            Err(HandshakeError::Interrupted(_)) => {
                return Err(WebSocketError::HandshakeTimeout { limit });
            }
        };
        let subprotocol = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let subprotocol = subprotocol.and_then(|value| value.to_str().ok());
        Ok(WebSocketConnection::new(
            socket,
            self.settings.pushed,
            self.settings.timeouts,
            subprotocol.map(str::to_owned),
        ))
    }
}

fn refused(error: Error, limit: Duration) -> WebSocketError {
    if is_timeout(&error) {
        return WebSocketError::HandshakeTimeout { limit };
    }
    match error {
        Error::Http(response) => WebSocketError::Refused {
            status: response.status().as_u16(),
            reason: response.status().canonical_reason().unwrap_or_default(),
        },
        Error::Protocol(ProtocolError::HandshakeIncomplete) => WebSocketError::HandshakeCut {
            source: std::io::ErrorKind::UnexpectedEof.into(),
        },
        Error::Io(source) => WebSocketError::HandshakeCut { source },
        source => WebSocketError::Handshake { source },
    }
}

impl ConnectionManager for WebSocketManager {
    type Connection = WebSocketConnection;
    type Error = WebSocketError;

    fn create(&self) -> Result<WebSocketConnection, WebSocketError> {
        let params = self.params.as_ref().map_err(Unusable::clone)?;
        let transport = params.dialer.create()?;
        // The socket of a failed upgrade is useless, so it is closed without waiting for the server.
        self.upgrade(params, transport)
    }

    fn check_aliveness(&self, connection: &mut WebSocketConnection) -> Result<(), WebSocketError> {
        connection.ping(self.settings.ping_timeout).map(drop)
    }

    fn dispose(&self, connection: WebSocketConnection) {
        let (transport, unread) = connection.close(self.settings.close_timeout);
        if unread > 0 {
            self.unread.fetch_add(unread as u64, Ordering::Relaxed);
            tracing::warn!(
                target: "conpool",
                unread,
                "a WebSocket was disposed with messages nobody has read"
            );
        }
        match &self.params {
            Ok(params) => params.dialer.dispose(transport),
            // The connection comes from another manager and was added to this pool.
            Err(_) => drop(transport),
        }
    }

    fn has_broken(&self, connection: &mut WebSocketConnection) -> bool {
        connection.is_broken()
    }

    fn on_checkout(&self, connection: &mut WebSocketConnection) -> Result<(), WebSocketError> {
        connection.read_arrived()
    }

    fn on_checkin(&self, connection: &mut WebSocketConnection) -> Result<(), WebSocketError> {
        connection.timeouts = self.settings.timeouts;
        Ok(())
    }

    fn interrupter(&self, connection: &mut WebSocketConnection) -> Option<Box<dyn Interrupt>> {
        let params = self.params.as_ref().ok()?;
        let transport = connection.socket.get_ref().transport();
        params.dialer.interrupter_of(transport)
    }

    fn is_transient(&self, error: &WebSocketError) -> bool {
        error.is_transient()
    }
}

impl fmt::Debug for WebSocketManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketManager")
            .field("settings", &self.settings)
            .field("unread", &self.unread())
            .finish_non_exhaustive()
    }
}
