//! The cost of features around one pool in a warm `get` and drop.
//!
//! ```text
//! cargo bench --bench costs --all-features    half a minute
//! cargo bench --bench costs -- --test         small and quick, to see that it works
//! ```
//!
//! The rows are measured in turn, round after round, so that other load on the machine affects all of them
//! alike. The ratio is to the plain pool of the same run, which has every feature off. `cargo bench --bench
//! instructions` shows that a feature that is off costs no instructions.

mod nothing;

use conpool::{
    ConnectionManager, HealthCheck, IdleOrder, KeyedPool, Pool, PoolBuilder, PoolEvent,
    PoolObserver, PoolRegistry,
};
use nothing::Nothing;
use std::convert::Infallible;
use std::hint::black_box;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

struct IgnoringRecorder;

impl PoolObserver for IgnoringRecorder {
    fn on_event(&self, event: &PoolEvent) {
        black_box(event);
    }
}

/// Runs the given number of cycles on the calling thread. The first argument is the thread's number.
type Cycles = Box<dyn Fn(u64, u64) + Sync>;

struct Row {
    name: &'static str,
    /// The share of the cycles that this row runs, because its cycle takes microseconds.
    share: u64,
    /// The highest ratio to the plain pool's time, with one thread. `None`: no requirement.
    allowed: Option<f64>,
    cycles: Cycles,
}

fn pool(change: impl FnOnce(PoolBuilder<Nothing>) -> PoolBuilder<Nothing>) -> Cycles {
    let pool = change(Pool::builder()).build(Nothing);
    let pool = pool.expect("nothing can fail");
    Box::new(move |_, cycles| {
        for _ in 0..cycles {
            black_box(&mut *pool.get().expect("one is idle"));
        }
    })
}

/// A manager whose check may block, so that a thread of the pool runs the check.
struct Blocking;

impl ConnectionManager for Blocking {
    type Connection = u64;
    type Error = Infallible;

    fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn check_aliveness(&self, connection: &mut u64) -> Result<(), Infallible> {
        black_box(connection);
        Ok(())
    }
}

fn blocking_check() -> Cycles {
    let pool = Pool::builder().health_check(HealthCheck::OnCheckout);
    let pool = pool.build(Blocking).expect("nothing can fail");
    Box::new(move |_, cycles| {
        for _ in 0..cycles {
            black_box(&mut *pool.get().expect("one is idle"));
        }
    })
}

/// Checkouts by a task, each ready at its first poll.
fn polled() -> Cycles {
    let pool = Pool::builder().build(Nothing).expect("nothing can fail");
    // One for each thread.
    drop([pool.get(), pool.get()]);
    Box::new(move |_, cycles| {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..cycles {
            let mut future = pool.get_async();
            let Poll::Ready(got) = Pin::new(&mut future).poll(&mut context) else {
                panic!("one is idle");
            };
            black_box(&mut *got.expect("one is idle"));
        }
    })
}

/// `count` plain pools: the cost of many keys in the processor's caches alone.
fn pools(count: u64) -> Cycles {
    let pool = |_| {
        Pool::builder()
            .max_size(2)
            .build(Nothing)
            .expect("nothing can fail")
    };
    let pools: Vec<_> = (0..count).map(pool).collect();
    Box::new(move |thread, cycles| {
        let start = thread as usize * pools.len() / 2;
        for pool in pools.iter().cycle().skip(start).take(cycles as usize) {
            black_box(&mut *pool.get().expect("one is idle"));
        }
    })
}

/// A pool looked up by its name each time.
fn registered() -> Cycles {
    let registry = PoolRegistry::new();
    let pool = Pool::builder().build(Nothing).expect("nothing can fail");
    registry.register("orders", pool).expect("the name is free");
    Box::new(move |_, cycles| {
        for _ in 0..cycles {
            let pool = registry.get::<Nothing>("orders").expect("it is there");
            black_box(&mut *pool.get().expect("one is idle"));
        }
    })
}

fn keyed<K>(keys: Vec<K>) -> Cycles
where
    K: Eq + std::hash::Hash + Clone + Send + Sync + 'static,
{
    let pool = KeyedPool::builder().max_total(keys.len() * 2);
    let pool = pool.max_per_key(2).build(|_: &K| Nothing);
    let pool = pool.expect("nothing can fail");
    for key in &keys {
        drop(pool.get(key).expect("nothing can fail"));
    }
    Box::new(move |thread, cycles| {
        // Each thread starts at another key, so that the threads do not follow each other.
        let start = thread as usize * keys.len() / 2;
        let round = keys.iter().cycle().skip(start);
        for key in round.take(cycles as usize) {
            black_box(&mut *pool.get(key).expect("one is idle"));
        }
    })
}

