//! The full stack over real TCP: many threads, one connection, and a device with faults.

use crate::bridge;
use crate::common;
use crate::support;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use bridge::{
    DEVICES, PATIENCE, Rising, ask, bridge, close_clean, manager, ms, next_reply, preset,
    press_button, read_repeatedly, sockets_to,
};
use common::{noise, now};
use conpool::{ConbusSocketManager, EvictReason, GetError, PoolBuilder, PooledConnection};
use support::{
    client::{self, ClientError},
    emulator::{Emulator, Ending},
    sockets,
    telegram::{self, FrameBuffer},
};

const THREADS: u32 = 8;

#[test]
fn eight_threads_share_the_one_connection_of_a_bridge_that_hangs_up_and_talks_out_of_turn() {
    let bridge = bridge()
        .idle_close(ms(60))
        .reply_delay(ms(2))
        .start()
        .unwrap();
    let devices: Vec<_> = (1..)
        .zip(DEVICES)
        .map(|(n, serial)| Rising::new(serial, n))
        .collect();
    devices.iter().for_each(|device| device.rise(&bridge));
    let pool = preset().build(manager(bridge.addr())).unwrap();
    let start = Instant::now();
    let (retried, finished) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !finished.load(SeqCst) {
                thread::sleep(ms(7));
                press_button(&bridge);
                devices.iter().for_each(|device| device.rise(&bridge));
            }
        });
        let readers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (pool, devices, retried) = (&pool, &devices, &retried);
                scope.spawn(move || {
                    for read in 0..50 {
                        let device = &devices[((number + read) % 4) as usize];
                        let least = device.at_least.load(SeqCst);
                        let (celsius, broken) = read_repeatedly(pool, device.serial);
                        let most = device.at_most.load(SeqCst);
                        #[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
                        let tenths = (celsius * 10.0).round() as i32;
                        assert!(
                            (least..=most).contains(&tenths),
                            "{tenths} is not of this request: {least} to {most}"
                        );
                        retried.fetch_add(broken, SeqCst);
                        if read % 10 == 9 {
                            // All threads pause about now, and the device closes the idle connection.
                            thread::sleep(ms(150));
                        }
                    }
                })
            })
            .collect();
        // The event thread must end, whatever the readers return.
        let outcomes: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        finished.store(true, SeqCst);
        for outcome in outcomes {
            outcome.unwrap();
        }
    });
    let elapsed = start.elapsed();
    close_clean(&pool, &bridge);

    let (stats, seen) = (pool.stats(), bridge.counters());
    let retried = retried.load(SeqCst);
    assert_eq!(stats.gets, u64::from(THREADS * 50) + retried, "{stats}");
    assert_eq!(stats.error_rate(), 0.0, "{stats}");
    assert_eq!((seen.peak_open, seen.refused), (1, 0), "{seen:?}");
    assert_eq!(seen.accepted, stats.created, "{seen:?}, {stats}");
    // Connections ended by their age or by the device, and for no other reason.
    let lives = elapsed.as_secs_f64() / 0.3;
    #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
    let (accepted, cut) = (seen.accepted as f64, (seen.idle_closed + retried) as f64);
    assert!(accepted >= lives * 0.5, "{accepted} in {elapsed:?}");
    // The jitter shortens a lifetime by up to a tenth.
    assert!(
        accepted <= lives / 0.9 + cut + 2.0,
        "{accepted} in {elapsed:?}, of which {cut} were cut short"
    );
    assert!(seen.idle_closed > 0 && seen.pushed > 0, "{seen:?}");
}

