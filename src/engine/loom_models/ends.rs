//! The whole pool changes (close, clear, shrink) while a connection comes back.

use super::fixture::{Bound, Failure, Fixture, HeldEntry};
use super::{explore, explore_within};

/// One connection in use comes back. Another one is idle, is taken and comes back.
fn two_are_used_meanwhile(change: fn(&Fixture), left: usize) {
    explore_within(2, move || {
        let (fixture, [one, two]) = Fixture::with_checkouts(Bound::Never);
        fixture.check_in(two);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(one)),
            Box::new(Fixture::use_idle),
            Box::new(change),
        ]);
        assert!(fixture.inspect() <= left);
    });
}

/// The smallest such model, for the tests in which a step is done wrong.
fn one_comes_back_meanwhile(change: fn(&Fixture)) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_unmarked_checkouts(Bound::Never);
        fixture.side_by_side([Box::new(|fixture| fixture.check_in(held)), Box::new(change)]);
        fixture.inspect();
    });
}

fn a_waiter_is_there_meanwhile(bound: Bound, change: fn(&Fixture)) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(bound);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(Fixture::wait_in_queue),
            Box::new(change),
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
    for bound in Bound::ALL {
        a_waiter_is_there_meanwhile(bound, Fixture::close);
    }
}

/// One thread closes the pool and waits until it is drained, while the last connections come back and go.
fn a_thread_waits_for_the_drain(evict: fn(&Fixture, HeldEntry)) {
    explore(move || {
        let (fixture, [one, two]) = Fixture::with_checkouts(Bound::Never);
        fixture.side_by_side([
            Box::new(move |fixture| evict(fixture, one)),
            Box::new(|fixture| fixture.detach(two)),
            Box::new(|fixture| {
                fixture.close();
                assert!(fixture.engine.wait_drained(None));
            }),
        ]);
        assert_eq!(fixture.inspect(), 0);
    });
}

#[test]
fn a_thread_that_waits_for_the_drain_is_woken() {
    a_thread_waits_for_the_drain(Fixture::check_in);
}

#[test]
fn a_cleared_pool_keeps_no_older_generation() {
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
    for bound in Bound::ALL {
        a_waiter_is_there_meanwhile(bound, Fixture::clear);
    }
}

fn two_come_back_while_the_pool_shrinks(shrink: fn(&Fixture)) {
    explore(move || {
        let (fixture, [one, two]) = Fixture::with_unmarked_checkouts(Bound::Never);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(one)),
            Box::new(|fixture| fixture.check_in(two)),
            Box::new(shrink),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_shrunk_pool_evicts_the_excess_and_no_more() {
    two_come_back_while_the_pool_shrinks(|fixture| fixture.resize(1));
}

#[test]
#[should_panic(expected = "more than there may be")]
fn bites_a_shrink_that_marks_no_slot() {
    two_come_back_while_the_pool_shrinks(|fixture| {
        fixture.run(fixture.engine.resize(1, None, fixture.now()));
    });
}
