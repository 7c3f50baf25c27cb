//! The way of a connection to a caller.

use super::accept::Accepted;
use super::hooks::is_traced;
use super::node::{Node, Odd};
use super::{Of, PoolEngine, PoolLoan, PoolNear, Shared};
use crate::clock::real_now;
use crate::config::is_unlimited;
use crate::engine::{Slot, this_thread};
use crate::error::{Cause, GetError};
use crate::foreign::Caught;
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::{Duration, Instant};

/// How long a caller is ready to wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Budget {
    For(Duration),
    Until(Instant),
    /// It has waited since then, elsewhere.
    Since(Instant, Option<Instant>),
}

impl Budget {
    /// Since when its caller waits, and until when; `now` is when it came, unless it came before.
    pub(crate) fn from(self, now: Instant) -> (Instant, Option<Instant>) {
        match self {
            Self::For(budget) => {
                let deadline = now.checked_add(budget);
                (now, deadline.filter(|_| !is_unlimited(budget)))
            }
            Self::Until(deadline) => (now, Some(deadline)),
            Self::Since(since, deadline) => (since, deadline),
        }
    }
}

pub(super) type Got<M> = Result<PoolLoan<M>, GetError<<M as ConnectionManager>::Error>>;

/// One caller's errand.
pub(super) struct Errand {
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
    /// Waits for nothing at all.
    pub(super) impatient: bool,
    /// It is a `try_get`, which is not counted among the gets.
    tries: bool,
    /// It has joined the queue.
    pub(super) has_waited: Cell<bool>,
    at: &'static Location<'static>,
}

impl Errand {
    pub(super) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= real_now())
    }
}

/// What a warm search has taken.
pub(crate) enum Found<M: ConnectionManager> {
    Nothing,
    Fresh(PoolLoan<M>),
    /// It needs a second look, or a check.
    Stale(PoolLoan<M>),
}

