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
        if queued > 0 || !self.urgent.receiver.is_empty() {
            let now = real_now();
            let more = state.missing(queued, now);
            let due = match more {
                0 => state.look_again(now),
                _ => now + STUCK_AFTER,
            };
            self.set_due(&mut state, due);
            state.workers += more;
            self.start_lacking(state);
            (0..more).for_each(|_| self.spawn_worker(false));
        }
    }

    /// Starts the workers that pending urgent jobs lack.
    pub(super) fn start_lacking(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let lacking = match self.urgent.receiver.len() {
            0 => 0,
            pending => state.lacking(pending, real_now()),
        };
        drop(state);
        (0..lacking).for_each(|_| self.spawn_worker(true));
    }
}
