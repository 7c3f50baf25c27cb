//! Why a WebSocket could not be opened, or is no longer good.

use std::{fmt, io, time::Duration};

use crate::TransportError;

/// What went wrong, and in which step.
///
/// The text of an error says its own part; the words of the system, of TLS or of tungstenite are its
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// Of TCP or TLS below: it could not be opened, or it has ended or was reset without a closing
    /// handshake. Transient as [`TransportError::is_transient`] says.
    #[error(transparent)]
    Transport(#[from] TransportError),

    /// The URL cannot be used. Permanent.
    #[error("the URL {url:?} cannot be used: {rule}")]
    Url {
        /// As it was given, without what it may hold of secrets: user, password, query.
        url: String,
        /// What is wrong with it.
        rule: &'static str,
    },

    /// A setting of the builder makes no sense. Permanent.
    #[error("{setting} = {value}: {rule}")]
    Setting {
        /// The name of the setter.
        setting: &'static str,
        /// What it was given; of a header its name.
        value: String,
        /// What is wrong with it.
        rule: &'static str,
    },

    /// The server answered the upgrade with another status than 101. Transient for 429, 502, 503 and
    /// 504, which speak of the moment; permanent for all others. Redirects are not followed.
    #[error("the server answered {status}{} to the upgrade", Reason(reason))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What HTTP calls this status; empty where it does not know it.
        reason: &'static str,
    },

    /// The server speaks no HTTP, or its answer to the upgrade is not what tungstenite takes: it wants
    /// `Connection: Upgrade` and nothing else in that header. Permanent.
    #[error("the server does not upgrade to a WebSocket")]
    Handshake {
        /// Why, in tungstenite's words.
        source: tungstenite::Error,
    },

    /// The connection ended or was reset during the upgrade. Transient.
    #[error("the upgrade to a WebSocket was cut off")]
    HandshakeCut {
        /// The system's answer.
        source: io::Error,
    },

    /// `handshake_timeout` was over before the upgrade was. Transient.
    #[error("the upgrade to a WebSocket took longer than {limit:?}")]
    HandshakeTimeout {
        /// The `handshake_timeout`.
        limit: Duration,
    },

    /// The server has closed the connection, or this side has. Of a connection that was just made it
    /// is transient unless the code says that the server will not have this client: those of 1000,
    /// 1001, 1011 to 1014 and none at all are transient.
    #[error("the WebSocket was closed{}", Farewell(*code, reason))]
    Closed {
        /// The code of the server's close frame, where it had one; see RFC 6455, 7.4.
        code: Option<u16>,
        /// The reason in it. Often empty.
        reason: String,
    },

    /// No pong with the nonce of the ping came in time.
    #[error("no pong within {after:?}")]
    PingTimeout {
        /// The `ping_timeout`.
        after: Duration,
    },

    /// No message, or no whole one, came within the user's `read_timeout`.
    #[error("no message within {after:?}")]
    ReadTimeout {
        /// The `read_timeout`.
        after: Duration,
    },

    /// A message could not be sent within the user's `write_timeout`. Nobody knows how much of it the
    /// server has.
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
        /// Whole messages seen; there may be more.
        messages: usize,
        /// Bytes seen, of those messages and of one that is not complete.
        bytes: usize,
        /// How many are allowed.
        max_messages: usize,
        /// How many are allowed.
        max_bytes: usize,
    },

    /// The server broke the protocol, or sent a message or a frame that is longer than allowed.
    #[error("the server broke the WebSocket protocol")]
    Protocol {
        /// How, in tungstenite's words.
        source: tungstenite::Error,
    },

    /// An earlier read or write has failed, and said why. Nothing more can be done with it.
    #[error("the WebSocket is broken: an earlier read or write has failed")]
    Broken,

    /// The system would not read or write.
    #[error("the WebSocket cannot be read or written")]
    Io {
        /// The system's answer.
        source: io::Error,
    },
}

impl WebSocketError {
    /// Is it worth trying again in a moment? Each variant says; those that do not, are not.
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

/// ` Service Unavailable`, or nothing.
struct Reason<'a>(&'a str);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            reason => write!(f, " {reason}"),
        }
    }
}

/// ` with code 1012: "restart"`, or what there is of it.
struct Farewell<'a>(Option<u16>, &'a str);

impl fmt::Display for Farewell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.0 {
            write!(f, " with code {code}")?;
        }
        match self.1 {
            "" => Ok(()),
            // Quoted, because it is the server's text and may hold line breaks.
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
