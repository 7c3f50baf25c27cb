//! The handshake, the probe and the closing of a TLS session.

use std::{
    io::{self, Read},
    net::TcpStream,
};

use rustls::{ClientConnection, IoState};

use super::{TlsError, TlsStream, builder::Settings};
use crate::{
    ConbusError, Unread,
    managers::{conbus::peer_of, socket::probe::is_reset, timed::Timed},
};

/// The maximum bytes of tickets and keys that one probe reads. A server that sends more of them to an idle
/// connection is faulty, and could keep the probe busy for ever.
const OVERHEAD: usize = 256 * 1024;

/// Performs the handshake within `handshake_timeout`.
pub(super) fn handshake(
    session: &mut ClientConnection,
    socket: &mut TcpStream,
    settings: &Settings,
) -> Result<(), TlsError> {
    let mut timed = Timed::within(socket, settings.handshake_timeout);
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut timed) {
            return Err(failed(error, settings));
        }
    }
    Ok(())
}

fn failed(error: io::Error, settings: &Settings) -> TlsError {
    let server_name = settings.server_name.clone();
    if error.kind() == io::ErrorKind::TimedOut {
        let limit = settings.handshake_timeout;
        return TlsError::HandshakeTimeout { server_name, limit };
    }
    match error.downcast::<rustls::Error>() {
        Ok(source) => TlsError::Handshake {
            server_name,
            source,
        },
        Err(source) => TlsError::HandshakeCut {
            server_name,
            source,
        },
    }
}

/// Processes the received data, without waiting, and checks that the session is open and holds no more unread
/// data than `unread` allows.
///
/// # Errors
///
/// Returns an error if the session or its TCP connection has ended, was reset, is broken or holds too much
/// data.
pub(super) fn inspect(connection: &mut TlsStream, unread: Unread) -> Result<(), TlsError> {
    let probed = connection
        .sock
        .set_nonblocking(true)
        .map_err(|source| unknown(connection, source))
        .and_then(|()| probe(connection, unread));
    let restored = connection.sock.set_nonblocking(false);
    probed?;
    restored.map_err(|source| unknown(connection, source))
}

fn unknown(connection: &TlsStream, source: io::Error) -> TlsError {
    let peer = peer_of(&connection.sock);
    TlsError::Tcp(ConbusError::Probe { peer, source })
}

/// Performs the probe on a non-blocking socket.
fn probe(connection: &mut TlsStream, unread: Unread) -> Result<(), TlsError> {
    let limit = unread.max_discarded();
    let (mut raw, mut data) = (0, 0);
    loop {
        let state = process(connection)?;
        let waiting = state.plaintext_bytes_to_read();
        if waiting > 0 && unread == Unread::Keep {
            return Ok(());
        }
        data += waiting;
        if data > limit || raw > limit.saturating_add(OVERHEAD) {
            return Err(TlsError::Tcp(ConbusError::Unread {
                peer: peer_of(&connection.sock),
                bytes: data.max(1),
                limit,
            }));
        }
        discard(connection, waiting);
        if state.peer_has_closed() {
            return Err(closed(connection));
        }
        match connection.conn.read_tls(connection.sock.tcp_mut()) {
            Ok(0) => return Err(closed(connection)),
            Ok(bytes) => raw += bytes,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => break,
                io::ErrorKind::Interrupted => {}
                _ => return Err(reset(connection, error)),
            },
        }
    }
    // The session may have to send an answer, such as a key update. If the socket has no room now, the next
    // write sends the rest.
    while connection.conn.wants_write() {
        match connection.conn.write_tls(connection.sock.tcp_mut()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(reset(connection, error)),
        }
    }
    Ok(())
}

fn process(connection: &mut TlsStream) -> Result<IoState, TlsError> {
    let state = connection.conn.process_new_packets();
    state.map_err(|source| TlsError::Session { source })
}

fn discard(connection: &mut TlsStream, mut bytes: usize) {
    let mut scratch = [0; 4096];
    while bytes > 0 {
        let most = bytes.min(scratch.len());
        match connection.conn.reader().read(&mut scratch[..most]) {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes -= read,
        }
    }
}

fn closed(connection: &TlsStream) -> TlsError {
    let peer = peer_of(&connection.sock);
    TlsError::Tcp(ConbusError::Closed { peer })
}

fn reset(connection: &TlsStream, error: io::Error) -> TlsError {
    match is_reset(&error) {
        true => TlsError::Tcp(ConbusError::Reset {
            peer: peer_of(&connection.sock),
        }),
        false => unknown(connection, error),
    }
}

/// Sends `close_notify` if the socket has room for it at once. Waiting would let a server that does not read
/// hold the slot, and the server sees the end of TCP anyway.
pub(super) fn send_close_notify_now(connection: &mut TlsStream) {
    connection.conn.send_close_notify();
    if connection.sock.set_nonblocking(true).is_err() {
        return;
    }
    while connection.conn.wants_write() {
        match connection.conn.write_tls(connection.sock.tcp_mut()) {
            Ok(bytes) if bytes > 0 => {}
            _ => return,
        }
    }
}
