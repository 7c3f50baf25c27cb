//! Connects to a path, within one timeout.

use std::{
    io,
    os::unix::{ffi::OsStrExt, net::UnixStream},
    path::Path,
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{UnixSocketError, builder::Settings};
use crate::managers::{
    deadline::{Deadline, now},
    socket::set_timeouts,
    timed::uninterrupted,
};

/// The pauses between two attempts while the listener's queue is full. The first is short, because servers
/// accept within microseconds. Later pauses are longer, because a server that does not accept quickly may
/// take a while.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

pub(super) fn open(settings: &Settings) -> Result<UnixStream, UnixSocketError> {
    let path = || settings.path.clone();
    let deadline = Deadline::after(settings.connect_timeout);
    let address = address(&settings.path).map_err(|source| UnixSocketError::Path {
        path: path(),
        source,
    })?;
    if deadline.is_over() {
        return Err(UnixSocketError::OutOfTime {
            path: path(),
            budget: settings.connect_timeout,
        });
    }
    let started = now();
    let socket =
        Socket::new(Domain::UNIX, Type::STREAM, None).map_err(|source| UnixSocketError::Open {
            path: path(),
            source,
        })?;
    set_timeouts(&socket, settings.read_timeout, settings.write_timeout).map_err(
        |(option, source)| UnixSocketError::Configure {
            option,
            path: path(),
            source,
        },
    )?;
    connect(&socket, &address, deadline).map_err(|source| UnixSocketError::Connect {
        path: path(),
        after: now().saturating_duration_since(started),
        source,
    })?;
    Ok(socket.into())
}

fn address(path: &Path) -> io::Result<SockAddr> {
    let invalid = |rule| Err(io::Error::new(io::ErrorKind::InvalidInput, rule));
    match path.as_os_str().as_bytes() {
        [] => invalid("must not be empty"),
        [0, ..] if !cfg!(any(target_os = "linux", target_os = "android")) => {
            invalid("abstract names exist on Linux only")
        }
        [0, ..] => SockAddr::unix(path),
        bytes if bytes.contains(&0) => invalid("must not contain a NUL byte"),
        _ => SockAddr::unix(path),
    }
}

/// Connects without blocking, and tries again while the listener's queue is full: a blocking connect waits
/// for a place without a limit. `Socket::connect_timeout` does not work here, because it polls a socket that
/// is not connected and reports a spurious error.
fn connect(socket: &Socket, address: &SockAddr, deadline: Deadline) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let is_full = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    deadline
        .retry(FIRST_PAUSE, LONGEST_PAUSE, is_full, || {
            uninterrupted(|| socket.connect(address))
        })
        .map_err(|error| match is_full(&error) {
            true => io::Error::new(io::ErrorKind::TimedOut, "the queue of the listener is full"),
            false => error,
        })?;
    socket.set_nonblocking(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_without_nul_bytes_or_an_abstract_name() {
        assert!(address(Path::new("")).is_err());
        assert!(address(Path::new("a\0b")).is_err());
        assert!(address(Path::new(&"a".repeat(200))).is_err());
        let plain = address(Path::new("/run/a.sock")).unwrap();
        assert_eq!(plain.as_pathname(), Some(Path::new("/run/a.sock")));
        let named = address(Path::new("\0orders"));
        match cfg!(any(target_os = "linux", target_os = "android")) {
            true => assert!(named.unwrap().as_pathname().is_none()),
            false => assert_eq!(named.unwrap_err().kind(), io::ErrorKind::InvalidInput),
        }
    }
}
