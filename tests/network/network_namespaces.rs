//! Faults beyond a proxy: firewalls, lost packets, a peer that forgot. Run between two network namespaces of
//! their own; where those are unavailable, the tests print why and stop.

#[allow(dead_code, reason = "only the counting of sockets is used")]
use crate::bridge;
use crate::common;
use crate::network;
use crate::support;
use crate::wire;

use common::{SOON, ms, noise, now, secs, take, timed};
use conpool::{
    ConbusError, ConbusSocketManager, ConbusSocketManagerBuilder, ConnectionManager, Pool,
    PooledConnection,
};
use network::{
    DEFAULT_TEMPERATURE, TICK, connect_error, copies, found_dead, pool, read, timeout_with_cause,
    wait_for_end,
};
use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};
use support::client::ClientError;
use wire::{Wire, at_the_near_end, set};

/// A pool of connections over this wire, all of them open.
fn over(
    wire: &Wire,
    name: &str,
    size: usize,
    tune: impl FnOnce(ConbusSocketManagerBuilder) -> ConbusSocketManagerBuilder,
) -> Pool<ConbusSocketManager> {
    let manager = ConbusSocketManager::builder(wire.bridge().to_string())
        .connect_timeout(ms(60))
        .close_wait(ms(60));
    let pool = pool(name, size).build_lazy(tune(manager).build()).unwrap();
    drop(take_and_read_all(&pool));
    pool
}

/// Takes every connection that the pool may have and reads on each.
#[track_caller]
fn take_and_read_all(pool: &Pool<ConbusSocketManager>) -> Vec<network::Guard> {
    let mut conns = take(pool, pool.config().max_size);
    for conn in &mut conns {
        assert_eq!(read(conn, SOON).unwrap(), DEFAULT_TEMPERATURE);
    }
    conns
}

/// Ends the fault and asserts that the pool has its full size; closes it and asserts that nothing is left.
#[track_caller]
fn finish(wire: &Wire, pool: &Pool<ConbusSocketManager>) {
    wire.restore();
    drop(take_and_read_all(pool));
    pool.close_timeout(SOON).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.created, stats.disposed, "{stats}");
    assert_eq!(bridge::sockets_to(wire.bridge()), 0, "{stats}");
}

#[test]
fn a_dropped_connect_costs_its_budget_and_the_caller_hears_of_it_at_the_deadline() {
    let test = "a_dropped_connect_costs_its_budget_and_the_caller_hears_of_it_at_the_deadline";
    at_the_near_end(test, |wire| {
        let pool = over(wire, "nn-drop", 2, |manager| manager);
        wire.packets("DROP");
        pool.clear();
        let error = timeout_with_cause(&pool, ms(200));
        assert_eq!(connect_error(&error), ErrorKind::TimedOut);
        assert!(pool.stats().create_errors > 0);
        finish(wire, &pool);
    });
}

#[test]
fn a_rejected_connect_is_told_long_before_its_budget_is_over_and_is_worth_repeating() {
    let test = "a_rejected_connect_is_told_long_before_its_budget_is_over_and_is_worth_repeating";
    at_the_near_end(test, |wire| {
        let pool = over(wire, "nn-reject", 1, |manager| {
            manager.connect_timeout(secs(20))
        });
        for (how, kind) in [
            ("tcp-reset", ErrorKind::ConnectionRefused),
            ("icmp-port-unreachable", ErrorKind::ConnectionRefused),
            ("icmp-host-unreachable", ErrorKind::HostUnreachable),
            ("icmp-net-unreachable", ErrorKind::NetworkUnreachable),
            ("icmp-admin-prohibited", ErrorKind::HostUnreachable),
        ] {
            wire.packets(&format!("REJECT --reject-with {how}"));
            pool.clear();
            // The system loses an answer that comes while it is busy with the socket, and retries a second
            // later. So the first caller may get no cause, but a later one does.
            let error = timeout_with_cause(&pool, ms(150));
            assert_eq!(connect_error(&error), kind, "{how}");
            wire.restore();
            drop(take_and_read_all(&pool));
        }
        finish(wire, &pool);
    });
}

#[test]
fn a_line_that_loses_everything_in_use_costs_the_read_timeout_and_then_connects_fail() {
    let test = "a_line_that_loses_everything_in_use_costs_the_read_timeout_and_then_connects_fail";
    at_the_near_end(test, |wire| {
        let patience = ms(50);
        let pool = over(wire, "nn-lost", 2, |manager| manager);
        let mut conns = take_and_read_all(&pool);
        wire.cut();
        for conn in &mut conns {
            let (answer, took) = timed(|| read(conn, patience));
            let error = answer.unwrap_err();
            assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
            assert!(took >= patience - TICK, "{took:?}");
        }
        conns.into_iter().for_each(PooledConnection::discard);
        let error = timeout_with_cause(&pool, ms(200));
        assert_eq!(connect_error(&error), ErrorKind::TimedOut);
        finish(wire, &pool);
    });
}

