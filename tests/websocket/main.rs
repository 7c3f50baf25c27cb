//! The WebSocket manager.

#[path = "../common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
#[path = "../resources/mod.rs"]
mod resources;
#[path = "../support/mod.rs"]
mod support;
#[path = "mod.rs"]
mod websocket;

mod websocket_closing;
mod websocket_crowd;
mod websocket_dead;
mod websocket_idle;
mod websocket_lines;
mod websocket_opening;
mod websocket_refusals;
#[cfg(feature = "tls")]
mod websocket_tls;
mod websocket_user_errors;
