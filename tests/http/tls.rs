//! Certificates of an authority of the test's own, and a TLS server.

use conpool::TlsConfig;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

pub(crate) type TlsPeer = StreamOwned<ServerConnection, TcpStream>;

/// An authority and the certificate of `localhost` and `127.0.0.1` that it signed, as PEM.
pub(crate) struct Certificates {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap().pem();
        Self {
            authority,
            certificate,
            key: key.serialize_pem(),
        }
    }

    /// The configuration of a client that trusts only this authority.
    pub(crate) fn trust(&self) -> TlsConfig {
        TlsConfig::pem(self.authority.as_bytes()).unwrap()
    }

    fn server(&self) -> Arc<ServerConfig> {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivatePkcs8KeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key));
        Arc::new(config.unwrap())
    }
}

/// Runs a function on each connection. The threads end when their clients do.
pub(crate) struct TlsServer {
    pub(crate) addr: SocketAddr,
    pub(crate) certificates: Certificates,
    connections: Arc<AtomicUsize>,
    stopped: Arc<AtomicBool>,
    door: Option<JoinHandle<()>>,
}

impl TlsServer {
    pub(crate) fn start(script: impl Fn(usize, TlsPeer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let certificates = Certificates::new();
        let config = certificates.server();
        let (connections, stopped) = <(Arc<AtomicUsize>, Arc<AtomicBool>)>::default();
        let (count, stop) = (Arc::clone(&connections), Arc::clone(&stopped));
        let script = Arc::new(script);
        let door = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let script = Arc::clone(&script);
                thread::spawn(move || script(number, StreamOwned::new(session, stream)));
            }
        });
        Self {
            addr,
            certificates,
            connections,
            stopped,
            door: Some(door),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.addr.port())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        let _ = self.door.take().unwrap().join();
    }
}

/// Reads the next head of a request and nothing after it. False: the client has closed.
pub(crate) fn head(peer: &mut TlsPeer) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match peer.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}

pub(crate) fn answer(peer: &mut TlsPeer, response: &[u8]) {
    while head(peer) {
        if peer
            .write_all(response)
            .and_then(|()| peer.flush())
            .is_err()
        {
            return;
        }
    }
}

/// Encrypts, and returns the bytes for the wire.
pub(crate) fn sealed(peer: &mut TlsPeer, bytes: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    peer.conn.writer().write_all(bytes).unwrap();
    while peer.conn.wants_write() {
        peer.conn.write_tls(&mut wire).unwrap();
    }
    wire
}

/// Waits until the client closes in any way.
pub(crate) fn end(peer: &mut TlsPeer) {
    let mut scratch = [0; 4096];
    loop {
        match peer.sock.read(&mut scratch) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
