//! A pool is suspended and resumed while a caller waits.

use super::checkout::GetResult;
use super::explore;
use super::fixture::{Bound, Fixture};

fn a_pool_is_resumed(resume: fn(&Fixture)) {
    explore(move || {
        let fixture = Fixture::new(1, Bound::Never);
        fixture.open(1);
        fixture.suspend(true);
        fixture.side_by_side([
            Box::new(resume),
            Box::new(|fixture| fixture.finish(fixture.get(None))),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_resumed_pool_serves_its_waiters() {
    a_pool_is_resumed(|fixture| fixture.suspend(false));
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_resume_that_settles_nothing() {
    a_pool_is_resumed(|fixture| {
        let mut state = fixture.lock();
        state.suspended = false;
        fixture.engine.update_gate(&mut state, fixture.now());
    });
}

fn a_check_in_and_a_resume_meet_a_waiter(bound: Bound, get: fn(&Fixture) -> GetResult) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_unmarked_checkouts(bound);
        fixture.suspend(true);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(move |fixture| fixture.finish(get(fixture))),
            Box::new(|fixture| fixture.suspend(false)),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

/// A waiter that queued while the pool was suspended has searched no slot. The waiter must still be notified
/// of a connection that comes back after the resume.
#[test]
fn a_waiter_from_before_the_resume_is_notified_of_a_check_in() {
    for bound in Bound::ALL {
        a_check_in_and_a_resume_meet_a_waiter(bound, |fixture| fixture.get_queued(None));
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_waiter_that_seems_to_have_searched_while_suspended() {
    a_check_in_and_a_resume_meet_a_waiter(Bound::Never, |fixture| {
        let waiter = fixture.waiter();
        let now = fixture.engine_now();
        let mut state = fixture.lock();
        fixture.engine.enqueue(&mut state, &waiter, now.real);
        // It has marked no slot.
        state.queue.searched(&waiter);
        let actions = fixture.engine.settle(&mut state, now.real);
        drop(state);
        fixture.run(actions);
        fixture
            .wait(&waiter, None)
            .expect("it does not have to create")
    });
}

/// A suspension that begins and ends leaves no waiter asleep.
#[test]
fn a_short_suspension_leaves_no_waiter_asleep() {
    explore(|| {
        let (fixture, [held]) = Fixture::with_unmarked_checkouts(Bound::Never);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(|fixture| fixture.finish(fixture.get(None))),
            Box::new(|fixture| {
                fixture.suspend(true);
                fixture.suspend(false);
            }),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}
