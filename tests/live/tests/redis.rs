//! Redis with the r2d2 manager of its client: load, `kill -9`, `CLIENT KILL`, and servers that hang or are
//! full.

#[path = "../../common/mod.rs"]
mod common;
mod shared;

use common::{SOON, eventually, ms, noise, queued, spawn};
use conpool::{EvictReason, HealthCheck, ManualClock, R2d2Manager};
use conpool_live::Redis;
use r2d2::CustomizeConnection;
use redis::{Client, Connection, RedisError, RedisResult, cmd};
use shared::{
    SIZE, builder, callers_time_out_during_a_hang, close, process, serves_in_full,
    timeout_with_cause, under_load, usage::Usage,
};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
};

/// Gives each connection a name that the server shows.
#[derive(Clone, Debug)]
struct Named(&'static str);

impl CustomizeConnection<Connection, RedisError> for Named {
    fn on_acquire(&self, connection: &mut Connection) -> Result<(), RedisError> {
        cmd("CLIENT").arg("SETNAME").arg(self.0).exec(connection)
    }
}

fn manager(server: &Redis, name: &'static str) -> R2d2Manager<Client> {
    R2d2Manager::new(server.client()).customizer(Named(name))
}

/// Sends a request with a unique answer.
fn ask(connection: &mut Connection, number: u64) -> RedisResult<()> {
    let answer: u64 = cmd("ECHO").arg(number).query(connection)?;
    assert_eq!(answer, number, "somebody else's answer");
    Ok(())
}

/// The ids of the connections of this name at the server.
fn connections(admin: &mut Connection, name: &str) -> Vec<u64> {
    let list: String = cmd("CLIENT").arg("LIST").query(admin).unwrap();
    let name = format!(" name={name} ");
    let lines = list.lines().filter(|line| line.contains(&name));
    let id = |line: &str| line.strip_prefix("id=")?.split(' ').next()?.parse().ok();
    lines.map(|line| id(line).unwrap()).collect()
}

/// Ends every connection of this name, and waits until the server has none.
fn kill(admin: &mut Connection, name: &str) -> usize {
    let ids = connections(admin, name);
    for id in &ids {
        let mut command = cmd("CLIENT");
        command.arg("KILL").arg("ID").arg(*id).exec(admin).unwrap();
    }
    eventually(|| connections(admin, name).is_empty());
    ids.len()
}

#[test]
fn sixteen_users_share_four_connections_and_the_server_never_sees_a_fifth() {
    let Some(server) = Redis::start() else { return };
    let pool = builder("rdload")
        .get_timeout(SOON)
        .build(manager(&server, "rdload"))
        .unwrap();
    let increments = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut admin = server.admin();
            let mut most = 0;
            while !done.load(SeqCst) {
                most = most.max(connections(&mut admin, "rdload").len());
            }
            most
        });
        let tally = under_load(
            &pool,
            |connection, number| {
                cmd("INCR").arg("count").exec(connection)?;
                increments.fetch_add(1, SeqCst);
                ask(connection, number)
            },
            |tally| tally.wait_for_more(2000),
        );
        done.store(true, SeqCst);
        assert_eq!(tally.broken.load(SeqCst), 0);
        watch.join().unwrap()
    });
    assert!((1..=SIZE).contains(&most), "{most} connections");
    let mut admin = server.admin();
    let count: u64 = cmd("GET").arg("count").query(&mut admin).unwrap();
    assert_eq!(count, increments.load(SeqCst));
    assert_eq!(pool.stats().created, SIZE as u64, "{}", pool.stats());
    close(&pool);
    eventually(|| connections(&mut admin, "rdload").is_empty());
}

#[test]
fn a_server_killed_under_load_costs_errors_in_time_and_all_is_well_when_it_is_back() {
    let Some(mut server) = Redis::start() else {
        return;
    };
    let pool = builder("rdkill").build(manager(&server, "rdkill")).unwrap();
    let tally = under_load(&pool, ask, |tally| {
        for _ in 0..3 {
            tally.wait_for_more(300);
            server.kill();
            thread::sleep(ms(50));
            server.start_again();
        }
        tally.wait_for_more(300);
    });
    assert!(tally.broken.load(SeqCst) >= 1, "{tally:?}");
    serves_in_full(&pool, |connection| ask(connection, 7));
    let stats = pool.stats();
    assert_eq!((stats.waiters, stats.abandoned), (0, 0), "{stats}");
    let mut admin = server.admin();
    assert_eq!(connections(&mut admin, "rdkill").len(), SIZE);
    close(&pool);
    eventually(|| connections(&mut admin, "rdkill").is_empty());
}

#[test]
fn callers_of_a_server_that_is_down_hear_why_by_their_deadline_and_are_served_when_it_is_back() {
    let Some(mut server) = Redis::start() else {
        return;
    };
    let pool = builder("rddown").build(manager(&server, "rddown")).unwrap();
    server.kill();
    pool.clear();
    let error = timeout_with_cause(&pool, ms(150));
    let cause = error.last_create_error().unwrap();
    assert!(cause.is_connection_refusal(), "{error:?}");

    let waiter = spawn({
        let pool = pool.clone();
        move || {
            pool.get_timeout(SOON * 4)
                .map(|mut guard| ask(&mut guard, 1))
        }
    });
    queued(&pool, 1);
    server.start_again();
    waiter.join_soon().unwrap().unwrap();
    close(&pool);
}

