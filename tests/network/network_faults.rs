//! Links that fail while connections are open: the user's error, the pool's reaction, and the pool's full
//! size after the fault.

use crate::common;
use crate::network;
#[allow(dead_code, reason = "only the counting of sockets is used")]
use crate::support;

use common::{SOON, eventually, ms, spawn, take, timed};
use conpool::{ConnectionManager, EvictReason, Phase, PooledConnection, Unread};
use network::{
    DEFAULT_TEMPERATURE, DEVICE, Fixture, TICK, assert_at, bridge, copies, found_dead, pool, read,
    timeout, wait_for_end,
};
use std::{
    io::{ErrorKind, Write},
    time::Duration,
};
use support::{
    client::{self, ClientError},
    emulator::Ending,
    proxy::{
        Direction::{Downstream, Upstream},
        Toxic,
    },
    telegram,
};

const SWALLOW: Toxic = Toxic::Timeout { close_after: None };

#[test]
fn connections_that_end_while_idle_are_never_handed_out() {
    for (name, ending) in [("nf-idle-f", Ending::Fin), ("nf-idle-r", Ending::Rst)] {
        let fixture = Fixture::open(name, 3);
        let conns = fixture.take_and_read_all();
        let socket_copies = copies(&conns);
        drop(conns);
        fixture.proxy.cut(ending);
        socket_copies.iter().for_each(wait_for_end);
        drop(socket_copies);
        fixture.checkouts_find_no_dead_connection();
        let stats = fixture.pool.stats();
        assert_eq!(found_dead(&stats), 3, "{stats}");
        assert_eq!(stats.created, 6, "{stats}");
        fixture.finish();
    }
}

#[test]
fn connections_that_end_in_use_cost_their_users_one_error_whether_discarded_or_given_back() {
    let cases = [
        ("nf-use-fd", Ending::Fin, true),
        ("nf-use-fg", Ending::Fin, false),
        ("nf-use-rd", Ending::Rst, true),
        ("nf-use-rg", Ending::Rst, false),
    ];
    for (name, ending, discards) in cases {
        let fixture = Fixture::open(name, 3);
        let conns = fixture.take_and_read_all();
        let socket_copies = copies(&conns);
        fixture.proxy.cut(ending);
        socket_copies.iter().for_each(wait_for_end);
        drop(socket_copies);
        for mut conn in conns {
            let error = read(&mut conn, SOON).unwrap_err();
            match (&error, ending) {
                (ClientError::Io(_), _) | (ClientError::Closed, Ending::Fin) => {}
                _ => panic!("{ending:?}: {error}"),
            }
            if discards {
                PooledConnection::discard(conn);
            }
        }
        fixture.checkouts_find_no_dead_connection();
        let stats = fixture.pool.stats();
        let seen = (stats.evicted(EvictReason::Discarded), found_dead(&stats));
        assert_eq!(seen, if discards { (3, 0) } else { (0, 3) }, "{stats}");
        fixture.finish();
    }
}

#[test]
fn idle_connections_that_ended_are_replaced_before_anybody_asks_for_them() {
    let quick = pool("nf-alive", 3).min_idle(3).keepalive_interval(ms(20));
    let fixture = Fixture::with(bridge(), quick, |manager| manager);
    eventually(|| fixture.pool.stats().idle == 3);
    let before = fixture.pool.stats();
    fixture.proxy.cut(Ending::Rst);
    eventually(|| fixture.pool.stats().evicted(EvictReason::CheckFailed) == 3);
    eventually(|| fixture.pool.stats().idle == 3);
    let replaced = fixture.pool.stats();
    assert_eq!(replaced.created, before.created + 3, "{replaced}");
    fixture.checkouts_find_no_dead_connection();
    assert_eq!(fixture.pool.stats().created, replaced.created);
    fixture.finish();
}

#[test]
fn a_reply_or_a_request_that_is_cut_anywhere_is_an_error_and_never_a_wrong_value() {
    let fixture = Fixture::open("nf-limit", 1);
    let request = telegram::request(DEVICE, 2, "18").len() as u64;
    let reply = telegram::reply(DEVICE, 2, "18+23,5§C").len() as u64;
    let cuts = (0..request)
        .map(|n| (Upstream, n))
        .chain((0..reply).map(|n| (Downstream, n)));
    for (direction, bytes) in cuts {
        let mut conn = fixture.pool.get_timeout(SOON).unwrap();
        // Sent before the limit counts.
        assert_eq!(read(&mut conn, SOON).unwrap(), DEFAULT_TEMPERATURE);
        fixture.proxy.add(direction, Toxic::LimitData { bytes });
        let error = read(&mut conn, SOON).unwrap_err();
        assert!(
            matches!(error, ClientError::Closed | ClientError::Io(_)) && error.is_broken(),
            "{bytes} bytes {direction:?}: {error}"
        );
        PooledConnection::discard(conn);
        fixture.proxy.heal();
    }
    let stats = fixture.pool.stats();
    assert_eq!(stats.evicted(EvictReason::Discarded), request + reply);
    assert_eq!(stats.created, request + reply, "{stats}");
    fixture.finish();
}

