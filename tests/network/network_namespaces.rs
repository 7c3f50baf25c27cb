//! Faults that no proxy can make: firewalls, lost packets, a peer that forgot. Between two network
//! namespaces of their own; where those cannot be had, the tests say why and stop.

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
use network::{MILD, TICK, connect_error, copies, found_dead, pool, read, sees_the_end, told};
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
    drop(all_good(&pool));
    pool
}

/// Every connection that the pool may have, each proven by a read.
#[track_caller]
fn all_good(pool: &Pool<ConbusSocketManager>) -> Vec<network::Guard> {
    let mut lines = take(pool, pool.config().max_size);
    for line in &mut lines {
        assert_eq!(read(line, SOON).unwrap(), MILD);
    }
    lines
}

/// The fault is over: the pool is as big as ever, and when it is closed nothing is left of it.
#[track_caller]
fn leave(wire: &Wire, pool: &Pool<ConbusSocketManager>) {
    wire.mend();
    drop(all_good(pool));
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
        let error = told(&pool, ms(200));
        assert_eq!(connect_error(&error), ErrorKind::TimedOut);
        assert!(pool.stats().create_errors > 0);
        leave(wire, &pool);
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
            // The system loses an answer that comes while it is busy with the socket, and asks again
            // a second later. So the first caller may hear nothing, but not every caller.
            let error = told(&pool, ms(150));
            assert_eq!(connect_error(&error), kind, "{how}");
            wire.mend();
            drop(all_good(&pool));
        }
        leave(wire, &pool);
    });
}

#[test]
fn a_line_that_loses_everything_in_use_costs_the_read_timeout_and_then_connects_fail() {
    let test = "a_line_that_loses_everything_in_use_costs_the_read_timeout_and_then_connects_fail";
    at_the_near_end(test, |wire| {
        let patience = ms(50);
        let pool = over(wire, "nn-lost", 2, |manager| manager);
        let mut lines = all_good(&pool);
        wire.cut();
        for line in &mut lines {
            let (answer, took) = timed(|| read(line, patience));
            let error = answer.unwrap_err();
            assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
            assert!(took >= patience - TICK, "{took:?}");
        }
        lines.into_iter().for_each(PooledConnection::discard);
        let error = told(&pool, ms(200));
        assert_eq!(connect_error(&error), ErrorKind::TimedOut);
        leave(wire, &pool);
    });
}

#[test]
fn a_user_without_a_read_timeout_is_freed_by_the_user_timeout() {
    let test = "a_user_without_a_read_timeout_is_freed_by_the_user_timeout";
    at_the_near_end(test, |wire| {
        let limit = ms(200);
        let pool = over(wire, "nn-user", 1, |manager| manager.user_timeout(limit));
        let mut line = pool.get_timeout(SOON).unwrap();
        wire.cut();
        line.set_read_timeout(None).unwrap();
        let (answer, took) = timed(|| {
            line.write_all(b"is anybody there?").unwrap();
            line.read(&mut [0])
        });
        // The system's own word, and not that of a read that was not allowed to wait.
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::TimedOut);
        // It looks at its retransmissions only, each twice as late as the one before.
        assert!(took >= limit - TICK, "{took:?}");
        assert!(took <= limit * 4 + noise(), "{took:?}");
        wire.mend();
        // Given back by a user who did not care: the pool does.
        drop(line);
        drop(all_good(&pool));
        let stats = pool.stats();
        assert_eq!(found_dead(&stats), 1, "{stats}");
        leave(wire, &pool);
    });
}

