//! The TLS manager.

#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
#[path = "../resources/mod.rs"]
mod resources;
#[path = "../support/mod.rs"]
mod support;
#[path = "mod.rs"]
mod tls;

mod tls_handshake;
mod tls_idle;
