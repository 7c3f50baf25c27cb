//! `ManualClock`: one time for all clones; ages follow it, waits follow real time.

use crate::common;

use common::{SOON, assert_at, eventually, ms, quick, secs, timed};
use conpool::{Clock, Hook, ManualClock, MemoryManager};

#[test]
fn clones_share_one_time_that_moves_only_when_told() {
    let clock = ManualClock::new();
    let twin = clock.clone();
    let start = clock.now();
    std::thread::sleep(ms(5));
    assert_eq!(twin.now(), start);
    twin.advance(secs(90));
    assert_eq!(clock.now(), start + secs(90));
}

#[test]
fn deadlines_keep_real_time() {
    let clock = ManualClock::new();
    let pool = quick("realtime")
        .clock(clock.clone())
        .max_size(1)
        .build(MemoryManager::new())
        .unwrap();
    let _held = pool.get().unwrap();
    let (result, took) = timed(|| pool.get_timeout(ms(40)));
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(40));
    clock.advance(secs(3600));
    let (result, took) = timed(|| pool.get_timeout(ms(40)));
    assert!(result.unwrap_err().is_timeout());
    assert_at(took, ms(40));
}

#[test]
fn hook_timeouts_and_backoff_keep_real_time() {
    let backend = MemoryManager::new();
    let clock = ManualClock::new();
    let pool = quick("realhooks")
        .clock(clock)
        .create_timeout(ms(20))
        .build_lazy(backend.clone())
        .unwrap();
    backend.hang(Hook::Create);
    assert!(pool.get_timeout(ms(200)).unwrap_err().is_timeout());
    // The backoff follows real time.
    eventually(|| pool.stats().create_errors >= 1);
    backend.release();
    backend.fail_transient(Hook::Create, 3);
    drop(pool.get_timeout(SOON).unwrap());
}

#[test]
fn advance_wakes_the_collector() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let _pool = quick("wakes")
        .clock(clock.clone())
        .idle_timeout(secs(3600))
        .build(backend.clone())
        .unwrap();
    clock.advance(secs(3601));
    assert!(backend.wait_for(|seen| seen.disposed == 1, SOON));
}

#[test]
fn a_clock_may_be_advanced_by_the_longest_steps() {
    let clock = ManualClock::new();
    let pool = quick("longsteps")
        .clock(clock.clone())
        .build(MemoryManager::new())
        .unwrap();
    for _ in 0..3 {
        clock.advance(secs(50 * 365 * 86_400));
        drop(pool.get_timeout(SOON).unwrap());
    }
}
