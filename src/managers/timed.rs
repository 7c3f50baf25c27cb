//! Reads and writes on a socket that share one deadline, or that never wait.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use super::{
    deadline::Deadline,
    socket::{Stream, limit},
};

/// How long reads and writes may wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum WaitMode {
    /// They never wait. The caller has set the socket to non-blocking.
    #[cfg_attr(
        not(any(feature = "http", feature = "websocket")),
        allow(dead_code, reason = "without a protocol above it, everything waits")
    )]
    Now,
    /// All of them together end by the deadline.
    Until(Deadline),
}

/// Gives every read and write the remaining time as its timeout, so that a peer that sends byte after byte
/// cannot prolong them for ever. Leaves the timeouts of the socket changed.
#[derive(Debug)]
pub(super) struct Timed<'a, S> {
    socket: &'a mut S,
    wait_mode: WaitMode,
}

impl<'a, S: Stream> Timed<'a, S> {
    pub(super) fn new(socket: &'a mut S, wait_mode: WaitMode) -> Self {
        Self { socket, wait_mode }
    }

    /// All reads and writes together end within `limit` from now.
    pub(super) fn within(socket: &'a mut S, limit: Duration) -> Self {
        Self::new(socket, WaitMode::Until(Deadline::after(limit)))
    }

    /// Runs `step` with the remaining time as the socket's timeout. Linux counts the timeout in kernel ticks
    /// and may return some milliseconds early; the step is then repeated.
    fn with_timeout<T>(
        &mut self,
        set: fn(&S, Option<Duration>) -> io::Result<()>,
        mut step: impl FnMut(&mut S) -> io::Result<T>,
    ) -> io::Result<T> {
        let deadline = match self.wait_mode {
            WaitMode::Now => return step(self.socket),
            WaitMode::Until(deadline) => deadline,
        };
        loop {
            let left = deadline.left();
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            set(self.socket, limit(left))?;
            match step(self.socket) {
                // Only a result close to the deadline is repeated, so a non-blocking socket does not cause a
                // busy loop.
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && deadline.left() <= MOST_EARLY => {}
                result => return result.map_err(timed_out),
            }
        }
    }
}

/// Two ticks of the slowest kernels.
const MOST_EARLY: Duration = Duration::from_millis(20);

impl<S: Stream> Read for Timed<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.with_timeout(S::set_read_timeout, |socket| socket.read(buffer))
    }
}

impl<S: Stream> Write for Timed<'_, S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.with_timeout(S::set_write_timeout, |socket| socket.write(buffer))
    }

    /// A socket buffers nothing.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Unifies the error of an elapsed timeout: Unix reports `WouldBlock`, Windows `TimedOut`.
pub(super) fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Returns true if a timeout of [`Timed`] elapsed. The system reports a connection that it gave up with the same
/// kind, but with an OS code. Windows has that code for both.
#[cfg(any(feature = "http", feature = "websocket"))]
pub(super) fn is_own_timeout(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && (cfg!(windows) || error.raw_os_error().is_none())
}

/// Repeats a step that a signal interrupted.
#[cfg(any(unix, feature = "http", feature = "websocket"))]
pub(super) fn uninterrupted<T>(mut step: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match step() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::managers::deadline::now;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_kernel_that_gives_up_early_is_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (limit, start, mut asked) = (Duration::from_millis(10), now(), 0);
        let mut timed = Timed::within(&mut socket, limit);
        let error = timed.with_timeout(<TcpStream as Stream>::set_read_timeout, |_| {
            asked += 1;
            Err::<(), _>(io::ErrorKind::WouldBlock.into())
        });
        let took = now().saturating_duration_since(start);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(took >= limit && asked > 1, "{asked} times in {took:?}");
    }

    #[test]
    fn a_socket_that_does_not_wait_is_not_asked_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _silent = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        let limit = Duration::from_secs(3600);
        let error = Timed::within(&mut socket, limit)
            .read(&mut [0])
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
