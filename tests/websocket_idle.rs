//! What happens to a WebSocket while nobody uses it.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

mod common;
mod support;
mod websocket;

use common::{SOON, assert_at, eventually, ms, now, secs, spawn, stays, timed};
use conpool::{
    ConbusError, ConnectionManager, EvictReason, HealthCheck, PoolBuilder, PoolConfig, Pushed,
    TransportError, WebSocketConnection, WebSocketError, WebSocketManager,
    managers::websocket::{Bytes, CloseCode, CloseFrame, Message},
};
use std::{
    io::{Read, Write},
    time::Duration,
};
use websocket::{
    Far, Guard, Server, arrive, arrives, echo_all, found_dead, frame, leave, one, reset,
    sees_close, text,
};

const INTERVAL: Duration = Duration::from_secs(30);

/// A connection that no pool has, its manager and the server's end.
fn pair(
    server: &Server,
    clients: &websocket::Clients,
) -> (WebSocketManager, WebSocketConnection, Far) {
    let manager = server.manager().ping_timeout(SOON).build();
    let near = manager.create().unwrap();
    (manager, near, clients.next())
}

/// Keeps what a kept message says from being written twice.
#[track_caller]
fn reads(near: &mut WebSocketConnection, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        assert_eq!(near.read().unwrap(), text(number));
    }
}

/// Lets the time pass that the collector leaves an idle connection alone for, and returns what it
/// asks: the payload of its ping.
fn next_ping(far: &mut Far) -> Bytes {
    match far.read().expect("a ping") {
        Message::Ping(payload) => payload,
        other => panic!("{other:?} instead of a ping"),
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
        // Not before it is due.
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
            // Some are taken in by the collector's ping, the others by the checkout.
            clock.advance(INTERVAL + secs(1));
            next_ping(&mut far);
            far.flush().unwrap();
            eventually(|| pool.stats().idle == 1);
        }
    }
    arrives(&witness);
    let mut guard = pool.get_timeout(SOON).unwrap();
    assert!(guard.kept() >= 200, "{guard:?}");
    // Half of them by this user, the others by the next.
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
        // Before the pong, which the codec sends with the next write, raw.
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
            // The rest goes down with the connection, and is counted.
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

/// What a server does to an idle connection.
type Fault = fn(Far);

#[test]
fn an_idle_connection_that_ended_is_never_handed_out() {
    let close: Fault = |mut far| {
        let frame = CloseFrame {
            code: CloseCode::Restart,
            reason: "see you".into(),
        };
        far.close(Some(frame)).unwrap();
        // The close is answered, by the look or by the dispose.
        assert!(matches!(far.read(), Ok(Message::Close(_))));
    };
    let garbage: Fault = |mut far| {
        far.get_mut().write_all(&[0xFF; 300]).unwrap();
        // The client says that this was wrong, and goes.
        assert_eq!(sees_close(far), Some(1002));
    };
    let masked: Fault = |mut far| {
        far.get_mut()
            .write_all(&[0x81, 0x81, 1, 2, 3, 4, b'a' ^ 1])
            .unwrap();
        assert_eq!(sees_close(far), Some(1002));
    };
    let cases: [(&str, Fault); 6] = [
        ("ws-fin", |far| drop(far)),
        ("ws-rst", reset),
        ("ws-close", close),
        ("ws-push-fin", |mut far| far.send(text(1)).unwrap()),
        ("ws-garbage", garbage),
        ("ws-masked", masked),
    ];
    for (name, fault) in cases {
        let (server, clients) = Server::by_hand();
        let (pool, _clock, guard, far) = one(name, &clients, server.manager().build());
        let witness = guard.tcp().try_clone().unwrap();
        drop(guard);
        let fault = spawn(move || fault(far));
        arrives(&witness);
        // A message comes before the end, and the end must be here too.
        if name == "ws-push-fin" {
            fault.join_soon();
            std::thread::sleep(ms(20));
        } else {
            drop(spawn(move || fault.join_soon()));
        }
        drop(witness);
        let guard = pool.get_timeout(SOON).unwrap();
        let stats = pool.stats();
        assert_eq!(
            (found_dead(&stats), stats.created),
            (1, 2),
            "{name}: {stats}"
        );
        drop((guard, clients.next()));
        leave(&pool);
        let lost = u64::from(name == "ws-push-fin");
        assert_eq!(pool.manager().unread(), lost, "{name}");
    }
}

#[test]
fn an_idle_connection_that_ended_is_replaced_by_the_collector_before_anybody_asks() {
    let server = Server::echo();
    let manager = server.manager().build();
    let (builder, clock) = websocket::pool("ws-alive", 3, &manager);
    let pool = builder.min_idle(3).build(manager).unwrap();
    eventually(|| pool.stats().idle == 3);
    let address = server.address();
    drop(server);
    let server = Server::echo_again(address);
    clock.advance(INTERVAL + secs(1));
    eventually(|| pool.stats().evicted(EvictReason::CheckFailed) == 3);
    eventually(|| pool.stats().idle == 3);
    assert_eq!(pool.stats().created, 6);
    leave(&pool);
    drop(server);
}

