//! Idle WebSockets.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::websocket;

use common::{SOON, assert_at, eventually, ms, now, secs, spawn, stays};
use conpool::{
    ConnectionManager, EvictReason, HealthCheck, PoolBuilder, PoolConfig, Pushed,
    WebSocketConnection, WebSocketError, WebSocketManager, managers::websocket::Message,
};
use std::{io::Write, time::Duration};
use websocket::{
    Guard, Server, arrive, arrives, echo_all, found_dead, frame, leave, next_ping, one, pair,
    sees_close, text,
};

const INTERVAL: Duration = Duration::from_secs(30);

#[track_caller]
fn reads(near: &mut WebSocketConnection, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        assert_eq!(near.read().unwrap(), text(number));
    }
}

#[test]
fn the_collector_pings_each_idle_connection_once_an_interval_with_a_nonce_of_its_own() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().build();
    let (pool, clock, guard, mut far) = one("ws-ping", &clients, manager);
    assert_eq!(pool.config().keepalive_interval, Some(INTERVAL));
    drop(guard);
    let mut seen = Vec::new();
    for _ in 0..3 {
        // Before it is due there is no ping.
        clock.advance(INTERVAL - secs(1));
        pool.sweep();
        assert_eq!(pool.stats().idle, 1, "{}", pool.stats());
        clock.advance(secs(2));
        // Reading answers it.
        let nonce = next_ping(&mut far);
        far.flush().unwrap();
        assert!(nonce.len() >= 8 && !seen.contains(&nonce));
        seen.push(nonce);
        eventually(|| pool.stats().idle == 1);
    }
    let guard = pool.get_timeout(SOON).unwrap();
    assert_eq!(pool.stats().created, 1);
    drop(guard);
    let far = spawn(move || sees_close(far));
    leave(&pool);
    assert_eq!(far.join_soon(), Some(1000));
}

#[test]
fn pings_of_the_server_are_answered_by_the_pass_of_the_collector() {
    let (server, clients) = Server::by_hand();
    let (pool, clock, guard, mut far) = one("ws-pong", &clients, server.manager().build());
    drop(guard);
    far.send(Message::Ping("are you there?".into())).unwrap();
    clock.advance(INTERVAL + secs(1));
    let mut answered = false;
    let mut asked = false;
    while !(answered && asked) {
        match far.read().unwrap() {
            Message::Pong(payload) => answered = payload == "are you there?",
            Message::Ping(_) => asked = true,
            other => panic!("{other:?}"),
        }
        far.flush().unwrap();
    }
    eventually(|| pool.stats().idle == 1);
    drop(far);
    leave(&pool);
}

#[test]
fn pings_of_the_server_are_answered_by_a_checkout() {
    let (server, clients) = Server::by_hand();
    let (pool, _clock, guard, mut far) = one("ws-out", &clients, server.manager().build());
    let witness = guard.tcp().try_clone().unwrap();
    drop(guard);
    far.send(Message::Ping("are you there?".into())).unwrap();
    arrives(&witness);
    let guard = pool.get_timeout(SOON).unwrap();
    // The user has done nothing yet.
    assert_eq!(far.read().unwrap(), Message::Pong("are you there?".into()));
    drop((guard, far));
    leave(&pool);
}

#[test]
fn messages_pushed_while_idle_are_kept_in_order_for_the_next_user() {
    let (server, clients) = Server::by_hand();
    let (pool, clock, guard, mut far) = one("ws-kept", &clients, server.manager().build());
    let witness = guard.tcp().try_clone().unwrap();
    drop(guard);
    for round in 0..3 {
        (0..100).for_each(|n| far.send(text(round * 100 + n)).unwrap());
        if round < 2 {
            // The collector's ping reads some of them, the checkout the others.
            clock.advance(INTERVAL + secs(1));
            next_ping(&mut far);
            far.flush().unwrap();
            eventually(|| pool.stats().idle == 1);
        }
    }
    arrives(&witness);
    let mut guard = pool.get_timeout(SOON).unwrap();
    assert!(guard.kept() >= 200, "{guard:?}");
    // This user reads half of them, the next user the others.
    reads(&mut guard, 0..150);
    drop(guard);
    let mut guard = pool.get_timeout(SOON).unwrap();
    reads(&mut guard, 150..300);
    assert_eq!(guard.try_read().unwrap(), None);
    assert_eq!(guard.kept(), 0);
    far.send(text(300)).unwrap();
    reads(&mut guard, [300]);
    assert_eq!((pool.stats().created, pool.manager().unread()), (1, 0));
    drop((guard, far));
    leave(&pool);
}

