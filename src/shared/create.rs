//! How connections come: creates, on threads of the pool or on callers, and what their failures mean.

use super::evict::PoolRetired;
use super::node::{Node, Vouched};
use super::{Failure, PoolCore, PoolEffects, PoolHanded, PoolLoan, PoolPermit, Shared};
use crate::clock::real_now;
use crate::engine::RejectReason;
use crate::error::Cause;
use crate::foreign::Caught;
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::error::Error;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Instant;

/// Why a create was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For somebody who waits.
    Waiter,
    /// For min_idle.
    Refill,
    /// For min_idle, before the expired connection in this slot is retired.
    Replace(u32),
    /// For who asks for the health of a pool that has nothing open.
    Probe,
}

/// A create that did not bring a connection.
pub(super) struct Failed<E> {
    pub(super) cause: Caught<Cause<E>>,
    pub(super) transient: bool,
}

impl<E> Failed<E> {
    /// What a caller is told who need not wait any longer.
    pub(super) fn failure(&self) -> Failure<E> {
        match &*self.cause {
            Cause::Panicked { hook, message } => Failure::Panicked {
                hook,
                message: message.clone(),
            },
            Cause::Create(error) | Cause::Check(error) => {
                Failure::Create(Caught::new(Arc::clone(error)))
            }
            Cause::TimedOut { hook, after } => Failure::TimedOut {
                hook,
                after: *after,
            },
        }
    }
}

/// What became of a new connection.
enum Installed<M: ConnectionManager> {
    /// It is the caller's, and others may go on.
    Here(PoolLoan<M>, PoolEffects<M>),
    /// The head waiter has it, or it rests.
    Given(PoolEffects<M>),
    RejectReason(PoolRetired<M>, RejectReason),
}

impl<M: ConnectionManager> Shared<M> {
    /// Starts a create on a thread of the pool.
    pub(super) fn start_create(self: &Arc<Self>, permit: PoolPermit<M>, purpose: Purpose) {
        let Some(bell) = &self.bell else {
            return self.create(permit, purpose);
        };
        let shared = Arc::clone(self);
        bell.submit(true, move || shared.create(permit, purpose));
    }

    /// A whole create on this thread: its connection goes to the head waiter or to rest, its failure
    /// to whom it concerns.
    pub(super) fn create(self: &Arc<Self>, permit: PoolPermit<M>, purpose: Purpose) {
        if let Ok(Some(loan)) = self.create_loan(permit, purpose) {
            // A refill in a pool without threads.
            let idle_since = loan.idle_since;
            self.give(loan, idle_since, true);
        }
        if let Purpose::Replace(slot) = purpose {
            self.retire_replaced(slot);
        }
        if purpose != Purpose::Waiter {
            // The next one of several may go on only now.
            self.nudge();
        }
    }

    /// Runs `create`. In a pool with threads the connection is handed over at once; without, it is
    /// the caller's. None: handed over, not needed any more, or too late.
    pub(super) fn create_loan(
        self: &Arc<Self>,
        permit: PoolPermit<M>,
        purpose: Purpose,
    ) -> Result<Option<PoolLoan<M>>, Failed<M::Error>> {
        let result = self.create_for(permit, purpose);
        self.note_end_of_hook();
        result
    }

