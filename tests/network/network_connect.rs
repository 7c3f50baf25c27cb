//! Servers that are unreachable or useless: the callers' errors, their deadlines, and no leak afterwards.

#[allow(dead_code, reason = "only the counting of sockets is used")]
use crate::bridge;
use crate::common;
use crate::network;
use crate::support;

use common::{SOON, eventually, ms, noise, now, spawn, timed};
use conpool::{Backoff, Cause, ConbusError, EvictReason, Phase, PooledConnection};
use network::{
    DEFAULT_TEMPERATURE, Fixture, TICK, assert_at, bridge, connect_error, copies, found_dead, pool,
    read, timeout, timeout_with_cause, wait_for_end,
};
use std::{
    io::{ErrorKind, Read},
    time::Duration,
};
use support::{
    client::ClientError,
    emulator::Ending,
    proxy::{Direction::Downstream, Toxic},
};

/// A backoff with pauses of constant length.
fn every(pause: Duration) -> Backoff {
    let mut backoff = common::quick_backoff();
    backoff.initial = pause;
    backoff.max = pause;
    backoff
}

#[test]
fn while_connects_are_refused_each_caller_learns_it_at_its_own_deadline_and_the_server_has_peace() {
    let pause = ms(20);
    let fixture = Fixture::with(
        bridge(),
        pool("nc-refused", 4).backoff(every(pause)),
        |manager| manager,
    );
    let conns = fixture.take_and_read_all();
    let socket_copies = copies(&conns);
    drop(conns);
    let before = fixture.pool.stats();
    fixture.proxy.down().unwrap();
    socket_copies.iter().for_each(wait_for_end);
    drop(socket_copies);
    let start = now();
    let callers: Vec<_> = [60, 120, 180, 180]
        .map(|deadline| {
            let pool = fixture.pool.clone();
            spawn(move || {
                let (got, took) = timed(|| pool.get_timeout(ms(deadline)));
                (deadline, got.map(drop), took)
            })
        })
        .into();
    for caller in callers {
        let (deadline, got, took) = caller.join_soon();
        let error = got.unwrap_err();
        assert_at(took, ms(deadline));
        if error.last_create_error().is_some() {
            assert_eq!(connect_error(&error), ErrorKind::ConnectionRefused);
        }
    }
    let error = timeout_with_cause(&fixture.pool, ms(60));
    assert_eq!(connect_error(&error), ErrorKind::ConnectionRefused);
    let stats = fixture.pool.stats();
    assert!(stats.timeouts - before.timeouts > 4, "{stats}");
    // At first each caller may start one create; from then on the pause applies to all.
    let most = 4 + start.elapsed().as_millis() / pause.as_millis();
    assert!(u128::from(stats.create_errors) <= most, "{stats}");
    assert_eq!(found_dead(&stats), 4, "{stats}");
    fixture.finish();
}

