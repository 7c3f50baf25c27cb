//! How connections come: creates, on threads of the pool or on callers, and what their failures mean.

pub(in crate::shared) mod backoff;
pub(in crate::shared) mod initial;
pub(in crate::shared) mod probe;

use crate::shared::checkin::evict::PoolEvicted;
use crate::shared::pooled::{Freshness, PooledConnection};
use crate::shared::{Failure, PoolActions, PoolCheckout, PoolPermit, PoolReturnResult, PoolState, Shared};
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
pub(in crate::shared) enum Purpose {
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
pub(in crate::shared) struct Failed<E> {
    pub(in crate::shared) cause: Caught<Cause<E>>,
    pub(in crate::shared) transient: bool,
}

impl<E> Failed<E> {
    /// What a caller is told who need not wait any longer.
    pub(in crate::shared) fn failure(&self) -> Failure<E> {
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
    Here(PoolCheckout<M>, PoolActions<M>),
    /// The head waiter has it, or it rests.
    Returned(PoolActions<M>),
    Rejected(PoolEvicted<M>, RejectReason),
}

impl<M: ConnectionManager> Shared<M> {
    /// Starts a create on a thread of the pool.
    pub(in crate::shared) fn start_create(self: &Arc<Self>, permit: PoolPermit<M>, purpose: Purpose) {
        let shared = Arc::clone(self);
        (self.executor).submit(true, move || shared.create(permit, purpose));
    }

    /// A whole create on this thread: its connection goes to the head waiter or to rest, its failure
    /// to whom it concerns.
    pub(in crate::shared) fn create(self: &Arc<Self>, permit: PoolPermit<M>, purpose: Purpose) {
        if let Ok(Some(checkout)) = self.run_create(permit, purpose) {
            // A refill in a pool without threads.
            let idle_since = checkout.idle_since;
            self.return_connection(checkout, idle_since, true);
        }
        if let Purpose::Replace(slot) = purpose {
            self.evict_replaced(slot);
        }
        if purpose != Purpose::Waiter {
            // The next one of several may go on only now.
            self.wake_collector();
        }
    }

    /// Runs `create`. In a pool with threads the connection is handed over at once; without, it is
    /// the caller's. None: handed over, not needed any more, or too late.
    pub(in crate::shared) fn run_create(
        self: &Arc<Self>,
        permit: PoolPermit<M>,
        purpose: Purpose,
    ) -> Result<Option<PoolCheckout<M>>, Failed<M::Error>> {
        let result = self.run_permit(permit, purpose);
        self.hook_ended();
        result
    }

    fn run_permit(
        self: &Arc<Self>,
        permit: PoolPermit<M>,
        purpose: Purpose,
    ) -> Result<Option<PoolCheckout<M>>, Failed<M::Error>> {
        let since = real_now();
        let deadline = self.hook_deadline(since, self.config.create_timeout);
        let wanted = match purpose {
            Purpose::Waiter => self.executor.is_inline(),
            Purpose::Refill => self.refill_deficit(&self.engine.lock(), self.ticker.tick()) >= 0,
            Purpose::Replace(_) | Purpose::Probe => true,
        };
        let Some(generation) = permit.start(since, deadline, wanted) else {
            let (_, actions) = permit.fail(real_now());
            self.run(actions);
            // The last pass may have counted on it. (The end of any other purpose calls anyway.)
            if purpose == Purpose::Waiter && self.min_idle.load(Relaxed) > 0 {
                self.wake_collector();
            }
            return Ok(None);
        };
        self.wake_by(deadline);
        let (cause, transient, error): (_, _, Arc<dyn Error + Send + Sync>) =
            match self.call("create", ConnectionManager::create) {
                Ok(Ok(connection)) => {
                    return Ok(self.create_succeeded(permit, connection, generation, since));
                }
                Ok(Err(error)) => {
                    let error = Arc::new(error);
                    let transient = self.ask_transient(&error);
                    (Cause::Create(Arc::clone(&error)), transient, error)
                }
                Err(message) => {
                    let error = Arc::from(Box::from(message.clone()));
                    let hook = "create";
                    (Cause::Panicked { hook, message }, false, error)
                }
            };
        let cause = Caught::new(cause);
        let failed = Failed { cause, transient };
        self.create_failed(Some((permit, purpose)), since, failed, error)
    }

    fn create_succeeded(
        self: &Arc<Self>,
        permit: PoolPermit<M>,
        connection: M::Connection,
        generation: u64,
        since: Instant,
    ) -> Option<PoolCheckout<M>> {
        let now = self.now();
        let took = now.real.saturating_duration_since(since);
        let pooled = self.pooled(connection, now.tick, generation);
        let (id, expires) = (pooled.id, pooled.expires);
        self.meter.create.record(took);
        self.emit(|pool| PoolEvent::Created { pool, id, took });
        let here = self.executor.is_inline();
        let mut healed = false;
        let installed = permit.install(pooled, now, expires, |engine, state, mut checkout| {
            // Before anybody can have the connection: its holder finds the pool healed.
            healed = self.health.succeed(false);
            checkout.entry.install(checkout.slot.uses());
            if here && engine.reject_reason(state, generation).is_none() {
                return Installed::Here(checkout, engine.settle(state, now.real));
            }
            match engine.return_locked(state, checkout, now.tick, generation, true, now.real) {
                Ok(actions) => Installed::Returned(actions),
                Err((evicted, reason)) => Installed::Rejected(evicted, reason),
            }
        });
        let installed = match installed {
            Ok(installed) => installed,
            Err((pooled, stray)) => {
                self.count_eviction(&pooled, 0, EvictReason::Late, now.tick);
                self.run_dispose(pooled);
                drop(stray);
                self.wake_collector();
                return None;
            }
        };
        if healed {
            self.log_health();
        }
        self.reset_backoff(Some(since));
        self.wake_for_new(expires, now);
        // Older creates that this one has overtaken are on notice now.
        if self.engine.lock().creating > 0 {
            self.wake_collector();
        }
        match installed {
            Installed::Here(checkout, actions) => {
                self.run(actions);
                return Some(checkout);
            }
            Installed::Returned(actions) => self.run(actions),
            Installed::Rejected(evicted, reason) => self.evict_rejected(evicted, reason),
        }
        None
    }

