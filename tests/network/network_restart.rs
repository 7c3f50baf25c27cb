//! Every fault of a link and of the server behind it, one after the other, under load. Alone in its process,
//! because it counts the process's descriptors and threads.

use crate::common;
use crate::network;
#[allow(dead_code, reason = "only the counting of sockets is used")]
use crate::support;

use common::{Rng, SOON, eventually, ms, noise, now, timed};
use conpool::{ConbusSocketManager, Pool, PooledConnection};
use network::{Fixture, assert_at, bridge, pool};
use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};
use support::{
    client::{self, ClientError},
    emulator::Ending,
    proxy::{
        Direction::{Downstream, Upstream},
        Toxic,
    },
};

const SIZE: usize = 5;
const USERS: usize = 10;
/// The get timeout and the reply timeout of a caller.
const DEADLINE: Duration = ms(100);
const PATIENCE: Duration = ms(60);
/// The duration of a fault.
const FAULT: Duration = ms(80);
/// All different, so that a reply to another request shows.
const DEVICES: [(u64, i32); 5] = [
    (1_302_410_003, 101),
    (1_420_330_004, 202),
    (1_520_331_005, 303),
    (1_620_332_006, -404),
    (1_702_033_007, 505),
];

type Fault = fn(&Fixture);

const FAULTS: [(&str, Fault); 15] = [
    ("connects are refused", |fixture| {
        fixture.proxy.down().unwrap()
    }),
    ("connects are not answered", |fixture| {
        fixture.proxy.black_hole().unwrap();
    }),
    ("every line is closed", |fixture| {
        fixture.proxy.cut(Ending::Fin);
    }),
    ("every line is reset", |fixture| {
        fixture.proxy.cut(Ending::Rst);
    }),
    ("the server resets its clients", |fixture| {
        fixture.bridge.close_all_clients(Ending::Rst);
    }),
    ("the server is down behind the proxy", |fixture| {
        fixture.bridge.stop();
    }),
    ("the server restarts at once", |fixture| {
        fixture.bridge.restart().unwrap();
    }),
    ("nothing gets through", |fixture| {
        fixture.proxy.add_both(Toxic::Timeout { close_after: None });
    }),
    ("silence, and then the end", |fixture| {
        let close_after = Some(ms(30));
        fixture
            .proxy
            .add(Downstream, Toxic::Timeout { close_after });
    }),
    ("new lines are reset after a moment", |fixture| {
        fixture
            .proxy
            .add(Downstream, Toxic::ResetPeer { after: ms(7) });
    }),
    ("lines close in the middle of a reply", |fixture| {
        fixture
            .proxy
            .add(Downstream, Toxic::LimitData { bytes: 100 });
    }),
    ("slow and uneven", |fixture| {
        fixture.proxy.add_both(Toxic::Latency {
            delay: ms(20),
            jitter: ms(20),
        });
    }),
    ("byte by byte", |fixture| {
        fixture.proxy.add_both(Toxic::Slicer {
            size: 2,
            variation: 1,
            pause: ms(1),
        });
    }),
    ("trickles", |fixture| {
        fixture.proxy.add(
            Downstream,
            Toxic::Bandwidth {
                bytes_per_second: 400,
            },
        );
    }),
    ("ends are not passed on", |fixture| {
        let delay = Duration::MAX;
        fixture.proxy.add(Upstream, Toxic::SlowClose { delay });
        fixture.proxy.add(Downstream, Toxic::SlowClose { delay });
        fixture.bridge.close_all_clients(Ending::Fin);
    }),
];

/// One user's share of the load: asserts that every value is right and every get returns in time.
fn run_user(
    pool: &Pool<ConbusSocketManager>,
    number: usize,
    served: &AtomicU64,
    over: &AtomicBool,
) {
    let mut round = number;
    while !over.load(SeqCst) {
        round += 1;
        let (serial, tenths) = DEVICES[round % DEVICES.len()];
        let (got, took) = timed(|| pool.get_timeout(DEADLINE));
        assert_at(took.max(DEADLINE), DEADLINE);
        let mut conn = match got {
            Ok(conn) => conn,
            Err(error) => {
                // Every fault here is transient, so a caller must wait until its deadline.
                assert!(error.is_timeout() && took >= DEADLINE, "{took:?}: {error}");
                continue;
            }
        };
        match client::read_temperature(&mut conn, serial, PATIENCE) {
            Ok(celsius) => {
                assert_eq!((celsius * 10.0).round() as i32, tenths, "device {serial}");
                served.fetch_add(1, SeqCst);
            }
            Err(error @ (ClientError::Refused | ClientError::BadValue(_))) => panic!("{error}"),
            Err(_) => PooledConnection::discard(conn),
        }
    }
}

/// Ends the load even when the test fails in the middle.
struct EndLoad<'a>(&'a AtomicBool);

impl Drop for EndLoad<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn entries(directory: &str) -> usize {
    fs::read_dir(directory).map_or(0, |entries| entries.count())
}

#[test]
fn whatever_happens_to_line_and_server_under_load_nobody_waits_too_long_and_all_are_served_after() {
    crate::process::alone(use_under_faults);
}

fn use_under_faults() {
    // Starts the latency monitor.
    noise();
    let count = || (entries("/proc/self/fd"), entries("/proc/self/task"));
    let before = count();

    let tuned = pool("nr", SIZE).min_idle(1).keepalive_interval(ms(30));
    let fixture = Fixture::with(bridge(), tuned, |manager| {
        manager.connect_timeout(ms(60)).close_wait(ms(40))
    });
    for (serial, tenths) in DEVICES {
        assert!(fixture.bridge.set_temperature(serial, tenths));
    }
    let served: [AtomicU64; USERS] = Default::default();
    let over = AtomicBool::new(false);
    let under_the_cap = || {
        let stats = fixture.pool.stats();
        assert!(stats.size + stats.disposing <= SIZE, "{stats}");
    };
    thread::scope(|scope| {
        let _end = EndLoad(&over);
        for (number, served) in served.iter().enumerate() {
            let (pool, over) = (&fixture.pool, &over);
            scope.spawn(move || run_user(pool, number, served, over));
        }
        let mut faults: Vec<_> = FAULTS.into_iter().collect();
        let mut rng = Rng::new(7);
        while !faults.is_empty() {
            let (name, fault) = faults.swap_remove(rng.below(faults.len() as u64) as usize);
            fault(&fixture);
            let start = now();
            while start.elapsed() < FAULT {
                under_the_cap();
                thread::sleep(ms(1));
            }
            fixture.proxy.heal();
            fixture.proxy.up().unwrap();
            if name.starts_with("the server is down") {
                fixture.bridge.restart().unwrap();
            }
            let mark: Vec<_> = served.iter().map(|count| count.load(SeqCst)).collect();
            let start = now();
            while served
                .iter()
                .zip(&mark)
                .any(|(count, mark)| count.load(SeqCst) == *mark)
            {
                under_the_cap();
                assert!(
                    start.elapsed() < SOON,
                    "after {name:?} somebody is not served: {served:?}, {}",
                    fixture.pool.stats()
                );
                thread::sleep(ms(1));
            }
        }
    });
    let stats = fixture.pool.stats();
    // The faults had an effect, and the pool continued to retry.
    assert!(stats.create_errors > 0 && stats.timeouts > 0, "{stats}");
    assert_eq!(stats.saturated, 0, "{stats}");
    fixture.finish();
    eventually(|| count() == before);
}
