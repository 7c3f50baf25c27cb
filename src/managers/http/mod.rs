//! A keep-alive HTTP/1.1 client for programs that talk to known services, without an async runtime.
//!
//! [`HttpPool`] sends requests with the types of the crate `http` (re-exported as [`http_types`]) over
//! connections in a [`KeyedPool`](crate::KeyedPool), with one key for each scheme, host and port. Bodies
//! stream in both directions: [`HttpRequestBody`] is read while it is sent, and [`HttpBody`] is read from the
//! connection. ureq-proto writes requests, frames their bodies and determines how a response is delimited.
//! This module decides which bytes are a response, where its chunks end, and whether its connection may be
//! reused. https needs the feature `tls` and `HttpPoolBuilder::tls`.
//!
//! The client has no features beyond connections. It follows no redirects, keeps no cookies, supports no
//! proxies and decompresses no content. It adds only the headers `host` and the length of the body, and
//! discards the trailers of a chunked response. CONNECT is refused. The response 101 is returned, and its
//! connection is evicted.
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
//! # Connection reuse
//!
//! A connection returns to the pool when the last byte of the response has been read, if all of the following
//! hold. Otherwise it is evicted:
//!
//! - the body was read to its end, and no bytes follow it;
//! - the whole request was sent before the response arrived;
//! - neither side sent `connection: close`, and a response of HTTP/1.0 sent `keep-alive`;
//! - the response has one length: not both `transfer-encoding` and `content-length`, neither of them in a 204
//!   (except 0), and no `transfer-encoding` in HTTP/1.0;
//! - the body did not end with the connection, and the response is not a 101.
//!
//! An idle connection is evicted if it ends, is reset or receives bytes. Every checkout checks for that
//! without waiting.
//!
//! # Retries
//!
//! A server may end an idle connection at the moment of its reuse. A request on such a connection is sent
//! once more, on a new connection, if all of the following hold: the connection had served a request before,
//! the method is idempotent (GET, HEAD, PUT, DELETE, OPTIONS, TRACE), no byte of a response had arrived, the
//! connection was lost (a timeout is no loss), and no byte of a reader as the body had been read. A request
//! is never sent more than twice.
//!
//! # Limits
//!
//! | step | limit | when the limit is reached |
//! |---|---|---|
//! | all of a request, from [`send`](HttpPool::send) to the last byte of the response's body | `total_timeout`, or that of [`send_timeout`](HttpPool::send_timeout) | [`HttpError::Timeout`], in the body inside an [`io::Error`](std::io::Error) of kind `TimedOut`; evicted |
//! | waiting for a connection | the remaining time of the request | [`HttpError::Pool`] with [`GetError::TimedOut`](crate::GetError::TimedOut) |
//! | opening a connection: name, TCP and TLS together | `connect_timeout`, but no longer than the request | [`HttpError::Pool`]; a connection that is late for the request but within `connect_timeout` serves the next one |
//! | waiting for a 100 | `expect_continue_timeout` | the body is sent |
//! | a head, a trailer | `max_header_bytes`; 128 headers; 100 informational responses | [`HttpError::HeadersTooLong`], [`HttpError::Protocol`]; evicted |
//! | the reader of a request's body | none: it runs on the caller's thread and cannot be interrupted; its time counts | – |
//! | an idle connection | `idle_timeout`, `max_lifetime` | evicted |
//! | the probe, and the unread rest of a dropped body | none: they never wait | – |
//! | closing | none: it does not wait for the server | – |
//!
//! # Faults
//!
//! | the server … | what happens |
//! |---|---|
//! | refuses, does not resolve, has a certificate that is not trusted | [`HttpError::Pool`] with the cause, at once; for a pause of 20 ms up to 1 s further requests get this error without another attempt |
//! | the same, while other connections to it are in use | the request waits for one of those connections, within its time |
//! | never answers the connect | [`HttpError::Pool`] after `connect_timeout` |
//! | accepts the connection or the request and then sends nothing, or too slowly | [`HttpError::Timeout`] after the time of the request |
//! | ends or resets a connection while it is idle | the next connection is tried, or a new one is opened |
//! | ends or resets it while the request is sent or before the head is complete | the request is sent once more (see above), or [`HttpError::Ended`], [`HttpError::Io`] |
//! | ends or resets it in the body | [`HttpError::BodyTooShort`], [`HttpError::Io`]; over TLS also if the end of the connection ends the body and the server did not send `close_notify` |
//! | answers before it has the whole request, and reads no further | the response, however much of the request was sent; evicted |
//! | sends data that is not HTTP/1.1, two different lengths, another transfer-encoding than `chunked`, or an invalid chunk | [`HttpError::Protocol`]; evicted |
//! | sends an endless head, trailers or chunk line | [`HttpError::HeadersTooLong`], [`HttpError::Protocol`]; evicted |
//! | sends more than the response | the response; evicted |
//! | sends bytes before a request | evicted if they arrived before the checkout |
//!
//! After an error the request may have reached the server, except for [`HttpError::Pool`] and the errors
//! of the request itself ([`HttpError::Request`], [`HttpError::Uri`], [`HttpError::NoTls`]).
//!
//! # Holding several connections
//!
//! A response holds its connection until its body is read or dropped. A thread that holds a response and
//! sends another request needs a second connection. If `max_per_host` does not allow it, the thread waits for
//! itself, and the resulting error says so.

mod body;
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
mod timeout;
mod wire;

pub use body::HttpBody;
pub use builder::HttpPoolBuilder;
pub use error::{HttpError, HttpPhase};
pub use manager::{HttpConnection, HttpManager};
pub use origin::HttpOrigin;
pub use pool::HttpPool;
pub use request::HttpRequestBody;
/// The crate `http` as this client uses it: requests, responses, headers and URIs. A program that depends on
/// `http` 1 itself gets the same types.
pub use ureq_proto::http as http_types;
