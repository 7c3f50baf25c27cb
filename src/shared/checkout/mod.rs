//! The way of a connection to a caller.

pub(in crate::shared) mod outcome;
pub(in crate::shared) mod slow;
pub(in crate::shared) mod validate;

use crate::shared::hooks::is_traced;
use crate::shared::pooled::{Flag, PooledConnection};
use crate::shared::checkout::validate::Validated;
use crate::shared::{Entry, PoolCheckout, PoolEngine, PoolSlotCache, Shared};
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
pub(crate) enum GetTimeout {
    For(Duration),
    Until(Instant),
    /// It has waited since then, elsewhere.
    Since(Instant, Option<Instant>),
}

impl GetTimeout {
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

pub(in crate::shared) type GetResult<M> = Result<PoolCheckout<M>, GetError<<M as ConnectionManager>::Error>>;

/// One caller's errand.
pub(in crate::shared) struct Request {
    pub(in crate::shared) since: Instant,
    pub(in crate::shared) deadline: Option<Instant>,
    /// Waits for nothing at all.
    pub(in crate::shared) non_blocking: bool,
    /// It is a `try_get`, which is not counted among the gets.
    is_try_get: bool,
    /// It has joined the queue.
    pub(in crate::shared) has_waited: Cell<bool>,
    at: &'static Location<'static>,
}

impl Request {
    pub(in crate::shared) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= real_now())
    }
}

/// What a warm search has taken.
pub(crate) enum Found<M: ConnectionManager> {
    Nothing,
    Fresh(PoolCheckout<M>),
    /// It needs a second look, or a check.
    Stale(PoolCheckout<M>),
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
    pub(crate) fn get_fast<const TRIES: bool>(
        self: &Arc<Self>,
        engine: &PoolEngine<M>,
        near: PoolSlotCache<M>,
    ) -> Result<PoolCheckout<M>, Option<PoolCheckout<M>>> {
        if !engine.fast_path_open() || is_traced() {
            return Err(None);
        }
        let now = self.ticker.tick();
        let hinted = near
            .last_used_slot()
            .or_else(|| engine.table.last_used_slot());
        let checkout = self.take_fast(hinted, now)?;
        Ok(Self::count_checkout(checkout, TRIES))
    }

    /// The same where each checkout is told to somebody. Nobody waits here, so no time is measured.
    fn get_instrumented(
        self: &Arc<Self>,
        is_try_get: bool,
        at: &'static Location<'static>,
    ) -> Result<PoolCheckout<M>, Option<PoolCheckout<M>>> {
        // Without a collector a checkout also tends a little.
        if !self.engine.is_instrumented() || self.executor.is_inline() {
            return Err(None);
        }
        let now = self.ticker.tick();
        let checkout = self.take_fast(self.engine.table.last_used_slot(), now)?;
        Ok(self.checkout_instrumented(checkout, is_try_get, at, now, || Duration::ZERO))
    }

    /// Takes what is in this slot and needs neither a check nor a second look at its age.
    #[inline]
    fn take_fast(
        self: &Arc<Self>,
        slot: Option<&'static Slot<Entry<M>>>,
        now: u64,
    ) -> Result<PoolCheckout<M>, Option<PoolCheckout<M>>> {
        let Some(mut checkout) = slot.and_then(|slot| slot.take(now)) else {
            return Err(None);
        };
        if !self.is_fresh(&checkout, now) {
            return Err(Some(checkout));
        }
        match self.call_on_checkout(&mut checkout.entry.connection) {
            Ok(()) => Ok(checkout),
            Err((reason, _)) => {
                self.evict(checkout, reason);
                Err(None)
            }
        }
    }

