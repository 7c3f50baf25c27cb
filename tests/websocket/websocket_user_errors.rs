//! A user's errors on a WebSocket, and which of them reach the next user.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::websocket;

use common::{SOON, assert_at, eventually, ms, spawn, timed};
use conpool::{
    ConbusError, EvictReason, Pushed, TransportError, WebSocketConnection, WebSocketError,
    WebSocketManager,
    managers::websocket::{
        CloseCode, CloseFrame, Message,
        tungstenite::protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};
use std::{io::Write, time::Duration};
use websocket::{
    Far, Server, arrive, arrives, echo_all, frame, leave, one, reset, sees_close, text,
};

/// Asserts that the next user gets a working connection other than `number`.
#[track_caller]
fn next_is_another(pool: &conpool::Pool<WebSocketManager>, clients: &websocket::Clients) {
    let guard = pool.get_timeout(SOON).unwrap();
    assert_eq!(pool.stats().created, 2, "{}", pool.stats());
    drop((guard, clients.next()));
    leave(pool);
}

#[test]
fn a_read_ends_in_time_however_slowly_a_message_comes_and_half_of_one_is_for_nobody() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().read_timeout(ms(80));
    let manager = manager.close_timeout(ms(50)).build();
    let (pool, _clock, mut guard, mut far) = one("wu-trickle", &clients, manager);
    let trickle = spawn(move || {
        let message = frame(0x82, &[7; 10_000]);
        for byte in message {
            if far.get_mut().write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(ms(2));
        }
    });
    arrives(guard.tcp());
    let (read, took) = timed(|| guard.read());
    let error = read.unwrap_err();
    assert!(
        matches!(error, WebSocketError::ReadTimeout { after } if after == ms(80)),
        "{error}"
    );
    assert_at(took, ms(80));
    drop(guard);
    eventually(|| pool.stats().evicted(EvictReason::Broken) == 1);
    trickle.join_soon();
    next_is_another(&pool, &clients);
}

#[test]
fn a_read_that_found_nothing_in_time_costs_nothing() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().read_timeout(ms(20)).build();
    let (pool, _clock, mut guard, mut far) = one("wu-nothing", &clients, manager);
    let error = guard.read().unwrap_err();
    assert!(
        matches!(error, WebSocketError::ReadTimeout { .. }),
        "{error}"
    );
    drop(guard);
    let mut guard = pool.get_timeout(SOON).unwrap();
    assert_eq!(pool.stats().created, 1, "{}", pool.stats());
    // The same for half a message whose other half is read later.
    let message = frame(0x81, b"message 5");
    far.get_mut().write_all(&message[..5]).unwrap();
    arrives(guard.tcp());
    guard.read().unwrap_err();
    far.get_mut().write_all(&message[5..]).unwrap();
    guard.set_read_timeout(SOON);
    assert_eq!(guard.read().unwrap(), text(5));
    drop(guard);
    drop(pool.get_timeout(SOON).unwrap());
    assert_eq!(pool.stats().created, 1, "{}", pool.stats());
    drop(far);
    leave(&pool);
}

#[test]
fn a_send_ends_in_time_when_the_server_does_not_read_and_half_a_message_is_for_nobody() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().write_timeout(ms(80)).build();
    let (pool, _clock, mut guard, far) = one("wu-write", &clients, manager);
    let (error, took) = timed(|| {
        guard
            .send(Message::binary(vec![7; 30_000_000]))
            .unwrap_err()
    });
    assert!(
        matches!(error, WebSocketError::WriteTimeout { after } if after == ms(80)),
        "{error}"
    );
    // Copying such a long message takes a while, too.
    assert!(took >= ms(80) && took < SOON, "{took:?}");
    let ((), took) = timed(|| drop(guard));
    assert_at(took, Duration::ZERO);
    eventually(|| pool.stats().evicted(EvictReason::Broken) == 1);
    eventually(|| pool.stats().disposed == 1);
    next_is_another(&pool, &clients);
    drop(far);
}

