//! Opening TLS connections: trust, timeouts, and the errors of failures.

use crate::common;
use crate::support;
use crate::tls;

use common::{SOON, eventually, ms, noise, secs, timed};
use conpool::{
    ConbusError, ConnectionManager, GetError, Pool, TlsConfig, TlsError, TlsSocketManager,
};
use rustls::{
    HandshakeKind, ProtocolVersion,
    version::{TLS12, TLS13},
};
use std::{
    error::Error,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::Duration,
};
use support::sockets::{BlackHole, ClosedPort, reset};
use tls::{Authority, Server, echo, manager, pair, pool};

/// The first error of a pool that cannot open a connection; it comes at once.
#[track_caller]
fn refused(manager: TlsSocketManager) -> Arc<TlsError> {
    let pool = pool("refused", 1).build_lazy(manager).unwrap();
    let (got, took) = timed(|| pool.get_timeout(secs(20)));
    assert!(took < secs(10), "a permanent error after {took:?}");
    match got.unwrap_err() {
        GetError::Create { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pool_speaks_tls_1_2_and_1_3() {
    for (version, spoken) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let authority = Authority::new();
        let server = Server::echo("127.0.0.1:0", authority.identity().serving(&[version]));
        let pool = pool("versions", 2)
            .build(manager(&server, &authority).build())
            .unwrap();
        for _ in 0..3 {
            let mut guard = pool.get().unwrap();
            echo(&mut *guard, b"a question").unwrap();
            assert_eq!(guard.conn.protocol_version(), Some(spoken));
        }
        assert_eq!(pool.stats().created, 1);
        pool.close_timeout(SOON).unwrap();
    }
}

#[test]
fn the_name_in_the_certificate_is_that_of_the_address_unless_another_is_given() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let by_address = TlsSocketManager::new(server.address(), authority.trusted());
    drop(pair(&by_address, &server));
    let by_name = TlsSocketManager::builder(server.address(), authority.trusted());
    drop(pair(&by_name.server_name("localhost").build(), &server));
}

#[test]
fn a_certificate_that_is_not_right_is_a_permanent_error_that_says_why() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let for_another = authority.identity_for(&["other.example"], |_| {});
    for (identity, trusted, words) in [
        (authority.expired(), &authority, "expired"),
        (for_another, &authority, "not valid for name"),
        (authority.identity(), &stranger, "UnknownIssuer"),
    ] {
        let server = Server::start(identity.serving(&[&TLS12, &TLS13]));
        let error = refused(manager(&server, trusted).build());
        assert!(matches!(*error, TlsError::Handshake { .. }), "{error:?}");
        assert!(!error.is_transient());
        assert_eq!(
            error.to_string(),
            "the TLS handshake with \"localhost\" failed"
        );
        let cause = error.source().expect("rustls says why").to_string();
        assert!(cause.contains(words), "{cause}");
    }
}

#[test]
fn a_server_without_a_common_version_or_without_tls_is_a_permanent_error() {
    let authority = Authority::new();
    let config = authority.identity().serving(&[&TLS12]);
    let old = Server::start(config);
    let client = rustls::ClientConfig::builder_with_provider(
        rustls::crypto::ring::default_provider().into(),
    )
    .with_protocol_versions(&[&TLS13])
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    let error = refused(TlsSocketManager::new(old.address(), client));
    assert!(matches!(*error, TlsError::Handshake { .. }), "{error:?}");

    let plain = Server::raw(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-a server of another kind\r\n");
        let _ = stream.read(&mut [0; 4096]);
    });
    let error = refused(TlsSocketManager::new(plain.address(), authority.trusted()));
    assert!(matches!(*error, TlsError::Handshake { .. }), "{error:?}");
}

#[test]
fn a_server_name_that_is_none_is_told_before_the_network_is_touched() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let manager = TlsSocketManager::builder(server.address(), authority.trusted());
    let error = refused(manager.server_name("no name at all").build());
    assert_eq!(
        error.to_string(),
        "the server name \"no name at all\" is neither a DNS name nor an IP address"
    );
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_server_that_is_silent_or_speaks_byte_by_byte_costs_the_handshake_timeout_and_no_more() {
    let silent = |_: &mut TcpStream| {};
    // The beginning of a record of 16 KiB that never ends.
    let slow = |stream: &mut TcpStream| {
        let _ = stream.write_all(&[22, 3, 3, 64, 0]);
        while stream.write_all(&[0]).is_ok() {
            thread::sleep(ms(2));
        }
    };
    for behave in [silent as fn(&mut TcpStream), slow] {
        let server = Server::raw(move |mut stream| {
            thread::spawn(move || {
                behave(&mut stream);
                // Until the client disconnects.
                while let Ok(1..) = stream.read(&mut [0; 512]) {}
            });
        });
        let manager = TlsSocketManager::builder(server.address(), Authority::new().trusted())
            .handshake_timeout(ms(100))
            .build();
        let (error, took) = timed(|| manager.create().unwrap_err());
        assert!(
            matches!(error, TlsError::HandshakeTimeout { limit, .. } if limit == ms(100)),
            "{error:?}"
        );
        assert!(error.is_transient());
        assert!(took >= ms(100) && took <= ms(100) + noise(), "{took:?}");
        let (got, took) = timed(|| {
            let pool = pool("slow", 1).build_lazy(manager).unwrap();
            pool.get_timeout(ms(50)).map(drop)
        });
        assert!(got.unwrap_err().is_timeout());
        assert!(took <= ms(50) + noise(), "{took:?}");
    }
}

