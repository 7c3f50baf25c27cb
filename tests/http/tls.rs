//! A TLS server with a certificate of an authority of its own.

use super::authority::Authority;
use crate::common::acceptor::Acceptor;
use rustls::{ALL_VERSIONS, ServerConnection, StreamOwned};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
};

pub(crate) type TlsPeer = StreamOwned<ServerConnection, TcpStream>;

/// Runs a function on each connection. The threads end when their clients do.
pub(crate) struct TlsServer {
    pub(crate) authority: Authority,
    acceptor: Acceptor,
}

impl TlsServer {
    pub(crate) fn start(script: impl Fn(usize, TlsPeer) + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let config = authority.identity().serving(ALL_VERSIONS);
        let script = Arc::new(script);
        let acceptor = Acceptor::start(move |number, stream| {
            stream.set_nodelay(true).unwrap();
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let script = Arc::clone(&script);
            thread::spawn(move || script(number, StreamOwned::new(session, stream)));
        });
        Self {
            authority,
            acceptor,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.acceptor.addr()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.addr().port())
    }

    pub(crate) fn connections(&self) -> usize {
        self.acceptor.accepted()
    }
}

/// Reads the next head of a request and nothing after it. False: the client has closed.
pub(crate) fn head(peer: &mut TlsPeer) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match peer.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}

pub(crate) fn answer(peer: &mut TlsPeer, response: &[u8]) {
    while head(peer) {
        if peer
            .write_all(response)
            .and_then(|()| peer.flush())
            .is_err()
        {
            return;
        }
    }
}

/// Encrypts, and returns the bytes for the wire.
pub(crate) fn sealed(peer: &mut TlsPeer, bytes: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    peer.conn.writer().write_all(bytes).unwrap();
    while peer.conn.wants_write() {
        peer.conn.write_tls(&mut wire).unwrap();
    }
    wire
}

/// Waits until the client closes in any way.
pub(crate) fn end(peer: &mut TlsPeer) {
    let _ = io::copy(&mut peer.sock, &mut io::sink());
}
