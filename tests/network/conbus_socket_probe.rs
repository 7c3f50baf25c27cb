//! The TCP manager's probes of a connection, each repeated.

use crate::common::{SOON, eventually};
use crate::socket_checks::{self, policies, stays_bad, stays_good};
use crate::support::sockets::{deliver, listener, reset};

use std::{
    net::{Shutdown, TcpStream},
    time::Duration,
};

use conpool::{ConbusError, ConbusSocketManager, ConnectionManager, Unread};

/// A manager, its connection and the peer's end of it.
pub(crate) fn connected(unread: Unread) -> (ConbusSocketManager, TcpStream, TcpStream) {
    connected_for(unread, SOON)
}

pub(crate) fn connected_for(
    unread: Unread,
    close_wait: Duration,
) -> (ConbusSocketManager, TcpStream, TcpStream) {
    let listener = listener();
    let manager = ConbusSocketManager::builder(listener.local_addr().unwrap().to_string())
        .unread(unread)
        .close_wait(close_wait)
        .build();
    let near = manager.create().unwrap();
    let far = listener.accept().unwrap().0;
    (manager, near, far)
}

/// Waits until the connection is bad; then asserts that it stays bad in the same way.
fn becomes_bad(manager: &ConbusSocketManager, connection: &mut TcpStream) -> ConbusError {
    eventually(|| manager.check_aliveness(connection).is_err());
    stays_bad(manager, connection)
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
        let error = becomes_bad(&manager, &mut near);
        assert!(matches!(error, ConbusError::Closed { .. }), "{error}");
    }
}

#[test]
fn a_half_closed_connection_is_seen() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        far.shutdown(Shutdown::Write).unwrap();
        let error = becomes_bad(&manager, &mut near);
        let peer = near.peer_addr().unwrap();
        assert!(matches!(error, ConbusError::Closed { peer: Some(p) } if p == peer));
    }
}

#[test]
fn a_reset_connection_is_seen() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        reset(far);
        let error = becomes_bad(&manager, &mut near);
        assert!(matches!(error, ConbusError::Reset { .. }), "{error}");
        assert!(error.is_transient());
    }
}

#[test]
fn unread_bytes_are_thrown_away_kept_or_a_reason_to_evict() {
    let error = socket_checks::unread_bytes(connected);
    let (bytes, limit) = unread(&error);
    assert_eq!((bytes, limit), (3, 0));
}

#[test]
fn more_unread_bytes_than_allowed_are_a_reason_to_evict() {
    for (max_bytes, error) in socket_checks::a_hundred_unread_bytes(connected) {
        assert_eq!(unread(&error), (100, max_bytes));
    }
}

/// The number of bytes seen and of those allowed.
#[track_caller]
fn unread(error: &ConbusError) -> (usize, usize) {
    match error {
        ConbusError::Unread { bytes, limit, .. } => (*bytes, *limit),
        other => panic!("{other}"),
    }
}

#[test]
fn a_close_behind_unread_bytes_is_seen() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        deliver(&far, &near, &[7; 100]);
        drop(far);
        // A rejected connection is bad before the end has come.
        let mut error = None;
        eventually(|| {
            error = manager.check_aliveness(&mut near).err();
            matches!(error, Some(ConbusError::Closed { .. }))
        });
        stays_bad(&manager, &mut near);
    }
}

#[test]
fn the_probe_does_not_wait_and_leaves_the_mode_alone() {
    let (manager, mut near, _far) = connected(Unread::default());
    socket_checks::the_probe_does_not_wait_and_leaves_the_mode_alone(&manager, &mut near);
}
