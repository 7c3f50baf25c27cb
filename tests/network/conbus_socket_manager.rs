//! The TCP manager alone: how it opens, restores and closes a connection.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::conbus_socket_probe::{connected, connected_for};
use crate::socket_checks;
use crate::support;

use std::{
    error::Error,
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use common::{SOON, eventually, noise, now, spawn};
use conpool::{
    ConbusError, ConbusSocketManager, ConnectionManager, PoolBuilder, PooledConnection, Unread,
};
use socket2::SockRef;
use support::{
    emulator::Emulator,
    sockets::{BlackHole, ClosedPort, listener, reset},
};

#[test]
fn the_next_address_is_tried_when_one_refuses_or_does_not_answer() {
    let closed = ClosedPort::new().unwrap();
    let hole = BlackHole::new().unwrap();
    let listener = listener();
    let manager = ConbusSocketManager::builder(closed.addr().to_string())
        .address("not an address")
        .address(hole.addr().to_string())
        .address(listener.local_addr().unwrap().to_string())
        .connect_timeout(Duration::from_millis(300))
        .build();
    let start = now();
    let near = manager.create().unwrap();
    assert_eq!(
        near.peer_addr().unwrap(),
        listener.local_addr().unwrap(),
        "{:?}",
        start.elapsed()
    );
    assert!(start.elapsed() < Duration::from_millis(300) + noise());
}

#[test]
fn when_no_address_works_the_error_names_them_all() {
    let closed = ClosedPort::new().unwrap();
    let manager = ConbusSocketManager::builder("not an address")
        .address(closed.addr().to_string())
        .build();
    let error = manager.create().unwrap_err();
    let ConbusError::AllFailed { attempts } = &error else {
        panic!("{error}");
    };
    assert!(matches!(attempts[0], ConbusError::Resolve { .. }));
    assert!(matches!(attempts[1], ConbusError::Connect { .. }));
    assert_eq!(attempts.len(), 2);
    let text = error.to_string();
    assert!(text.contains("not an address") && text.contains(&closed.addr().to_string()));
    assert!(manager.is_transient(&error));
}

#[test]
fn a_name_that_does_not_resolve_is_permanent() {
    for address in [
        "",
        "nonsense",
        "127.0.0.1",
        "127.0.0.1:70000",
        "[::1:7",
        ":7",
    ] {
        let manager = ConbusSocketManager::new(address);
        let error = manager.create().unwrap_err();
        assert!(
            matches!(&error, ConbusError::Resolve { address: a, .. } if a == address),
            "{address:?}: {error}"
        );
        assert!(!manager.is_transient(&error) && error.source().is_some());
    }
}

#[test]
fn a_refusal_is_transient_and_says_who_refused() {
    let closed = ClosedPort::new().unwrap();
    let manager = ConbusSocketManager::new(closed.addr().to_string());
    let error = manager.create().unwrap_err();
    let ConbusError::Connect { peer, source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*peer, closed.addr());
    assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
    assert!(manager.is_transient(&error));
}

#[test]
fn a_peer_that_does_not_answer_costs_the_connect_timeout() {
    let hole = BlackHole::new().unwrap();
    let budget = Duration::from_millis(80);
    for addresses in [1, 2] {
        let mut builder = ConbusSocketManager::builder(hole.addr().to_string());
        for _ in 1..addresses {
            builder = builder.address(hole.addr().to_string());
        }
        let manager = builder.connect_timeout(budget).build();
        let start = now();
        let error = manager.create().unwrap_err();
        let took = start.elapsed();
        assert!(took >= budget - Duration::from_millis(5), "{took:?}");
        assert!(took < budget + noise(), "{took:?}");
        assert!(manager.is_transient(&error), "{error}");
    }
}

#[test]
fn a_zero_budget_is_out_of_time_and_an_unlimited_one_connects() {
    let listener = listener();
    let address = listener.local_addr().unwrap().to_string();
    let manager = ConbusSocketManager::builder(address.clone())
        .connect_timeout(Duration::ZERO)
        .build();
    let error = manager.create().unwrap_err();
    assert!(matches!(&error, ConbusError::OutOfTime { address: a, .. } if *a == address));
    assert!(manager.is_transient(&error));
    let manager = ConbusSocketManager::builder(address)
        .connect_timeout(Duration::MAX)
        .read_timeout(Duration::MAX)
        .write_timeout(Duration::MAX)
        .keepalive(Duration::MAX)
        .user_timeout(Duration::MAX)
        .build();
    let near = manager.create().unwrap();
    assert_eq!(near.read_timeout().unwrap(), None);
    assert!(!SockRef::from(&near).keepalive().unwrap());
}

#[test]
fn ipv4_and_ipv6_and_names_work() {
    let v4 = listener();
    let v4_port = v4.local_addr().unwrap().port();
    let near = ConbusSocketManager::new(v4.local_addr().unwrap().to_string())
        .create()
        .unwrap();
    assert!(near.peer_addr().unwrap().is_ipv4());
    // Where the name also means ::1, that address refuses and 127.0.0.1 is tried next.
    let near = ConbusSocketManager::builder(format!("localhost:{v4_port}"))
        .bind(Ipv4Addr::LOCALHOST)
        .build()
        .create()
        .unwrap();
    assert_eq!(near.peer_addr().unwrap().port(), v4_port);

    let v6 = match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(listener) => listener,
        Err(error) => {
            println!("IPv6 skipped: ::1 cannot be used here: {error}");
            return;
        }
    };
    let manager = ConbusSocketManager::new(v6.local_addr().unwrap().to_string());
    let mut near = manager.create().unwrap();
    assert!(near.peer_addr().unwrap().is_ipv6());
    manager.check_aliveness(&mut near).unwrap();
    drop(v6.accept().unwrap());
    near.read_exact(&mut [0]).unwrap_err();
    manager.check_aliveness(&mut near).unwrap_err();
}

