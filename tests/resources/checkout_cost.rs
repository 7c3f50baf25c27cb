//! The cost of a checkout must not grow with the number of idle connections. The measure is the processor
//! time of the calling thread, which shows a walk over thousands of slots even on a busy machine.

#![cfg(target_os = "linux")]

use conpool::{ConnectionManager, HealthCheck, Pool, PoolBuilder, PooledConnection};
use rustix::time::{ClockId, clock_gettime};
use std::{convert::Infallible, time::Duration};

const FEW: usize = 10;
const MANY: usize = 5000;
/// The allowed factor between few and many connections; a walk takes a hundred times as long.
const TIMES: u32 = 5;
/// A cost too short to compare.
const NOTHING: Duration = Duration::from_micros(5);

struct Numbers {
    check_may_block: bool,
}

impl ConnectionManager for Numbers {
    type Connection = u64;
    type Error = Infallible;

    fn create(&self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn check_aliveness(&self, _: &mut u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn check_may_block(&self) -> bool {
        self.check_may_block
    }
}

/// A pool with `n` idle connections.
fn filled(builder: PoolBuilder<Numbers>, check_may_block: bool, n: usize) -> Pool<Numbers> {
    let builder = builder.max_size(n).get_timeout(Duration::from_secs(60));
    let pool = builder.build_lazy(Numbers { check_may_block }).unwrap();
    for _ in 0..n {
        pool.add(0).unwrap();
    }
    pool
}

/// A pool and some connections in use.
type Used = (Vec<PooledConnection<Numbers>>, Pool<Numbers>);

/// The processor time of a checkout and its check-in on this thread, which has used other pools in between
/// and has no cached slot of this pool.
fn cost(pool: &Pool<Numbers>, others: &[Pool<Numbers>]) -> Duration {
    for other in others {
        drop(other.get().unwrap());
    }
    let before = clock_gettime(ClockId::ThreadCPUTime);
    drop(pool.get().unwrap());
    let took = clock_gettime(ClockId::ThreadCPUTime) - before;
    took.try_into().unwrap()
}

fn unchecked() -> PoolBuilder<Numbers> {
    Pool::builder().health_check(HealthCheck::Never)
}

/// Measures both in turn, so that other load affects both. The fastest quarter of each counts.
#[track_caller]
fn does_not_grow(used: impl Fn(usize) -> Used) {
    let others: Vec<_> = (0..16)
        .map(|_| filled(unchecked().background_collector(false), false, 1))
        .collect();
    let (few, many) = (used(FEW), used(MANY));
    let (mut costs, mut among_many) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        costs.push(cost(&few.1, &others));
        among_many.push(cost(&many.1, &others));
    }
    let quarter = |costs: &mut Vec<Duration>| {
        costs.sort();
        costs[costs.len() / 4]
    };
    let (few, many) = (quarter(&mut costs), quarter(&mut among_many));
    assert!(
        many <= few * TIMES + NOTHING,
        "{many:?} beside {MANY} connections, {few:?} beside {FEW}"
    );
}

#[test]
fn an_idle_connection_is_found_as_soon_among_thousands_as_among_ten() {
    does_not_grow(|n| (Vec::new(), filled(unchecked(), false, n)));
}

#[test]
fn the_last_free_one_is_found_as_soon_beside_thousands_in_use() {
    does_not_grow(|n| {
        let pool = filled(unchecked(), false, n);
        let held = (1..n).map(|_| pool.get().unwrap()).collect();
        (held, pool)
    });
}

#[test]
fn a_check_that_does_not_block_costs_no_more_among_thousands() {
    does_not_grow(|n| {
        let builder = Pool::builder().health_check(HealthCheck::OnCheckout);
        (Vec::new(), filled(builder, false, n))
    });
}

#[test]
fn a_checkout_that_waits_for_its_check_does_not_walk_over_all_that_is_idle() {
    does_not_grow(|n| {
        let builder = Pool::builder().health_check(HealthCheck::OnCheckout);
        (Vec::new(), filled(builder, true, n))
    });
}

#[test]
fn without_a_collector_a_checkout_does_not_walk_over_all_that_is_idle() {
    does_not_grow(|n| {
        let builder = unchecked().background_collector(false);
        (Vec::new(), filled(builder, false, n))
    });
}