    fn create_for(
        self: &Arc<Self>,
        permit: PoolPermit<M>,
        purpose: Purpose,
    ) -> Result<Option<PoolLoan<M>>, Failed<M::Error>> {
        let since = real_now();
        let deadline = self.hook_deadline(since, self.config.create_timeout);
        let wanted = match purpose {
            Purpose::Waiter => self.bell.is_none(),
            Purpose::Refill => self.refill_deficit(&self.engine.lock(), self.ticker.tick()) >= 0,
            Purpose::Replace(_) | Purpose::Probe => true,
        };
        let Some(generation) = permit.start(since, deadline, wanted) else {
            let (_, effects) = permit.fail(real_now());
            self.run(effects);
            // The last pass may have counted on it. (The end of any other purpose calls anyway.)
            if purpose == Purpose::Waiter && self.min_idle.load(Relaxed) > 0 {
                self.nudge();
            }
            return Ok(None);
        };
        self.call_at(deadline);
        let result = self.call("create", ConnectionManager::create);
        match result {
            Ok(Ok(connection)) => Ok(self.created(permit, connection, generation, since)),
            Ok(Err(error)) => {
                let error = Arc::new(error);
                let transient = self.ask_transient(&error);
                let cause = Caught::new(Cause::Create(Arc::clone(&error)));
                self.failed(
                    Some((permit, purpose)),
                    since,
                    Failed { cause, transient },
                    error,
                )
            }
            Err(message) => {
                let error: Arc<dyn Error + Send + Sync> = Arc::from(Box::from(message.clone()));
                let hook = "create";
                let cause = Caught::new(Cause::Panicked { hook, message });
                let transient = false;
                self.failed(
                    Some((permit, purpose)),
                    since,
                    Failed { cause, transient },
                    error,
                )
            }
        }
    }

    fn created(
        self: &Arc<Self>,
        permit: PoolPermit<M>,
        connection: M::Connection,
        generation: u64,
        since: Instant,
    ) -> Option<PoolLoan<M>> {
        let now = self.moment();
        let took = now.real.saturating_duration_since(since);
        let node = self.node(connection, now.tick, generation);
        let (id, expires) = (node.id, node.expires);
        self.meter.create.record(took);
        self.emit(|pool| PoolEvent::Created { pool, id, took });
        let here = self.bell.is_none();
        let mut healed = false;
        let installed = permit.install(node, now, expires, |engine, core, mut loan| {
            // Before anybody can have the connection: its holder finds the pool healed.
            healed = self.wellbeing.succeed(false);
            loan.entry.begin(loan.slot.uses());
            if here && engine.reject_reason(core, generation).is_none() {
                return Installed::Here(loan, engine.settle(core, now.real));
            }
            match engine.return_locked(core, loan, now.tick, generation, true, now.real) {
                Ok(effects) => Installed::Given(effects),
                Err((retired, surplus)) => Installed::RejectReason(retired, surplus),
            }
        });
        let installed = match installed {
            Ok(installed) => installed,
            Err((node, stray)) => {
                self.count_eviction(&node, 0, EvictReason::Late, now.tick);
                self.run_dispose(node);
                drop(stray);
                self.nudge();
                return None;
            }
        };
        if healed {
            self.log_health();
        }
        self.back_on(Some(since));
        self.call_for_newcomer(expires, now);
        // Older creates that this one has overtaken are on notice now.
        if self.engine.lock().creating > 0 {
            self.nudge();
        }
        match installed {
            Installed::Here(loan, effects) => {
                self.run(effects);
                return Some(loan);
            }
            Installed::Given(effects) => self.run(effects),
            Installed::RejectReason(retired, surplus) => self.evict_surplus(retired, surplus),
        }
        None
    }

    /// A new node around a connection.
    pub(super) fn node(
        self: &Arc<Self>,
        connection: M::Connection,
        created: u64,
        generation: u64,
    ) -> Box<Node<M>> {
        let lifetime = self.ages.lifetime.map_or(u64::MAX, |lifetime| {
            // Shortened, never lengthened: the limit holds, and a batch does not end together.
            let share = self.config.lifetime_jitter * super::backoff::random_unit();
            lifetime - (lifetime as f64 * share) as u64
        });
        let name = match &self.observer {
            // Each event of a checkout carries it, and two threads must not meet at one count.
            Some(_) => Arc::from(&*self.name),
            None => Arc::clone(&self.name),
        };
        Box::new(Node {
            connection,
            shared: Arc::clone(self),
            name,
            id: self.next_id.fetch_add(1, Relaxed),
            created,
            expires: created.saturating_add(lifetime),
            generation,
            before: 0,
            idle_since: created,
            until_notable: 1,
            vouched: Vouched::Created,
            odd: 0,
        })
    }

