//! The TCP socket below a session.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    ops::Deref,
};

use crate::managers::timed::timed_out;

/// A [`TcpStream`] whose reads and writes say [`TimedOut`](io::ErrorKind::TimedOut) when their time is
/// over, on every system.
///
/// On Unix a socket says [`WouldBlock`](io::ErrorKind::WouldBlock) instead, and rustls takes that for a
/// socket that does not block: when a write got stuck, it would try to read meanwhile, which on a
/// socket that does block is a wait of up to the whole read timeout, or for ever.
#[derive(Debug)]
pub struct TlsSocket(TcpStream);

impl TlsSocket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Past the translation: for reads and writes with a time of their own, and those that do not wait.
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
