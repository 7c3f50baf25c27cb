//! Hooks that outlive their timeouts: their slots are freed, their threads are on their own.

use crate::shared::create::Failed;
use crate::shared::pooled::span;
use crate::shared::{PoolState, Shared};
use crate::engine::{Job, JobKind, Opened};
use crate::error::Cause;
use crate::foreign::{Caught, guarded};
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

impl<M: ConnectionManager> Shared<M> {
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
                    // Without a permit nothing is given back that could have been given up on.
                    let _ = self.create_failed::<()>(None, job.since, failed, error);
                }
                JobKind::Check => {
                    let reason = EvictReason::CheckFailed;
                    self.record_error(self.now(), &*error);
                    self.record_failed_check(cause);
                    self.count_reason(reason);
                    let id = job.connection;
                    let age = span(opened.tick, self.ticker.tick());
                    self.emit(|pool| PoolEvent::Evicted {
                        pool,
                        id,
                        reason,
                        age,
                        uses,
                    });
                }
                JobKind::Dispose => {}
            }
            self.settle();
            self.hook_ended();
        }
    }

    /// The job, and how its connection began and how often it was used since.
    fn abandon(&self, id: u64) -> Option<(Job, Opened, u64)> {
        let mut state = self.engine.lock();
        let job = self.engine.abandon(&mut state, id)?;
        // Under the same lock: the slot is free now, and the next connection may be put there.
        let opened = state.opened_in(job.slot);
        let slot = self.engine.table.get(job.slot);
        let uses = slot.map_or(0, |slot| slot.uses() - opened.uses);
        Some((job, opened, uses))
    }

    /// When the next hook has taken too long, or a waiter should look for something else, or a create
    /// may be tried again.
    pub(in crate::shared) fn next_deadline(&self, state: &PoolState<M>, now: Instant) -> Option<Instant> {
        let deadlines = state.jobs().filter_map(|(_, job)| job.deadline);
        let patience = state
            .jobs()
            .filter_map(|(_, job)| job.soft_deadline.filter(|_| job.has_waiter));
        // Even if nobody wants a connection now: somebody may before the pause is over. Who comes and waits
        // makes the pause shorter, and calls the collector.
        let pause = state.backoff_until().filter(|_| !state.closed);
        deadlines
            .chain(patience)
            .chain(pause)
            .filter(|at| *at > now)
            .min()
    }
}
