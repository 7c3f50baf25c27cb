//! Why a connection over a Unix socket could not be opened, or is no longer good.

use std::{
    fmt, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::managers::socket::probe::ProbeError;

/// What went wrong, in which step, with which path.
///
/// The text of an error names the step; the system's own words are its
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnixSocketError {
    /// The path cannot be the path of a socket: it is empty, too long or has a NUL byte in it.
    /// Permanent.
    #[error("{} cannot be the path of a socket", Name(path))]
    Path {
        /// As it was given to the builder.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },

    /// The system refused a socket. Permanent.
    #[error("cannot open a socket for {}", Name(path))]
    Open {
        /// Where it should have connected to.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A socket option was refused. Permanent.
    #[error("cannot set {option} on the socket for {}", Name(path))]
    Configure {
        /// The builder's setting.
        option: &'static str,
        /// Where the socket should have connected to.
        path: PathBuf,
        /// The system's answer, or why the value makes no sense.
        source: io::Error,
    },

    /// The server did not take the connection. Transient when the path does not exist (the server may be
    /// restarting), or when the connection was refused, reset, aborted or found the queue of the listener
    /// full (`TimedOut`).
    #[error("cannot connect to {} after {after:.1?}", Name(path))]
    Connect {
        /// As it was given to the builder.
        path: PathBuf,
        /// How long the attempt took.
        after: Duration,
        /// The system's answer.
        source: io::Error,
    },

    /// `connect_timeout` was over before the path could be tried. Transient.
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
        /// Where the connection goes.
        path: PathBuf,
    },

    /// The server closed the connection and had not read all that it was sent.
    #[error("the connection to {} was reset", Name(path))]
    Reset {
        /// Where the connection goes.
        path: PathBuf,
    },

    /// More bytes were waiting than [`Unread`](crate::Unread) allows.
    #[error(
        "the connection to {} has {bytes} unread bytes, {limit} allowed",
        Name(path)
    )]
    Unread {
        /// Where the connection goes.
        path: PathBuf,
        /// How many were seen; there may be more.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },

    /// The sending half was shut down, on this side or by a server that does not read any more, so
    /// nobody can use the connection.
    #[error("the connection to {} was shut down for writing", Name(path))]
    ShutDown {
        /// Where the connection goes.
        path: PathBuf,
    },

    /// The system refused to answer about the connection.
    #[error("cannot examine the connection to {}", Name(path))]
    Probe {
        /// Where the connection goes.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl UnixSocketError {
    /// What the probe found about a connection to this path.
    pub(super) fn probed(path: &Path, error: ProbeError) -> Self {
        let path = path.to_owned();
        match error {
            ProbeError::Closed => Self::Closed { path },
            ProbeError::Reset => Self::Reset { path },
            ProbeError::Unread { bytes, limit } => Self::Unread { path, bytes, limit },
            ProbeError::System(source) => Self::Probe { path, source },
        }
    }

    /// Is it worth trying again in a moment?
    ///
    /// Yes for a server that refused, reset, aborted or closed, whose queue is full, or whose socket file
    /// is not there. No for missing permission, a path that cannot be one and anything else.
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

/// A path in quotes; an abstract name as `"@name"`, as the tools of Linux show it.
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
