//! The manager of Unix sockets: how it opens, probes, restores and closes a connection, and a pool of it.

#![cfg(unix)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::socket_checks::{self, policies, stays_bad, stays_good};
use crate::support::sockets::deliver;

use std::{
    error::Error,
    fs,
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

use common::{SOON, eventually, folder::Folder, ms, noise, now, spawn};
use conpool::{ConnectionManager, EvictReason, Pool, UnixSocketError, UnixSocketManager, Unread};
use socket2::{Domain, SockAddr, Socket, Type};

/// A manager, its connection and the peer's end of it.
fn connected(unread: Unread) -> (UnixSocketManager, UnixStream, UnixStream) {
    connected_for(unread, SOON)
}

fn connected_for(
    unread: Unread,
    close_wait: Duration,
) -> (UnixSocketManager, UnixStream, UnixStream) {
    let folder = Folder::new("unix");
    let listener = UnixListener::bind(folder.join("socket")).unwrap();
    let manager = UnixSocketManager::builder(folder.join("socket"))
        .unread(unread)
        .close_wait(close_wait)
        .build();
    let near = manager.create().unwrap();
    let far = listener.accept().unwrap().0;
    (manager, near, far)
}

/// A listener with a full queue that accepts nothing.
#[cfg(target_os = "linux")]
fn full_listener(path: &Path) -> (UnixListener, Vec<Socket>) {
    let address = SockAddr::unix(path).unwrap();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&address).unwrap();
    listener.listen(0).unwrap();
    let mut queue = Vec::new();
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&address) {
            Ok(()) => queue.push(socket),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(queue.len() < 64, "the queue does not fill");
    }
    (listener.into(), queue)
}

/// Whether the probe sees the end behind unread bytes without reading them.
const SEES_BEHIND_BYTES: bool = cfg!(target_os = "linux");

#[test]
fn a_path_that_does_not_exist_is_transient_because_a_server_may_be_restarting() {
    let folder = Folder::new("unix");
    let manager = UnixSocketManager::new(folder.join("socket"));
    let error = manager.create().unwrap_err();
    let UnixSocketError::Connect { path, source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (path, source.kind()),
        (&folder.join("socket"), ErrorKind::NotFound)
    );
    assert!(manager.is_transient(&error) && error.source().is_some());
}

