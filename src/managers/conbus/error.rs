//! Why a connection could not be opened, or is no longer good.

use std::{
    error::Error,
    fmt, io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::managers::socket::probe::ProbeError;

/// What went wrong, in which step, with which address.
///
/// The text of an error names the step; the system's own words are its
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConbusError {
    /// The name does not resolve, or is not of the form `host:port`. Permanent.
    #[error("cannot resolve {address:?}")]
    Resolve {
        /// As it was given to the builder.
        address: String,
        /// The resolver's answer.
        source: io::Error,
    },

    /// The system refused a socket. Permanent.
    #[error("cannot open a socket for {peer}")]
    Open {
        /// Where it should have connected to.
        peer: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },

    /// A socket option was refused. Permanent.
    #[error("cannot set {option} on the socket for {peer}")]
    Configure {
        /// The builder's setting.
        option: &'static str,
        /// Where the socket should have connected to.
        peer: SocketAddr,
        /// The system's answer, or why the value makes no sense.
        source: io::Error,
    },

    /// The local address cannot be used. Permanent.
    #[error("cannot bind to {bind:?} to reach {address:?}")]
    Bind {
        /// As it was given to the builder.
        bind: String,
        /// Where the socket should have connected to.
        address: String,
        /// The system's answer, or what is wrong with the text.
        source: io::Error,
    },

    /// The peer did not take the connection. Transient when it was refused, reset, aborted, timed out
    /// or unreachable.
    #[error("cannot connect to {peer} ({address:?}) after {after:.1?}")]
    Connect {
        /// As it was given to the builder.
        address: String,
        /// What it resolved to.
        peer: SocketAddr,
        /// How long this attempt took.
        after: Duration,
        /// The system's answer.
        source: io::Error,
    },

    /// `connect_timeout` was over before this address could be tried. Transient.
    #[error("the connect timeout of {budget:?} was over before {address:?} could be tried")]
    OutOfTime {
        /// The first address that was not tried.
        address: String,
        /// The whole `connect_timeout`.
        budget: Duration,
    },

    /// There were several addresses to try and none worked. Transient when one of the attempts is.
    ///
    /// The text holds every attempt with its cause, so there is no `source`.
    #[error("none of the addresses could be used: {}", Attempts(attempts))]
    AllFailed {
        /// In the order they were made; never empty.
        attempts: Vec<ConbusError>,
    },

    /// The peer closed the connection, or its sending half of it.
    #[error("{} was closed by the peer", Peer(peer))]
    Closed {
        /// The peer, where the system still knows it.
        peer: Option<SocketAddr>,
    },

    /// The connection was reset by the peer, or given up by the system (keepalive, user timeout).
    #[error("{} was reset", Peer(peer))]
    Reset {
        /// The peer, where the system still knows it.
        peer: Option<SocketAddr>,
    },

    /// More bytes were waiting than [`Unread`](super::Unread) allows.
    #[error("{} has {bytes} unread bytes, {limit} allowed", Peer(peer))]
    Unread {
        /// The peer, where the system still knows it.
        peer: Option<SocketAddr>,
        /// How many were seen; there may be more.
        bytes: usize,
        /// How many are allowed.
        limit: usize,
    },

    /// The sending half was shut down on this side, so nobody can use the connection any more.
    #[error("{} was shut down for writing on this side", Peer(peer))]
    ShutDown {
        /// The peer, where the system still knows it.
        peer: Option<SocketAddr>,
    },

    /// The system refused to answer about the connection.
    #[error("cannot examine {}", Peer(peer))]
    Probe {
        /// The peer, where the system still knows it.
        peer: Option<SocketAddr>,
        /// The system's answer.
        source: io::Error,
    },
}

impl ConbusError {
    /// What the probe found about this stream.
    pub(super) fn probed(stream: &TcpStream, error: ProbeError) -> Self {
        let peer = peer_of(stream);
        match error {
            ProbeError::Closed => Self::Closed { peer },
            ProbeError::Reset => Self::Reset { peer },
            ProbeError::Unread { bytes, limit } => Self::Unread { peer, bytes, limit },
            ProbeError::System(source) => Self::Probe { peer, source },
        }
    }

    /// Is it worth trying again in a moment?
    ///
    /// Yes for a peer that refused, reset, aborted, timed out, closed or was unreachable. No for a
    /// name that does not resolve, a bad local address and anything else.
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
            // A device that is busy with another client takes the connection and ends it at once,
            // which shows at the first checkout of the new connection.
            Self::OutOfTime { .. } | Self::Closed { .. } | Self::Reset { .. } => true,
            _ => false,
        }
    }
}

/// The peer for an error text; the system forgets it after a reset.
pub(in crate::managers) fn peer_of(stream: &TcpStream) -> Option<SocketAddr> {
    stream.peer_addr().ok()
}

/// `the connection to 10.0.0.7:10001`, or without the address when nobody knows it any more.
struct Peer<'a>(&'a Option<SocketAddr>);

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => write!(f, "the connection to {peer}"),
            None => f.write_str("the connection"),
        }
    }
}

/// Every attempt with its cause, on one line.
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