#[test]
fn messages_that_come_between_a_ping_and_its_pong_are_kept() {
    let (server, clients) = Server::by_hand();
    let (manager, mut near, mut far) = pair(&server, &clients);
    let far = spawn(move || {
        let nonce = next_ping(&mut far);
        // Written raw, before the pong, which the codec sends with the next write.
        let stream = far.get_mut();
        stream.write_all(&frame(0x81, b"message 0")).unwrap();
        // In fragments, with the pong between them.
        stream.write_all(&frame(0x01, b"mess")).unwrap();
        stream.write_all(&frame(0x8A, &nonce)).unwrap();
        stream.write_all(&frame(0x80, b"age 1")).unwrap();
        far
    });
    manager.check_aliveness(&mut near).unwrap();
    assert_eq!(near.kept(), 1);
    let far = far.join_soon();
    reads(&mut near, 0..2);
    drop(far);
    manager.dispose(near);
    assert_eq!(manager.unread(), 0);
}

#[test]
fn more_than_may_be_kept_fails_the_check_and_the_checkout() {
    let keep = |max_messages, max_bytes| Pushed::Keep {
        max_messages,
        max_bytes,
    };
    let cases = [
        (keep(3, 1000), 3, 10, true),
        (keep(3, 1000), 4, 10, false),
        (keep(100, 50), 5, 10, true),
        (keep(100, 50), 5, 11, false),
        (keep(100, 50), 1, 200_000, false),
        (keep(0, 0), 1, 0, false),
        (Pushed::Reject, 0, 0, true),
        (Pushed::Reject, 1, 0, false),
    ];
    for (number, (pushed, messages, bytes, fits)) in cases.into_iter().enumerate() {
        for by_check in [true, false] {
            let (server, clients) = Server::by_hand();
            let manager = server.manager().pushed(pushed).ping_timeout(SOON);
            let manager = manager.close_timeout(ms(20)).build();
            let mut near = manager.create().unwrap();
            let mut far = clients.next();
            let message = Message::binary(vec![7; bytes]);
            let sends = spawn(move || {
                for _ in 0..messages {
                    let _ = far.send(message.clone());
                }
                if by_check {
                    let _ = next_ping(&mut far);
                    let _ = far.flush();
                }
                far
            });
            let result = if by_check {
                manager.check_aliveness(&mut near)
            } else {
                let total = messages * (bytes + 2);
                if total > 0 {
                    arrive(near.tcp(), total.min(70_000));
                }
                manager.on_checkout(&mut near)
            };
            match result {
                Ok(()) => assert!(fits && near.kept() == messages, "{number}"),
                Err(WebSocketError::PushedTooMuch { .. }) => assert!(!fits, "{number}"),
                Err(error) => panic!("{number}: {error}"),
            }
            let kept = near.kept() as u64;
            assert!(fits || bytes > 100_000 || kept > 0, "{number}: {kept}");
            // The rest is lost with the connection, and is counted.
            let disposed = spawn({
                let manager = manager.clone();
                move || manager.dispose(near)
            });
            drop(sends);
            drop((clients, server));
            disposed.join_soon();
            assert!(manager.unread() >= kept, "{number}");
        }
    }
}

