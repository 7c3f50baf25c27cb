//! The implementation of `ConnectionManager` for conbus sockets.

use std::{
    io::{self, Write},
    net::TcpStream,
    time::Duration,
};

use super::{ConbusError, ConbusSocketManagerBuilder, builder::Settings, connect, peer_of};
use crate::{
    ConnectionManager, Interrupt, PoolConfig,
    managers::socket::{
        Stream, close, interrupter,
        probe::{HangUp, inspect},
        restore_options,
    },
};

/// Manages TCP connections to one peer. The [module](crate::managers::conbus) lists the limit of each step.
///
/// # Example
///
/// ```no_run
/// use std::{io::Write, time::Duration};
/// use conpool::{ConbusSocketManager, PoolBuilder};
///
/// let manager = ConbusSocketManager::builder("bridge.example:10001")
///     .read_timeout(Duration::from_secs(2))
///     .keepalive(Duration::from_secs(60))
///     .single_client()
///     .build();
/// let pool = PoolBuilder::from(ConbusSocketManager::pool_config()).build(manager)?;
/// pool.get()?.write_all(b"<S0000000000F01D00FA>")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ConbusSocketManager {
    settings: Settings,
}

impl ConbusSocketManager {
    /// Creates a manager for `host:port` with the default settings. Never fails: each create resolves the
    /// name.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self::builder(address).build()
    }

    /// Returns a builder whose first address is `address`, in the form `host:port`.
    pub fn builder(address: impl Into<String>) -> ConbusSocketManagerBuilder {
        ConbusSocketManagerBuilder::new(address.into())
    }

    pub(super) fn from_settings(settings: Settings) -> Self {
        Self { settings }
    }

    /// Returns pool settings for a bridge that takes one client: the name `conbus`, and one connection that
    /// is kept ready, with an idle timeout and a lifetime of six hours. All other settings are the defaults.
    ///
    /// Combine the settings with the manager's preset
    /// [`single_client`](ConbusSocketManagerBuilder::single_client), with which a dispose waits longer for a
    /// device that is slow to notice the end of a connection.
    #[must_use]
    pub fn pool_config() -> PoolConfig {
        let six_hours = Duration::from_secs(6 * 60 * 60);
        PoolConfig {
            name: "conbus".into(),
            max_size: 1,
            min_idle: 1,
            idle_timeout: Some(six_hours),
            max_lifetime: Some(six_hours),
            ..PoolConfig::default()
        }
    }

    /// Returns a handle that shuts this socket down, unless the settings say otherwise.
    pub(in crate::managers) fn interrupter_of(
        &self,
        connection: &TcpStream,
    ) -> Option<Box<dyn Interrupt>> {
        let interruptible = self.settings.interruptible;
        interruptible
            .then(|| interrupter(&connection.socket()))
            .flatten()
    }

    fn probe(&self, connection: &TcpStream) -> Result<(), ConbusError> {
        inspect(&connection.socket(), self.settings.unread, HangUp::IsReset)
            .map_err(|error| ConbusError::probed(connection, error))
    }
}

impl ConnectionManager for ConbusSocketManager {
    type Connection = TcpStream;
    type Error = ConbusError;

    fn create(&self) -> Result<TcpStream, ConbusError> {
        connect::open(&self.settings)
    }

    fn check_aliveness(&self, connection: &mut TcpStream) -> Result<(), ConbusError> {
        self.probe(connection)
    }

    fn dispose(&self, connection: TcpStream) {
        close(connection, self.settings.close_wait);
    }

    fn on_checkout(&self, connection: &mut TcpStream) -> Result<(), ConbusError> {
        self.probe(connection)
    }

    fn on_checkin(&self, connection: &mut TcpStream) -> Result<(), ConbusError> {
        let settings = &self.settings;
        restore_options(connection, settings.read_timeout, settings.write_timeout).map_err(
            |source| ConbusError::Probe {
                peer: peer_of(connection),
                source,
            },
        )?;
        // An empty write sends nothing, but fails if the sending half is shut down, which the probe cannot
        // detect.
        match connection.write(&[]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ConbusError::ShutDown {
                peer: peer_of(connection),
            }),
            // The probe at the next checkout detects all other failures.
            _ => Ok(()),
        }
    }

    fn interrupter(&self, connection: &mut TcpStream) -> Option<Box<dyn Interrupt>> {
        self.interrupter_of(connection)
    }

    fn is_transient(&self, error: &ConbusError) -> bool {
        error.is_transient()
    }

    fn check_may_block(&self) -> bool {
        false
    }
}
