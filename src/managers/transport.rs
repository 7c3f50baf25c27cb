//! TCP or TLS, as the transport of a protocol.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use super::timed::{Timed, WaitMode, uninterrupted};
#[cfg(feature = "websocket")]
use crate::Interrupt;
use crate::{ConbusError, ConbusSocketManager, ConnectionManager};
#[cfg(feature = "tls")]
use crate::{TlsError, TlsSocketManager, TlsStream};

/// A connection to a server, with or without TLS.
#[derive(Debug)]
#[non_exhaustive]
pub enum Transport {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>),
}

impl Transport {
    /// Returns the underlying socket, for its addresses and options. Reading or writing it directly would
    /// break a TLS session.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// Operations with a deadline of their own. [`Read`] and [`Write`] of a TLS session cannot be used for that,
/// because they give each of the many reads of one slow record the whole timeout again.
impl Transport {
    pub(super) fn read_at(&mut self, wait_mode: WaitMode, out: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| match self {
            Self::Tcp(stream) => Timed::new(stream, wait_mode).read(out),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => session::read(stream, wait_mode, out),
        })
    }

    /// Writes bytes. The next write or flush sends the bytes that TLS has buffered.
    pub(super) fn write_at(&mut self, wait_mode: WaitMode, bytes: &[u8]) -> io::Result<usize> {
        uninterrupted(|| match self {
            Self::Tcp(stream) => Timed::new(stream, wait_mode).write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                session::flush(stream, wait_mode)?;
                stream.conn.writer().write(bytes)
            }
        })
    }

    /// Hands all buffered bytes to the system. TCP has no buffer here.
    pub(super) fn flush_at(&mut self, wait_mode: WaitMode) -> io::Result<()> {
        uninterrupted(|| match self {
            Self::Tcp(stream) => Timed::new(stream, wait_mode).flush(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => session::flush(stream, wait_mode),
        })
    }
}

/// Drives a TLS session without the blocking adapter of rustls.
#[cfg(feature = "tls")]
mod session {
    use std::io::{self, ErrorKind, Read};

    use super::{Timed, WaitMode};
    use crate::TlsStream;

    pub(super) fn read(
        stream: &mut TlsStream,
        wait_mode: WaitMode,
        out: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            match stream.conn.reader().read(out) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            // The session may have to send an answer, such as a key update. If the socket has no room now, a
            // later flush sends it.
            match flush(stream, wait_mode) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            let mut timed = Timed::new(stream.sock.tcp_mut(), wait_mode);
            if stream.conn.read_tls(&mut timed)? == 0 {
                // TCP has ended. The reader knows whether TLS was closed before.
                return stream.conn.reader().read(out);
            }
            if let Err(error) = stream.conn.process_new_packets() {
                // Sends the alert with the reason.
                let _ = flush(stream, wait_mode);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }

    /// Sends the bytes that the session has buffered.
    pub(super) fn flush(stream: &mut TlsStream, wait_mode: WaitMode) -> io::Result<()> {
        while stream.conn.wants_write() {
            let mut timed = Timed::new(stream.sock.tcp_mut(), wait_mode);
            if stream.conn.write_tls(&mut timed)? == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

/// A [`Transport`] could not be opened, or is no longer usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// An error of TCP, also below TLS.
    #[error(transparent)]
    Tcp(#[from] ConbusError),
    /// An error of TLS.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(TlsError),
}

impl TransportError {
    /// Returns true if another attempt may succeed soon, as `ConbusError` and `TlsError` define.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Tcp(error) => error.is_transient(),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.is_transient(),
        }
    }
}

/// An error of TCP below TLS becomes `Tcp`.
#[cfg(feature = "tls")]
impl From<TlsError> for TransportError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Tcp(error) => Self::Tcp(error),
            other => Self::Tls(other),
        }
    }
}

/// The connection manager of the transport below a protocol.
#[derive(Debug, Clone)]
pub(super) enum Dialer {
    Tcp(ConbusSocketManager),
    #[cfg(feature = "tls")]
    Tls(Box<TlsSocketManager>),
}

impl Dialer {
    /// Returns a handle that shuts the socket of this connection down, unless the settings say otherwise.
    #[cfg(feature = "websocket")]
    pub(super) fn interrupter_of(&self, connection: &Transport) -> Option<Box<dyn Interrupt>> {
        match self {
            Self::Tcp(manager) => manager.interrupter_of(connection.tcp()),
            #[cfg(feature = "tls")]
            Self::Tls(manager) => manager.interrupter_of(connection.tcp()),
        }
    }
}

/// Runs a hook of the manager that matches the connection's type.
macro_rules! hook {
    ($self:ident . $hook:ident ( $connection:ident )) => {
        match ($self, $connection) {
            (Self::Tcp(manager), Transport::Tcp(stream)) => Ok(manager.$hook(stream)?),
            #[cfg(feature = "tls")]
            (Self::Tls(manager), Transport::Tls(stream)) => Ok(manager.$hook(stream)?),
            // The connection comes from another dialer, so no hook applies.
            #[cfg(feature = "tls")]
            _ => Ok(()),
        }
    };
}

impl ConnectionManager for Dialer {
    type Connection = Transport;
    type Error = TransportError;

    fn create(&self) -> Result<Transport, TransportError> {
        match self {
            Self::Tcp(manager) => Ok(Transport::Tcp(manager.create()?)),
            #[cfg(feature = "tls")]
            Self::Tls(manager) => Ok(Transport::Tls(Box::new(manager.create()?))),
        }
    }

    fn check_aliveness(&self, connection: &mut Transport) -> Result<(), TransportError> {
        hook!(self.check_aliveness(connection))
    }

    fn dispose(&self, connection: Transport) {
        match (self, connection) {
            (Self::Tcp(manager), Transport::Tcp(stream)) => manager.dispose(stream),
            #[cfg(feature = "tls")]
            (Self::Tls(manager), Transport::Tls(stream)) => manager.dispose(*stream),
            #[cfg(feature = "tls")]
            (_, other) => drop(other),
        }
    }

    fn on_checkout(&self, connection: &mut Transport) -> Result<(), TransportError> {
        hook!(self.on_checkout(connection))
    }

    fn on_checkin(&self, connection: &mut Transport) -> Result<(), TransportError> {
        hook!(self.on_checkin(connection))
    }

    fn is_transient(&self, error: &TransportError) -> bool {
        error.is_transient()
    }

    fn check_may_block(&self) -> bool {
        false
    }
}
