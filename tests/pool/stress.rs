//! Many threads for a while. `CONPOOL_STRESS_SEED` repeats the random numbers of a run (not its
//! interleaving), `CONPOOL_STRESS_MS` sets the duration.

use crate::chaos;
use crate::common;

use chaos::{
    settings::{Settings, below, scrambled},
    user,
};
use common::{
    Gate, Rng, SOON, Task, all_disposed, close_clean, eventually, ms, now, quick, secs, spawn,
    threads,
};
use conpool::MemoryManager;
use std::{
    collections::HashSet,
    env,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// The seed and the duration of this run.
fn wanted() -> (u64, Duration) {
    let number = |name| env::var(name).ok().map(|text| text.parse().expect(name));
    let seed = number("CONPOOL_STRESS_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    // The test harness shows it only when a test fails.
    println!("CONPOOL_STRESS_SEED={seed}");
    (seed, ms(number("CONPOOL_STRESS_MS").unwrap_or(1500)))
}

#[test]
fn five_hundred_threads_share_three_connections_and_everybody_is_served() {
    const THREADS: usize = 500;
    const ROUNDS: usize = 20;
    let backend = MemoryManager::new();
    let pool = quick("crowd")
        .max_size(3)
        .get_timeout(secs(60))
        .build(backend.clone())
        .unwrap();
    let held = Arc::new(Mutex::new(HashSet::new()));
    let start = Gate::default();
    let users: Vec<_> = (0..THREADS)
        .map(|number| {
            let (pool, held, start) = (pool.clone(), Arc::clone(&held), start.clone());
            spawn(move || {
                start.pass();
                for round in 0..ROUNDS {
                    let mut connection = pool.get().unwrap();
                    let id = connection.id();
                    assert!(held.lock().unwrap().insert(id), "{id} has two users");
                    let key = format!("{number}-{round}");
                    connection.execute(&format!("SET {key} {id}")).unwrap();
                    if (number + round) % 7 == 0 {
                        thread::sleep(Duration::from_micros(50));
                    }
                    let answer = connection.execute(&format!("GET {key}")).unwrap();
                    assert_eq!(answer, id.to_string());
                    assert!(held.lock().unwrap().remove(&id));
                }
            })
        })
        .collect();
    start.open();
    let begun = now();
    while !users.iter().all(Task::is_finished) {
        assert!(begun.elapsed() < secs(60), "wedged: {}", pool.stats());
        thread::sleep(ms(5));
    }
    users.into_iter().for_each(Task::join_soon);
    let stats = pool.stats();
    assert_eq!(stats.gets, (THREADS * ROUNDS) as u64, "{stats}");
    assert_eq!(stats.error_rate(), 0.0, "{stats}");
    let seen = backend.counters();
    assert!(seen.peak_open <= 3 && seen.created == 3, "{seen:?}");
    close_clean(&pool, &backend);
}

#[test]
fn a_mix_of_everything_keeps_every_connection_in_exactly_one_place() {
    let (seed, time) = wanted();
    let settings = Settings::throw(&mut scrambled(seed));
    println!("{settings:?}");
    user::mix(seed, time, &settings);
}

/// Runs one pool from its first connection to its end. A guard and another user may outlive it.
fn one_pool(rng: &mut Rng) {
    let size = 1 + below(rng, 6);
    let backend = MemoryManager::new();
    let pool = quick("mayfly")
        .max_size(size)
        .background_collector(rng.below(2) == 0)
        .build(backend.clone())
        .unwrap();
    let user = pool.clone();
    let using = spawn(move || {
        for _ in 0..20 {
            match user.get_timeout(SOON) {
                Ok(mut connection) => assert_eq!(connection.execute("PING").unwrap(), "PONG"),
                Err(error) => assert!(error.is_closed(), "{error}"),
            }
        }
    });
    let mut late = pool.get_timeout(SOON).unwrap();
    if rng.below(2) == 0 {
        pool.close();
    }
    drop(pool);
    assert_eq!(late.execute("PING").unwrap(), "PONG");
    drop(late);
    using.join_soon();
    all_disposed(&backend);
    let seen = backend.counters();
    assert!(seen.peak_open <= size, "{seen:?}");
}

#[test]
fn pools_that_come_and_go_at_once_share_nothing_but_the_slots_they_leave() {
    let (seed, time) = wanted();
    let end = now() + time / 2;
    let makers: Vec<_> = (0..4)
        .map(|number| {
            let mut rng = scrambled(seed.wrapping_sub(number + 1));
            spawn(move || {
                while now() < end {
                    one_pool(&mut rng);
                }
            })
        })
        .collect();
    thread::sleep(time / 2);
    makers.into_iter().for_each(Task::join_soon);
    eventually(|| threads("mayfly") == 0);
}
