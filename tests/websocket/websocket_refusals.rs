//! The errors when a WebSocket cannot be opened, and their time.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::support;
use crate::websocket;

use common::{SOON, assert_at, ms, secs, timed};
use conpool::{
    ConbusError, PooledConnection, TransportError, WebSocketError, WebSocketManager,
    managers::websocket::tungstenite::{WebSocket, protocol::Role},
};
use std::{
    error::Error,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use support::sockets::{BlackHole, ClosedPort};
use websocket::{Server, WELCOME, fails, frame, request, reset_stream, welcome};

/// Answers every request with this text.
fn answers(text: &'static str) -> Server {
    Server::start(move |mut client| {
        request(&client);
        let _ = client.write_all(text.as_bytes());
        // Until the client has disconnected.
        let _ = client.read(&mut [0]);
    })
}

#[test]
fn a_refusal_of_tcp_is_transient() {
    let closed = ClosedPort::new().unwrap();
    let error = fails(&WebSocketManager::new(format!("ws://{}/", closed.addr())));
    let WebSocketError::Transport(TransportError::Tcp(ConbusError::Connect { source, .. })) =
        &error
    else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
    assert!(error.is_transient());
}

#[test]
fn a_black_hole_costs_the_connect_timeout() {
    let hole = BlackHole::new().unwrap();
    let manager = WebSocketManager::builder(format!("ws://{}/", hole.addr()))
        .connect_timeout(ms(80))
        .build();
    let (error, took) = timed(|| fails(&manager));
    assert_at(took, ms(80) - ms(5));
    assert!(error.is_transient(), "{error}");
}

#[test]
fn a_server_that_is_silent_in_the_handshake_costs_the_handshake_timeout() {
    let server = Server::start(|mut client| {
        let _ = client.read_to_end(&mut Vec::new());
    });
    let manager = server.manager().handshake_timeout(ms(80)).build();
    let (error, took) = timed(|| fails(&manager));
    assert!(
        matches!(error, WebSocketError::HandshakeTimeout { limit } if limit == ms(80)),
        "{error}"
    );
    assert!(error.is_transient());
    assert_at(took, ms(80));
}

#[test]
fn a_server_that_trickles_gets_no_more_than_the_handshake_timeout() {
    let server = Server::start(|mut client| {
        for byte in WELCOME.bytes().cycle() {
            if client.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(ms(2));
        }
    });
    let manager = server.manager().handshake_timeout(ms(100)).build();
    let (error, took) = timed(|| fails(&manager));
    assert!(
        matches!(error, WebSocketError::HandshakeTimeout { .. }),
        "{error}"
    );
    assert_at(took, ms(100));
}

#[test]
fn another_status_than_101_is_refused_and_only_that_of_a_busy_server_is_transient() {
    let cases = [
        ("HTTP/1.1 401 Unauthorized\r\n\r\n", 401, false),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
            404,
            false,
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: ws://b/\r\n\r\n",
            302,
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", 200, false),
        ("HTTP/1.1 500 Oops\r\n\r\n", 500, false),
        ("HTTP/1.1 429 Slow down\r\n\r\n", 429, true),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", 502, true),
        ("HTTP/1.1 503 Busy\nRetry-After: 1\n\n", 503, true),
        ("HTTP/1.1 504 Late\r\n\r\n", 504, true),
    ];
    for (answer, code, transient) in cases {
        let server = answers(answer);
        let error = fails(&server.manager().build());
        let WebSocketError::Refused { status, .. } = &error else {
            panic!("{code}: {error}");
        };
        assert_eq!(*status, code);
        assert_eq!(error.is_transient(), transient, "{error}");
        assert!(error.to_string().contains(&code.to_string()));
    }
}

#[test]
fn what_is_not_http_or_not_an_upgrade_is_permanent_and_seen_at_once() {
    let cases = [
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\x16\x03\x01\x02",
        "220 mail.example ESMTP\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: wrong\r\n\r\n",
        "HTTP/1.1 nonsense\r\n\r\n",
    ];
    for answer in cases {
        let server = answers(answer);
        let manager = server.manager().handshake_timeout(secs(60)).build();
        let (error, took) = timed(|| fails(&manager));
        assert!(
            matches!(error, WebSocketError::Handshake { .. }),
            "{answer:?}: {error}"
        );
        assert!(!error.is_transient() && error.source().is_some());
        assert!(took < SOON, "{took:?}");
    }
}

#[test]
fn an_upgrade_that_is_cut_off_is_transient() {
    let ends: [fn(TcpStream); 4] = [
        drop,
        |client| {
            request(&client);
        },
        |client| {
            request(&client);
            reset_stream(client);
        },
        |mut client| {
            request(&client);
            client.write_all(b"HTTP/1.1 101 Switching").unwrap();
        },
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let server = Server::start(end);
        let error = fails(&server.manager().build());
        assert!(
            matches!(error, WebSocketError::HandshakeCut { .. }),
            "{number}: {error}"
        );
        assert!(error.is_transient() && error.source().is_some());
    }
}

#[test]
fn a_caller_of_the_pool_waits_out_a_busy_server_and_hears_of_a_refusal_at_once() {
    let visits = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let visits = visits.clone();
        move |mut client| {
            let head = request(&client);
            // A client of an earlier server on this port is not counted.
            if head.is_empty() {
                return;
            }
            let close = |code: u16| {
                let mut answer = welcome(&head);
                answer.extend(frame(0x88, &code.to_be_bytes()));
                answer
            };
            let answer = match visits.fetch_add(1, Ordering::SeqCst) {
                0 => b"HTTP/1.1 503 Busy\r\n\r\n".to_vec(),
                // With the upgrade, so that the first probe sees it.
                1 => close(1013),
                2 => {
                    client.write_all(&welcome(&head)).unwrap();
                    let mut socket = WebSocket::from_raw_socket(client, Role::Server, None);
                    let _ = websocket::echo_all(&mut socket);
                    return;
                }
                3 => b"HTTP/1.1 401 Unauthorized\r\n\r\n".to_vec(),
                _ => close(1008),
            };
            let _ = client.write_all(&answer);
            let _ = client.read_to_end(&mut Vec::new());
        }
    });
    let manager = server.manager().close_timeout(ms(20)).build();
    let (builder, _clock) = websocket::pool("wo-busy", 1, &manager);
    let log = common::Log::default();
    let pool = builder.observer(log.clone()).build_lazy(manager).unwrap();
    let mut guard = pool.get_timeout(SOON).unwrap();
    websocket::echoes(&mut guard, "in the end");
    PooledConnection::discard(guard);
    for refusal in ["401", "1008"] {
        let (error, took) = timed(|| pool.get_timeout(SOON).unwrap_err());
        let cause = error.last_create_error().expect("a cause");
        assert!(
            cause.to_string().contains(refusal),
            "{cause}, {} {:?}",
            pool.stats(),
            log.lines()
        );
        assert!(!error.is_timeout() && took < SOON, "{error}");
    }
    websocket::leave(&pool);
}
