//! A failed connect leaves no descriptor behind.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::{resources::process::alone, support};

use std::{fs, time::Duration};

use conpool::{ConbusSocketManager, ConnectionManager};
use support::sockets::{BlackHole, ClosedPort, listener};

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn no_descriptor_is_left_behind() {
    alone(count);
}

fn count() {
    let closed = ClosedPort::new().unwrap();
    let hole = BlackHole::new().unwrap();
    let listener = listener();
    let listening = listener.local_addr().unwrap().to_string();
    let failing = [
        ConbusSocketManager::new("nonsense"),
        ConbusSocketManager::builder(closed.addr().to_string())
            .address(closed.addr().to_string())
            .build(),
        ConbusSocketManager::builder(hole.addr().to_string())
            .connect_timeout(Duration::from_millis(10))
            .build(),
        ConbusSocketManager::builder(listening.clone())
            .bind("192.0.2.1")
            .build(),
        ConbusSocketManager::builder(listening.clone())
            .read_timeout(Duration::ZERO)
            .build(),
    ];
    let before = descriptors();
    for manager in &failing {
        for _ in 0..5 {
            manager.create().unwrap_err();
        }
    }
    assert_eq!(descriptors(), before);

    let working = ConbusSocketManager::builder(closed.addr().to_string())
        .address(listening)
        .close_wait(Duration::from_millis(10))
        .build();
    for _ in 0..5 {
        let connection = working.create().unwrap();
        assert_eq!(descriptors(), before + 1);
        working.dispose(connection);
        assert_eq!(descriptors(), before);
        // The dispose of one must not meet the queue of the next.
        drop(listener.accept().unwrap());
    }
}
