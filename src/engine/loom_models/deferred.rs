//! A create is deferred, because a check-in should serve its waiter first.

use super::explore;
use super::fixture::{Bound, Fixture, HeldEntry, Thread};
use crate::engine::Durations;
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;

/// What the collector waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alarm {
    None,
    Set,
    /// The waiter was served.
    Over,
}

/// The alarm of the collector.
struct Collector {
    alarm: Mutex<Alarm>,
    changed: Condvar,
}

impl Collector {
    fn set(&self, to: Alarm) {
        let mut alarm = self.alarm.lock();
        if *alarm != Alarm::Over {
            *alarm = to;
        }
        self.changed.notify_all();
    }

    /// Waits until the alarm goes off, and settles. Ends when the waiter was served.
    fn run(&self, fixture: &Fixture) {
        loop {
            let mut alarm = self.alarm.lock();
            while *alarm == Alarm::None {
                self.changed.wait(&mut alarm);
            }
            if std::mem::replace(&mut *alarm, Alarm::None) == Alarm::Over {
                return;
            }
            drop(alarm);
            fixture.pass_time();
            fixture.run(fixture.engine.expire_deadlines(fixture.now()));
        }
    }
}

/// A pool of two connections, of which one is in use. Creates take so long that the create for a waiter is
/// deferred until the time of the model has passed.
fn with_deferred_creates(sets_alarm: bool) -> (Arc<Fixture>, HeldEntry, Arc<Collector>) {
    let fixture = Fixture::new(2, Bound::Never);
    fixture.open(1);
    let held = fixture.try_get().expect("a connection is idle");
    fixture.lock().growth.durations = Durations {
        create: Some(Duration::from_secs(3600)),
        hold: Some(Duration::ZERO),
    };
    let collector = Arc::new(Collector {
        alarm: Mutex::new(Alarm::None),
        changed: Condvar::new(),
    });
    if sets_alarm {
        let collector = Arc::clone(&collector);
        fixture.on_settle_at(move || collector.set(Alarm::Set));
    }
    (fixture, held, collector)
}

/// The steps of the caller and of the collector.
fn caller_and_collector(collector: Arc<Collector>) -> [Thread; 2] {
    let served = Arc::clone(&collector);
    [
        Box::new(move |fixture| {
            fixture.wait_in_queue();
            served.set(Alarm::Over);
        }),
        Box::new(move |fixture| collector.run(fixture)),
    ]
}

#[test]
fn a_waiter_whose_create_is_deferred_is_served_by_the_check_in_or_by_the_create() {
    explore(|| {
        let (fixture, held, collector) = with_deferred_creates(true);
        let [caller, collector] = caller_and_collector(collector);
        let holder: Thread = Box::new(move |fixture| fixture.check_in(held));
        fixture.side_by_side([caller, collector, holder]);
        fixture.inspect();
    });
}

fn nothing_comes_back(sets_alarm: bool) {
    explore(move || {
        let (fixture, held, collector) = with_deferred_creates(sets_alarm);
        fixture.side_by_side(caller_and_collector(collector));
        fixture.check_in(held);
        assert_eq!(fixture.inspect(), 2);
    });
}

#[test]
fn a_waiter_whose_create_is_deferred_gets_it_although_nothing_comes_back() {
    nothing_comes_back(true);
}

#[test]
fn the_waiter_at_the_head_needs_no_collector_to_get_its_create() {
    nothing_comes_back(false);
}
