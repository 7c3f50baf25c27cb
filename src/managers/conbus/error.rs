//! The errors of conbus connections.

use std::{
    error::Error,
    fmt, io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::managers::socket::probe::ProbeError;

/// A step failed for an address.
///
/// The text of an error names the step. The system's message is in [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConbusError {
    /// The name does not resolve, or is not of the form `host:port`. Permanent.
    #[error("cannot resolve {address:?}")]
    Resolve {
        /// The address as given to the builder.
        address: String,
        /// The resolver's answer.
        source: io::Error,
    },

    /// The system refused a socket. Permanent.
    #[error("cannot open a socket for {peer}")]
    Open {
        /// The peer of the connection.
        peer: SocketAddr,
        /// The system's error.
        source: io::Error,
    },

    /// A socket option was refused. Permanent.
    #[error("cannot set {option} on the socket for {peer}")]
    Configure {
        /// The name of the builder's setting.
        option: &'static str,
        /// The peer of the connection.
        peer: SocketAddr,
        /// The system's error, or the reason why the value is invalid.
        source: io::Error,
    },

    /// The local address cannot be used. Permanent.
    #[error("cannot bind to {bind:?} to reach {address:?}")]
    Bind {
        /// The local address as given to the builder.
        bind: String,
        /// The address of the peer.
        address: String,
        /// The system's error, or the reason why the text is invalid.
        source: io::Error,
    },

    /// The peer did not accept the connection. Transient if the connection was refused, reset, aborted, timed
    /// out, or the peer was unreachable.
    #[error("cannot connect to {peer} ({address:?}) after {after:.1?}")]
    Connect {
        /// The address as given to the builder.
        address: String,
        /// The resolved address.
        peer: SocketAddr,
        /// How long this attempt took.
        after: Duration,
        /// The system's error.
        source: io::Error,
    },

    /// `connect_timeout` elapsed before this address could be tried. Transient.
    #[error("the connect timeout of {budget:?} was over before {address:?} could be tried")]
    OutOfTime {
        /// The first address that was not tried.
        address: String,
        /// The whole `connect_timeout`.
        budget: Duration,
    },

    /// Several addresses were tried and none worked. Transient if one of the attempts is.
    ///
    /// The text contains every attempt with its cause, so there is no `source`.
    #[error("none of the addresses could be used: {}", Attempts(attempts))]
    AllFailed {
        /// The attempts in order; never empty.
        attempts: Vec<ConbusError>,
    },

    /// The peer closed the connection, or its sending half of it.
    #[error("{} was closed by the peer", Peer(peer))]
    Closed {
        /// The peer, if the system still knows it.
        peer: Option<SocketAddr>,
    },

    /// The connection was reset by the peer, or given up by the system (keepalive, user timeout).
    #[error("{} was reset", Peer(peer))]
    Reset {
        /// The peer, if the system still knows it.
        peer: Option<SocketAddr>,
    },

    /// More bytes were waiting than [`Unread`](super::Unread) allows.
    #[error("{} has {bytes} unread bytes, {limit} allowed", Peer(peer))]
    Unread {
        /// The peer, if the system still knows it.
        peer: Option<SocketAddr>,
        /// The number of bytes seen; there may be more.
        bytes: usize,
        /// The number of bytes allowed.
        limit: usize,
    },

    /// The sending half was shut down on this side, so the connection is unusable.
    #[error("{} was shut down for writing on this side", Peer(peer))]
    ShutDown {
        /// The peer, if the system still knows it.
        peer: Option<SocketAddr>,
    },

    /// The system could not report the state of the connection.
    #[error("cannot examine {}", Peer(peer))]
    Probe {
        /// The peer, if the system still knows it.
        peer: Option<SocketAddr>,
        /// The system's error.
        source: io::Error,
    },
}

impl ConbusError {
    /// Converts the result of a probe of this stream.
    pub(super) fn probed(stream: &TcpStream, error: ProbeError) -> Self {
        let peer = peer_of(stream);
        match error {
            ProbeError::Closed => Self::Closed { peer },
            ProbeError::Reset => Self::Reset { peer },
            ProbeError::Unread { bytes, limit } => Self::Unread { peer, bytes, limit },
            ProbeError::System(source) => Self::Probe { peer, source },
        }
    }

    /// Returns true if another attempt may succeed soon.
    ///
    /// This holds for a peer that refused, reset, aborted, timed out, closed or was unreachable. A name that
    /// does not resolve, an invalid local address and all other errors are permanent.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NetworkDown
            ),
            Self::AllFailed { attempts } => attempts.iter().any(Self::is_transient),
            // A device that is busy with another client accepts the connection and closes it at once, which
            // shows at the first checkout of the new connection.
            Self::OutOfTime { .. } | Self::Closed { .. } | Self::Reset { .. } => true,
            _ => false,
        }
    }
}

/// Returns the peer for an error text. The system forgets the peer after a reset.
pub(in crate::managers) fn peer_of(stream: &TcpStream) -> Option<SocketAddr> {
    stream.peer_addr().ok()
}

/// Displays as `the connection to 10.0.0.7:10001`, or without the address if it is unknown.
struct Peer<'a>(&'a Option<SocketAddr>);

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => write!(f, "the connection to {peer}"),
            None => f.write_str("the connection"),
        }
    }
}

/// Displays every attempt with its cause, on one line.
struct Attempts<'a>(&'a [ConbusError]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, attempt) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{attempt}")?;
            if let Some(cause) = attempt.source() {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(port: u16) -> ConbusError {
        ConbusError::Connect {
            address: format!("bridge:{port}"),
            peer: SocketAddr::from(([127, 0, 0, 1], port)),
            after: Duration::from_millis(3),
            source: io::ErrorKind::ConnectionRefused.into(),
        }
    }

    fn unknown() -> ConbusError {
        ConbusError::Resolve {
            address: "nowhere:1".into(),
            source: io::Error::other("unknown name"),
        }
    }

    #[test]
    fn the_text_names_the_step_and_leaves_the_cause_to_source() {
        let error = refused(10001);
        assert_eq!(
            error.to_string(),
            "cannot connect to 127.0.0.1:10001 (\"bridge:10001\") after 3.0ms"
        );
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
    }

    #[test]
    fn several_attempts_are_one_line_with_all_causes_and_transient_if_one_is() {
        let error = ConbusError::AllFailed {
            attempts: vec![unknown(), refused(2)],
        };
        assert!(error.is_transient());
        assert!(error.source().is_none());
        assert_eq!(
            error.to_string(),
            "none of the addresses could be used: cannot resolve \"nowhere:1\": unknown name; \
             cannot connect to 127.0.0.1:2 (\"bridge:2\") after 3.0ms: connection refused"
        );
        assert!(!unknown().is_transient());
    }

    #[test]
    fn a_peer_that_is_not_known_any_more_is_left_out() {
        assert_eq!(
            ConbusError::Reset { peer: None }.to_string(),
            "the connection was reset"
        );
    }
}
