//! The look by a peek, for systems without a `poll` that tells of the peer's end.
//!
//! The socket is switched to non-blocking for the time of the question. It sees the peer's end only
//! where no unread bytes lie before it; the drain finds it there.

use std::{
    io::{self, Read},
    net::TcpStream,
};

use super::{Look, drain_with, ended};

/// Counting means copying; nobody waits for more than this to be copied.
const MAX_PEEK: usize = 1 << 20;

/// What the system knows about `stream`. Counts unread bytes up to just above `limit`.
pub(super) fn look(stream: &TcpStream, limit: usize) -> io::Result<Look> {
    without_waiting(stream, || {
        let first = peek(stream, 1)?;
        if limit > 0 && matches!(first, Look::Unread(_)) {
            return peek(stream, limit.saturating_add(1).min(MAX_PEEK));
        }
        Ok(first)
    })
}

/// Throws away what is there.
pub(super) fn drain(mut stream: &TcpStream, limit: usize) -> io::Result<Look> {
    let mut scratch = [0; 4096];
    without_waiting(stream, || drain_with(limit, || stream.read(&mut scratch)))
}

fn peek(stream: &TcpStream, at_most: usize) -> io::Result<Look> {
    let mut scratch = vec![0; at_most];
    loop {
        return match stream.peek(&mut scratch) {
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

fn without_waiting(stream: &TcpStream, ask: impl FnOnce() -> io::Result<Look>) -> io::Result<Look> {
    stream.set_nonblocking(true)?;
    let answer = ask();
    stream.set_nonblocking(false)?;
    answer
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{Shutdown, TcpListener},
        time::Duration,
    };

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        (near, far)
    }

    /// Waits until there is something to see.
    fn settle(stream: &TcpStream) {
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let _ = stream.peek(&mut [0]);
    }

    #[test]
    fn it_tells_quiet_from_unread_from_closed_and_repeats_itself() {
        let (near, mut far) = pair();
        for _ in 0..2 {
            assert_eq!(look(&near, 100).unwrap(), Look::Quiet);
        }
        far.write_all(b"abc").unwrap();
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

    #[test]
    fn the_drain_finds_the_end_behind_the_bytes() {
        let (near, mut far) = pair();
        far.write_all(b"abc").unwrap();
        drop(far);
        settle(&near);
        assert_eq!(drain(&near, 100).unwrap(), Look::Closed);
        assert_eq!(look(&near, 100).unwrap(), Look::Closed);
    }

    #[test]
    fn it_stops_at_the_limit() {
        let (near, mut far) = pair();
        far.write_all(&[7; 10]).unwrap();
        settle(&near);
        assert_eq!(drain(&near, 9).unwrap(), Look::Unread(10));
    }
}
