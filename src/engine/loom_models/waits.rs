//! Waits that end in more than one way at once.

use super::checkout::GetResult;
use super::fixture::{Bound, Fixture};
use super::{explore, explore_within};
use crate::engine::{CheckFor, Outcome};

fn a_hand_off_races_a_timeout(bound: Bound, wait: fn(&Fixture) -> GetResult) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(bound);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(move |fixture| fixture.finish(wait(fixture))),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_hand_off_that_races_a_timeout_is_not_lost() {
    for bound in Bound::ALL {
        a_hand_off_races_a_timeout(bound, |fixture| fixture.get_queued(Some(fixture.soon())));
    }
}

#[test]
#[should_panic(expected = "an entry is lost")]
fn bites_a_timeout_that_does_not_take_its_outcome() {
    a_hand_off_races_a_timeout(Bound::Always, |fixture| {
        let waiter = fixture.waiter();
        let mut state = fixture.lock();
        fixture.engine.enqueue(&mut state, &waiter, fixture.now());
        if let Some(held) = fixture.engine.search(&mut state, &waiter, 1) {
            state.queue.remove(&waiter);
            fixture.engine.update_gate(&mut state, fixture.now());
            return GetResult::Checkout(held);
        }
        drop(state);
        // The deadline passes at once.
        let mut state = fixture.lock();
        state.queue.remove(&waiter);
        fixture.engine.update_gate(&mut state, fixture.now());
        GetResult::TimedOut
    });
}

/// An entry that the head gives up must reach the second waiter.
fn the_head_times_out(bound: Bound, head: fn(&Fixture) -> GetResult) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(bound);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(move |fixture| fixture.finish(head(fixture))),
            Box::new(Fixture::wait_in_queue),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_head_that_times_out_leaves_no_successor_asleep() {
    for bound in Bound::ALL {
        the_head_times_out(bound, |fixture| fixture.get_queued(Some(fixture.soon())));
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_head_that_leaves_without_settling() {
    the_head_times_out(Bound::Never, |fixture| {
        let waiter = fixture.waiter();
        let mut state = fixture.lock();
        fixture.engine.enqueue(&mut state, &waiter, fixture.now());
        if let Some(held) = fixture.engine.search(&mut state, &waiter, 1) {
            let actions = fixture.engine.dequeue(&mut state, &waiter, fixture.now());
            drop(state);
            actions.into_iter().for_each(|actions| fixture.run(actions));
            return GetResult::Checkout(held);
        }
        drop(state);
        let mut state = fixture.lock();
        state.queue.remove(&waiter);
        fixture.engine.update_gate(&mut state, fixture.now());
        drop(state);
        match waiter.take_outcome() {
            Some(Outcome::Checkout(held)) => GetResult::Checkout(held),
            _ => GetResult::TimedOut,
        }
    });
}

/// The head is notified of a connection that another caller takes first. While the head is notified,
/// check-ins need no lock. If the head leaves, the next head must be notified of later check-ins.
fn a_notified_head_leaves(head: fn(&Fixture) -> GetResult) {
    explore_within(2, move || {
        let (fixture, [held]) = Fixture::with_checkouts(Bound::AWhile);
        fixture.side_by_side([
            Box::new(|fixture| {
                fixture.check_in(held);
                fixture.use_idle();
            }),
            Box::new(move |fixture| fixture.finish(head(fixture))),
            Box::new(Fixture::wait_in_queue),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_notification_passes_to_the_next_waiter_when_the_head_leaves() {
    a_notified_head_leaves(|fixture| fixture.get_queued(Some(fixture.soon())));
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_notified_head_that_leaves_without_passing_it_on() {
    a_notified_head_leaves(|fixture| {
        let waiter = fixture.waiter();
        let mut state = fixture.lock();
        fixture.engine.enqueue(&mut state, &waiter, fixture.now());
        drop(state);
        let mut state = fixture.lock();
        let here = state.queue.remove(&waiter);
        fixture.engine.update_gate(&mut state, fixture.now());
        state.queue.take_search_owed();
        let actions = fixture.engine.settle(&mut state, fixture.now());
        drop(state);
        fixture.run(actions);
        match waiter.take_outcome() {
            Some(Outcome::Checkout(held)) if !here => GetResult::Checkout(held),
            _ => GetResult::TimedOut,
        }
    });
}

/// A third thread cancels the wait, as a failing build does.
#[test]
fn a_cancelled_waiter_returns_its_outcome() {
    explore(|| {
        let (fixture, [held]) = Fixture::with_checkouts(Bound::Always);
        let waiter = fixture.waiter();
        let mut state = fixture.lock();
        fixture.engine.enqueue(&mut state, &waiter, fixture.now());
        assert!(fixture.engine.search(&mut state, &waiter, 1).is_none());
        drop(state);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(move |fixture| {
                if let Some(Outcome::Checkout(held)) = fixture.engine.cancel(&waiter) {
                    fixture.check_in(held);
                }
                let mut state = fixture.lock();
                fixture.engine.update_gate(&mut state, fixture.now());
            }),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

/// The head waits for the check of its connection, and so has not searched the other slots. The second
/// waiter must still be notified of the connection that comes back.
#[test]
fn a_waiter_behind_a_check_is_notified_of_a_check_in() {
    explore(|| {
        let (fixture, [one, two]) = Fixture::with_unmarked_checkouts(Bound::Always);
        // The connection of the head is being checked.
        let head = fixture.waiter();
        let mut state = fixture.lock();
        let now = fixture.now();
        fixture.engine.enqueue(&mut state, &head, now);
        let check = fixture.engine.begin_check(
            &mut state,
            &one,
            (1, 0),
            now,
            CheckFor::Waiter(Some(fixture.soon())),
        );
        fixture.engine.mark_all_slots(&mut state, 1);
        fixture.run(fixture.engine.settle(&mut state, now));
        drop(state);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(two)),
            Box::new(move |fixture| {
                let ended = fixture.engine.finish_check(check, one, 0, 1, fixture.now());
                let Ok(Ok(actions)) = ended else {
                    unreachable!("no thread abandons the check");
                };
                fixture.run(actions);
            }),
            Box::new(Fixture::wait_in_queue),
        ]);
        // The head held its connection until now.
        let Some(Outcome::Checkout(one)) = head.take_outcome() else {
            unreachable!("the head was served");
        };
        fixture.check_in(one);
        assert_eq!(fixture.inspect(), 2);
    });
}
