//! A connection comes back, or rests, while somebody wants it.

use super::super::Stamp;
use super::house::{Bound, Got, House, Lent};
use super::{explore, explore_within, side_by_side};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const BOUNDS: [Bound; 3] = [Bound::Never, Bound::AWhile, Bound::Always];

fn a_check_in_meets_a_newcomer(bound: Bound, check_in: fn(&House, Lent), get: fn(&House) -> Got) {
    explore(move || {
        let (house, [lent]) = House::lending(bound);
        let (here, there) = (Arc::clone(&house), Arc::clone(&house));
        side_by_side([
            Box::new(move || check_in(&here, lent)),
            Box::new(move || there.finish(get(&there))),
        ]);
        assert_eq!(house.inspect(), 1);
    });
}

fn a_check_in_meets_two_waiters(bound: Bound) {
    explore_within(2, move || {
        let (house, [lent]) = House::lending(bound);
        let (here, there, behind) = (Arc::clone(&house), Arc::clone(&house), Arc::clone(&house));
        side_by_side([
            Box::new(move || here.check_in(lent)),
            Box::new(move || there.finish(there.line_up(None))),
            Box::new(move || behind.finish(behind.line_up(None))),
        ]);
        assert_eq!(house.inspect(), 1);
    });
}

fn two_getters_want_one(take: fn(&House) -> Option<Lent>) {
    explore(move || {
        let house = House::new(1, Bound::Never);
        house.open(1);
        let owners = Arc::new(AtomicUsize::new(0));
        let get = |house: &Arc<House>| -> Box<dyn FnOnce() + Send> {
            let (house, owners) = (Arc::clone(house), Arc::clone(&owners));
            Box::new(move || {
                if let Some(lent) = take(&house) {
                    assert_eq!(owners.fetch_add(1, Relaxed), 0, "two owners");
                    lent.entry.touch();
                    owners.fetch_sub(1, Relaxed);
                    house.check_in(lent);
                }
            })
        };
        side_by_side([get(&house), get(&house)]);
        assert_eq!(house.inspect(), 1);
    });
}

/// A getter without a lock watches the slots while an entry comes back under the lock.
fn a_thorough_search_meets_a_return_under_the_lock(waiters: bool, store: fn(&House, Lent)) {
    explore(move || {
        let (house, [lent]) = House::lending(Bound::Never);
        let (here, there) = (Arc::clone(&house), Arc::clone(&house));
        let search = move || {
            if let Some(lent) = there.engine.table.take_or_mark_all(1) {
                there.check_in(lent);
            }
        };
        if waiters {
            let behind = Arc::clone(&house);
            side_by_side([
                Box::new(move || store(&here, lent)),
                Box::new(search),
                Box::new(move || behind.finish(behind.line_up(None))),
            ]);
        } else {
            side_by_side([Box::new(move || store(&here, lent)), Box::new(search)]);
        }
        assert_eq!(house.inspect(), 1);
    });
}

#[test]
fn a_newcomer_gets_what_comes_back_while_it_queues() {
    for bound in BOUNDS {
        a_check_in_meets_a_newcomer(bound, House::check_in, |house| house.get(None));
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_check_in_that_does_not_see_the_watcher() {
    let blind = |_: &House, lent: Lent| {
        lent.slot.set_return_slow(false);
        lent.store_locked(1);
    };
    a_check_in_meets_a_newcomer(Bound::Never, blind, |house| house.get(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_check_in_that_wakes_nobody() {
    let silent = |house: &House, lent: Lent| {
        let slot = lent.slot;
        let given = slot.try_return(lent.entry, 1).or_else(|entry| {
            let lent = Lent {
                slot,
                entry,
                idle_since: 1,
            };
            let given = house.engine.return_entry(lent, 1, 0, false, house.now());
            given.map(drop)
        });
        assert!(given.is_ok());
    };
    a_check_in_meets_a_newcomer(Bound::Always, silent, |house| house.get(None));
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_waiter_that_does_not_search_once_it_is_in_line() {
    a_check_in_meets_a_newcomer(Bound::Never, House::check_in, |house| {
        if let Some(lent) = house.look() {
            return Got::Lent(lent);
        }
        let waiter = house.waiter();
        house.engine.enqueue(&mut house.lock(), &waiter, house.now());
        house
            .wait(&waiter, None)
            .expect("it does not have to create")
    });
}

#[test]
fn one_connection_serves_two_waiters_in_turn() {
    for bound in BOUNDS {
        a_check_in_meets_two_waiters(bound);
    }
}

/// The head is told of a connection, another takes it, and when it comes back again the head may
/// have become due in the meantime.
#[test]
fn an_overtaken_head_is_not_passed_over() {
    for bound in BOUNDS {
        explore(move || {
            let (house, [lent]) = House::lending(bound);
            let (here, there) = (Arc::clone(&house), Arc::clone(&house));
            side_by_side([
                Box::new(move || {
                    here.check_in(lent);
                    if let Some(lent) = here.look() {
                        here.check_in(lent);
                    }
                }),
                Box::new(move || there.finish(there.line_up(None))),
            ]);
            assert_eq!(house.inspect(), 1);
        });
    }
}

#[test]
fn two_getters_never_take_the_same() {
    two_getters_want_one(House::look);
}

#[test]
#[should_panic(expected = "two owners")]
fn bites_a_getter_that_believes_the_stamp() {
    explore(|| {
        let house = House::new(1, Bound::Never);
        house.open(1);
        let owners = Arc::new(AtomicUsize::new(0));
        let get = |house: &Arc<House>| -> Box<dyn FnOnce() + Send> {
            let (house, owners) = (Arc::clone(house), Arc::clone(&owners));
            Box::new(move || {
                let slot = house.engine.table.get(0).expect("it was made");
                if let Stamp::Idle(_) = slot.stamp() {
                    assert_eq!(owners.fetch_add(1, Relaxed), 0, "two owners");
                    drop(house.lock());
                    owners.fetch_sub(1, Relaxed);
                }
            })
        };
        side_by_side([get(&house), get(&house)]);
    });
}

#[test]
fn a_resting_entry_keeps_its_ready_bit() {
    let through_the_lock: fn(&House, Lent) = |house, lent| house.give(lent, false);
    a_thorough_search_meets_a_return_under_the_lock(false, through_the_lock);
    a_thorough_search_meets_a_return_under_the_lock(true, through_the_lock);
}

#[test]
#[should_panic(expected = "ready bit")]
fn bites_a_store_that_does_not_look_for_watchers_again() {
    a_thorough_search_meets_a_return_under_the_lock(false, |house, lent| {
        let state = house.lock();
        lent.slot.set_return_slow(false);
        house.engine.table.set_ready(lent.slot.index());
        lent.store_locked(1);
        drop(state);
    });
}