    /// A new node around a connection.
    pub(in crate::shared) fn pooled(
        self: &Arc<Self>,
        connection: M::Connection,
        created: u64,
        generation: u64,
    ) -> Box<PooledConnection<M>> {
        let lifetime = self.ages.lifetime.map_or(u64::MAX, |lifetime| {
            // Shortened, never lengthened: the limit holds, and a batch does not end together.
            let member = self.config.lifetime_jitter * crate::shared::create::backoff::random_unit();
            lifetime - (lifetime as f64 * member) as u64
        });
        let name = match &self.observer {
            // Each event of a checkout carries it, and two threads must not meet at one count.
            Some(_) => Arc::from(&*self.name),
            None => Arc::clone(&self.name),
        };
        Box::new(PooledConnection {
            connection,
            shared: Arc::clone(self),
            name,
            id: self.next_id.fetch_add(1, Relaxed),
            created,
            expires: created.saturating_add(lifetime),
            generation,
            uses_before: 0,
            idle_since: created,
            uses_until_event: 1,
            freshness: Freshness::Created,
            flags: 0,
        })
    }

    /// Accounts for a create that failed, and ends it. Err, unless the pool had given up on it already.
    /// The head waiter is told of a failure that waiting cannot mend.
    pub(in crate::shared) fn create_failed<T>(
        self: &Arc<Self>,
        permit: Option<(PoolPermit<M>, Purpose)>,
        since: Instant,
        failed: Failed<M::Error>,
        error: Arc<dyn Error + Send + Sync>,
    ) -> Result<Option<T>, Failed<M::Error>> {
        let now = self.now();
        let transient = failed.transient;
        let took = now.real.saturating_duration_since(since);
        self.meter.create_errors.fetch_add(1, Relaxed);
        self.record_error(now, &*error);
        self.set_last_create_failure(Some((now.real, failed.cause.clone())));
        self.start_backoff(since, now.real);
        self.record_failure();
        let priming = self.building.load(Acquire);
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
                self.fail_all(&failed);
                true
            }
            Some((permit, purpose)) => {
                let all = self.config.fail_fast;
                // A create on its caller's thread concerns nobody else, unless all are told.
                let own = purpose == Purpose::Waiter && self.executor.is_inline();
                let mut head = !own && (!transient || ends_build);
                let (attached, actions) = permit.fail_and_notify(now.real, |state| {
                    if !(all || mem::take(&mut head)) {
                        return None;
                    }
                    self.failure_for(state, priming, &failed)
                });
                self.run(actions);
                attached
            }
        };
        if !attached {
            // One abandoned hook less: another may be given up on now.
            self.wake_collector();
        }
        if attached { Err(failed) } else { Ok(None) }
    }

    /// With `fail_fast`: all who wait are told of a failure that no permit ends.
    pub(in crate::shared) fn fail_all(self: &Arc<Self>, failed: &Failed<M::Error>) {
        if !self.config.fail_fast {
            return;
        }
        let priming = self.building.load(Acquire);
        let failure = |state: &PoolState<M>| self.failure_for(state, priming, failed);
        let mut state = self.engine.lock();
        let actions = self.engine.fail_waiters(&mut state, failure, real_now());
        drop(state);
        self.run(actions);
    }

    /// While a connection is open somebody may give it back. A builder is told all the same, because nobody
    /// gives one back to it.
    fn failure_for(
        &self,
        state: &PoolState<M>,
        priming: bool,
        failed: &Failed<M::Error>,
    ) -> Option<Failure<M::Error>> {
        (state.open == 0 || priming).then(|| failed.failure())
    }

    /// Brings a connection back through the lock. `fresh`: new or newly proven, it goes to the head
    /// waiter however young.
    pub(in crate::shared) fn return_connection(
        self: &Arc<Self>,
        checkout: PoolCheckout<M>,
        idle_since: u64,
        fresh: bool,
    ) {
        let generation = checkout.entry.generation;
        let engine = &self.engine;
        self.run_returned(engine.return_entry(checkout, idle_since, generation, fresh, real_now()));
    }

    /// Does what handing a connection back left to be done.
    pub(in crate::shared) fn run_returned(self: &Arc<Self>, returned: PoolReturnResult<M>) {
        match returned {
            Ok(actions) => self.run(actions),
            Err((evicted, reason)) => self.evict_rejected(evicted, reason),
        }
    }
}
