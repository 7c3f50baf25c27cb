//! The probe by a peek, for systems whose `poll` does not report the peer's end.
//!
//! The socket is non-blocking during the probe. A peek detects the peer's end only without unread bytes
//! before it; the drain detects the end behind them.

use std::{io, mem::MaybeUninit};

use socket2::Socket;

use super::{Look, drain_with, ended};

/// The maximum number of bytes to peek. Counting bytes copies them, which must not delay a checkout.
const MAX_PEEK: usize = 1 << 20;

/// Returns the state of `socket`. Counts unread bytes up to just above `limit`.
pub(super) fn look(socket: &Socket, limit: usize) -> io::Result<Look> {
    without_waiting(socket, || {
        let first = peek(socket, 1)?;
        if limit > 0 && matches!(first, Look::Unread(_)) {
            return peek(socket, limit.saturating_add(1).min(MAX_PEEK));
        }
        Ok(first)
    })
}

/// Discards the unread bytes.
pub(super) fn drain(socket: &Socket, limit: usize) -> io::Result<Look> {
    let mut scratch = [MaybeUninit::uninit(); 4096];
    without_waiting(socket, || drain_with(limit, || socket.recv(&mut scratch)))
}

/// Sends no bytes. Fails if nothing can be sent any more.
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) fn write_nothing(socket: &Socket) -> io::Result<()> {
    socket.send(&[]).map(drop)
}

fn peek(socket: &Socket, at_most: usize) -> io::Result<Look> {
    let mut scratch = vec![MaybeUninit::uninit(); at_most];
    loop {
        return match socket.peek(&mut scratch) {
            Ok(0) => Ok(Look::Closed),
            Ok(bytes) => Ok(Look::Unread(bytes)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok(Look::Quiet),
                io::ErrorKind::Interrupted => continue,
                _ => ended(error),
            },
        };
    }
}

fn without_waiting(socket: &Socket, probe: impl FnOnce() -> io::Result<Look>) -> io::Result<Look> {
    socket.set_nonblocking(true)?;
    let answer = probe();
    socket.set_nonblocking(false)?;
    answer
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Shutdown, TcpListener, TcpStream},
        time::Duration,
    };

    use super::*;

    fn tcp() -> (Socket, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        (near.into(), far.into())
    }

    /// Returns a pair of each kind of socket that the managers open.
    fn pairs() -> Vec<(Socket, Socket)> {
        let mut pairs = vec![tcp()];
        #[cfg(unix)]
        {
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            pairs.push((near.into(), far.into()));
        }
        pairs
    }

    /// Waits until the socket has something to read.
    fn settle(socket: &Socket) {
        let limit = Duration::from_secs(5);
        socket.set_read_timeout(Some(limit)).unwrap();
        let _ = socket.peek(&mut [MaybeUninit::uninit()]);
    }

    #[test]
    fn it_tells_quiet_from_unread_from_closed_and_repeats_itself() {
        for (near, far) in pairs() {
            for _ in 0..2 {
                assert_eq!(look(&near, 100).unwrap(), Look::Quiet);
            }
            far.send(b"abc").unwrap();
            settle(&near);
            for _ in 0..2 {
                assert_eq!(look(&near, 100).unwrap(), Look::Unread(3));
                assert_eq!(look(&near, 0).unwrap(), Look::Unread(1));
                assert_eq!(look(&near, 1).unwrap(), Look::Unread(2));
            }
            assert_eq!(drain(&near, 100).unwrap(), Look::Quiet);
            far.shutdown(Shutdown::Write).unwrap();
            settle(&near);
            for _ in 0..2 {
                assert_eq!(look(&near, 100).unwrap(), Look::Closed);
            }
        }
    }

    #[test]
    fn the_drain_finds_the_end_behind_the_bytes() {
        for (near, far) in pairs() {
            far.send(b"abc").unwrap();
            drop(far);
            settle(&near);
            assert_eq!(drain(&near, 100).unwrap(), Look::Closed);
            assert_eq!(look(&near, 100).unwrap(), Look::Closed);
        }
    }

    #[test]
    fn it_stops_at_the_limit() {
        for (near, far) in pairs() {
            far.send(&[7; 10]).unwrap();
            settle(&near);
            assert_eq!(drain(&near, 9).unwrap(), Look::Unread(10));
        }
    }
}
