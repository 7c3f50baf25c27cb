//! What the tests of the HTTP client share: a server that does as it is told, and a pool for it.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test file uses its own part of these helpers"
)]

#[cfg(unix)]
pub(crate) mod nginx;
mod peer;
mod server;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use crate::common::{self, SOON, secs};
use conpool::{
    HttpBody, HttpError, HttpPool, HttpPoolBuilder,
    http_types::{Request, Response},
};
use std::{
    error::Error,
    io::{self, Read},
};

pub(crate) use peer::{Head, Peer};
pub(crate) use server::Server;

/// The plainest response that leaves the connection open.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A pool whose requests end even where a test is wrong, and not because a machine is loaded.
pub(crate) fn pool(name: &str) -> HttpPoolBuilder {
    // From here on it is measured.
    common::noise();
    HttpPool::builder().name(name).total_timeout(secs(30))
}

pub(crate) fn build(name: &str) -> HttpPool {
    pool(name).build().unwrap()
}

/// The whole body, or the error that ended it.
pub(crate) fn body(response: Response<HttpBody>) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    match response.into_body().read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(inner(error)),
    }
}

/// The client's own error in that of a read.
#[track_caller]
pub(crate) fn inner(error: io::Error) -> HttpError {
    let inner = error.into_inner().expect("an error of the client");
    *inner.downcast().expect("an HttpError")
}

/// GET, and all of the response.
pub(crate) fn fetch(http: &HttpPool, server: &Server) -> Result<(u16, Vec<u8>), HttpError> {
    let response = http.get(server.url("/"))?;
    let status = response.status().as_u16();
    Ok((status, body(response)?))
}

/// Asks the plain question, whose answer is always [`OK`].
#[track_caller]
pub(crate) fn fetch_ok(http: &HttpPool, server: &Server) {
    assert_eq!(fetch(http, server).unwrap(), (200, b"ok".to_vec()));
}

/// Everything an error says, with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += ": ";
        text += &cause.to_string();
        next = cause.source();
    }
    text
}

/// Closes the pool; nothing of it is left, neither connections nor threads.
#[track_caller]
pub(crate) fn leave(http: &HttpPool) {
    http.close_timeout(SOON).unwrap();
    let stats = http.stats();
    assert_eq!(stats.created, stats.disposed, "{stats}");
    assert_eq!(stats.size + stats.disposing + stats.abandoned, 0, "{stats}");
    assert_eq!(stats.panics, 0, "{stats}");
    let prefix = format!("{}-", http.name());
    common::eventually(|| common::threads(&prefix) == 0);
}
