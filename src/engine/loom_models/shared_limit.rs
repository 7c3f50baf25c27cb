//! Engines that share a limit on slots.

use super::super::{Followup, SharedLimit};
use super::checkout::GetResult;
use super::fixture::{Bound, CreateBy, EngineActions, Entry, Failure, Fixture, Peers};
use super::{explore, explore_within, side_by_side};
use std::sync::{Arc, Mutex, Weak};

/// The engines that share one limit, as in a keyed pool.
pub(super) struct Group {
    limit: Arc<SharedLimit<Entry, Failure>>,
    fixtures: Mutex<Vec<Weak<Fixture>>>,
    /// Leaves out a step: no slot is marked RETURN_SLOW for a waiter of another engine.
    skip_marking: bool,
}

impl Group {
    /// Creates `N` fixtures with `max_size` 1 each, and one slot for all of them.
    fn with_one_slot<const N: usize>(
        bound: Bound,
        skip_marking: bool,
    ) -> (Arc<Self>, [Arc<Fixture>; N]) {
        Self::with_slots(1, bound, skip_marking)
    }

    /// Creates fixtures with room for one connection each, which share this many slots.
    fn with_slots<const N: usize>(
        slots: usize,
        bound: Bound,
        skip_marking: bool,
    ) -> (Arc<Self>, [Arc<Fixture>; N]) {
        let group = Arc::new(Self {
            limit: SharedLimit::new(slots),
            fixtures: Mutex::default(),
            skip_marking,
        });
        let fixture = |_| Fixture::on(Some(Arc::clone(&group) as _), 1, bound, CreateBy::Worker);
        let fixtures = std::array::from_fn(fixture);
        *group.fixtures.lock().unwrap() = fixtures.iter().map(Arc::downgrade).collect();
        (group, fixtures)
    }

    /// Asserts that the next caller gets the one slot and that no waiter and no other connection is left.
    fn inspect(&self, fixtures: &[Arc<Fixture>]) {
        fixtures[0].finish(fixtures[0].get(None));
        let idle: usize = fixtures.iter().map(|fixture| fixture.inspect()).sum();
        assert_eq!(idle, 1, "connections in one slot");
        assert!(!self.limit.has_waiters(), "the limit has no waiters");
    }
}

impl Peers for Group {
    fn limit(&self) -> &Arc<SharedLimit<Entry, Failure>> {
        &self.limit
    }

    fn run_followups(&self, fixture: &Fixture, rest: EngineActions) {
        for next in rest.followups {
            if let Followup::Waiter(id) = next {
                let number = usize::try_from(id).unwrap() - 1;
                let there = self.fixtures.lock().unwrap()[number].upgrade();
                let there = there.expect("fixtures live as long as the model");
                let now = there.now();
                let actions = there.engine.settle(&mut there.lock(), now);
                there.run(actions);
            }
        }
        if rest.lacks_room {
            let now = fixture.engine_now();
            let evicted = match self.skip_marking {
                true => self.limit.evict_idle(now),
                false => self.limit.evict_for_waiters(now),
            };
            for evicted in evicted {
                fixture.run(fixture.dispose(evicted).finish(now.real));
            }
        }
    }
}

fn a_check_in_meets_a_waiter_of_another_pool(bound: Bound, skip_marking: bool) {
    explore(move || {
        let (group, [here, there]) = Group::with_one_slot(bound, skip_marking);
        here.open(1);
        let held = here.try_get().expect("one is open");
        let (a, b) = (Arc::clone(&here), Arc::clone(&there));
        side_by_side([
            Box::new(move || a.check_in(held)),
            Box::new(move || b.finish(b.get(None))),
        ]);
        group.inspect(&[here, there]);
    });
}

