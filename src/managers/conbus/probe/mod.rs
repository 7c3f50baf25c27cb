//! Is the connection still good? Asked without waiting, answered the same way twice.
//!
//! A look tells what the system knows and changes nothing. Only then are unread bytes thrown away,
//! and only when they are few enough, so a second question finds what the first one found.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
mod portable;

use std::{
    io,
    net::{SocketAddr, TcpStream},
};

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use portable as system;

use super::{ConbusError, Unread};

/// What one look at a connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Open, nothing to read.
    Quiet,
    /// Open, with this many bytes to read, or at least as many as were asked about.
    Unread(usize),
    /// The peer has ended its side.
    Closed,
    /// Reset by the peer or given up by the system.
    Reset,
}

/// Looks, and treats unread bytes as `unread` says.
///
/// # Errors
///
/// The connection is closed, reset, holds more unread bytes than allowed, or cannot be examined.
pub(super) fn inspect(stream: &TcpStream, unread: Unread) -> Result<(), ConbusError> {
    let limit = match unread {
        Unread::Discard { max_bytes } => max_bytes,
        Unread::Keep | Unread::Reject => 0,
    };
    let look = system::look(stream, limit).and_then(|look| match (look, unread) {
        (Look::Unread(_), Unread::Keep) => Ok(Look::Quiet),
        (Look::Unread(bytes), _) if bytes <= limit => system::drain(stream, limit),
        (look, _) => Ok(look),
    });
    let peer = || peer_of(stream);
    match look {
        Ok(Look::Quiet) => Ok(()),
        Ok(Look::Unread(bytes)) => Err(ConbusError::Unread {
            peer: peer(),
            bytes,
            limit,
        }),
        Ok(Look::Closed) => Err(ConbusError::Closed { peer: peer() }),
        Ok(Look::Reset) => Err(ConbusError::Reset { peer: peer() }),
        Err(source) => Err(ConbusError::Probe {
            peer: peer(),
            source,
        }),
    }
}

/// The peer for an error text; the system forgets it after a reset.
pub(in crate::managers) fn peer_of(stream: &TcpStream) -> Option<SocketAddr> {
    stream.peer_addr().ok()
}

/// Reads with `receive` until nothing is left, and at most slightly more than `limit` bytes.
fn drain_with(limit: usize, mut receive: impl FnMut() -> io::Result<usize>) -> io::Result<Look> {
    let mut total = 0;
    loop {
        match receive() {
            Ok(0) => return Ok(Look::Closed),
            Ok(bytes) => {
                total += bytes;
                if total > limit {
                    return Ok(Look::Unread(total));
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(Look::Quiet),
                io::ErrorKind::Interrupted => {}
                _ => return ended(error),
            },
        }
    }
}

/// Tells a dead connection from a question the system did not understand.
fn ended(error: io::Error) -> io::Result<Look> {
    match is_reset(&error) {
        true => Ok(Look::Reset),
        false => Err(error),
    }
}

/// The connection was reset by the peer or given up by the system.
pub(in crate::managers) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::TimedOut
    )
}
