//! The collector: its pass does everything that is due and computes when to run again.
//!
//! A pass reads the slots' stamps, which takes no lock and disturbs no checkout. It takes out the connections
//! that seem to be due and verifies each of them before it acts. Passes exclude each other, so that `sweep()`
//! returns after the evictions of a concurrent pass have been counted. The pass calls hooks and observers
//! after it has released its own lock.

pub(in crate::shared) mod expiry;
pub(in crate::shared) mod hook_timeouts;
pub(in crate::shared) mod keepalive;
pub(in crate::shared) mod key_activity;
pub(in crate::shared) mod refill;
pub(in crate::shared) mod standby;

use crate::engine::{Now, Stamp};
use crate::exec::Collector;
use crate::shared::create::Purpose;
use crate::shared::pooled::span;
use crate::shared::{PoolCheckout, PoolPermit, PoolReturnResult, Shared};
use crate::sync::outer::AtomicUsize;
use crate::{ConnectionManager, EvictReason, SweepReport};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How much later than its due time a pass runs. The coarse clock lags by up to one timer interrupt, and an
/// earlier pass would find nothing due.
const CLOCK_LAG: Duration = Duration::from_millis(5);
/// How many slots each call sweeps in a pool without a collector.
const SWEEP_SOME_SLOTS: usize = 2;

/// The state that passes keep between them.
#[derive(Default)]
pub(in crate::shared) struct SweepState {
    /// Slots whose expired connection stays until its replacement is open, with the id of the create job.
    pub(in crate::shared) replacing: BTreeMap<u32, u64>,
    /// Connections evicted after their replacement was opened, which no sweep has reported yet. Used in pools
    /// without a collector.
    pub(in crate::shared) replaced: usize,
    /// The use count of all slots at the last pass.
    pub(in crate::shared) uses_seen: u64,
    /// Since when fewer than min_idle connections are idle only because others are in use.
    pub(in crate::shared) short_since: Option<Instant>,
    pub(in crate::shared) usage: crate::shared::collector::key_activity::KeyActivity,
    /// The tick at which idle connections next go on standby. None before the first pass.
    pub(in crate::shared) standby_at: Option<u64>,
    /// The slot at which the next [`sweep_some`](Shared::sweep_some) continues.
    cursor: usize,
}

/// The actions of a pass, which run after unlock.
pub(in crate::shared) struct SweepActions<M: ConnectionManager> {
    pub(in crate::shared) to_evict: Vec<(PoolCheckout<M>, EvictReason)>,
    /// The results of returning the connections that were not due after all.
    pub(in crate::shared) returned: Vec<PoolReturnResult<M>>,
    pub(in crate::shared) creates: Vec<(PoolPermit<M>, Purpose)>,
    pub(in crate::shared) next: NextWake,
}

impl<M: ConnectionManager> SweepActions<M> {
    pub(in crate::shared) fn new() -> Self {
        Self {
            to_evict: Vec::new(),
            returned: Vec::new(),
            creates: Vec::new(),
            next: NextWake::default(),
        }
    }
}

/// The earliest time at which something becomes due, by the pool's clock and by the real clock.
#[derive(Default)]
pub(in crate::shared) struct NextWake {
    tick: Option<u64>,
    real: Option<Instant>,
}

impl NextWake {
    pub(in crate::shared) fn at_tick(&mut self, tick: u64) {
        self.tick = Some(self.tick.map_or(tick, |known| known.min(tick)));
    }

    pub(in crate::shared) fn at(&mut self, real: Instant) {
        self.at_opt(Some(real));
    }

    pub(in crate::shared) fn at_opt(&mut self, real: Option<Instant>) {
        self.real = [self.real, real].into_iter().flatten().min();
    }
}

/// The collector of one pool.
pub(in crate::shared) struct PoolCollector<M: ConnectionManager>(
    pub(in crate::shared) Arc<Shared<M>>,
);

