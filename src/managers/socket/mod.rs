//! The parts that the managers of TCP and Unix sockets share: the probe, the handling of unread bytes, the
//! timeouts and the orderly close.

pub(super) mod probe;

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use socket2::{SockRef, Socket};

use super::timed::Timed;
use crate::Interrupt;

/// The handling of bytes that arrived while no user held the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unread {
    /// The probe and every checkout discard the bytes. The default, with 64 KiB.
    Discard {
        /// The maximum number of bytes to discard. A connection with more is evicted. 0 behaves like
        /// [`Reject`](Self::Reject).
        max_bytes: usize,
    },
    /// The bytes stay, and the next user of the connection reads them first.
    Keep,
    /// A connection with unread bytes is out of step and is evicted.
    Reject,
}

impl Default for Unread {
    fn default() -> Self {
        Self::Discard {
            max_bytes: 64 * 1024,
        }
    }
}

impl Unread {
    /// Returns the maximum number of unread bytes to discard.
    pub(super) fn max_discarded(self) -> usize {
        match self {
            Self::Discard { max_bytes } => max_bytes,
            Self::Keep | Self::Reject => 0,
        }
    }
}

/// A stream over a socket, with the timeouts of the standard library. The setters of socket2 take zero for
/// "no limit".
pub(super) trait Stream: Read + Write {
    fn socket(&self) -> SockRef<'_>;
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
}

macro_rules! stream {
    ($stream:ty) => {
        impl Stream for $stream {
            fn socket(&self) -> SockRef<'_> {
                SockRef::from(self)
            }

            fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                <$stream>::set_read_timeout(self, timeout)
            }

            fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                <$stream>::set_write_timeout(self, timeout)
            }
        }
    };
}

stream!(TcpStream);
#[cfg(unix)]
stream!(std::os::unix::net::UnixStream);

/// Shuts a socket down by a descriptor of its own.
struct SocketInterrupter(Socket);

impl Interrupt for SocketInterrupter {
    fn interrupt(&self) {
        // A socket that is closed already needs no shutdown.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// Returns a handle that ends the connection of this socket. None if the system refuses another descriptor.
pub(super) fn interrupter(socket: &Socket) -> Option<Box<dyn Interrupt>> {
    let second = socket.try_clone().ok()?;
    Some(Box::new(SocketInterrupter(second)))
}

/// Converts the argument of a setter: `Duration::MAX` also means "no limit".
pub(super) fn limit(value: impl Into<Option<Duration>>) -> Option<Duration> {
    value.into().filter(|value| *value != Duration::MAX)
}

/// The setting that a socket refused, and the reason.
pub(super) type Refused = (&'static str, io::Error);

/// Sets a time limit on a socket; `None` leaves the system's default.
///
/// # Errors
///
/// Returns an error if the time is zero, which the system would take for "no limit", or if the system refuses
/// it.
pub(super) fn set_limit(
    setting: &'static str,
    value: Option<Duration>,
    set: impl FnOnce(Duration) -> io::Result<()>,
) -> Result<(), Refused> {
    let result = match value {
        None => Ok(()),
        Some(Duration::ZERO) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "must be longer than zero",
        )),
        Some(value) => set(value),
    };
    result.map_err(|error| (setting, error))
}

/// Sets the timeouts of a new socket.
pub(super) fn set_timeouts(
    socket: &Socket,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
) -> Result<(), Refused> {
    set_limit("read_timeout", read_timeout, |timeout| {
        socket.set_read_timeout(Some(timeout))
    })?;
    set_limit("write_timeout", write_timeout, |timeout| {
        socket.set_write_timeout(Some(timeout))
    })
}

/// Restores the mode and the timeouts that a user may have changed.
pub(super) fn restore_options(
    stream: &impl Stream,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
) -> io::Result<()> {
    stream.socket().set_nonblocking(false)?;
    stream.set_read_timeout(read_timeout)?;
    stream.set_write_timeout(write_timeout)
}

/// Shuts down the sending half, waits at most `wait` for the peer's end of stream, and closes the socket.
///
/// Bytes that the peer still sends are read and discarded: closing with unread bytes would send a reset, and
/// the peer could lose the bytes sent to it last.
pub(super) fn close(mut stream: impl Stream, wait: Duration) {
    if wait.is_zero() {
        return;
    }
    // An error means that there is no peer to wait for. Dropping the stream closes the socket.
    let _ = wait_for_end(&mut stream, wait);
}

fn wait_for_end(stream: &mut impl Stream, wait: Duration) -> io::Result<()> {
    stream.socket().shutdown(Shutdown::Write)?;
    stream.socket().set_nonblocking(false)?;
    io::copy(&mut Timed::within(stream, wait), &mut io::sink()).map(drop)
}
