//! A connection comes back or is idle while a caller wants it.

use super::super::Stamp;
use super::checkout::GetResult;
use super::fixture::{Bound, Fixture, HeldEntry, Thread};
use super::{explore, explore_within};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

fn a_check_in_meets_a_new_caller(
    bound: Bound,
    check_in: fn(&Fixture, HeldEntry),
    get: fn(&Fixture) -> GetResult,
) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(bound);
        fixture.side_by_side([
            Box::new(move |fixture| check_in(fixture, held)),
            Box::new(move |fixture| fixture.finish(get(fixture))),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

fn a_check_in_meets_two_waiters(bound: Bound) {
    explore_within(2, move || {
        let (fixture, [held]) = Fixture::with_checkouts(bound);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(Fixture::wait_in_queue),
            Box::new(Fixture::wait_in_queue),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

/// Two threads want the one connection. `get` counts itself among the owners while the connection is its own.
fn two_callers_want_one_entry(get: fn(&Fixture, &Owners)) {
    explore(move || {
        let fixture = Fixture::new(1, Bound::Never);
        fixture.open(1);
        let owners = Arc::new(Owners::default());
        let getter = || -> Thread {
            let owners = Arc::clone(&owners);
            Box::new(move |fixture| get(fixture, &owners))
        };
        fixture.side_by_side([getter(), getter()]);
        assert_eq!(fixture.inspect(), 1);
    });
}

/// The number of threads that own the one connection. Hidden from loom, so that it orders nothing.
#[derive(Default)]
struct Owners(AtomicUsize);

impl Owners {
    fn own(&self, steps: impl FnOnce()) {
        assert_eq!(self.0.fetch_add(1, Relaxed), 0, "two owners");
        steps();
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A caller marks the slots without the lock while an entry comes back under the lock.
fn a_thorough_search_meets_a_return_under_the_lock(waiters: bool, store: fn(&Fixture, HeldEntry)) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(Bound::Never);
        let store: Thread = Box::new(move |fixture| store(fixture, held));
        let search: Thread = Box::new(|fixture| {
            if let Some(held) = fixture.engine.table.take_or_mark_all(1) {
                fixture.check_in(held);
            }
        });
        match waiters {
            true => fixture.side_by_side([store, search, Box::new(Fixture::wait_in_queue)]),
            false => fixture.side_by_side([store, search]),
        }
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_new_caller_gets_the_entry_that_comes_back_while_it_queues() {
    for bound in Bound::ALL {
        a_check_in_meets_a_new_caller(bound, Fixture::check_in, |fixture| fixture.get(None));
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_check_in_that_ignores_the_return_slow_mark() {
    let blind = |_: &Fixture, held: HeldEntry| {
        held.slot.set_return_slow(false);
        held.store_locked(1);
    };
    a_check_in_meets_a_new_caller(Bound::Never, blind, |fixture| fixture.get(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_check_in_that_wakes_no_waiter() {
    let silent = |fixture: &Fixture, held: HeldEntry| {
        let slot = held.slot;
        let given = slot.try_return(held.entry, 1).or_else(|entry| {
            let held = HeldEntry {
                slot,
                entry,
                idle_since: 1,
            };
            let given = fixture
                .engine
                .return_entry(held, 1, 0, false, fixture.now());
            given.map(drop)
        });
        assert!(given.is_ok());
    };
    a_check_in_meets_a_new_caller(Bound::Always, silent, |fixture| fixture.get(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_waiter_that_does_not_search_once_it_is_queued() {
    a_check_in_meets_a_new_caller(Bound::Never, Fixture::check_in, |fixture| {
        if let Some(held) = fixture.try_get() {
            return GetResult::Checkout(held);
        }
        let waiter = fixture.waiter();
        fixture
            .engine
            .enqueue(&mut fixture.lock(), &waiter, fixture.now());
        fixture
            .wait(&waiter, None)
            .expect("it does not have to create")
    });
}

#[test]
fn one_connection_serves_two_waiters_in_turn() {
    for bound in Bound::ALL {
        a_check_in_meets_two_waiters(bound);
    }
}

/// The head is notified of a connection, and another caller takes that connection. When the connection comes
/// back again, the head may have become due in the meantime.
#[test]
fn a_head_is_served_although_another_caller_barged() {
    for bound in Bound::ALL {
        explore(move || {
            let (fixture, [held]) = Fixture::with_checkouts(bound);
            fixture.side_by_side([
                Box::new(|fixture| {
                    fixture.check_in(held);
                    fixture.use_idle();
                }),
                Box::new(Fixture::wait_in_queue),
            ]);
            assert_eq!(fixture.inspect(), 1);
        });
    }
}

#[test]
fn two_callers_never_take_the_same_entry() {
    two_callers_want_one_entry(|fixture, owners| {
        if let Some(held) = fixture.try_get() {
            owners.own(|| held.entry.touch());
            fixture.check_in(held);
        }
    });
}

#[test]
#[should_panic(expected = "two owners")]
fn bites_a_caller_that_trusts_the_stamp() {
    two_callers_want_one_entry(|fixture, owners| {
        let slot = fixture.engine.table.get(0).expect("it was made");
        if let Stamp::Idle(_) = slot.stamp() {
            owners.own(|| drop(fixture.lock()));
        }
    });
}

#[test]
fn an_idle_entry_keeps_its_ready_bit() {
    let through_the_lock: fn(&Fixture, HeldEntry) =
        |fixture, held| fixture.return_entry(held, false);
    a_thorough_search_meets_a_return_under_the_lock(false, through_the_lock);
    a_thorough_search_meets_a_return_under_the_lock(true, through_the_lock);
}

#[test]
#[should_panic(expected = "ready bit")]
fn bites_a_store_that_does_not_read_the_mark_again() {
    a_thorough_search_meets_a_return_under_the_lock(false, |fixture, held| {
        let state = fixture.lock();
        held.slot.set_return_slow(false);
        fixture.engine.table.set_ready(held.slot.index());
        held.store_locked(1);
        drop(state);
    });
}
