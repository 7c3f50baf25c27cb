//! TCP or TLS: what protocols that run over both are spoken on.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use super::timed::{Timed, WaitMode};
use crate::{ConbusError, ConbusSocketManager, ConnectionManager};
#[cfg(feature = "tls")]
use crate::{TlsError, TlsSocketManager, TlsStream};

/// A connection to a server, secured or not.
#[derive(Debug)]
#[non_exhaustive]
pub enum Transport {
    /// Not secured.
    Tcp(TcpStream),
    /// TLS over TCP.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>),
}

impl Transport {
    /// The socket below, for its addresses and options. To read or write it directly would break a
    /// TLS session.
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

/// With a time of their own, which those of [`Read`] and [`Write`] have not: a session's own `read` gives
/// each of the many reads of one slow record the whole timeout anew.
impl Transport {
    pub(super) fn read_at(&mut self, wait_mode: WaitMode, out: &mut [u8]) -> io::Result<usize> {
        again(|| match self {
            Self::Tcp(stream) => Timed::new(stream, wait_mode).read(out),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => session::read(stream, wait_mode, out),
        })
    }

    /// What TLS has taken is sent by the next write or flush.
    pub(super) fn write_at(&mut self, wait_mode: WaitMode, bytes: &[u8]) -> io::Result<usize> {
        again(|| match self {
            Self::Tcp(stream) => Timed::new(stream, wait_mode).write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => {
                session::flush(stream, wait_mode)?;
                stream.conn.writer().write(bytes)
            }
        })
    }

    /// Makes sure that all is with the system, where TCP has it at once.
    pub(super) fn flush_at(&mut self, wait_mode: WaitMode) -> io::Result<()> {
        again(|| match self {
            Self::Tcp(stream) => Timed::new(stream, wait_mode).flush(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => session::flush(stream, wait_mode),
        })
    }
}

/// A signal is no reason to stop.
fn again<T>(mut step: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match step() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A session of TLS, driven by hand.
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
            // An answer to new keys. If there is no room for it now, it goes later.
            match flush(stream, wait_mode) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            let mut timed = Timed::new(stream.sock.tcp_mut(), wait_mode);
            if stream.conn.read_tls(&mut timed)? == 0 {
                // The end of TCP: the reader knows whether it was one of TLS.
                return stream.conn.reader().read(out);
            }
            if let Err(error) = stream.conn.process_new_packets() {
                // The alert that says why.
                let _ = flush(stream, wait_mode);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }

    /// Sends what the session has taken and not sent.
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

/// Why a [`Transport`] could not be opened, or is no longer good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Of TCP, below TLS too.
    #[error(transparent)]
    Tcp(#[from] ConbusError),
    /// Of TLS.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(TlsError),
}

impl TransportError {
    /// Is it worth trying again in a moment? As [`ConbusError`] and `TlsError` say.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Tcp(error) => error.is_transient(),
            #[cfg(feature = "tls")]
            Self::Tls(error) => error.is_transient(),
        }
    }
}

/// An error of TCP is one of TCP, whether TLS runs over it or not.
#[cfg(feature = "tls")]
impl From<TlsError> for TransportError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Tcp(error) => Self::Tcp(error),
            other => Self::Tls(other),
        }
    }
}

/// Opens, probes and closes transports: the manager of what runs below a protocol.
#[derive(Debug, Clone)]
pub(super) enum Dialer {
    Tcp(ConbusSocketManager),
    #[cfg(feature = "tls")]
    Tls(Box<TlsSocketManager>),
}

/// Runs a hook of the manager whose kind the connection is.
macro_rules! hook {
    ($self:ident . $hook:ident ( $connection:ident )) => {
        match ($self, $connection) {
            (Self::Tcp(manager), Transport::Tcp(stream)) => Ok(manager.$hook(stream)?),
            #[cfg(feature = "tls")]
            (Self::Tls(manager), Transport::Tls(stream)) => Ok(manager.$hook(stream)?),
            // Another dialer's connection, of which nothing is known.
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
