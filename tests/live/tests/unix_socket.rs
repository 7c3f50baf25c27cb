//! The manager of Unix sockets with Redis: load, `CLIENT KILL`, `kill -9` and a restart.

#[path = "../../common/mod.rs"]
mod common;
mod shared;

use common::{SOON, eventually};
use conpool::{EvictReason, Pool, PooledConnection, UnixSocketManager};
use conpool_live::Redis;
use redis::cmd;
use shared::{SIZE, builder, close};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    thread,
};

fn manager(server: &Redis) -> UnixSocketManager {
    UnixSocketManager::builder(server.socket())
        .read_timeout(SOON)
        .write_timeout(SOON)
        .build()
}

/// Sends a command and returns the line of its answer, without the line break.
fn ask(connection: &mut UnixStream, command: &str) -> io::Result<String> {
    connection.write_all(format!("{command}\r\n").as_bytes())?;
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        connection.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map_err(io::Error::other)
}

/// Takes a connection, sends a command, and discards the connection on an error.
fn ask_pool(pool: &Pool<UnixSocketManager>, command: &str) -> io::Result<String> {
    let mut connection = pool.get().unwrap();
    let answer = ask(&mut connection, command);
    if answer.is_err() {
        PooledConnection::discard(connection);
    }
    answer
}

#[test]
fn sixteen_users_share_four_connections_over_the_unix_socket() {
    let Some(server) = Redis::start() else { return };
    let pool = builder("rdunix")
        .get_timeout(SOON)
        .build(manager(&server))
        .unwrap();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert!(ask_pool(&pool, "INCR calls").unwrap().starts_with(':'));
                }
            });
        }
    });
    let calls: u64 = cmd("GET").arg("calls").query(&mut server.admin()).unwrap();
    assert_eq!(calls, 16 * 200);
    let stats = pool.stats();
    assert!(stats.created <= SIZE as u64, "{stats:?}");
    close(&pool);
}

#[test]
fn a_connection_that_the_server_killed_is_not_handed_out() {
    let Some(server) = Redis::start() else { return };
    let pool = builder("rdunixkill")
        .get_timeout(SOON)
        .max_size(1)
        .build(manager(&server))
        .unwrap();
    assert_eq!(ask_pool(&pool, "PING").unwrap(), "+PONG");
    let mut admin = server.admin();
    let killed: u64 = cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .query(&mut admin)
        .unwrap();
    assert_eq!(killed, 1);
    assert_eq!(ask_pool(&pool, "PING").unwrap(), "+PONG");
    let stats = pool.stats();
    let evicted = stats.evicted(EvictReason::HookFailed) + stats.evicted(EvictReason::CheckFailed);
    assert_eq!((stats.created, evicted), (2, 1), "{stats:?}");
    close(&pool);
}

#[test]
fn a_server_that_is_killed_and_started_again_serves_the_same_pool() {
    let Some(mut server) = Redis::start() else {
        return;
    };
    let pool = builder("rdunixback")
        .get_timeout(SOON)
        .build(manager(&server))
        .unwrap();
    assert_eq!(ask_pool(&pool, "PING").unwrap(), "+PONG");
    server.kill();
    // The file of the socket still exists, so a connect is refused.
    let error = pool.get_timeout(common::ms(50)).unwrap_err();
    let cause = error.last_create_error().unwrap();
    assert!(cause.is_transient(), "{cause}");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ask_pool(&pool, "PING"));
        server.start_again();
        assert_eq!(waiting.join().unwrap().unwrap(), "+PONG");
    });
    eventually(|| pool.stats().waiters == 0);
    close(&pool);
}
