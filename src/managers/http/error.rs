//! Why a request brought no response, or only a part of one.

use std::{borrow::Cow, fmt, io, time::Duration};

use super::HttpOrigin;
use crate::{BuildError, GetError, managers::TransportError};

/// What a request was doing when its time was over or its connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpPhase {
    /// It, or its body, was being sent.
    Sending,
    /// The head of the response had not come, or not all of it.
    Waiting,
    /// The body of the response was being read.
    Receiving,
}

impl fmt::Display for HttpPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sending => "sending the request",
            Self::Waiting => "waiting for the response",
            Self::Receiving => "reading the body",
        })
    }
}

/// What went wrong, with whom.
///
/// Those that come out of reading a body are inside the [`io::Error`] of the read:
/// [`get_ref`](io::Error::get_ref) and `downcast_ref::<HttpError>()` find them. After each of them the
/// connection is evicted, except where no connection was involved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// A setting of the builder breaks its rule.
    #[error("{field} = {value}: {rule}")]
    Setting {
        /// The setter's name.
        field: &'static str,
        /// What it was given.
        value: String,
        /// What it may be.
        rule: &'static str,
    },

    /// The pool could not be built.
    #[error(transparent)]
    Build(#[from] BuildError<TransportError>),

    /// The URI of a request names no server that this client can talk to.
    #[error("the URI {uri:?} cannot be used: {problem}")]
    Uri {
        /// As given, without a password.
        uri: String,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The URI says https, and this pool has no TLS.
    #[error("{origin} needs TLS: {remedy}")]
    NoTls {
        /// Where it should have gone.
        origin: HttpOrigin,
        /// What to do about it.
        remedy: &'static str,
    },

    /// The request breaks HTTP or asks for something that a shared connection cannot do. Nothing was
    /// sent.
    #[error("the request cannot be sent: {problem}")]
    Request {
        /// What is wrong with it.
        problem: Cow<'static, str>,
    },

    /// No connection: the pool's error, with the number of connections and the cause. When the whole
    /// request's time ran out here, this is its timeout.
    #[error(transparent)]
    Pool(#[from] GetError<TransportError>),

    /// The time of the whole request is over.
    #[error("{origin}: not done within {limit:?}, while {phase}")]
    Timeout {
        /// With whom.
        origin: HttpOrigin,
        /// How far it had come.
        phase: HttpPhase,
        /// The `total_timeout`, or the timeout of this request.
        limit: Duration,
    },

    /// The system says that the connection is lost.
    #[error("{origin}: the connection failed while {phase}")]
    Io {
        /// With whom.
        origin: HttpOrigin,
        /// How far it had come.
        phase: HttpPhase,
        /// The system's answer.
        source: io::Error,
    },

    /// The server ended the connection before the head of its response was complete.
    #[error("{origin}: the server ended the connection after {received} bytes of a response")]
    Ended {
        /// Who.
        origin: HttpOrigin,
        /// How much of the head had come.
        received: usize,
    },

    /// The server ended the connection before the body was complete. What was read so far is a part.
    #[error("{origin}: the body ended too early{}", Missing(.missing))]
    BodyTooShort {
        /// Who.
        origin: HttpOrigin,
        /// How many bytes are missing, if the server had said how many there are.
        missing: Option<u64>,
    },

    /// The server sent what is not HTTP/1.1, or contradicts itself.
    #[error("{origin}: the server broke the protocol: {problem}")]
    Protocol {
        /// Who.
        origin: HttpOrigin,
        /// What was wrong.
        problem: Cow<'static, str>,
    },

    /// A head, or what follows the last chunk, is longer than `max_header_bytes`.
    #[error("{origin}: the server sent more than {limit} bytes of headers")]
    HeadersTooLong {
        /// Who.
        origin: HttpOrigin,
        /// The `max_header_bytes`.
        limit: usize,
    },

    /// The reader that the request's body comes from failed. A part of the body may have been sent.
    #[error("the body of the request cannot be read")]
    RequestBody {
        /// The reader's answer.
        source: io::Error,
    },

    /// The reader that the request's body comes from ended before its length was reached. A part of
    /// the body was sent, and the server knows that it is not all.
    #[error("the body of the request ended after {sent} of {length} bytes")]
    RequestBodyTooShort {
        /// What the reader gave.
        sent: u64,
        /// What was announced.
        length: u64,
    },

    /// An earlier read of this body failed, so there is nothing more to read.
    #[error("an earlier read of this body failed")]
    BodyFailed,
}

impl HttpError {
    /// Is it that time ran out: of the whole request, of waiting for a connection, of connecting?
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Pool(GetError::TimedOut(_)) => true,
            Self::Pool(error) => error.last_create_error().is_some_and(is_timeout),
            _ => false,
        }
    }

    /// Could no connection be made or had? Then nothing was sent.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Pool(_))
    }

    /// For the `Read` of a body.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Timeout { .. } => io::ErrorKind::TimedOut,
            Self::Io { source, .. } => source.kind(),
            Self::BodyTooShort { .. } => io::ErrorKind::UnexpectedEof,
            Self::Protocol { .. } | Self::HeadersTooLong { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}

/// Of a create.
fn is_timeout(error: &TransportError) -> bool {
    use crate::managers::ConbusError;
    fn tcp(error: &ConbusError) -> bool {
        match error {
            ConbusError::OutOfTime { .. } => true,
            ConbusError::Connect { source, .. } => source.kind() == io::ErrorKind::TimedOut,
            ConbusError::AllFailed { attempts } => attempts.iter().any(tcp),
            _ => false,
        }
    }
    match error {
        TransportError::Tcp(error) => tcp(error),
        #[cfg(feature = "tls")]
        TransportError::Tls(error) => {
            matches!(error, crate::managers::TlsError::HandshakeTimeout { .. })
        }
    }
}

/// `, 17 bytes are missing`, where that is known.
struct Missing<'a>(&'a Option<u64>);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, ", {bytes} bytes are missing"),
            None => Ok(()),
        }
    }
}
