//! Waits that end in more than one way at once.

use super::house::{Bound, Got, House};
use super::{explore, explore_within, side_by_side};
use crate::engine::{CheckFor, Outcome};
use std::sync::Arc;

fn a_hand_off_races_a_timeout(bound: Bound, wait: fn(&House) -> Got) {
    explore(move || {
        let (house, [lent]) = House::lending(bound);
        let (here, there) = (Arc::clone(&house), Arc::clone(&house));
        side_by_side([
            Box::new(move || here.check_in(lent)),
            Box::new(move || there.finish(wait(&there))),
        ]);
        assert_eq!(house.inspect(), 1);
    });
}

#[test]
fn a_hand_off_that_races_a_timeout_is_not_lost() {
    for bound in [Bound::Never, Bound::AWhile, Bound::Always] {
        a_hand_off_races_a_timeout(bound, |house| house.line_up(Some(house.soon())));
    }
}

#[test]
#[should_panic(expected = "an entry is lost")]
fn bites_a_timeout_that_leaves_its_mail() {
    a_hand_off_races_a_timeout(Bound::Always, |house| {
        let waiter = house.waiter();
        let mut state = house.lock();
        house.engine.enqueue(&mut state, &waiter, house.now());
        if let Some(lent) = house.engine.search(&mut state, &waiter, 1) {
            state.queue.remove(&waiter);
            house.engine.update_gate(&mut state, house.now());
            return Got::Lent(lent);
        }
        drop(state);
        // The time is up at once.
        let mut state = house.lock();
        state.queue.remove(&waiter);
        house.engine.update_gate(&mut state, house.now());
        Got::TimedOut
    });
}

/// What the first waiter in line gives up must reach the second.
fn the_head_times_out(bound: Bound, head: fn(&House) -> Got) {
    explore(move || {
        let (house, [lent]) = House::lending(bound);
        let (here, there, behind) = (Arc::clone(&house), Arc::clone(&house), Arc::clone(&house));
        side_by_side([
            Box::new(move || here.check_in(lent)),
            Box::new(move || there.finish(head(&there))),
            Box::new(move || behind.finish(behind.line_up(None))),
        ]);
        assert_eq!(house.inspect(), 1);
    });
}

#[test]
fn a_head_that_times_out_leaves_no_successor_asleep() {
    for bound in [Bound::Never, Bound::AWhile, Bound::Always] {
        the_head_times_out(bound, |house| house.line_up(Some(house.soon())));
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_head_that_leaves_without_settling() {
    the_head_times_out(Bound::Never, |house| {
        let waiter = house.waiter();
        let mut state = house.lock();
        house.engine.enqueue(&mut state, &waiter, house.now());
        if let Some(lent) = house.engine.search(&mut state, &waiter, 1) {
            let actions = house.engine.dequeue(&mut state, &waiter, house.now());
            drop(state);
            actions.into_iter().for_each(|actions| house.run(actions));
            return Got::Lent(lent);
        }
        drop(state);
        let mut state = house.lock();
        state.queue.remove(&waiter);
        house.engine.update_gate(&mut state, house.now());
        drop(state);
        match waiter.take_outcome() {
            Some(Outcome::Checkout(lent)) => Got::Lent(lent),
            _ => Got::TimedOut,
        }
    });
}

/// The head is told of a connection that another takes first. While it knows, check-ins need no lock;
/// if it leaves, the next one must hear of what comes back.
fn a_told_head_leaves(head: fn(&House) -> Got) {
    explore_within(2, move || {
        let (house, [lent]) = House::lending(Bound::AWhile);
        let (here, there, behind) = (Arc::clone(&house), Arc::clone(&house), Arc::clone(&house));
        side_by_side([
            Box::new(move || {
                here.check_in(lent);
                if let Some(lent) = here.look() {
                    here.check_in(lent);
                }
            }),
            Box::new(move || there.finish(head(&there))),
            Box::new(move || behind.finish(behind.line_up(None))),
        ]);
        assert_eq!(house.inspect(), 1);
    });
}

#[test]
fn what_a_head_was_told_of_reaches_the_next_when_it_leaves() {
    a_told_head_leaves(|house| house.line_up(Some(house.soon())));
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_told_head_that_leaves_in_silence() {
    a_told_head_leaves(|house| {
        let waiter = house.waiter();
        let mut state = house.lock();
        house.engine.enqueue(&mut state, &waiter, house.now());
        drop(state);
        let mut state = house.lock();
        let here = state.queue.remove(&waiter);
        house.engine.update_gate(&mut state, house.now());
        state.queue.take_search_owed();
        let actions = house.engine.settle(&mut state, house.now());
        drop(state);
        house.run(actions);
        match waiter.take_outcome() {
            Some(Outcome::Checkout(lent)) if !here => Got::Lent(lent),
            _ => Got::TimedOut,
        }
    });
}

/// A third thread cancels the ticket, as a build does that gives up.
#[test]
fn a_withdrawn_ticket_brings_back_what_it_was_sent() {
    explore(|| {
        let (house, [lent]) = House::lending(Bound::Always);
        let waiter = house.waiter();
        let mut state = house.lock();
        house.engine.enqueue(&mut state, &waiter, house.now());
        assert!(house.engine.search(&mut state, &waiter, 1).is_none());
        drop(state);
        let (here, there) = (Arc::clone(&house), Arc::clone(&house));
        side_by_side([
            Box::new(move || here.check_in(lent)),
            Box::new(move || {
                if let Some(Outcome::Checkout(lent)) = there.engine.cancel(&waiter) {
                    there.check_in(lent);
                }
                let mut state = there.lock();
                there.engine.update_gate(&mut state, there.now());
            }),
        ]);
        assert_eq!(house.inspect(), 1);
    });
}

/// The first in line waits for the check of its connection, and so has not searched the others.
/// The second must still hear of the one that comes back.
#[test]
fn a_waiter_behind_a_check_hears_of_a_check_in() {
    explore(|| {
        let (house, [one, two]) = House::lending(Bound::Always);
        house.check_in(one);
        house.check_in(two);
        let one = house.look().expect("it rests");
        let two = house.look().expect("it rests");
        // The head: its connection is being checked.
        let head = house.waiter();
        let mut state = house.lock();
        let now = house.now();
        house.engine.enqueue(&mut state, &head, now);
        let check = house.engine.begin_check(
            &mut state,
            &one,
            (1, 0),
            now,
            CheckFor::Waiter(Some(house.soon())),
        );
        house.engine.mark_all_slots(&mut state, 1);
        house.run(house.engine.settle(&mut state, now));
        drop(state);
        let (here, there, behind) = (Arc::clone(&house), Arc::clone(&house), Arc::clone(&house));
        side_by_side([
            Box::new(move || here.check_in(two)),
            Box::new(move || {
                let ended = there.engine.finish_check(check, one, 0, 1, there.now());
                let Ok(Ok(actions)) = ended else {
                    unreachable!("nobody gives up on the check");
                };
                there.run(actions);
            }),
            Box::new(move || behind.finish(behind.line_up(None))),
        ]);
        // The head holds its connection all the while.
        let Some(Outcome::Checkout(one)) = head.take_outcome() else {
            unreachable!("the head was served");
        };
        house.check_in(one);
        assert_eq!(house.inspect(), 2);
    });
}