#[test]
fn a_connection_that_ends_in_use_costs_its_user_an_error_and_nobody_else_anything() {
    type Fault = fn(Far);
    type Expected = fn(&WebSocketError) -> bool;
    let is_tcp: Expected = |error| {
        let WebSocketError::Transport(TransportError::Tcp(tcp)) = error else {
            return false;
        };
        matches!(tcp, ConbusError::Closed { .. } | ConbusError::Reset { .. })
    };
    let is_closed: Expected = |error| matches!(error, WebSocketError::Closed { code: Some(1012), reason } if reason == "new");
    let is_protocol: Expected = |error| matches!(error, WebSocketError::Protocol { .. });
    let close: Fault = |mut far| {
        let (code, reason) = (CloseCode::Restart, "new".into());
        far.close(Some(CloseFrame { code, reason })).unwrap();
        assert_eq!(sees_close(far), Some(1012), "answered");
    };
    let garbage: Fault = |mut far| {
        far.get_mut().write_all(&[0xF3; 300]).unwrap();
        assert_eq!(sees_close(far), Some(1002));
    };
    let no_text: Fault = |mut far| {
        far.get_mut()
            .write_all(&frame(0x81, &[0xC3, 0x28]))
            .unwrap();
        assert_eq!(sees_close(far), Some(1007));
    };
    let long_frame: Fault = |mut far| {
        far.get_mut().write_all(&frame(0x82, &[0; 1001])).unwrap();
        assert_eq!(sees_close(far), Some(1009));
    };
    let long_message: Fault = |mut far| {
        far.get_mut().write_all(&frame(0x02, &[0; 900])).unwrap();
        (0..3).for_each(|_| far.get_mut().write_all(&frame(0x00, &[0; 900])).unwrap());
        assert_eq!(sees_close(far), Some(1009));
    };
    let cases: [(&str, Fault, Expected); 8] = [
        ("wu-fin", |far| drop(far), is_tcp),
        ("wu-rst", reset, is_tcp),
        (
            "wu-mid",
            |mut far| far.get_mut().write_all(&frame(0x81, b"abc")[..3]).unwrap(),
            is_tcp,
        ),
        ("wu-close", close, is_closed),
        ("wu-garbage", garbage, is_protocol),
        ("wu-text", no_text, is_protocol),
        ("wu-frame", long_frame, is_protocol),
        ("wu-message", long_message, is_protocol),
    ];
    for (name, fault, expected) in cases {
        for sends in [false, true] {
            let (server, clients) = Server::by_hand();
            let manager = server.manager().max_frame_size(1000).max_message_size(2000);
            let (pool, _clock, mut guard, far) = one(name, &clients, manager.build());
            let fault = spawn(move || fault(far));
            let sent = if sends {
                guard.send("anything".into())
            } else {
                Ok(())
            };
            let error = sent.and_then(|()| guard.read()).unwrap_err();
            assert!(expected(&error), "{name}: {error} {error:?}");
            // The error repeats.
            guard.read().unwrap_err();
            drop(guard);
            fault.join_soon();
            eventually(|| pool.stats().evicted(EvictReason::Broken) == 1);
            next_is_another(&pool, &clients);
        }
    }
}

#[test]
fn what_a_user_changes_does_not_reach_the_next() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().read_timeout(ms(30)).build();
    let (pool, _clock, mut guard, far) = one("wu-options", &clients, manager);
    guard.set_read_timeout(None);
    guard.set_write_timeout(Duration::ZERO);
    guard.tcp().set_nonblocking(true).unwrap();
    drop(guard);
    let mut guard = pool.get_timeout(SOON).unwrap();
    guard.send("a".into()).unwrap();
    let (read, took) = timed(|| guard.read());
    assert!(
        matches!(read, Err(WebSocketError::ReadTimeout { .. })),
        "{read:?}"
    );
    assert_at(took, ms(30));
    assert_eq!(pool.stats().created, 1);
    drop((guard, far));
    leave(&pool);
}

#[test]
fn a_close_or_half_a_message_of_the_user_is_for_nobody_else() {
    let fragment = |kind, last| Message::Frame(Frame::message("a", OpCode::Data(kind), last));
    let cases = [
        (vec![Message::Close(None)], true),
        (vec![fragment(Data::Text, false)], true),
        (
            vec![fragment(Data::Text, false), fragment(Data::Continue, false)],
            true,
        ),
        (
            vec![fragment(Data::Text, false), fragment(Data::Continue, true)],
            false,
        ),
        (vec![fragment(Data::Text, true)], false),
        (vec![Message::Frame(Frame::close(None))], true),
        (
            vec![Message::Ping("x".into()), Message::Pong("y".into())],
            false,
        ),
    ];
    for (number, (messages, evicted)) in cases.into_iter().enumerate() {
        let server = Server::echo();
        let manager = server.manager().build();
        let (builder, _clock) = websocket::pool("wu-half", 1, &manager);
        let pool = builder.build(manager).unwrap();
        let mut guard = pool.get_timeout(SOON).unwrap();
        messages
            .into_iter()
            .for_each(|message| guard.send(message).unwrap());
        drop(guard);
        eventually(|| pool.stats().evicted(EvictReason::Broken) == u64::from(evicted));
        drop(pool.get_timeout(SOON).unwrap());
        let stats = pool.stats();
        assert_eq!(stats.created, 1 + u64::from(evicted), "{number}: {stats}");
        leave(&pool);
    }
}