#[test]
fn options_are_set_and_set_again_at_check_in() {
    let listener = listener();
    let timeout = Duration::from_millis;
    let manager = ConbusSocketManager::builder(listener.local_addr().unwrap().to_string())
        .read_timeout(timeout(1200))
        .write_timeout(timeout(1600))
        .keepalive(timeout(29_500))
        .user_timeout(timeout(7000))
        .build();
    let mut near = manager.create().unwrap();
    let socket = SockRef::from(&near);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    #[cfg(target_os = "linux")]
    {
        assert_eq!(socket.tcp_keepalive_time().unwrap(), timeout(30_000));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(timeout(7000)));
    }
    socket_checks::check_in_restores(&manager, &mut near, timeout(1200), timeout(1600));

    let manager = ConbusSocketManager::builder(listener.local_addr().unwrap().to_string())
        .nodelay(false)
        .build();
    let near = manager.create().unwrap();
    assert!(!near.nodelay().unwrap());
    assert!(!SockRef::from(&near).keepalive().unwrap());
    assert_eq!(near.read_timeout().unwrap(), None);
}

#[test]
fn a_timeout_of_zero_is_an_error_that_names_the_setting() {
    let listener = listener();
    let builder = || ConbusSocketManager::builder(listener.local_addr().unwrap().to_string());
    let zero = Duration::ZERO;
    for (setting, manager) in [
        ("read_timeout", builder().read_timeout(zero).build()),
        ("write_timeout", builder().write_timeout(zero).build()),
        ("keepalive", builder().keepalive(zero).build()),
        ("user_timeout", builder().user_timeout(zero).build()),
    ] {
        let error = manager.create().unwrap_err();
        assert!(
            matches!(error, ConbusError::Configure { option, .. } if option == setting),
            "{error}"
        );
        assert!(!manager.is_transient(&error));
    }
}

