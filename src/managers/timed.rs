//! Reads and writes over TCP that all together end by one deadline, or do not wait at all.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::limit::now;

/// How long reads and writes may wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    /// Not at all: the socket does not block, which the caller has seen to.
    #[cfg_attr(
        not(any(feature = "http", feature = "websocket")),
        allow(dead_code, reason = "without a protocol above it, everything waits")
    )]
    Now,
    /// All of them together until then; `None`: for ever.
    Until(Option<Instant>),
}

/// Gives every read and write what is left of the time, so that a peer that sends byte after byte
/// cannot make them last for ever. Leaves the timeouts of the socket changed.
#[derive(Debug)]
pub(super) struct Timed<'a> {
    socket: &'a mut TcpStream,
    pace: Pace,
}

impl<'a> Timed<'a> {
    pub(super) fn new(socket: &'a mut TcpStream, pace: Pace) -> Self {
        Self { socket, pace }
    }

    /// A limit too long to be a point in time is none.
    pub(super) fn within(socket: &'a mut TcpStream, limit: Duration) -> Self {
        Self::new(socket, Pace::Until(now().checked_add(limit)))
    }

    /// Does it when the socket may wait as long as is left.
    fn paced<T>(
        &mut self,
        set: fn(&TcpStream, Option<Duration>) -> io::Result<()>,
        step: impl FnOnce(&mut TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        let deadline = match self.pace {
            Pace::Now => return step(self.socket),
            Pace::Until(deadline) => deadline,
        };
        set(self.socket, left(deadline)?)?;
        step(self.socket).map_err(timed_out)
    }
}

fn left(deadline: Option<Instant>) -> io::Result<Option<Duration>> {
    let Some(deadline) = deadline else {
        return Ok(None);
    };
    let left = deadline.saturating_duration_since(now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(Some(left))
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.paced(TcpStream::set_read_timeout, |socket| socket.read(buffer))
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.paced(TcpStream::set_write_timeout, |socket| socket.write(buffer))
    }

    /// A socket keeps nothing back.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Unix says that it would have to wait on, Windows that the time is over.
pub(super) fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
