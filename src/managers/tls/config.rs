//! The TLS configuration: trusted roots and the settings of rustls.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::TlsError;

/// A shared [`rustls::ClientConfig`].
///
/// A clone is cheap. Clones share the session store of rustls (the last 256 servers), so use one
/// configuration for all managers that trust the same roots. A handshake that resumes a session saves a round
/// trip (TLS 1.2) and the verification of certificates.
///
/// # Example
///
/// ```no_run
/// use conpool::{Pool, TlsConfig, TlsSocketManager};
///
/// let authority = std::fs::read("/etc/bus/authority.pem")?;
/// let manager = TlsSocketManager::new("bridge.example:10443", TlsConfig::pem(&authority)?);
/// let pool = Pool::new(manager)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TlsConfig(Arc<ClientConfig>);

impl TlsConfig {
    /// Trusts only the given roots. TLS 1.2 and 1.3, no client certificate.
    #[must_use]
    pub fn with_roots(roots: RootCertStore) -> Self {
        Self(Arc::new(
            builder()
                .with_root_certificates(roots)
                .with_no_client_auth(),
        ))
    }

    /// Trusts only the certificates in a PEM text, such as the authority of a company.
    ///
    /// # Errors
    ///
    /// [`TlsError::Trust`] if the text contains no certificate, or an invalid one.
    pub fn pem(authorities: &[u8]) -> Result<Self, TlsError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| TlsError::Trust { source };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let certificate = certificate.map_err(|error| failed(error.into()))?;
            roots
                .add(certificate)
                .map_err(|error| failed(error.into()))?;
        }
        if roots.is_empty() {
            return Err(failed("there is no certificate in the PEM text".into()));
        }
        Ok(Self::with_roots(roots))
    }

    /// Trusts Mozilla's roots. The list is compiled in and as old as the crate `webpki-roots`.
    #[cfg(feature = "tls-webpki-roots")]
    #[must_use]
    pub fn webpki_roots() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        Self::with_roots(roots.collect())
    }

    /// Trusts the roots of the operating system, through its verifier where it has one.
    ///
    /// # Errors
    ///
    /// [`TlsError::Trust`] if the system has no readable roots.
    #[cfg(feature = "tls-platform-verifier")]
    pub fn platform() -> Result<Self, TlsError> {
        use rustls_platform_verifier::BuilderVerifierExt;

        let builder = builder().with_platform_verifier();
        let builder = builder.map_err(|error| TlsError::Trust {
            source: error.into(),
        })?;
        Ok(Self(Arc::new(builder.with_no_client_auth())))
    }

    /// Returns the configuration of rustls.
    #[must_use]
    pub fn as_rustls(&self) -> &Arc<ClientConfig> {
        &self.0
    }
}

/// Creates a builder with an explicit provider. rustls's default panics if two crates in one program bring
/// different providers.
fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
}

/// Takes a custom configuration, for client certificates, a key log, other versions or a custom verifier.
impl From<Arc<ClientConfig>> for TlsConfig {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }
}

/// Takes a custom configuration.
impl From<ClientConfig> for TlsConfig {
    fn from(config: ClientConfig) -> Self {
        Self(Arc::new(config))
    }
}

impl fmt::Debug for TlsConfig {
    /// Omits the roots, which are hundreds of lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}
