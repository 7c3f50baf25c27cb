//! A manager for connections over Unix sockets.
//!
//! [`UnixSocketManager`] opens a [`UnixStream`](std::os::unix::net::UnixStream) to a server on the same
//! machine, proves without waiting that the connection still stands, throws away the bytes that came
//! between two checkouts, and closes it so that the server has seen the end before the next connect. It
//! exists on Unix only and needs no feature.
//!
//! # What bounds what
//!
//! | step | bounded by | when that is over |
//! |---|---|---|
//! | connecting, while the queue of the listener is full (Linux) | `connect_timeout` | `create` fails, transient |
//! | one read or write of the user | `read_timeout`, `write_timeout` | the user gets the I/O error and should [`discard`](crate::PooledConnection::discard) |
//! | the probe and the drain | nothing: they never wait | – |
//! | closing | `close_wait`, and above it the pool's `dispose_timeout` | the socket is closed without the server's answer |
//!
//! A connect succeeds as soon as the queue of the listener has room, before the server accepts the
//! connection. Linux would let a connect to a full queue wait without a limit; the manager tries again
//! every few milliseconds instead, until `connect_timeout`. Other systems refuse such a connect at once,
//! which is a transient error, too.
//!
//! # What the probe says
//!
//! | the server … | probe | checkout |
//! |---|---|---|
//! | is idle | good | handed out |
//! | closed, or closed its write side only | [`Closed`](UnixSocketError::Closed) | evicted, the next one is tried |
//! | closed without having read all that it was sent (Linux) | [`Reset`](UnixSocketError::Reset) | evicted |
//! | sent bytes nobody read | as [`Unread`](crate::Unread) says | drained, kept or evicted |
//! | sent bytes and then closed | [`Closed`](UnixSocketError::Closed) | evicted |
//!
//! The answer is the same when the question is asked again. Outside of Linux the end behind unread bytes
//! is found by draining, so there [`Unread::Keep`](crate::Unread::Keep) does not see it until the bytes
//! have been read.
//!
//! A reply that comes after its reader gave up is read by the next user:
//! [`conbus`](crate::managers::conbus#stale-replies) explains the rule that prevents it.
//!
//! # Paths
//!
//! A path is used as it is given; a relative one is looked up in the working directory at each create.
//! The system allows some 100 bytes (Linux 107, macOS 103). On Linux a path that begins with a NUL byte, as
//! in `"\0orders"`, is a name of the abstract namespace, which has no file; errors show it as
//! `"@orders"`. (`"@orders"` itself is a file of that name.)
//!
//! # Errors worth another try
//!
//! A server that restarts removes its socket file and makes it anew, so a path that does not exist is a
//! transient error, as a refused connect is. The price: a path with a typing error is tried until the
//! deadline of the caller, whose error then carries the cause. Missing permission and a path that is too
//! long are permanent.

mod builder;
mod connect;
mod error;
mod manager;

pub use builder::UnixSocketManagerBuilder;
pub use error::UnixSocketError;
pub use manager::UnixSocketManager;
