//! Many users of few WebSockets, on a server that stops and restarts; and the system resources afterwards.

#![allow(
    clippy::disallowed_methods,
    reason = "tests are themselves the users' threads"
)]

use crate::common;
use crate::resources;
use crate::support;
use crate::websocket;

use common::{SOON, eventually, ms, spawn};
use conpool::{ConnectionManager, EvictReason, PooledConnection, WebSocketManager};
use resources::{process::alone, usage::Usage};
use std::{
    io::Read,
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use support::sockets::{BlackHole, ClosedPort};
use websocket::{Server, leave, reset_stream, text};

const USERS: usize = 16;
const SOCKETS: usize = 4;
const MESSAGES: usize = 2_000;

#[test]
#[cfg(target_os = "linux")]
fn sixteen_threads_on_four_sockets_outlive_a_restart_of_the_server_with_no_wrong_answer() {
    alone(|| {
        // The latency monitor is a thread of its own, so it starts before the count.
        common::noise();
        let before = Usage::now();
        let server = Server::echo();
        let address = server.address();
        let manager = server.manager().build();
        let (builder, _clock) = websocket::pool("crowd", SOCKETS, &manager);
        let pool = builder.build(manager).unwrap();
        let answered = Arc::new(AtomicUsize::new(0));
        let users: Vec<_> = (0..USERS)
            .map(|user| {
                let (pool, answered) = (pool.clone(), Arc::clone(&answered));
                spawn(move || {
                    let mut broken = 0;
                    for number in (user..MESSAGES).step_by(USERS) {
                        broken += ask(&pool, number);
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                    broken
                })
            })
            .collect();
        eventually(|| answered.load(Ordering::SeqCst) > MESSAGES / 3);
        drop(server);
        let server = Server::echo_again(address);
        let broken: u64 = users.into_iter().map(|user| user.join_soon()).sum();
        assert_eq!(answered.load(Ordering::SeqCst), MESSAGES);

        let stats = pool.stats();
        assert!(stats.peak_in_use <= SOCKETS, "{stats}");
        // Each was found dead either by its user or by the pool.
        assert_eq!(stats.evicted(EvictReason::Discarded), broken, "{stats}");
        assert!(stats.created > SOCKETS as u64, "{stats}");
        leave(&pool);
        eventually(|| server.open() == 0);
        drop((pool, server));
        before.is_restored("the crowd");
    });
}

/// Sends requests until there is an answer, which must be right. Returns how often the connection broke.
fn ask(pool: &conpool::Pool<WebSocketManager>, number: usize) -> u64 {
    let mut broken = 0;
    loop {
        let mut guard = pool.get_timeout(SOON).expect("a connection");
        match guard.send(text(number)).and_then(|()| guard.read()) {
            Ok(answer) => {
                assert_eq!(answer, text(number));
                return broken;
            }
            Err(_) => {
                PooledConnection::discard(guard);
                broken += 1;
            }
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn no_descriptor_and_no_thread_is_left_of_a_create_that_failed() {
    alone(|| {
        let closed = ClosedPort::new().unwrap();
        let hole = BlackHole::new().unwrap();
        let silent = Server::start(|mut client| drop(client.read_to_end(&mut Vec::new())));
        let resets = Server::start(reset_stream);
        let ends = Server::start(drop::<TcpStream>);
        let url = |address| format!("ws://{address}/");
        let failing = [
            WebSocketManager::new("nonsense"),
            WebSocketManager::new(url(closed.addr())),
            WebSocketManager::builder(url(hole.addr()))
                .connect_timeout(ms(10))
                .build(),
            silent.manager().handshake_timeout(ms(10)).build(),
            resets.manager().build(),
            ends.manager().build(),
        ];
        let before = Usage::now();
        for manager in &failing {
            for _ in 0..3 {
                manager.create().unwrap_err();
            }
        }
        eventually(|| silent.open() + resets.open() + ends.open() == 0);
        before.is_restored("failed creates");

        // The same for connections that a pool made, checked, found dead and closed.
        let server = Server::echo();
        let before = Usage::now();
        let manager = server.manager().ping_timeout(SOON).build();
        for _ in 0..5 {
            let mut near = manager.create().unwrap();
            manager.check_aliveness(&mut near).unwrap();
            manager.dispose(near);
        }
        // The server keeps a copy of the last sockets until the next client comes.
        eventually(|| server.open() == 0);
        drop(server);
        assert!(Usage::now().descriptors <= before.descriptors);
        assert!(Usage::now().threads <= before.threads);
    });
}
