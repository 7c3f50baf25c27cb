//! The errors of TLS connections.

use std::{error::Error, io, time::Duration};

use rustls::pki_types::InvalidDnsNameError;

use crate::ConbusError;

/// A step failed for a server.
///
/// The text of an error names the step. The message of rustls or of the system is in
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The underlying TCP connection could not be opened, or it ended, was reset or holds unread data.
    /// Transient as defined by [`ConbusError::is_transient`].
    #[error(transparent)]
    Tcp(#[from] ConbusError),

    /// The server's name is neither a DNS name nor an IP address. Permanent.
    #[error("the server name {name:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// The name as given, or the host of the first address.
        name: String,
        /// rustls's error.
        source: InvalidDnsNameError,
    },

    /// The trusted roots could not be loaded. Permanent.
    #[error("cannot tell whom to trust")]
    Trust {
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },

    /// The handshake failed: the certificate is untrusted, expired or for another name, there is no common
    /// version, the server sent an alert, or the server does not speak TLS. Permanent.
    #[error("the TLS handshake with {server_name:?} failed")]
    Handshake {
        /// The name that the certificate had to contain.
        server_name: String,
        /// rustls's error.
        source: rustls::Error,
    },

    /// The TCP connection ended or was reset during the handshake. Transient.
    #[error("the TLS handshake with {server_name:?} was cut off")]
    HandshakeCut {
        /// The name that the certificate had to contain.
        server_name: String,
        /// The system's error.
        source: io::Error,
    },

    /// `handshake_timeout` elapsed during the handshake. Transient.
    #[error("the TLS handshake with {server_name:?} took longer than {limit:?}")]
    HandshakeTimeout {
        /// The name that the certificate had to contain.
        server_name: String,
        /// The `handshake_timeout`.
        limit: Duration,
    },

    /// The server sent invalid TLS or an alert while the connection was idle.
    #[error("the TLS session is broken")]
    Session {
        /// rustls's error.
        source: rustls::Error,
    },

    /// The user gave the connection back in the middle of a write: a part of a record is unsent.
    #[error("{bytes} bytes of an unfinished write are still unsent")]
    Unsent {
        /// The number of unsent encrypted bytes.
        bytes: usize,
    },
}

impl TlsError {
    /// Returns true if another attempt may succeed soon.
    ///
    /// This holds for a handshake that was cut off or timed out, and for transient errors of [`ConbusError`].
    /// All other errors are permanent, above all those of certificates.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Tcp(error) => error.is_transient(),
            Self::HandshakeCut { .. } | Self::HandshakeTimeout { .. } => true,
            _ => false,
        }
    }
}