    /// The first half of a warm checkout, for one who holds a lock of his own meanwhile: calls nobody
    /// else's code, the clock's included.
    #[inline]
    pub(crate) fn try_fast(&self, now: u64) -> Found<M> {
        if !self.engine.fast_path_open() || is_traced() {
            return Found::Nothing;
        }
        let hinted = self
            .engine
            .table
            .last_used_slot()
            .and_then(|slot| slot.take(now));
        // Connections rest in the lowest slots, so the first is worth a look where no hint is left.
        let first = || self.engine.table.get(0).and_then(|slot| slot.take(now));
        match hinted.or_else(first) {
            None => Found::Nothing,
            Some(checkout) if self.is_fresh(&checkout, now) => Found::Fresh(checkout),
            Some(checkout) => Found::Stale(checkout),
        }
    }

    /// Needs neither a check nor a second look at its age.
    #[inline]
    fn is_fresh(&self, checkout: &PoolCheckout<M>, now: u64) -> bool {
        // Wraps where another thread put it back at a later tick: then it gets a second look.
        let fresh = now.wrapping_sub(checkout.idle_since) < self.fresh_for;
        fresh && now < checkout.entry.expires
    }

    /// The second half, with what the first found fresh. None: it was none.
    #[inline]
    pub(crate) fn finish_fast(
        mut checkout: PoolCheckout<M>,
        tries: bool,
    ) -> Option<PoolCheckout<M>> {
        let pooled = &mut *checkout.entry;
        match pooled.shared.call_on_checkout(&mut pooled.connection) {
            Ok(()) => Some(Self::count_checkout(checkout, tries)),
            Err((reason, _)) => {
                let shared = Arc::clone(&checkout.entry.shared);
                shared.evict(checkout, reason);
                None
            }
        }
    }