#[test]
fn a_zero_handshake_timeout_fails_every_create() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let manager = manager(&server, &authority).handshake_timeout(Duration::ZERO);
    let error = manager.build().create().unwrap_err();
    assert!(
        matches!(error, TlsError::HandshakeTimeout { .. }),
        "{error:?}"
    );
}

#[test]
fn a_handshake_that_is_cut_off_is_tried_again() {
    for reset_it in [false, true] {
        let authority = Authority::new();
        let config = authority.identity().serving(&[&TLS13]);
        let server = Server::raw(move |stream| {
            let _ = stream.peek(&mut [0]);
            if reset_it {
                reset(stream)
            } else {
                drop(stream)
            }
        });
        let address = server.address();
        let manager = manager(&server, &authority).build();
        let error = manager.create().unwrap_err();
        assert!(matches!(error, TlsError::HandshakeCut { .. }), "{error:?}");
        assert!(error.is_transient() && error.source().is_some());
        let pool = pool("cut", 1).build_lazy(manager).unwrap();
        let caller = common::spawn({
            let pool = pool.clone();
            move || pool.get_timeout(SOON).map(drop)
        });
        eventually(|| pool.stats().create_errors > 0);
        drop(server);
        let _better = Server::echo(&address, config);
        caller.join_soon().unwrap();
    }
}

#[test]
fn a_server_that_refuses_or_does_not_answer_is_an_error_of_tcp() {
    let trusted = Authority::new().trusted();
    let closed = ClosedPort::new().unwrap();
    let manager = TlsSocketManager::new(closed.addr().to_string(), trusted.clone());
    let error = manager.create().unwrap_err();
    assert!(
        matches!(error, TlsError::Tcp(ConbusError::Connect { .. })),
        "{error:?}"
    );
    assert!(manager.is_transient(&error));

    let hole = BlackHole::new().unwrap();
    let manager = TlsSocketManager::builder(hole.addr().to_string(), trusted)
        .tcp(|tcp| tcp.connect_timeout(ms(60)))
        .build();
    let (error, took) = timed(|| manager.create().unwrap_err());
    assert!(manager.is_transient(&error), "{error:?}");
    assert!(took <= ms(60) + noise(), "{took:?}");
}

#[test]
fn sessions_are_resumed_by_all_managers_that_share_a_configuration() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let server = Server::start(authority.identity().serving(&[version]));
        let config = authority.trusted();
        let connect = |config: TlsConfig| {
            let manager = TlsSocketManager::builder(server.address(), config);
            let manager = manager.server_name("localhost").build();
            let (mut near, mut peer) = pair(&manager, &server);
            // The ticket of TLS 1.3 comes with the data.
            tls::settled(&mut near, &mut peer);
            let kind = near.conn.handshake_kind();
            drop(peer);
            manager.dispose(near);
            kind
        };
        assert_eq!(connect(config.clone()), Some(HandshakeKind::Full));
        assert_eq!(connect(config), Some(HandshakeKind::Resumed), "{version:?}");
        assert_eq!(connect(authority.trusted()), Some(HandshakeKind::Full));
    }
}

#[test]
fn roots_that_are_none_are_told() {
    let nothing = TlsConfig::pem(b"").unwrap_err();
    assert!(!nothing.is_transient());
    let cause = |error: &TlsError| error.source().unwrap().to_string();
    assert_eq!(cause(&nothing), "there is no certificate in the PEM text");
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = TlsConfig::pem(text.as_bytes()).unwrap_err();
    assert!(matches!(broken, TlsError::Trust { .. }), "{broken:?}");
    assert_ne!(cause(&broken), cause(&nothing));
}

#[test]
fn a_pool_that_builds_tells_the_certificate_at_once() {
    let authority = Authority::new();
    let server = Server::start(authority.expired().serving(&[&TLS13]));
    let (built, took) = timed(|| Pool::new(manager(&server, &authority).build()));
    let error = built.unwrap_err();
    assert!(error.source().is_some(), "{error}");
    assert!(took < secs(5), "{took:?}");
}

#[test]
#[cfg(feature = "tls-webpki-roots")]
fn the_compiled_in_roots_do_not_trust_a_stranger() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let error = refused(TlsSocketManager::new(
        server.address(),
        TlsConfig::webpki_roots(),
    ));
    assert!(matches!(*error, TlsError::Handshake { .. }), "{error:?}");
}

#[test]
#[cfg(feature = "tls-platform-verifier")]
fn the_operating_system_does_not_trust_a_stranger() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    match TlsConfig::platform() {
        Ok(config) => {
            let error = refused(TlsSocketManager::new(server.address(), config));
            assert!(matches!(*error, TlsError::Handshake { .. }), "{error:?}");
        }
        // A system without root certificates reports that.
        Err(error) => assert!(matches!(error, TlsError::Trust { .. }), "{error:?}"),
    }
}
