//! WebSockets over TLS: the same promises, where bytes on the socket are not yet messages.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::support;
use crate::websocket;

use common::{SOON, assert_at, eventually, ms, secs, spawn, timed};
use conpool::{
    ConnectionManager, EvictReason, Pool, TlsConfig, TlsError, TransportError, WebSocketError,
    WebSocketManager, WebSocketManagerBuilder,
    managers::websocket::{
        CloseCode, CloseFrame, Message,
        tungstenite::{WebSocket, accept},
    },
};
use rustls::{ALL_VERSIONS, ServerConfig, ServerConnection, StreamOwned};
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, mpsc},
};
use support::sockets::reset;
use websocket::{Server, arrives, authority::Authority, echo_all, found_dead, frame, leave, text};

type Secured = StreamOwned<ServerConnection, TcpStream>;
type Far = WebSocket<Secured>;

/// A client's trust, and the configuration of a server that has it.
fn identity() -> (TlsConfig, Arc<ServerConfig>) {
    let authority = Authority::new();
    let server = authority.identity().serving(ALL_VERSIONS);
    (authority.trusted(), server)
}

fn secure(config: &Arc<ServerConfig>, client: TcpStream) -> Secured {
    let _ = client.set_nodelay(true);
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), client)
}

fn manager(server: &Server, trust: TlsConfig) -> WebSocketManagerBuilder {
    WebSocketManager::builder(format!("wss://{}/", server.address()))
        .tls(trust)
        .close_timeout(secs(2))
        .read_timeout(SOON)
        .write_timeout(SOON)
}

/// A server that hands its ends to the test, and a client that trusts it.
fn by_hand() -> (Server, mpsc::Receiver<Far>, WebSocketManagerBuilder) {
    let (trust, config) = identity();
    let (sender, far) = mpsc::channel();
    let server = Server::start(move |client| {
        if let Ok(socket) = accept(secure(&config, client)) {
            let _ = sender.send(socket);
        }
    });
    let manager = manager(&server, trust);
    (server, far, manager)
}

fn next(far: &mpsc::Receiver<Far>) -> Far {
    let far = far.recv_timeout(SOON).unwrap();
    far.get_ref().sock.set_read_timeout(Some(SOON)).unwrap();
    far
}

fn pool(manager: WebSocketManager) -> (Pool<WebSocketManager>, conpool::ManualClock) {
    let (builder, clock) = websocket::pool("wss", 1, &manager);
    (builder.build_lazy(manager).unwrap(), clock)
}

#[test]
fn messages_pings_and_the_close_go_over_tls() {
    let (server, fars, manager) = by_hand();
    let (pool, clock) = pool(manager.build());
    let mut guard = pool.get_timeout(SOON).unwrap();
    let mut far = next(&fars);
    let far = spawn(move || {
        let _ = echo_all(&mut far);
        far.get_mut().conn.send_close_notify();
        let _ = far.get_mut().flush();
    });
    let long = Message::binary(vec![7; 300_000]);
    guard.send(long.clone()).unwrap();
    assert_eq!(guard.read().unwrap(), long);
    assert_eq!(guard.tcp().peer_addr().unwrap(), server.address());
    drop(guard);
    clock.advance(secs(31));
    pool.sweep();
    // The second answer proves that the tickets after the handshake were no data.
    let mut guard = pool.get_timeout(SOON).unwrap();
    guard.send("again".into()).unwrap();
    assert_eq!(guard.read().unwrap(), Message::text("again"));
    drop(guard);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.check_failures), (1, 0), "{stats}");
    let (closed, took) = timed(|| pool.close_timeout(SOON));
    closed.unwrap();
    assert_at(took, ms(0));
    far.join_soon();
}

#[test]
fn messages_pushed_while_idle_are_kept_and_pings_answered() {
    let (_server, fars, manager) = by_hand();
    let (pool, _clock) = pool(manager.build());
    let guard = pool.get_timeout(SOON).unwrap();
    let mut far = next(&fars);
    let witness = guard.tcp().try_clone().unwrap();
    drop(guard);
    (0..50).for_each(|number| far.send(text(number)).unwrap());
    far.send(Message::Ping("x".into())).unwrap();
    arrives(&witness);
    let mut guard = pool.get_timeout(SOON).unwrap();
    (0..50).for_each(|number| assert_eq!(guard.read().unwrap(), text(number)));
    // The ping came after the messages.
    far.send(text(50)).unwrap();
    assert_eq!(guard.read().unwrap(), text(50));
    assert_eq!(far.read().unwrap(), Message::Pong("x".into()));
    drop((guard, far));
    leave(&pool);
}

