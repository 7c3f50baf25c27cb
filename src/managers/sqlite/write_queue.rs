//! Waits for a turn to write, and for a lock of another connection.

use std::{
    collections::VecDeque,
    thread::{self, Thread},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::error::is_locked;
use crate::managers::deadline::{Deadline, now};

/// The pauses between two attempts to take a lock.
const FIRST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// A FIFO queue of threads of this process. Writers and closing connections each have a queue.
///
/// SQLite's writers poll: each sleeps and checks again, and the one that checks at the right moment is next,
/// so under load some writer is unlucky until the busy timeout ends. The queue serves the thread that has
/// waited longest.
#[derive(Debug, Default)]
pub(super) struct WriteQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of the thread that has the turn.
    current: Option<u64>,
    waiting: VecDeque<(u64, Thread)>,
    /// The last number that was assigned.
    last: u64,
    /// The time at which the last turn ended.
    last_end: Option<Instant>,
}

/// One thread's turn. Dropping it starts the next turn.
pub(super) struct Turn<'a>(&'a WriteQueue);

impl WriteQueue {
    /// Waits for a turn. Returns None if one turn takes longer than `stall_timeout`, or at the deadline; SQLite
    /// then reports who holds the lock.
    pub(super) fn take(&self, stall_timeout: Duration, deadline: Deadline) -> Option<Turn<'_>> {
        let mut state = self.0.lock();
        state.last += 1;
        let number = state.last;
        if state.current.is_none() {
            state.current = Some(number);
            return Some(Turn(self));
        }
        state.waiting.push_back((number, thread::current()));
        let arrived = now();
        loop {
            let last_end = state
                .last_end
                .map_or(arrived, |last_end| last_end.max(arrived));
            let stalled = now().saturating_duration_since(last_end);
            let left = stall_timeout.saturating_sub(stalled).min(deadline.left());
            if left.is_zero() {
                state.waiting.retain(|(waiting, _)| *waiting != number);
                return None;
            }
            drop(state);
            thread::park_timeout(left);
            state = self.0.lock();
            if state.current == Some(number) {
                return Some(Turn(self));
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.last_end = Some(now());
        let next = state.waiting.pop_front();
        state.current = next.as_ref().map(|(number, _)| *number);
        drop(state);
        if let Some((_, thread)) = next {
            thread.unpark();
        }
    }
}

/// Repeats an attempt that failed because of a lock for which SQLite's own busy timeout does not wait.
pub(super) fn retry_while_locked<T>(
    deadline: Deadline,
    attempt: impl FnMut() -> ::rusqlite::Result<T>,
) -> ::rusqlite::Result<T> {
    deadline.retry(FIRST_PAUSE, LONGEST_PAUSE, is_locked, attempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(60);

    fn eventually(condition: impl Fn() -> bool) {
        let deadline = Deadline::after(Duration::from_secs(5));
        while !condition() {
            assert!(!deadline.is_over(), "still not true");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_first_writer_to_queue_is_served_first() {
        let (turns, order) = (
            Arc::<WriteQueue>::default(),
            Arc::<Mutex<Vec<usize>>>::default(),
        );
        let first = turns
            .take(LONG, Deadline::after(LONG))
            .expect("nobody is there");
        let others: Vec<_> = (0..8)
            .map(|number| {
                let (state, order) = (Arc::clone(&turns), Arc::clone(&order));
                let other = thread::spawn(move || {
                    let _turn = state.take(LONG, Deadline::after(LONG)).expect("a turn");
                    order.lock().push(number);
                });
                eventually(|| turns.0.lock().waiting.len() > number);
                other
            })
            .collect();
        drop(first);
        for other in others {
            other.join().expect("a turn");
        }
        assert_eq!(*order.lock(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_writer_that_times_out_leaves_the_queue_and_the_next_goes_on() {
        let turns = WriteQueue::default();
        let first = turns
            .take(LONG, Deadline::after(LONG))
            .expect("nobody is there");
        let short = Duration::from_millis(30);
        thread::scope(|scope| {
            let impatient = scope.spawn(|| turns.take(short, Deadline::after(LONG)).is_none());
            let late = scope.spawn(|| turns.take(LONG, Deadline::after(short)).is_none());
            let patient = scope.spawn(|| turns.take(LONG, Deadline::after(LONG)).is_some());
            assert!(impatient.join().expect("no panic"));
            assert!(late.join().expect("no panic"));
            eventually(|| turns.0.lock().waiting.len() == 1);
            drop(first);
            assert!(patient.join().expect("no panic"));
        });
        let state = turns.0.lock();
        assert!(state.current.is_none() && state.waiting.is_empty());
    }

    #[test]
    fn a_grant_that_meets_a_timeout_is_not_lost() {
        let turns = WriteQueue::default();
        for round in 0..200_u64 {
            let first = turns
                .take(LONG, Deadline::after(LONG))
                .expect("nobody is there");
            let stall_timeout = Duration::from_micros(round * 5);
            thread::scope(|scope| {
                let other =
                    scope.spawn(|| turns.take(stall_timeout, Deadline::after(LONG)).is_some());
                thread::sleep(stall_timeout);
                drop(first);
                let _ = other.join().expect("no panic");
            });
            assert!(turns.0.lock().current.is_none(), "round {round}");
        }
    }
}
