//! A create ends without the connection that a waiter relied on.

use super::checkout::GetResult;
use super::explore;
use super::fixture::{Bound, CreateBy, CreatePermit, Failure, Fixture};
use crate::engine::State;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

fn a_create_fails_under_a_waiter(failing: usize, fail: fn(&Fixture, CreatePermit)) {
    explore(move || {
        let fixture = Fixture::new(1, Bound::Never);
        let permit = fixture.permit(true);
        fixture.fail_creates(failing);
        fixture.side_by_side([
            Box::new(move |fixture| fail(fixture, permit)),
            Box::new(Fixture::wait_in_queue),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_failed_create_is_repeated_for_a_waiter() {
    a_create_fails_under_a_waiter(2, |fixture, permit| {
        fixture.create(permit);
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_failed_create_that_settles_nothing() {
    a_create_fails_under_a_waiter(0, |_, permit| drop(permit));
}

fn failed_or_served(fixture: &Fixture) {
    let got = fixture.get_queued(None);
    if let GetResult::Failed(failure) = &got {
        assert_eq!(*failure, Failure::Create);
    }
    fixture.finish(got);
}

/// Fails a create and the head's wait with it.
fn fail_for_good(fixture: &Fixture, permit: CreatePermit) {
    let mut head = true;
    let failure =
        |state: &State<_, _>| (mem::take(&mut head) && state.open == 0).then_some(Failure::Create);
    fixture.run(permit.fail_and_notify(fixture.now(), failure).1);
}

/// A permanent failure ends the head's wait. The engine then creates for the other waiter.
#[test]
fn a_failure_ends_one_wait_and_leaves_no_waiter_asleep() {
    explore(|| {
        let fixture = Fixture::new(1, Bound::Never);
        let permit = fixture.permit(true);
        fixture.side_by_side([
            Box::new(|fixture| fail_for_good(fixture, permit)),
            Box::new(failed_or_served),
            Box::new(failed_or_served),
        ]);
        assert!(fixture.inspect() <= 1);
    });
}

fn a_create_fails_for_good_under_a_waiter(end: fn(&Fixture, CreatePermit)) {
    explore(move || {
        let fixture = Fixture::new(1, Bound::Never);
        let permit = fixture.permit(true);
        let relied_on = Arc::new(AtomicBool::new(false));
        let failed = Arc::new(AtomicBool::new(false));
        let (waits, hears) = (Arc::clone(&relied_on), Arc::clone(&failed));
        fixture.side_by_side([
            Box::new(move |fixture| {
                waits.store(!fixture.lock().queue.is_empty(), Relaxed);
                end(fixture, permit);
            }),
            Box::new(move |fixture| {
                let got = fixture.get_queued(None);
                hears.store(matches!(got, GetResult::Failed(_)), Relaxed);
                fixture.finish(got);
            }),
        ]);
        assert!(
            failed.load(Relaxed) || !relied_on.load(Relaxed),
            "another create in place of the failure"
        );
        fixture.inspect();
    });
}

#[test]
fn the_waiter_that_relies_on_a_create_gets_its_failure() {
    a_create_fails_for_good_under_a_waiter(fail_for_good);
}

#[test]
#[should_panic(expected = "another create in place of the failure")]
fn bites_a_create_that_ends_before_its_waiter_gets_the_failure() {
    a_create_fails_for_good_under_a_waiter(|fixture, permit| {
        fixture.run(permit.fail(fixture.now()).1);
        let mut once = Some(Failure::Create);
        let failure = |_: &_| once.take();
        let engine = &fixture.engine;
        let actions = engine.fail_waiters(&mut fixture.lock(), failure, fixture.now());
        fixture.run(actions);
    });
}

/// A create has started and hangs until the other threads have ended. The pool is cleared while a waiter
/// relies on that create.
fn the_pool_is_cleared_under_a_waiter(clear: fn(&Fixture)) {
    explore(move || {
        let fixture = Fixture::new(2, Bound::Never);
        let permit = fixture.permit(true);
        let generation = permit
            .start(fixture.now(), None, true)
            .expect("it is wanted");
        fixture.side_by_side([Box::new(clear), Box::new(Fixture::wait_in_queue)]);
        fixture.created(permit, generation, false);
        assert!(fixture.inspect() <= 1);
    });
}

#[test]
fn a_clear_lets_a_waiter_create_in_place_of_an_outdated_create() {
    the_pool_is_cleared_under_a_waiter(Fixture::clear);
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_clear_that_leaves_waiters_relying_on_outdated_creates() {
    the_pool_is_cleared_under_a_waiter(|fixture| fixture.lock().generation += 1);
}

/// The pool abandons a create while the create returns.
#[test]
fn a_create_abandoned_while_it_returns_is_installed_or_abandoned() {
    explore(|| {
        let fixture = Fixture::new(1, Bound::Never);
        let permit = fixture.permit(true);
        let generation = permit.start(fixture.now(), Some(fixture.soon()), true);
        let generation = generation.expect("it may start");
        fixture.side_by_side([
            Box::new(move |fixture| {
                fixture.created(permit, generation, false);
            }),
            Box::new(|fixture| {
                let mut state = fixture.lock();
                let id = state.jobs().map(|(id, _)| id).next();
                if let Some(id) = id {
                    fixture.engine.abandon(&mut state, id);
                }
                let actions = fixture.engine.settle(&mut state, fixture.now());
                drop(state);
                fixture.run(actions);
            }),
            Box::new(Fixture::wait_in_queue),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

/// Waiters run their own creates, and the first create fails.
#[test]
fn waiters_that_run_their_own_creates_pass_the_permit_on() {
    explore(|| {
        let fixture = Fixture::with(1, Bound::Never, CreateBy::Waiter);
        fixture.fail_creates(1);
        fixture.side_by_side([
            Box::new(|fixture| fixture.finish(fixture.get(None))),
            Box::new(|fixture| fixture.finish(fixture.get(None))),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}
