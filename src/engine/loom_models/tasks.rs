//! Tasks: wake against poll, drop and timeout against hand-off.

use super::checkout::GetResult;
use super::fixture::{Bound, Fixture, HeldEntry, TICK, WaiterRef};
use super::{explore, explore_within};
use crate::engine::{CheckFor, Outcome, Waiter};
use crate::sync::{Condvar, Mutex};
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::Instant;

/// The executor of one task: the thread sleeps until the waker is called.
struct Park {
    is_woken: Mutex<bool>,
    wake: Condvar,
}

impl Park {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            is_woken: Mutex::new(false),
            wake: Condvar::new(),
        })
    }

    fn sleep(&self) {
        let mut is_woken = self.is_woken.lock();
        while !*is_woken {
            self.wake.wait(&mut is_woken);
        }
        *is_woken = false;
    }
}

impl Wake for Park {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock() = true;
        self.wake.notify_one();
    }
}

impl Fixture {
    /// Queues a task. Ok: it has found a connection.
    fn queue_task(&self, deadline: Option<Instant>) -> Result<HeldEntry, WaiterRef> {
        let waiter = Waiter::of_task(self.waiter().since(), deadline);
        let mut state = self.lock();
        self.engine.enqueue(&mut state, &waiter, self.now());
        if let Some(held) = self.engine.search(&mut state, &waiter, TICK) {
            let actions = self.engine.dequeue(&mut state, &waiter, self.now());
            drop(state);
            actions.into_iter().for_each(|actions| self.run(actions));
            held.entry.touch();
            return Ok(held);
        }
        let actions = self.engine.settle(&mut state, self.now());
        drop(state);
        self.run(actions);
        Err(waiter)
    }

    fn poll(&self, waiter: &WaiterRef, waker: &Waker) -> Option<GetResult> {
        let run = |actions| self.run(actions);
        let clock = || self.now();
        let Poll::Ready(ended) = self.engine.poll_wait(waiter, waker, clock, run) else {
            return None;
        };
        Some(match ended {
            Outcome::Checkout(held) | Outcome::Found(held) => {
                held.entry.touch();
                GetResult::Checkout(held)
            }
            Outcome::Fail(failure) => GetResult::Failed(failure),
            Outcome::TimedOut => GetResult::TimedOut,
            Outcome::Permit(_) => unreachable!("a task gets no permit"),
        })
    }

    /// Polls a queued task whenever it is woken, until its wait has ended.
    fn poll_to_the_end(&self, waiter: &WaiterRef) -> GetResult {
        let park = Park::new();
        let waker = Waker::from(Arc::clone(&park));
        loop {
            match self.poll(waiter, &waker) {
                Some(got) => return got,
                None => park.sleep(),
            }
        }
    }

    fn wait_as_task(&self, deadline: Option<Instant>) -> GetResult {
        match self.queue_task(deadline) {
            Ok(held) => GetResult::Checkout(held),
            Err(waiter) => self.poll_to_the_end(&waiter),
        }
    }

    /// Drops a queued task.
    fn drop_task(&self, waiter: &WaiterRef) {
        match self.engine.abandon_wait(waiter, self.now()) {
            Ok(actions) => self.run(actions),
            Err(Some(Outcome::Checkout(held) | Outcome::Found(held))) => {
                self.return_entry(held, true);
            }
            Err(_) => {}
        }
    }
}

fn a_check_in_races_a_poll(task: fn(&Fixture) -> GetResult) {
    for bound in Bound::ALL {
        explore(move || {
            let (fixture, [held]) = Fixture::with_checkouts(bound);
            fixture.side_by_side([
                Box::new(|fixture| fixture.check_in(held)),
                Box::new(move |fixture| fixture.finish(task(fixture))),
            ]);
            assert_eq!(fixture.inspect(), 1);
        });
    }
}

#[test]
fn a_task_is_woken_whenever_its_connection_comes() {
    a_check_in_races_a_poll(|fixture| fixture.wait_as_task(None));
}

