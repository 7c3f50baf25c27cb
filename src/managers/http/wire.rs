//! A connection, what came over it, and the time in which it may be used.

use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use super::buffer::Buffer;
use crate::managers::{Transport, limit::now, timed::WaitMode};

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
        let wait_mode = WaitMode::Until(deadline);
        let bytes = self.transport.read_at(wait_mode, self.buffer.room())?;
        self.buffer.filled(bytes);
        Ok(bytes)
    }

    /// The buffered bytes if there are any, else what comes next; a large `out` gets it directly.
    pub(super) fn read(&mut self, out: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        if self.buffer.is_empty() {
            if out.len() >= DIRECT {
                return self.transport.read_at(WaitMode::Until(deadline), out);
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
        if let Ok(bytes) = self.transport.read_at(WaitMode::Now, self.buffer.room()) {
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
            let until = WaitMode::Until(until);
            let step = match bytes {
                [] => self.transport.flush_at(until).map(|()| None),
                _ => self.transport.write_at(until, bytes).map(Some),
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