#[test]
fn a_check_in_makes_room_for_a_waiter_of_another_pool() {
    for bound in Bound::ALL {
        a_check_in_meets_a_waiter_of_another_pool(bound, false);
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_search_that_marks_no_slot() {
    a_check_in_meets_a_waiter_of_another_pool(Bound::Never, true);
}

#[test]
fn an_idle_entry_meets_a_waiter_of_another_pool_and_a_caller_of_its_own() {
    explore(|| {
        let (group, [here, there]) = Group::with_one_slot(Bound::Never, false);
        here.open(1);
        let (a, b) = (Arc::clone(&here), Arc::clone(&there));
        side_by_side([
            Box::new(move || a.finish(a.get(None))),
            Box::new(move || b.finish(b.get(None))),
        ]);
        group.inspect(&[here, there]);
    });
}

/// The walk for the waiter of the other pool may take the connection that a check-in has just stored, and must
/// give it to the waiter of its own pool, which has waited as long.
#[test]
fn a_search_for_another_pool_leaves_no_waiter_of_its_own_asleep() {
    explore_within(2, || {
        let (group, [here, there]) = Group::with_one_slot(Bound::Never, false);
        here.open(1);
        let held = here.try_get().expect("one is open");
        let (a, b, c) = (Arc::clone(&here), Arc::clone(&here), Arc::clone(&there));
        side_by_side([
            Box::new(move || a.check_in(held)),
            Box::new(move || b.wait_in_queue()),
            Box::new(move || c.finish(c.get(None))),
        ]);
        group.inspect(&[here, there]);
    });
}

#[test]
fn a_waiter_of_another_pool_that_times_out_keeps_no_slot() {
    explore(|| {
        let (group, [here, there]) = Group::with_one_slot(Bound::Never, false);
        here.open(1);
        let held = here.try_get().expect("one is open");
        let (a, b) = (Arc::clone(&here), Arc::clone(&there));
        side_by_side([
            Box::new(move || a.check_in(held)),
            Box::new(move || {
                let deadline = Some(b.soon());
                b.finish(b.get(deadline));
            }),
        ]);
        group.inspect(&[here, there]);
    });
}

#[test]
fn a_slot_granted_to_a_waiter_that_timed_out_goes_to_the_next() {
    explore_within(2, || {
        let (group, [here, there, beyond]) = Group::with_one_slot(Bound::Never, false);
        here.open(1);
        let held = here.try_get().expect("one is open");
        let (a, b, c) = (Arc::clone(&here), Arc::clone(&there), Arc::clone(&beyond));
        side_by_side([
            Box::new(move || a.evict(held)),
            Box::new(move || {
                let deadline = Some(b.soon());
                b.finish(b.get_queued(deadline));
            }),
            Box::new(move || match c.get_queued(None) {
                GetResult::Checkout(held) => c.check_in(held),
                _ => panic!("served in the end"),
            }),
        ]);
        group.inspect(&[here, there, beyond]);
    });
}

#[test]
fn a_failed_create_leaves_its_slot_to_a_waiter_of_another_pool() {
    explore_within(2, || {
        let (group, [here, there]) = Group::with_one_slot(Bound::Never, false);
        here.fail_creates(1);
        let (a, b) = (Arc::clone(&here), Arc::clone(&there));
        side_by_side([
            Box::new(move || {
                let deadline = Some(a.soon());
                a.finish(a.get(deadline));
            }),
            Box::new(move || b.finish(b.get(None))),
        ]);
        group.inspect(&[here, there]);
    });
}

#[test]
fn two_threads_that_make_room_for_one_waiter_evict_one_connection() {
    explore_within(2, || {
        let (group, [first, second, waiting]) = Group::with_slots(2, Bound::Never, false);
        first.open(1);
        second.open(1);
        let (a, b) = (Arc::clone(&first), Arc::clone(&waiting));
        let limit = Arc::clone(&group.limit);
        side_by_side([
            // As the collector does while a member waits.
            Box::new(move || {
                let now = a.engine_now();
                for evicted in limit.evict_for_waiters(now) {
                    a.run(a.dispose(evicted).finish(now.real));
                }
            }),
            Box::new(move || b.finish(b.get(None))),
        ]);
        let fixtures = [first, second, waiting];
        let disposed: u64 = fixtures.iter().map(|fixture| fixture.lock().disposed).sum();
        assert_eq!(disposed, 1, "for one waiter");
    });
}
