//! Engines that share a total of slots.

use super::super::{Followup, SharedLimit};
use super::fixture::{Bound, Creates, Entry, Failure, Fixture, Got, Outcomes};
use super::{explore, explore_within, side_by_side};
use std::sync::{Arc, Mutex, Weak};

/// The engines that share one total, as a keyed pool's.
pub(super) struct Group {
    pub(super) total: Arc<SharedLimit<Entry, Failure>>,
    houses: Mutex<Vec<Weak<Fixture>>>,
    /// Done wrong: nobody looks for what comes to rest just now.
    blind: bool,
}

impl Group {
    /// So many houses with room for one each, and one slot for all of them.
    fn with_one_slot<const N: usize>(bound: Bound, blind: bool) -> (Arc<Self>, [Arc<Fixture>; N]) {
        let group = Arc::new(Self {
            total: SharedLimit::new(1),
            houses: Mutex::default(),
            blind,
        });
        let fixture = |_| Fixture::on(Some(Arc::clone(&group)), 1, bound, Creates::Aside);
        let houses = std::array::from_fn(fixture);
        *group.houses.lock().unwrap() = houses.iter().map(Arc::downgrade).collect();
        (group, houses)
    }

    pub(super) fn follow(&self, fixture: &Fixture, rest: Outcomes) {
        for next in rest.followups {
            if let Followup::Waiter(id) = next {
                let number = usize::try_from(id).unwrap() - 1;
                let there = self.houses.lock().unwrap()[number].upgrade();
                let there = there.expect("a fixture stands as long as the model");
                let now = there.now();
                let actions = there.engine.settle(&mut there.lock(), now);
                there.run(actions);
            }
        }
        if rest.lacks_room {
            let now = fixture.moment();
            let evicted = match self.blind {
                true => self.total.evict_idle(now),
                false => self.total.evict_for_waiters(now),
            };
            for evicted in evicted {
                fixture.run(fixture.dispose(evicted).finish(now.real));
            }
        }
    }

    /// The one slot is there for who comes next, and nothing else is left.
    fn inspect(&self, houses: &[Arc<Fixture>]) {
        houses[0].finish(houses[0].get(None));
        let idle: usize = houses.iter().map(|fixture| fixture.inspect()).sum();
        assert_eq!(idle, 1, "of one slot");
        assert!(!self.total.has_waiters(), "nobody is in line");
    }
}

fn a_check_in_meets_a_waiter_elsewhere(bound: Bound, blind: bool) {
    explore(move || {
        let (group, [here, there]) = Group::with_one_slot(bound, blind);
        here.open(1);
        let held = here.look().expect("one is open");
        let (a, b) = (Arc::clone(&here), Arc::clone(&there));
        side_by_side([
            Box::new(move || a.check_in(held)),
            Box::new(move || b.finish(b.get(None))),
        ]);
        group.inspect(&[here, there]);
    });
}

#[test]
fn a_check_in_makes_room_for_a_waiter_elsewhere() {
    for bound in [Bound::Never, Bound::AWhile, Bound::Always] {
        a_check_in_meets_a_waiter_elsewhere(bound, false);
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_search_that_does_not_watch() {
    a_check_in_meets_a_waiter_elsewhere(Bound::Never, true);
}

#[test]
fn what_rests_meets_a_waiter_elsewhere_and_a_caller_of_its_own() {
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

#[test]
fn a_waiter_elsewhere_that_gives_up_takes_nothing_along() {
    explore(|| {
        let (group, [here, there]) = Group::with_one_slot(Bound::Never, false);
        here.open(1);
        let held = here.look().expect("one is open");
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
fn a_slot_granted_to_one_who_gave_up_goes_to_the_next() {
    explore_within(2, || {
        let (group, [here, there, beyond]) = Group::with_one_slot(Bound::Never, false);
        here.open(1);
        let held = here.look().expect("one is open");
        let (a, b, c) = (Arc::clone(&here), Arc::clone(&there), Arc::clone(&beyond));
        side_by_side([
            Box::new(move || a.evict(held)),
            Box::new(move || {
                let deadline = Some(b.soon());
                b.finish(b.line_up(deadline));
            }),
            Box::new(move || match c.line_up(None) {
                Got::Lent(held) => c.check_in(held),
                _ => panic!("served in the end"),
            }),
        ]);
        group.inspect(&[here, there, beyond]);
    });
}

#[test]
fn a_failed_create_leaves_its_slot_to_a_waiter_elsewhere() {
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
