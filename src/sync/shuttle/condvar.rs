use super::world::{self, Flaw, Sleeper};
use crate::sync::MutexGuard;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// A condition variable with the interface of parking_lot's: without spurious wake-ups, and with limits in
/// the time of the world. Shuttle's own condition variable never lets a limit pass.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    /// The waiting threads. This lock is never contended: threads of a schedule take turns, and no turn ends
    /// while this is locked.
    sleepers: std::sync::Mutex<VecDeque<Arc<Sleeper>>>,
}

#[derive(Debug)]
pub(crate) struct TimeIsUp(bool);

impl TimeIsUp {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self {
            sleepers: std::sync::Mutex::new(VecDeque::new()),
        }
    }

    pub(crate) fn notify_one(&self) {
        self.notify(1);
    }

    pub(crate) fn notify_all(&self) {
        self.notify(usize::MAX);
    }

    fn notify(&self, most: usize) {
        world::turn();
        if world::strikes(Flaw::LostWake) {
            return;
        }
        let mut woken = 0;
        while woken < most {
            let Some(sleeper) = self.sleepers().pop_front() else {
                break;
            };
            woken += usize::from(sleeper.wake());
        }
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.sleep(guard, None);
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, limit: Duration) -> TimeIsUp {
        self.sleep(guard, world::now().checked_add(limit))
    }

    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> TimeIsUp {
        self.sleep(guard, Some(until))
    }

    fn sleep<T>(&self, guard: &mut MutexGuard<'_, T>, until: Option<Instant>) -> TimeIsUp {
        let sleeper = Sleeper::new();
        // Register the sleeper before the lock is released, so that a thread which changes the protected
        // state later finds the sleeper.
        self.sleepers().push_back(Arc::clone(&sleeper));
        let in_time = MutexGuard::unlocked(guard, || sleeper.sleep(until));
        self.sleepers()
            .retain(|other| !Arc::ptr_eq(other, &sleeper));
        TimeIsUp(!in_time)
    }

    fn sleepers(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<Sleeper>>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