/// The task is polled by one executor and then by another one, which alone will poll it again.
#[test]
fn a_task_that_moves_to_another_executor_is_woken_there() {
    a_check_in_races_a_poll(|fixture| match fixture.queue_task(None) {
        Ok(held) => GetResult::Checkout(held),
        Err(waiter) => match fixture.poll(&waiter, Waker::noop()) {
            Some(got) => got,
            None => fixture.poll_to_the_end(&waiter),
        },
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_task_that_sleeps_without_leaving_its_waker() {
    a_check_in_races_a_poll(|fixture| match fixture.queue_task(None) {
        Ok(held) => GetResult::Checkout(held),
        Err(waiter) => match fixture.poll(&waiter, Waker::noop()) {
            Some(got) => got,
            None => {
                Park::new().sleep();
                GetResult::TimedOut
            }
        },
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_hand_off_that_wakes_nobody() {
    explore(|| {
        let (fixture, [held]) = Fixture::with_checkouts(Bound::Always);
        fixture.side_by_side([
            Box::new(|fixture| {
                let (engine, now) = (&fixture.engine, fixture.now());
                let returned = engine.return_entry(held, TICK, 0, false, now);
                drop(returned.unwrap_or_else(|_| unreachable!("it is not rejected")));
            }),
            Box::new(|fixture| fixture.finish(fixture.wait_as_task(None))),
        ]);
    });
}

/// A task is dropped while its connection may be on its way. The connection must reach the thread behind it.
fn a_task_is_dropped(bound: Bound, drop_task: fn(&Fixture, &WaiterRef)) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(bound);
        let Err(task) = fixture.queue_task(None) else {
            unreachable!("nothing is idle");
        };
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(move |fixture| drop_task(fixture, &task)),
            Box::new(Fixture::wait_in_queue),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_connection_on_its_way_to_a_dropped_task_reaches_the_next_in_line() {
    for bound in Bound::ALL {
        a_task_is_dropped(bound, Fixture::drop_task);
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_drop_that_keeps_the_connection() {
    a_task_is_dropped(Bound::Always, |fixture, task| {
        if let Ok(actions) = fixture.engine.abandon_wait(task, fixture.now()) {
            fixture.run(actions);
        }
    });
}

#[test]
#[should_panic(expected = "deadlock")]
fn bites_a_drop_that_leaves_the_task_in_the_queue() {
    a_task_is_dropped(Bound::Always, |fixture, task| {
        if let Some(Outcome::Checkout(held) | Outcome::Found(held)) = task.take_outcome() {
            fixture.return_entry(held, true);
        }
    });
}

/// The collector ends the wait at the deadline while a check-in hands off.
fn the_deadline_passes(collect: fn(&Fixture, &WaiterRef)) {
    explore(move || {
        let (fixture, [held]) = Fixture::with_checkouts(Bound::Always);
        let Err(task) = fixture.queue_task(Some(fixture.soon())) else {
            unreachable!("nothing is idle");
        };
        let polled = Arc::clone(&task);
        fixture.side_by_side([
            Box::new(|fixture| fixture.check_in(held)),
            Box::new(move |fixture| {
                fixture.pass_time();
                collect(fixture, &task);
            }),
            Box::new(move |fixture| fixture.finish(fixture.poll_to_the_end(&polled))),
        ]);
        assert_eq!(fixture.inspect(), 1);
    });
}

#[test]
fn a_hand_off_that_races_the_deadline_of_a_task_is_not_lost() {
    the_deadline_passes(|fixture, _| fixture.run(fixture.engine.expire_deadlines(fixture.now())));
}

#[test]
#[should_panic(expected = "an entry is lost")]
fn bites_a_deadline_that_leaves_the_task_in_the_queue() {
    the_deadline_passes(|_, task| {
        task.complete(Outcome::TimedOut);
        task.wake();
    });
}

/// The head is a task that its executor polls late. It gets one connection and holds up nobody.
#[test]
fn a_task_that_is_not_polled_holds_up_no_thread_behind_it() {
    for bound in Bound::ALL {
        explore_within(2, move || {
            let (fixture, [one, two]) = Fixture::with_unmarked_checkouts(bound);
            let Err(task) = fixture.queue_task(None) else {
                unreachable!("nothing is idle");
            };
            fixture.side_by_side([
                Box::new(|fixture| fixture.check_in(one)),
                Box::new(|fixture| fixture.check_in(two)),
                Box::new(Fixture::wait_in_queue),
            ]);
            fixture.finish(fixture.poll_to_the_end(&task));
            assert_eq!(fixture.inspect(), 2);
        });
    }
}

/// A thread at the head is notified and leaves; then a task is the head, and must get what came back meanwhile.
#[test]
fn a_task_gets_what_came_back_for_a_head_that_leaves() {
    for bound in Bound::ALL {
        explore_within(2, move || {
            let (fixture, [held]) = Fixture::with_checkouts(bound);
            fixture.side_by_side([
                Box::new(|fixture| fixture.check_in(held)),
                Box::new(|fixture| fixture.finish(fixture.get_queued(Some(fixture.soon())))),
                Box::new(|fixture| fixture.finish(fixture.wait_as_task(None))),
            ]);
            assert_eq!(fixture.inspect(), 1);
        });
    }
}

/// The task at the head relies on the check of its connection and has searched no slot. The thread behind it could not
/// search either, and must still get what a check-in stores that began before the two came.
#[test]
fn a_thread_behind_the_check_of_a_task_gets_what_a_check_in_stores() {
    for bound in Bound::ALL {
        explore(move || {
            let (fixture, [one, two]) = Fixture::with_unmarked_checkouts(bound);
            let checked = Arc::new(Mutex::new(None));
            let (begun, one) = (Arc::clone(&checked), one);
            fixture.side_by_side([
                Box::new(|fixture| fixture.check_in(two)),
                Box::new(move |fixture| {
                    let task = Waiter::of_task(fixture.waiter().since(), None);
                    let now = fixture.now();
                    let mut state = fixture.lock();
                    fixture.engine.enqueue(&mut state, &task, now);
                    let purpose = CheckFor::Waiter(Some(fixture.soon()));
                    let check =
                        (fixture.engine).begin_check(&mut state, &one, (1, 0), now, purpose);
                    let actions = fixture.engine.settle(&mut state, now);
                    drop(state);
                    fixture.run(actions);
                    let ended = fixture.engine.finish_check(check, one, 0, TICK, now);
                    let Ok(Ok(actions)) = ended else {
                        unreachable!("no thread abandons the check");
                    };
                    fixture.run(actions);
                    *begun.lock() = Some(task);
                }),
                Box::new(Fixture::wait_in_queue),
            ]);
            let task = checked.lock().take().expect("it was queued");
            fixture.finish(fixture.poll_to_the_end(&task));
            assert_eq!(fixture.inspect(), 2);
        });
    }
}