#[test]
fn a_local_address_is_used_and_a_bad_one_is_permanent() {
    let listener = listener();
    let address = listener.local_addr().unwrap().to_string();
    let manager = ConbusSocketManager::builder(address.clone())
        .bind(Ipv4Addr::LOCALHOST)
        .build();
    let near = manager.create().unwrap();
    assert_eq!(near.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
    // 192.0.2.0/24 is reserved for documentation: connects to it fail on every machine.
    for bad in ["192.0.2.1", "192.0.2.1:0", "nonsense", "::1", "[::1]:0"] {
        let manager = ConbusSocketManager::builder(address.clone())
            .bind(bad)
            .build();
        let error = manager.create().unwrap_err();
        assert!(
            matches!(&error, ConbusError::Bind { bind, .. } if bind == bad),
            "{error}"
        );
        assert!(!manager.is_transient(&error));
    }
}

#[test]
fn a_socket_that_met_itself_is_a_refusal_and_frees_the_port() {
    let port = listener().local_addr().unwrap();
    let manager = ConbusSocketManager::builder(port.to_string())
        .bind(port)
        .build();
    let error = manager.create().unwrap_err();
    let ConbusError::Connect { source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(source.kind(), ErrorKind::ConnectionRefused);
    TcpListener::bind(port).unwrap();
}

#[test]
fn a_connection_shut_down_by_its_user_is_seen_at_check_in() {
    let (manager, mut near, _far) = connected(Unread::default());
    manager.on_checkin(&mut near).unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    let error = manager.on_checkin(&mut near).unwrap_err();
    assert!(matches!(error, ConbusError::ShutDown { .. }), "{error}");
}

#[test]
fn dispose_returns_when_the_peer_has_seen_the_end_and_answered_it() {
    socket_checks::dispose_returns_when_the_peer_has_answered(connected(Unread::default()));
}

#[test]
fn dispose_waits_at_most_close_wait_even_for_a_chatterbox() {
    let wait = Duration::from_millis(60);
    socket_checks::dispose_waits_at_most(wait, || connected_for(Unread::default(), wait));
}

#[test]
fn dispose_does_not_wait_for_a_peer_that_is_gone_or_when_told_not_to() {
    let (manager, near, far) = connected(Unread::default());
    reset(far);
    socket_checks::dispose_does_not_wait(&manager, near);

    let (manager, near, mut far) = connected_for(Unread::default(), Duration::ZERO);
    socket_checks::dispose_does_not_wait(&manager, near);
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_single_client_device_never_sees_two_when_dispose_comes_before_create() {
    let emulator = Emulator::builder().max_clients(1).start().unwrap();
    let manager = ConbusSocketManager::new(emulator.addr().to_string());
    for _ in 0..100 {
        let mut connection = manager.create().unwrap();
        let reply =
            support::client::read_temperature(&mut connection, 1_302_410_003, SOON).unwrap();
        assert!((reply - 23.5).abs() < 1e-9);
        manager.dispose(connection);
    }
    let counters = emulator.counters();
    assert_eq!(
        (counters.accepted, counters.refused, counters.peak_open),
        (100, 0, 1)
    );
}

/// A bridge that accepts one client and freezes for a second after its first request. Returns the number of
/// clients that waited when the bridge saw the end of the first one, and the next client, which stays
/// connected until the caller has seen it.
fn frozen_bridge(listener: TcpListener) -> thread::JoinHandle<(usize, TcpStream)> {
    thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        client.read_exact(&mut [0]).unwrap();
        client.write_all(b"1").unwrap();
        thread::sleep(Duration::from_secs(1));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        listener.set_nonblocking(true).unwrap();
        let early = listener.accept();
        listener.set_nonblocking(false).unwrap();
        drop(client);
        let waiting = usize::from(early.is_ok());
        let next = early.or_else(|_| listener.accept());
        (waiting, next.unwrap().0)
    })
}

#[test]
fn the_preset_for_a_single_client_waits_for_a_bridge_that_is_frozen_for_a_second() {
    let listener = listener();
    let manager = ConbusSocketManager::builder(listener.local_addr().unwrap().to_string())
        .read_timeout(SOON)
        .single_client()
        .build();
    let bridge = frozen_bridge(listener);
    let pool = PoolBuilder::from(ConbusSocketManager::pool_config())
        .min_idle(0)
        .build_lazy(manager)
        .unwrap();
    let mut connection = pool.get().unwrap();
    connection.write_all(b"?").unwrap();
    connection.read_exact(&mut [0]).unwrap();
    PooledConnection::discard(connection);
    // The slot is free when the bridge has answered the end of the first connection.
    drop(pool.get().unwrap());
    let (early, _next) = bridge.join().unwrap();
    assert_eq!(early, 0, "a second client came too early");
    assert_eq!(pool.stats().abandoned, 0);
}

#[test]
fn the_preset_for_a_single_client_ends_before_the_pool_gives_up_on_a_dispose() {
    let listener = listener();
    let builder = ConbusSocketManager::builder(listener.local_addr().unwrap().to_string());
    let shown = format!("{:?}", builder.clone().single_client());
    assert!(shown.contains("close_wait: 4s"), "{shown}");
    let dispose_timeout = ConbusSocketManager::pool_config().dispose_timeout;
    assert!(Duration::from_secs(4) < dispose_timeout);
    // The last call decides.
    let manager = builder.single_client().close_wait(Duration::ZERO).build();
    let near = manager.create().unwrap();
    let start = now();
    manager.dispose(near);
    assert!(start.elapsed() < Duration::from_millis(100) + noise());
}

#[test]
fn the_preset_is_one_connection_for_six_hours() {
    let config = ConbusSocketManager::pool_config();
    let six_hours = Some(Duration::from_secs(6 * 60 * 60));
    assert_eq!((config.min_idle, config.max_size), (1, 1));
    assert_eq!(
        (config.idle_timeout, config.max_lifetime),
        (six_hours, six_hours)
    );
}

#[test]
fn errors_are_transient_exactly_when_the_peer_may_come_back() {
    let connect = |kind: ErrorKind| -> bool {
        // The error's variants cannot be built outside the crate; an attempt returns one.
        let closed = ClosedPort::new().unwrap();
        let manager = ConbusSocketManager::new(closed.addr().to_string());
        match manager.create().unwrap_err() {
            ConbusError::Connect {
                address,
                peer,
                after,
                ..
            } => ConbusError::Connect {
                address,
                peer,
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
        ErrorKind::TimedOut,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkUnreachable,
    ] {
        assert!(connect(kind), "{kind:?}");
    }
    for kind in [
        ErrorKind::PermissionDenied,
        ErrorKind::AddrNotAvailable,
        ErrorKind::InvalidInput,
    ] {
        assert!(!connect(kind), "{kind:?}");
    }
    let peer: Option<SocketAddr> = None;
    assert!(ConbusError::Closed { peer }.is_transient());
}

/// The read has no timeout, and the server never answers.
#[test]
fn a_thread_that_hangs_in_a_read_is_freed_by_an_interrupt() {
    let server = listener();
    let address = server.local_addr().unwrap().to_string();
    let pool = PoolBuilder::from(ConbusSocketManager::pool_config())
        .build(ConbusSocketManager::new(address))
        .unwrap();
    let (peer, _) = server.accept().unwrap();
    socket_checks::an_interrupt_ends_a_read(&pool, peer);
}

#[test]
fn a_close_with_interrupts_ends_although_a_thread_hangs_in_a_write() {
    let server = listener();
    let address = server.local_addr().unwrap().to_string();
    let pool = PoolBuilder::from(ConbusSocketManager::pool_config())
        .build(ConbusSocketManager::new(address))
        .unwrap();
    let _peer = server.accept().unwrap();
    let writer = spawn({
        let pool = pool.clone();
        // More than the buffers of both sockets hold.
        move || pool.get().unwrap().write_all(&vec![0; 64 * 1024 * 1024])
    });
    eventually(|| pool.holders().len() == 1);
    pool.close_interrupting(Duration::from_millis(50), SOON)
        .unwrap();
    assert!(writer.join_soon().is_err());
}

#[test]
fn without_the_second_descriptor_there_is_no_interrupt() {
    let server = listener();
    let address = server.local_addr().unwrap().to_string();
    let manager = ConbusSocketManager::builder(address).interruptible(false);
    let pool = PoolBuilder::from(ConbusSocketManager::pool_config())
        .build(manager.build())
        .unwrap();
    let held = pool.get().unwrap();
    assert!(!pool.interrupt(PooledConnection::info(&held).id));
    drop(held);
    pool.close_timeout(SOON).unwrap();
}
