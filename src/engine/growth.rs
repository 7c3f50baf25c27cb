//! Growth: whether a create for a waiter should start now, or a check-in will probably serve the waiter first.
//!
//! A create is worth its start if its waiter would wait longer for a check-in than for the create. The engine
//! estimates the wait for a check-in from how many waiters the present queue has served in which time; before
//! the first of them, from how long earlier checkouts lasted. The estimate may be wrong, so it defers a create
//! for at most a quarter of a typical create, counted from the start of the wait. A queue that was never empty
//! for the time of a whole create grows in any case: a create at its start would have paid off.

use super::{Engine, State};
use std::time::{Duration, Instant};

/// What the pool has learned about its connections. None: nothing yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Durations {
    /// How long a create takes.
    pub(crate) create: Option<Duration>,
    /// How long a checkout lasts.
    pub(crate) hold: Option<Duration>,
}

/// What decides whether a create is deferred.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    pub(crate) durations: Durations,
    /// A waiter gave up while a create was deferred for it, and no check-in has served a waiter since.
    pub(super) estimate_failed: bool,
    /// Connections that have left the pool while callers waited, minus the creates that have started since.
    pub(super) lost: usize,
}

/// A create is not deferred for less than this time.
const LEAST_DELAY: Duration = Duration::from_millis(1);

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Returns until when creates for waiters are deferred. None: a create may start now.
    ///
    /// The engine must settle again at that time.
    pub(super) fn deferred_until(&self, state: &State<T, F>, now: Instant) -> Option<Instant> {
        // Without threads nobody would start the create later, and without a connection nothing comes back.
        let wrong = state.growth.estimate_failed || state.growth.lost > 0;
        let open = state.open - state.overdue_checks(now);
        if self.inline || state.failing || open == 0 || wrong {
            return None;
        }
        let create = state.growth.durations.create?;
        let delay = create / 4;
        let (head, busy_since) = (state.queue.head()?, state.queue.busy_since()?);
        if delay < LEAST_DELAY {
            return None;
        }
        let wait = |each: Duration, of: usize| {
            let waiters = u32::try_from(state.queue.len()).unwrap_or(u32::MAX);
            each.saturating_mul(waiters) / u32::try_from(of).unwrap_or(u32::MAX)
        };
        let wait = match (state.queue.served(), state.growth.durations.hold) {
            (0, Some(hold)) => wait(hold, open),
            // Nothing has come back yet: one create starts, and the first check-ins decide about more.
            (0, None) if state.creating == 0 => return None,
            (0, None) => Duration::ZERO,
            // What this queue has seen counts for more than older checkouts. All open connections were taken at
            // about the same time, so the first of them stands for the rest.
            (served, _) => wait(now.saturating_duration_since(busy_since), served.max(open)),
        };
        if wait >= create {
            return None;
        }
        let until = (head.since() + delay).min(busy_since + create);
        (until > now).then_some(until)
    }

    /// Returns how many creates for waiters are deferred.
    pub(crate) fn deferred_creates(&self, state: &State<T, F>, now: Instant) -> usize {
        if !state.may_create(now) || self.deferred_until(state, now).is_none() {
            return 0;
        }
        let room = state.max_size - state.taken();
        let of_all = self.member.as_ref().map_or(room, super::Member::room);
        room.min(of_all).min(state.max_creating - state.creating)
    }

    /// Records that a connection leaves the pool. If callers wait, no check-in of that connection will serve
    /// one of them, so one create may start at once.
    pub(super) fn note_lost(state: &mut State<T, F>) {
        state.growth.lost += usize::from(!state.queue.is_empty());
    }

    /// Records that a check-in has served a waiter.
    pub(super) fn note_served(state: &mut State<T, F>) {
        state.growth.estimate_failed = false;
        state.queue.note_served();
    }

    /// Records that a waiter gives up. If a create was deferred for it, the estimate was wrong, and no create
    /// is deferred until a check-in serves a waiter again.
    pub(super) fn note_timeout(&self, state: &mut State<T, F>, now: Instant) {
        state.growth.estimate_failed |= self.deferred_until(state, now).is_some();
    }
}