#[test]
fn idle_connections_that_the_administrator_ended_are_not_handed_out() {
    let Some(server) = Redis::start() else { return };
    let mut admin = server.admin();
    for check in [HealthCheck::OnCheckout, HealthCheck::default()] {
        let clock = ManualClock::new();
        let pool = builder("rdidle")
            .health_check(check)
            .clock(clock.clone())
            .build(manager(&server, "rdidle"))
            .unwrap();
        serves_in_full(&pool, |connection| ask(connection, 1));
        assert_eq!(kill(&mut admin, "rdidle"), SIZE);
        // By default a connection is checked after half a second of idle time.
        clock.advance(ms(501));
        serves_in_full(&pool, |connection| ask(connection, 2));
        let stats = pool.stats();
        assert_eq!(
            stats.evicted(EvictReason::CheckFailed),
            SIZE as u64,
            "{stats}"
        );
        assert_eq!((stats.timeouts, stats.create_errors), (0, 0), "{stats}");
        close(&pool);
        // The server takes a moment to notice.
        eventually(|| connections(&mut admin, "rdidle").is_empty());
    }
}

#[test]
fn one_that_is_ended_in_use_shows_in_the_command_and_is_evicted_when_it_comes_back() {
    let Some(server) = Redis::start() else { return };
    let mut admin = server.admin();
    let pool = builder("rduse")
        .max_size(1)
        .build(manager(&server, "rduse"))
        .unwrap();
    let mut held = pool.get_timeout(SOON).unwrap();
    kill(&mut admin, "rduse");
    ask(&mut held, 1).unwrap_err();
    drop(held);
    ask(&mut pool.get_timeout(SOON).unwrap(), 2).unwrap();
    assert_eq!(pool.stats().evicted(EvictReason::Broken), 1);
    close(&pool);
}

#[test]
fn while_the_server_hangs_callers_hear_of_it_by_their_deadline_and_after_it_all_is_well() {
    let Some(server) = Redis::start() else { return };
    let mut admin = server.admin();
    let pool = builder("rdhang")
        .health_check(HealthCheck::OnCheckout)
        .check_timeout(ms(100))
        .create_timeout(ms(100))
        .dispose_timeout(ms(100))
        .build(manager(&server, "rdhang"))
        .unwrap();
    callers_time_out_during_a_hang(&pool, || server.freeze());

    server.thaw();
    eventually(|| pool.stats().abandoned == 0);
    serves_in_full(&pool, |connection| ask(connection, 3));
    eventually(|| connections(&mut admin, "rdhang").len() == SIZE);
    close(&pool);
    eventually(|| connections(&mut admin, "rdhang").is_empty());
}

#[test]
fn a_server_that_takes_fewer_than_max_size_serves_all_with_what_it_takes() {
    let Some(server) = Redis::start() else { return };
    let mut admin = server.admin();
    let limit = |admin: &mut Connection, clients: u64| {
        let mut command = cmd("CONFIG");
        command.arg("SET").arg("maxclients").arg(clients);
        command.exec(admin).unwrap();
    };
    // The administrator's connection counts too.
    limit(&mut admin, 3);
    let pool = builder("rdfull")
        .max_creating(1)
        .build(manager(&server, "rdfull"))
        .unwrap();
    let tally = under_load(&pool, ask, |tally| {
        tally.wait_for_more(500);
        eventually(|| pool.stats().create_errors >= 1);
        tally.wait_for_more(500);
    });
    assert_eq!(tally.broken.load(SeqCst), 0);
    assert!(connections(&mut admin, "rdfull").len() <= 2);
    limit(&mut admin, 100);
    serves_in_full(&pool, |connection| ask(connection, 5));
    close(&pool);
}

#[test]
fn a_guard_goes_where_the_client_takes_a_connection() {
    use redis::Commands;
    let Some(server) = Redis::start() else { return };
    let pool = builder("rdapi").build(manager(&server, "rdapi")).unwrap();
    let mut guard = pool.get_timeout(SOON).unwrap();
    let () = guard.set("colour", "green").unwrap();
    let colour: String = cmd("GET").arg("colour").query(&mut guard).unwrap();
    assert_eq!(colour, "green");
    let both: (u64, u64) = redis::pipe()
        .atomic()
        .incr("a", 1)
        .incr("b", 2)
        .query(&mut guard)
        .unwrap();
    assert_eq!(both, (1, 2));
    drop(guard);
    close(&pool);
}

#[test]
fn when_the_pool_is_gone_so_are_its_descriptors_and_threads() {
    process::alone(|| {
        let Some(mut server) = Redis::start() else {
            return;
        };
        let _ = noise();
        let before = Usage::now();
        let pool = builder("rdgone").build(manager(&server, "rdgone")).unwrap();
        under_load(&pool, ask, |tally| {
            tally.wait_for_more(300);
            server.kill();
            server.start_again();
            tally.wait_for_more(300);
        });
        let guard = pool.get_timeout(SOON).unwrap();
        drop(pool);
        drop(guard);
        before.is_restored("the pool is gone");
    });
}