impl<M: ConnectionManager> Collector for PoolCollector<M> {
    fn collect(&self) -> Option<Instant> {
        let (_, next) = self.0.sweep_pass();
        next
    }
}

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn sweep(self: &Arc<Self>) -> SweepReport {
        self.sweep_pass().0
    }

    pub(in crate::shared) fn sweep_pass(self: &Arc<Self>) -> (SweepReport, Option<Instant>) {
        let now = self.now();
        let counts_due = self.write_counts(now.real, false);
        self.abandon_overdue_hooks(now.real);
        let actions = self.engine.expire_deadlines(now.real);
        self.run(actions);
        self.make_room_for_others();
        let mut found = SweepActions::new();
        let suspended;
        {
            let mut sweep_state = self.sweep_state.lock();
            let state = self.engine.lock();
            if state.closed {
                let next = [counts_due, self.next_deadline(&state, now.real)];
                return (SweepReport::default(), next.into_iter().flatten().min());
            }
            suspended = state.suspended;
            // A replacement that was abandoned must not keep the expired connection alive.
            sweep_state.replacing.retain(|_, job| state.has_job(*job));
            drop(state);
            self.update_key_activity(&mut sweep_state, now.tick, &mut found.next);
            let mut coming = self.idle_or_coming(&self.engine.lock(), now.tick);
            self.evict_due(&mut sweep_state, now, &mut coming, &mut found);
            self.put_on_standby(&mut sweep_state, now, &mut found);
            if !self.shortage_may_pass(&mut sweep_state, now, &mut found.next) {
                self.refill(now, &mut found);
            }
            self.find_probe(now, &mut found);
            self.pass_on_spare();
            self.update_wake_on_checkout(&mut sweep_state, now.real, &mut found.next);
            for (_, reason) in &found.to_evict {
                self.count_reason(*reason);
            }
        }
        // Run these first, because waiters may have received a connection.
        for returned in std::mem::take(&mut found.returned) {
            self.run_returned(returned);
        }
        let mut evicted = found.to_evict.len();
        let mut next = std::mem::take(&mut found.next);
        self.report_leaks(now, &mut next);
        // Start replacements before evictions, so that the new connection opens first if there is room for
        // both.
        let mut created = self.start_creates(&mut found);
        for (checkout, reason) in std::mem::take(&mut found.to_evict) {
            self.evict_counted(checkout, reason);
        }
        let failed = Arc::new(AtomicUsize::new(0));
        let checks_started = match suspended {
            true => 0,
            false => self.check_due(now, &mut next, &failed),
        };
        if let Some(tick) = next.tick {
            next.at_opt(self.real_of(tick, now));
        }
        if self.executor.is_inline() {
            // The checks and disposes have ended on this thread. The report can count the failed checks, and
            // creates can use the slots that the disposes freed.
            evicted += failed.load(Relaxed);
            self.refill(self.now(), &mut found);
            created += self.start_creates(&mut found);
            let expired = self.evict_expired(now);
            if expired > 0 {
                evicted += expired;
                self.refill(self.now(), &mut found);
                created += self.start_creates(&mut found);
            }
            evicted += std::mem::take(&mut self.sweep_state.lock().replaced);
        }
        let report = SweepReport {
            evicted,
            checks_started,
            creates_started: created,
        };
        let state = self.engine.lock();
        let next = [next.real, counts_due, self.next_deadline(&state, now.real)];
        (report, next.into_iter().flatten().min())
    }

    /// Starts the creates of a pass and returns how many.
    fn start_creates(self: &Arc<Self>, found: &mut SweepActions<M>) -> usize {
        let mut started = 0;
        while !found.creates.is_empty() {
            started += found.creates.len();
            for (permit, purpose) in std::mem::take(&mut found.creates) {
                self.start_create(permit, purpose);
            }
            if self.executor.is_inline() {
                // The creates have ended by now, and max_creating may have held up more of them.
                self.refill(self.now(), found);
            }
        }
        started
    }

    /// Returns the real time at which the pool's clock will show this tick, if the clock runs.
    fn real_of(&self, tick: u64, now: Now) -> Option<Instant> {
        now.real
            .checked_add(span(now.tick, tick))?
            .checked_add(CLOCK_LAG)
    }

    /// Makes the collector run when the pool's clock shows this tick.
    pub(in crate::shared) fn wake_at_tick(&self, tick: u64, now: Now) {
        self.wake_by(self.real_of(tick, now));
    }

    /// Makes the collector run when something becomes due for a new connection.
    pub(in crate::shared) fn wake_for_new(&self, expires: u64, now: Now) {
        let ages = [self.standby_interval(), self.keepalive()];
        let ages = ages
            .into_iter()
            .flatten()
            .map(|age| now.tick.saturating_add(age));
        self.wake_at_tick(ages.fold(expires, u64::min), now);
    }

    /// Sweeps a few slots in a pool without a collector.
    pub(in crate::shared) fn sweep_some(self: &Arc<Self>) {
        let now = self.now();
        let mut found = SweepActions::new();
        {
            let Some(mut sweep_state) = self.sweep_state.try_lock() else {
                return;
            };
            if sweep_state.standby_at.is_none_or(|at| now.tick >= at) {
                self.put_on_standby(&mut sweep_state, now, &mut found);
            }
            let min_idle = self.min_idle.load(Relaxed);
            for _ in 0..SWEEP_SOME_SLOTS {
                let index = sweep_state.cursor as u32;
                let Some(slot) = self.engine.table.get(index) else {
                    sweep_state.cursor = 0;
                    break;
                };
                sweep_state.cursor += 1;
                let Stamp::Idle(since) = slot.stamp() else {
                    continue;
                };
                let due = self.running.verdict(slot.expires(), since, now.tick);
                let surplus = || self.live_idle(now.tick, min_idle.saturating_add(1)) > min_idle;
                if let Some(reason) = due {
                    if reason != EvictReason::IdleTimeout || surplus() {
                        self.evict_aged(slot, now, reason, &mut found);
                    }
                }
            }
        }
        self.run_sweep_actions(found);
        self.report_leaks(now, &mut NextWake::default());
    }
}
