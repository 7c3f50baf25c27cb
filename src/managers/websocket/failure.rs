//! Interprets the errors of the codec.

use std::{io, net::SocketAddr};

use tungstenite::{Error, error::ProtocolError, protocol::frame::coding::CloseCode};

use super::WebSocketError;
#[cfg(feature = "tls")]
use crate::TlsError;
use crate::{
    ConbusError,
    managers::{socket::probe::is_reset, timed::is_own_timeout},
};

/// Returns true if the deadline of the wire elapsed.
pub(super) fn is_timeout(error: &Error) -> bool {
    matches!(error, Error::Io(error) if is_own_timeout(error))
}

/// Returns true if a non-blocking read found no data.
pub(super) fn would_wait(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Converts an error of an open connection. `closed` is the content of the server's close frame, if it sent
/// one.
pub(super) fn lost(
    error: Error,
    peer: Option<SocketAddr>,
    closed: Option<&(Option<u16>, String)>,
) -> WebSocketError {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::SendAfterClosing) => {
            let (code, reason) = closed.cloned().unwrap_or_default();
            WebSocketError::Closed { code, reason }
        }
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            WebSocketError::Transport(ConbusError::Closed { peer }.into())
        }
        Error::Io(error) => broken(error, peer),
        source => WebSocketError::Protocol { source },
    }
}

/// Returns the close code for a server that caused this error.
pub(super) fn code(error: &Error) -> CloseCode {
    match error {
        Error::Capacity(_) => CloseCode::Size,
        Error::Utf8(_) => CloseCode::Invalid,
        Error::Protocol(_) => CloseCode::Protocol,
        _ => CloseCode::Normal,
    }
}

fn broken(error: io::Error, peer: Option<SocketAddr>) -> WebSocketError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        // TLS reports this if TCP ended without a `close_notify`.
        return WebSocketError::Transport(ConbusError::Closed { peer }.into());
    }
    match is_reset(&error) {
        true => WebSocketError::Transport(ConbusError::Reset { peer }.into()),
        false => other(error),
    }
}

#[cfg(feature = "tls")]
fn other(error: io::Error) -> WebSocketError {
    match error.downcast::<rustls::Error>() {
        Ok(source) => WebSocketError::Transport(TlsError::Session { source }.into()),
        Err(source) => WebSocketError::Io { source },
    }
}

#[cfg(not(feature = "tls"))]
fn other(source: io::Error) -> WebSocketError {
    WebSocketError::Io { source }
}
