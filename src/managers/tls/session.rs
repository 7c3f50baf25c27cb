//! What is said over a TLS session before and after the user: the handshake, the probe, the goodbye.

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

/// Tickets and keys that one look takes in. A server that sends more of them to an idle connection is
/// not in its right mind, and would keep the look busy for ever.
const OVERHEAD: usize = 256 * 1024;

/// Makes the handshake, within the time that the settings give it.
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

/// Takes in what has arrived, without waiting, and tells whether the session still stands and has no
/// more unread data than `unread` allows.
///
/// # Errors
///
/// The session or its TCP connection has ended, was reset, is broken or holds too much data.
pub(super) fn inspect(connection: &mut TlsStream, unread: Unread) -> Result<(), TlsError> {
    let looked = connection
        .sock
        .set_nonblocking(true)
        .map_err(|source| unknown(connection, source))
        .and_then(|()| look(connection, unread));
    let restored = connection.sock.set_nonblocking(false);
    looked?;
    restored.map_err(|source| unknown(connection, source))
}

fn unknown(connection: &TlsStream, source: io::Error) -> TlsError {
    let peer = peer_of(&connection.sock);
    TlsError::Tcp(ConbusError::Probe { peer, source })
}

/// On a socket that does not block.
fn look(connection: &mut TlsStream, unread: Unread) -> Result<(), TlsError> {
    let limit = unread.max_discarded();
    let (mut raw, mut data) = (0, 0);
    loop {
        let state = take_in(connection)?;
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
        throw_away(connection, waiting);
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
    // An answer to new keys; what there is no room for now goes out with the next write.
    while connection.conn.wants_write() {
        match connection.conn.write_tls(connection.sock.tcp_mut()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(reset(connection, error)),
        }
    }
    Ok(())
}

fn take_in(connection: &mut TlsStream) -> Result<IoState, TlsError> {
    let state = connection.conn.process_new_packets();
    state.map_err(|source| TlsError::Session { source })
}

fn throw_away(connection: &mut TlsStream, mut bytes: usize) {
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

/// Sends `close_notify` if there is room for it at once. A server that does not read would else hold
/// the slot, and it sees the end of TCP anyway.
pub(super) fn say_goodbye(connection: &mut TlsStream) {
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
