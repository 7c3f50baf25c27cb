//! The collector's pass: whatever is due, and when to come again.
//!
//! A pass only reads the slots' stamps, which takes no lock and disturbs no checkout; it takes out
//! what is due and looks at it once more before it acts. Passes exclude each other, so that
//! `sweep()` returns after the evictions of a pass that was under way have been counted too. Hooks
//! and observers are called after the pass has let go of its own lock.
//!
//! # How min_idle is kept without a counter
//!
//! A warm checkout tells nobody, so a collector that sleeps would not learn that fewer than
//! `min_idle` connections are left. In a pool with `min_idle` the collector therefore looks every
//! [`ROUND`] while there are checkouts; when there are none any more it sets a bit in the gate, which
//! makes the next checkout ring, and sleeps for good. Pools without `min_idle` never do this.

use super::create::Purpose;
use super::node::span;
use super::{PoolCore, PoolLoan, PoolPermit, Shared};
use crate::clock::real_now;
use crate::engine::{JobKind, Moment, Slot, Stamp};
use crate::error::Cause;
use crate::workers::{Tend, guarded};
use crate::{ConnectionManager, EvictReason, PoolEvent, SweepReport};
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::{Duration, Instant};

const ROUND: Duration = Duration::from_millis(20);
/// The coarse clock lags by up to one timer interrupt: come that much later rather than in vain.
const LAG: Duration = Duration::from_millis(5);
/// How many slots a call looks at in a pool without a collector.
const A_LITTLE: usize = 2;

/// What passes remember.
#[derive(Default)]
pub(super) struct Notes {
    /// Slots whose expired connection stays until its replacement is there.
    replacing: BTreeSet<u32>,
    uses_seen: u64,
    cursor: usize,
}

/// What a pass found to do once its lock is free.
struct Findings<M: ConnectionManager> {
    doomed: Vec<(PoolLoan<M>, EvictReason)>,
    /// Looked at and not due after all.
    well: Vec<PoolLoan<M>>,
    unproven: Vec<PoolLoan<M>>,
    creates: Vec<(PoolPermit<M>, Purpose)>,
    next: Next,
}

impl<M: ConnectionManager> Findings<M> {
    fn new() -> Self {
        Self {
            doomed: Vec::new(),
            well: Vec::new(),
            unproven: Vec::new(),
            creates: Vec::new(),
            next: Next::default(),
        }
    }
}

/// The earliest thing that becomes due, in each reckoning.
#[derive(Default)]
struct Next {
    tick: Option<u64>,
    real: Option<Instant>,
}

impl Next {
    fn at_tick(&mut self, tick: u64) {
        self.tick = Some(self.tick.map_or(tick, |known| known.min(tick)));
    }

    fn at(&mut self, real: Instant) {
        self.real = Some(self.real.map_or(real, |known| known.min(real)));
    }
}

/// The pool as its collector sees it.
pub(super) struct Tended<M: ConnectionManager>(pub(super) Arc<Shared<M>>);

impl<M: ConnectionManager> Tend for Tended<M> {
    fn tend(&self) -> Option<Instant> {
        let (_, next) = self.0.pass();
        next
    }
}

impl<M: ConnectionManager> Shared<M> {
    pub(crate) fn sweep(self: &Arc<Self>) -> SweepReport {
        self.pass().0
    }

    fn pass(self: &Arc<Self>) -> (SweepReport, Option<Instant>) {
        let now = self.moment();
        self.give_up_on_hooks(now.real);
        let effects = self.engine.lose_patience(now.real);
        self.run(effects);
        let mut findings = Findings::new();
        {
            let mut notes = self.pass.lock();
            let core = self.engine.lock();
            if core.closed {
                return (SweepReport::default(), self.next_deadline(&core, now.real));
            }
            let suspended = core.suspended;
            drop(core);
            self.scan(&mut notes, suspended, now, &mut findings);
            self.refill(now.real, &mut findings);
            self.listen(&mut notes, now.real, &mut findings.next);
            for (_, reason) in &findings.doomed {
                self.count_reason(*reason);
            }
        }
        let report = SweepReport {
            evicted: findings.doomed.len(),
            checks_started: findings.unproven.len(),
            creates_started: findings.creates.len(),
        };
        let mut next = findings.next;
        self.report_leaks(now.tick, &mut next);
        if let Some(tick) = next.tick {
            next.real = [next.real, self.real_of(tick, now)]
                .into_iter()
                .flatten()
                .min();
        }
        // Replacements before evictions: with room for both, the new one comes first.
        for (permit, purpose) in findings.creates {
            self.start_create(permit, purpose);
        }
        for (loan, reason) in findings.doomed {
            self.evict_counted(loan, reason);
        }
        for loan in findings.well {
            let idle_since = loan.idle_since;
            self.give_back(loan, idle_since);
        }
        for loan in findings.unproven {
            self.check_aside(loan, |_| ());
        }
        let core = self.engine.lock();
        let next = [next.real, self.next_deadline(&core, now.real)];
        (report, next.into_iter().flatten().min())
    }

