//! Runs in which the pool and its reference once disagreed. The name tells the error: of the pool, or of the
//! reference, where the contract was subtler than expected.

use crate::common;
use crate::model;

use common::{ms, quick, secs};
use conpool::{Hook, IdleOrder, ManualClock, MemoryManager};
use model::{
    Check,
    Op::{
        self, Advance, Clear, Detach, Fail, Get, GetNow, GiveBack, RetainEven, SetMaxSize,
        SetMinIdle, Suspend, Sweep,
    },
    Settings, run,
};

#[track_caller]
fn agrees(settings: &Settings, operations: &[Op]) {
    if let Err(what) = run(settings, operations) {
        panic!("{what}");
    }
}

// ---- the pool was wrong ------------------------------------------------------------------------

/// A look at the connections is no use of them, so their order stays.
#[test]
fn fifo_keeps_its_order_while_all_idle_connections_are_looked_at() {
    for look in [Op::RetainEven(true), Op::CheckHealth] {
        let settings = Settings {
            max_size: 4,
            order: IdleOrder::Fifo,
            ..Settings::PLAIN
        };
        let take = [Op::Get; 4];
        // The odd ones come back first. They are rejected or looked at.
        let back = [
            Op::GiveBack(3),
            Op::GiveBack(1),
            Op::GiveBack(0),
            Op::GiveBack(0),
        ];
        let again = [look, Op::Get, Op::Get];
        let operations = [&take[..], &back, &again].concat();
        agrees(&settings, &operations);
    }
}

#[test]
fn what_is_disposed_in_passing_for_its_idle_time_leaves_min_idle() {
    let settings = Settings {
        max_size: 4,
        min_idle: 2,
        idle_timeout: Some(30),
        ..Settings::PLAIN
    };
    agrees(
        &settings,
        &[
            Get,
            Get,
            Get,
            GiveBack(0),
            GiveBack(0),
            Advance(50),
            GiveBack(0),
        ],
    );
}

#[test]
fn a_sweep_leaves_no_expired_connection_though_only_one_create_may_run_at_once() {
    let settings = Settings {
        lazy: false,
        max_size: 4,
        max_creating: 1,
        max_lifetime: Some(40),
        ..Settings::PLAIN
    };
    agrees(&settings, &[SetMinIdle(2), Sweep, Advance(50), Sweep]);
}

#[test]
fn on_checkout_failing_on_a_connection_that_was_only_checked_is_no_failed_create() {
    let settings = Settings {
        collector: true,
        lazy: false,
        check: Check::Always,
        ..Settings::PLAIN
    };
    agrees(&settings, &[Fail(Hook::Checkout, 1), Get]);
}

#[test]
fn one_sweep_without_a_collector_fills_min_idle_also_where_it_evicts_from_a_full_pool() {
    let clock = ManualClock::new();
    let pool = quick("full")
        .background_collector(false)
        .clock(clock.clone())
        .max_size(1)
        .min_idle(1)
        .max_lifetime(secs(60))
        .build(MemoryManager::new())
        .unwrap();
    clock.advance(secs(60) + ms(1));
    pool.sweep();
    assert_eq!(pool.stats().idle, 1, "{}", pool.stats());
}

#[test]
fn without_a_collector_a_sweep_reports_every_eviction_that_it_made() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("report")
        .background_collector(false)
        .clock(clock.clone())
        .keepalive_interval(secs(60))
        .build(backend.clone())
        .unwrap();
    backend.kill_all();
    clock.advance(secs(60) + ms(1));
    let report = pool.sweep();
    assert_eq!(backend.counters().disposed, 1);
    assert_eq!(report.evicted, 1, "{report}");
}

#[test]
fn without_a_collector_a_sweep_reports_also_what_it_replaced_first() {
    let (clock, backend) = (ManualClock::new(), MemoryManager::new());
    let pool = quick("replaced")
        .background_collector(false)
        .clock(clock.clone())
        .max_size(2)
        .min_idle(1)
        .max_lifetime(secs(60))
        .build(backend.clone())
        .unwrap();
    clock.advance(secs(60) + ms(1));
    let report = pool.sweep();
    assert_eq!(backend.counters().disposed, 1);
    assert_eq!(report.evicted, 1, "{report}");
}

// ---- the reference was wrong -------------------------------------------------------------------

/// The reference expected a check of the second connection too, which waits for its replacement and is never
/// handed out.
#[test]
fn an_expired_connection_that_waits_for_its_replacement_is_not_kept_alive() {
    let settings = Settings {
        max_size: 4,
        min_idle: 2,
        max_creating: 1,
        max_lifetime: Some(40),
        keepalive: Some(20),
        ..Settings::PLAIN
    };
    agrees(&settings, &[Sweep, Advance(50), Sweep, Sweep, Get]);
}

/// The reference evicted the connection for its idle time. But `min_idle` keeps it, and once it is taken
/// another is created in its place.
#[test]
fn the_connection_that_min_idle_keeps_is_handed_out_however_long_it_was_idle() {
    let settings = Settings {
        collector: true,
        lazy: false,
        min_idle: 1,
        idle_timeout: Some(60),
        check: Check::Always,
        keepalive: Some(20),
        ..Settings::PLAIN
    };
    agrees(&settings, &[Advance(100), Get, GiveBack(0), Advance(100)]);
}

/// The reference expected a connection for the caller. But both slots are held by connections under disposal,
/// and `max_waiters(0)` forbids waiting for a slot.
#[test]
fn a_caller_that_may_not_queue_is_refused_while_disposals_hold_the_slots() {
    let settings = Settings {
        collector: true,
        min_idle: 1,
        max_waiters: Some(0),
        ..Settings::PLAIN
    };
    agrees(
        &settings,
        &[Sweep, Fail(Hook::Checkout, 2), Get, Sweep, Get],
    );
}

/// The reference knew only the older connections. But the one that the closure holds counts as in use, so the
/// collector may create one more, which `retain` then meets.
#[test]
fn retain_may_meet_a_connection_that_was_created_while_it_ran() {
    let settings = Settings {
        collector: true,
        lazy: false,
        max_size: 4,
        min_idle: 2,
        ..Settings::PLAIN
    };
    agrees(&settings, &[RetainEven(false), RetainEven(true), Sweep]);
}

/// A correct run in which most rules of the reference meet: a cleared connection comes back to a shrunken,
/// suspended pool.
#[test]
fn a_cleared_connection_comes_back_to_a_smaller_and_suspended_pool() {
    for collector in [false, true] {
        let settings = Settings {
            collector,
            max_size: 3,
            max_uses: Some(2),
            ..Settings::PLAIN
        };
        agrees(
            &settings,
            &[
                Get,
                Get,
                Get,
                Clear,
                SetMaxSize(1),
                Suspend,
                GiveBack(0),
                GetNow,
                Op::Resume,
                Detach(0),
                GiveBack(0),
                Get,
                GiveBack(0),
                Get,
                GiveBack(0),
                Get,
            ],
        );
    }
}