#[test]
fn half_open_connections_look_good_until_used_or_until_keepalive_asks() {
    let test = "half_open_connections_look_good_until_used_or_until_keepalive_asks";
    at_the_near_end(test, |wire| {
        let silent = over(wire, "nn-silent", 1, |manager| manager);
        let asking = over(wire, "nn-asking", 2, |manager| manager.keepalive(secs(1)));
        let lines = all_good(&asking);
        let witnesses = copies(&lines);
        drop(lines);
        // The bridge forgets its clients, and what it tells them is lost.
        wire.cut();
        // An acknowledgement that this end still owes would be answered with a reset; lost, it is not.
        std::thread::sleep(ms(100));
        wire.reset_clients();
        wire.mend();
        let mut line = silent.get_timeout(SOON).unwrap();
        let known = silent.manager().check_aliveness(&mut line);
        assert!(known.is_ok(), "nobody can know");
        // One pays for it ...
        match read(&mut line, SOON).unwrap_err() {
            ClientError::Io(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{other}"),
        }
        PooledConnection::discard(line);
        // ... and nobody does where the system has asked by itself.
        witnesses.iter().for_each(sees_the_end);
        drop(witnesses);
        drop(all_good(&asking));
        let stats = asking.stats();
        assert_eq!(found_dead(&stats), 2, "{stats}");
        drop(all_good(&silent));
        silent.close_timeout(SOON).unwrap();
        leave(wire, &asking);
    });
}

/// An idle connection whose peer vanishes is known to be dead within this.
#[track_caller]
fn vanishes_unseen_for(wire: &Wire, pool: &Pool<ConbusSocketManager>, most: Duration) {
    let mut line = pool.get_timeout(SOON).unwrap();
    wire.cut();
    let start = now();
    let error = loop {
        match pool.manager().check_aliveness(&mut line) {
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
    // Given back all the same, it serves nobody.
    drop(line);
    let error = told(pool, ms(150));
    assert_eq!(connect_error(&error), ErrorKind::TimedOut);
    assert_eq!(found_dead(&pool.stats()), 1);
}

#[test]
fn a_peer_that_vanished_while_idle_is_noticed_by_keepalive_in_the_time_of_the_system() {
    let test = "a_peer_that_vanished_while_idle_is_noticed_by_keepalive_in_the_time_of_the_system";
    at_the_near_end(test, |wire| {
        // One question, and a second to answer it.
        set("tcp_keepalive_probes", 1);
        set("tcp_keepalive_intvl", 1);
        let pool = over(wire, "nn-gone", 1, |manager| manager.keepalive(secs(1)));
        vanishes_unseen_for(wire, &pool, secs(3));
        leave(wire, &pool);
    });
}

#[test]
fn a_peer_that_vanished_while_idle_is_noticed_sooner_with_a_short_user_timeout() {
    let test = "a_peer_that_vanished_while_idle_is_noticed_sooner_with_a_short_user_timeout";
    at_the_near_end(test, |wire| {
        // The system's nine questions, 75 s apart, are not for somebody with a user_timeout.
        let pool = over(wire, "nn-sooner", 1, |manager| {
            manager.keepalive(secs(1)).user_timeout(secs(1))
        });
        vanishes_unseen_for(wire, &pool, secs(4));
        leave(wire, &pool);
    });
}

#[test]
fn a_cable_that_is_pulled_and_plugged_in_again_costs_time_and_no_connection() {
    let test = "a_cable_that_is_pulled_and_plugged_in_again_costs_time_and_no_connection";
    at_the_near_end(test, |wire| {
        let pool = over(wire, "nn-cable", 2, |manager| manager);
        wire.near("ip link set near down");
        // Nobody can say of an open connection that it is lost, and it is not.
        let mut line = pool.get_timeout(SOON).unwrap();
        let error = read(&mut line, ms(30)).unwrap_err();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
        PooledConnection::discard(line);
        let other = pool.get_timeout(SOON).unwrap();
        let id = PooledConnection::info(&other).id;
        // A new one has nowhere to go, and says so.
        let error = told(&pool, ms(150));
        assert_eq!(connect_error(&error), ErrorKind::NetworkUnreachable);
        drop(other);
        wire.near("ip link set near up");
        let mut other = pool.get_timeout(SOON).unwrap();
        assert_eq!(PooledConnection::info(&other).id, id);
        assert_eq!(read(&mut other, SOON).unwrap(), MILD);
        drop(other);
        leave(wire, &pool);
    });
}
