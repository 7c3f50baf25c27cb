//! Jobs that got no thread, or wait for one that is not free after all.

use super::threads::{STUCK_AFTER, State};
use super::workers::WorkerPool;
use crate::clock::real_now;
use crate::sync::outer::MutexGuard;
use std::sync::Arc;

impl WorkerPool {
    /// Runs the jobs that got no thread, and replaces stuck workers.
    pub(super) fn run_stranded(self: &Arc<Self>) {
        let mut state = self.state.lock();
        while state.workers == 0 || state.refused > 0 {
            let Some((work, _)) = self.next_pending(&mut state) else {
                break;
            };
            state.refused = state.refused.saturating_sub(1);
            drop(state);
            state = self.run_job(work);
        }
        state.refused = 0;
        let queued = self.rest.receiver.len();
        if queued == 0 && state.relying == 0 {
            return;
        }
        let now = real_now();
        let let_down = state.let_down(now);
        let more = state.missing(queued, now);
        let due = match more {
            0 => state.look_again(now),
            _ => now + STUCK_AFTER,
        };
        self.set_due(&mut state, due);
        state.workers += more;
        drop(state);
        (0..more + let_down).for_each(|_| self.spawn_worker());
    }

    /// Starts workers for the urgent jobs that relied on one that is not free after all.
    pub(super) fn replace_let_down(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let let_down = match state.relying {
            0 => 0,
            _ => state.let_down(real_now()),
        };
        drop(state);
        (0..let_down).for_each(|_| self.spawn_worker());
    }
}
