//! Hook timeouts: the slot of a hook that outlives its timeout is freed, and its thread runs on unattended.

use crate::engine::{Job, JobKind, Opened};
use crate::error::Cause;
use crate::foreign::{Caught, guarded};
use crate::shared::create::Failed;
use crate::shared::pooled::span;
use crate::shared::{PoolState, Shared};
use crate::{ConnectionManager, EvictReason};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

impl<M: ConnectionManager> Shared<M> {
    /// Abandons the hooks whose timeouts have passed, and reports them.
    pub(in crate::shared) fn abandon_overdue_hooks(self: &Arc<Self>, now: Instant) {
        let late = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let overdue: Vec<u64> = {
            let state = self.engine.lock();
            let overdue = state.jobs().filter(|(_, job)| late(job.deadline));
            overdue.map(|(id, _)| id).collect()
        };
        for id in overdue {
            let Some((job, opened, uses)) = self.abandon(id) else {
                continue;
            };
            let (hook, after) = match job.kind {
                JobKind::Create => ("create", self.config.create_timeout),
                JobKind::Check if job.is_reset => ("reset", self.config.check_timeout),
                JobKind::Check => ("check_aliveness", self.config.check_timeout),
                JobKind::Dispose => ("dispose", self.config.dispose_timeout),
            };
            guarded(|| {
                let pool = &*self.name;
                tracing::warn!(target: "conpool", pool, hook, ?after, "hook takes too long");
            });
            let cause = Caught::new(Cause::TimedOut { hook, after });
            let error: Arc<dyn Error + Send + Sync> =
                Arc::from(Box::from(format!("{hook} took longer than {after:?}")));
            match job.kind {
                JobKind::Create => {
                    let transient = true;
                    let failed = Failed { cause, transient };
                    // The result matters only to a caller with a permit.
                    let _ = self.create_failed::<()>(None, job.since, failed, error);
                }
                JobKind::Check => {
                    let reason = match job.is_reset {
                        true => EvictReason::ResetFailed,
                        false => EvictReason::CheckFailed,
                    };
                    self.record_error(self.now(), &*error);
                    match job.is_reset {
                        true => self.record_failure(),
                        false => self.record_failed_check(cause),
                    }
                    self.count_reason(reason);
                    let age = span(opened.tick, self.ticker.tick());
                    self.emit_evicted(job.connection, reason, age, uses);
                    self.connection_closed();
                }
                JobKind::Dispose => {}
            }
            self.settle();
            self.hook_ended();
        }
    }

    /// Abandons a job. Returns the job, the facts about its connection, and the use count of the connection.
    fn abandon(&self, id: u64) -> Option<(Job, Opened, u64)> {
        let mut state = self.engine.lock();
        let job = self.engine.abandon(&mut state, id)?;
        // Read the facts under the same lock: the slot is free now and may get another connection after
        // unlock.
        let opened = state.opened_in(job.slot);
        let slot = self.engine.table.get(job.slot);
        let uses = slot.map_or(0, |slot| slot.uses() - opened.uses);
        Some((job, opened, uses))
    }

    /// Returns when the next hook timeout, soft deadline, pause or wait of a task ends.
    pub(in crate::shared) fn next_deadline(
        &self,
        state: &PoolState<M>,
        now: Instant,
    ) -> Option<Instant> {
        let deadlines = state.jobs().filter_map(|(_, job)| job.deadline);
        let soft_deadlines = state
            .jobs()
            .filter_map(|(_, job)| job.soft_deadline.filter(|_| job.has_waiter));
        // Include the pause even if the queue is empty, because a waiter may come before the pause is over.
        // That waiter makes the pause shorter and wakes the collector.
        let pause = state.backoff_until().filter(|_| !state.closed);
        deadlines
            .chain(soft_deadlines)
            .chain(pause)
            .chain(state.queue.next_deadline())
            .filter(|at| *at > now)
            .min()
    }
}
