//! Lines that fail while connections are open: what the user of one sees, what the pool does with it,
//! and that the pool is whole again when the fault is over.

use crate::common;
use crate::network;
#[allow(dead_code, reason = "only the counting of sockets is used")]
use crate::support;

use common::{SOON, eventually, ms, spawn, take, timed};
use conpool::{ConnectionManager, EvictReason, Phase, PooledConnection, Unread};
use network::{
    DEVICE, MILD, Site, TICK, assert_at, bridge, copies, found_dead, pool, read, sees_the_end,
    timeout,
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
        let site = Site::open(name, 3);
        let lines = site.everybody();
        let witnesses = copies(&lines);
        drop(lines);
        site.proxy.cut(ending);
        witnesses.iter().for_each(sees_the_end);
        drop(witnesses);
        site.nobody_meets_a_dead_one();
        let stats = site.pool.stats();
        assert_eq!(found_dead(&stats), 3, "{stats}");
        assert_eq!(stats.created, 6, "{stats}");
        site.leave();
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
        let site = Site::open(name, 3);
        let lines = site.everybody();
        let witnesses = copies(&lines);
        site.proxy.cut(ending);
        witnesses.iter().for_each(sees_the_end);
        drop(witnesses);
        for mut line in lines {
            let error = read(&mut line, SOON).unwrap_err();
            match (&error, ending) {
                (ClientError::Io(_), _) | (ClientError::Closed, Ending::Fin) => {}
                _ => panic!("{ending:?}: {error}"),
            }
            if discards {
                PooledConnection::discard(line);
            }
        }
        site.nobody_meets_a_dead_one();
        let stats = site.pool.stats();
        let seen = (stats.evicted(EvictReason::Discarded), found_dead(&stats));
        assert_eq!(seen, if discards { (3, 0) } else { (0, 3) }, "{stats}");
        site.leave();
    }
}

#[test]
fn idle_connections_that_ended_are_replaced_before_anybody_asks_for_them() {
    let quick = pool("nf-alive", 3).min_idle(3).keepalive_interval(ms(20));
    let site = Site::with(bridge(), quick, |manager| manager);
    eventually(|| site.pool.stats().idle == 3);
    let before = site.pool.stats();
    site.proxy.cut(Ending::Rst);
    eventually(|| site.pool.stats().evicted(EvictReason::CheckFailed) == 3);
    eventually(|| site.pool.stats().idle == 3);
    let replaced = site.pool.stats();
    assert_eq!(replaced.created, before.created + 3, "{replaced}");
    site.nobody_meets_a_dead_one();
    assert_eq!(site.pool.stats().created, replaced.created);
    site.leave();
}

#[test]
fn a_reply_or_a_request_that_is_cut_anywhere_is_an_error_and_never_a_wrong_value() {
    let site = Site::open("nf-limit", 1);
    let request = telegram::request(DEVICE, 2, "18").len() as u64;
    let reply = telegram::reply(DEVICE, 2, "18+23,5§C").len() as u64;
    let cuts = (0..request)
        .map(|n| (Upstream, n))
        .chain((0..reply).map(|n| (Downstream, n)));
    for (direction, bytes) in cuts {
        let mut line = site.pool.get_timeout(SOON).unwrap();
        // Through before the limit counts.
        assert_eq!(read(&mut line, SOON).unwrap(), MILD);
        site.proxy.add(direction, Toxic::LimitData { bytes });
        let error = read(&mut line, SOON).unwrap_err();
        assert!(
            matches!(error, ClientError::Closed | ClientError::Io(_)) && error.is_broken(),
            "{bytes} bytes {direction:?}: {error}"
        );
        PooledConnection::discard(line);
        site.proxy.heal();
    }
    let stats = site.pool.stats();
    assert_eq!(stats.evicted(EvictReason::Discarded), request + reply);
    assert_eq!(stats.created, request + reply, "{stats}");
    site.leave();
}

