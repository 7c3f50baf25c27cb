//! An interrupt races the check-in of the connection.

use super::explore;
use super::fixture::{Bound, Fixture};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

const CONNECTION: u64 = 7;

/// A connection that was interrupted is disposed at its check-in, and another one stays.
fn an_interrupt_meets_a_check_in(interrupt: fn(&Fixture, u32) -> bool) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_unmarked_checkouts::<1>(Bound::Never);
        let slot = held.slot.index();
        fixture.lock().set_connection(slot, CONNECTION);
        let interrupted = Arc::new(AtomicBool::new(false));
        let tells = Arc::clone(&interrupted);
        fixture.side_by_side([
            Box::new(move |fixture| fixture.check_in(held)),
            Box::new(move |fixture| tells.store(interrupt(fixture, slot), Relaxed)),
        ]);
        let stays = usize::from(!interrupted.load(Relaxed));
        assert_eq!(fixture.inspect(), stays, "an interrupted connection stays");
    });
}

#[test]
fn an_interrupted_connection_is_disposed_and_any_other_stays() {
    an_interrupt_meets_a_check_in(|fixture, slot| {
        fixture
            .engine
            .interrupt(slot, CONNECTION, fixture.engine_now())
    });
}

#[test]
#[should_panic(expected = "an interrupted connection stays")]
fn bites_an_interrupt_that_does_not_mark_the_slot() {
    an_interrupt_meets_a_check_in(|fixture, slot| {
        let mut state = fixture.lock();
        let place = fixture.engine.table.get(slot).expect("it was made");
        let in_use = matches!(place.stamp(), crate::engine::Stamp::InUse(_));
        in_use && state.interrupted.insert(slot)
    });
}

/// A waiter is next in line. It gets the connection, or another one in its place.
#[test]
fn a_waiter_behind_an_interrupted_connection_is_served() {
    explore(|| {
        let (fixture, [held]) = Fixture::with_unmarked_checkouts::<1>(Bound::Never);
        let slot = held.slot.index();
        fixture.lock().set_connection(slot, CONNECTION);
        fixture.side_by_side([
            Box::new(move |fixture| fixture.check_in(held)),
            Box::new(move |fixture| {
                fixture
                    .engine
                    .interrupt(slot, CONNECTION, fixture.engine_now());
            }),
            Box::new(Fixture::wait_in_queue),
        ]);
        assert!(fixture.inspect() <= 1);
    });
}
