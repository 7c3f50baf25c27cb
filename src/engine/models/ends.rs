//! The whole pool changes while a connection is on its way: close, clear, shrink.

use super::house::{Bound, Failure, House, Lent};
use super::{explore, explore_within, side_by_side};
use std::sync::Arc;

/// One connection is lent and comes back, another rests and is taken and comes back.
fn two_are_used_meanwhile(change: fn(&House), left: usize) {
    explore_within(2, move || {
        let (house, [one, two]) = House::lending(Bound::Never);
        house.check_in(two);
        let (here, there) = (Arc::clone(&house), Arc::clone(&house));
        let changed = Arc::clone(&house);
        side_by_side([
            Box::new(move || here.check_in(one)),
            Box::new(move || {
                if let Some(lent) = there.look() {
                    there.check_in(lent);
                }
            }),
            Box::new(move || change(&changed)),
        ]);
        assert!(house.inspect() <= left);
    });
}

/// As small as it can be, for what has to go wrong.
fn one_comes_back_meanwhile(change: fn(&House)) {
    explore(move || {
        let (house, [lent]) = House::lending(Bound::Never);
        // The first check-in of a connection is watched; this one has had it.
        house.check_in(lent);
        let lent = house.look().expect("it rests");
        let (here, changed) = (Arc::clone(&house), Arc::clone(&house));
        side_by_side([
            Box::new(move || here.check_in(lent)),
            Box::new(move || change(&changed)),
        ]);
        house.inspect();
    });
}

fn a_waiter_is_there_meanwhile(bound: Bound, change: fn(&House)) {
    explore(move || {
        let (house, [lent]) = House::lending(bound);
        let (here, there) = (Arc::clone(&house), Arc::clone(&house));
        let changed = Arc::clone(&house);
        side_by_side([
            Box::new(move || here.check_in(lent)),
            Box::new(move || there.finish(there.line_up(None))),
            Box::new(move || change(&changed)),
        ]);
        house.inspect();
    });
}

#[test]
fn a_closed_pool_keeps_nothing() {
    one_comes_back_meanwhile(House::close);
    two_are_used_meanwhile(House::close, 0);
}

#[test]
#[should_panic(expected = "closed, and not empty")]
fn bites_a_close_that_drains_first() {
    one_comes_back_meanwhile(|house| {
        house.evict_all();
        let actions = house.engine.close(house.now(), || Failure::Closed);
        actions.into_iter().for_each(|actions| house.run(actions));
    });
}

#[test]
fn a_close_ends_every_wait() {
    for bound in [Bound::Never, Bound::AWhile, Bound::Always] {
        a_waiter_is_there_meanwhile(bound, House::close);
    }
}

/// One closes and waits for the end, while the last connections come back and go.
fn somebody_waits_for_the_end(evict: fn(&House, Lent)) {
    explore(move || {
        let (house, [one, two]) = House::lending(Bound::Never);
        let (here, there) = (Arc::clone(&house), Arc::clone(&house));
        let closing = Arc::clone(&house);
        side_by_side([
            Box::new(move || evict(&here, one)),
            Box::new(move || there.detach(two)),
            Box::new(move || {
                closing.close();
                assert!(closing.engine.wait_drained(None));
            }),
        ]);
        assert_eq!(house.inspect(), 0);
    });
}

#[test]
fn whoever_waits_for_the_end_hears_of_it() {
    somebody_waits_for_the_end(House::check_in);
}

#[test]
fn a_cleared_pool_keeps_nothing_old() {
    one_comes_back_meanwhile(House::clear);
    two_are_used_meanwhile(House::clear, 0);
}

#[test]
#[should_panic(expected = "cleared, and still there")]
fn bites_a_clear_that_begins_the_generation_last() {
    one_comes_back_meanwhile(|house| {
        house.drain_older(1);
        house.next_generation();
    });
}

#[test]
fn a_waiter_outlives_a_clear() {
    for bound in [Bound::Never, Bound::AWhile, Bound::Always] {
        a_waiter_is_there_meanwhile(bound, House::clear);
    }
}

fn two_come_back_while_the_pool_shrinks(shrink: fn(&House)) {
    explore(move || {
        let (house, [one, two]) = House::lending(Bound::Never);
        // As after their first check-ins.
        house.check_in(one);
        house.check_in(two);
        let one = house.look().expect("it rests");
        let two = house.look().expect("it rests");
        let (here, there) = (Arc::clone(&house), Arc::clone(&house));
        let resized = Arc::clone(&house);
        side_by_side([
            Box::new(move || here.check_in(one)),
            Box::new(move || there.check_in(two)),
            Box::new(move || shrink(&resized)),
        ]);
        assert_eq!(house.inspect(), 1);
    });
}

#[test]
fn a_shrunk_pool_loses_what_is_too_many_and_no_more() {
    two_come_back_while_the_pool_shrinks(|house| house.resize(1));
}

#[test]
#[should_panic(expected = "more than there may be")]
fn bites_a_shrink_that_watches_nothing() {
    two_come_back_while_the_pool_shrinks(|house| {
        house.run(house.engine.resize(1, house.now()));
    });
}
