//! Whole pools: a pool with its users, operators and faults.

use super::backend::{Backend, Faults, HANG};
use super::users::{
    assert_balanced, assert_closes, assert_full_capacity, get_only_user, operator, user,
};
use super::{explore, explore_in, schedules};
use crate::sync::outer::thread::spawn;
use crate::sync::world::{self, Flaw};
use crate::{Backoff, Fairness, HealthCheck, HealthState, Pool, PoolBuilder};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Returns a builder of a pool that waits without limit and checks often.
///
/// The pool has no hook timeouts: in the time of a schedule, any hook may seem to hang.
fn builder(size: usize) -> PoolBuilder<Backend> {
    Pool::builder()
        .name("schedule")
        .max_size(size)
        .get_timeout(Duration::MAX)
        .health_check(HealthCheck::AfterIdle(Duration::from_millis(2)))
        .create_timeout(Duration::MAX)
        .check_timeout(Duration::MAX)
        .dispose_timeout(Duration::MAX)
        .backoff(Backoff::default().with_initial(Duration::from_millis(10)))
}

fn join(threads: impl IntoIterator<Item = crate::sync::outer::thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("a thread of the test does not panic");
    }
}

/// Three users share two connections, without faults.
pub(super) fn sharing() -> impl FnOnce() {
    let backend = Backend::new(Faults::default());
    let counts = Arc::clone(&backend.counts);
    let pool = world::spared(|| builder(2).build_lazy(backend).unwrap());
    join([0; 3].map(|_| get_only_user(&pool, 3)));
    assert_closes(&pool);
    move || assert_balanced(&counts, 2)
}

#[test]
fn everybody_is_served() {
    explore(sharing);
}

#[test]
fn everybody_is_served_when_threads_are_refused() {
    explore_in(Some(Flaw::NoThreads), schedules(), sharing);
}

/// Users and an operator use a pool with these faults.
fn use_and_operate(
    builder: PoolBuilder<Backend>,
    faults: Faults,
    most_open: usize,
) -> impl FnOnce() {
    let backend = Backend::new(faults);
    let counts = Arc::clone(&backend.counts);
    let pool = world::spared(|| builder.build_lazy(backend).unwrap());
    let acting = [
        user(&pool, 3),
        user(&pool, 3),
        third_user(&pool, faults),
        operator(&pool, 4),
    ];
    join(acting);
    assert_full_capacity(&pool, 2);
    assert_closes(&pool);
    move || assert_balanced(&counts, most_open)
}

/// Spawns a user that must get its connections, unless faults can make a get fail for good.
fn third_user(pool: &Pool<Backend>, faults: Faults) -> crate::sync::outer::thread::JoinHandle<()> {
    match faults.permanent + faults.panics {
        0 => get_only_user(pool, 2),
        _ => user(pool, 2),
    }
}

#[test]
fn the_counts_agree_whatever_users_and_operators_do() {
    // 3 by set_max_size, 4 that the operator opened to add, and 6 that users detached.
    explore(|| use_and_operate(builder(2), Faults::default(), 3 + 4 + 6));
}

#[test]
fn the_counts_agree_in_strict_order_and_under_checks_of_every_checkout() {
    explore(|| {
        let builder = builder(2)
            .fairness(Fairness::Strict)
            .health_check(HealthCheck::OnCheckout);
        use_and_operate(builder, Faults::default(), 3 + 4 + 6)
    });
}

#[test]
fn the_holder_of_a_new_connection_sees_the_pool_healthy() {
    explore(|| {
        let backend = Backend::new(Faults::default());
        let counts = Arc::clone(&backend.counts);
        let pool = world::spared(|| builder(2).build_lazy(backend).unwrap());
        for _ in 0..6 {
            let mut got = pool.get().expect("a connection");
            assert_eq!(pool.health(), HealthState::Healthy);
            got.broken = true;
            drop(got);
        }
        assert_closes(&pool);
        move || assert_balanced(&counts, 2)
    });
}

#[test]
fn an_eager_build_fails_or_opens_what_it_promised() {
    explore(|| {
        let faults = Faults {
            transient: 20,
            permanent: 20,
            panics: 10,
            hangs: 0,
        };
        let backend = Backend::new(faults);
        let counts = Arc::clone(&backend.counts);
        if let Ok(pool) = builder(3).min_idle(2).build(backend) {
            assert_eq!(pool.stats().idle, 2);
            assert_closes(&pool);
        }
        move || assert_balanced(&counts, 3)
    });
}

#[test]
fn the_counts_agree_while_hooks_fail() {
    let faults = Faults {
        transient: 15,
        permanent: 10,
        panics: 10,
        hangs: 0,
    };
    explore(move || use_and_operate(builder(2), faults, 3 + 4 + 6));
}

#[test]
fn the_counts_agree_while_hooks_hang() {
    let faults = Faults {
        transient: 10,
        hangs: 15,
        ..Faults::default()
    };
    explore(move || {
        let builder = builder(2)
            .create_timeout(HANG / 2)
            .check_timeout(HANG / 3)
            .dispose_timeout(HANG / 4);
        use_and_operate(builder, faults, 3 + 4 + 6 + 4)
    });
}

#[test]
fn the_counts_agree_while_threads_are_refused_and_hooks_fail() {
    let faults = Faults {
        transient: 10,
        permanent: 10,
        ..Faults::default()
    };
    explore_in(Some(Flaw::NoThreads), schedules(), move || {
        use_and_operate(builder(2), faults, 3 + 4 + 6)
    });
}

#[test]
fn the_counts_agree_without_any_thread_of_the_pool() {
    let faults = Faults {
        transient: 15,
        permanent: 10,
        panics: 10,
        hangs: 0,
    };
    explore(move || use_and_operate(builder(2).background_collector(false), faults, 3 + 4 + 6));
}

#[test]
fn the_counts_agree_while_connections_expire_and_the_pool_refills() {
    explore(|| {
        let builder = builder(2)
            .min_idle(1)
            .idle_timeout(Some(SECOND))
            .max_lifetime(Some(SECOND * 3))
            .keepalive_interval(Some(SECOND / 2));
        use_and_operate(builder, Faults::default(), 3 + 4 + 6)
    });
}

#[test]
fn a_close_under_load_ends_every_wait_and_every_connection() {
    explore(|| {
        let faults = Faults {
            transient: 20,
            panics: 5,
            ..Faults::default()
        };
        let backend = Backend::new(faults);
        let counts = Arc::clone(&backend.counts);
        let pool = builder(2).build_lazy(backend).unwrap();
        let users = [user(&pool, 3), user(&pool, 3), operator(&pool, 3)];
        let closing = spawn({
            let pool = pool.clone();
            move || {
                world::sleep(Duration::from_millis(2));
                pool.close();
            }
        });
        join(users);
        join([closing]);
        assert!(pool.get().unwrap_err().is_closed());
        assert_closes(&pool);
        move || assert_balanced(&counts, 3 + 3 + 6)
    });
}

#[test]
fn the_last_handle_may_go_while_guards_are_out() {
    explore(|| {
        let backend = Backend::new(Faults::default());
        let counts = Arc::clone(&backend.counts);
        let pool = builder(2).min_idle(1).build_lazy(backend).unwrap();
        let users = [0; 2].map(|_| {
            let pool = pool.clone();
            spawn(move || {
                let got = pool.get().expect("a connection");
                drop(pool);
                got.use_exclusively(world::turn);
            })
        });
        drop(pool);
        join(users);
        move || assert_balanced(&counts, 2)
    });
}