#[test]
fn an_idle_connection_that_ended_is_never_handed_out() {
    type Fault = fn(Far);
    let goodbye: Fault = |mut far| {
        let _ = far.close(Some(CloseFrame {
            code: CloseCode::Away,
            reason: "".into(),
        }));
        far.get_mut().conn.send_close_notify();
        let _ = far.get_mut().flush();
    };
    let garbage: Fault = |mut far| {
        let _ = far.get_mut().sock.write_all(b"no record of TLS");
        let _ = far.get_mut().sock.read(&mut [0; 64]);
    };
    let wrong_frame: Fault = |mut far| {
        let _ = far.get_mut().write_all(&[0xFF; 300]);
        let _ = far.get_mut().flush();
    };
    let faults: [Fault; 5] = [
        goodbye,
        |far| drop(far),
        |far| reset(far.into_inner().sock),
        garbage,
        wrong_frame,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let (_server, fars, manager) = by_hand();
        let (pool, _clock) = pool(manager.close_timeout(ms(50)).build());
        let guard = pool.get_timeout(SOON).unwrap();
        let witness = guard.tcp().try_clone().unwrap();
        let far = next(&fars);
        drop(guard);
        let fault = spawn(move || fault(far));
        arrives(&witness);
        drop(witness);
        let guard = pool.get_timeout(SOON).unwrap();
        let stats = pool.stats();
        assert_eq!(
            (found_dead(&stats), stats.created),
            (1, 2),
            "{number}: {stats}"
        );
        fault.join_soon();
        drop((guard, next(&fars)));
        leave(&pool);
    }
}

#[test]
fn a_server_that_goes_silent_costs_the_ping_timeout() {
    let (_server, fars, manager) = by_hand();
    let (pool, clock) = pool(manager.ping_timeout(ms(80)).build());
    drop(pool.get_timeout(SOON).unwrap());
    let far = next(&fars);
    clock.advance(secs(31));
    eventually(|| pool.stats().evicted(EvictReason::CheckFailed) == 1);
    drop(far);
    leave(&pool);
}

#[test]
fn a_server_that_nobody_trusts_is_permanent_and_one_that_is_silent_in_the_handshake_is_not() {
    let (server, _fars, _manager) = by_hand();
    let (stranger, _) = identity();
    let manager_of_stranger = manager(&server, stranger.clone()).build();
    let error = manager_of_stranger.create().unwrap_err();
    assert!(
        matches!(
            error,
            WebSocketError::Transport(TransportError::Tls(TlsError::Handshake { .. }))
        ),
        "{error}"
    );
    assert!(!error.is_transient());

    let silent = Server::start(|mut client| drop(client.read_to_end(&mut Vec::new())));
    let manager = manager(&silent, stranger).handshake_timeout(ms(80)).build();
    let (error, took) = timed(|| manager.create().unwrap_err());
    assert!(error.is_transient(), "{error}");
    assert_at(took, ms(80));
}

#[test]
fn an_upgrade_over_tls_that_trickles_gets_no_more_than_the_handshake_timeout() {
    let (trust, config) = identity();
    let server = Server::start(move |client| {
        let mut stream = secure(&config, client);
        for byte in b"HTTP/1.1 101 ".iter().cycle() {
            if stream
                .write_all(&[*byte])
                .and_then(|()| stream.flush())
                .is_err()
            {
                return;
            }
            std::thread::sleep(ms(2));
        }
    });
    let manager = manager(&server, trust).handshake_timeout(ms(150)).build();
    // Tried again where a busy machine uses up the timeout in the TLS handshake, which has the same limit.
    let upgrade = (0..20).any(|_| {
        let (error, took) = timed(|| manager.create().unwrap_err());
        assert!(
            took >= ms(150) && took < ms(300) + common::noise(),
            "{took:?}"
        );
        match error {
            WebSocketError::HandshakeTimeout { .. } => true,
            WebSocketError::Transport(TransportError::Tls(TlsError::HandshakeTimeout {
                ..
            })) => false,
            other => panic!("{other}"),
        }
    });
    assert!(upgrade, "it was not the upgrade that took too long");
}

#[test]
fn dispose_says_goodbye_in_both_protocols() {
    let (_server, fars, manager) = by_hand();
    let manager = manager.build();
    let near = manager.create().unwrap();
    let mut far = next(&fars);
    let far = spawn(move || {
        let Message::Close(Some(said)) = far.read().unwrap() else {
            panic!("no close frame");
        };
        // The codec reports the end of the handshake as an error, and the test wants that error.
        let _ = far.flush();
        let mut stream = far.into_inner();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
        // Without the TLS close notification this would be an error.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        said.code
    });
    manager.dispose(near);
    assert_eq!(far.join_soon(), CloseCode::Normal);
    // So it is after half a message.
    let mut near = manager.create().unwrap();
    let mut far = next(&fars);
    far.get_mut().write_all(&frame(0x81, b"abc")[..3]).unwrap();
    far.get_mut().flush().unwrap();
    assert_eq!(near.try_read().unwrap(), None);
    drop(far);
    manager.dispose(near);
}
