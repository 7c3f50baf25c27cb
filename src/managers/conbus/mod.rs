//! A manager for plain TCP connections, made for devices that take one client at a time.
//!
//! [`ConbusSocketManager`] opens a [`TcpStream`](std::net::TcpStream), proves without waiting that it
//! still stands, throws away what a talkative device sent between two checkouts, and closes it so
//! that the device has seen the end before the next connect. The name comes from the bridges it was
//! written for (Conbus, TCP port 10001); nothing in it depends on their protocol.
//!
//! # What bounds what
//!
//! | step | bounded by | when that is over |
//! |---|---|---|
//! | resolving a name | nothing here: the system resolver cannot be interrupted; the pool's `create_timeout` gives up on it | the late connection is disposed |
//! | connecting, all addresses together | `connect_timeout` | `create` fails, transient |
//! | connecting to one of several addresses | what is left, divided by the addresses still to try | the next address is tried |
//! | one read or write of the user | `read_timeout`, `write_timeout` | the user gets the I/O error and should [`discard`](crate::PooledConnection::discard) |
//! | data the peer does not acknowledge | `user_timeout` (Linux) | the connection is reset; the next probe sees it |
//! | a peer that vanished without a word | `keepalive`, then `user_timeout` (Linux); without that, the system's probe interval and count | as above |
//! | the probe and the drain | nothing: they never wait | – |
//! | closing | `close_wait` (250 ms; 4 s with [`single_client`](ConbusSocketManagerBuilder::single_client)), and above it the pool's `dispose_timeout` | the socket is closed without the peer's answer |
//!
//! # What the probe says
//!
//! | the peer … | probe | checkout |
//! |---|---|---|
//! | is idle | good | handed out |
//! | closed, or closed its write side only | [`Closed`](ConbusError::Closed) | evicted, the next one is tried |
//! | reset the connection, or keepalive gave up | [`Reset`](ConbusError::Reset) | evicted |
//! | sent bytes nobody read | as [`Unread`] says | drained, kept or evicted |
//! | sent bytes and then closed | [`Closed`](ConbusError::Closed) | evicted |
//!
//! The answer is the same when the question is asked again. A half-closed connection counts as
//! closed, because a peer that will not send any more will not reply either.
//!
//! On Linux the end behind unread bytes is seen without reading them. Elsewhere it is found by
//! draining, so there [`Unread::Keep`] does not see it until the bytes have been read.
//!
//! # Stale replies
//!
//! A reply that comes after its reader gave up belongs to nobody, and the next reader would take it
//! for its own. What came before a checkout is thrown away there. What comes after it cannot be told
//! from the right reply, not even by a client that compares serial numbers: the same question may
//! have been asked twice. So one rule is the user's to keep: **a connection whose exchange did not
//! finish must never serve the next caller.** A timeout, an I/O error, half a reply and an early
//! return by `?` all leave an exchange unfinished. (A panic does too, but then the pool evicts the
//! connection by itself.)
//!
//! Where there is one place that asks, it discards on every error:
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
//! Where there are many, let the connection know it itself: wrap the stream in a type with a flag
//! that is set before a request and taken back after its reply, and this manager in one of your own
//! whose [`has_broken`](crate::ConnectionManager::has_broken) returns the flag and whose other hooks
//! call this one's. Then nobody can forget it.
//!
//! A broadcast has no last reply, so its exchange never finishes in this sense. Discard the
//! connection after it, or be sure that every later request ignores its replies.

mod builder;
mod connect;
mod error;
mod manager;

pub use super::socket::Unread;
pub use builder::ConbusSocketManagerBuilder;
pub use error::ConbusError;
pub(super) use error::peer_of;
pub use manager::ConbusSocketManager;
