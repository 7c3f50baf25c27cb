//! Checkout: the fast path, the instrumented path, and the entry to the slow path.

pub(in crate::shared) mod outcome;
pub(in crate::shared) mod request;
pub(in crate::shared) mod slow;
pub(in crate::shared) mod task;
pub(in crate::shared) mod validate;

use crate::clock::real_now;
use crate::engine::{Caller, Slot};
use crate::error::{Cause, GetError};
use crate::foreign::Caught;
use crate::shared::checkout::request::Request;
use crate::shared::checkout::slow::QueuedGet;
use crate::shared::checkout::validate::{InPlace, Validated};
use crate::shared::hooks::is_traced;
use crate::shared::pooled::{Flag, PooledConnection};
use crate::shared::{Entry, PoolCheckout, PoolEngine, PoolSlotCache, Shared};
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

pub(crate) use request::GetTimeout;
pub(crate) use task::TaskGet;

pub(in crate::shared) type GetResult<M> =
    Result<PoolCheckout<M>, GetError<<M as ConnectionManager>::Error>>;

impl<M: ConnectionManager> Shared<M> {
    /// Performs a checkout on the fast path: takes the connection in the slot that this thread used last,
    /// with one swap and no lock.
    ///
    /// `TRY_GET` is true for `try_get`. Err carries the connection that was taken but must be validated, if
    /// there is one.
    #[allow(
        clippy::inline_always,
        reason = "three words returned through memory cost 8 of 28 ns: the caller copies two of them at once, \
                  and the processor cannot forward two stores to one load"
    )]
    #[inline(always)]
    pub(crate) fn get_fast<const TRY_GET: bool>(
        self: &Arc<Self>,
        engine: &PoolEngine<M>,
        slot_cache: PoolSlotCache<M>,
        at: &'static Location<'static>,
    ) -> Result<PoolCheckout<M>, Option<PoolCheckout<M>>> {
        if !engine.fast_path_open() || is_traced() {
            return Err(None);
        }
        let now = self.ticker.tick();
        let last_used = slot_cache
            .last_used_slot()
            .or_else(|| engine.table.last_used_slot());
        let checkout = last_used.and_then(|slot| slot.take(now)).ok_or(None)?;
        Self::finish_fast(checkout, TRY_GET, at, now)
    }

    /// Performs the first half of a fast checkout and calls no user code, not even the clock.
    ///
    /// The caller may therefore hold a lock of its own. [`finish_fast`](Self::finish_fast) is the second
    /// half.
    #[inline]
    pub(crate) fn try_fast(&self, now: u64) -> Option<PoolCheckout<M>> {
        if !self.may_use_fast_path() {
            return None;
        }
        let last_used = self.engine.table.last_used_slot();
        // Idle connections gather in the lowest slots, so the first slot is the best guess without a last
        // used slot.
        let first = || self.engine.table.get(0).and_then(|slot| slot.take(now));
        last_used.and_then(|slot| slot.take(now)).or_else(first)
    }

    /// Returns whether a checkout may use the fast path.
    #[inline]
    pub(crate) fn may_use_fast_path(&self) -> bool {
        self.engine.fast_path_open() && !is_traced()
    }

    /// Performs the second half of a fast checkout: validates the connection if a check that never blocks is
    /// all that the connection needs, calls `on_checkout` and counts.
    ///
    /// Err carries the connection if it needs more. Err without a connection: it failed and was evicted.
    #[allow(
        clippy::inline_always,
        reason = "part of the fast path, see `get_fast`"
    )]
    #[inline(always)]
    pub(crate) fn finish_fast(
        mut checkout: PoolCheckout<M>,
        is_try_get: bool,
        at: &'static Location<'static>,
        now: u64,
    ) -> Result<PoolCheckout<M>, Option<PoolCheckout<M>>> {
        let pooled = &mut *checkout.entry;
        let (slot, idle_since) = (checkout.slot, checkout.idle_since);
        // The difference wraps if another thread returned the connection at a later tick. The connection is
        // then validated.
        let is_fresh = now.wrapping_sub(idle_since) < pooled.shared.running.fresh_for.load(Relaxed);
        if !(is_fresh && now < pooled.expires) {
            match Self::check_in_place(slot, pooled, idle_since, now) {
                InPlace::Passed => {}
                InPlace::NeedsValidation => return Err(Some(checkout)),
                InPlace::Failed(reason) => {
                    evict_own(checkout, reason);
                    return Err(None);
                }
            }
        }
        match pooled.shared.call_on_checkout(&mut pooled.connection) {
            Ok(()) => Ok(Self::count_checkout(checkout, is_try_get, at, || {
                Duration::ZERO
            })),
            Err((reason, _)) => {
                evict_own(checkout, reason);
                Err(None)
            }
        }
    }

    /// Calls `on_checkout`, the last step before a connection is the caller's.
    ///
    /// Err carries the reason to evict the connection and the cause of the failure.
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

    /// Counts the checkout. From this point on the connection belongs to the caller.
    #[inline]
    fn count_checkout(
        mut checkout: PoolCheckout<M>,
        is_try_get: bool,
        at: &'static Location<'static>,
        waited: impl FnOnce() -> Duration,
    ) -> PoolCheckout<M> {
        let caller = Caller::at(at);
        match is_try_get {
            true => checkout.count_try_get(caller),
            false => checkout.count_get(caller),
        }
        checkout.entry.uses_until_event -= 1;
        if checkout.entry.uses_until_event == 0 {
            Self::record_notable_use(checkout.slot, &mut checkout.entry, waited());
        }
        if std::thread::panicking() {
            checkout.entry.mark(Flag::Panicking);
        }
        checkout
    }

    /// Records the first use of a connection, marks its last, and reports each use to the observer.
    #[inline(never)]
    fn record_notable_use(
        slot: &Slot<Entry<M>>,
        pooled: &mut PooledConnection<M>,
        waited: Duration,
    ) {
        let uses = slot.uses() - pooled.uses_before;
        if uses == 1 {
            let shared = Arc::clone(&pooled.shared);
            shared.meter.first_uses.fetch_add(1, Relaxed);
            shared.reset_backoff(None);
            shared.renew_min_idle();
        }
        let max_uses = pooled.shared.config.max_uses;
        let left = max_uses.map(|max| max.saturating_sub(uses));
        if left == Some(0) {
            pooled.mark(Flag::LastUse);
        }
        pooled.uses_until_event = left.filter(|left| *left > 0).unwrap_or(u64::MAX);
        if let Some(events) = &mut pooled.events {
            pooled.uses_until_event = 1;
            pooled.flags |= Flag::Observed as u8;
            pooled.shared.observe(events.checked_out(waited));
        }
    }

    /// Checks out the connection that was found for this request.
    pub(in crate::shared) fn checkout_for(
        self: &Arc<Self>,
        request: &Request,
        checkout: PoolCheckout<M>,
        now: u64,
    ) -> PoolCheckout<M> {
        // A connection that was handed off without an idle time still bears the tick of its last checkout.
        checkout.set_in_use_since(now);
        let waited = || real_now().saturating_duration_since(request.since);
        let mut checkout = Self::count_checkout(checkout, request.is_try_get, request.at, waited);
        checkout.slot.remember();
        if self.executor.is_inline() || is_traced() {
            // Decide once per checkout, so that a reported checkout also gets a reported check-in.
            checkout.entry.mark(Flag::Reported);
        }
        if self.observer.is_none() && is_traced() {
            let id = checkout.entry.id;
            let waited = waited();
            self.emit(|pool| PoolEvent::CheckedOut { pool, id, waited });
        }
        if self.engine.has_wake_collector() {
            self.checkout_wakes_collector();
        }
        checkout
    }

    pub(crate) fn get_slow(
        self: &Arc<Self>,
        timeout: GetTimeout,
        at: &'static Location<'static>,
        found: Option<PoolCheckout<M>>,
    ) -> GetResult<M> {
        let mut get = self.queued_get(timeout, at, false);
        let got = self.get_queued(&mut get, found);
        self.end_get(&get.request, &got);
        got
    }

    /// Returns a request that begins now.
    pub(in crate::shared) fn queued_get(
        &self,
        timeout: GetTimeout,
        at: &'static Location<'static>,
        is_task: bool,
    ) -> QueuedGet<M> {
        let now = real_now();
        let (since, deadline) = timeout.from(now);
        let request = Request {
            since,
            deadline,
            // A pool without threads has nobody to serve a task that waits.
            non_blocking: deadline.is_some_and(|deadline| deadline <= now)
                || is_task && self.executor.is_inline(),
            is_task,
            is_try_get: false,
            has_waited: Cell::new(false),
            at,
        };
        let waiter = None;
        QueuedGet { request, waiter }
    }

    /// Counts a request that has ended.
    pub(in crate::shared) fn end_get(self: &Arc<Self>, request: &Request, got: &GetResult<M>) {
        // A pool of a keyed pool may just have been removed. Its caller retries with the key's next pool,
        // which counts the get.
        let gone = self.group.is_some() && matches!(got, Err(GetError::Closed { .. }));
        if !gone {
            self.count_get(request, got.is_err());
        }
        if self.executor.is_inline() {
            self.sweep_some();
        }
    }

    pub(in crate::shared) fn count_get(&self, request: &Request, failed: bool) {
        if failed {
            self.meter.failed.fetch_add(1, Relaxed);
        }
        if request.has_waited.get() {
            // The get was counted before, so a reader that sees this increment also sees the get.
            self.meter.gets_waited.fetch_add(1, Release);
        }
    }

    /// Returns an idle connection or None. Never waits and never creates.
    pub(crate) fn try_get_slow(
        self: &Arc<Self>,
        at: &'static Location<'static>,
        found: Option<PoolCheckout<M>>,
    ) -> Option<PoolCheckout<M>> {
        let since = real_now();
        let request = Request {
            since,
            deadline: Some(since),
            non_blocking: true,
            is_task: false,
            is_try_get: true,
            has_waited: Cell::new(false),
            at,
        };
        self.try_idle(&request, found).ok()?
    }

    /// Looks for an idle connection without queueing. Err carries a connection that needs a check which may
    /// block.
    pub(in crate::shared) fn try_idle(
        self: &Arc<Self>,
        request: &Request,
        mut found: Option<PoolCheckout<M>>,
    ) -> Result<Option<PoolCheckout<M>>, PoolCheckout<M>> {
        // Connections whose checks a non-blocking request cannot wait for. Their checks start after the
        // search, so that the search does not find them again.
        let mut unchecked = Vec::new();
        let result = loop {
            let now = self.ticker.tick();
            let next = found.take().or_else(|| {
                let may_barge = self.engine.may_barge();
                may_barge.then(|| self.engine.take_idle(now)).flatten()
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
                Validated::NeedsCheck(checkout) => unchecked.push(checkout),
            }
        };
        for checkout in unchecked {
            self.check_in_background(checkout);
        }
        result
    }
}

/// Evicts a connection from its own pool.
#[cold]
#[inline(never)]
fn evict_own<M: ConnectionManager>(checkout: PoolCheckout<M>, reason: EvictReason) {
    let shared = Arc::clone(&checkout.entry.shared);
    shared.evict(checkout, reason);
}