/// Four threads with two connections, each asking devices of known temperatures in its own order.
#[track_caller]
fn everybody_gets_what_they_asked_for(site: &Site, rounds: usize) {
    // What a test reads before is the same, so that no reply is too old.
    const DEVICES: [(u64, i32); 4] = [
        (DEVICE, MILD),
        (1_420_330_004, -222),
        (1_520_331_005, 333),
        (1_620_332_006, 44),
    ];
    for (serial, tenths) in DEVICES {
        assert!(site.bridge.set_temperature(serial, tenths));
    }
    let before = site.pool.stats();
    let readers = [0, 1, 2, 3].map(|number| {
        let pool = site.pool.clone();
        spawn(move || {
            for round in 0..rounds {
                let (serial, tenths) = DEVICES[(number + round) % 4];
                let mut line = pool.get_timeout(SOON).unwrap();
                let celsius = client::read_temperature(&mut line, serial, SOON).unwrap();
                assert_eq!((celsius * 10.0).round() as i32, tenths);
            }
        })
    });
    for reader in readers {
        reader.join_soon();
    }
    // Nothing was wrong with the connections, so none was replaced.
    let stats = site.pool.stats();
    assert_eq!(stats.created, before.created, "{stats}");
    assert_eq!(stats.error_rate(), 0.0, "{stats}");
}

#[test]
fn replies_that_come_byte_by_byte_among_those_of_others_are_told_apart() {
    // Every client gets every reply, its own and those of the others.
    let talkative = bridge().broadcast(true);
    let site = Site::with(talkative, pool("nf-slices", 2), |manager| manager);
    site.proxy.add_both(Toxic::Slicer {
        size: 1,
        variation: 0,
        pause: Duration::ZERO,
    });
    everybody_gets_what_they_asked_for(&site, 15);
    site.leave();
}

#[test]
fn a_slow_and_uneven_line_costs_time_and_no_connection() {
    let site = Site::open("nf-latency", 2);
    site.proxy.add_both(Toxic::Latency {
        delay: ms(10),
        jitter: ms(8),
    });
    let ((), took) = timed(|| everybody_gets_what_they_asked_for(&site, 8));
    // Thirty-two reads, two at a time, at least 4 ms each.
    assert!(took >= ms(64), "{took:?}");
    site.leave();
}

#[test]
fn a_reply_that_trickles_too_slowly_is_a_timeout_and_the_connection_goes() {
    let site = Site::open("nf-trickle", 1);
    let trickle = Toxic::Bandwidth {
        bytes_per_second: 200,
    };
    site.proxy.add(Downstream, trickle);
    let mut line = site.pool.get_timeout(SOON).unwrap();
    let (answer, took) = timed(|| read(&mut line, ms(60)));
    let error = answer.unwrap_err();
    assert!(
        matches!(error, ClientError::TimedOut(_)) && error.is_broken(),
        "{error}"
    );
    assert!(took >= ms(60) - TICK, "{took:?}");
    PooledConnection::discard(line);
    // Who has the patience gets it all.
    let mut line = site.pool.get_timeout(SOON).unwrap();
    let (answer, took) = timed(|| read(&mut line, SOON));
    assert_eq!(answer.unwrap(), MILD);
    assert!(took >= ms(100), "{took:?}");
    drop(line);
    site.leave();
}

#[test]
fn a_peer_that_does_not_keep_up_costs_its_writer_the_write_timeout() {
    let limit = ms(40);
    let site = Site::with(bridge(), pool("nf-write", 1), |manager| {
        manager.write_timeout(limit)
    });
    site.proxy.add(
        Upstream,
        Toxic::Bandwidth {
            bytes_per_second: 100,
        },
    );
    let mut line = site.pool.get_timeout(SOON).unwrap();
    let flood = vec![b' '; 1 << 16];
    let kind = loop {
        if let Err(error) = line.write_all(&flood) {
            break error.kind();
        }
    };
    assert!(
        matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{kind}"
    );
    PooledConnection::discard(line);
    // The flood is still under way on the old connection, and nobody waits for it.
    site.proxy.heal();
    let mut line = site.pool.get_timeout(SOON).unwrap();
    assert_eq!(read(&mut line, SOON).unwrap(), MILD);
    drop(line);
    site.leave();
}

