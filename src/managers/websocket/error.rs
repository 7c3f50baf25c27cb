//! The errors of WebSockets.

use std::{fmt, io, time::Duration};

use crate::TransportError;

/// A step of opening or using a WebSocket failed.
///
/// The text of an error covers only the error itself. The message of the system, of TLS or of tungstenite is
/// in [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The underlying TCP or TLS connection could not be opened, or it ended or was reset without a closing
    /// handshake. Transient as defined by [`TransportError::is_transient`].
    #[error(transparent)]
    Transport(#[from] TransportError),

    /// The URL cannot be used. Permanent.
    #[error("the URL {url:?} cannot be used: {rule}")]
    Url {
        /// The URL without confidential parts: user, password and query.
        url: String,
        /// The reason.
        rule: &'static str,
    },

    /// A setting of the builder is invalid. Permanent.
    #[error("{setting} = {value}: {rule}")]
    Setting {
        /// The name of the setter.
        setting: &'static str,
        /// The given value; for a header, its name.
        value: String,
        /// The reason.
        rule: &'static str,
    },

    /// The server answered the upgrade with another status than 101. Transient for 429, 502, 503 and 504,
    /// which describe a temporary state; permanent for all others. Redirects are not followed.
    #[error("the server answered {status}{} to the upgrade", Reason(reason))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The text that HTTP defines for the status; empty if there is none.
        reason: &'static str,
    },

    /// The server does not speak HTTP, or tungstenite rejected its answer to the upgrade: the header
    /// `Connection` must be exactly `Upgrade`. Permanent.
    #[error("the server does not upgrade to a WebSocket")]
    Handshake {
        /// tungstenite's error.
        source: tungstenite::Error,
    },

    /// The connection ended or was reset during the upgrade. Transient.
    #[error("the upgrade to a WebSocket was cut off")]
    HandshakeCut {
        /// The system's error.
        source: io::Error,
    },

    /// `handshake_timeout` elapsed during the upgrade. Transient.
    #[error("the upgrade to a WebSocket took longer than {limit:?}")]
    HandshakeTimeout {
        /// The `handshake_timeout`.
        limit: Duration,
    },

    /// The server or this side has closed the connection. For a new connection, the error is transient with
    /// the codes 1000, 1001 and 1011 to 1014 and without a code. The other codes say that the server does not
    /// accept this client.
    #[error("the WebSocket was closed{}", CloseReason(*code, reason))]
    Closed {
        /// The code of the server's close frame, if there was one; see RFC 6455, 7.4.
        code: Option<u16>,
        /// The reason in the close frame; often empty.
        reason: String,
    },

    /// The pong with the nonce of the ping did not arrive in time.
    #[error("no pong within {after:?}")]
    PingTimeout {
        /// The `ping_timeout`.
        after: Duration,
    },

    /// No whole message arrived within the user's `read_timeout`.
    #[error("no message within {after:?}")]
    ReadTimeout {
        /// The `read_timeout`.
        after: Duration,
    },

    /// A message could not be sent within the user's `write_timeout`. It is unknown how much of the message
    /// the server has received.
    #[error("the message was not sent within {after:?}")]
    WriteTimeout {
        /// The `write_timeout`.
        after: Duration,
    },

    /// More data is waiting for the next user than [`Pushed`](super::Pushed) allows.
    #[error(
        "{messages} messages ({bytes} bytes) are waiting for a user, \
         {max_messages} ({max_bytes} bytes) allowed"
    )]
    PushedTooMuch {
        /// The number of whole messages seen; there may be more.
        messages: usize,
        /// The payload bytes of these messages and of an incomplete one.
        bytes: usize,
        /// The maximum number of messages.
        max_messages: usize,
        /// The maximum number of bytes.
        max_bytes: usize,
    },

    /// The server violated the protocol, or sent a message or a frame that is too long.
    #[error("the server broke the WebSocket protocol")]
    Protocol {
        /// tungstenite's error.
        source: tungstenite::Error,
    },

    /// An earlier read or write returned an error and broke the connection.
    #[error("the WebSocket is broken: an earlier read or write has failed")]
    Broken,

    /// The system could not read or write.
    #[error("the WebSocket cannot be read or written")]
    Io {
        /// The system's error.
        source: io::Error,
    },
}

impl WebSocketError {
    /// Returns true if another attempt may succeed soon. The variants state whether they are transient; a
    /// variant without a statement is not.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(error) => error.is_transient(),
            Self::Refused { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            Self::HandshakeCut { .. } | Self::HandshakeTimeout { .. } => true,
            Self::Closed { code, .. } => {
                matches!(code, None | Some(1000 | 1001 | 1005 | 1011..=1014))
            }
            _ => false,
        }
    }
}

/// Displays as ` Service Unavailable`, or as nothing.
struct Reason<'a>(&'a str);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            reason => write!(f, " {reason}"),
        }
    }
}

/// Displays as ` with code 1012: "restart"`, or as the parts that are known.
struct CloseReason<'a>(Option<u16>, &'a str);

impl fmt::Display for CloseReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.0 {
            write!(f, " with code {code}")?;
        }
        match self.1 {
            "" => Ok(()),
            // The reason is quoted, because the server's text may contain line breaks.
            reason => write!(f, ": {reason:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(code: Option<u16>, reason: &str) -> WebSocketError {
        let reason = reason.to_owned();
        WebSocketError::Closed { code, reason }
    }

    #[test]
    fn the_text_is_one_line_and_says_what_is_known() {
        assert_eq!(
            closed(Some(1012), "restart\n").to_string(),
            "the WebSocket was closed with code 1012: \"restart\\n\""
        );
        assert_eq!(closed(None, "").to_string(), "the WebSocket was closed");
        let refused = |status, reason| WebSocketError::Refused { status, reason }.to_string();
        assert_eq!(
            refused(503, "Service Unavailable"),
            "the server answered 503 Service Unavailable to the upgrade"
        );
        assert_eq!(refused(599, ""), "the server answered 599 to the upgrade");
    }

    #[test]
    fn it_is_transient_where_the_server_speaks_of_the_moment() {
        let refused = |status| {
            let reason = "";
            WebSocketError::Refused { status, reason }.is_transient()
        };
        for status in [429, 502, 503, 504] {
            assert!(refused(status), "{status}");
        }
        for status in [200, 301, 400, 401, 403, 404, 426, 500, 501] {
            assert!(!refused(status), "{status}");
        }
        for code in [1000, 1001, 1005, 1011, 1012, 1013, 1014] {
            assert!(closed(Some(code), "").is_transient(), "{code}");
        }
        for code in [1002, 1003, 1007, 1008, 1009, 1010, 3000, 4401] {
            assert!(!closed(Some(code), "").is_transient(), "{code}");
        }
        assert!(closed(None, "").is_transient());
    }
}
