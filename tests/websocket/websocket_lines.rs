//! WebSockets over links that are slow, split everything into pieces, or swallow it.

#![allow(
    clippy::disallowed_methods,
    reason = "a test of real sockets measures real time"
)]

use crate::common;
use crate::support;
use crate::websocket;

use common::{SOON, eventually, ms, secs, spawn, threads};
use conpool::{EvictReason, WebSocketManager};
use std::time::Duration;
use support::{
    emulator::Ending,
    proxy::{Direction::Downstream, Proxy, Toxic},
};
use websocket::{Guard, Server, echoes, found_dead, leave};

/// A pool of open connections through a proxy to an echo server.
fn through_proxy(
    name: &str,
    size: usize,
    tune: impl FnOnce(conpool::WebSocketManagerBuilder) -> conpool::WebSocketManagerBuilder,
) -> (
    Server,
    Proxy,
    conpool::Pool<WebSocketManager>,
    conpool::ManualClock,
) {
    let server = Server::echo();
    let proxy = Proxy::start(server.address()).unwrap();
    let manager = WebSocketManager::builder(format!("ws://{}/", proxy.addr()))
        .close_timeout(ms(200))
        .read_timeout(SOON)
        .write_timeout(SOON);
    let manager = tune(manager).build();
    let (builder, clock) = websocket::pool(name, size, &manager);
    let pool = builder.build_lazy(manager).unwrap();
    common::fill(&pool, size);
    (server, proxy, pool, clock)
}

#[test]
fn a_slow_line_and_one_that_cuts_everything_to_pieces_cost_time_and_no_connection() {
    let toxics = [
        Toxic::Latency {
            delay: ms(10),
            jitter: ms(8),
        },
        Toxic::Slicer {
            size: 1,
            variation: 0,
            pause: Duration::ZERO,
        },
    ];
    for toxic in toxics {
        let (server, proxy, pool, clock) = through_proxy("wu-slow", 2, |manager| manager);
        proxy.add_both(toxic);
        clock.advance(secs(31));
        let users: Vec<_> = (0..3)
            .map(|user| {
                let pool = pool.clone();
                spawn(move || {
                    for round in 0..8 {
                        let mut guard: Guard = pool.get_timeout(SOON).unwrap();
                        echoes(&mut guard, &format!("{user} in round {round}"));
                    }
                })
            })
            .collect();
        users.into_iter().for_each(|user| user.join_soon());
        let stats = pool.stats();
        assert_eq!((stats.created, stats.check_failures), (2, 0), "{stats}");
        leave(&pool);
        drop((proxy, server));
    }
}

#[test]
fn a_line_that_swallows_everything_is_found_by_the_collectors_ping() {
    crate::resources::process::alone(lose_everything);
}

fn lose_everything() {
    let (server, proxy, pool, clock) =
        through_proxy("wu-hole", 2, |manager| manager.ping_timeout(ms(100)));
    proxy.add_both(Toxic::Timeout { close_after: None });
    clock.advance(secs(31));
    eventually(|| pool.stats().evicted(EvictReason::CheckFailed) == 2);
    proxy.heal();
    let mut guard = pool.get_timeout(SOON).unwrap();
    echoes(&mut guard, "again");
    drop(guard);
    leave(&pool);
    drop((proxy, server));
    eventually(|| threads("proxy-link") == 0);
}

#[test]
fn every_connection_that_was_cut_while_idle_is_replaced_at_its_checkout() {
    for ending in [Ending::Fin, Ending::Rst] {
        let (server, proxy, pool, _clock) = through_proxy("wu-cut", 3, |manager| manager);
        proxy.add(
            Downstream,
            Toxic::Latency {
                delay: ms(1),
                jitter: ms(0),
            },
        );
        assert_eq!(proxy.cut(ending), 3);
        // The proxy has closed them; the last packet may still be under way.
        std::thread::sleep(ms(20));
        let mut guards = common::take(&pool, 3);
        guards.iter_mut().for_each(|guard| echoes(guard, "alive"));
        drop(guards);
        let stats = pool.stats();
        assert_eq!((found_dead(&stats), stats.created), (3, 6), "{stats}");
        leave(&pool);
        drop((proxy, server));
    }
}
