//! A manager for plain TCP connections, made for devices that take one client at a time.
//!
//! [`ConbusSocketManager`] opens a [`TcpStream`](std::net::TcpStream), checks without waiting that it is
//! still open, discards bytes that a device sent between two checkouts, and closes it so that the device has
//! seen the end before the next connect. The name comes from the bridges that the manager was written for
//! (Conbus, TCP port 10001); the manager is independent of their protocol.
//!
//! # Limits
//!
//! | step | limit | when the limit is reached |
//! |---|---|---|
//! | resolving a name | none here: the system resolver cannot be interrupted; the pool's `create_timeout` gives up on it | the late connection is disposed |
//! | connecting, all addresses together | `connect_timeout` | `create` fails, transient |
//! | connecting to one of several addresses | the remaining time, divided by the addresses still to try | the next address is tried |
//! | one read or write of the user | `read_timeout`, `write_timeout` | the user gets the I/O error and should [`discard`](crate::PooledConnection::discard) |
//! | data the peer does not acknowledge | `user_timeout` (Linux) | the connection is reset; the next probe sees it |
//! | a peer that vanished silently | `keepalive`, then `user_timeout` (Linux); otherwise the system's probe interval and count | as above |
//! | the probe and the drain | none: they never wait | – |
//! | closing | `close_wait` (250 ms; 4 s with [`single_client`](ConbusSocketManagerBuilder::single_client)), and above it the pool's `dispose_timeout` | the socket is closed without the peer's answer |
//!
//! # Probe results
//!
//! | the peer … | probe | checkout |
//! |---|---|---|
//! | is idle | good | handed out |
//! | closed, or closed its write side only | [`Closed`](ConbusError::Closed) | evicted, the next one is tried |
//! | reset the connection, or keepalive gave up | [`Reset`](ConbusError::Reset) | evicted |
//! | sent bytes that were not read | depends on [`Unread`] | drained, kept or evicted |
//! | sent bytes and then closed | [`Closed`](ConbusError::Closed) | evicted |
//!
//! Repeated probes return the same result. A half-closed connection counts as closed, because a peer that
//! sends no more data will not reply either.
//!
//! On Linux the probe detects an end behind unread bytes without reading them. Other systems detect it by
//! draining, so with [`Unread::Keep`] the end is noticed only when the bytes have been read.
//!
//! # Stale replies
//!
//! A reply that arrives after its reader gave up would be taken by the next reader for its own. Bytes that
//! arrive before a checkout are discarded at the checkout. Bytes that arrive later cannot be told from the
//! right reply, even by a client that compares serial numbers, because the same request may have been sent
//! twice. The user must therefore follow one rule: **a connection whose exchange did not finish must never
//! serve the next caller.** A timeout, an I/O error, half a reply and an early return by `?` all leave an
//! exchange unfinished. (A panic does too, but the pool then evicts the connection itself.)
//!
//! If requests are made in one place, discard the connection there on every error:
//!
//! ```no_run
//! # use conpool::{ConbusSocketManager, Pool, PooledConnection};
//! # use std::{io, net::TcpStream};
//! fn ask<T>(
//!     pool: &Pool<ConbusSocketManager>,
//!     exchange: impl FnOnce(&mut TcpStream) -> io::Result<T>,
//! ) -> Result<T, Box<dyn std::error::Error>> {
//!     let mut line = pool.get()?;
//!     match exchange(&mut line) {
//!         Ok(answer) => Ok(answer),
//!         Err(error) => {
//!             PooledConnection::discard(line);
//!             Err(error.into())
//!         }
//!     }
//! }
//! ```
//!
//! If requests are made in many places, let the connection track its state: wrap the stream in a type with a
//! flag that is set before a request and cleared after its reply. Wrap the manager in one of your own whose
//! [`has_broken`](crate::ConnectionManager::has_broken) returns the flag and whose other hooks call this
//! manager's. No caller can then forget the rule.
//!
//! A broadcast has no last reply, so its exchange never finishes in this sense. Discard the connection after
//! a broadcast, or make sure that every later request ignores its replies.

mod builder;
mod connect;
mod error;
mod manager;

pub use super::socket::Unread;
pub use builder::ConbusSocketManagerBuilder;
pub use error::ConbusError;
pub(super) use error::peer_of;
pub use manager::ConbusSocketManager;
