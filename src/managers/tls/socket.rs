//! The TCP socket below a TLS session.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    ops::Deref,
};

use crate::managers::timed::timed_out;

/// A [`TcpStream`] whose reads and writes return [`TimedOut`](io::ErrorKind::TimedOut) when their timeout
/// elapses, on every system.
///
/// On Unix a socket returns [`WouldBlock`](io::ErrorKind::WouldBlock) instead, which rustls takes for a
/// non-blocking socket: after a blocked write, it would try to read. On a blocking socket, that read waits
/// for the read timeout or for ever.
#[derive(Debug)]
pub struct TlsSocket(TcpStream);

impl TlsSocket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Returns the stream without the translation of errors, for reads and writes with deadlines and
    /// non-blocking ones.
    pub(in crate::managers) fn tcp_mut(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    pub(super) fn into_tcp(self) -> TcpStream {
        self.0
    }
}

impl Deref for TlsSocket {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.0
    }
}

impl Read for TlsSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(timed_out)
    }
}

impl Write for TlsSocket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(timed_out)
    }
}