#[test]
fn users_stuck_on_silent_lines_cost_the_next_caller_its_deadline_and_no_more() {
    let site = Site::open("nf-stuck", 2);
    let lines = take(&site.pool, 2);
    site.proxy.add_both(SWALLOW);
    let users: Vec<_> = lines
        .into_iter()
        .map(|mut line| {
            spawn(move || {
                let error = read(&mut line, ms(200)).unwrap_err();
                PooledConnection::discard(line);
                error
            })
        })
        .collect();
    let (got, took) = timed(|| site.pool.get_timeout(ms(50)));
    let error = got.unwrap_err();
    assert_at(took, ms(50));
    let details = timeout(&error);
    assert_eq!((details.phase, details.in_use), (Phase::Waiting, 2));
    assert!(details.last.is_none(), "{error}");
    for user in users {
        let error = user.join_soon();
        assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
    }
    site.leave();
}

#[test]
fn a_peer_that_ends_slowly_holds_its_slot_for_the_close_wait_and_no_longer() {
    let wait = ms(100);
    let site = Site::with(bridge(), pool("nf-close", 1), |manager| {
        manager.close_wait(wait)
    });
    site.proxy.add(
        Downstream,
        Toxic::SlowClose {
            delay: Duration::MAX,
        },
    );
    let line = site.pool.get_timeout(SOON).unwrap();
    let start = common::now();
    PooledConnection::discard(line);
    let error = site.pool.get_timeout(ms(20)).unwrap_err();
    // A machine that slept meanwhile has nothing to show here.
    if start.elapsed() < wait {
        let details = timeout(&error);
        assert_eq!((details.phase, details.disposing), (Phase::Disposing, 1));
    }
    let mut line = site.pool.get_timeout(SOON).unwrap();
    assert_at(start.elapsed(), wait);
    assert_eq!(read(&mut line, SOON).unwrap(), MILD);
    drop(line);
    site.leave();
}

#[test]
fn bytes_nobody_asked_for_are_drained_up_to_the_limit_and_beyond_it_cost_the_connection() {
    let cases = [
        ("nf-bytes1", Unread::Discard { max_bytes: 100 }, 100, false),
        ("nf-bytes2", Unread::Discard { max_bytes: 100 }, 101, true),
        ("nf-bytes3", Unread::Reject, 1, true),
    ];
    for (name, unread, bytes, replaced) in cases {
        let site = Site::with(bridge(), pool(name, 1), |manager| manager.unread(unread));
        let line = site.pool.get_timeout(SOON).unwrap();
        let id = PooledConnection::info(&line).id;
        let witness = line.try_clone().unwrap();
        drop(line);
        site.bridge.push_raw(&vec![b'!'; bytes]);
        let mut seen = [0; 200];
        eventually(|| witness.peek(&mut seen).unwrap() == bytes);
        drop(witness);
        let mut line = site.pool.get_timeout(SOON).unwrap();
        assert_eq!(PooledConnection::info(&line).id != id, replaced, "{name}");
        assert_eq!(read(&mut line, SOON).unwrap(), MILD);
        drop(line);
        let evicted = found_dead(&site.pool.stats());
        assert_eq!(evicted, u64::from(replaced), "{name}");
        site.leave();
    }
}

#[test]
fn of_half_open_connections_one_costs_a_timeout_and_a_clear_spares_everybody_the_others() {
    let site = Site::open("nf-half", 4);
    site.proxy.add_both(SWALLOW);
    // The server forgets its clients, and the line does not tell them.
    site.bridge.stop();
    let mut line = site.pool.get_timeout(SOON).unwrap();
    let generation = PooledConnection::info(&line).generation;
    let manager = site.pool.manager();
    assert!(
        manager.check_aliveness(&mut line).is_ok(),
        "nobody can know"
    );
    let error = read(&mut line, ms(40)).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut(_)), "{error}");
    PooledConnection::discard(line);
    site.pool.clear();

    site.proxy.heal();
    site.bridge.restart().unwrap();
    let mut lines = take(&site.pool, 4);
    for line in &mut lines {
        assert!(PooledConnection::info(line).generation > generation);
        assert_eq!(read(line, SOON).unwrap(), MILD);
    }
    drop(lines);
    let stats = site.pool.stats();
    assert_eq!(stats.evicted(EvictReason::Cleared), 3, "{stats}");
    assert_eq!(stats.evicted(EvictReason::Discarded), 1, "{stats}");
    site.leave();
}