#[test]
fn a_refusal_is_transient() {
    let folder = Folder::new("unix");
    // The file of a killed server stays behind.
    drop(UnixListener::bind(folder.join("socket")).unwrap());
    let manager = UnixSocketManager::new(folder.join("socket"));
    let error = manager.create().unwrap_err();
    let UnixSocketError::Connect { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
    assert!(manager.is_transient(&error));
}

#[test]
fn a_path_that_cannot_be_one_is_permanent() {
    for path in [String::new(), "a\0b".to_owned(), "a".repeat(200)] {
        let manager = UnixSocketManager::new(&path);
        let error = manager.create().unwrap_err();
        assert!(
            matches!(&error, UnixSocketError::Path { path: p, .. } if *p == Path::new(&path)),
            "{path:?}: {error}"
        );
        assert!(!manager.is_transient(&error) && error.source().is_some());
    }
}

#[test]
fn errors_are_transient_exactly_when_the_server_may_come_back() {
    let connect = |kind: ErrorKind| -> bool {
        // The error's variants cannot be built outside the crate; an attempt returns one.
        let folder = Folder::new("unix");
        match UnixSocketManager::new(folder.join("socket"))
            .create()
            .unwrap_err()
        {
            UnixSocketError::Connect { path, after, .. } => UnixSocketError::Connect {
                path,
                after,
                source: io::Error::from(kind),
            }
            .is_transient(),
            other => panic!("{other}"),
        }
    };
    for kind in [
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
        ErrorKind::ConnectionAborted,
        ErrorKind::NotFound,
        ErrorKind::TimedOut,
    ] {
        assert!(connect(kind), "{kind:?}");
    }
    for kind in [
        ErrorKind::PermissionDenied,
        ErrorKind::InvalidInput,
        ErrorKind::NotADirectory,
    ] {
        assert!(!connect(kind), "{kind:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_queue_costs_the_connect_timeout_and_is_transient() {
    let folder = Folder::new("unix");
    let _full = full_listener(&folder.join("socket"));
    let budget = ms(80);
    let manager = UnixSocketManager::builder(folder.join("socket"))
        .connect_timeout(budget)
        .build();
    let start = now();
    let error = manager.create().unwrap_err();
    let took = start.elapsed();
    assert!(took >= budget && took < budget + noise(), "{took:?}");
    let UnixSocketError::Connect { source, after, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), ErrorKind::TimedOut);
    assert!(source.to_string().contains("queue"), "{source}");
    assert!(*after >= budget && manager.is_transient(&error));
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_waits_for_a_place_in_the_queue_and_the_stream_then_blocks() {
    let folder = Folder::new("unix");
    let (listener, queue) = full_listener(&folder.join("socket"));
    let manager = UnixSocketManager::builder(folder.join("socket"))
        .connect_timeout(SOON)
        .read_timeout(ms(20))
        .build();
    let create = spawn(move || manager.create());
    thread::sleep(ms(30));
    assert!(!create.is_finished());
    let accepted: Vec<_> = queue.iter().map(|_| listener.accept().unwrap()).collect();
    let mut near = create.join_soon().unwrap();
    assert_eq!(accepted.len(), queue.len());
    let start = Instant::now();
    let error = near.read(&mut [0]).unwrap_err();
    assert!(start.elapsed() >= ms(15), "does not block: {error}");
}

#[test]
fn a_zero_budget_is_out_of_time_and_an_unlimited_one_connects() {
    let folder = Folder::new("unix");
    let _listener = UnixListener::bind(folder.join("socket")).unwrap();
    let manager = UnixSocketManager::builder(folder.join("socket"))
        .connect_timeout(Duration::ZERO)
        .build();
    let error = manager.create().unwrap_err();
    assert!(
        matches!(&error, UnixSocketError::OutOfTime { path, .. } if *path == folder.join("socket"))
    );
    assert!(manager.is_transient(&error));
    let manager = UnixSocketManager::builder(folder.join("socket"))
        .connect_timeout(Duration::MAX)
        .read_timeout(Duration::MAX)
        .write_timeout(Duration::MAX)
        .build();
    let near = manager.create().unwrap();
    assert_eq!(near.read_timeout().unwrap(), None);
    assert_eq!(near.write_timeout().unwrap(), None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_that_begins_with_a_nul_byte_is_an_abstract_name() {
    use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    let name = format!("conpool-unix-{}", process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    let manager = UnixSocketManager::new(format!("\0{name}"));
    let mut near = manager.create().unwrap();
    let far = listener.accept().unwrap().0;
    deliver(&far, &near, b"x");
    stays_good(&manager, &mut near);
    drop((far, listener));
    let error = stays_bad(&manager, &mut near);
    assert!(error.to_string().contains(&format!("\"@{name}\"")));
}

#[test]
fn timeouts_are_set_and_set_again_at_check_in() {
    let folder = Folder::new("unix");
    let _listener = UnixListener::bind(folder.join("socket")).unwrap();
    let manager = UnixSocketManager::builder(folder.join("socket"))
        .read_timeout(ms(1200))
        .write_timeout(ms(1600))
        .build();
    let mut near = manager.create().unwrap();
    socket_checks::check_in_restores(&manager, &mut near, ms(1200), ms(1600));
}

#[test]
fn a_timeout_of_zero_is_an_error_that_names_the_setting() {
    let folder = Folder::new("unix");
    let _listener = UnixListener::bind(folder.join("socket")).unwrap();
    let builder = || UnixSocketManager::builder(folder.join("socket"));
    let zero = Duration::ZERO;
    for (setting, manager) in [
        ("read_timeout", builder().read_timeout(zero).build()),
        ("write_timeout", builder().write_timeout(zero).build()),
    ] {
        let error = manager.create().unwrap_err();
        assert!(
            matches!(error, UnixSocketError::Configure { option, .. } if option == setting),
            "{error}"
        );
        assert!(!manager.is_transient(&error));
    }
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
fn a_closed_connection_is_seen_and_names_its_path() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        let path = near.peer_addr().unwrap();
        drop(far);
        let error = stays_bad(&manager, &mut near);
        assert!(
            matches!(&error, UnixSocketError::Closed { path: p } if Some(&**p) == path.as_pathname()),
            "{error}"
        );
        assert!(error.is_transient());
    }
}

#[test]
fn a_half_closed_connection_is_seen() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        far.shutdown(Shutdown::Write).unwrap();
        let error = stays_bad(&manager, &mut near);
        assert!(matches!(error, UnixSocketError::Closed { .. }), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_reset_connection_is_seen() {
    for unread in policies() {
        let (manager, mut near, far) = connected(unread);
        deliver(&near, &far, b"never read");
        drop(far);
        let error = stays_bad(&manager, &mut near);
        assert!(matches!(error, UnixSocketError::Reset { .. }), "{error}");
        assert!(error.is_transient());
        // The read consumes the error; the connection stays bad.
        near.read(&mut [0]).unwrap_err();
        stays_bad(&manager, &mut near);
    }
}

#[test]
fn unread_bytes_are_thrown_away_kept_or_a_reason_to_evict() {
    let error = socket_checks::unread_bytes(connected);
    assert!(matches!(error, UnixSocketError::Unread { limit: 0, .. }));
}

#[test]
fn more_unread_bytes_than_allowed_are_a_reason_to_evict() {
    for (max_bytes, error) in socket_checks::a_hundred_unread_bytes(connected) {
        assert!(
            matches!(error, UnixSocketError::Unread { bytes, limit, .. } if bytes > limit && limit == max_bytes),
            "{error}"
        );
    }
}

#[test]
fn a_close_behind_unread_bytes_is_seen() {
    for unread in policies() {
        if unread != Unread::default() && !SEES_BEHIND_BYTES {
            continue;
        }
        let (manager, mut near, far) = connected(unread);
        deliver(&far, &near, &[7; 100]);
        drop(far);
        let error = stays_bad(&manager, &mut near);
        assert!(matches!(error, UnixSocketError::Closed { .. }), "{error}");
    }
}

#[test]
fn the_probe_does_not_wait_and_leaves_the_mode_alone() {
    let (manager, mut near, _far) = connected(Unread::default());
    socket_checks::the_probe_does_not_wait_and_leaves_the_mode_alone(&manager, &mut near);
}

#[test]
fn a_connection_shut_down_by_its_user_is_seen_at_check_in() {
    let (manager, mut near, _far) = connected(Unread::default());
    manager.on_checkin(&mut near).unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    let error = manager.on_checkin(&mut near).unwrap_err();
    assert!(matches!(error, UnixSocketError::ShutDown { .. }), "{error}");
}

#[test]
fn a_connection_closed_by_the_server_is_called_so_at_check_in() {
    let (manager, mut near, far) = connected(Unread::default());
    drop(far);
    let error = manager.on_checkin(&mut near).unwrap_err();
    assert!(matches!(error, UnixSocketError::Closed { .. }), "{error}");
}

#[test]
fn dispose_returns_when_the_peer_has_seen_the_end_and_answered_it() {
    socket_checks::dispose_returns_when_the_peer_has_answered(connected(Unread::default()));
}

#[test]
fn dispose_waits_at_most_close_wait_even_for_a_peer_that_never_stops_sending() {
    let wait = ms(60);
    socket_checks::dispose_waits_at_most(wait, || connected_for(Unread::default(), wait));
}

#[test]
fn dispose_does_not_wait_for_a_peer_that_is_gone_or_when_told_not_to() {
    let (manager, near, far) = connected(Unread::default());
    drop(far);
    socket_checks::dispose_does_not_wait(&manager, near);

    let (manager, near, mut far) = connected_for(Unread::default(), Duration::ZERO);
    socket_checks::dispose_does_not_wait(&manager, near);
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_pool_waits_for_a_server_that_restarts_and_replaces_what_it_closed() {
    let folder = Folder::new("unix");
    // The greeting may come before the first checkout, which must keep it.
    let manager = UnixSocketManager::builder(folder.join("socket"))
        .unread(Unread::Keep)
        .read_timeout(SOON)
        .build();
    let pool = Pool::builder()
        .max_size(1)
        .get_timeout(SOON)
        .build_lazy(manager)
        .unwrap();
    let path = folder.join("socket");
    // The file of the socket appears only now, and again after a restart.
    let server = spawn(move || {
        for greeting in [b"1", b"2"] {
            thread::sleep(ms(30));
            let listener = UnixListener::bind(&path).unwrap();
            let mut peer = listener.accept().unwrap().0;
            peer.write_all(greeting).unwrap();
            // The client answers when it has read the greeting.
            peer.read_exact(&mut [0]).unwrap();
            fs::remove_file(&path).unwrap();
        }
    });
    for greeting in [b"1", b"2"] {
        let mut connection = pool.get().unwrap();
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, greeting);
        connection.write_all(b"x").unwrap();
        // The end of the connection has come before it is given back.
        assert_eq!(connection.read(&mut byte).unwrap(), 0);
    }
    server.join_soon();
    let stats = pool.stats();
    assert_eq!(stats.created, 2);
    eventually(|| pool.stats().evicted(EvictReason::HookFailed) == 2);
}

#[test]
fn a_thread_that_hangs_in_a_read_is_freed_by_an_interrupt() {
    let folder = Folder::new("interrupt");
    let server = UnixListener::bind(folder.join("socket")).unwrap();
    let pool = Pool::builder()
        .max_size(1)
        .build(UnixSocketManager::new(folder.join("socket")))
        .unwrap();
    let (peer, _) = server.accept().unwrap();
    socket_checks::an_interrupt_ends_a_read(&pool, peer);
}
