//! Why a TLS connection could not be opened, or is no longer good.

use std::{error::Error, io, time::Duration};

use rustls::pki_types::InvalidDnsNameError;

use crate::ConbusError;

/// What went wrong, in which step, with which server.
///
/// The text of an error names the step; the words of rustls or of the system are its
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Of the TCP connection below: it could not be opened, or it has ended, was reset or holds
    /// unread data. Transient as [`ConbusError::is_transient`] says.
    #[error(transparent)]
    Tcp(#[from] ConbusError),

    /// The server's name is neither a DNS name nor an IP address. Permanent.
    #[error("the server name {name:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// As it was given, or as it stands in the first address.
        name: String,
        /// What rustls says.
        source: InvalidDnsNameError,
    },

    /// The list of trusted roots could not be made. Permanent.
    #[error("cannot tell whom to trust")]
    Trust {
        /// What is wrong with the certificates.
        source: Box<dyn Error + Send + Sync>,
    },

    /// The two sides did not agree: a certificate that is not trusted, expired or for another name, no
    /// version in common, an alert, or no TLS at all. Permanent.
    #[error("the TLS handshake with {server_name:?} failed")]
    Handshake {
        /// Whom the certificate had to name.
        server_name: String,
        /// Why, in rustls's words.
        source: rustls::Error,
    },

    /// The TCP connection ended or was reset during the handshake. Transient.
    #[error("the TLS handshake with {server_name:?} was cut off")]
    HandshakeCut {
        /// Whom the certificate had to name.
        server_name: String,
        /// The system's answer.
        source: io::Error,
    },

    /// `handshake_timeout` was over before the handshake was. Transient.
    #[error("the TLS handshake with {server_name:?} took longer than {limit:?}")]
    HandshakeTimeout {
        /// Whom the certificate had to name.
        server_name: String,
        /// The `handshake_timeout`.
        limit: Duration,
    },

    /// What the server sent while the connection was idle is not right TLS, or is an alert.
    #[error("the TLS session is broken")]
    Session {
        /// Why, in rustls's words.
        source: rustls::Error,
    },

    /// The user gave the connection back in the middle of a write: half a record is still unsent.
    #[error("{bytes} bytes of an unfinished write are still unsent")]
    Unsent {
        /// How many, encrypted.
        bytes: usize,
    },
}

impl TlsError {
    /// Is it worth trying again in a moment?
    ///
    /// Yes for a handshake that was cut off or took too long, and for what [`ConbusError`] calls
    /// transient. No for anything that another try would meet again, a certificate above all.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Tcp(error) => error.is_transient(),
            Self::HandshakeCut { .. } | Self::HandshakeTimeout { .. } => true,
            _ => false,
        }
    }
}
