//! The errors of a request.

use std::{borrow::Cow, fmt, io, time::Duration};

use super::HttpOrigin;
use crate::{BuildError, GetError, managers::TransportError};

/// The phase of a request in which its time elapsed or its connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpPhase {
    /// The request or its body was being sent.
    Sending,
    /// The head of the response had not arrived completely.
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

/// A request failed.
///
/// An error while reading a body is inside the [`io::Error`] of the read: [`get_ref`](io::Error::get_ref) and
/// `downcast_ref::<HttpError>()` return it. After an error the connection, if one was used, is evicted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// A setting of the builder breaks its rule.
    #[error("{field} = {value}: {rule}")]
    Setting {
        /// The setter's name.
        field: &'static str,
        /// The given value.
        value: String,
        /// The rule.
        rule: &'static str,
    },

    /// The pool could not be built.
    #[error(transparent)]
    Build(#[from] BuildError<TransportError>),

    /// The URI of a request does not name a server that this client can connect to.
    #[error("the URI {uri:?} cannot be used: {problem}")]
    Uri {
        /// The URI as given, without a password.
        uri: String,
        /// The reason.
        problem: &'static str,
    },

    /// The URI is https, and this pool has no TLS.
    #[error("{origin} needs TLS: {remedy}")]
    NoTls {
        /// The origin of the URI.
        origin: HttpOrigin,
        /// How to enable TLS.
        remedy: &'static str,
    },

    /// The request violates HTTP or requires a feature that a shared connection cannot provide. No byte was
    /// sent.
    #[error("the request cannot be sent: {problem}")]
    Request {
        /// The reason.
        problem: Cow<'static, str>,
    },

    /// The pool returned no connection. The pool's error has the number of connections and the cause. If the
    /// time of the whole request elapsed here, the error is the pool's timeout.
    #[error(transparent)]
    Pool(#[from] GetError<TransportError>),

    /// The time of the whole request elapsed.
    #[error("{origin}: not done within {limit:?}, while {phase}")]
    Timeout {
        /// The origin of the request.
        origin: HttpOrigin,
        /// The phase of the request.
        phase: HttpPhase,
        /// The `total_timeout`, or the timeout of this request.
        limit: Duration,
    },

    /// The system reported that the connection is lost.
    #[error("{origin}: the connection failed while {phase}")]
    Io {
        /// The origin of the request.
        origin: HttpOrigin,
        /// The phase of the request.
        phase: HttpPhase,
        /// The system's error.
        source: io::Error,
    },

    /// The server ended the connection before the head of its response was complete.
    #[error("{origin}: the server ended the connection after {received} bytes of a response")]
    Ended {
        /// The origin of the request.
        origin: HttpOrigin,
        /// The number of bytes of the head that had arrived.
        received: usize,
    },

    /// The server ended the connection before the body was complete. The bytes read so far are only a part.
    #[error("{origin}: the body ended too early{}", Missing(.missing))]
    BodyTooShort {
        /// The origin of the request.
        origin: HttpOrigin,
        /// The number of missing bytes, if the server had announced the length.
        missing: Option<u64>,
    },

    /// The server sent data that is not valid HTTP/1.1 or is contradictory.
    #[error("{origin}: the server broke the protocol: {problem}")]
    Protocol {
        /// The origin of the request.
        origin: HttpOrigin,
        /// The reason.
        problem: Cow<'static, str>,
    },

    /// A head, or the trailers after the last chunk, exceeded `max_header_bytes`.
    #[error("{origin}: the server sent more than {limit} bytes of headers")]
    HeadersTooLong {
        /// The origin of the request.
        origin: HttpOrigin,
        /// The `max_header_bytes`.
        limit: usize,
    },

    /// The reader of the request's body failed. A part of the body may have been sent.
    #[error("the body of the request cannot be read")]
    RequestBody {
        /// The reader's error.
        source: io::Error,
    },

    /// The reader of the request's body ended before its announced length. A part of the body was sent, and
    /// the server can tell that it is incomplete.
    #[error("the body of the request ended after {sent} of {length} bytes")]
    RequestBodyTooShort {
        /// The number of bytes that the reader returned.
        sent: u64,
        /// The announced length.
        length: u64,
    },

    /// An earlier read of this body failed, so no more can be read.
    #[error("an earlier read of this body failed")]
    BodyFailed,
}

impl HttpError {
    /// Returns true if a timeout elapsed: that of the whole request, of waiting for a connection, or of
    /// connecting.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Pool(GetError::TimedOut(_)) => true,
            Self::Pool(error) => error.last_create_error().is_some_and(is_timeout),
            _ => false,
        }
    }

    /// Returns true if no connection could be obtained. No byte of the request was sent then.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Pool(_))
    }

    pub(super) fn protocol(origin: &HttpOrigin, problem: impl Into<Cow<'static, str>>) -> Self {
        let (origin, problem) = (origin.clone(), problem.into());
        Self::Protocol { origin, problem }
    }

    pub(super) fn headers_too_long(origin: &HttpOrigin, limit: usize) -> Self {
        let origin = origin.clone();
        Self::HeadersTooLong { origin, limit }
    }

    /// Converts the error for the `Read` of a body.
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

pub(super) fn refused(problem: impl Into<Cow<'static, str>>) -> HttpError {
    let problem = problem.into();
    HttpError::Request { problem }
}

/// Returns true if a create failed by a timeout.
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

/// Displays as `, 17 bytes are missing`, if the number is known.
struct Missing<'a>(&'a Option<u64>);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, ", {bytes} bytes are missing"),
            None => Ok(()),
        }
    }
}