#[test]
fn a_close_frame_says_its_code_and_reason_to_the_check() {
    let (server, clients) = Server::by_hand();
    let (manager, mut near, mut far) = pair(&server, &clients);
    let farewell = CloseFrame {
        code: CloseCode::Away,
        reason: "night".into(),
    };
    far.close(Some(farewell)).unwrap();
    for _ in 0..2 {
        let error = manager.check_aliveness(&mut near).unwrap_err();
        let WebSocketError::Closed { code, reason } = &error else {
            panic!("{error}");
        };
        assert_eq!((*code, reason.as_str()), (Some(1001), "night"));
    }
    assert_eq!(sees_close(far), Some(1001), "the close is answered");
    manager.dispose(near);
}

#[test]
fn a_reset_and_an_end_without_a_close_frame_are_told_apart() {
    for resets in [false, true] {
        let (server, clients) = Server::by_hand();
        let (manager, mut near, far) = pair(&server, &clients);
        if resets {
            reset(far);
        } else {
            drop(far);
        }
        let mut seen = Ok(());
        eventually(|| {
            seen = manager.on_checkout(&mut near);
            seen.is_err()
        });
        let error = seen.unwrap_err();
        let WebSocketError::Transport(TransportError::Tcp(tcp)) = &error else {
            panic!("{error}");
        };
        match tcp {
            ConbusError::Reset { .. } => assert!(resets),
            ConbusError::Closed { .. } => assert!(!resets),
            other => panic!("{other}"),
        }
        assert!(manager.has_broken(&mut near));
        manager.dispose(near);
    }
}

#[test]
fn a_server_that_is_silent_costs_the_ping_timeout_and_is_not_waited_for_again() {
    let (server, clients) = Server::by_hand();
    let manager = server
        .manager()
        .ping_timeout(ms(80))
        .close_timeout(secs(60))
        .build();
    let mut near = manager.create().unwrap();
    let mut far = clients.next();
    let (result, took) = timed(|| manager.check_aliveness(&mut near));
    let error = result.unwrap_err();
    assert!(
        matches!(error, WebSocketError::PingTimeout { after } if after == ms(80)),
        "{error}"
    );
    assert_at(took, ms(80));
    let ((), took) = timed(|| manager.dispose(near));
    assert_at(took, Duration::ZERO);
    // It was told, all the same.
    next_ping(&mut far);
    assert!(matches!(far.read(), Ok(Message::Close(Some(_)))));
}

#[test]
fn pongs_of_other_pings_prove_nothing() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().ping_timeout(ms(80)).build();
    let mut near = manager.create().unwrap();
    let far = clients.next();
    let far = spawn(move || {
        let mut stream = far.into_inner();
        // Empty, too short, and as long as the right one.
        for wrong in [&b""[..], b"1234", b"12345678"] {
            stream.write_all(&frame(0x8A, wrong)).unwrap();
        }
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = manager.check_aliveness(&mut near).unwrap_err();
    assert!(
        matches!(error, WebSocketError::PingTimeout { .. }),
        "{error}"
    );
    manager.dispose(near);
    far.join_soon();
}

#[test]
fn a_server_that_trickles_a_message_gets_no_more_than_the_ping_timeout() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().ping_timeout(ms(80)).build();
    let mut near = manager.create().unwrap();
    let mut far = clients.next();
    let far = spawn(move || {
        let message = frame(0x82, &[0; 10_000]);
        for byte in message {
            if far.get_mut().write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(ms(2));
        }
    });
    let (result, took) = timed(|| manager.check_aliveness(&mut near));
    assert!(
        matches!(result, Err(WebSocketError::PingTimeout { .. })),
        "{result:?}"
    );
    assert_at(took, ms(80));
    manager.dispose(near);
    far.join_soon();
}

#[test]
fn a_server_that_floods_an_idle_connection_with_pings_is_left() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().close_timeout(ms(50)).build();
    let mut near = manager.create().unwrap();
    let mut far = clients.next();
    let flood = spawn(move || {
        let pings = frame(0x89, &[7; 100]).repeat(100);
        while far.get_mut().write_all(&pings).is_ok() {}
    });
    arrive(near.tcp(), 70_000);
    let (result, took) = timed(|| manager.on_checkout(&mut near));
    assert!(
        matches!(result, Err(WebSocketError::PushedTooMuch { .. })),
        "{result:?}"
    );
    assert!(took < SOON);
    manager.dispose(near);
    flood.join_soon();
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
    // The hook goes on until its own time is over; then its connection is disposed.
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
