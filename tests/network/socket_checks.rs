//! What the managers of TCP and of Unix sockets have in common, checked on either.

use crate::common::{SOON, eventually, interrupt_holder, ms, noise, now, spawn};
use crate::support::sockets::deliver;
use conpool::{ConnectionManager, EvictReason, Pool, Unread};
use socket2::SockRef;
use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

pub(crate) trait Stream: Read + Write + Send + 'static {
    fn socket(&self) -> SockRef<'_>;
}

impl Stream for TcpStream {
    fn socket(&self) -> SockRef<'_> {
        self.into()
    }
}

#[cfg(unix)]
impl Stream for std::os::unix::net::UnixStream {
    fn socket(&self) -> SockRef<'_> {
        self.into()
    }
}

/// The managers of sockets.
pub(crate) trait SocketManager: ConnectionManager<Connection: Stream> {}
impl<M: ConnectionManager<Connection: Stream>> SocketManager for M {}

/// A manager, its connection and the peer's end of it.
pub(crate) type Connected<M> = (
    M,
    <M as ConnectionManager>::Connection,
    <M as ConnectionManager>::Connection,
);

pub(crate) fn policies() -> [Unread; 3] {
    [Unread::default(), Unread::Keep, Unread::Reject]
}

/// Asserts that both probes succeed, each of them twice.
#[track_caller]
pub(crate) fn stays_good<M: ConnectionManager>(manager: &M, connection: &mut M::Connection) {
    for _ in 0..2 {
        manager.check_aliveness(connection).unwrap();
    }
    for _ in 0..2 {
        manager.on_checkout(connection).unwrap();
    }
}

/// Asserts that the connection is bad and stays bad in the same way.
#[track_caller]
pub(crate) fn stays_bad<M: ConnectionManager>(
    manager: &M,
    connection: &mut M::Connection,
) -> M::Error {
    let first = manager.check_aliveness(connection).unwrap_err();
    for _ in 0..2 {
        let again = manager.check_aliveness(connection).unwrap_err();
        assert_eq!(again.to_string(), first.to_string());
        let again = manager.on_checkout(connection).unwrap_err();
        assert_eq!(again.to_string(), first.to_string());
    }
    first
}

/// Asserts that the check-in restores these timeouts and the mode.
pub(crate) fn check_in_restores<M: SocketManager>(
    manager: &M,
    near: &mut M::Connection,
    read: Duration,
    write: Duration,
) {
    for _ in 0..2 {
        assert_eq!(near.socket().read_timeout().unwrap(), Some(read));
        assert_eq!(near.socket().write_timeout().unwrap(), Some(write));
        near.socket().set_read_timeout(None).unwrap();
        near.socket().set_write_timeout(Some(ms(4))).unwrap();
        near.socket().set_nonblocking(true).unwrap();
        manager.on_checkin(near).unwrap();
        #[cfg(unix)]
        assert!(!near.socket().nonblocking().unwrap());
    }
}

/// Asserts that the probe discards or keeps unread bytes as the policy says. Returns the error of the policy
/// that allows none.
pub(crate) fn unread_bytes<M: SocketManager>(
    connected: impl Fn(Unread) -> Connected<M>,
) -> M::Error {
    let mut bytes = [0; 16];
    let (manager, mut near, mut far) = connected(Unread::default());
    deliver(&mut far, near.socket(), &[7; 9000]);
    stays_good(&manager, &mut near);
    far.write_all(b"new").unwrap();
    assert_eq!(near.read(&mut bytes).unwrap(), 3);
    assert_eq!(&bytes[..3], b"new");

    let (manager, mut near, mut far) = connected(Unread::Keep);
    deliver(&mut far, near.socket(), b"old");
    stays_good(&manager, &mut near);
    assert_eq!(near.read(&mut bytes).unwrap(), 3);

    let (manager, mut near, mut far) = connected(Unread::Reject);
    deliver(&mut far, near.socket(), b"old");
    stays_bad(&manager, &mut near)
}

