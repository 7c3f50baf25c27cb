//! The built-in connection managers. They use only public items, as a user's manager would.

pub mod conbus;
mod deadline;
#[cfg(feature = "http")]
pub mod http;
mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "r2d2")]
pub mod r2d2;
mod socket;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod timed;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(any(feature = "http", feature = "websocket"))]
mod transport;
#[cfg(unix)]
pub mod unix;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use conbus::*;
#[cfg(feature = "http")]
pub use http::*;
pub use memory::*;
#[cfg(feature = "postgres")]
pub use postgres::*;
#[cfg(feature = "r2d2")]
pub use r2d2::*;
#[cfg(feature = "sqlite")]
pub use sqlite::*;
#[cfg(feature = "tls")]
pub use tls::*;
#[cfg(any(feature = "http", feature = "websocket"))]
pub use transport::*;
#[cfg(unix)]
pub use unix::*;
#[cfg(feature = "websocket")]
pub use websocket::{
    Pushed, WebSocketConnection, WebSocketError, WebSocketManager, WebSocketManagerBuilder,
};
