//! The HTTP client.

#[allow(
    dead_code,
    reason = "of what the scenarios share only the sockets are looked at here"
)]
#[path = "../bridge/mod.rs"]
mod bridge;
#[path = "../common/mod.rs"]
mod common;
#[path = "mod.rs"]
mod http;
#[path = "../support/mod.rs"]
mod support;

mod http_bodies;
mod http_early;
mod http_faults;
mod http_nginx;
mod http_pool;
mod http_requests;
mod http_retry;
mod http_reuse;
#[cfg(feature = "tls")]
mod http_tls;