/// Asserts that a hundred unread bytes are good where that many are allowed. Returns the errors where fewer
/// are, each with the number that is allowed.
pub(crate) fn a_hundred_unread_bytes<M: SocketManager>(
    connected: impl Fn(Unread) -> Connected<M>,
) -> [(usize, M::Error); 2] {
    let filled = |max_bytes| {
        let (manager, near, mut far) = connected(Unread::Discard { max_bytes });
        deliver(&mut far, near.socket(), &[7; 100]);
        (manager, near, far)
    };
    let (manager, mut near, _far) = filled(100);
    stays_good(&manager, &mut near);
    [0, 99].map(|max_bytes| {
        let (manager, mut near, _far) = filled(max_bytes);
        (max_bytes, stays_bad(&manager, &mut near))
    })
}

pub(crate) fn the_probe_does_not_wait_and_leaves_the_mode_alone<M: SocketManager>(
    manager: &M,
    near: &mut M::Connection,
) {
    let start = now();
    for _ in 0..1000 {
        manager.check_aliveness(near).unwrap();
    }
    assert!(start.elapsed() < ms(200) + noise(), "{:?}", start.elapsed());
    near.socket().set_read_timeout(Some(ms(20))).unwrap();
    let start = Instant::now();
    let error = near.read(&mut [0]).unwrap_err();
    assert!(start.elapsed() >= ms(15), "{error}");
}

pub(crate) fn dispose_returns_when_the_peer_has_answered<M: SocketManager>(
    (manager, near, far): Connected<M>,
) {
    let mut far = far;
    // Sent before the end and never read: must not turn the end into a reset.
    deliver(&mut far, near.socket(), b"late");
    let peer = thread::spawn(move || {
        let mut rest = Vec::new();
        let seen = far.read_to_end(&mut rest).map(|_| Instant::now());
        thread::sleep(ms(30));
        (seen, Instant::now())
    });
    // The user may have left the socket in any mode.
    near.socket().set_nonblocking(true).unwrap();
    manager.dispose(near);
    let returned = Instant::now();
    let (seen, answered) = peer.join().unwrap();
    assert!(seen.unwrap() < returned);
    assert!(answered < returned);
}

/// Asserts that a dispose takes `close_wait` for a peer that is silent, and for one that never stops sending.
pub(crate) fn dispose_waits_at_most<M: SocketManager>(
    close_wait: Duration,
    connected: impl Fn() -> Connected<M>,
) {
    let dispose = |manager: M, near| {
        let start = now();
        manager.dispose(near);
        let took = start.elapsed();
        assert!(
            took >= close_wait && took < close_wait + noise(),
            "{took:?}"
        );
    };
    let (manager, near, far) = connected();
    dispose(manager, near);
    drop(far);

    let (manager, near, mut far) = connected();
    let sender = spawn(move || {
        while far.write_all(b"more").is_ok() {
            thread::sleep(ms(1));
        }
    });
    dispose(manager, near);
    sender.join_soon();
}

/// Asserts that a dispose takes no time.
pub(crate) fn dispose_does_not_wait<M: SocketManager>(manager: &M, near: M::Connection) {
    let start = now();
    manager.dispose(near);
    assert!(start.elapsed() < ms(100) + noise(), "{:?}", start.elapsed());
}

/// Asserts that a thread that hangs in a read gets the end of the stream by an interrupt, and so does the peer.
#[track_caller]
pub(crate) fn an_interrupt_ends_a_read<M: SocketManager>(pool: &Pool<M>, mut peer: M::Connection) {
    let reader = spawn({
        let pool = pool.clone();
        move || pool.get().unwrap().read(&mut [0; 8])
    });
    interrupt_holder(pool);
    assert_eq!(reader.join_soon().unwrap(), 0, "the end of the stream");
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
    // The second descriptor is gone too: the server sees the end.
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    pool.close_timeout(SOON).unwrap();
}
