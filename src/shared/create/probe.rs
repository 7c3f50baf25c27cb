//! A pool that has nothing open learns of its backend only by a create. While its health is asked for,
//! one is tried: by the collector for `health`, which waits for nothing, and by `check_health`, which waits.

use crate::shared::create::Purpose;
use crate::shared::collector::SweepActions;
use crate::shared::{PoolState, Shared};
use crate::clock::real_now;
use crate::config::is_unlimited;
use crate::engine::{CreateReason, Now};
use crate::sync::outer::{AtomicBool, AtomicUsize, Condvar, Mutex};
use crate::{ConnectionManager, Health, HealthState};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Instant;

#[derive(Default)]
pub(in crate::shared) struct Probe {
    /// The health was asked for: the next pass opens a connection, once the pause is over.
    wanted: AtomicBool,
    /// Callers of `check_health` that wait for a create to end, or for a slot.
    waiting: AtomicUsize,
    /// Counts the ends of creates and disposes while somebody waits for them.
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
                    // At the end of a pause the collector comes anyway.
                    self.wake_collector();
                }
            }
        }
        state
    }

    /// Nothing is open or about to be, so that nothing but a create can tell.
    fn is_to_probe(&self, state: &PoolState<M>) -> bool {
        state.open == 0 && state.creating == 0 && !state.closed && !state.suspended
    }

    /// Part of a pass: the create that `health` has asked for.
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

    /// A create or a dispose has ended, whatever came of it.
    pub(in crate::shared) fn hook_ended(&self) {
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
        let (closed, serves_nobody) = (state.closed, state.open == 0 && state.failing);
        drop(state);
        if serves_nobody && !closed && checked == 0 {
            // The connection that could not be opened.
            (checked, failed) = (1, 1);
        }
        if closed || serves_nobody {
            Health::Unhealthy { checked, failed }
        } else if failed > 0 || self.health.is_failing() {
            Health::Degraded { checked, failed }
        } else {
            Health::Healthy { checked, failed }
        }
    }

    /// Waits until a connection is open where none is: opens one, unless a create is under way. True if it
    /// has come. False once a create has failed, while the pool pauses after one, and when `create_timeout`
    /// and `check_timeout` are over.
    fn open_to_check(self: &Arc<Self>) -> bool {
        let bound = (self.config.create_timeout).saturating_add(self.config.check_timeout);
        let deadline = real_now().checked_add(bound);
        let deadline = deadline.filter(|_| !is_unlimited(bound));
        let errors = self.meter.create_errors.load(Relaxed);
        self.probe.waiting.fetch_add(1, AcqRel);
        let mut opened = false;
        loop {
            let ends = *self.probe.ends.lock();
            let now = real_now();
            let mut state = self.engine.lock();
            let has_failed = self.meter.create_errors.load(Relaxed) != errors;
            if state.open > 0 || state.closed || state.suspended || has_failed {
                break;
            }
            let mut permit = None;
            if state.creating == 0 {
                if state.is_paused(now) {
                    break;
                }
                permit = self
                    .engine
                    .reserve_create(&mut state, CreateReason::Spare, now);
            }
            drop(state);
            opened = true;
            if let Some(permit) = permit {
                // Without threads it is over when this returns.
                self.start_create(permit, Purpose::Probe);
            }
            if !self.wait_for_end(ends, deadline) {
                break;
            }
        }
        self.probe.waiting.fetch_sub(1, AcqRel);
        opened && self.engine.lock().open > 0
    }

    /// Waits until a create or a dispose has ended since there were so many ends; false at the deadline.
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