/// Four threads with two connections, each asking devices of known temperatures in its own order.
#[track_caller]
fn everybody_gets_what_they_asked_for(fixture: &Fixture, rounds: usize) {
    // Earlier reads of the test give the same value, so that every late reply is valid.
    const DEVICES: [(u64, i32); 4] = [
        (DEVICE, DEFAULT_TEMPERATURE),
        (1_420_330_004, -222),
        (1_520_331_005, 333),
        (1_620_332_006, 44),
    ];
    for (serial, tenths) in DEVICES {
        assert!(fixture.bridge.set_temperature(serial, tenths));
    }
    let before = fixture.pool.stats();
    let readers = [0, 1, 2, 3].map(|number| {
        let pool = fixture.pool.clone();
        spawn(move || {
            for round in 0..rounds {
                let (serial, tenths) = DEVICES[(number + round) % 4];
                let mut conn = pool.get_timeout(SOON).unwrap();
                let celsius = client::read_temperature(&mut conn, serial, SOON).unwrap();
                assert_eq!((celsius * 10.0).round() as i32, tenths);
            }
        })
    });
    for reader in readers {
        reader.join_soon();
    }
    // The connections were fine, so none was replaced.
    let stats = fixture.pool.stats();
    assert_eq!(stats.created, before.created, "{stats}");
    assert_eq!(stats.error_rate(), 0.0, "{stats}");
}

#[test]
fn replies_that_come_byte_by_byte_among_those_of_others_are_told_apart() {
    // Every client gets every reply, its own and those of the others.
    let talkative = bridge().broadcast(true);
    let fixture = Fixture::with(talkative, pool("nf-slices", 2), |manager| manager);
    fixture.proxy.add_both(Toxic::Slicer {
        size: 1,
        variation: 0,
        pause: Duration::ZERO,
    });
    everybody_gets_what_they_asked_for(&fixture, 15);
    fixture.finish();
}

#[test]
fn a_slow_and_uneven_line_costs_time_and_no_connection() {
    let fixture = Fixture::open("nf-latency", 2);
    fixture.proxy.add_both(Toxic::Latency {
        delay: ms(10),
        jitter: ms(8),
    });
    let ((), took) = timed(|| everybody_gets_what_they_asked_for(&fixture, 8));
    // Thirty-two reads, two at a time, at least 4 ms each.
    assert!(took >= ms(64), "{took:?}");
    fixture.finish();
}

#[test]
fn a_reply_that_trickles_too_slowly_is_a_timeout_and_the_connection_goes() {
    let fixture = Fixture::open("nf-trickle", 1);
    let trickle = Toxic::Bandwidth {
        bytes_per_second: 200,
    };
    fixture.proxy.add(Downstream, trickle);
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    let (answer, took) = timed(|| read(&mut conn, ms(60)));
    let error = answer.unwrap_err();
    assert!(
        matches!(error, ClientError::TimedOut(_)) && error.is_broken(),
        "{error}"
    );
    assert!(took >= ms(60) - TICK, "{took:?}");
    PooledConnection::discard(conn);
    // A longer timeout gets all of it.
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    let (answer, took) = timed(|| read(&mut conn, SOON));
    assert_eq!(answer.unwrap(), DEFAULT_TEMPERATURE);
    assert!(took >= ms(100), "{took:?}");
    drop(conn);
    fixture.finish();
}

#[test]
fn a_peer_that_does_not_keep_up_costs_its_writer_the_write_timeout() {
    let limit = ms(40);
    let fixture = Fixture::with(bridge(), pool("nf-write", 1), |manager| {
        manager.write_timeout(limit)
    });
    fixture.proxy.add(
        Upstream,
        Toxic::Bandwidth {
            bytes_per_second: 100,
        },
    );
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    let flood = vec![b' '; 1 << 16];
    let kind = loop {
        if let Err(error) = conn.write_all(&flood) {
            break error.kind();
        }
    };
    assert!(
        matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{kind}"
    );
    PooledConnection::discard(conn);
    // The flood is still under way on the old connection, and callers do not wait for it.
    fixture.proxy.heal();
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    assert_eq!(read(&mut conn, SOON).unwrap(), DEFAULT_TEMPERATURE);
    drop(conn);
    fixture.finish();
}

