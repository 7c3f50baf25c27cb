//! Reads and writes that all together end by one deadline.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Something that reads and writes through a TCP socket, whose timeouts bound it.
pub(super) trait OverTcp: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl OverTcp for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

/// Gives every read and write what is left of the time, so that a peer that sends byte after byte
/// cannot make them last for ever. Leaves the timeouts of the socket changed.
#[derive(Debug)]
pub(super) struct Timed<'a, S: ?Sized> {
    stream: &'a mut S,
    deadline: Option<Instant>,
}

impl<'a, S: OverTcp + ?Sized> Timed<'a, S> {
    /// `None`: without a limit.
    pub(super) fn until(stream: &'a mut S, deadline: Option<Instant>) -> Self {
        Self { stream, deadline }
    }

    /// A limit too long to be a point in time is none.
    #[cfg(feature = "tls")]
    pub(super) fn within(stream: &'a mut S, limit: Duration) -> Self {
        Self::until(stream, now().checked_add(limit))
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(left))
    }
}

impl<S: OverTcp + ?Sized> Read for Timed<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.socket().set_read_timeout(self.left()?)?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

impl<S: OverTcp + ?Sized> Write for Timed<'_, S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.socket().set_write_timeout(self.left()?)?;
        self.stream.write(buffer).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.socket().set_write_timeout(self.left()?)?;
        self.stream.flush().map_err(timed_out)
    }
}

/// Unix says that it would have to wait on, Windows that the time is over.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a real wait on a real peer, not an age; the pool's clock does not apply"
)]
fn now() -> Instant {
    Instant::now()
}
