//! The TCP manager's probes of a connection, each repeated.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::support;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use common::{SOON, noise, now};
use conpool::{ConbusError, ConbusSocketManager, ConnectionManager, Unread};
use support::sockets::{deliver, listener, reset};

/// A manager, its connection and the peer's end of it.
fn connected(unread: Unread) -> (ConbusSocketManager, TcpStream, TcpStream) {
    let listener = listener();
    let manager = ConbusSocketManager::builder(listener.local_addr().unwrap().to_string())
        .unread(unread)
        .close_wait(SOON)
        .build();
    let near = manager.create().unwrap();
    let far = listener.accept().unwrap().0;
    (manager, near, far)
}

/// Asserts that both probes succeed, each of them twice.
fn stays_good(manager: &ConbusSocketManager, connection: &mut TcpStream) {
    for _ in 0..2 {
        manager.check_aliveness(connection).unwrap();
    }
    for _ in 0..2 {
        manager.on_checkout(connection).unwrap();
    }
}

/// Waits until the connection is bad; then asserts that it stays bad in the same way.
fn stays_bad(manager: &ConbusSocketManager, connection: &mut TcpStream) -> ConbusError {
    let end = Instant::now() + SOON;
    let first = loop {
        match manager.check_aliveness(connection) {
            Err(error) => break error,
            Ok(()) => assert!(Instant::now() < end, "still good"),
        }
        thread::sleep(Duration::from_millis(1));
    };
    for _ in 0..2 {
        let again = manager.check_aliveness(connection).unwrap_err();
        assert_eq!(again.to_string(), first.to_string());
        let again = manager.on_checkout(connection).unwrap_err();
        assert_eq!(again.to_string(), first.to_string());
    }
    first
}

fn policies() -> [Unread; 3] {
    [Unread::default(), Unread::Keep, Unread::Reject]
}

#[test]
fn an_idle_connection_is_good() {
    for unread in policies() {
        let (manager, mut near, _far) = connected(unread);
        stays_good(&manager, &mut near);
        assert!(!manager.check_may_block());
    }
}

#[test]
fn a_closed_connection_is_seen() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        drop(far);
        let error = stays_bad(&manager, &mut near);
        assert!(matches!(error, ConbusError::Closed { .. }), "{error}");
    }
}

#[test]
fn a_half_closed_connection_is_seen() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        far.shutdown(Shutdown::Write).unwrap();
        let error = stays_bad(&manager, &mut near);
        let peer = near.peer_addr().unwrap();
        assert!(matches!(error, ConbusError::Closed { peer: Some(p) } if p == peer));
    }
}

#[test]
fn a_reset_connection_is_seen() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        reset(far);
        let error = stays_bad(&manager, &mut near);
        assert!(matches!(error, ConbusError::Reset { .. }), "{error}");
        assert!(error.is_transient());
    }
}

#[test]
fn unread_bytes_are_thrown_away_kept_or_a_reason_to_evict() {
    let (manager, mut near, mut far) = connected(Unread::default());
    deliver(&far, &near, &[7; 9000]);
    stays_good(&manager, &mut near);
    far.write_all(b"new").unwrap();
    let mut bytes = [0; 16];
    assert_eq!(near.read(&mut bytes).unwrap(), 3);
    assert_eq!(&bytes[..3], b"new");

    let (manager, mut near, far) = connected(Unread::Keep);
    deliver(&far, &near, b"old");
    stays_good(&manager, &mut near);
    assert_eq!(near.read(&mut bytes).unwrap(), 3);

    let (manager, mut near, far) = connected(Unread::Reject);
    deliver(&far, &near, b"old");
    let error = stays_bad(&manager, &mut near);
    assert!(matches!(
        error,
        ConbusError::Unread {
            bytes: 3,
            limit: 0,
            ..
        }
    ));
}

#[test]
fn more_unread_bytes_than_allowed_are_a_reason_to_evict() {
    for max_bytes in [0, 99] {
        let (manager, mut near, far) = connected(Unread::Discard { max_bytes });
        deliver(&far, &near, &[7; 100]);
        let error = stays_bad(&manager, &mut near);
        assert!(
            matches!(error, ConbusError::Unread { bytes: 100, limit, .. } if limit == max_bytes),
            "{error}"
        );
    }
    let (manager, mut near, far) = connected(Unread::Discard { max_bytes: 100 });
    deliver(&far, &near, &[7; 100]);
    stays_good(&manager, &mut near);
}

#[test]
fn a_close_behind_unread_bytes_is_seen() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        deliver(&far, &near, &[7; 100]);
        drop(far);
        let error = loop {
            // A rejected connection is bad before the end has come.
            let error = stays_bad_once(&manager, &mut near);
            if !matches!(error, ConbusError::Unread { .. }) {
                break stays_bad(&manager, &mut near);
            }
        };
        assert!(matches!(error, ConbusError::Closed { .. }), "{error}");
    }
}

fn stays_bad_once(manager: &ConbusSocketManager, connection: &mut TcpStream) -> ConbusError {
    let end = Instant::now() + SOON;
    while Instant::now() < end {
        if let Err(error) = manager.check_aliveness(connection) {
            return error;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("still good");
}

#[test]
fn the_probe_does_not_wait_and_leaves_the_mode_alone() {
    let (manager, mut near, _far) = connected(Unread::default());
    let start = now();
    for _ in 0..1000 {
        manager.check_aliveness(&mut near).unwrap();
    }
    assert!(
        start.elapsed() < Duration::from_millis(200) + noise(),
        "{:?}",
        start.elapsed()
    );
    near.set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    let start = Instant::now();
    let error = near.read(&mut [0]).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(15), "{error}");
}
