//! Operations on a running pool: clear, retain, add, resize, suspend, check health, close.

use super::pooled::Freshness;
use super::{Failure, PoolCheckout, Shared, Which};
use crate::clock::real_now;
use crate::engine::{CheckFor, Slot, Stamp};
use crate::error::{AddError, StillInUse};
use crate::foreign::Caught;
use crate::shared::collector::PoolCollector;
use crate::sync::outer::{Condvar, Mutex};
use crate::{ConnectionInfo, ConnectionManager, EvictReason, OnSuspend, PoolEvent};
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long `check_health` waits while other background checks use the permitted number.
const OTHERS_PAUSE: Duration = Duration::from_millis(5);

/// Returns the event of a suspension or of its end.
pub(super) fn suspension(pool: Arc<str>, on: bool) -> PoolEvent {
    match on {
        true => PoolEvent::Suspended { pool },
        false => PoolEvent::Resumed { pool },
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Starts the collector, if this pool has one.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        let Some(workers) = self.own_workers() else {
            return Ok(());
        };
        workers.start(Arc::new(PoolCollector(Arc::clone(self))))?;
        if let Some(clock) = self.ticker.custom() {
            let workers = Arc::downgrade(workers);
            clock.on_jump(Box::new(move || {
                workers.upgrade().is_some_and(|workers| workers.wake())
            }));
        }
        Ok(())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.engine.lock().generation
    }

    pub(crate) fn clear(self: &Arc<Self>) {
        self.clear_if(None);
    }

    /// Clears the pool only if this generation is the present one.
    pub(crate) fn clear_generation(self: &Arc<Self>, generation: u64) -> bool {
        let cleared = self.clear_if(Some(generation));
        if !cleared && self.generation() == generation {
            // Another thread has announced the clear and has not begun it yet. After this call has returned,
            // no connection of that generation may be checked out.
            self.begin_generation(generation + 1);
        }
        cleared
    }

    fn clear_if(self: &Arc<Self>, only: Option<u64>) -> bool {
        let Some(generation) = self.engine.announce_generation(only) else {
            return false;
        };
        self.emit(|pool| PoolEvent::Cleared { pool, generation });
        self.begin_generation(generation);
        true
    }

    fn begin_generation(self: &Arc<Self>, generation: u64) {
        let actions = self.engine.begin_generation(generation, real_now());
        self.run(actions);
        let idle: Vec<_> = self.engine.take_all(self.ticker.tick()).collect();
        for checkout in idle {
            if checkout.entry.generation < generation {
                self.evict(checkout, EvictReason::Cleared);
            } else {
                self.return_unused(checkout);
            }
        }
        // The idle connections that a waiter relied on are gone, and their disposes may take long. Another
        // slot may be free now.
        self.settle();
        self.wake_collector();
    }

    pub(crate) fn retain(
        self: &Arc<Self>,
        mut keep: impl FnMut(&mut M::Connection, &ConnectionInfo) -> bool,
    ) -> usize {
        let now = self.now();
        let mut evicted = 0;
        let slots: Vec<_> = self.engine.table.all().collect();
        for slot in slots {
            if !matches!(slot.stamp(), Stamp::Idle(_)) {
                continue;
            }
            let Some((inspection, mut checkout)) =
                self.take_to_check(slot, now, CheckFor::Inspect, || true)
            else {
                continue;
            };
            let info = checkout
                .entry
                .info(slot.uses(), checkout.idle_since, now.tick);
            let connection = &mut checkout.entry.connection;
            let kept = catch_unwind(AssertUnwindSafe(|| keep(connection, &info)));
            if let Ok(true) = kept {
                checkout.entry.freshness = Freshness::Not;
                let generation = checkout.entry.generation;
                self.run_returned(self.engine.end_inspection(
                    inspection,
                    checkout,
                    generation,
                    real_now(),
                ));
                continue;
            }
            self.engine.end_check(inspection);
            match kept {
                Ok(_) => {
                    evicted += 1;
                    self.evict(checkout, EvictReason::Rejected);
                }
                Err(panic) => {
                    // The panic belongs to the caller and continues. Evict the connection, because its state
                    // is unknown.
                    self.evict(checkout, EvictReason::Panicked);
                    resume_unwind(panic);
                }
            }
        }
        evicted
    }

    pub(crate) fn add(
        self: &Arc<Self>,
        mut connection: M::Connection,
    ) -> Result<(), AddError<M::Connection>> {
        let interrupter = self.ask_interrupter(&mut connection);
        let now = self.now();
        let mut state = self.engine.lock();
        let mut pooled = self.pooled(connection, now.tick, state.generation);
        // The pool has not created or checked this connection, and a failing on_checkout is not a failed
        // create.
        pooled.freshness = Freshness::Not;
        let expires = pooled.expires;
        match self.engine.add(&mut state, pooled, now, expires) {
            Ok(mut checkout) => {
                state.set_connection(checkout.slot.index(), checkout.entry.id);
                drop(state);
                checkout.entry.install(checkout.slot.uses());
                self.keep_interrupter(checkout.slot.index(), &mut checkout.entry, interrupter);
                self.ready.note(false);
                self.wake_for_new(expires, now);
                self.return_connection(checkout, now.tick, true);
                Ok(())
            }
            Err(pooled) => {
                let (closed, max_size) = (state.closed, state.max_size);
                drop(state);
                let (pool, connection) = (Arc::clone(&self.name), pooled.connection);
                Err(if closed {
                    AddError::Closed { pool, connection }
                } else {
                    AddError::Full {
                        pool,
                        max_size,
                        connection,
                    }
                })
            }
        }
    }

    pub(crate) fn suspend(self: &Arc<Self>, on: bool) {
        let Some(actions) = self.engine.suspend(on, real_now()) else {
            return;
        };
        // Emit the event before the waiters that can continue are served. A keyed pool emits it once for all keys.
        if self.group.is_none() {
            self.emit(|pool| suspension(pool, on));
        }
        self.run(actions);
        if on && self.config.on_suspend == OnSuspend::Fail {
            self.fail_waiters(|| Failure::Suspended);
        }
        self.ready.note(false);
        self.wake_collector();
    }

    /// Suspends a pool that is being built.
    pub(crate) fn start_suspended(self: &Arc<Self>) {
        let actions = self.engine.suspend(true, real_now());
        actions.into_iter().for_each(|actions| self.run(actions));
    }

    /// Fails every wait. Returns how many there were.
    fn fail_waiters(self: &Arc<Self>, failure: impl Fn() -> Failure<M::Error>) -> usize {
        let mut state = self.engine.lock();
        let waiters = state.queue.len();
        let actions = self
            .engine
            .fail_waiters(&mut state, |_| Some(failure()), real_now());
        drop(state);
        self.run(actions);
        waiters
    }

    /// Fails every wait with this cause. Returns how many there were.
    pub(crate) fn clear_waiters(
        self: &Arc<Self>,
        cause: Option<Arc<dyn Error + Send + Sync>>,
    ) -> usize {
        let cause = cause.map(Caught::new);
        let waiters = self.fail_waiters(|| Failure::Cleared(cause.clone()));
        self.emit(|pool| PoolEvent::WaitersCleared { pool, waiters });
        waiters
    }

    // ---- health --------------------------------------------------------------------------------

    /// Checks every idle connection and returns how many were checked and how many of them failed.
    ///
    /// Only a few checks run at a time, so that callers find other idle connections.
    pub(super) fn check_idle(self: &Arc<Self>) -> (usize, usize) {
        struct Tally {
            left: usize,
            failed: usize,
            moved: Instant,
        }
        let now = self.now();
        let slots = self.engine.table.all();
        let idle = |slot: &&'static Slot<_>| matches!(slot.stamp(), Stamp::Idle(_));
        let mut idle: Vec<_> = slots.filter(idle).collect();
        let (mut checked, check_timeout) = (0, self.config.check_timeout);
        // Start no check after this time: a backend that hangs would delay each of many checks by its
        // timeout.
        let last_start = now.real.checked_add(check_timeout);
        let tally = Tally {
            left: 0,
            failed: 0,
            moved: now.real,
        };
        let tally = Arc::new((Mutex::new(tally), Condvar::new()));
        loop {
            // Start as many checks as may run, the lowest slot first. A connection that is no longer idle
            // needs no check.
            while let Some(slot) = idle.first() {
                let Some((check, checkout)) =
                    self.take_to_check(slot, now, CheckFor::Pool, || true)
                else {
                    if matches!(slot.stamp(), Stamp::Idle(_)) {
                        break;
                    }
                    idle.remove(0);
                    continue;
                };
                idle.remove(0);
                checked += 1;
                tally.0.lock().left += 1;
                let tally = Arc::clone(&tally);
                self.run_background_check(check, checkout, move |succeeded| {
                    let mut count = tally.0.lock();
                    count.left -= 1;
                    count.failed += usize::from(!succeeded);
                    count.moved = real_now();
                    tally.1.notify_one();
                });
            }
            let mut count = tally.0.lock();
            if last_start.is_some_and(|last| last <= real_now()) {
                idle.clear();
            }
            if count.left == 0 {
                if idle.is_empty() {
                    return (checked, count.failed);
                }
                // Other background checks use the permitted number.
                tally.1.wait_for(&mut count, OTHERS_PAUSE);
                continue;
            }
            // A check that hangs is abandoned after its timeout and counts as failed.
            let max_pause = check_timeout.saturating_add(Duration::from_millis(50));
            match count.moved.checked_add(max_pause) {
                None => tally.1.wait(&mut count),
                Some(until) => {
                    let slept = tally.1.wait_until(&mut count, until);
                    if slept.timed_out() && count.moved.elapsed() >= max_pause {
                        return (checked, count.failed + count.left);
                    }
                }
            }
        }
    }

    // ---- the end -------------------------------------------------------------------------------

    pub(crate) fn is_closed(&self) -> bool {
        self.engine.lock().closed
    }

    /// Closes the pool and waits for nothing. Safe to call from anywhere, including hooks.
    pub(crate) fn close(self: &Arc<Self>) {
        let Some(actions) = self.engine.close(real_now(), || Failure::Closed) else {
            return;
        };
        if self.group.is_none() {
            self.emit(|pool| PoolEvent::Closed { pool });
        }
        self.run(actions);
        let idle: Vec<PoolCheckout<M>> = self.engine.take_all(self.ticker.tick()).collect();
        for checkout in idle {
            self.evict(checkout, EvictReason::Closed);
        }
        self.write_counts(real_now(), true);
        self.ready.note(false);
        if let Some(workers) = self.own_workers() {
            workers.close();
        }
    }

    pub(crate) fn close_timeout(self: &Arc<Self>, timeout: Duration) -> Result<(), StillInUse> {
        self.close_by(real_now().checked_add(timeout))
    }

    /// Closes the pool as [`close_timeout`](Self::close_timeout) does, and interrupts what is still out after
    /// the grace period.
    pub(crate) fn close_interrupting(
        self: &Arc<Self>,
        grace: Duration,
        timeout: Duration,
    ) -> Result<(), StillInUse> {
        let now = real_now();
        let deadline = now.checked_add(timeout);
        self.close();
        self.interrupt_undrained(now.checked_add(grace.min(timeout)));
        self.close_by(deadline)
    }

    /// Interrupts the connections of a closed pool that are in use at the end of the grace period.
    pub(super) fn interrupt_undrained(self: &Arc<Self>, grace: Option<Instant>) {
        if !self.engine.wait_drained(grace) {
            self.interrupt(Which::All);
        }
    }

    /// Closes the pool and waits until every connection and thread is gone. None: waits without a deadline.
    pub(crate) fn close_by(self: &Arc<Self>, deadline: Option<Instant>) -> Result<(), StillInUse> {
        self.close();
        let is_drained = self.engine.wait_drained(deadline);
        let gone = is_drained
            && self
                .own_workers()
                .is_none_or(|workers| workers.wait_gone(deadline));
        if gone {
            return Ok(());
        }
        let state = self.engine.lock();
        let in_use = self.engine.in_use(&state).saturating_sub(state.checking);
        // A thread that has not ended is in a hook or about to leave one.
        let hooks_running = state.hooks_running().max(usize::from(is_drained));
        drop(state);
        Err(StillInUse {
            pool: Arc::clone(&self.name),
            in_use,
            hooks_running,
            holders: self.holders(),
        })
    }
}