    /// The real time at which the pool's clock will show this tick, if it runs.
    fn real_of(&self, tick: u64, now: Moment) -> Option<Instant> {
        now.real.checked_add(span(now.tick, tick))?.checked_add(LAG)
    }

    /// Asks the collector to come when the pool's clock shows this tick.
    pub(super) fn call_for(&self, tick: u64, now: Moment) {
        if let Some((crew, due)) = self.crew.as_ref().zip(self.real_of(tick, now)) {
            crew.call_by(due);
        }
    }

    /// A new connection: the collector must not sleep through what becomes due with it.
    pub(super) fn call_for_newcomer(&self, expires: u64, now: Moment) {
        let ages = [self.ages.idle, self.ages.keepalive].into_iter().flatten();
        let ages = ages.map(|age| now.tick.saturating_add(age));
        self.call_for(ages.fold(expires, u64::min), now);
    }

    // ---- hooks that take too long --------------------------------------------------------------

    fn give_up_on_hooks(self: &Arc<Self>, now: Instant) {
        let late = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let overdue: Vec<u64> = {
            let core = self.engine.lock();
            let overdue = core.jobs().filter(|(_, job)| late(job.deadline));
            overdue.map(|(id, _)| id).collect()
        };
        for id in overdue {
            let job = self.engine.abandon(&mut self.engine.lock(), id);
            let Some(job) = job else { continue };
            let (hook, after) = match job.kind {
                JobKind::Create => ("create", self.config.create_timeout),
                JobKind::Check => ("check_aliveness", self.config.check_timeout),
                JobKind::Dispose => ("dispose", self.config.dispose_timeout),
            };
            guarded(|| {
                let pool = &*self.name;
                tracing::warn!(target: "conpool", pool, hook, ?after, "hook takes too long");
            });
            let cause = Cause::TimedOut { hook, after };
            let error: Arc<dyn Error + Send + Sync> =
                Arc::from(Box::from(format!("{hook} took longer than {after:?}")));
            match job.kind {
                JobKind::Create => {
                    let transient = true;
                    let failed = super::create::Failed { cause, transient };
                    // Nobody is told at once: the failure is transient.
                    let _kept = self.failed::<()>(None, job.since, failed, error);
                }
                JobKind::Check => {
                    let reason = EvictReason::CheckFailed;
                    self.note_error(self.moment(), &*error);
                    self.note_failed_check(cause);
                    self.count_reason(reason);
                    let born = self.engine.lock().born(job.slot);
                    let age = span(born, self.ticker.tick());
                    let (id, uses) = (job.connection, 0);
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
        }
    }

    /// When the next hook has taken too long, or a waiter should look for something else, or a create
    /// may be tried again.
    fn next_deadline(&self, core: &PoolCore<M>, now: Instant) -> Option<Instant> {
        let deadlines = core.jobs().filter_map(|(_, job)| job.deadline);
        let patience = core
            .jobs()
            .filter_map(|(_, job)| job.patience.filter(|_| job.covers));
        let wanted = !core.queue.is_empty() || self.refill_deficit(core) > 0;
        let pause = core.paused_until.filter(|_| wanted && !core.closed);
        deadlines
            .chain(patience)
            .chain(pause)
            .filter(|at| *at > now)
            .min()
    }

    // ---- connections ---------------------------------------------------------------------------

    /// Idle connections that could be handed out.
    fn live_idle(&self, now: u64) -> usize {
        let live = |slot: &&'static Slot<_>| {
            matches!(slot.stamp(), Stamp::Idle(_)) && slot.expires() > now
        };
        self.engine.table.all().filter(live).count()
    }

    fn scan(&self, notes: &mut Notes, suspended: bool, now: Moment, found: &mut Findings<M>) {
        let min_idle = self.min_idle.load(Relaxed);
        let mut live = self.live_idle(now.tick);
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
                    let ages = [self.ages.idle, self.ages.keepalive].into_iter().flatten();
                    ages.for_each(|age| next.at_tick(now.tick.saturating_add(age)));
                }
                continue;
            };
            if slot.expires() <= now.tick {
                if live < min_idle && self.replace(notes, slot.index(), now.real, found) {
                    live += 1;
                } else if !notes.replacing.contains(&slot.index()) {
                    let expired = |loan: &PoolLoan<M>| loan.entry.expires <= now.tick;
                    self.take_if(slot, now.tick, EvictReason::MaxLifetime, found, expired);
                }
                continue;
            }
            if let Some(limit) = self.ages.idle {
                let due = since.saturating_add(limit);
                if due >= now.tick {
                    next.at_tick(due + 1);
                } else if live > min_idle {
                    let idle =
                        |loan: &PoolLoan<M>| loan.idle_since.saturating_add(limit) < now.tick;
                    if self.take_if(slot, now.tick, EvictReason::IdleTimeout, found, idle) {
                        live -= 1;
                    }
                    continue;
                }
            }
            if let Some(interval) = self.ages.keepalive.filter(|_| !suspended) {
                let due = since.max(slot.checked()).saturating_add(interval);
                if due > now.tick {
                    next.at_tick(due);
                } else if let Some(loan) = slot.take(now.tick) {
                    next.at_tick(now.tick.saturating_add(interval));
                    found.unproven.push(loan);
                }
            }
        }
    }

    /// Takes an entry out if it is what it seemed to be; true if it is doomed now.
    fn take_if(
        &self,
        slot: &'static Slot<super::Of<M>>,
        now: u64,
        reason: EvictReason,
        found: &mut Findings<M>,
        due: impl FnOnce(&PoolLoan<M>) -> bool,
    ) -> bool {
        let Some(loan) = slot.take(now) else {
            return false;
        };
        if due(&loan) {
            found.doomed.push((loan, reason));
            return true;
        }
        found.well.push(loan);
        false
    }

    /// An expired connection that min_idle needs: its replacement comes first where there is room.
    /// True if it is to stay until then.
    fn replace(&self, notes: &mut Notes, slot: u32, now: Instant, found: &mut Findings<M>) -> bool {
        if notes.replacing.contains(&slot) {
            return true;
        }
        let mut core = self.engine.lock();
        let paused = core.paused_until.is_some_and(|until| until > now);
        if !core.has_room() || core.suspended || paused || core.closed {
            return false;
        }
        if core.may_create(now) {
            if let Some(permit) = self.engine.reserve(&mut core, false, now) {
                notes.replacing.insert(slot);
                found.creates.push((permit, Purpose::Replace(slot)));
            }
        }
        // With max_creating reached, the end of one of them calls the collector again.
        true
    }

    /// The attempt to replace the connection in this slot is over, well or not.
    pub(super) fn retire_replaced(self: &Arc<Self>, slot: u32) {
        let now = self.ticker.tick();
        let mut found = Findings::new();
        {
            let mut notes = self.pass.lock();
            notes.replacing.remove(&slot);
            if let Some(slot) = self.engine.table.get(slot) {
                if matches!(slot.stamp(), Stamp::Idle(_)) {
                    let expired = |loan: &PoolLoan<M>| loan.entry.expires <= now;
                    self.take_if(slot, now, EvictReason::MaxLifetime, &mut found, expired);
                }
            }
        }
        for (loan, reason) in found.doomed {
            self.evict(loan, reason);
        }
        for loan in found.well {
            let idle_since = loan.idle_since;
            self.give_back(loan, idle_since);
        }
    }

    // ---- min_idle ------------------------------------------------------------------------------

    /// How many idle connections are missing, beyond those under way. May be negative.
    pub(super) fn refill_deficit(&self, core: &PoolCore<M>) -> isize {
        let min_idle = self.min_idle.load(Relaxed);
        if min_idle == 0 || core.suspended || core.closed || self.priming.load(Acquire) {
            return -isize::from(min_idle == 0 || core.closed);
        }
        let there = self.live_idle(self.ticker.tick()) + core.spare_jobs();
        isize::try_from(min_idle).unwrap_or(isize::MAX)
            - isize::try_from(there).unwrap_or(isize::MAX)
    }

    fn refill(&self, now: Instant, found: &mut Findings<M>) {
        let mut core = self.engine.lock();
        // Those this pass has in its hands are as good as idle.
        let in_hand = found.unproven.len() + found.well.len();
        let mut missing = self.refill_deficit(&core) - in_hand as isize;
        while missing > 0 && core.may_create(now) {
            let Some(permit) = self.engine.reserve(&mut core, false, now) else {
                break;
            };
            found.creates.push((permit, Purpose::Refill));
            missing -= 1;
        }
    }

    fn listen(&self, notes: &mut Notes, now: Instant, next: &mut Next) {
        if self.min_idle.load(Relaxed) == 0 || self.crew.is_none() {
            self.engine.listen(false);
            return;
        }
        let uses = self.engine.table.all().map(|slot| slot.uses()).sum();
        let active = notes.uses_seen != uses;
        notes.uses_seen = uses;
        // After the bit is set, one more look: a checkout may have read the gate before.
        if active {
            self.engine.listen(false);
            next.at(now + ROUND);
        } else if !self.engine.listen(true) {
            next.at(now + ROUND);
        }
    }

    /// A checkout in a pool whose collector asked to hear of it.
    #[cold]
    pub(super) fn wake_up(&self) {
        if self.engine.listen(false) {
            self.nudge();
        }
    }

    // ---- the rest ------------------------------------------------------------------------------

    fn report_leaks(&self, now: u64, next: &mut Next) {
        let Some(leaks) = &self.leaks else { return };
        let (overdue, due) = leaks.overdue(now);
        for record in overdue {
            let since = self.ticker.instant(record.since);
            let held = span(record.since, now);
            self.emit(|pool| record.suspected(pool, since, held));
        }
        if let Some(due) = due {
            next.at_tick(due);
        }
    }

    /// In a pool without a collector: looks at a few slots and evicts what is due there.
    pub(super) fn tend_a_little(self: &Arc<Self>) {
        let now = self.moment();
        let mut found = Findings::new();
        {
            let Some(mut notes) = self.pass.try_lock() else {
                return;
            };
            let min_idle = self.min_idle.load(Relaxed);
            let live = self.live_idle(now.tick);
            for _ in 0..A_LITTLE {
                let index = notes.cursor as u32;
                let Some(slot) = self.engine.table.get(index) else {
                    notes.cursor = 0;
                    break;
                };
                notes.cursor += 1;
                let Stamp::Idle(since) = slot.stamp() else {
                    continue;
                };
                let limit = self.ages.idle.unwrap_or(u64::MAX);
                if slot.expires() <= now.tick {
                    let expired = |loan: &PoolLoan<M>| loan.entry.expires <= now.tick;
                    self.take_if(
                        slot,
                        now.tick,
                        EvictReason::MaxLifetime,
                        &mut found,
                        expired,
                    );
                } else if live > min_idle && since.saturating_add(limit) < now.tick {
                    let idle =
                        |loan: &PoolLoan<M>| loan.idle_since.saturating_add(limit) < now.tick;
                    self.take_if(slot, now.tick, EvictReason::IdleTimeout, &mut found, idle);
                }
            }
        }
        for (loan, reason) in found.doomed {
            self.evict(loan, reason);
        }
        for loan in found.well {
            let (idle_since, generation) = (loan.idle_since, loan.entry.generation);
            match self
                .engine
                .give(loan, idle_since, generation, false, real_now())
            {
                Ok(effects) => self.run(effects),
                Err((loan, surplus)) => self.evict(loan, super::create::reason(surplus)),
            }
        }
        let mut next = Next::default();
        self.report_leaks(now.tick, &mut next);
    }
}
