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
//! | a peer that vanished without a word | `keepalive`, then the system's probe interval and count | as above |
//! | the probe and the drain | nothing: they never wait | – |
//! | closing | `close_wait`, and above it the pool's `dispose_timeout` | the socket is closed without the peer's answer |
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
//! A device that broadcasts, or a reply that came after its reader gave up, leaves bytes in the
//! socket. They are thrown away at checkout; but bytes that arrive *after* the checkout cannot be
//! told from a reply. So: discard a connection whose reply did not come, and match every reply to
//! its request by what it says, never by its place in the stream.

mod builder;
mod connect;
mod error;
mod manager;
mod probe;

pub use builder::{ConbusSocketManagerBuilder, Unread};
pub use error::ConbusError;
pub use manager::ConbusSocketManager;
