//! The implementation of `ConnectionManager` for TLS sockets.

use std::net::TcpStream;

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use super::{
    TlsConfig, TlsError, TlsSocket, TlsSocketManagerBuilder, TlsStream,
    builder::Settings,
    session::{handshake, inspect, send_close_notify_now},
};
use crate::{ConbusSocketManager, ConnectionManager, Interrupt};

/// Manages TLS connections to one server. The [module](crate::managers::tls) lists the limit of each step.
///
/// Needs the feature `tls`.
///
/// # Example
///
/// ```no_run
/// use conpool::{Pool, TlsConfig, TlsSocketManager};
/// use std::io::Write;
///
/// let authority = std::fs::read("/etc/bus/authority.pem")?;
/// let manager = TlsSocketManager::new("bridge.example:10443", TlsConfig::pem(&authority)?);
/// let pool = Pool::new(manager)?;
/// pool.get()?.write_all(b"<S0000000000F01D00FA>")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TlsSocketManager {
    tcp: ConbusSocketManager,
    settings: Settings,
}

impl TlsSocketManager {
    /// Creates a manager for `host:port` with the default settings. The certificate must contain the host.
    /// Never fails: each create resolves the name.
    #[must_use]
    pub fn new(address: impl Into<String>, config: impl Into<TlsConfig>) -> Self {
        Self::builder(address, config).build()
    }

    /// Returns a builder whose first address is `address`, in the form `host:port`.
    pub fn builder(
        address: impl Into<String>,
        config: impl Into<TlsConfig>,
    ) -> TlsSocketManagerBuilder {
        TlsSocketManagerBuilder::new(address.into(), config.into())
    }

    pub(super) fn from_settings(tcp: ConbusSocketManager, settings: Settings) -> Self {
        Self { tcp, settings }
    }

    pub(in crate::managers) fn interrupter_of(
        &self,
        socket: &TcpStream,
    ) -> Option<Box<dyn Interrupt>> {
        self.tcp.interrupter_of(socket)
    }

    fn session(&self) -> Result<ClientConnection, TlsError> {
        let name = &self.settings.server_name;
        let server = ServerName::try_from(name.clone()).map_err(|source| TlsError::ServerName {
            name: name.clone(),
            source,
        })?;
        let config = self.settings.config.as_rustls().clone();
        ClientConnection::new(config, server).map_err(|source| TlsError::Handshake {
            server_name: name.clone(),
            source,
        })
    }

    /// Performs the handshake. The socket of a failed handshake is useless, so it is closed without waiting
    /// for the server.
    fn secure(
        &self,
        mut session: ClientConnection,
        mut socket: TcpStream,
    ) -> Result<TlsStream, TlsError> {
        handshake(&mut session, &mut socket, &self.settings)?;
        // Replaces the timeouts of the handshake with those of the settings.
        self.tcp.on_checkin(&mut socket)?;
        Ok(StreamOwned::new(session, TlsSocket::new(socket)))
    }
}

impl ConnectionManager for TlsSocketManager {
    type Connection = TlsStream;
    type Error = TlsError;

    fn create(&self) -> Result<TlsStream, TlsError> {
        // The session comes first, because its errors need no network.
        let session = self.session()?;
        let socket = self.tcp.create()?;
        self.secure(session, socket)
    }

    fn check_aliveness(&self, connection: &mut TlsStream) -> Result<(), TlsError> {
        inspect(connection, self.settings.unread)
    }

    fn dispose(&self, mut connection: TlsStream) {
        send_close_notify_now(&mut connection);
        self.tcp.dispose(connection.sock.into_tcp());
    }

    fn on_checkout(&self, connection: &mut TlsStream) -> Result<(), TlsError> {
        inspect(connection, self.settings.unread)
    }

    fn on_checkin(&self, connection: &mut TlsStream) -> Result<(), TlsError> {
        self.tcp.on_checkin(connection.sock.tcp_mut())?;
        if connection.conn.wants_write() {
            let state = connection.conn.process_new_packets();
            let state = state.map_err(|source| TlsError::Session { source })?;
            return Err(TlsError::Unsent {
                bytes: state.tls_bytes_to_write(),
            });
        }
        Ok(())
    }

    fn interrupter(&self, connection: &mut TlsStream) -> Option<Box<dyn Interrupt>> {
        self.interrupter_of(&connection.sock)
    }

    fn is_transient(&self, error: &TlsError) -> bool {
        error.is_transient()
    }

    fn check_may_block(&self) -> bool {
        false
    }
}
