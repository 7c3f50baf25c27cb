//! Idle TLS connections, what ends them, and how they end.

use crate::common;
#[cfg(target_os = "linux")]
use crate::resources;
use crate::tls;

use common::{SOON, eventually, interrupt_holder, ms, noise, spawn, timed};
use conpool::{
    ConbusError, ConnectionManager, EvictReason, HealthCheck, PooledConnection, TlsError,
    TlsSocketManager, TlsStream, Unread,
};
use rustls::version::{TLS12, TLS13};
use std::{
    io::{self, ErrorKind, Read, Write},
    thread,
    time::Duration,
};
use tls::{Authority, Peer, Server, arrives, echo, manager, pair, pool, settled};

/// A connection whose server is the test, with the messages after the handshake read away.
fn settled_pair(unread: Unread) -> (TlsSocketManager, TlsStream, Peer, Server) {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let manager = manager(&server, &authority).unread(unread).build();
    let (mut near, mut peer) = pair(&manager, &server);
    settled(&mut near, &mut peer);
    (manager, near, peer, server)
}

/// The answer of the probe, which must be the same when repeated, and at a checkout.
#[track_caller]
fn verdict(manager: &TlsSocketManager, near: &mut TlsStream) -> Result<(), TlsError> {
    let first = manager.check_aliveness(near);
    let second = manager.on_checkout(near);
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    first
}

#[test]
fn tickets_that_come_after_the_handshake_are_not_data() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let manager = manager(&server, &authority).unread(Unread::Reject).build();
    let (mut near, mut peer) = pair(&manager, &server);
    arrives(&near.sock);
    verdict(&manager, &mut near).unwrap();
    let asked = spawn(move || {
        let mut question = [0; 5];
        peer.0.read_exact(&mut question).unwrap();
        peer.push(&question);
        peer
    });
    echo(&mut near, b"still").unwrap();
    drop(asked.join_soon());
}

#[test]
fn new_keys_from_an_idle_server_are_taken_in() {
    let (manager, mut near, mut peer, _server) = settled_pair(Unread::Reject);
    peer.0.conn.refresh_traffic_keys().unwrap();
    peer.0.flush().unwrap();
    arrives(&near.sock);
    verdict(&manager, &mut near).unwrap();
    peer.push(b"with the new key");
    let mut text = [0; 16];
    near.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"with the new key");
}

