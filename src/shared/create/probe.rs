//! The probe: a create that tests the backend of a pool without open connections.
//!
//! Such a pool learns about its backend only from creates, so a request for its health starts one. `health`
//! lets the collector run the create and waits for nothing. `check_health` runs the create and waits.

use crate::clock::real_now;
use crate::config::is_unlimited;
use crate::engine::{CreateReason, Now};
use crate::shared::collector::SweepActions;
use crate::shared::create::Purpose;
use crate::shared::{PoolState, Shared};
use crate::sync::outer::{AtomicBool, AtomicUsize, Condvar, Mutex};
use crate::{ConnectionManager, Health, HealthState};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Instant;

#[derive(Default)]
pub(in crate::shared) struct Probe {
    /// True after `health` was called. The next pass after the pause then opens a connection.
    wanted: AtomicBool,
    /// Callers of `check_health` that wait for a create to end, or for a slot.
    waiting: AtomicUsize,
    /// Counts the creates and disposes that ended while a caller waits for one.
    ends: Mutex<u64>,
    ended: Condvar,
}

impl<M: ConnectionManager> Shared<M> {
    /// See [`Pool::health`](crate::Pool::health).
    pub(crate) fn health(&self) -> HealthState {
        let state = self.health_state();
        if self.health.is_failing() {
            let state = self.engine.lock();
            let (empty, paused) = (self.is_to_probe(&state), state.is_paused(real_now()));
            drop(state);
            if empty {
                self.probe.wanted.store(true, Release);
                if !paused {
                    // At the end of a pause the collector runs anyway.
                    self.wake_collector();
                }
            }
        }
        state
    }

    /// Returns whether no connection is open or about to be, so that only a create can test the backend.
    fn is_to_probe(&self, state: &PoolState<M>) -> bool {
        state.open == 0 && state.creating == 0 && !state.closed && !state.suspended
    }

    /// Adds the create that `health` has requested to the actions of a pass.
    pub(in crate::shared) fn find_probe(&self, now: Now, found: &mut SweepActions<M>) {
        if !self.probe.wanted.load(Acquire) {
            return;
        }
        let mut state = self.engine.lock();
        if !(self.is_to_probe(&state) && self.health.is_failing()) {
            self.probe.wanted.store(false, Release);
        } else if state.may_create(now.real) {
            if let Some(permit) =
                self.engine
                    .reserve_create(&mut state, CreateReason::Spare, now.real)
            {
                self.probe.wanted.store(false, Release);
                found.creates.push((permit, Purpose::Probe));
            }
        }
    }

    /// Wakes the callers that wait for the end of a create or a dispose.
    pub(in crate::shared) fn hook_ended(&self) {
        self.ready.note(false);
        if self.probe.waiting.load(Acquire) > 0 {
            *self.probe.ends.lock() += 1;
            self.probe.ended.notify_all();
        }
    }

    /// See [`Pool::check_health`](crate::Pool::check_health).
    pub(crate) fn check_health(self: &Arc<Self>) -> Health {
        let (mut checked, mut failed) = self.check_idle();
        if (failed > 0 || self.health.is_failing()) && self.open_to_check() {
            let (also_checked, also_failed) = self.check_idle();
            if checked == 0 {
                (checked, failed) = (also_checked, also_failed);
            }
        }
        let state = self.engine.lock();
        let (closed, is_outage) = (state.closed, state.open == 0 && state.failing);
        drop(state);
        if is_outage && !closed && checked == 0 {
            // Count the connection that could not be opened.
            (checked, failed) = (1, 1);
        }
        if closed || is_outage {
            Health::Unhealthy { checked, failed }
        } else if failed > 0 || self.health.is_failing() {
            Health::Degraded { checked, failed }
        } else {
            Health::Healthy { checked, failed }
        }
    }

    /// Opens a connection if none is open, unless a create is under way, and waits for the connection.
    ///
    /// True if the wait ended with an open connection. False if a connection was open already, if a create
    /// has failed, if the pool pauses after a failure, or if `create_timeout` and `check_timeout` are over.
    fn open_to_check(self: &Arc<Self>) -> bool {
        let bound = (self.config.create_timeout).saturating_add(self.config.check_timeout);
        let deadline = real_now().checked_add(bound);
        let deadline = deadline.filter(|_| !is_unlimited(bound));
        let errors = self.meter.create_errors.load(Relaxed);
        self.probe.waiting.fetch_add(1, AcqRel);
        let (mut opened, mut created) = (false, false);
        loop {
            let ends = *self.probe.ends.lock();
            let now = real_now();
            let mut state = self.engine.lock();
            let create_failed = self.meter.create_errors.load(Relaxed) != errors;
            if state.open > 0 || state.closed || state.suspended || create_failed {
                break;
            }
            let mut permit = None;
            if state.creating == 0 {
                // The connection that this call created may be gone already, for example because max_idle is zero.
                if created || state.is_paused(now) {
                    break;
                }
                permit = self
                    .engine
                    .reserve_create(&mut state, CreateReason::Spare, now);
                created = permit.is_some();
            }
            drop(state);
            opened = true;
            if let Some(permit) = permit {
                // In a pool without threads the create has ended when this call returns.
                self.start_create(permit, Purpose::Probe);
            }
            if !self.wait_for_end(ends, deadline) {
                break;
            }
        }
        self.probe.waiting.fetch_sub(1, AcqRel);
        opened && self.engine.lock().open > 0
    }

    /// Waits until the count of ended creates and disposes differs from `ends`. False at the deadline.
    fn wait_for_end(&self, ends: u64, deadline: Option<Instant>) -> bool {
        let mut now = self.probe.ends.lock();
        while *now == ends {
            match deadline {
                None => self.probe.ended.wait(&mut now),
                Some(deadline) => {
                    if self.probe.ended.wait_until(&mut now, deadline).timed_out() {
                        return false;
                    }
                }
            }
        }
        true
    }
}