#[test]
fn users_stuck_on_silent_lines_cost_the_next_caller_its_deadline_and_no_more() {
    let fixture = Fixture::open("nf-stuck", 2);
    let conns = take(&fixture.pool, 2);
    fixture.proxy.add_both(SWALLOW);
    let users: Vec<_> = conns
        .into_iter()
        .map(|mut conn| {
            spawn(move || {
                let error = read(&mut conn, ms(200)).unwrap_err();
                PooledConnection::discard(conn);
                error
            })
        })
        .collect();
    let (got, took) = timed(|| fixture.pool.get_timeout(ms(50)));
    let error = got.unwrap_err();
    assert_at(took, ms(50));
    let details = timeout(&error);
    assert_eq!((details.phase, details.in_use), (Phase::Waiting, 2));
    assert!(details.last.is_none(), "{error}");
    for user in users {
        let error = user.join_soon();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
    }
    fixture.finish();
}

#[test]
fn a_peer_that_ends_slowly_holds_its_slot_for_the_close_wait_and_no_longer() {
    let wait = ms(100);
    let fixture = Fixture::with(bridge(), pool("nf-close", 1), |manager| {
        manager.close_wait(wait)
    });
    fixture.proxy.add(
        Downstream,
        Toxic::SlowClose {
            delay: Duration::MAX,
        },
    );
    let conn = fixture.pool.get_timeout(SOON).unwrap();
    let start = common::now();
    PooledConnection::discard(conn);
    let error = fixture.pool.get_timeout(ms(20)).unwrap_err();
    // A machine that slept meanwhile proves nothing here.
    if start.elapsed() < wait {
        let details = timeout(&error);
        assert_eq!((details.phase, details.disposing), (Phase::Disposing, 1));
    }
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    assert_at(start.elapsed(), wait);
    assert_eq!(read(&mut conn, SOON).unwrap(), DEFAULT_TEMPERATURE);
    drop(conn);
    fixture.finish();
}

#[test]
fn bytes_nobody_asked_for_are_drained_up_to_the_limit_and_beyond_it_cost_the_connection() {
    let cases = [
        ("nf-bytes1", Unread::Discard { max_bytes: 100 }, 100, false),
        ("nf-bytes2", Unread::Discard { max_bytes: 100 }, 101, true),
        ("nf-bytes3", Unread::Reject, 1, true),
    ];
    for (name, unread, bytes, replaced) in cases {
        let fixture = Fixture::with(bridge(), pool(name, 1), |manager| manager.unread(unread));
        let conn = fixture.pool.get_timeout(SOON).unwrap();
        let id = PooledConnection::info(&conn).id;
        let socket_copy = conn.try_clone().unwrap();
        drop(conn);
        fixture.bridge.push_raw(&vec![b'!'; bytes]);
        let mut seen = [0; 200];
        eventually(|| socket_copy.peek(&mut seen).unwrap() == bytes);
        drop(socket_copy);
        let mut conn = fixture.pool.get_timeout(SOON).unwrap();
        assert_eq!(PooledConnection::info(&conn).id != id, replaced, "{name}");
        assert_eq!(read(&mut conn, SOON).unwrap(), DEFAULT_TEMPERATURE);
        drop(conn);
        let evicted = found_dead(&fixture.pool.stats());
        assert_eq!(evicted, u64::from(replaced), "{name}");
        fixture.finish();
    }
}

#[test]
fn of_half_open_connections_one_costs_a_timeout_and_a_clear_spares_everybody_the_others() {
    let fixture = Fixture::open("nf-half", 4);
    fixture.proxy.add_both(SWALLOW);
    // The server forgets its clients without telling them.
    fixture.bridge.stop();
    let mut conn = fixture.pool.get_timeout(SOON).unwrap();
    let generation = PooledConnection::info(&conn).generation;
    let manager = fixture.pool.manager();
    assert!(
        manager.check_aliveness(&mut conn).is_ok(),
        "nobody can know"
    );
    let error = read(&mut conn, ms(40)).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
    PooledConnection::discard(conn);
    fixture.pool.clear();

    fixture.proxy.heal();
    fixture.bridge.restart().unwrap();
    let mut conns = take(&fixture.pool, 4);
    for conn in &mut conns {
        assert!(PooledConnection::info(conn).generation > generation);
        assert_eq!(read(conn, SOON).unwrap(), DEFAULT_TEMPERATURE);
    }
    drop(conns);
    let stats = fixture.pool.stats();
    assert_eq!(stats.evicted(EvictReason::Cleared), 3, "{stats}");
    assert_eq!(stats.evicted(EvictReason::Discarded), 1, "{stats}");
    fixture.finish();
}