#[test]
fn a_server_that_says_goodbye_or_just_ends_is_seen() {
    type End = fn(Peer) -> Option<Peer>;
    let goodbye: End = |mut peer| {
        peer.notify();
        Some(peer)
    };
    let cut: End = |peer| {
        peer.cut();
        None
    };
    for end in [goodbye, cut] {
        let (manager, mut near, peer, _server) = settled_pair(Unread::default());
        let _open = end(peer);
        arrives(&near.sock);
        let error = verdict(&manager, &mut near).unwrap_err();
        assert!(
            matches!(error, TlsError::Tcp(ConbusError::Closed { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn a_reset_is_seen() {
    let (manager, mut near, peer, _server) = settled_pair(Unread::default());
    peer.reset();
    arrives(&near.sock);
    let error = manager.check_aliveness(&mut near).unwrap_err();
    assert!(
        matches!(
            error,
            TlsError::Tcp(ConbusError::Reset { .. } | ConbusError::Closed { .. })
        ),
        "{error:?}"
    );
    manager.check_aliveness(&mut near).unwrap_err();
}

#[test]
fn what_is_no_tls_ends_the_session() {
    let (manager, mut near, mut peer, _server) = settled_pair(Unread::default());
    peer.push_raw(b"HTTP/1.1 408 Request Timeout\r\n\r\n");
    arrives(&near.sock);
    let error = manager.check_aliveness(&mut near).unwrap_err();
    assert!(matches!(error, TlsError::Session { .. }), "{error:?}");
    manager.check_aliveness(&mut near).unwrap_err();
}

#[test]
fn data_that_came_meanwhile_is_thrown_away_kept_or_refused() {
    let few = Unread::Discard { max_bytes: 4 };
    for (unread, text, good, left) in [
        (Unread::default(), &b"late"[..], true, &b""[..]),
        (few, b"late", true, b""),
        (few, b"later", false, b""),
        (Unread::Reject, b"l", false, b""),
        (Unread::Keep, b"later", true, b"later"),
    ] {
        let (manager, mut near, mut peer, _server) = settled_pair(unread);
        peer.push(text);
        arrives(&near.sock);
        let seen = manager.check_aliveness(&mut near);
        assert_eq!(seen.is_ok(), good, "{unread:?}: {seen:?}");
        if !good {
            assert!(
                matches!(seen, Err(TlsError::Tcp(ConbusError::Unread { .. }))),
                "{seen:?}"
            );
            continue;
        }
        manager.on_checkout(&mut near).unwrap();
        let expected = [left, &b"next"[..]].concat();
        peer.push(b"next");
        let mut read = vec![0; expected.len()];
        near.read_exact(&mut read).unwrap();
        assert_eq!(read, expected, "{unread:?}");
    }
}

#[test]
fn an_end_behind_data_is_seen() {
    let (manager, mut near, mut peer, _server) = settled_pair(Unread::default());
    peer.push(&[7; 3000]);
    peer.notify();
    arrives(&near.sock);
    // Both have been sent, though perhaps not both have arrived.
    eventually(|| manager.check_aliveness(&mut near).is_err());
}

/// Pending bytes may arrive late: more than one probe reads at once.
#[test]
fn a_server_that_floods_an_idle_connection_loses_it() {
    let (manager, mut near, mut peer, _server) = settled_pair(Unread::default());
    let flood = spawn(move || {
        let chunk = [0; 16 * 1024];
        while peer.0.write_all(&chunk).is_ok() {}
    });
    eventually(|| manager.check_aliveness(&mut near).is_err());
    drop(near);
    flood.join_soon();
}

#[test]
fn an_end_without_a_goodbye_is_an_error_to_the_reader() {
    let (_manager, mut near, mut peer, _server) = settled_pair(Unread::default());
    peer.push(b"half an ans");
    peer.cut();
    let mut text = Vec::new();
    let error = near.read_to_end(&mut text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(text, b"half an ans", "what came is not lost");
}

#[test]
fn a_dispose_says_goodbye() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let server = Server::start(authority.identity().serving(&[version]));
        let manager = manager(&server, &authority).build();
        let (near, peer) = pair(&manager, &server);
        let farewell = spawn(move || peer.farewell());
        manager.dispose(near);
        assert!(farewell.join_soon(), "an end without a goodbye");
    }
}

/// Writes until a write would block.
fn stuck(near: &mut TlsStream) -> io::Error {
    loop {
        if let Err(error) = near.write_all(&[1; 16 * 1024]) {
            return error;
        }
    }
}

#[test]
fn a_dispose_is_bounded_by_close_wait_even_if_the_server_reads_nothing() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let manager = manager(&server, &authority)
        .tcp(|tcp| tcp.write_timeout(ms(20)).close_wait(ms(60)))
        .build();
    let (mut near, _peer) = pair(&manager, &server);
    let (error, took) = timed(|| stuck(&mut near));
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(took < SOON, "a write waited for the read timeout: {took:?}");
    let ((), took) = timed(|| manager.dispose(near));
    assert!(took <= ms(60) + noise(), "{took:?}");
}

#[test]
fn an_unfinished_write_evicts_the_connection() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let manager = manager(&server, &authority).tcp(|tcp| tcp.write_timeout(ms(20)));
    let pool = pool("unsent", 1).build(manager.build()).unwrap();
    let _peer = server.peer();
    let mut guard = pool.get().unwrap();
    stuck(&mut guard);
    drop(guard);
    assert_eq!(pool.stats().evicted(EvictReason::HookFailed), 1);
}

#[test]
fn a_user_who_changes_the_timeouts_does_not_change_them_for_the_next() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let pool = pool("options", 1)
        .build(manager(&server, &authority).build())
        .unwrap();
    let _peer = server.peer();
    let guard = pool.get().unwrap();
    assert_eq!(guard.sock.read_timeout().unwrap(), Some(SOON), "as built");
    guard.sock.set_read_timeout(Some(ms(1))).unwrap();
    guard.sock.set_nonblocking(true).unwrap();
    drop(guard);
    let mut guard = pool.get().unwrap();
    assert_eq!(guard.sock.read_timeout().unwrap(), Some(SOON));
    guard.sock.set_read_timeout(Some(ms(15))).unwrap();
    let (got, took) = timed(|| guard.read(&mut [0]));
    assert!(got.is_err() && took >= ms(5), "it blocks again: {took:?}");
    assert_eq!(pool.stats().created, 1);
}

#[test]
fn a_dead_idle_connection_is_never_handed_out() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let builder = pool("dead", 3).health_check(HealthCheck::Never);
    let pool = builder.build(manager(&server, &authority).build()).unwrap();
    let held = common::take(&pool, 3);
    let witnesses: Vec<_> = held
        .iter()
        .map(|guard| guard.sock.try_clone().unwrap())
        .collect();
    let mut peers: Vec<_> = (0..3).map(|_| server.peer()).collect();
    drop(held);
    peers.pop().unwrap().cut();
    peers.pop().unwrap().reset();
    let mut last = peers.pop().unwrap();
    last.notify();
    // The tickets come first, so that the ends cannot be waited for here.
    eventually(|| {
        pool.sweep();
        drop(pool.get().unwrap());
        pool.stats().evicted(EvictReason::HookFailed) == 3
    });
    drop(witnesses);
    let mut fresh = server.peer();
    let mut guard = pool.get().unwrap();
    settled(&mut guard, &mut fresh);
}

#[cfg(target_os = "linux")]
#[test]
fn a_crowd_lives_through_a_restart_of_its_server_and_leaves_nothing() {
    resources::process::alone(crowd_and_restart);
}

#[cfg(target_os = "linux")]
fn crowd_and_restart() {
    let authority = Authority::new();
    let identity = || authority.identity().serving(&[&TLS12, &TLS13]);
    let before = resources::usage::Usage::now();
    let server = Server::echo("127.0.0.1:0", identity());
    let address = server.address();
    let pool = pool("crowd", 4)
        .get_timeout(SOON)
        .build(manager(&server, &authority).build())
        .unwrap();
    let crowd: Vec<_> = (0..16_u8)
        .map(|n| {
            let pool = pool.clone();
            spawn(move || {
                let mut answers = 0;
                for turn in 0..60_u8 {
                    let Ok(mut line) = pool.get() else { continue };
                    match echo(&mut *line, &[n, turn, 7]) {
                        Ok(()) => answers += 1,
                        Err(_) => PooledConnection::discard(line),
                    }
                    thread::sleep(Duration::from_micros(300));
                }
                answers
            })
        })
        .collect();
    eventually(|| pool.stats().gets > 200);
    server.kill();
    let server = Server::echo(&address, identity());
    let answers: usize = crowd.into_iter().map(|user| user.join_soon()).sum();
    assert!(answers >= 16 * 60 * 9 / 10, "{answers} answers");
    let stats = pool.stats();
    assert!(stats.peak_in_use <= 4 && stats.size <= 4, "{stats}");
    pool.close_timeout(SOON).unwrap();
    drop((pool, server));
    before.is_restored("a crowd of TLS");
}

#[test]
fn a_thread_that_hangs_in_a_read_is_freed_by_an_interrupt() {
    let authority = Authority::new();
    let server = Server::start(authority.identity().serving(&[&TLS13]));
    let pool = conpool::Pool::builder()
        .max_size(1)
        .build(manager(&server, &authority).build())
        .unwrap();
    let reader = spawn({
        let pool = pool.clone();
        move || pool.get().unwrap().read(&mut [0; 8])
    });
    interrupt_holder(&pool);
    // Without a close notification the end of TCP is an error of TLS.
    let error = reader.join_soon().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
    pool.close_timeout(SOON).unwrap();
}
