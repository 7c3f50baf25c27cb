//! Ten thousand pools, built and ended, release everything.

#![cfg(target_os = "linux")]

use crate::common;
use crate::resources;
use crate::support;

use common::{SOON, all_disposed, secs, take};
use conpool::{ConbusSocketManager, MemoryManager, Pool, PoolBuilder};
use resources::{
    process,
    usage::{Usage, mappings, resident},
};
use std::{mem, ops::Range, thread, time::Duration};
use support::emulator::Emulator;

/// Two for each cached thread stack, and some for the heap.
const SOME_MAPPINGS: usize = 64;

/// The number of concurrent cycles, and of cycles per thread.
const THREADS: usize = 5;
const EACH: usize = 10;

/// The usage after a number of cycles.
#[derive(Debug)]
struct Left {
    resident: u64,
    mappings: usize,
}

impl Left {
    /// Runs these cycles, several at a time, because a busy machine delays each one. Waits after each batch
    /// until all threads and descriptors are gone.
    fn after(cycles: Range<usize>, before: Usage, cycle: impl Fn(usize) + Sync) -> Self {
        let cycle = &cycle;
        for first in cycles.step_by(THREADS * EACH) {
            thread::scope(|scope| {
                for start in (first..).step_by(EACH).take(THREADS) {
                    scope.spawn(move || (start..start + EACH).for_each(cycle));
                }
            });
            before.is_restored(&format!("the cycles from {first} on"));
        }
        Self {
            resident: resident(),
            mappings: mappings(),
        }
    }

    #[track_caller]
    fn has_not_grown_since(&self, early: &Self, bytes: u64) {
        println!("{early:?}, then {self:?}");
        assert!(
            self.resident <= early.resident + bytes,
            "resident memory grows: {early:?}, then {self:?}"
        );
        assert!(
            self.mappings <= early.mappings + SOME_MAPPINGS,
            "mappings grow: {early:?}, then {self:?}"
        );
    }
}

fn builder<M: conpool::ConnectionManager>() -> PoolBuilder<M> {
    Pool::builder().name("mayfly").max_size(2)
}

/// Builds a pool, uses it and ends it in one of the possible ways.
fn build_use_end(number: usize) {
    let backend = MemoryManager::new();
    if number % 5 == 0 {
        let pool = builder().build_lazy(backend.clone()).unwrap();
        return pool.close();
    }
    let pool = builder()
        .background_collector(number % 25 != 1)
        .build(backend.clone())
        .unwrap();
    let mut guard = pool.get_timeout(SOON).unwrap();
    assert_eq!(guard.execute("PING").unwrap(), "PONG");
    match number % 5 {
        1 => {
            drop(guard);
            pool.close_timeout(SOON).unwrap();
            all_disposed(&backend);
        }
        2 => {
            drop(guard);
            drop(pool);
        }
        3 => {
            drop(pool);
            assert_eq!(guard.execute("PING").unwrap(), "PONG");
            drop(guard);
        }
        _ => {
            pool.close();
            drop(guard);
        }
    }
}

#[test]
fn ten_thousand_pools_leave_no_thread_no_descriptor_and_no_memory() {
    process::alone(|| {
        let before = Usage::now();
        let early = Left::after(0..1000, before, build_use_end);
        let late = Left::after(1000..10_000, before, build_use_end);
        // 57 bytes a cycle.
        late.has_not_grown_since(&early, 512 * 1024);
    });
}

#[test]
fn a_forgotten_guard_keeps_neither_a_thread_nor_its_stack() {
    process::alone(|| {
        let before = Usage::now();
        let forget = |number| {
            let pool = builder()
                .leak_threshold(secs(60))
                .build(MemoryManager::new())
                .unwrap();
            let more = take(&pool, 2);
            let mut guards = more.into_iter();
            mem::forget(guards.next());
            drop(guards);
            if number % 2 == 0 {
                let left = pool.close_timeout(Duration::ZERO).unwrap_err();
                assert_eq!(left.in_use, 1);
            }
        };
        let early = Left::after(0..200, before, forget);
        let late = Left::after(200..1000, before, forget);
        // A forgotten guard stays, and so does its pool: 13 KiB each.
        late.has_not_grown_since(&early, 800 * 20 * 1024);
    });
}

#[test]
fn pools_of_sockets_leave_nothing_either() {
    let Some(address) = process::argument() else {
        let bridge = Emulator::builder().max_clients(64).start().unwrap();
        process::run(&bridge.addr().to_string());
        assert!(bridge.wait_for(|seen| seen.open == 0, SOON));
        assert_eq!(bridge.counters().refused, 0);
        return;
    };
    let before = Usage::now();
    let connect = |number| {
        let pool = builder()
            .build(ConbusSocketManager::new(address.as_str()))
            .unwrap();
        let guards = take(&pool, 2);
        if number % 2 == 0 {
            drop(guards);
            pool.close_timeout(SOON).unwrap();
        } else {
            drop(pool);
            drop(guards);
        }
    };
    let early = Left::after(0..50, before, connect);
    let late = Left::after(50..250, before, connect);
    late.has_not_grown_since(&early, 512 * 1024);
}
