//! Checks whether a connection is still good, without waiting and with a repeatable result.
//!
//! A look reads the state of the socket and changes nothing. Unread bytes are discarded afterwards, and only
//! if they are few enough, so that a second probe returns the same result.

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

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Open, without unread bytes.
    Quiet,
    /// Open, with at least this number of unread bytes. The exact number if it is at most the number asked
    /// about.
    Unread(usize),
    /// The peer has ended its sending half.
    Closed,
    /// Reset by the peer or given up by the system.
    Reset,
    /// Closed in both directions without a pending error.
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "only the look by poll tells it apart")
    )]
    HungUp,
}

/// The meaning of a socket that is closed in both directions without a pending error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::managers) enum HangUp {
    /// TCP: the user has already read the error of a reset.
    IsReset,
    /// Unix socket: a peer that closes ends both directions.
    #[cfg_attr(not(unix), allow(dead_code, reason = "Unix sockets only"))]
    IsClose,
}

/// The reason why a connection is not good.
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

/// Checks the connection and handles unread bytes according to `unread`.
///
/// # Errors
///
/// Returns an error if the connection is closed, was reset, holds more unread bytes than allowed, or cannot
/// be examined.
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
/// Returns `BrokenPipe` if the sending half was shut down, or if the peer has closed.
#[cfg(unix)]
pub(in crate::managers) fn write_nothing(socket: &Socket) -> io::Result<()> {
    system::write_nothing(socket)
}

/// Reads with `receive` until no bytes are left or slightly more than `limit` bytes were read.
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

/// Returns `Look::Reset` for an error of a dead connection, and passes other errors on.
fn ended(error: io::Error) -> io::Result<Look> {
    match is_reset(&error) {
        true => Ok(Look::Reset),
        false => Err(error),
    }
}

/// Returns true if the peer reset the connection or the system gave it up.
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
