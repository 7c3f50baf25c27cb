//! Room appears for a connection that a waiter needs.

use super::explore;
use super::fixture::{Bound, Fixture, HeldEntry};

/// A waiter meets this event, in a pool whose one connection never comes back.
fn a_waiter_meets(bound: Bound, event: fn(&Fixture, HeldEntry)) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(bound);
        fixture.side_by_side([
            Box::new(move |fixture| event(fixture, held)),
            Box::new(Fixture::wait_in_queue),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

fn both_ways(event: fn(&Fixture, HeldEntry)) {
    a_waiter_meets(Bound::Never, event);
    a_waiter_meets(Bound::Always, event);
}

#[test]
fn a_finished_dispose_lets_a_waiter_create() {
    both_ways(Fixture::evict);
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_dispose_that_settles_nothing() {
    a_waiter_meets(Bound::Never, |fixture, held| {
        // Dropped permits free their slots and notify no waiter.
        drop(fixture.begin_dispose(held).finish(fixture.now()));
    });
}

#[test]
fn a_detach_lets_a_waiter_create() {
    both_ways(Fixture::detach);
}

/// A check-in and a new connection meet one waiter. The first of them serves the waiter, and the other one
/// becomes idle.
#[test]
fn a_new_connection_and_a_check_in_serve_one_waiter() {
    explore(|| {
        let fixture = Fixture::new(2, Bound::Never);
        fixture.open(1);
        let held = fixture.try_get().expect("a connection is idle");
        let permit = fixture.permit(true);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(|fixture| {
                fixture.create(permit);
            }),
            Box::new(Fixture::wait_in_queue),
        ]);
        assert_eq!(fixture.inspect(), 2);
    });
}

#[test]
fn an_added_connection_reaches_a_waiter() {
    explore(|| {
        let (fixture, [held]) = Fixture::with_checkouts(Bound::Never);
        fixture.run(fixture.engine.resize(2, None, fixture.now()));
        // With creates forbidden, only the added connection can serve the waiter.
        fixture.lock().max_creating = 0;
        fixture.side_by_side([
            Box::new(|fixture| {
                let mut state = fixture.lock();
                let added = fixture.engine.add(
                    &mut state,
                    fixture.entry(0),
                    fixture.engine_now(),
                    u64::MAX,
                );
                drop(state);
                let Ok(added) = added else {
                    unreachable!("there is room")
                };
                fixture.return_entry(added, true);
            }),
            Box::new(Fixture::wait_in_queue),
        ]);
        fixture.check_in(held);
        assert_eq!(fixture.inspect(), 2);
    });
}

fn the_pool_grows_under_a_waiter(grow: fn(&Fixture)) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(Bound::Never);
        fixture.side_by_side([Box::new(grow), Box::new(Fixture::wait_in_queue)]);
        fixture.check_in(held);
        assert_eq!(fixture.inspect(), 2);
    });
}

#[test]
fn a_raised_max_size_lets_a_waiter_create() {
    the_pool_grows_under_a_waiter(|fixture| fixture.resize(2));
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_raised_max_size_that_settles_nothing() {
    the_pool_grows_under_a_waiter(|fixture| fixture.lock().max_size = 2);
}
