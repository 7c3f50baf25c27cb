//! The collector's pass: whatever is due, and when to come again.
//!
//! A pass only reads the slots' stamps, which takes no lock and disturbs no checkout; it takes out
//! what is due and looks at it once more before it acts. Passes exclude each other, so that
//! `sweep()` returns after the evictions of a pass that was under way have been counted too. Hooks
//! and observers are called after the pass has let go of its own lock.

pub(in crate::shared) mod hook_timeouts;
pub(in crate::shared) mod keepalive;
pub(in crate::shared) mod key_activity;
pub(in crate::shared) mod refill;
pub(in crate::shared) mod standby;

use crate::shared::create::Purpose;
use crate::shared::pooled::{Freshness, span};
use crate::shared::{PoolCheckout, PoolPermit, PoolReturnResult, Shared};
use crate::engine::{Now, Slot, Stamp};
use crate::sync::outer::AtomicUsize;
use crate::exec::Collector;
use crate::{ConnectionManager, EvictReason, SweepReport};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The coarse clock lags by up to one timer interrupt: come that much later rather than in vain.
const CLOCK_LAG: Duration = Duration::from_millis(5);
/// How many slots a call looks at in a pool without a collector.
const SWEEP_SOME_SLOTS: usize = 2;

/// What passes remember.
#[derive(Default)]
pub(in crate::shared) struct SweepState {
    /// Slots whose expired connection stays until its replacement is there, with the create that is to
    /// replace it.
    pub(in crate::shared) replacing: BTreeMap<u32, u64>,
    /// Evicted after their replacement came, and not yet reported by a sweep without a collector.
    pub(in crate::shared) replaced: usize,
    pub(in crate::shared) uses_seen: u64,
    /// Since when fewer connections are idle than min_idle says, only because others are in use.
    pub(in crate::shared) short_since: Option<Instant>,
    pub(in crate::shared) usage: crate::shared::collector::key_activity::KeyActivity,
    /// The tick at which idle connections go on standby next; None before the first look.
    pub(in crate::shared) standby_at: Option<u64>,
    cursor: usize,
}

/// What a pass found to do once its lock is free.
pub(in crate::shared) struct SweepActions<M: ConnectionManager> {
    pub(in crate::shared) to_evict: Vec<(PoolCheckout<M>, EvictReason)>,
    /// What came of putting back those that were not due after all.
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

/// The earliest thing that becomes due, in each reckoning.
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

    fn at_opt(&mut self, real: Option<Instant>) {
        self.real = [self.real, real].into_iter().flatten().min();
    }
}

