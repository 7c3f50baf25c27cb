//! Is the connection still good? Asked without waiting, answered the same way twice.
//!
//! A look tells what the system knows and changes nothing. Only then are unread bytes thrown away,
//! and only when they are few enough, so a second question finds what the first one found.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(not(target_os = "linux"), test))]
mod portable;

use std::io;

use socket2::Socket;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use portable as system;

use super::Unread;

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
    /// Ended in both directions without a pending error.
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "only the look by poll tells it apart")
    )]
    HungUp,
}

/// The meaning of a socket that has ended in both directions and has no pending error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::managers) enum HangUp {
    /// TCP: the user has already read the error of the reset.
    IsReset,
    /// A Unix socket: a peer that closes ends both directions.
    #[cfg_attr(not(unix), allow(dead_code, reason = "Unix sockets only"))]
    IsClose,
}

/// Why a connection is no longer good.
#[derive(Debug)]
pub(in crate::managers) enum ProbeError {
    Closed,
    Reset,
    Unread {
        bytes: usize,
        limit: usize,
    },
    /// The system refused to answer.
    System(io::Error),
}

/// Looks, and treats unread bytes as `unread` says.
///
/// # Errors
///
/// The connection is closed, reset, holds more unread bytes than allowed, or cannot be examined.
pub(in crate::managers) fn inspect(
    socket: &Socket,
    unread: Unread,
    hang_up: HangUp,
) -> Result<(), ProbeError> {
    let limit = unread.max_discarded();
    let look = system::look(socket, limit).and_then(|look| match (look, unread) {
        (Look::Unread(_), Unread::Keep) => Ok(Look::Quiet),
        (Look::Unread(bytes), _) if bytes <= limit => system::drain(socket, limit),
        (look, _) => Ok(look),
    });
    match look {
        Ok(Look::Quiet) => Ok(()),
        Ok(Look::Unread(bytes)) => Err(ProbeError::Unread { bytes, limit }),
        Ok(Look::Closed) => Err(ProbeError::Closed),
        Ok(Look::Reset) => Err(ProbeError::Reset),
        Ok(Look::HungUp) => Err(match hang_up {
            HangUp::IsReset => ProbeError::Reset,
            HangUp::IsClose => ProbeError::Closed,
        }),
        Err(error) => Err(ProbeError::System(error)),
    }
}

/// Sends no bytes.
///
/// # Errors
///
/// The sending half was shut down, or the peer has closed (`BrokenPipe`).
#[cfg(unix)]
pub(in crate::managers) fn write_nothing(socket: &Socket) -> io::Result<()> {
    system::write_nothing(socket)
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
