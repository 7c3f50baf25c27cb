//! The inspection that every execution of a model ends with.

use super::super::{CLOSED, SHARED, SUSPENDED, Stamp};
use super::fixture::{Fixture, TICK};
use crate::sync::Ordering::Relaxed;

impl Fixture {
    /// Asserts that every entry is in exactly one place, that the counts agree, and that the wait queue is
    /// empty. Returns how many entries are idle.
    ///
    /// Must be called when all threads of the model have ended and no connection is checked out.
    pub(super) fn inspect(&self) -> usize {
        let state = self.lock();
        assert_eq!(state.queue.len(), 0, "a waiter is still queued");
        assert_eq!(state.jobs().count(), 0, "a job has not ended");
        let jobs = state.creating + state.checking + state.disposing + state.jobs_with_waiter();
        assert_eq!(jobs + state.abandoned, 0, "a count of jobs has drifted");
        let open = state.created + state.added - state.disposed - state.detached;
        assert_eq!(state.open as u64, open, "conservation");
        assert!(state.taken() <= state.max_size, "more than there may be");
        let slots = || self.engine.table.all();
        let idle = slots().filter(|slot| matches!(slot.stamp(), Stamp::Idle(_)));
        assert_eq!(idle.count(), state.open, "an entry is lost");
        let ready = self.engine.table.count_idle(usize::MAX);
        assert_eq!(ready, state.open, "an idle entry has lost its ready bit");
        let mut gate = if state.closed { CLOSED } else { 0 };
        gate |= if state.suspended { SUSPENDED } else { 0 };
        let actual = self.engine.gate.load(Relaxed) & !SHARED;
        assert_eq!(actual, gate, "the gate differs from the locked state");
        let (open, generation, closed) = (state.open, state.generation, state.closed);
        drop(state);
        assert_eq!(self.alive.load(Relaxed), open, "an entry was dropped");
        let idle: Vec<_> = slots().filter_map(|slot| slot.take(TICK)).collect();
        assert_eq!(idle.len(), open, "a slot says it is idle and is empty");
        for held in &idle {
            held.entry.touch();
            assert_eq!(
                held.entry.generation, generation,
                "cleared, and still there"
            );
        }
        assert!(!closed || open == 0, "closed, and not empty");
        idle.len()
    }
}
