//! Shared by the scenarios: a bridge, the preset made short-lived, and ways to read.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicI32, Ordering::SeqCst},
    time::Duration,
};

use conpool::{ConbusSocketManager, Pool, PoolBuilder, PooledConnection};

use crate::support::{
    client::{self, ClientError},
    emulator::{Emulator, EmulatorBuilder},
    telegram::{self, Event, FrameBuffer, Message, Telegram},
};

/// How long something without a promised bound may take before the test calls it wedged.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const DEVICES: [u64; 4] = [1_302_410_003, 1_420_330_004, 1_520_331_005, 1_620_332_006];

pub(crate) const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn manager(address: SocketAddr) -> ConbusSocketManager {
    // A device on a loaded machine may take a while to see the end of a connection.
    ConbusSocketManager::builder(address.to_string())
        .close_wait(Duration::from_secs(3))
        .build()
}

/// The preset with a lifetime of 300 ms.
pub(crate) fn preset() -> PoolBuilder<ConbusSocketManager> {
    PoolBuilder::from(ConbusSocketManager::pool_config())
        .idle_timeout(ms(300))
        .max_lifetime(ms(300))
}

pub(crate) fn bridge() -> EmulatorBuilder {
    Emulator::builder().max_clients(1)
}

pub(crate) fn press_button(bridge: &Emulator) {
    bridge.push_event(Event {
        origin: 'E',
        module_type: 14,
        link: 0,
        input: 2,
        make: true,
    });
}

/// Reads repeatedly. Returns the value and how often the connection broke before.
///
/// The many attempts are needed for a device that resets every seventh request: when seven threads take
/// turns, the same thread meets each reset until the others have finished.
pub(crate) fn read_repeatedly(pool: &Pool<ConbusSocketManager>, serial: u64) -> (f64, u64) {
    for retried in 0..30 {
        let mut conn = pool.get_timeout(PATIENCE).expect("a connection");
        match client::read_temperature(&mut conn, serial, PATIENCE) {
            Ok(celsius) => return (celsius, retried),
            Err(ClientError::Io(_) | ClientError::Closed) => PooledConnection::discard(conn),
            Err(error) => panic!("device {serial}: {error}"),
        }
    }
    panic!("device {serial}: the line broke thirty times in a row");
}

/// The next telegram, whoever requested it: a client that does not match replies to requests.
pub(crate) fn next_reply(conn: &mut TcpStream) -> Message {
    let mut frames = FrameBuffer::default();
    conn.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        if let Some(frame) = frames.next_frame() {
            match telegram::parse(&frame).unwrap() {
                Telegram::Reply(reply) => return reply,
                other => panic!("not a reply: {other:?}"),
            }
        }
        let mut chunk = [0; 256];
        let length = conn.read(&mut chunk).unwrap();
        assert!(length > 0, "closed");
        frames.push(&chunk[..length]);
    }
}

pub(crate) fn ask(conn: &mut TcpStream, serial: u64) {
    conn.write_all(&telegram::request(serial, 2, "18")).unwrap();
}

/// The number of sockets of this process that are connected to `address`.
#[cfg(target_os = "linux")]
pub(crate) fn sockets_to(address: SocketAddr) -> usize {
    use std::fs;
    let port = format!(":{:04X}", address.port());
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let inodes: Vec<&str> = table
        .lines()
        .map(|row| row.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[2].ends_with(&port))
        .map(|fields| fields[9])
        .collect();
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|link| {
            let link = link.to_string_lossy();
            let inode = link
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'));
            inode.is_some_and(|inode| inodes.contains(&inode))
        })
        .count()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn sockets_to(_: SocketAddr) -> usize {
    0
}

/// Closes the pool and asserts that both the pool and the device have released everything.
#[track_caller]
pub(crate) fn close_clean(pool: &Pool<ConbusSocketManager>, bridge: &Emulator) {
    pool.close_timeout(PATIENCE).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.created, stats.disposed, "{stats}");
    assert_eq!(stats.size + stats.disposing + stats.abandoned, 0, "{stats}");
    assert!(bridge.wait_for(|seen| seen.open == 0, PATIENCE));
    assert_eq!(sockets_to(bridge.addr()), 0);
}

/// A device whose temperature only rises, so that a reply tells when it was made.
pub(crate) struct Rising {
    pub(crate) serial: u64,
    pub(crate) at_least: AtomicI32,
    pub(crate) at_most: AtomicI32,
}

impl Rising {
    pub(crate) fn new(serial: u64, number: i32) -> Self {
        // Far enough apart that two devices never report the same value.
        Self {
            serial,
            at_least: AtomicI32::new(number * 10_000),
            at_most: AtomicI32::new(number * 10_000),
        }
    }

    pub(crate) fn rise(&self, bridge: &Emulator) {
        let tenths = self.at_most.fetch_add(1, SeqCst) + 1;
        assert!(bridge.set_temperature(self.serial, tenths));
        self.at_least.store(tenths, SeqCst);
    }
}
