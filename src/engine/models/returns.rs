//! A connection comes back while somebody wants it.

use super::house::{Bound, House, Lent};
use super::{explore, side_by_side};
use std::sync::Arc;

fn a_check_in_meets_a_newcomer(bound: Bound, check_in: fn(&House, Lent)) {
    explore(move || {
        let (house, [lent]) = House::lending(bound);
        let (here, there) = (Arc::clone(&house), Arc::clone(&house));
        side_by_side([
            Box::new(move || check_in(&here, lent)),
            Box::new(move || there.finish(there.get(None))),
        ]);
        assert_eq!(house.inspect(), 1);
    });
}

#[test]
fn a_newcomer_gets_what_comes_back_while_it_queues() {
    a_check_in_meets_a_newcomer(Bound::Never, House::check_in);
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_check_in_that_does_not_look_whether_it_is_watched() {
    a_check_in_meets_a_newcomer(Bound::Never, |_, lent| {
        lent.store_locked(1, false);
    });
}
