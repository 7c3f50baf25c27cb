//! The whole pool changes (close, clear, shrink) while a connection comes back.

use super::fixture::{Bound, Failure, Fixture, HeldEntry};
use super::{explore, explore_within, side_by_side};
use std::sync::Arc;

/// One connection in use comes back. Another one is idle, is taken and comes back.
fn two_are_used_meanwhile(change: fn(&Fixture), left: usize) {
    explore_within(2, move || {
        let (fixture, [one, two]) = Fixture::with_checkouts(Bound::Never);
        fixture.check_in(two);
        let (here, there) = (Arc::clone(&fixture), Arc::clone(&fixture));
        let changed = Arc::clone(&fixture);
        side_by_side([
            Box::new(move || here.check_in(one)),
            Box::new(move || {
                if let Some(held) = there.try_get() {
                    there.check_in(held);
                }
            }),
            Box::new(move || change(&changed)),
        ]);
        assert!(fixture.inspect() <= left);
    });
}

/// The smallest such model, for the tests in which a step is done wrong.
fn one_comes_back_meanwhile(change: fn(&Fixture)) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(Bound::Never);
        // The first check-in of a connection goes through the lock, because its slot starts out marked. Get
        // that check-in over with.
        fixture.check_in(held);
        let held = fixture.try_get().expect("a connection is idle");
        let (here, changed) = (Arc::clone(&fixture), Arc::clone(&fixture));
        side_by_side([
            Box::new(move || here.check_in(held)),
            Box::new(move || change(&changed)),
        ]);
        fixture.inspect();
    });
}

fn a_waiter_is_there_meanwhile(bound: Bound, change: fn(&Fixture)) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(bound);
        let (here, there) = (Arc::clone(&fixture), Arc::clone(&fixture));
        let changed = Arc::clone(&fixture);
        side_by_side([
            Box::new(move || here.check_in(held)),
            Box::new(move || there.finish(there.get_queued(None))),
            Box::new(move || change(&changed)),
        ]);
        fixture.inspect();
    });
}

#[test]
fn a_closed_pool_keeps_nothing() {
    one_comes_back_meanwhile(Fixture::close);
    two_are_used_meanwhile(Fixture::close, 0);
}

#[test]
#[should_panic(expected = "closed, and not empty")]
fn bites_a_close_that_drains_first() {
    one_comes_back_meanwhile(|fixture| {
        fixture.evict_all();
        let actions = fixture.engine.close(fixture.now(), || Failure::Closed);
        actions.into_iter().for_each(|actions| fixture.run(actions));
    });
}

#[test]
fn a_close_ends_every_wait() {
    for bound in [Bound::Never, Bound::AWhile, Bound::Always] {
        a_waiter_is_there_meanwhile(bound, Fixture::close);
    }
}

/// One thread closes the pool and waits until it is drained, while the last connections come back and go.
fn somebody_waits_for_the_end(evict: fn(&Fixture, HeldEntry)) {
    explore(move || {
        let (fixture, [one, two]) = Fixture::with_checkouts(Bound::Never);
        let (here, there) = (Arc::clone(&fixture), Arc::clone(&fixture));
        let closing = Arc::clone(&fixture);
        side_by_side([
            Box::new(move || evict(&here, one)),
            Box::new(move || there.detach(two)),
            Box::new(move || {
                closing.close();
                assert!(closing.engine.wait_drained(None));
            }),
        ]);
        assert_eq!(fixture.inspect(), 0);
    });
}

#[test]
fn whoever_waits_for_the_end_hears_of_it() {
    somebody_waits_for_the_end(Fixture::check_in);
}

#[test]
fn a_cleared_pool_keeps_nothing_old() {
    one_comes_back_meanwhile(Fixture::clear);
    two_are_used_meanwhile(Fixture::clear, 0);
}

#[test]
#[should_panic(expected = "cleared, and still there")]
fn bites_a_clear_that_begins_the_generation_last() {
    one_comes_back_meanwhile(|fixture| {
        fixture.drain_older(1);
        fixture.next_generation();
    });
}

#[test]
fn a_waiter_outlives_a_clear() {
    for bound in [Bound::Never, Bound::AWhile, Bound::Always] {
        a_waiter_is_there_meanwhile(bound, Fixture::clear);
    }
}

fn two_come_back_while_the_pool_shrinks(shrink: fn(&Fixture)) {
    explore(move || {
        let (fixture, [one, two]) = Fixture::with_checkouts(Bound::Never);
        // Get the first check-ins over with, which go through the lock.
        fixture.check_in(one);
        fixture.check_in(two);
        let one = fixture.try_get().expect("a connection is idle");
        let two = fixture.try_get().expect("a connection is idle");
        let (here, there) = (Arc::clone(&fixture), Arc::clone(&fixture));
        let resized = Arc::clone(&fixture);
        side_by_side([
            Box::new(move || here.check_in(one)),
            Box::new(move || there.check_in(two)),
            Box::new(move || shrink(&resized)),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_shrunk_pool_loses_what_is_too_many_and_no_more() {
    two_come_back_while_the_pool_shrinks(|fixture| fixture.resize(1));
}

#[test]
#[should_panic(expected = "more than there may be")]
fn bites_a_shrink_that_watches_nothing() {
    two_come_back_while_the_pool_shrinks(|fixture| {
        fixture.run(fixture.engine.resize(1, fixture.now()));
    });
}