    /// Accounts for a create that failed, and ends it. Err, unless the pool had given up on it already.
    /// The head waiter is told of a failure that waiting cannot mend.
    pub(super) fn failed<T>(
        self: &Arc<Self>,
        permit: Option<(PoolPermit<M>, Purpose)>,
        since: Instant,
        failed: Failed<M::Error>,
        error: Arc<dyn Error + Send + Sync>,
    ) -> Result<Option<T>, Failed<M::Error>> {
        let now = self.moment();
        let transient = failed.transient;
        let took = now.real.saturating_duration_since(since);
        self.meter.create_errors.fetch_add(1, Relaxed);
        self.note_error(now, &*error);
        self.set_last_create_failure(Some((now.real, failed.cause.clone())));
        self.back_off(since, now.real);
        self.note_ill();
        let priming = self.priming.load(Acquire);
        // A builder with `fail_fast` waits for no second attempt, whatever the manager calls the error.
        let ends_build = priming && (!transient || self.config.fail_fast);
        if priming && !ends_build {
            self.warn_that_build_waits(now.real, &*error);
        }
        // Before anybody can have the failure: who is told finds that it was reported.
        self.emit(|pool| PoolEvent::CreateFailed {
            pool,
            error,
            transient,
            took,
        });
        let attached = match permit {
            None => {
                self.fail_all_waits(&failed);
                true
            }
            Some((permit, purpose)) => {
                let all = self.config.fail_fast;
                // A create on its caller's thread concerns nobody else, unless all are told.
                let own = purpose == Purpose::Waiter && self.bell.is_none();
                let mut head = !own && (!transient || ends_build);
                let (attached, effects) = permit.fail_and_notify(now.real, |core| {
                    if !(all || mem::take(&mut head)) {
                        return None;
                    }
                    self.concerns_waiters(core, priming, &failed)
                });
                self.run(effects);
                attached
            }
        };
        if !attached {
            // One abandoned hook less: another may be given up on now.
            self.nudge();
        }
        if attached { Err(failed) } else { Ok(None) }
    }

    /// With `fail_fast`: all who wait are told of a failure that no permit ends.
    pub(super) fn fail_all_waits(self: &Arc<Self>, failed: &Failed<M::Error>) {
        if !self.config.fail_fast {
            return;
        }
        let priming = self.priming.load(Acquire);
        let failure = |core: &PoolCore<M>| self.concerns_waiters(core, priming, failed);
        let mut core = self.engine.lock();
        let effects = self.engine.fail_waiters(&mut core, failure, real_now());
        drop(core);
        self.run(effects);
    }

    /// While a connection is open somebody may give it back. A builder is told all the same, because nobody
    /// gives one back to it.
    fn concerns_waiters(
        &self,
        core: &PoolCore<M>,
        priming: bool,
        failed: &Failed<M::Error>,
    ) -> Option<Failure<M::Error>> {
        (core.open == 0 || priming).then(|| failed.failure())
    }

    /// Brings a connection back through the lock. `fresh`: new or newly proven, it goes to the head
    /// waiter however young.
    pub(super) fn give(self: &Arc<Self>, loan: PoolLoan<M>, idle_since: u64, fresh: bool) {
        let generation = loan.entry.generation;
        let engine = &self.engine;
        self.handed(engine.return_entry(loan, idle_since, generation, fresh, real_now()));
    }

    /// Does what handing a connection back left to be done.
    pub(super) fn handed(self: &Arc<Self>, handed: PoolHanded<M>) {
        match handed {
            Ok(effects) => self.run(effects),
            Err((retired, surplus)) => self.evict_surplus(retired, surplus),
        }
    }
}