impl<M: ConnectionManager> Shared<M> {
    /// The whole of a warm checkout, by `try_get` or by one of the others: the slot this thread used last,
    /// one swap, no lock. Err with what it took and could not vouch for, if anything.
    #[allow(
        clippy::inline_always,
        reason = "three words returned through memory cost 8 of 28 ns: the caller copies two of them at once, \
                  and the processor cannot forward two stores to one load"
    )]
    #[inline(always)]
    pub(crate) fn get_warm<const TRIES: bool>(
        self: &Arc<Self>,
        engine: &PoolEngine<M>,
        near: PoolNear<M>,
    ) -> Result<PoolLoan<M>, Option<PoolLoan<M>>> {
        if !engine.fast_path_open() || is_traced() {
            return Err(None);
        }
        let now = self.ticker.tick();
        let hinted = near.last_used_slot().or_else(|| engine.table.last_used_slot());
        let loan = self.take_fresh(hinted, now)?;
        Ok(Self::hand_out(loan, TRIES))
    }

    /// The same where each checkout is told to somebody. Nobody waits here, so no time is measured.
    fn get_loud(
        self: &Arc<Self>,
        tries: bool,
        at: &'static Location<'static>,
    ) -> Result<PoolLoan<M>, Option<PoolLoan<M>>> {
        // Without a collector a checkout also tends a little.
        if !self.engine.is_instrumented() || self.bell.is_none() {
            return Err(None);
        }
        let now = self.ticker.tick();
        let loan = self.take_fresh(self.engine.table.last_used_slot(), now)?;
        Ok(self.hand_out_loudly(loan, tries, at, now, || Duration::ZERO))
    }

    /// Takes what is in this slot and needs neither a check nor a second look at its age.
    #[inline]
    fn take_fresh(
        self: &Arc<Self>,
        slot: Option<&'static Slot<Of<M>>>,
        now: u64,
    ) -> Result<PoolLoan<M>, Option<PoolLoan<M>>> {
        let Some(mut loan) = slot.and_then(|slot| slot.take(now)) else {
            return Err(None);
        };
        if !self.is_fresh(&loan, now) {
            return Err(Some(loan));
        }
        match self.prepare(&mut loan.entry.connection) {
            Ok(()) => Ok(loan),
            Err((reason, _)) => {
                self.evict(loan, reason);
                Err(None)
            }
        }
    }

    /// The first half of a warm checkout, for one who holds a lock of his own meanwhile: calls nobody
    /// else's code, the clock's included.
    #[inline]
    pub(crate) fn find_fresh(&self, now: u64) -> Found<M> {
        if !self.engine.fast_path_open() || is_traced() {
            return Found::Nothing;
        }
        let hinted = self.engine.table.last_used_slot().and_then(|slot| slot.take(now));
        // Connections rest in the lowest slots, so the first is worth a look where no hint is left.
        let first = || self.engine.table.get(0).and_then(|slot| slot.take(now));
        match hinted.or_else(first) {
            None => Found::Nothing,
            Some(loan) if self.is_fresh(&loan, now) => Found::Fresh(loan),
            Some(loan) => Found::Stale(loan),
        }
    }

    /// Needs neither a check nor a second look at its age.
    #[inline]
    fn is_fresh(&self, loan: &PoolLoan<M>, now: u64) -> bool {
        // Wraps where another thread put it back at a later tick: then it gets a second look.
        let fresh = now.wrapping_sub(loan.idle_since) < self.fresh;
        fresh && now < loan.entry.expires
    }

    /// The second half, with what the first found fresh. None: it was none.
    #[inline]
    pub(crate) fn finish_warm(mut loan: PoolLoan<M>, tries: bool) -> Option<PoolLoan<M>> {
        let node = &mut *loan.entry;
        match node.shared.prepare(&mut node.connection) {
            Ok(()) => Some(Self::hand_out(loan, tries)),
            Err((reason, _)) => {
                let shared = Arc::clone(&loan.entry.shared);
                shared.evict(loan, reason);
                None
            }
        }
    }

    /// The last word of the connection's own hook. An error comes with what it was.
    #[inline]
    pub(super) fn prepare(
        &self,
        connection: &mut M::Connection,
    ) -> Result<(), (EvictReason, Option<Caught<Cause<M::Error>>>)> {
        match self.call("on_checkout", |manager| manager.on_checkout(connection)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.log_failed_hook("on_checkout", &error);
                let cause = Caught::new(Cause::Create(Arc::new(error)));
                Err((EvictReason::HookFailed, Some(cause)))
            }
            Err(message) => {
                let hook = "on_checkout";
                Err((
                    EvictReason::Panicked,
                    Some(Caught::new(Cause::Panicked { hook, message })),
                ))
            }
        }
    }

    /// Counts the checkout. From here on the connection is the caller's.
    #[inline]
    fn hand_out(mut loan: PoolLoan<M>, tries: bool) -> PoolLoan<M> {
        match tries {
            true => loan.count_try_get(this_thread()),
            false => loan.count_get(this_thread()),
        }
        loan.entry.until_notable -= 1;
        if loan.entry.until_notable == 0 {
            Self::note_use(loan.slot, &mut loan.entry);
        }
        if std::thread::panicking() {
            loan.entry.mark(Odd::AmidPanic);
        }
        loan
    }

    /// The first use of a connection, or its last.
    #[cold]
    #[inline(never)]
    fn note_use(slot: &Slot<Of<M>>, node: &mut Node<M>) {
        let shared = Arc::clone(&node.shared);
        let uses = slot.uses() - node.before;
        if uses == 1 {
            shared.meter.first_uses.fetch_add(1, Relaxed);
            shared.back_on(None);
            shared.renew();
        }
        let left = shared.config.max_uses.map(|max| max.saturating_sub(uses));
        if left == Some(0) {
            node.mark(Odd::Spent);
        }
        node.until_notable = left.filter(|left| *left > 0).unwrap_or(u64::MAX);
    }

    /// Hands out what an errand has found.
    pub(super) fn hand_out_to(
        self: &Arc<Self>,
        errand: &Errand,
        loan: PoolLoan<M>,
        now: u64,
    ) -> PoolLoan<M> {
        // Handed over, it still bears the tick of the checkout before.
        loan.set_in_use_since(now);
        let waited = || real_now().saturating_duration_since(errand.since);
        self.hand_out_loudly(loan, errand.tries, errand.at, now, waited)
    }

    fn hand_out_loudly(
        self: &Arc<Self>,
        loan: PoolLoan<M>,
        tries: bool,
        at: &'static Location<'static>,
        now: u64,
        waited: impl FnOnce() -> Duration,
    ) -> PoolLoan<M> {
        let mut loan = Self::hand_out(loan, tries);
        if self.is_loud() {
            // Asked once, so that what is told of the checkout is also told of its check-in.
            loan.entry.mark(Odd::Loud);
        }
        loan.slot.remember();
        if let Some(leaks) = &self.leaks {
            leaks.note(&loan, at, now);
            self.call_for(leaks.due(now), self.moment());
        }
        let id = loan.entry.id;
        self.emit_as(&loan.entry.name, |pool| PoolEvent::CheckedOut {
            pool,
            id,
            waited: waited(),
        });
        if self.engine.has_wake_collector() {
            self.wake_up();
        }
        loan
    }

    pub(crate) fn get_cold(
        self: &Arc<Self>,
        budget: Budget,
        at: &'static Location<'static>,
        mut found: Option<PoolLoan<M>>,
    ) -> Got<M> {
        if found.is_none() {
            match self.get_loud(false, at) {
                Ok(loan) => return Ok(loan),
                Err(stale) => found = stale,
            }
        }
        let now = real_now();
        let (since, deadline) = budget.from(now);
        let errand = Errand {
            since,
            deadline,
            impatient: deadline.is_some_and(|deadline| deadline <= now),
            tries: false,
            has_waited: Cell::new(false),
            at,
        };
        let got = self.seek(&errand, found);
        // A pool of many may just have been removed, and its caller goes on with the next.
        let gone = self.family.is_some() && matches!(got, Err(GetError::Closed { .. }));
        if got.is_err() && !gone {
            self.meter.failed.fetch_add(1, Relaxed);
        }
        if errand.has_waited.get() && !gone {
            // After it was counted among the gets: whoever sees this sees that.
            self.meter.gets_waited.fetch_add(1, Release);
        }
        if self.bell.is_none() {
            self.tend_a_little();
        }
        got
    }

    /// An idle connection now or none: never waits, never creates.
    pub(crate) fn try_cold(
        self: &Arc<Self>,
        at: &'static Location<'static>,
        mut found: Option<PoolLoan<M>>,
    ) -> Option<PoolLoan<M>> {
        if found.is_none() {
            match self.get_loud(true, at) {
                Ok(loan) => return Some(loan),
                Err(stale) => found = stale,
            }
        }
        let since = real_now();
        let errand = Errand {
            since,
            deadline: Some(since),
            impatient: true,
            tries: true,
            has_waited: Cell::new(false),
            at,
        };
        self.look(&errand, found).ok()?
    }

    /// Looks for an idle connection without queueing. `Err` carries one whose check may block.
    pub(super) fn look(
        self: &Arc<Self>,
        errand: &Errand,
        mut found: Option<PoolLoan<M>>,
    ) -> Result<Option<PoolLoan<M>>, PoolLoan<M>> {
        // Those that an errand without time cannot wait for. They are seen to afterwards, so that it
        // does not meet them again.
        let mut passed = Vec::new();
        let result = loop {
            let now = self.ticker.tick();
            let next = found.take().or_else(|| {
                let free = self.engine.may_barge();
                free.then(|| self.engine.take_idle(now)).flatten()
            });
            let Some(loan) = next else { break Ok(None) };
            let loan = self.prefer_off_standby(loan, now);
            match self.accept(loan, errand.impatient, false) {
                Accepted::Ready(loan) => {
                    break Ok(Some(self.hand_out_to(errand, loan, now)));
                }
                Accepted::Gone | Accepted::Failed(_) => {
                    if self.bell.is_none() && !errand.impatient && errand.is_over() {
                        break Ok(None);
                    }
                }
                Accepted::Unproven(loan) if !errand.impatient => break Err(loan),
                Accepted::Unproven(loan) => passed.push(loan),
            }
        };
        for loan in passed {
            self.check_in_background(loan);
        }
        result
    }
}
