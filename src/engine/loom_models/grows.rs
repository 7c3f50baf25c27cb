//! Room appears for a connection that a waiter needs.

use super::checkout::GetResult;
use super::explore;
use super::fixture::{Bound, CreateBy, CreatePermit, Failure, Fixture, HeldEntry};
use crate::engine::State;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

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
fn a_failure_reaches_one_waiter_and_strands_none() {
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
fn whoever_counted_on_a_create_is_told_of_its_failure() {
    a_create_fails_for_good_under_a_waiter(fail_for_good);
}

#[test]
#[should_panic(expected = "another create in place of the failure")]
fn bites_a_create_that_ends_before_its_waiter_is_told() {
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
fn bites_a_clear_that_leaves_waiters_counting_on_what_began_before() {
    the_pool_is_cleared_under_a_waiter(|fixture| fixture.lock().generation += 1);
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

/// The pool abandons a create while the create returns.
#[test]
fn a_create_given_up_on_leaves_a_stray_or_a_connection() {
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
fn waiters_that_create_for_themselves_pass_the_permit_on() {
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

#[test]
fn an_added_connection_reaches_a_waiter() {
    explore(|| {
        let (fixture, [held]) = Fixture::with_checkouts(Bound::Never);
        fixture.run(fixture.engine.resize(2, fixture.now()));
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
fn a_resumed_pool_serves_who_waited() {
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
fn a_waiter_from_before_the_resume_hears_of_a_check_in() {
    for bound in Bound::ALL {
        a_check_in_and_a_resume_meet_a_waiter(bound, |fixture| fixture.get_queued(None));
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_waiter_that_watches_nothing_while_suspended() {
    a_check_in_and_a_resume_meet_a_waiter(Bound::Never, |fixture| {
        let waiter = fixture.waiter();
        let now = fixture.engine_now();
        let mut state = fixture.lock();
        fixture.engine.enqueue(&mut state, &waiter, now.real);
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
fn a_short_suspension_strands_nobody() {
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
