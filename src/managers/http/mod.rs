//! A keep-alive HTTP/1.1 client: what a program needs for talking to services it knows, without an async
//! runtime.
//!
//! [`HttpPool`] sends requests with the types of the crate `http` (here as [`http_types`]) over
//! connections that it keeps in a [`KeyedPool`](crate::KeyedPool), one key for each scheme, host and port.
//! Bodies stream both ways: [`HttpRequestBody`] is read while it is sent, [`HttpBody`] is read from the
//! connection. ureq-proto writes requests, chunks their bodies and tells how a response is delimited;
//! which bytes are a response at all, where its chunks end, and whether its connection may be used again
//! is decided here. https needs the feature `tls` and `HttpPoolBuilder::tls`.
//!
//! It does what a connection needs and no more: it follows no redirects, keeps no cookies, knows no
//! proxies and decompresses nothing (what was compressed is handed on as it came), adds no headers but
//! `host` and the length of the body, and drops the trailers of a chunked response. CONNECT is refused;
//! the response 101 is handed on, and its connection is evicted.
//!
//! # One client for a program
//!
//! ```
//! use conpool::HttpPool;
//! use std::{sync::LazyLock, time::Duration};
//!
//! static HTTP: LazyLock<HttpPool> = LazyLock::new(|| {
//!     HttpPool::builder()
//!         .max_total(100)
//!         .max_per_host(30)
//!         .connect_timeout(Duration::from_secs(10))
//!         .total_timeout(Duration::from_secs(30))
//!         .build()
//!         .expect("the settings are good")
//! });
//! # assert!(!HTTP.is_closed());
//! ```
//!
//! # Which connections are used again
//!
//! One goes back into the pool when the last byte of the response has been read, and only if all of this
//! holds; else it is evicted:
//!
//! - the body was read to its end, and nothing has come behind it;
//! - the whole request was sent before the response came;
//! - neither side said `connection: close`, and a response of HTTP/1.0 said `keep-alive`;
//! - the response has one length: not `transfer-encoding` together with `content-length`, not either of
//!   them in a 204 (except 0), no `transfer-encoding` in HTTP/1.0;
//! - its body did not end with the connection, and it was no 101.
//!
//! While it is idle its end, a reset, or bytes that nobody asked for evict it: that is looked at, without
//! waiting, at every checkout.
//!
//! # When a request is sent twice
//!
//! A server may end an idle connection at the moment in which it is used. Such a request is sent once
//! more, on a connection that was never used, if all of this holds: the connection had served before, the
//! method is idempotent (GET, HEAD, PUT, DELETE, OPTIONS, TRACE), no byte of a response had come, the
//! connection was lost (a timeout is no loss), and nothing of a reader as the body had been read. Never
//! more than once.
//!
//! # What bounds what
//!
//! | step | bounded by | when that is over |
//! |---|---|---|
//! | all of a request, from [`send`](HttpPool::send) to the last byte of the response's body | `total_timeout`, or that of [`send_timeout`](HttpPool::send_timeout) | [`HttpError::Timeout`], in the body inside an [`io::Error`](std::io::Error) of kind `TimedOut`; evicted |
//! | waiting for a connection | what is left of it | [`HttpError::Pool`] with [`GetError::TimedOut`](crate::GetError::TimedOut) |
//! | opening one: name, TCP and TLS together | `connect_timeout`, but no longer than the request | [`HttpError::Pool`]; the late connection serves the next one, if it comes within its own time |
//! | waiting for a 100 | `expect_continue_timeout` | the body is sent |
//! | a head, a trailer | `max_header_bytes`; 128 headers; 100 informational responses | [`HttpError::HeadersTooLong`], [`HttpError::Protocol`]; evicted |
//! | the reader of a request's body | nothing: it runs on the caller's thread and cannot be interrupted; its time counts | – |
//! | an idle connection | `idle_timeout`, `max_lifetime` | evicted |
//! | the probe, and what is unread in a dropped body | nothing: they never wait | – |
//! | closing | nothing: it does not wait for the server | – |
//!
//! # What can go wrong
//!
//! | the server … | what happens |
//! |---|---|
//! | refuses, does not resolve, has a certificate that is not trusted | [`HttpError::Pool`] with the cause, at once; for a pause of 20 ms up to 1 s the same is told without another attempt |
//! | the same, while other connections to it are in use | the request waits for one of those, within its time |
//! | is a black hole | [`HttpError::Pool`] after `connect_timeout` |
//! | takes the connection or the request and says nothing, or too slowly | [`HttpError::Timeout`] after the time of the request |
//! | ends or resets a connection while it is idle | the next one is tried, or a new one opened |
//! | ends or resets it while the request is sent or before the head is complete | sent once more, see above, or [`HttpError::Ended`], [`HttpError::Io`] |
//! | ends or resets it in the body | [`HttpError::BodyTooShort`], [`HttpError::Io`]; over TLS also where the end of the body is the end of the connection, and it did not say goodbye |
//! | answers before it has the whole request, and reads no further | the response, however far the sending was; evicted |
//! | sends what is no HTTP/1.1, two different lengths, another transfer-encoding than `chunked`, a bad chunk | [`HttpError::Protocol`]; evicted |
//! | sends a head, trailers or a chunk's line without end | [`HttpError::HeadersTooLong`], [`HttpError::Protocol`]; evicted |
//! | sends more than the response | the response; evicted |
//! | sends something before it is asked | evicted if that came before the checkout |
//!
//! After an error the request may have reached the server, except for [`HttpError::Pool`] and the errors
//! of the request itself ([`HttpError::Request`], [`HttpError::Uri`], [`HttpError::NoTls`]).
//!
//! # Holding several
//!
//! A response holds its connection until its body is read or dropped. A thread that holds one and sends
//! another request needs a second connection; where `max_per_host` does not allow it, it waits for itself,
//! and the error after that says so.

mod body;
mod budget;
mod buffer;
mod builder;
mod chunked;
mod error;
mod exchange;
mod head_reader;
mod manager;
mod origin;
mod pool;
mod request;
mod reuse;
mod wire;

pub use body::HttpBody;
pub use builder::HttpPoolBuilder;
pub use error::{HttpError, HttpPhase};
pub use manager::{HttpConnection, HttpManager};
pub use origin::HttpOrigin;
pub use pool::HttpPool;
pub use request::HttpRequestBody;
/// The crate `http` as this client uses it: requests, responses, headers, URIs. A program that depends on
/// `http` 1 itself has the same types.
pub use ureq_proto::http as http_types;
