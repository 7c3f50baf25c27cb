//! A manager for WebSockets.

mod builder;
mod connection;
mod error;
mod failure;
mod follower;
mod manager;
mod nonce;
mod plan;
mod wire;

pub use builder::{Pushed, WebSocketManagerBuilder};
pub use connection::WebSocketConnection;
pub use error::WebSocketError;
pub use manager::WebSocketManager;
pub use tungstenite::{
    self, Bytes, Message, Utf8Bytes,
    protocol::{CloseFrame, frame::coding::CloseCode},
};
