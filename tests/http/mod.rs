//! Shared by the tests of the HTTP client: a scripted server, and a pool for it.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test file uses its own part of these helpers"
)]

#[cfg(feature = "tls")]
#[path = "../common/authority.rs"]
pub(crate) mod authority;
#[cfg(unix)]
pub(crate) mod nginx;
mod peer;
mod server;
#[cfg(feature = "tls")]
pub(crate) mod tls;

use crate::common::{self, SOON, secs};
use conpool::{
    HttpBody, HttpError, HttpPhase, HttpPool, HttpPoolBuilder,
    http_types::{Request, Response},
};
use std::io::{self, Read};

pub(crate) use common::chain;
pub(crate) use peer::{Head, Peer};
pub(crate) use server::Server;

/// The shortest response that leaves the connection open.
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A pool whose timeouts end every request, but are long enough for a loaded machine.
pub(crate) fn pool(name: &str) -> HttpPoolBuilder {
    // Starts the latency monitor.
    common::noise();
    HttpPool::builder().name(name).total_timeout(secs(30))
}

pub(crate) fn build(name: &str) -> HttpPool {
    pool(name).build().unwrap()
}

/// Reads the whole body, or returns the error that ended it.
pub(crate) fn body(response: Response<HttpBody>) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    match response.into_body().read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(inner(error)),
    }
}

/// The client's own error inside the error of a read.
#[track_caller]
pub(crate) fn inner(error: io::Error) -> HttpError {
    let inner = error.into_inner().expect("an error of the client");
    *inner.downcast().expect("an HttpError")
}

/// Asserts that the time of the request elapsed in this phase.
#[track_caller]
pub(crate) fn timed_out(error: &HttpError, expected: HttpPhase) {
    assert!(
        matches!(error, HttpError::Timeout { phase, .. } if *phase == expected),
        "{error:?}"
    );
}

/// Sends a GET and reads the whole response.
pub(crate) fn fetch(http: &HttpPool, server: &Server) -> Result<(u16, Vec<u8>), HttpError> {
    let response = http.get(server.url("/"))?;
    let status = response.status().as_u16();
    Ok((status, body(response)?))
}

/// Sends a request whose answer is always [`OK`].
#[track_caller]
pub(crate) fn fetch_ok(http: &HttpPool, server: &Server) {
    assert_eq!(fetch(http, server).unwrap(), (200, b"ok".to_vec()));
}

/// Closes the pool and asserts that no connections and threads are left.
#[track_caller]
pub(crate) fn leave(http: &HttpPool) {
    http.close_timeout(SOON).unwrap();
    common::left_nothing(&http.stats(), http.name());
}
