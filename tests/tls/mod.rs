//! TLS servers for tests: an authority of their own, and peers that the test controls.

#![allow(dead_code, reason = "every test file uses its part of it")]

#[path = "../common/authority.rs"]
mod authority;
mod server;

pub(crate) use crate::support::sockets::arrives;
pub(crate) use authority::Authority;
pub(crate) use server::{Peer, Server};

use crate::common::{SOON, quick_backoff};
use conpool::{
    ConnectionManager, Pool, PoolBuilder, PooledConnection, TlsSocketManager,
    TlsSocketManagerBuilder, TlsStream,
};
use std::{
    io::{self, Read, Write},
    time::Duration,
};

pub(crate) type Guard = PooledConnection<TlsSocketManager>;

/// A manager with short timeouts.
pub(crate) fn manager(server: &Server, authority: &Authority) -> TlsSocketManagerBuilder {
    TlsSocketManager::builder(server.address(), authority.trusted())
        .server_name("localhost")
        .tcp(|tcp| {
            tcp.read_timeout(SOON)
                .write_timeout(SOON)
                .close_wait(Duration::from_millis(50))
        })
}

pub(crate) fn pool(name: &str, size: usize) -> PoolBuilder<TlsSocketManager> {
    Pool::builder()
        .name(name)
        .max_size(size)
        .backoff(quick_backoff())
}

/// Sends a line and reads the same line back.
pub(crate) fn echo(stream: &mut (impl Read + Write), text: &[u8]) -> io::Result<()> {
    stream.write_all(text)?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back)?;
    assert_eq!(back, text, "an answer to another question");
    Ok(())
}

/// Reads the server's messages after the handshake, so that the test's bytes come next.
pub(crate) fn settled(near: &mut TlsStream, peer: &mut Peer) {
    peer.push(b".");
    near.read_exact(&mut [0]).unwrap();
}

/// A connection without a pool, and the server's end of it.
pub(crate) fn pair(manager: &TlsSocketManager, server: &Server) -> (TlsStream, Peer) {
    let near = manager.create().expect("a server that answers");
    (near, server.peer())
}
