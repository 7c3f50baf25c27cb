//! The implementation of `ConnectionManager` for Unix sockets.

use std::{io, os::unix::net::UnixStream, path::PathBuf};

use super::{UnixSocketError, UnixSocketManagerBuilder, builder::Settings, connect};
use crate::{
    ConnectionManager, Interrupt,
    managers::socket::{
        Stream, close, interrupter,
        probe::{HangUp, inspect, write_nothing},
        restore_options,
    },
};

/// Manages connections to one Unix socket. The [module](crate::managers::unix) lists the limit of each step.
///
/// # Example
///
/// ```no_run
/// use conpool::{Pool, PooledConnection, UnixSocketManager};
/// use std::{
///     io::{Read, Write},
///     time::Duration,
/// };
///
/// let manager = UnixSocketManager::builder("/run/redis/redis-server.sock")
///     .read_timeout(Duration::from_secs(2))
///     .write_timeout(Duration::from_secs(2))
///     .build();
/// let pool = Pool::builder().name("redis").max_size(4).build(manager)?;
///
/// let mut connection = pool.get()?;
/// let mut answer = [0; 7];
/// let exchange = connection
///     .write_all(b"PING\r\n")
///     .and_then(|()| connection.read_exact(&mut answer));
/// if let Err(error) = exchange {
///     // The answer may still come, and must not reach the next user.
///     PooledConnection::discard(connection);
///     return Err(error.into());
/// }
/// assert_eq!(&answer, b"+PONG\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct UnixSocketManager {
    settings: Settings,
}

impl UnixSocketManager {
    /// Creates a manager for the socket at `path` with the default settings. Never fails: each create looks
    /// up the path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::builder(path).build()
    }

    /// Returns a builder for the socket at `path`. On Linux a path that begins with a NUL byte is an abstract
    /// name.
    pub fn builder(path: impl Into<PathBuf>) -> UnixSocketManagerBuilder {
        UnixSocketManagerBuilder::new(path.into())
    }

    pub(super) fn from_settings(settings: Settings) -> Self {
        Self { settings }
    }

    fn probe(&self, connection: &UnixStream) -> Result<(), UnixSocketError> {
        inspect(&connection.socket(), self.settings.unread, HangUp::IsClose)
            .map_err(|error| UnixSocketError::probed(&self.settings.path, error))
    }
}

impl ConnectionManager for UnixSocketManager {
    type Connection = UnixStream;
    type Error = UnixSocketError;

    fn create(&self) -> Result<UnixStream, UnixSocketError> {
        connect::open(&self.settings)
    }

    fn check_aliveness(&self, connection: &mut UnixStream) -> Result<(), UnixSocketError> {
        self.probe(connection)
    }

    fn dispose(&self, connection: UnixStream) {
        close(connection, self.settings.close_wait);
    }

    fn on_checkout(&self, connection: &mut UnixStream) -> Result<(), UnixSocketError> {
        self.probe(connection)
    }

    fn on_checkin(&self, connection: &mut UnixStream) -> Result<(), UnixSocketError> {
        let settings = &self.settings;
        restore_options(connection, settings.read_timeout, settings.write_timeout).map_err(
            |source| UnixSocketError::Probe {
                path: settings.path.clone(),
                source,
            },
        )?;
        // An empty write sends nothing, but fails if the sending half is shut down, which the probe cannot
        // detect. The write also fails if the server has closed; the probe then returns the more precise
        // error.
        match write_nothing(&connection.socket()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.probe(connection)?;
                Err(UnixSocketError::ShutDown {
                    path: settings.path.clone(),
                })
            }
            // The probe at the next checkout detects all other failures.
            _ => Ok(()),
        }
    }

    fn interrupter(&self, connection: &mut UnixStream) -> Option<Box<dyn Interrupt>> {
        let interruptible = self.settings.interruptible;
        interruptible
            .then(|| interrupter(&connection.socket()))
            .flatten()
    }

    fn is_transient(&self, error: &UnixSocketError) -> bool {
        error.is_transient()
    }

    fn check_may_block(&self) -> bool {
        false
    }
}
