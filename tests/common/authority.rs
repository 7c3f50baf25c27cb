//! Valid and invalid certificates, made for one test.

use conpool::TlsConfig;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    IsCa, KeyPair, date_time_ymd,
};
use rustls::{
    ServerConfig, SupportedProtocolVersion, crypto::ring, pki_types::PrivatePkcs8KeyDer,
    server::ServerSessionMemoryCache,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Signs the certificates of a test, and is trusted only in that test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// Two authorities of the same name would look like one with a wrong key.
fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Relaxed)
}

/// A server's certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {}", number()));
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// The configuration of a client that trusts only this authority. It contains the session cache.
    pub(crate) fn trusted(&self) -> TlsConfig {
        TlsConfig::pem(self.pem().as_bytes()).unwrap()
    }

    /// For `localhost` and 127.0.0.1, valid today.
    pub(crate) fn identity(&self) -> Identity {
        self.identity_for(&["localhost", "127.0.0.1"], |_| {})
    }

    pub(crate) fn expired(&self) -> Identity {
        self.identity_for(&["localhost"], |params| {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        })
    }

    pub(crate) fn identity_for(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate, key }
    }
}

impl Identity {
    /// The configuration of a server that has this certificate and speaks these versions.
    pub(crate) fn serving(
        self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth();
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let mut config = builder
            .with_single_cert(vec![self.certificate.der().clone()], key.into())
            .unwrap();
        config.session_storage = ServerSessionMemoryCache::new(64);
        Arc::new(config)
    }
}