#[test]
fn a_user_without_a_read_timeout_is_freed_by_the_user_timeout() {
    let test = "a_user_without_a_read_timeout_is_freed_by_the_user_timeout";
    at_the_near_end(test, |wire| {
        let limit = ms(200);
        let pool = over(wire, "nn-user", 1, |manager| manager.user_timeout(limit));
        let mut conn = pool.get_timeout(SOON).unwrap();
        wire.cut();
        conn.set_read_timeout(None).unwrap();
        let (answer, took) = timed(|| {
            conn.write_all(b"is anybody there?").unwrap();
            conn.read(&mut [0])
        });
        // The system's own error, and not that of a read that was not allowed to wait.
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::TimedOut);
        // The system checks the limit at its retransmissions only, each twice as late as the one before.
        assert!(took >= limit - TICK, "{took:?}");
        assert!(took <= limit * 4 + noise(), "{took:?}");
        wire.restore();
        // Given back by a user who ignored the error: the pool finds it.
        drop(conn);
        drop(take_and_read_all(&pool));
        let stats = pool.stats();
        assert_eq!(found_dead(&stats), 1, "{stats}");
        finish(wire, &pool);
    });
}

#[test]
fn half_open_connections_look_good_until_used_or_until_keepalive_asks() {
    let test = "half_open_connections_look_good_until_used_or_until_keepalive_asks";
    at_the_near_end(test, |wire| {
        let silent = over(wire, "nn-silent", 1, |manager| manager);
        let asking = over(wire, "nn-asking", 2, |manager| manager.keepalive(secs(1)));
        let conns = take_and_read_all(&asking);
        let socket_copies = copies(&conns);
        drop(conns);
        // The bridge forgets its clients, and its resets are lost.
        wire.cut();
        // A pending acknowledgement of this end would be answered with a reset; it must be lost instead.
        std::thread::sleep(ms(100));
        wire.reset_clients();
        wire.restore();
        let mut conn = silent.get_timeout(SOON).unwrap();
        let known = silent.manager().check_aliveness(&mut conn);
        assert!(known.is_ok(), "nobody can know");
        // Without keepalive probes one user gets the error ...
        match read(&mut conn, SOON).unwrap_err() {
            ClientError::Io(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{other}"),
        }
        PooledConnection::discard(conn);
        // ... and with them no user does.
        socket_copies.iter().for_each(wait_for_end);
        drop(socket_copies);
        drop(take_and_read_all(&asking));
        let stats = asking.stats();
        assert_eq!(found_dead(&stats), 2, "{stats}");
        drop(take_and_read_all(&silent));
        silent.close_timeout(SOON).unwrap();
        finish(wire, &asking);
    });
}

/// Asserts that an idle connection whose peer vanishes is known to be dead within this time.
#[track_caller]
fn vanished_peer_is_found_within(wire: &Wire, pool: &Pool<ConbusSocketManager>, most: Duration) {
    let mut conn = pool.get_timeout(SOON).unwrap();
    wire.cut();
    let start = now();
    let error = loop {
        match pool.manager().check_aliveness(&mut conn) {
            Err(error) => break error,
            Ok(()) => assert!(
                start.elapsed() <= most + noise(),
                "not noticed for {:?}",
                start.elapsed()
            ),
        }
        std::thread::sleep(ms(5));
    };
    assert!(matches!(error, ConbusError::Reset { .. }), "{error}");
    // Given back, it is not handed out again.
    drop(conn);
    let error = timeout_with_cause(pool, ms(150));
    assert_eq!(connect_error(&error), ErrorKind::TimedOut);
    assert_eq!(found_dead(&pool.stats()), 1);
}

#[test]
fn a_peer_that_vanished_while_idle_is_noticed_by_keepalive_in_the_time_of_the_system() {
    let test = "a_peer_that_vanished_while_idle_is_noticed_by_keepalive_in_the_time_of_the_system";
    at_the_near_end(test, |wire| {
        // One probe, and a second to answer it.
        set("tcp_keepalive_probes", 1);
        set("tcp_keepalive_intvl", 1);
        let pool = over(wire, "nn-gone", 1, |manager| manager.keepalive(secs(1)));
        vanished_peer_is_found_within(wire, &pool, secs(3));
        finish(wire, &pool);
    });
}

#[test]
fn a_peer_that_vanished_while_idle_is_noticed_sooner_with_a_short_user_timeout() {
    let test = "a_peer_that_vanished_while_idle_is_noticed_sooner_with_a_short_user_timeout";
    at_the_near_end(test, |wire| {
        // The system's nine probes, 75 s apart, do not matter with a user_timeout.
        let pool = over(wire, "nn-sooner", 1, |manager| {
            manager.keepalive(secs(1)).user_timeout(secs(1))
        });
        vanished_peer_is_found_within(wire, &pool, secs(4));
        finish(wire, &pool);
    });
}

#[test]
fn a_cable_that_is_pulled_and_plugged_in_again_costs_time_and_no_connection() {
    let test = "a_cable_that_is_pulled_and_plugged_in_again_costs_time_and_no_connection";
    at_the_near_end(test, |wire| {
        let pool = over(wire, "nn-cable", 2, |manager| manager);
        wire.near("ip link set near down");
        // The cut cannot be seen on an open connection, and the connection is not lost.
        let mut conn = pool.get_timeout(SOON).unwrap();
        let error = read(&mut conn, ms(30)).unwrap_err();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
        PooledConnection::discard(conn);
        let other = pool.get_timeout(SOON).unwrap();
        let id = PooledConnection::info(&other).id;
        // A new connect fails and reports its cause.
        let error = timeout_with_cause(&pool, ms(150));
        assert_eq!(connect_error(&error), ErrorKind::NetworkUnreachable);
        drop(other);
        wire.near("ip link set near up");
        let mut other = pool.get_timeout(SOON).unwrap();
        assert_eq!(PooledConnection::info(&other).id, id);
        assert_eq!(read(&mut other, SOON).unwrap(), DEFAULT_TEMPERATURE);
        drop(other);
        finish(wire, &pool);
    });
}