    /// The last word of the connection's own hook. An error comes with what it was.
    #[inline]
    pub(in crate::shared) fn call_on_checkout(
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
    fn count_checkout(mut checkout: PoolCheckout<M>, tries: bool) -> PoolCheckout<M> {
        match tries {
            true => checkout.count_try_get(this_thread()),
            false => checkout.count_get(this_thread()),
        }
        checkout.entry.uses_until_event -= 1;
        if checkout.entry.uses_until_event == 0 {
            Self::record_first_or_last_use(checkout.slot, &mut checkout.entry);
        }
        if std::thread::panicking() {
            checkout.entry.mark(Flag::Panicking);
        }
        checkout
    }

    /// The first use of a connection, or its last.
    #[cold]
    #[inline(never)]
    fn record_first_or_last_use(slot: &Slot<Entry<M>>, pooled: &mut PooledConnection<M>) {
        let shared = Arc::clone(&pooled.shared);
        let uses = slot.uses() - pooled.uses_before;
        if uses == 1 {
            shared.meter.first_uses.fetch_add(1, Relaxed);
            shared.reset_backoff(None);
            shared.renew_min_idle();
        }
        let left = shared.config.max_uses.map(|max| max.saturating_sub(uses));
        if left == Some(0) {
            pooled.mark(Flag::LastUse);
        }
        pooled.uses_until_event = left.filter(|left| *left > 0).unwrap_or(u64::MAX);
    }

    /// Hands out what an errand has found.
    pub(in crate::shared) fn checkout_for(
        self: &Arc<Self>,
        request: &Request,
        checkout: PoolCheckout<M>,
        now: u64,
    ) -> PoolCheckout<M> {
        // Handed over, it still bears the tick of the checkout before.
        checkout.set_in_use_since(now);
        let waited = || real_now().saturating_duration_since(request.since);
        self.checkout_instrumented(checkout, request.is_try_get, request.at, now, waited)
    }

    fn checkout_instrumented(
        self: &Arc<Self>,
        checkout: PoolCheckout<M>,
        is_try_get: bool,
        at: &'static Location<'static>,
        now: u64,
        waited: impl FnOnce() -> Duration,
    ) -> PoolCheckout<M> {
        let mut checkout = Self::count_checkout(checkout, is_try_get);
        if self.is_instrumented() {
            // Asked once, so that what is told of the checkout is also told of its check-in.
            checkout.entry.mark(Flag::Instrumented);
        }
        checkout.slot.remember();
        if let Some(leaks) = &self.leaks {
            leaks.note(&checkout, at, now);
            self.wake_at_tick(leaks.due(now), self.now());
        }
        let id = checkout.entry.id;
        self.emit_as(&checkout.entry.name, |pool| PoolEvent::CheckedOut {
            pool,
            id,
            waited: waited(),
        });
        if self.engine.has_wake_collector() {
            self.checkout_wakes_collector();
        }
        checkout
    }

    pub(crate) fn get_slow(
        self: &Arc<Self>,
        budget: GetTimeout,
        at: &'static Location<'static>,
        mut found: Option<PoolCheckout<M>>,
    ) -> GetResult<M> {
        if found.is_none() {
            match self.get_instrumented(false, at) {
                Ok(checkout) => return Ok(checkout),
                Err(stale) => found = stale,
            }
        }
        let now = real_now();
        let (since, deadline) = budget.from(now);
        let request = Request {
            since,
            deadline,
            non_blocking: deadline.is_some_and(|deadline| deadline <= now),
            is_try_get: false,
            has_waited: Cell::new(false),
            at,
        };
        let got = self.get_queued(&request, found);
        // A pool of many may just have been removed, and its caller goes on with the next.
        let gone = self.group.is_some() && matches!(got, Err(GetError::Closed { .. }));
        if got.is_err() && !gone {
            self.meter.failed.fetch_add(1, Relaxed);
        }
        if request.has_waited.get() && !gone {
            // After it was counted among the gets: whoever sees this sees that.
            self.meter.gets_waited.fetch_add(1, Release);
        }
        if self.executor.is_inline() {
            self.sweep_some();
        }
        got
    }

    /// An idle connection now or none: never waits, never creates.
    pub(crate) fn try_get_slow(
        self: &Arc<Self>,
        at: &'static Location<'static>,
        mut found: Option<PoolCheckout<M>>,
    ) -> Option<PoolCheckout<M>> {
        if found.is_none() {
            match self.get_instrumented(true, at) {
                Ok(checkout) => return Some(checkout),
                Err(stale) => found = stale,
            }
        }
        let since = real_now();
        let request = Request {
            since,
            deadline: Some(since),
            non_blocking: true,
            is_try_get: true,
            has_waited: Cell::new(false),
            at,
        };
        self.try_idle(&request, found).ok()?
    }

    /// Looks for an idle connection without queueing. `Err` carries one whose check may block.
    pub(in crate::shared) fn try_idle(
        self: &Arc<Self>,
        request: &Request,
        mut found: Option<PoolCheckout<M>>,
    ) -> Result<Option<PoolCheckout<M>>, PoolCheckout<M>> {
        // Those that an errand without time cannot wait for. They are seen to afterwards, so that it
        // does not meet them again.
        let mut passed = Vec::new();
        let result = loop {
            let now = self.ticker.tick();
            let next = found.take().or_else(|| {
                let free = self.engine.may_barge();
                free.then(|| self.engine.take_idle(now)).flatten()
            });
            let Some(checkout) = next else { break Ok(None) };
            let checkout = self.prefer_off_standby(checkout, now);
            match self.validate(checkout, request.non_blocking, false) {
                Validated::Ready(checkout) => {
                    break Ok(Some(self.checkout_for(request, checkout, now)));
                }
                Validated::Evicted | Validated::Failed(_) => {
                    if self.executor.is_inline() && !request.non_blocking && request.is_over() {
                        break Ok(None);
                    }
                }
                Validated::NeedsCheck(checkout) if !request.non_blocking => break Err(checkout),
                Validated::NeedsCheck(checkout) => passed.push(checkout),
            }
        };
        for checkout in passed {
            self.check_in_background(checkout);
        }
        result
    }
}
