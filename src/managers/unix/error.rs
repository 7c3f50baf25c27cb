//! The errors of Unix socket connections.

use std::{
    fmt, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::managers::socket::probe::ProbeError;

/// A step failed for a path.
///
/// The text of an error names the step. The system's message is in [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnixSocketError {
    /// The path cannot be the path of a socket: it is empty, too long or contains a NUL byte. Permanent.
    #[error("{} cannot be the path of a socket", Name(path))]
    Path {
        /// The path as given to the builder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },

    /// The system refused a socket. Permanent.
    #[error("cannot open a socket for {}", Name(path))]
    Open {
        /// The path of the socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },

    /// A socket option was refused. Permanent.
    #[error("cannot set {option} on the socket for {}", Name(path))]
    Configure {
        /// The name of the builder's setting.
        option: &'static str,
        /// The path of the socket.
        path: PathBuf,
        /// The system's error, or the reason why the value is invalid.
        source: io::Error,
    },

    /// The server did not accept the connection. Transient if the path does not exist (the server may be
    /// restarting), if the connection was refused, reset or aborted, or if the listener's queue was full
    /// (`TimedOut`).
    #[error("cannot connect to {} after {after:.1?}", Name(path))]
    Connect {
        /// The path as given to the builder.
        path: PathBuf,
        /// How long the attempt took.
        after: Duration,
        /// The system's error.
        source: io::Error,
    },

    /// `connect_timeout` elapsed before the path could be tried. Transient.
    #[error(
        "the connect timeout of {budget:?} was over before {} could be tried",
        Name(path)
    )]
    OutOfTime {
        /// The path that was not tried.
        path: PathBuf,
        /// The `connect_timeout`.
        budget: Duration,
    },

    /// The server closed the connection, or its sending half of it.
    #[error("the connection to {} was closed by the peer", Name(path))]
    Closed {
        /// The path of the socket.
        path: PathBuf,
    },

    /// The server closed the connection without reading all bytes sent to it.
    #[error("the connection to {} was reset", Name(path))]
    Reset {
        /// The path of the socket.
        path: PathBuf,
    },

    /// More bytes were waiting than [`Unread`](crate::Unread) allows.
    #[error(
        "the connection to {} has {bytes} unread bytes, {limit} allowed",
        Name(path)
    )]
    Unread {
        /// The path of the socket.
        path: PathBuf,
        /// The number of bytes seen; there may be more.
        bytes: usize,
        /// The number of bytes allowed.
        limit: usize,
    },

    /// The sending half was shut down, on this side or by a server that no longer reads, so the connection is
    /// unusable.
    #[error("the connection to {} was shut down for writing", Name(path))]
    ShutDown {
        /// The path of the socket.
        path: PathBuf,
    },

    /// The system could not report the state of the connection.
    #[error("cannot examine the connection to {}", Name(path))]
    Probe {
        /// The path of the socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl UnixSocketError {
    /// Converts the result of a probe of a connection to this path.
    pub(super) fn probed(path: &Path, error: ProbeError) -> Self {
        let path = path.to_owned();
        match error {
            ProbeError::Closed => Self::Closed { path },
            ProbeError::Reset => Self::Reset { path },
            ProbeError::Unread { bytes, limit } => Self::Unread { path, bytes, limit },
            ProbeError::System(source) => Self::Probe { path, source },
        }
    }

    /// Returns true if another attempt may succeed soon.
    ///
    /// This holds for a server that refused, reset, aborted or closed, whose queue is full, or whose socket
    /// file does not exist. Missing permission, an invalid path and all other errors are permanent.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::TimedOut
            ),
            Self::OutOfTime { .. } | Self::Closed { .. } | Self::Reset { .. } => true,
            _ => false,
        }
    }
}

/// Displays a path in quotes, and an abstract name as `"@name"`, as the tools of Linux show it.
struct Name<'a>(&'a Path);

#[allow(
    clippy::unnecessary_debug_formatting,
    reason = "quoted and escaped, so that an error stays one line whatever the path is"
)]
impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_os_str().as_bytes() {
            [0, name @ ..] => write!(f, "{:?}", format!("@{}", String::from_utf8_lossy(name))),
            _ => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    #[test]
    fn the_text_names_the_step_and_leaves_the_cause_to_source() {
        let error = UnixSocketError::Connect {
            path: "/run/orders.sock".into(),
            after: Duration::from_millis(3),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        assert_eq!(
            error.to_string(),
            "cannot connect to \"/run/orders.sock\" after 3.0ms"
        );
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
    }

    #[test]
    fn an_abstract_name_is_shown_with_an_at_sign() {
        let path = "\0orders".into();
        assert_eq!(
            UnixSocketError::Reset { path }.to_string(),
            "the connection to \"@orders\" was reset"
        );
    }
}