/// The pool as its collector sees it.
pub(in crate::shared) struct PoolCollector<M: ConnectionManager>(pub(in crate::shared) Arc<Shared<M>>);

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
        let actions = self.engine.expire_soft_deadlines(now.real);
        self.run(actions);
        self.make_room_for_others();
        let mut findings = SweepActions::new();
        let suspended;
        {
            let mut sweep_state = self.sweep_state.lock();
            let state = self.engine.lock();
            if state.closed {
                return (SweepReport::default(), self.next_deadline(&state, now.real));
            }
            suspended = state.suspended;
            // A replacement that was given up on must not keep what it was to replace.
            sweep_state.replacing.retain(|_, job| state.has_job(*job));
            drop(state);
            self.update_key_activity(&mut sweep_state, now.tick, &mut findings.next);
            let mut coming = self.idle_or_coming(&self.engine.lock(), now.tick);
            self.evict_due(&mut sweep_state, now, &mut coming, &mut findings);
            self.put_on_standby(&mut sweep_state, now, &mut findings);
            if !self.shortage_may_pass(&mut sweep_state, now, &mut findings.next) {
                self.refill(now, &mut findings);
            }
            self.find_probe(now, &mut findings);
            self.pass_on_spare();
            self.update_wake_on_checkout(&mut sweep_state, now.real, &mut findings.next);
            for (_, reason) in &findings.to_evict {
                self.count_reason(*reason);
            }
        }
        // First, because waiters may be among those that got something.
        for returned in std::mem::take(&mut findings.returned) {
            self.run_returned(returned);
        }
        let mut evicted = findings.to_evict.len();
        let mut next = std::mem::take(&mut findings.next);
        self.report_leaks(now.tick, &mut next);
        // Replacements before evictions: with room for both, the new one comes first.
        let mut created = self.start_creates(&mut findings);
        for (checkout, reason) in std::mem::take(&mut findings.to_evict) {
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
            // The checks and disposes are over: the report can count the ones, and what the others made
            // room for can be created.
            evicted += failed.load(Relaxed);
            self.refill(self.now(), &mut findings);
            created += self.start_creates(&mut findings);
            let expired = self.evict_expired(now);
            if expired > 0 {
                evicted += expired;
                self.refill(self.now(), &mut findings);
                created += self.start_creates(&mut findings);
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

    /// Starts what was found to create; returns how many.
    fn start_creates(self: &Arc<Self>, findings: &mut SweepActions<M>) -> usize {
        let mut started = 0;
        while !findings.creates.is_empty() {
            started += findings.creates.len();
            for (permit, purpose) in std::mem::take(&mut findings.creates) {
                self.start_create(permit, purpose);
            }
            if self.executor.is_inline() {
                // They are over by now, and max_creating has let only so many start.
                self.refill(self.now(), findings);
            }
        }
        started
    }

    /// The real time at which the pool's clock will show this tick, if it runs.
    fn real_of(&self, tick: u64, now: Now) -> Option<Instant> {
        now.real
            .checked_add(span(now.tick, tick))?
            .checked_add(CLOCK_LAG)
    }

    /// Asks the collector to come when the pool's clock shows this tick.
    pub(in crate::shared) fn wake_at_tick(&self, tick: u64, now: Now) {
        self.wake_by(self.real_of(tick, now));
    }

    /// A new connection: the collector must not sleep through what becomes due with it.
    pub(in crate::shared) fn wake_for_new(&self, expires: u64, now: Now) {
        let ages = [self.standby_interval(), self.keepalive()];
        let ages = ages
            .into_iter()
            .flatten()
            .map(|age| now.tick.saturating_add(age));
        self.wake_at_tick(ages.fold(expires, u64::min), now);
    }

    // ---- connections ---------------------------------------------------------------------------

    /// Idle connections that could be handed out, counted up to `enough`.
    pub(in crate::shared) fn live_idle(&self, now: u64, enough: usize) -> usize {
        let live = |slot: &&'static Slot<_>| {
            matches!(slot.stamp(), Stamp::Idle(_)) && slot.expires() > now
        };
        self.engine.table.all().filter(live).take(enough).count()
    }

    fn evict_due(
        self: &Arc<Self>,
        sweep_state: &mut SweepState,
        now: Now,
        coming: &mut usize,
        found: &mut SweepActions<M>,
    ) {
        let (min_idle, keepalive) = (self.min_idle.load(Relaxed), self.keepalive());
        // Counts what is on its way to be replaced as well.
        let mut live = self.live_idle(now.tick, usize::MAX);
        let slots: Vec<_> = self.engine.table.all().collect();
        // The highest first: surplus idles out from the top, while the lowest slots stay busy.
        for slot in slots.into_iter().rev() {
            let stamp = slot.stamp();
            let next = &mut found.next;
            if slot.expires() > now.tick && stamp != Stamp::Vacant && slot.expires() < u64::MAX >> 2
            {
                next.at_tick(slot.expires());
            }
            let Stamp::Idle(since) = stamp else {
                if let Stamp::InUse(_) = stamp {
                    let ages = [self.ages.idle, keepalive].into_iter().flatten();
                    ages.for_each(|age| next.at_tick(now.tick.saturating_add(age)));
                }
                continue;
            };
            if slot.expires() <= now.tick {
                if live < min_idle
                    && self.replace_expired(sweep_state, slot.index(), coming, now.real, found)
                {
                    live += 1;
                } else if !sweep_state.replacing.contains_key(&slot.index()) {
                    let expired =
                        |checkout: &mut PoolCheckout<M>| checkout.slot.expires() <= now.tick;
                    self.take_if(slot, now, EvictReason::MaxLifetime, found, expired);
                }
                continue;
            }
            if let Some(limit) = self.ages.idle {
                let due = since.saturating_add(limit);
                if due >= now.tick {
                    next.at_tick(due + 1);
                } else if live > min_idle {
                    let idle = |checkout: &mut PoolCheckout<M>| {
                        checkout.idle_since.saturating_add(limit) < now.tick
                    };
                    if self.take_if(slot, now, EvictReason::IdleTimeout, found, idle) {
                        live -= 1;
                    }
                }
            }
        }
    }

    /// Takes an entry out if it is what it seemed to be; true if it is doomed now. Under the lock, so
    /// that one which goes back at once was never missing.
    pub(in crate::shared) fn take_if(
        self: &Arc<Self>,
        slot: &'static Slot<crate::shared::Entry<M>>,
        now: Now,
        reason: EvictReason,
        found: &mut SweepActions<M>,
        due: impl FnOnce(&mut PoolCheckout<M>) -> bool,
    ) -> bool {
        let engine = &self.engine;
        let mut state = engine.lock();
        let Some(mut checkout) = slot.take(now.tick) else {
            return false;
        };
        if due(&mut checkout) {
            found.to_evict.push((checkout, reason));
            return true;
        }
        checkout.entry.freshness = Freshness::Not;
        let (idle_since, generation) = (checkout.idle_since, checkout.entry.generation);
        let returned = engine.return_locked(
            &mut state, checkout, idle_since, generation, false, now.real,
        );
        found.returned.push(returned);
        false
    }

    /// In a pool without a collector, at the end of a sweep: those that stayed because max_creating let
    /// no replacement start yet. It has come since, or could not.
    fn evict_expired(self: &Arc<Self>, now: Now) -> usize {
        let mut found = SweepActions::new();
        {
            let _one_pass_at_a_time = self.sweep_state.lock();
            for slot in self.engine.table.all() {
                if matches!(slot.stamp(), Stamp::Idle(_)) && slot.expires() <= now.tick {
                    let expired =
                        |checkout: &mut PoolCheckout<M>| checkout.slot.expires() <= now.tick;
                    self.take_if(slot, now, EvictReason::MaxLifetime, &mut found, expired);
                }
            }
        }
        self.run_sweep_actions(found)
    }

    /// Evicts what was found and hands on what was put back; returns how many were evicted.
    pub(in crate::shared) fn run_sweep_actions(self: &Arc<Self>, found: SweepActions<M>) -> usize {
        let evicted = found.to_evict.len();
        for (checkout, reason) in found.to_evict {
            self.evict(checkout, reason);
        }
        for returned in found.returned {
            self.run_returned(returned);
        }
        evicted
    }

    // ---- the rest ------------------------------------------------------------------------------

    fn report_leaks(&self, now: u64, next: &mut NextWake) {
        let Some(leaks) = &self.leaks else { return };
        let (overdue, due) = leaks.overdue(now);
        for record in overdue {
            self.emit_leak(&record, now, false);
        }
        if let Some(due) = due {
            next.at_tick(due);
        }
    }

    /// In a pool without a collector: looks at a few slots and evicts what is due there.
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
                let limit = self.ages.idle.unwrap_or(u64::MAX);
                if slot.expires() <= now.tick {
                    let expired =
                        |checkout: &mut PoolCheckout<M>| checkout.slot.expires() <= now.tick;
                    self.take_if(slot, now, EvictReason::MaxLifetime, &mut found, expired);
                } else if since.saturating_add(limit) < now.tick
                    && self.live_idle(now.tick, min_idle.saturating_add(1)) > min_idle
                {
                    let idle = |checkout: &mut PoolCheckout<M>| {
                        checkout.idle_since.saturating_add(limit) < now.tick
                    };
                    self.take_if(slot, now, EvictReason::IdleTimeout, &mut found, idle);
                }
            }
        }
        self.run_sweep_actions(found);
        let mut next = NextWake::default();
        self.report_leaks(now.tick, &mut next);
    }
}