#[test]
fn when_the_server_is_killed_under_load_nobody_waits_too_long_and_its_return_heals_everything() {
    const BUDGET: Duration = ms(200);
    let bridge = bridge().start().unwrap();
    let pool = preset().build(manager(bridge.addr())).unwrap();
    let served: Vec<_> = (0..THREADS).map(|_| AtomicU64::new(0)).collect();
    let (refused, slowest) = (AtomicU64::new(0), AtomicU64::new(0));
    let finished = AtomicBool::new(false);
    let run_user = |served: &AtomicU64| {
        while !finished.load(SeqCst) {
            let start = now();
            let got = pool.get_timeout(BUDGET);
            let took = u64::try_from(start.elapsed().as_micros()).unwrap();
            slowest.fetch_max(took, SeqCst);
            match got {
                Ok(mut conn) => match client::read_temperature(&mut conn, DEVICES[0], PATIENCE) {
                    Ok(celsius) => {
                        assert_eq!(celsius, 23.5);
                        served.fetch_add(1, SeqCst);
                    }
                    Err(ClientError::Io(_) | ClientError::Closed) => {
                        PooledConnection::discard(conn);
                    }
                    Err(error) => panic!("{error}"),
                },
                Err(error) => {
                    assert!(error.is_timeout(), "{error}");
                    if error.last_create_error().is_some() {
                        refused.fetch_add(1, SeqCst);
                    }
                }
            }
        }
    };
    let all_are_served = || {
        let before: Vec<_> = served.iter().map(|count| count.load(SeqCst)).collect();
        let start = Instant::now();
        let more = || {
            (0..)
                .zip(&before)
                .all(|(n, b): (usize, _)| served[n].load(SeqCst) > *b)
        };
        while !more() && start.elapsed() < PATIENCE {
            thread::sleep(ms(1));
        }
        more()
    };
    let outcome = thread::scope(|scope| {
        for count in &served {
            scope.spawn(|| run_user(count));
        }
        let mut outcome = Vec::new();
        for _ in 0..3 {
            outcome.push(all_are_served());
            bridge.stop();
            thread::sleep(BUDGET * 2);
            bridge.restart().unwrap();
        }
        outcome.push(all_are_served());
        finished.store(true, SeqCst);
        outcome
    });
    let (stats, seen) = (pool.stats(), bridge.counters());
    assert_eq!(outcome, [true; 4], "{stats}, {seen:?}");
    let slowest = Duration::from_micros(slowest.load(SeqCst));
    assert!(
        slowest <= BUDGET + noise(),
        "a get took {slowest:?}, {stats}"
    );
    assert!(
        refused.load(SeqCst) > 0,
        "nobody was told the cause, {stats}"
    );
    assert_eq!(seen.peak_open, 1, "{seen:?}");
    close_clean(&pool, &bridge);
}

#[test]
fn a_device_that_resets_its_clients_costs_a_repeated_read_and_nothing_else() {
    let bridge = bridge()
        // Out of step with eight threads that take turns: each meets a reset from time to time.
        .drop_after_n(6)
        .rst_instead_of_fin(true)
        .start()
        .unwrap();
    let pool = PoolBuilder::from(ConbusSocketManager::pool_config())
        .build(manager(bridge.addr()))
        .unwrap();
    let retried = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..20 {
                    let (celsius, broken) = read_repeatedly(&pool, DEVICES[0]);
                    assert_eq!(celsius, 23.5);
                    retried.fetch_add(broken, SeqCst);
                }
            });
        }
    });
    let (stats, seen) = (pool.stats(), bridge.counters());
    let retried = retried.load(SeqCst);
    // Six answers, then the reset: 26 connections were used up, the last still works.
    assert_eq!(retried, 26, "{stats}");
    assert_eq!(seen.dropped, retried);
    assert_eq!(stats.evicted(EvictReason::Discarded), retried);
    assert_eq!((seen.peak_open, seen.refused), (1, 0), "{seen:?}");
    close_clean(&pool, &bridge);
}

#[test]
fn a_connection_that_was_reset_while_idle_is_never_handed_out() {
    let bridge = bridge().start().unwrap();
    let pool = preset().build(manager(bridge.addr())).unwrap();
    for ending in [Ending::Rst, Ending::Fin, Ending::Rst] {
        assert_eq!(read_repeatedly(&pool, DEVICES[0]), (23.5, 0));
        // Complete when the sockets are closed; on loopback the other end sees it at once.
        bridge.close_all_clients(ending);
    }
    assert_eq!(read_repeatedly(&pool, DEVICES[0]), (23.5, 0));
    close_clean(&pool, &bridge);
}

/// Serves one client at a time: sends three replies, half-closes, and waits for the client's close. Returns
/// the number of clients before the first one that sends nothing.
fn half_closing_server(listener: &TcpListener) -> u64 {
    for clients in 0.. {
        let mut client = listener.accept().unwrap().0;
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut frames, mut replies, mut silent) = (FrameBuffer::default(), 0, true);
        loop {
            let mut chunk = [0; 256];
            let length = client.read(&mut chunk).unwrap();
            if length == 0 {
                break;
            }
            silent = false;
            frames.push(&chunk[..length]);
            while frames.next_frame().is_some() && replies < 3 {
                replies += 1;
                client
                    .write_all(&telegram::reply(DEVICES[0], 2, "18+23,5§C"))
                    .unwrap();
                if replies == 3 {
                    client.shutdown(Shutdown::Write).unwrap();
                }
            }
        }
        if silent {
            return clients;
        }
    }
    unreachable!("bug: there is no last number");
}

