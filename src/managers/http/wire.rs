//! A transport with a receive buffer and deadlines.

use std::{
    io::{self, ErrorKind},
    time::Duration,
};

use super::buffer::Buffer;
use crate::managers::{
    Transport,
    deadline::Deadline,
    timed::{WaitMode, is_own_timeout},
};

/// The interval at which a blocked write checks for an early response.
const STALLED: Duration = Duration::from_millis(100);

/// The minimum size of a read that bypasses the buffer.
const DIRECT: usize = 8 * 1024;

/// A transport with the bytes that were read ahead.
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

    /// Waits for more bytes and appends them to the buffer. Returns their number; 0 means that the server has
    /// ended the connection.
    pub(super) fn fill(&mut self, deadline: Deadline) -> io::Result<usize> {
        let wait_mode = WaitMode::Until(deadline);
        let bytes = self.transport.read_at(wait_mode, self.buffer.room())?;
        self.buffer.filled(bytes);
        Ok(bytes)
    }

    /// Returns buffered bytes if there are any, or else reads. A large `out` bypasses the buffer.
    pub(super) fn read(&mut self, out: &mut [u8], deadline: Deadline) -> io::Result<usize> {
        if self.buffer.is_empty() {
            if out.len() >= DIRECT {
                return self.transport.read_at(WaitMode::Until(deadline), out);
            }
            self.fill(deadline)?;
        }
        Ok(self.buffer.take(out))
    }

    /// Appends the bytes that have arrived to the buffer, without waiting. Ignores the end of the connection,
    /// which the next read or write reports.
    pub(super) fn fill_nonblocking(&mut self) {
        if self.transport.tcp().set_nonblocking(true).is_err() {
            return;
        }
        if let Ok(bytes) = self.transport.read_at(WaitMode::Now, self.buffer.room()) {
            self.buffer.filled(bytes);
        }
        // If this fails, the next read returns at once with the reason.
        let _ = self.transport.tcp().set_nonblocking(false);
    }

    /// Sends `bytes`. A blocked send stops early if `answered` returns true. Returns whether all bytes were
    /// sent.
    pub(super) fn send<E: From<io::Error>>(
        &mut self,
        mut bytes: &[u8],
        deadline: Deadline,
        mut answered: impl FnMut(&mut Self) -> Result<bool, E>,
    ) -> Result<bool, E> {
        loop {
            let until = WaitMode::Until(deadline.at_most(STALLED));
            let step = match bytes {
                [] => self.transport.flush_at(until).map(|()| None),
                _ => self.transport.write_at(until, bytes).map(Some),
            };
            match step {
                Ok(None) => return Ok(true),
                Ok(Some(0)) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(Some(sent)) => bytes = &bytes[sent..],
                Err(error) if is_own_timeout(&error) => {
                    if deadline.is_over() {
                        return Err(error.into());
                    }
                    self.fill_nonblocking();
                    if answered(self)? {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