#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests {
    use super::*;
    use crate::engine::{Actions, CHECK_SOFT_LIMIT, CheckFor, Checkout, Now, Outcome, Waiter};
    use std::cell::RefCell;
    use std::sync::Arc;

    const CREATE: Duration = Duration::from_millis(400);

    struct Fixture {
        engine: Arc<Engine<u64, ()>>,
        start: Instant,
        /// The connections in use.
        held: Vec<Checkout<u64>>,
        waiters: RefCell<Vec<Arc<Waiter<u64, ()>>>>,
    }

    /// An engine with `open` connections in use, where creates take [`CREATE`] and checkouts last `hold`.
    fn fixture(open: usize, inline: bool, hold: Option<Duration>) -> Fixture {
        let start = Instant::now();
        let engine = Engine::new(10, 4, Some(Duration::ZERO), inline, start, None);
        let now = Now {
            tick: 1,
            real: start,
        };
        let taken = (0..open).map(|n| {
            let checkout = engine.add(&mut engine.lock(), Box::new(n as u64), now, u64::MAX);
            checkout.unwrap_or_else(|_| unreachable!("there is room"))
        });
        let taken = taken.collect();
        engine.lock().growth.durations = Durations {
            create: Some(CREATE),
            hold,
        };
        Fixture {
            engine,
            start,
            held: taken,
            waiters: RefCell::default(),
        }
    }

    impl Fixture {
        /// Lets callers wait since the start, and settles at `after`.
        fn wait(&self, callers: usize, after: Duration) -> Actions<u64, ()> {
            let mut state = self.engine.lock();
            for _ in 0..callers {
                let waiter = Waiter::new(self.start);
                self.engine.enqueue(&mut state, &waiter, self.start);
                self.waiters.borrow_mut().push(waiter);
            }
            self.engine.settle(&mut state, self.start + after)
        }

        fn end(self, actions: impl IntoIterator<Item = Actions<u64, ()>>) {
            for mut actions in actions {
                actions.wake();
            }
            // The end of a table leaks a slot that is still in use.
            let outcomes = self.waiters.into_inner().into_iter();
            let outcomes = outcomes.filter_map(|waiter| match waiter.take_outcome()? {
                Outcome::Checkout(checkout) => Some(checkout),
                _ => None,
            });
            for checkout in self.held.into_iter().chain(outcomes) {
                let _ = self.engine.detach(checkout, self.start);
            }
        }
    }

    #[test]
    fn a_create_is_deferred_for_a_quarter_of_its_time_if_a_check_in_will_be_faster() {
        let fixture = fixture(5, false, Some(Duration::from_millis(2)));
        let early = fixture.wait(45, Duration::ZERO);
        assert_eq!(early.permits.len(), 0);
        assert_eq!(early.settle_at, Some(fixture.start + CREATE / 4));
        let late = fixture.wait(0, CREATE / 4);
        assert_eq!(late.permits.len(), 4);
        fixture.end([early, late]);
    }

    #[test]
    fn a_create_starts_at_once_if_checkouts_last_longer() {
        let fixture = fixture(5, false, Some(CREATE * 6));
        let actions = fixture.wait(1, Duration::ZERO);
        assert_eq!(actions.permits.len(), 1);
        fixture.end([actions]);
    }

    /// Earlier checkouts were long, and those of the present queue are short.
    #[test]
    fn what_the_present_queue_has_seen_counts_for_more_than_older_checkouts() {
        let mut fixture = fixture(5, false, None);
        let first = fixture.wait(45, Duration::ZERO);
        let returned = fixture.held.pop().expect("it is held");
        let after = fixture.start + Duration::from_millis(2);
        let second = fixture.engine.return_entry(returned, 1, 0, false, after);
        let second = second.unwrap_or_else(|_| unreachable!("the entry is accepted"));
        fixture.engine.lock().growth.durations.hold = Some(CREATE * 10);
        let third = fixture.wait(0, Duration::from_millis(3));
        let created = [first, second, third];
        let counts = created.each_ref().map(|actions| actions.permits.len());
        assert_eq!(counts, [1, 0, 0]);
        // Later they are long too.
        let late = fixture.wait(0, CREATE / 8);
        assert_eq!(late.permits.len(), 3);
        fixture.end(created.into_iter().chain([late]));
    }

    #[test]
    fn a_create_starts_at_once_if_too_many_share_the_connections() {
        let fixture = fixture(5, false, Some(CREATE / 10));
        let few = fixture.wait(49, Duration::ZERO);
        assert_eq!(few.permits.len(), 0);
        let many = fixture.wait(1, Duration::ZERO);
        assert_eq!(many.permits.len(), 4);
        fixture.end([few, many]);
    }

    #[test]
    fn while_nothing_has_come_back_one_create_starts_and_the_others_are_deferred() {
        let fixture = fixture(5, false, None);
        let early = fixture.wait(45, Duration::ZERO);
        assert_eq!(early.permits.len(), 1);
        let late = fixture.wait(0, CREATE / 4);
        assert_eq!(late.permits.len(), 3);
        fixture.end([early, late]);
    }

    #[test]
    fn a_pool_that_knows_nothing_or_has_nothing_open_or_no_threads_starts_at_once() {
        let hold = Some(Duration::ZERO);
        let unknown = fixture(5, false, hold);
        unknown.engine.lock().growth.durations.create = None;
        let failing = fixture(5, false, hold);
        failing.engine.lock().failing = true;
        let quick = fixture(5, false, hold);
        quick.engine.lock().growth.durations.create = Some(LEAST_DELAY * 3);
        for fixture in [unknown, failing, quick, fixture(0, false, hold)] {
            let actions = fixture.wait(2, Duration::ZERO);
            assert_eq!(actions.permits.len(), 2);
            fixture.end([actions]);
        }
        let inline = fixture(5, true, hold);
        let actions = inline.wait(2, Duration::ZERO);
        assert_eq!(inline.engine.lock().creating, 2);
        inline.end([actions]);
    }

    #[test]
    fn a_queue_that_was_not_empty_for_the_time_of_a_create_grows() {
        let fixture = fixture(5, false, Some(Duration::from_millis(2)));
        let first = fixture.wait(1, Duration::ZERO);
        // A younger waiter takes the place of each that is served, so no head waits for long.
        let mut state = fixture.engine.lock();
        let young = Waiter::new(fixture.start + CREATE);
        fixture.engine.enqueue(&mut state, &young, fixture.start);
        state.queue.hand_off(Outcome::Fail(()));
        let before = CREATE - Duration::from_millis(1);
        let early = fixture.engine.settle(&mut state, fixture.start + before);
        let late = fixture.engine.settle(&mut state, fixture.start + CREATE);
        drop(state);
        assert_eq!((early.permits.len(), late.permits.len()), (0, 1));
        fixture.end([first, early, late]);
    }

    #[test]
    fn after_a_waiter_gave_up_in_vain_creates_start_at_once_until_a_check_in_serves_one() {
        let mut fixture = fixture(2, false, Some(Duration::ZERO));
        let first = fixture.wait(1, Duration::ZERO);
        let mut state = fixture.engine.lock();
        fixture.engine.note_timeout(&mut state, fixture.start);
        let second = fixture.engine.settle(&mut state, fixture.start);
        drop(state);
        assert_eq!((first.permits.len(), second.permits.len()), (0, 1));
        let serve = |fixture: &mut Fixture, fresh| {
            let returned = fixture.held.pop().expect("it is held");
            let start = fixture.start;
            let returned = fixture.engine.return_entry(returned, 1, 0, fresh, start);
            returned.unwrap_or_else(|_| unreachable!("the entry is accepted"))
        };
        // The end of a check serves the waiter, then a check-in serves the next one.
        let third = serve(&mut fixture, true);
        let fourth = fixture.wait(1, Duration::ZERO);
        let fifth = serve(&mut fixture, false);
        let sixth = fixture.wait(2, Duration::ZERO);
        assert_eq!((fourth.permits.len(), sixth.permits.len()), (1, 0));
        fixture.end([first, second, third, fourth, fifth, sixth]);
    }

    #[test]
    fn a_connection_that_leaves_while_callers_wait_is_replaced_at_once() {
        let leave: [fn(&Fixture, Checkout<u64>) -> Actions<u64, ()>; 2] = [
            |fixture, checkout| {
                let evicted = fixture.engine.begin_dispose(checkout, fixture.start);
                evicted.permit.finish(fixture.start)
            },
            |fixture, checkout| fixture.engine.detach(checkout, fixture.start).1,
        ];
        for leave in leave {
            let mut fixture = fixture(5, false, Some(Duration::ZERO));
            let before = fixture.held.pop().expect("it is held");
            let unneeded = leave(&fixture, before);
            let first = fixture.wait(3, Duration::ZERO);
            let used_up = fixture.held.pop().expect("it is held");
            let second = leave(&fixture, used_up);
            let third = fixture.wait(0, Duration::ZERO);
            let starts = [&unneeded, &first, &second, &third].map(|actions| actions.permits.len());
            assert_eq!(starts, [0, 0, 1, 0]);
            fixture.end([unneeded, first, second, third]);
        }
    }

    #[test]
    fn a_connection_whose_check_takes_suspiciously_long_is_not_expected_back() {
        let fixture = fixture(1, false, Some(Duration::ZERO));
        let soft_deadline = fixture.start + CHECK_SOFT_LIMIT / 2;
        let check = {
            let mut state = fixture.engine.lock();
            let (held, purpose) = (&fixture.held[0], CheckFor::Waiter(Some(soft_deadline)));
            (fixture.engine).begin_check(&mut state, held, (1, 0), fixture.start, purpose)
        };
        let first = fixture.wait(2, Duration::ZERO);
        let second = fixture.engine.expire_deadlines(soft_deadline);
        assert_eq!((first.permits.len(), second.permits.len()), (0, 2));
        assert!(fixture.engine.end_check(check));
        fixture.end([first, second]);
    }

    #[test]
    fn a_deferred_create_counts_as_coming() {
        let fixture = fixture(8, false, Some(Duration::ZERO));
        let actions = fixture.wait(3, Duration::ZERO);
        let deferred = |after| {
            let state = fixture.engine.lock();
            fixture
                .engine
                .deferred_creates(&state, fixture.start + after)
        };
        assert_eq!((deferred(Duration::ZERO), deferred(CREATE)), (2, 0));
        fixture.end([actions]);
    }
}