#[test]
fn a_connect_that_is_not_answered_costs_its_budget_and_its_caller_hears_of_it_at_the_deadline() {
    let budget = ms(50);
    let fixture = Fixture::with(bridge(), pool("nc-hole", 2), |manager| {
        manager.connect_timeout(budget)
    });
    fixture.proxy.black_hole().unwrap();
    let error = timeout_with_cause(&fixture.pool, ms(200));
    assert_eq!(connect_error(&error), ErrorKind::TimedOut);
    match error.last_create_error() {
        Some(ConbusError::Connect { after, peer, .. }) => {
            assert_eq!(*peer, fixture.proxy.addr());
            assert!(
                *after >= budget - ms(5) && *after <= budget + noise(),
                "{after:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    fixture.finish();
}

#[test]
fn a_connect_that_outlives_its_caller_goes_on_and_serves_the_next() {
    let fixture = Fixture::open("nc-late", 1);
    fixture.proxy.black_hole().unwrap();
    fixture.pool.clear();
    eventually(|| fixture.pool.stats().disposed == 1);
    let before = fixture.pool.stats();
    let (got, took) = timed(|| fixture.pool.get_timeout(ms(50)));
    let error = got.unwrap_err();
    assert_at(took, ms(50));
    let details = timeout(&error);
    assert_eq!(details.phase, Phase::Creating, "{error}");
    assert_eq!(details.creating, 1, "{error}");
    fixture.proxy.up().unwrap();
    // The system retransmits its SYN after a second.
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    assert_eq!(read(&mut conn, SOON).unwrap(), DEFAULT_TEMPERATURE);
    drop(conn);
    let stats = fixture.pool.stats();
    assert_eq!(stats.created, before.created + 1, "{stats}");
    assert_eq!(stats.create_errors, before.create_errors, "{stats}");
    fixture.finish();
}

#[test]
fn connects_past_the_create_timeout_are_given_up_and_closed_when_they_come_through() {
    let limit = ms(60);
    let fixture = Fixture::with(
        bridge(),
        pool("nc-given", 2).create_timeout(limit),
        |manager| manager,
    );
    fixture.proxy.black_hole().unwrap();
    let error = timeout_with_cause(&fixture.pool, ms(200));
    match timeout(&error).last {
        Some(Cause::TimedOut { hook, after, .. }) => {
            assert_eq!((hook, after), ("create", limit));
        }
        ref other => panic!("{other:?}"),
    }
    let stats = fixture.pool.stats();
    assert!((1..=4).contains(&stats.abandoned), "{stats}");
    fixture.proxy.up().unwrap();
    eventually(|| fixture.pool.stats().abandoned == 0);
    assert!(fixture.pool.stats().evicted(EvictReason::Late) > 0);
    fixture.finish();
}

#[test]
#[cfg(target_os = "linux")]
fn closing_waits_no_longer_than_told_for_a_connect_that_is_not_answered() {
    let Fixture {
        bridge,
        proxy,
        pool,
    } = Fixture::open("nc-close", 1);
    proxy.black_hole().unwrap();
    pool.clear();
    eventually(|| pool.stats().disposed == 1);
    let fillers = bridge::sockets_to(proxy.addr());
    let caller = {
        let pool = pool.clone();
        spawn(move || pool.get_timeout(SOON).map(drop))
    };
    // The connect is under way.
    eventually(|| bridge::sockets_to(proxy.addr()) > fillers);
    let (closed, took) = timed(|| pool.close_timeout(ms(60)));
    let left = closed.unwrap_err();
    assert_at(took, ms(60));
    assert_eq!((left.in_use, left.hooks_running), (0, 1), "{left}");
    assert!(caller.join_soon().unwrap_err().is_closed());
    proxy.up().unwrap();
    // The connect completes, finds the pool closed and is closed itself.
    pool.close_timeout(SOON).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.created, stats.disposed, "{stats}");
    assert!(proxy.wait_for(|seen| seen.open == 0, SOON));
    drop(bridge);
}

/// Asserts that all callers of a server that accepts no connection time out by their deadline and get the
/// cause.
#[track_caller]
fn all_callers_time_out(fixture: &Fixture) {
    let deadline = ms(40);
    for _ in 0..5 {
        let (got, took) = timed(|| fixture.pool.get_timeout(deadline));
        assert_at(took.max(deadline), deadline);
        match got {
            // The end has not come yet, and the user sees it.
            Ok(mut conn) => {
                let error = read(&mut conn, SOON).unwrap_err();
                assert!(
                    matches!(error, ClientError::Io(_) | ClientError::Closed),
                    "{error}"
                );
                PooledConnection::discard(conn);
            }
            // The end had come when the new connection was checked.
            Err(error) => match error.last_create_error() {
                Some(ConbusError::Closed { .. } | ConbusError::Reset { .. }) => {}
                // A reset can be so fast that the connect itself fails.
                Some(ConbusError::Connect { source, .. })
                    if source.kind() == ErrorKind::ConnectionReset => {}
                // The first connect was not over yet.
                None if error.is_timeout() && took >= deadline => {}
                other => panic!("{error}: {other:?}"),
            },
        }
    }
}

#[test]
fn a_server_that_takes_clients_and_resets_them_serves_nobody_and_blocks_nobody() {
    for (name, after) in [("nc-rst0", 0), ("nc-rst5", 5)] {
        let fixture = Fixture::open(name, 2);
        let after = ms(after);
        fixture.proxy.add(Downstream, Toxic::ResetPeer { after });
        fixture
            .proxy
            .add(Downstream, Toxic::Timeout { close_after: None });
        all_callers_time_out(&fixture);
        fixture.finish();
    }
}

#[test]
fn a_server_that_takes_clients_and_closes_them_serves_nobody_and_blocks_nobody() {
    let fixture = Fixture::open("nc-shut", 2);
    // The proxy still accepts, but cannot reach the server.
    fixture.bridge.stop();
    all_callers_time_out(&fixture);
    assert!(fixture.proxy.counters().unreached > 0);
    fixture.bridge.restart().unwrap();
    fixture.finish();
}

#[test]
fn a_server_that_takes_clients_and_says_nothing_costs_each_user_the_read_timeout() {
    let patience = ms(40);
    let fixture = Fixture::with(bridge(), pool("nc-silent", 2), |manager| {
        manager.read_timeout(patience)
    });
    fixture.proxy.cut(Ending::Fin);
    fixture.proxy.add_both(Toxic::Timeout { close_after: None });
    let before = fixture.pool.stats();
    for _ in 0..3 {
        let mut conn = fixture.pool.get_timeout(SOON).unwrap();
        let (answer, took) = timed(|| conn.read(&mut [0]));
        assert!(took >= patience - TICK, "{took:?}");
        let kind = answer.unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{kind}"
        );
        PooledConnection::discard(conn);
    }
    let stats = fixture.pool.stats();
    assert_eq!(stats.created - before.created, 3, "{stats}");
    assert_eq!(stats.evicted(EvictReason::Discarded), 3, "{stats}");
    assert_eq!(stats.create_errors, 0, "{stats}");
    fixture.finish();
}
