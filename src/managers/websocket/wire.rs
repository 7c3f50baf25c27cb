//! The stream below the codec. It limits waiting and received bytes, and separates the answer to the upgrade
//! from the frames after it.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use super::frame_tracker::FrameTracker;
use crate::{
    Transport,
    managers::{deadline::Deadline, timed::WaitMode},
};

/// The maximum length of the answer's head. The codec accepts no longer one.
const LONGEST_HEAD: usize = 64 * 1024;

/// A transport with limits.
#[derive(Debug)]
pub(super) struct Wire {
    transport: Transport,
    wait_mode: WaitMode,
    /// The number of bytes that may still arrive; `None` means no limit.
    allowance: Option<usize>,
    /// More bytes had arrived than were allowed.
    exhausted: bool,
    tracker: FrameTracker,
    /// Bytes that were received but not passed on yet.
    early: Vec<u8>,
    /// The number of bytes in `early` that belong to the answer to the upgrade, once known.
    head: Option<usize>,
    upgraded: bool,
}

impl Wire {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            wait_mode: WaitMode::Until(Deadline::NEVER),
            allowance: None,
            exhausted: false,
            tracker: FrameTracker::default(),
            early: Vec::new(),
            head: None,
            upgraded: false,
        }
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn into_transport(self) -> Transport {
        self.transport
    }

    pub(super) fn frame_tracker(&self) -> &FrameTracker {
        &self.tracker
    }

    /// Returns true if more bytes had arrived than [`allow`](Self::allow) permits.
    pub(super) fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// Marks the end of the upgrade. Frames follow.
    pub(super) fn upgraded(&mut self) {
        self.upgraded = true;
    }

    /// Limits all following reads and writes together to this duration, without a limit on bytes. `None`, or
    /// a duration beyond the range of `Instant`, means no limit.
    pub(super) fn within(&mut self, limit: impl Into<Option<Duration>>) {
        let deadline = limit.into().map_or(Deadline::NEVER, Deadline::after);
        self.wait_mode = WaitMode::Until(deadline);
        self.allow(None);
    }

    /// Limits the bytes that may arrive from now on.
    pub(super) fn allow(&mut self, bytes: Option<usize>) {
        self.allowance = bytes;
        self.exhausted = false;
    }

    /// Makes reads and writes never wait, until [`set_blocking`](Self::set_blocking).
    pub(super) fn set_nonblocking(&mut self) -> io::Result<()> {
        self.transport.tcp().set_nonblocking(true)?;
        self.wait_mode = WaitMode::Now;
        self.allow(None);
        Ok(())
    }

    /// Makes the socket blocking again.
    pub(super) fn set_blocking(&mut self) -> io::Result<()> {
        self.wait_mode = WaitMode::Until(Deadline::NEVER);
        self.allow(None);
        self.transport.tcp().set_nonblocking(false)
    }

    /// Copies received bytes to `buffer`.
    fn pass_on(&mut self, buffer: &mut [u8], most: usize) -> usize {
        let count = buffer.len().min(most);
        buffer[..count].copy_from_slice(&self.early[..count]);
        self.early.drain(..count);
        count
    }

    /// Reads the answer to the upgrade and no byte after it, because bytes that the codec reads before it has
    /// created the connection are lost.
    ///
    /// The codec gets the answer in one piece, because it takes many small pieces for an attack.
    fn read_head(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.head.is_none() {
            self.head = end_of_head(&self.early);
            if self.head.is_some() || !may_be_head(&self.early) {
                break;
            }
            let mut chunk = [0; 4096];
            match self.transport.read_at(self.wait_mode, &mut chunk)? {
                0 => break,
                read => self.early.extend_from_slice(&chunk[..read]),
            }
        }
        let most = self.head.unwrap_or(self.early.len());
        let count = self.pass_on(buffer, most);
        self.head = self.head.map(|head| head - count);
        Ok(count)
    }
}

/// Returns the end of the empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let ends = |length: usize, end: &[u8]| {
        let found = bytes.windows(length).position(|window| window == end);
        found.map(|start| start + length)
    };
    // The codec also accepts lines without a carriage return.
    ends(3, b"\n\r\n").into_iter().chain(ends(2, b"\n\n")).min()
}

/// Returns false for data that is not HTTP, so that the upgrade does not wait for more of it.
fn may_be_head(bytes: &[u8]) -> bool {
    let start = b"HTTP/1.";
    let seen = bytes.len().min(start.len());
    bytes[..seen] == start[..seen] && bytes.len() <= LONGEST_HEAD
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.upgraded {
            return self.read_head(buffer);
        }
        let most = buffer.len().min(self.allowance.unwrap_or(usize::MAX));
        if most == 0 && !buffer.is_empty() {
            self.exhausted = true;
            return Err(io::Error::other("more came in than is allowed"));
        }
        let count = if self.early.is_empty() {
            self.transport
                .read_at(self.wait_mode, &mut buffer[..most])?
        } else {
            self.pass_on(buffer, most.min(self.early.len()))
        };
        self.tracker.feed(&buffer[..count]);
        self.allowance = self.allowance.map(|left| left - count);
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.transport.write_at(self.wait_mode, buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.transport.flush_at(self.wait_mode)
    }
}

#[cfg(test)]
mod tests {
    use super::{end_of_head, may_be_head};

    #[test]
    fn a_head_ends_behind_its_first_empty_line() {
        assert_eq!(end_of_head(b"HTTP/1.1 101 x\r\nA: b\r\n"), None);
        assert_eq!(end_of_head(b"A\r\n\r\n\x81\x01a\n\n"), Some(5));
        assert_eq!(end_of_head(b"A\n\nB\r\n\r\n"), Some(3));
    }

    #[test]
    fn what_is_no_http_is_seen_by_its_first_bytes() {
        assert!(may_be_head(b""));
        assert!(may_be_head(b"HTT"));
        assert!(may_be_head(b"HTTP/1.1 1"));
        assert!(!may_be_head(b"SSH"));
        assert!(!may_be_head(b"HTTP/2"));
    }
}
