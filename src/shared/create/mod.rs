//! Creates: run on threads of the pool or on the threads of callers, and the handling of their failures.

pub(in crate::shared) mod backoff;
pub(in crate::shared) mod initial;
pub(in crate::shared) mod probe;

use crate::clock::real_now;
use crate::engine::RejectReason;
use crate::error::Cause;
use crate::foreign::Caught;
use crate::shared::checkin::evict::PoolEvicted;
use crate::shared::pooled::{CheckoutEvents, Freshness, PooledConnection};
use crate::shared::{Failure, PoolActions, PoolCheckout, PoolPermit, PoolState, Shared};
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::error::Error;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Instant;

/// Why a create was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shared) enum Purpose {
    /// For a waiter.
    Waiter,
    /// For min_idle.
    Refill,
    /// For min_idle, before the expired connection in this slot is evicted.
    Replace(u32),
    /// For a caller that waits until the pool is ready.
    Ready,
    /// For a caller that asks for the health of a pool without open connections.
    Probe,
}

/// A create that produced no connection.
pub(in crate::shared) struct Failed<E> {
    pub(in crate::shared) cause: Caught<Cause<E>>,
    pub(in crate::shared) transient: bool,
}

impl<E> Failed<E> {
    /// Returns the failure for a waiter whose wait ends.
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

/// The place of a new connection.
enum Installed<M: ConnectionManager> {
    /// The connection belongs to the thread that ran the create. The actions serve others.
    Here(PoolCheckout<M>, PoolActions<M>),
    /// The connection went to the head waiter or became idle.
    Returned(PoolActions<M>),
    /// The pool rejected the connection.
    Rejected(PoolEvicted<M>, RejectReason),
}

impl<M: ConnectionManager> Shared<M> {
    /// Submits a create to the executor.
    pub(in crate::shared) fn start_create(
        self: &Arc<Self>,
        permit: PoolPermit<M>,
        purpose: Purpose,
    ) {
        let shared = Arc::clone(self);
        (self.executor).submit(true, move || shared.create(permit, purpose));
    }

    /// Runs a create to its end on this thread.
    ///
    /// The connection goes to the head waiter or becomes idle. A failure goes to the waiters that it
    /// concerns.
    pub(in crate::shared) fn create(self: &Arc<Self>, permit: PoolPermit<M>, purpose: Purpose) {
        if let Ok(Some(checkout)) = self.run_create(permit, purpose) {
            // Only in a pool without threads does `run_create` return a connection to a refill, a replacement
            // or a probe.
            let idle_since = checkout.idle_since;
            self.return_connection(checkout, idle_since, true);
        }
        if let Purpose::Replace(slot) = purpose {
            self.evict_replaced(slot);
        }
        if purpose != Purpose::Waiter {
            // max_creating may have held up the next create.
            self.wake_collector();
        }
    }

