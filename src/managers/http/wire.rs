//! A connection, what came over it, and the time in which it may be used.

use std::{
    io::{self, ErrorKind, Read, Write},
    time::{Duration, Instant},
};

use super::buffer::Buffer;
#[cfg(feature = "tls")]
use crate::managers::TlsStream;
use crate::managers::{Transport, timed::Timed};

/// A write that does not get on looks this often whether the server has answered meanwhile.
const STALLED: Duration = Duration::from_millis(100);

/// A read of so many bytes does not go through the buffer.
const DIRECT: usize = 8 * 1024;

/// `None`: without end.
pub(super) type Deadline = Option<Instant>;

/// A transport with the bytes that were read from it ahead of their use.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) transport: Transport,
    pub(super) buffer: Buffer,
}

impl Wire {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            buffer: Buffer::default(),
        }
    }

    /// Waits for more bytes and puts them into the buffer. How many; 0 means that the server has ended.
    pub(super) fn fill(&mut self, deadline: Deadline) -> io::Result<usize> {
        let bytes = receive(&mut self.transport, self.buffer.room(), deadline)?;
        self.buffer.filled(bytes);
        Ok(bytes)
    }

    /// The buffered bytes if there are any, else what comes next; a large `out` gets it directly.
    pub(super) fn read(&mut self, out: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        if self.buffer.is_empty() {
            if out.len() >= DIRECT {
                return receive(&mut self.transport, out, deadline);
            }
            self.fill(deadline)?;
        }
        Ok(self.buffer.take(out))
    }

    /// Puts what has arrived into the buffer, and waits for nothing. The end of a connection is no news
    /// here: the next read or write meets it.
    pub(super) fn fill_now(&mut self) {
        if self.transport.tcp().set_nonblocking(true).is_err() {
            return;
        }
        if let Ok(bytes) = receive_now(&mut self.transport, self.buffer.room()) {
            self.buffer.filled(bytes);
        }
        // Where this fails, the next read returns at once and says why.
        let _ = self.transport.tcp().set_nonblocking(false);
    }

    /// Sends all of `bytes`, or, when `answered` says so while they do not get on, a part. Whether it was
    /// all.
    pub(super) fn send<E: From<io::Error>>(
        &mut self,
        mut bytes: &[u8],
        deadline: Deadline,
        mut answered: impl FnMut(&mut Self) -> Result<bool, E>,
    ) -> Result<bool, E> {
        loop {
            let patience = now().checked_add(STALLED);
            let until = deadline.map_or(patience, |end| patience.map(|soon| soon.min(end)));
            let step = match bytes {
                [] => finish(&mut self.transport, until).map(|()| None),
                _ => transmit(&mut self.transport, bytes, until).map(Some),
            };
            match step {
                Ok(None) => return Ok(true),
                Ok(Some(0)) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(Some(sent)) => bytes = &bytes[sent..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Of the wait; the system may also say so of the connection.
                Err(error)
                    if error.kind() == ErrorKind::TimedOut && error.raw_os_error().is_none() =>
                {
                    if deadline.is_some_and(|end| now() >= end) {
                        return Err(error.into());
                    }
                    self.fill_now();
                    if answered(self)? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Over TLS the session is driven here and not by its own `read`, which would give each of the many
/// reads of one slow record the whole time anew.
fn receive(transport: &mut Transport, out: &mut [u8], deadline: Deadline) -> io::Result<usize> {
    loop {
        let result = match transport {
            Transport::Tcp(stream) => Timed::until(stream, deadline).read(out),
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => {
                let mut timed = Timed::until(stream.sock.tcp_mut(), deadline);
                match stream.conn.reader().read(out) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        match stream.conn.complete_io(&mut timed) {
                            // The end of TCP: the reader knows whether it was one of TLS.
                            Ok((0, _)) => stream.conn.reader().read(out),
                            Ok(_) => continue,
                            Err(error) => Err(error),
                        }
                    }
                    result => result,
                }
            }
        };
        match result {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// On a socket that does not block.
fn receive_now(transport: &mut Transport, out: &mut [u8]) -> io::Result<usize> {
    match transport {
        Transport::Tcp(stream) => stream.read(out),
        #[cfg(feature = "tls")]
        Transport::Tls(stream) => {
            // There may be data in the session though there is none in the socket.
            if stream.conn.read_tls(stream.sock.tcp_mut()).is_ok() {
                let state = stream.conn.process_new_packets();
                state.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            }
            stream.conn.reader().read(out)
        }
    }
}

/// Sends a part of `bytes`. Over TLS it takes a part, once what it took before is sent.
fn transmit(transport: &mut Transport, bytes: &[u8], until: Deadline) -> io::Result<usize> {
    match transport {
        Transport::Tcp(stream) => Timed::until(stream, until).write(bytes),
        #[cfg(feature = "tls")]
        Transport::Tls(stream) => {
            flush(stream, until)?;
            stream.conn.writer().write(bytes)
        }
    }
}

/// Makes sure that all is with the system, where TCP has it at once.
#[cfg_attr(
    not(feature = "tls"),
    allow(
        unused_variables,
        clippy::unnecessary_wraps,
        reason = "TLS needs the time and can fail"
    )
)]
fn finish(transport: &mut Transport, until: Deadline) -> io::Result<()> {
    match transport {
        Transport::Tcp(_) => Ok(()),
        #[cfg(feature = "tls")]
        Transport::Tls(stream) => flush(stream, until),
    }
}

/// Sends what the session has taken and not sent.
#[cfg(feature = "tls")]
fn flush(stream: &mut TlsStream, until: Deadline) -> io::Result<()> {
    while stream.conn.wants_write() {
        let mut timed = Timed::until(stream.sock.tcp_mut(), until);
        if stream.conn.write_tls(&mut timed)? == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

#[allow(
    clippy::disallowed_methods,
    reason = "a real wait on a real peer, not an age; the pool's clock does not apply"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}