#[test]
fn a_ping_of_the_user_tells_the_round_trip_and_loses_nothing() {
    let (server, clients) = Server::by_hand();
    let mut near = server.manager().build().create_one();
    let mut far = clients.next();
    let far = spawn(move || {
        far.send(text(1)).unwrap();
        std::thread::sleep(ms(20));
        while far.read().is_ok() {}
    });
    let trip = near.ping(SOON).unwrap();
    assert!(trip >= ms(15) && trip < SOON, "{trip:?}");
    assert_eq!(near.kept(), 1);
    assert_eq!(near.read().unwrap(), text(1));
    drop(near);
    far.join_soon();
}

#[test]
fn try_read_never_waits_and_gives_what_is_here() {
    let (server, clients) = Server::by_hand();
    let mut near = server.manager().build().create_one();
    let mut far = clients.next();
    let (nothing, took) = timed(|| near.try_read().unwrap());
    assert_eq!(nothing, None);
    assert_at(took, Duration::ZERO);
    far.send(Message::Ping("x".into())).unwrap();
    far.get_mut()
        .write_all(&frame(0x81, b"message 1")[..4])
        .unwrap();
    arrive(near.tcp(), 3 + 4);
    assert_eq!(near.try_read().unwrap(), None);
    assert_eq!(far.read().unwrap(), Message::Pong("x".into()));
    far.get_mut()
        .write_all(&frame(0x81, b"message 1")[4..])
        .unwrap();
    arrives(near.tcp());
    assert_eq!(near.try_read().unwrap(), Some(text(1)));
    // The socket blocks again.
    near.send("back".into()).unwrap();
    assert_eq!(far.read().unwrap(), Message::text("back"));
    drop(far);
    eventually(|| near.try_read().is_err());
}

#[test]
fn pings_are_answered_and_pongs_passed_over_while_a_user_reads() {
    let (server, clients) = Server::by_hand();
    let mut near = server.manager().build().create_one();
    let mut far = clients.next();
    let far = spawn(move || {
        for number in 0..20 {
            far.send(Message::Ping(vec![number].into())).unwrap();
            far.send(Message::Pong(vec![number].into())).unwrap();
            // The user has nothing to read yet.
            assert_eq!(far.read().unwrap(), Message::Pong(vec![number].into()));
        }
        far.send(text(1)).unwrap();
        far
    });
    assert_eq!(near.read().unwrap(), text(1));
    drop(far.join_soon());
}

#[test]
fn long_messages_and_many_go_through_whole() {
    let server = Server::echo();
    let mut near = server.manager().build().create_one();
    for length in [0, 1, 125, 126, 65_535, 65_536, 3_000_000] {
        let message = Message::binary(vec![length as u8; length]);
        near.send(message.clone()).unwrap();
        assert_eq!(near.read().unwrap(), message);
    }
    // As many as fit into the buffers on the way, because there is no reader meanwhile.
    (0..500).for_each(|n| near.send(text(n)).unwrap());
    for number in 0..500 {
        assert_eq!(near.read().unwrap(), text(number));
    }
}

trait CreateOne {
    fn create_one(&self) -> WebSocketConnection;
}

impl CreateOne for WebSocketManager {
    fn create_one(&self) -> WebSocketConnection {
        conpool::ConnectionManager::create(self).unwrap()
    }
}

#[test]
fn one_message_after_another_comes_from_a_server_that_pushes_all_the_time() {
    let (server, clients) = Server::by_hand();
    let (max_messages, max_bytes) = (2_000, 1 << 20);
    let pushed = Pushed::Keep {
        max_messages,
        max_bytes,
    };
    let manager = server.manager().pushed(pushed).build();
    let (pool, _clock, guard, mut far) = one("wu-stream", &clients, manager);
    drop(guard);
    let feed = spawn(move || {
        (0..2_000).for_each(|number| far.send(text(number)).unwrap());
        let _ = echo_all(&mut far);
    });
    let mut expected = 0;
    while expected < 2_000 {
        let mut guard = pool.get_timeout(SOON).unwrap();
        // A few for each user; the rest is on its way, partly here, or kept.
        for _ in 0..20 {
            assert_eq!(guard.read().unwrap(), text(expected));
            expected += 1;
        }
    }
    assert_eq!(pool.stats().created, 1, "{}", pool.stats());
    leave(&pool);
    feed.join_soon();
}