    /// Runs the `create` hook.
    ///
    /// In a pool with threads the connection is returned to the pool at once. In a pool without threads the
    /// connection belongs to the caller. None: the connection was returned, is not needed any more, or came
    /// too late.
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
            Purpose::Replace(_) | Purpose::Probe | Purpose::Ready => true,
        };
        let Some(generation) = permit.start(since, deadline, wanted) else {
            let (_, actions) = permit.fail(real_now());
            self.run(actions);
            // The last pass may have counted this create toward min_idle. `create` wakes the collector for
            // every other purpose.
            if purpose == Purpose::Waiter && self.min_idle.load(Relaxed) > 0 {
                self.wake_collector();
            }
            return Ok(None);
        };
        self.wake_by(deadline);
        let (cause, transient, error): (_, _, Arc<dyn Error + Send + Sync>) = match self
            .call("create", ConnectionManager::create)
        {
            Ok(Ok(connection)) => {
                return Ok(self.create_succeeded(permit, purpose, connection, generation, since));
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
        purpose: Purpose,
        mut connection: M::Connection,
        generation: u64,
        since: Instant,
    ) -> Option<PoolCheckout<M>> {
        let mut interrupter = self.ask_interrupter(&mut connection);
        let now = self.now();
        let took = now.real.saturating_duration_since(since);
        let pooled = self.pooled(connection, now.tick, generation);
        let (id, expires) = (pooled.id, pooled.expires);
        self.meter.create.record(took);
        self.learned.create_took(took);
        self.emit(|pool| PoolEvent::Created { pool, id, took });
        if let Purpose::Replace(slot) = purpose {
            if self.engine.lock().max_idle.is_some() {
                // The expired connection must not take the place among the idle ones from its replacement.
                self.evict_replaced(slot);
            }
        }
        let is_inline = self.executor.is_inline();
        let mut recovered = false;
        let installed = permit.install(pooled, now, expires, |engine, state, mut checkout| {
            // Record the success before any caller can get the connection, so that its holder finds the pool
            // recovered.
            recovered = self.health.succeed(false);
            state.set_connection(checkout.slot.index(), id);
            checkout.entry.install(checkout.slot.uses());
            self.keep_interrupter(
                checkout.slot.index(),
                &mut checkout.entry,
                interrupter.take(),
            );
            if is_inline && engine.reject_reason(state, generation).is_none() {
                return Installed::Here(checkout, engine.settle(state, now.real));
            }
            match engine.return_locked(state, checkout, now.tick, generation, true, now.real) {
                Ok(actions) => Installed::Returned(actions),
                Err((evicted, reason)) => Installed::Rejected(evicted, reason),
            }
        });
        let installed = match installed {
            Ok(installed) => installed,
            Err((pooled, abandoned)) => {
                self.count_eviction(&pooled, 0, EvictReason::Late, now.tick);
                self.run_dispose(pooled);
                drop(abandoned);
                self.wake_collector();
                return None;
            }
        };
        if recovered {
            self.log_health();
        }
        self.reset_backoff(Some(since));
        self.wake_for_new(expires, now);
        // Older creates that this one has overtaken now have a soft deadline.
        if self.engine.lock().creating > 0 {
            self.wake_collector();
        }
        match installed {
            Installed::Here(checkout, actions) => {
                self.run(actions);
                return Some(checkout);
            }
            Installed::Returned(actions) => {
                // The connection may be for a closure, with which this thread continues.
                self.executor.announce_end();
                self.run(actions);
            }
            Installed::Rejected(evicted, reason) => self.evict_rejected(evicted, reason),
        }
        None
    }

    /// Wraps a new connection.
    pub(in crate::shared) fn pooled(
        self: &Arc<Self>,
        connection: M::Connection,
        created: u64,
        generation: u64,
    ) -> Box<PooledConnection<M>> {
        let id = self.next_id.fetch_add(1, Relaxed);
        let observed = self.observer.is_some();
        let mut pooled = Box::new(PooledConnection {
            connection,
            shared: Arc::clone(self),
            events: observed.then(|| CheckoutEvents::new(&self.name, id)),
            id,
            created,
            lifetime: self.running.lifetime(),
            jitter: self.config.lifetime_jitter * backoff::random_unit(),
            expires: 0,
            generation,
            uses_before: 0,
            idle_since: created,
            uses_until_event: 1,
            freshness: Freshness::Created,
            is_interruptible: false,
            flags: 0,
        });
        pooled.expires = pooled.expiry();
        pooled
    }

    /// Records a failed create and ends its permit.
    ///
    /// The head waiter fails if the error is permanent. Ok if the pool had abandoned the create before, Err
    /// otherwise.
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
        self.record_error(now, &*error);
        self.set_last_create_failure(Some((now.real, failed.cause.clone())));
        self.start_backoff(since, now.real);
        self.record_failure();
        // Count the failure last: `check_health` reads the state of the backend once the count has changed.
        self.meter.create_errors.fetch_add(1, Relaxed);
        let building = self.building.load(Acquire);
        // With `fail_fast` the builder waits for no second attempt, even if the error is transient.
        let ends_build = building && (!transient || self.config.fail_fast);
        if building && !ends_build {
            self.warn_that_build_waits(now.real, &*error);
        }
        // Emit the event before any caller is notified, so that a notified caller finds the failure reported.
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
                // A create on the thread of its caller fails no other waiter, unless `fail_fast` fails all.
                let own = purpose == Purpose::Waiter && self.executor.is_inline();
                let mut head = !own && (!transient || ends_build);
                let (attached, actions) = permit.fail_and_notify(now.real, |state| {
                    if !(all || mem::take(&mut head)) {
                        return None;
                    }
                    self.failure_for(state, building, &failed)
                });
                self.run(actions);
                attached
            }
        };
        self.ready.note(!transient);
        if !attached {
            // There is one abandoned hook less, so the collector may abandon another one.
            self.wake_collector();
        }
        if attached { Err(failed) } else { Ok(None) }
    }

    /// With `fail_fast`: fails all waiters with a failure that belongs to no permit.
    pub(in crate::shared) fn fail_all(self: &Arc<Self>, failed: &Failed<M::Error>) {
        if !self.config.fail_fast {
            return;
        }
        let building = self.building.load(Acquire);
        let failure = |state: &PoolState<M>| self.failure_for(state, building, failed);
        let mut state = self.engine.lock();
        let actions = self.engine.fail_waiters(&mut state, failure, real_now());
        drop(state);
        self.run(actions);
    }

    /// Returns the failure for a waiter. None: a connection is open and may be returned, so the waiter goes
    /// on.
    ///
    /// A builder always fails, because no caller has a connection to return during the build.
    fn failure_for(
        &self,
        state: &PoolState<M>,
        building: bool,
        failed: &Failed<M::Error>,
    ) -> Option<Failure<M::Error>> {
        (state.open == 0 || building).then(|| failed.failure())
    }
}
