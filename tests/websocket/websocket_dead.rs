//! Idle WebSockets that end, fall silent or send garbage.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::websocket;

use common::{SOON, assert_at, eventually, interrupt_holder, ms, secs, spawn, timed};
use conpool::{
    ConbusError, ConnectionManager, EvictReason, Pushed, TransportError, WebSocketError,
    managers::websocket::{CloseCode, CloseFrame, Message},
};
use std::{
    io::{Read, Write},
    time::Duration,
};
use websocket::{
    Far, Server, arrive, arrives, found_dead, frame, leave, next_ping, one, pair, reset,
    sees_close, text,
};

const INTERVAL: Duration = Duration::from_secs(30);

/// The server's action on an idle connection.
type Fault = fn(Far);

#[test]
fn an_idle_connection_that_ended_is_never_handed_out() {
    let close: Fault = |mut far| {
        let frame = CloseFrame {
            code: CloseCode::Restart,
            reason: "see you".into(),
        };
        far.close(Some(frame)).unwrap();
        // The close is answered, by the probe or by the dispose.
        assert!(matches!(far.read(), Ok(Message::Close(_))));
    };
    let garbage: Fault = |mut far| {
        far.get_mut().write_all(&[0xFF; 300]).unwrap();
        // The client reports a protocol error, and closes.
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
        // A message precedes the end, and the end must have arrived too.
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
    // The server got the ping all the same.
    next_ping(&mut far);
    assert!(matches!(far.read(), Ok(Message::Close(Some(_)))));
}

/// (Tried again where a busy machine did not let the server send all of them in time.)
#[test]
fn pongs_of_other_pings_prove_nothing() {
    assert!((0..20).any(|_| all_wrong_pongs_are_sent()));
}

fn all_wrong_pongs_are_sent() -> bool {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().ping_timeout(ms(80)).build();
    let mut near = manager.create().unwrap();
    let far = clients.next();
    let far = spawn(move || {
        let mut stream = far.into_inner();
        // Empty, too short, and as long as the right one.
        let mut wrong = [&b""[..], b"1234", b"12345678"].into_iter();
        let sent = wrong.all(|wrong| stream.write_all(&frame(0x8A, wrong)).is_ok());
        let _ = stream.read_to_end(&mut Vec::new());
        sent
    });
    let error = manager.check_aliveness(&mut near).unwrap_err();
    assert!(
        matches!(error, WebSocketError::PingTimeout { .. }),
        "{error}"
    );
    manager.dispose(near);
    far.join_soon()
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
    // More than that has arrived already, so the probe need not coincide with a send.
    let little = Pushed::Keep {
        max_messages: 10,
        max_bytes: 1000,
    };
    let manager = server.manager().close_timeout(ms(50)).pushed(little);
    let manager = manager.build();
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
fn a_thread_that_hangs_in_a_read_is_freed_by_an_interrupt() {
    let server = Server::echo();
    let pool = conpool::Pool::builder()
        .max_size(1)
        .build(conpool::WebSocketManager::new(server.url()))
        .unwrap();
    let reader = spawn({
        let pool = pool.clone();
        move || pool.get().unwrap().read()
    });
    interrupt_holder(&pool);
    assert!(reader.join_soon().is_err());
    eventually(|| pool.stats().evicted(EvictReason::Interrupted) == 1);
    pool.close_timeout(SOON).unwrap();
}