#[test]
fn a_device_that_half_closes_is_left_alone_and_another_connection_serves() {
    let listener = sockets::listener();
    let address = listener.local_addr().unwrap();
    let device = thread::spawn(move || half_closing_server(&listener));
    let pool = PoolBuilder::from(ConbusSocketManager::pool_config())
        .min_idle(0)
        .build(manager(address))
        .unwrap();

    // Without load the end arrives before the next checkout, and users see no error.
    for _ in 0..9 {
        assert_eq!(read_repeatedly(&pool, DEVICES[0]), (23.5, 0));
        thread::sleep(ms(20));
    }
    // Under load a request may cross the end.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..12 {
                    assert_eq!(read_repeatedly(&pool, DEVICES[0]).0, 23.5);
                }
            });
        }
    });
    pool.close_timeout(PATIENCE).unwrap();
    let stats = pool.stats();
    assert_eq!(stats.created, stats.disposed, "{stats}");
    assert_eq!(sockets_to(address), 0);

    // 57 reads at three a connection: every read was answered once, and every connection was used up.
    drop(TcpStream::connect(address).unwrap());
    let clients = device.join().unwrap();
    assert_eq!(clients, 19, "{stats}");
    assert!(clients <= stats.created, "{stats}");
}

#[test]
fn a_reply_that_comes_after_the_clients_timeout_never_reaches_the_next_caller() {
    let bridge = bridge().reply_delay(ms(100)).start().unwrap();
    // Connections must not expire before the late reply has arrived.
    let pool = preset()
        .idle_timeout(None)
        .max_lifetime(None)
        .build(manager(bridge.addr()))
        .unwrap();
    // Whether the connection is discarded (correct) or returned with a reply still under way (wrong).
    for (round, discards) in (0..).zip([true, false, true, false]) {
        bridge.set_reply_delay(ms(100));
        bridge.set_temperature(DEVICES[0], 100 + round);
        let mut conn = pool.get_timeout(PATIENCE).unwrap();
        let late = client::read_temperature(&mut conn, DEVICES[0], ms(20)).unwrap_err();
        assert!(matches!(late, ClientError::TimedOut(_)) && late.is_broken());
        if discards {
            PooledConnection::discard(conn);
        } else {
            // A copy of the socket tells when the late reply has arrived.
            let socket_copy = conn.try_clone().unwrap();
            drop(conn);
            socket_copy.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(socket_copy.peek(&mut [0]).unwrap(), 1);
        }

        bridge.set_reply_delay(Duration::ZERO);
        bridge.set_temperature(DEVICES[0], 200 + round);
        let mut conn = pool.get_timeout(PATIENCE).unwrap();
        ask(&mut conn, DEVICES[0]);
        let reply = next_reply(&mut conn);
        assert_eq!(
            reply.value(),
            format!("+20,{round}§C"),
            "discards: {discards}"
        );
    }
    assert_eq!(bridge.counters().refused, 0);
    close_clean(&pool, &bridge);
}

#[test]
fn replies_to_others_that_reached_an_idle_connection_are_gone_at_its_checkout() {
    let bridge = Emulator::builder().start().unwrap();
    let pool = PoolBuilder::from(ConbusSocketManager::pool_config())
        .max_size(2)
        .build(manager(bridge.addr()))
        .unwrap();
    let mut first = pool.get_timeout(PATIENCE).unwrap();
    for round in 0..10 {
        let second = pool.get_timeout(PATIENCE).unwrap();
        // A connect may complete before the bridge has accepted its client.
        assert!(bridge.wait_for(|seen| seen.open == 2, PATIENCE));
        // A copy of the socket tells what has arrived there.
        let socket_copy = second.try_clone().unwrap();
        socket_copy.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(second);
        press_button(&bridge);
        ask(&mut first, DEVICES[round % 2]);
        let reply = telegram::reply(DEVICES[round % 2], 2, "18+23,5§C");
        let mut seen = [0; 256];
        let start = Instant::now();
        loop {
            let length = socket_copy.peek(&mut seen).unwrap();
            if seen[..length].windows(reply.len()).any(|at| at == reply) {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "the reply goes to everybody");
            thread::yield_now();
        }
        let mut second = pool.get_timeout(PATIENCE).unwrap();
        ask(&mut second, DEVICES[2]);
        assert_eq!(next_reply(&mut second).serial, DEVICES[2], "round {round}");
    }
    drop(first);
    close_clean(&pool, &bridge);
}

#[test]
fn a_caller_learns_why_there_is_no_connection_and_the_device_may_come_later() {
    let bridge = bridge().start().unwrap();
    bridge.stop();
    let pool = preset()
        .get_timeout(ms(100))
        .build_lazy(manager(bridge.addr()))
        .unwrap();
    let error = pool.get().unwrap_err();
    let GetError::TimedOut(timeout) = &error else {
        panic!("{error}");
    };
    assert!(
        timeout.last.is_some() && error.last_create_error().is_some(),
        "{error}"
    );
    bridge.restart().unwrap();
    assert_eq!(read_repeatedly(&pool, DEVICES[0]).0, 23.5);
    close_clean(&pool, &bridge);
}
