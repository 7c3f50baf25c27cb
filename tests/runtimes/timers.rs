//! Timers of tokio around a checkout of the pool.

use crate::common::{Rng, ms, take};
use crate::scenarios::{SERVED, Tally, close_at_rest, pool_of, until};
use crate::tokio_runtimes::{one_thread, several_threads};
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

fn runtimes() -> [Runtime; 2] {
    [one_thread(), several_threads()]
}

#[test]
fn a_timer_that_ends_first_takes_the_task_out_of_the_queue() {
    let (pool, backend) = pool_of("timer", 1);
    for runtime in runtimes() {
        let held = take(&pool, 1);
        runtime.block_on(async {
            let waiting = timeout(ms(20), pool.get_async());
            assert!(waiting.await.is_err(), "every connection is held");
            assert_eq!(pool.stats().waiters, 0);
            drop(held);
            let got = timeout(SERVED, pool.get_async()).await;
            assert_eq!(got.expect("one is idle").unwrap().id(), 1);
        });
    }
    close_at_rest(&pool, &backend, "timer");
}

#[test]
fn the_deadline_of_the_pool_is_an_error_of_the_pool_inside_a_longer_timer() {
    let (pool, _) = pool_of("deadline", 1);
    let _held = take(&pool, 1);
    for runtime in runtimes() {
        let got = runtime.block_on(async { timeout(SERVED, pool.get_async_timeout(ms(20))).await });
        let error = got.expect("the timer is longer").unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
}

#[test]
fn timers_that_end_while_connections_are_handed_off_lose_none() {
    const TASKS: usize = 2_000;
    let (pool, backend) = pool_of("timers", 4);
    for runtime in runtimes() {
        let mut random = Rng::new(11);
        let tally = Arc::new(Tally::default());
        for n in 0..TASKS {
            let (entry, pool, limit) = (tally.enter(), pool.clone(), random.below(40));
            drop(runtime.spawn(async move {
                let got = match n % 2 {
                    // Those that nothing limits keep the connections moving.
                    0 => Ok(pool.get_async().await),
                    _ => timeout(ms(limit), pool.get_async()).await,
                };
                if let Ok(guard) = got {
                    let guard = guard.expect("a connection");
                    if n % 64 == 0 {
                        sleep(ms(1)).await;
                    }
                    drop(guard);
                    entry.served();
                }
            }));
        }
        runtime.block_on(async {
            tally.ended(TASKS).await;
            until(|| pool.stats().in_use == 0).await;
        });
        assert!(tally.served() >= TASKS / 2, "{tally:?}");
        assert_eq!(pool.stats().waiters, 0);
    }
    close_at_rest(&pool, &backend, "timers");
}
