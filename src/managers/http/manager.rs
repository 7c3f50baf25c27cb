//! The connection manager of one origin.

use super::{HttpOrigin, builder::Settings, wire::Wire};
#[cfg(feature = "tls")]
use crate::managers::TlsSocketManager;
use crate::{
    ConnectionManager,
    managers::{
        Transport, TransportError,
        conbus::{ConbusSocketManager, ConbusSocketManagerBuilder, Unread},
        transport::Dialer,
    },
};
use std::time::Duration;

/// A connection of an [`HttpPool`](super::HttpPool), between requests.
#[derive(Debug)]
pub struct HttpConnection {
    pub(super) wire: Wire,
    /// A request was started and has not finished in order.
    busy: bool,
    /// The number of requests that finished in order.
    served: u64,
}

impl HttpConnection {
    /// Returns the number of requests that the connection has served.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Returns the underlying transport. Reading or writing it would break the exchange.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.wire.transport
    }

    /// Marks the start of a request. Until [`release`](Self::release), a check-in evicts the connection, so
    /// an early return, a panic or a dropped body cannot bypass the eviction.
    pub(super) fn begin_request(&mut self) {
        self.busy = true;
    }

    pub(super) fn release(&mut self) {
        self.wire.buffer.shrink();
        self.busy = false;
        self.served += 1;
    }
}

/// Opens, probes and closes the connections of one origin. The pool creates it; the type is public for
/// [`HttpPoolBuilder::pool`](super::HttpPoolBuilder::pool).
#[derive(Debug)]
pub struct HttpManager {
    dialer: Dialer,
}

impl HttpManager {
    pub(super) fn new(origin: &HttpOrigin, settings: &Settings) -> Self {
        let timeout = settings.connect_timeout;
        let tcp = |builder: ConbusSocketManagerBuilder| {
            let builder = builder
                .connect_timeout(timeout)
                // A server in the middle of a response would not end soon.
                .close_wait(Duration::ZERO);
            (settings.tcp)(builder).unread(Unread::Reject)
        };
        let address = origin.address();
        #[cfg(feature = "tls")]
        if let (true, Some(config)) = (origin.is_secure(), &settings.tls) {
            let manager = TlsSocketManager::builder(address, config.clone())
                .handshake_timeout(timeout)
                .unread(Unread::Reject)
                .tcp(tcp)
                .build();
            let dialer = Dialer::Tls(Box::new(manager));
            return Self { dialer };
        }
        let manager = tcp(ConbusSocketManager::builder(address)).build();
        let dialer = Dialer::Tcp(manager);
        Self { dialer }
    }
}

impl ConnectionManager for HttpManager {
    type Connection = HttpConnection;
    type Error = TransportError;

    fn create(&self) -> Result<HttpConnection, TransportError> {
        Ok(HttpConnection {
            wire: Wire::new(self.dialer.create()?),
            busy: false,
            served: 0,
        })
    }

    fn check_aliveness(&self, connection: &mut HttpConnection) -> Result<(), TransportError> {
        self.dialer.check_aliveness(&mut connection.wire.transport)
    }

    fn dispose(&self, connection: HttpConnection) {
        self.dialer.dispose(connection.wire.transport);
    }

    fn has_broken(&self, connection: &mut HttpConnection) -> bool {
        connection.busy
    }

    /// Probes the connection without waiting. If it ended, was reset or received bytes while idle (a 408, for
    /// example), the next connection is tried.
    fn on_checkout(&self, connection: &mut HttpConnection) -> Result<(), TransportError> {
        self.dialer.on_checkout(&mut connection.wire.transport)
    }

    fn on_checkin(&self, connection: &mut HttpConnection) -> Result<(), TransportError> {
        self.dialer.on_checkin(&mut connection.wire.transport)
    }

    fn is_transient(&self, error: &TransportError) -> bool {
        self.dialer.is_transient(error)
    }

    fn check_may_block(&self) -> bool {
        self.dialer.check_may_block()
    }
}
