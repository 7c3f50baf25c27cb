//! Closing a WebSocket: the close frame, and a bounded wait for the server's.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::websocket;

use common::{SOON, assert_at, eventually, ms, secs, spawn, timed};
use conpool::{
    ConnectionManager, PooledConnection, WebSocketConnection, WebSocketManager,
    managers::websocket::{CloseCode, CloseFrame, Message},
};
use std::{
    io::{ErrorKind, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use websocket::{Far, Server, arrives, frame, leave, one, reset, sees_close, text};

const LIMIT: Duration = Duration::from_millis(80);

/// A connection with the close timeout `limit`, its manager, its server and the server's end.
fn pair(limit: Duration) -> (Server, WebSocketManager, WebSocketConnection, Far) {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().close_timeout(limit).build();
    let near = manager.create().unwrap();
    let far = clients.next();
    (server, manager, near, far)
}

/// Asserts that a dispose takes the whole limit, and not longer.
#[track_caller]
fn takes_the_limit(manager: &WebSocketManager, near: WebSocketConnection) {
    let ((), took) = timed(|| manager.dispose(near));
    assert_at(took, LIMIT);
}

#[test]
fn the_server_is_told_and_ends_tcp_first() {
    let (_server, manager, near, mut far) = pair(secs(60));
    let told = spawn(move || {
        let Message::Close(Some(frame)) = far.read().unwrap() else {
            panic!("no close frame");
        };
        far.flush().unwrap_err();
        // The client waits for this side, and does not close TCP first.
        let stream = far.get_mut();
        stream.set_read_timeout(Some(ms(50))).unwrap();
        let kind = stream.read(&mut [0]).unwrap_err().kind();
        assert!(
            matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{kind}"
        );
        (frame.code, std::time::Instant::now())
    });
    manager.dispose(near);
    let returned = std::time::Instant::now();
    let (code, ended) = told.join_soon();
    assert_eq!(code, CloseCode::Normal);
    assert!(ended < returned);
}

#[test]
fn a_server_that_never_answers_the_close_costs_the_close_timeout() {
    let (_server, manager, near, far) = pair(LIMIT);
    takes_the_limit(&manager, near);
    drop(far);
}

#[test]
fn a_server_that_answers_but_leaves_tcp_open_costs_the_close_timeout() {
    let (_server, manager, near, mut far) = pair(LIMIT);
    let far = spawn(move || {
        assert!(matches!(far.read(), Ok(Message::Close(_))));
        let _ = far.flush();
        far
    });
    takes_the_limit(&manager, near);
    far.join_soon();
}

#[test]
fn a_server_that_goes_on_sending_costs_the_close_timeout_and_is_counted() {
    for pause in [Duration::ZERO, ms(2)] {
        let (_server, manager, near, mut far) = pair(LIMIT);
        let stream = spawn(move || {
            while far.send(text(1)).is_ok() {
                thread::sleep(pause);
            }
        });
        arrives(near.tcp());
        takes_the_limit(&manager, near);
        assert!(manager.unread() > 0);
        stream.join_soon();
    }
}

#[test]
fn a_server_that_sends_bytes_of_one_message_for_ever_costs_the_close_timeout() {
    let (_server, manager, near, mut far) = pair(LIMIT);
    let trickle = spawn(move || {
        // The head of a frame of 65535 bytes.
        let head = &[0x82, 126, 0xFF, 0xFF];
        let mut sent = far.get_mut().write_all(head);
        while sent.is_ok() {
            thread::sleep(ms(2));
            sent = far.get_mut().write_all(&[0]);
        }
    });
    takes_the_limit(&manager, near);
    trickle.join_soon();
}

#[test]
fn a_server_that_does_not_read_costs_the_close_timeout() {
    let (_server, manager, near, far) = pair(LIMIT);
    // Until the buffer has no space for a close frame.
    near.tcp().set_nonblocking(true).unwrap();
    let mut full = 0;
    while full < 3 {
        let written = { near.tcp() }.write(&[0; 4096]);
        if let Err(error) = written {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            full += 1;
            thread::sleep(ms(2));
        } else {
            full = 0;
        }
    }
    near.tcp().set_nonblocking(false).unwrap();
    takes_the_limit(&manager, near);
    drop(far);
}

#[test]
fn a_server_that_is_gone_is_not_waited_for() {
    let ends: [fn(Far); 3] = [
        |far| drop(far),
        reset,
        |mut far| {
            let frame = CloseFrame {
                code: CloseCode::Away,
                reason: "".into(),
            };
            far.close(Some(frame)).unwrap();
        },
    ];
    for end in ends {
        let (_server, manager, near, far) = pair(secs(60));
        end(far);
        arrives(near.tcp());
        let ((), took) = timed(|| manager.dispose(near));
        assert_at(took, Duration::ZERO);
    }
}

#[test]
fn without_a_close_timeout_the_server_is_told_and_not_waited_for() {
    let (_server, manager, near, far) = pair(Duration::ZERO);
    let ((), took) = timed(|| manager.dispose(near));
    assert_at(took, Duration::ZERO);
    assert_eq!(sees_close(far), Some(1000));
}

#[test]
fn a_pool_of_servers_that_never_answer_is_closed_within_one_close_timeout() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().close_timeout(LIMIT).build();
    let (builder, _clock) = websocket::pool("wc-many", 4, &manager);
    let pool = builder.build_lazy(manager).unwrap();
    common::fill(&pool, 4);
    let fars = [0; 4].map(|_| clients.next());
    let (closed, took) = timed(|| pool.close_timeout(SOON));
    closed.unwrap();
    assert_at(took, LIMIT);
    leave(&pool);
    drop(fars);
}

#[test]
fn a_slot_is_free_when_the_close_is_over() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().close_timeout(LIMIT).build();
    let (pool, _clock, guard, far) = one("wc-slot", &clients, manager);
    let start = common::now();
    PooledConnection::discard(guard);
    let guard = pool.get_timeout(SOON).unwrap();
    assert_at(start.elapsed(), LIMIT);
    drop((guard, clients.next(), far));
    leave(&pool);
}

#[test]
fn messages_that_nobody_read_are_counted_and_warned_of_when_they_go_down_with_a_connection() {
    let (server, clients) = Server::by_hand();
    let manager = server.manager().build();
    let mut near = manager.create().unwrap();
    let mut far = clients.next();
    (0..3).for_each(|number| far.send(text(number)).unwrap());
    // One is read, one is kept, and one is still unread in the socket.
    let length = frame(0x81, b"message 0").len();
    websocket::arrive(near.tcp(), 3 * length);
    assert_eq!(near.read().unwrap(), text(0));
    let far = spawn(move || sees_close(far));
    let warnings = Arc::new(AtomicUsize::new(0));
    let listener = Warnings(Arc::clone(&warnings));
    let clone = manager.clone();
    tracing::subscriber::with_default(listener, || clone.dispose(near));
    assert_eq!(manager.unread(), 2);
    assert_eq!(warnings.load(Ordering::SeqCst), 1);
    far.join_soon();
    eventually(|| server.open() == 0);
}

/// Counts warnings of the crate.
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "conpool" && *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