#[test]
fn a_message_of_which_only_a_part_has_come_is_for_the_next_user_unless_data_is_rejected() {
    let message = frame(0x81, b"message 7");
    let (begin, rest) = message.split_at(4);
    for rejects in [false, true] {
        let (server, clients) = Server::by_hand();
        let pushed = if rejects {
            Pushed::Reject
        } else {
            Pushed::default()
        };
        let manager = server.manager().pushed(pushed).build();
        let (pool, _clock, guard, mut far) = one("ws-part", &clients, manager);
        let witness = guard.tcp().try_clone().unwrap();
        drop(guard);
        far.get_mut().write_all(begin).unwrap();
        arrives(&witness);
        drop(witness);
        if rejects {
            let far = spawn(move || sees_close(far));
            drop(pool.get_timeout(SOON).unwrap());
            assert_eq!(found_dead(&pool.stats()), 1, "{}", pool.stats());
            far.join_soon();
        } else {
            let mut guard = pool.get_timeout(SOON).unwrap();
            far.get_mut().write_all(rest).unwrap();
            reads(&mut guard, [7]);
            drop((guard, far));
        }
        drop(clients);
        leave(&pool);
    }
}

#[test]
fn a_check_timeout_below_the_ping_timeout_is_the_one_that_counts() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().ping_timeout(ms(300)).build();
    let (builder, clock) = websocket::pool("ws-below", 1, &manager);
    let pool = builder.check_timeout(ms(50)).build_lazy(manager).unwrap();
    drop(pool.get_timeout(SOON).unwrap());
    let far = clients.next();
    let start = now();
    clock.advance(INTERVAL + secs(1));
    eventually(|| pool.stats().evicted(EvictReason::CheckFailed) == 1);
    assert_at(start.elapsed(), ms(50));
    // The hook runs until its own timeout; then its connection is disposed.
    eventually(|| pool.stats().disposed == 1);
    assert!(start.elapsed() >= ms(300));
    drop(far);
    leave(&pool);
}

#[test]
fn the_settings_for_a_pool_put_the_limits_of_the_manager_below_those_of_the_pool() {
    let manager = WebSocketManager::builder("ws://a/")
        .ping_interval(secs(7))
        .ping_timeout(secs(20))
        .close_timeout(secs(40))
        .connect_timeout(secs(50))
        .build();
    let config = manager.pool_config();
    assert_eq!(config.keepalive_interval, Some(secs(7)));
    assert_eq!(config.health_check, HealthCheck::AfterIdle(secs(7)));
    assert!(config.check_timeout > secs(20));
    assert!(config.dispose_timeout > secs(40));
    assert!(config.create_timeout > secs(70));
    let quick = WebSocketManager::builder("ws://a/")
        .ping_timeout(ms(1))
        .build();
    let default = PoolConfig::default();
    assert_eq!(quick.pool_config().check_timeout, default.check_timeout);
    assert_eq!(quick.pool_config().dispose_timeout, default.dispose_timeout);
    assert_eq!(quick.pool_config().name, "websocket");
    let endless = WebSocketManager::builder("ws://a/")
        .ping_interval(Duration::MAX)
        .ping_timeout(Duration::MAX)
        .close_timeout(Duration::MAX)
        .build();
    let pool = PoolBuilder::from(endless.pool_config()).build_lazy(endless);
    pool.expect("settings that a pool takes").close();
}

#[test]
fn a_connection_in_use_is_not_pinged() {
    let (server, clients) = Server::by_hand();
    let (pool, clock, mut guard, mut far) = one("ws-busy", &clients, server.manager().build());
    clock.advance(INTERVAL * 3);
    pool.sweep();
    stays(|| pool.stats().in_use == 1);
    guard.send("mine".into()).unwrap();
    assert_eq!(
        far.read().unwrap(),
        Message::text("mine"),
        "and no ping before it"
    );
    let far = spawn(move || echo_all(&mut far));
    drop::<Guard>(guard);
    leave(&pool);
    far.join_soon().unwrap_err();
}
