//! The manager itself: which hook does what.

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
    connection::Timeouts, failure::is_late, settings::Settings, url::Unusable, wire::Wire,
};
use crate::{ConnectionManager, HealthCheck, PoolConfig, Transport};

/// What the pool's limits are above the manager's, so that the manager's are the ones that count.
const MARGIN: Duration = Duration::from_secs(1);

/// Pools WebSockets to one URL; see the [module](crate::managers::websocket) for what bounds what.
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
    /// A manager for a `ws` URL with the defaults of the builder. Never fails: the name resolves,
    /// anew, at each create.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self::builder(url).build()
    }

    /// A builder for a URL with the scheme `ws` or `wss`.
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

    /// Pool settings that go with this manager: named `websocket`; idle connections pinged by the
    /// collector every `ping_interval`, and at a checkout if they were not proven for so long;
    /// `check_timeout`, `dispose_timeout` and `create_timeout` at least a second above what this
    /// manager may take for itself. The rest is the default.
    ///
    /// The `idle_timeout` of the pool still ends what nobody uses, after 10 minutes unless set.
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

    /// How many messages were thrown away with connections that were disposed: kept for a user who
    /// never came, or sent by the server while the connection was closed. Each such dispose is also a
    /// warning of `tracing` (target `conpool`).
    pub fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    fn timeouts(&self) -> Timeouts {
        Timeouts {
            read: self.settings.read_timeout,
            write: self.settings.write_timeout,
        }
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
            // Does not happen: the wire waits, and has another word for it when it waited too long.
            Err(HandshakeError::Interrupted(_)) => {
                return Err(WebSocketError::HandshakeTimeout { limit });
            }
        };
        let subprotocol = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        let subprotocol = subprotocol.and_then(|value| value.to_str().ok());
        Ok(WebSocketConnection::new(
            socket,
            self.settings.pushed,
            self.timeouts(),
            subprotocol.map(str::to_owned),
        ))
    }
}

fn refused(error: Error, limit: Duration) -> WebSocketError {
    if is_late(&error) {
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
        // The socket of an upgrade that failed is of no use to anybody, so it is closed without waiting
        // for the server.
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
            // Somebody else's connection, added to this pool.
            Err(_) => drop(transport),
        }
    }

    fn has_broken(&self, connection: &mut WebSocketConnection) -> bool {
        connection.is_broken()
    }

    fn on_checkout(&self, connection: &mut WebSocketConnection) -> Result<(), WebSocketError> {
        connection.look()
    }

    fn on_checkin(&self, connection: &mut WebSocketConnection) -> Result<(), WebSocketError> {
        connection.restore(self.timeouts());
        Ok(())
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
