//! Whom to trust, and all else that rustls wants to know.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::TlsError;

/// How connections are secured: a shared [`rustls::ClientConfig`].
///
/// Cheap to clone. Clones share the store of sessions (as rustls does it: the last 256 servers), so
/// use one for all managers that trust the same roots: a handshake that resumes a session saves a
/// round trip (TLS 1.2) and the checking of certificates.
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
    /// Trusts the roots given, and nobody else. TLS 1.2 and 1.3, no client certificate.
    #[must_use]
    pub fn with_roots(roots: RootCertStore) -> Self {
        Self(Arc::new(
            builder()
                .with_root_certificates(roots)
                .with_no_client_auth(),
        ))
    }

    /// Trusts the certificates in a PEM text, and nobody else: the authority of a company or a plant.
    ///
    /// # Errors
    ///
    /// [`TlsError::Trust`] when the text holds no certificate, or one that cannot be read.
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

    /// Trusts what Mozilla trusts: the list is compiled in and as old as the crate `webpki-roots`.
    #[cfg(feature = "tls-webpki-roots")]
    #[must_use]
    pub fn webpki_roots() -> Self {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        Self::with_roots(roots.collect())
    }

    /// Trusts what the operating system trusts, and asks it where it can be asked.
    ///
    /// # Errors
    ///
    /// [`TlsError::Trust`] when the system has no roots that can be read.
    #[cfg(feature = "tls-platform-verifier")]
    pub fn platform() -> Result<Self, TlsError> {
        use rustls_platform_verifier::BuilderVerifierExt;

        let builder = builder().with_platform_verifier();
        let builder = builder.map_err(|error| TlsError::Trust {
            source: error.into(),
        })?;
        Ok(Self(Arc::new(builder.with_no_client_auth())))
    }

    /// What rustls gets.
    #[must_use]
    pub fn as_rustls(&self) -> &Arc<ClientConfig> {
        &self.0
    }
}

/// Named rather than found: two crates in one program may bring two providers, and then rustls's
/// default panics.
fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
}

/// For client certificates, a key log, other versions or a verifier of your own.
impl From<Arc<ClientConfig>> for TlsConfig {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }
}

/// As the one from an `Arc`.
impl From<ClientConfig> for TlsConfig {
    fn from(config: ClientConfig) -> Self {
        Self(Arc::new(config))
    }
}

impl fmt::Debug for TlsConfig {
    /// Without the roots, which are hundreds of lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}