/// A pool whose statistics are published all the time, far more often than a scraper reads them.
#[cfg(feature = "metrics")]
fn published() -> Cycles {
    let pool = Pool::builder()
        .name("published")
        .build(Nothing)
        .expect("nothing can fail");
    let (metrics, told) = (conpool::PoolMetrics::new(), pool.clone());
    thread::spawn(move || {
        loop {
            metrics.publish(&told.stats());
            thread::sleep(Duration::from_millis(10));
        }
    });
    Box::new(move |_, cycles| {
        for _ in 0..cycles {
            black_box(&mut *pool.get().expect("one is idle"));
        }
    })
}

fn rows(keys: u64) -> Vec<Row> {
    let row = |name, allowed, cycles| Row {
        name,
        share: 1,
        allowed,
        cycles,
    };
    let hour = Duration::from_secs(3600);
    let names = |count: u64| {
        (0..count)
            .map(|n| format!("db-{n:05}.example.com"))
            .collect()
    };
    #[cfg_attr(
        not(feature = "metrics"),
        allow(unused_mut, reason = "one row needs a feature")
    )]
    let mut rows = vec![
        row("plain", None, pool(|builder| builder)),
        row(
            "check at each checkout",
            Some(1.5),
            pool(|builder| builder.health_check(HealthCheck::OnCheckout)),
        ),
        Row {
            share: 100,
            ..row(
                "check that may block, at each checkout",
                None,
                blocking_check(),
            )
        },
        row("get_async", Some(1.3), polled()),
        row(
            "IdleOrder::Fifo",
            None,
            pool(|builder| builder.idle_order(IdleOrder::Fifo)),
        ),
        row("max_idle", None, pool(|builder| builder.max_idle(4))),
        row(
            "leak_threshold",
            Some(1.2),
            pool(|builder| builder.leak_threshold(hour)),
        ),
        row(
            "observer that does nothing",
            Some(2.0),
            pool(|builder| builder.observer(IgnoringRecorder)),
        ),
        row("registry, by name each time", None, registered()),
        row("keyed, 1 number", Some(1.6), keyed(vec![7u64])),
        row("keyed, 1 host name", Some(1.8), keyed::<String>(names(1))),
        row(
            "keyed, 100 numbers in turn",
            None,
            keyed((0..100u64).collect()),
        ),
        row("1 000 plain pools in turn", None, pools(keys.min(1_000))),
        row(
            "keyed, 1 000 numbers in turn",
            None,
            keyed((0..keys.min(1_000)).collect()),
        ),
        row(
            "keyed, 10 000 numbers in turn",
            None,
            keyed((0..keys).collect()),
        ),
        row(
            "keyed, 10 000 host names in turn",
            None,
            keyed::<String>(names(keys)),
        ),
    ];
    #[cfg(feature = "metrics")]
    rows.extend([
        row("metrics published 100 times/s", Some(1.1), published()),
        row("metrics as observer, no recorder", Some(3.0), {
            let metrics = conpool::PoolMetrics::new();
            pool(|builder| builder.observer(metrics))
        }),
    ]);
    rows
}

/// Nanoseconds per cycle and thread.
fn measure(row: &Row, threads: u64, cycles: u64) -> f64 {
    let barrier = Barrier::new(threads as usize);
    let body = |thread: u64| {
        // Warm-up: each thread finds a connection of its own first.
        (row.cycles)(thread, cycles / 20);
        barrier.wait();
        let begin = Instant::now();
        (row.cycles)(thread, cycles);
        begin.elapsed().as_nanos() as f64 / cycles as f64
    };
    let times: Vec<f64> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || body(thread)))
            .collect();
        let times = handles
            .into_iter()
            .map(|handle| handle.join().expect("no panic"));
        times.collect()
    });
    times.iter().sum::<f64>() / times.len() as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--test");
    let (rounds, cycles, keys) = if quick {
        (1, 2_000, 100)
    } else {
        (15, 400_000, 10_000)
    };
    let rows = rows(keys);
    for threads in [1, 2] {
        let mut times = vec![Vec::new(); rows.len()];
        for _ in 0..rounds {
            for (row, times) in rows.iter().zip(&mut times) {
                times.push(measure(row, threads, cycles / row.share));
            }
        }
        println!("\n{threads} thread(s)                            ns   x plain");
        let medians: Vec<f64> = times.into_iter().map(median).collect();
        for (row, time) in rows.iter().zip(&medians) {
            let ratio = time / medians[0];
            let verdict = match row.allowed.filter(|_| !quick) {
                Some(allowed) if ratio <= allowed => format!("  at most {allowed}: met"),
                Some(allowed) => format!("  at most {allowed}: MISSED"),
                None => String::new(),
            };
            println!("{:<38} {time:>8.1} {ratio:>8.2}{verdict}", row.name);
        }
    }
    ExitCode::SUCCESS
}
