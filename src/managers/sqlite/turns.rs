//! Waiting: for a turn to write, and for a lock that somebody else holds.

use std::{
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, MutexGuard};

use super::error::is_locked;

/// A line in which threads of this process wait: the writers in one, those who close in another.
///
/// SQLite lets its writers poll: each sleeps for a while and looks again, and who looks at the right
/// moment is next, so that under load somebody is always unlucky until the busy timeout is over. Here
/// the one who has waited longest is next.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<()>);

/// One writer's turn; the next one begins when it is dropped.
pub(super) struct Turn<'a>(Option<MutexGuard<'a, ()>>);

impl Turns {
    /// None when the time is over: then SQLite itself has to say who holds the lock.
    pub(super) fn take(&self, limit: Limit) -> Option<Turn<'_>> {
        let guard = self.0.try_lock_for(limit.left())?;
        Some(Turn(Some(guard)))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(guard) = self.0.take() {
            // To the next in line, and not to whoever comes by.
            MutexGuard::unlock_fair(guard);
        }
    }
}

/// A point in time up to which waiting may go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// None: for ever.
    end: Option<Instant>,
}

impl Limit {
    pub(super) fn of(length: Duration) -> Self {
        Self {
            end: now().checked_add(length),
        }
    }

    pub(super) fn left(self) -> Duration {
        self.end
            .map_or(Duration::MAX, |end| end.saturating_duration_since(now()))
    }

    /// Repeats what failed because of a lock for which SQLite's own busy timeout does not wait.
    pub(super) fn retry<T>(
        self,
        mut attempt: impl FnMut() -> ::rusqlite::Result<T>,
    ) -> ::rusqlite::Result<T> {
        let mut pause = Duration::from_micros(500);
        loop {
            match attempt() {
                Err(error) if is_locked(&error) => {
                    let left = self.left();
                    if left.is_zero() {
                        return Err(error);
                    }
                    thread::sleep(pause.min(left));
                    pause = (pause * 2).min(Duration::from_millis(10));
                }
                other => return other,
            }
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a real wait for a real lock, not an age; the pool's clock does not apply"
)]
fn now() -> Instant {
    Instant::now()
}
