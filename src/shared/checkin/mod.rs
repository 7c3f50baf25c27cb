//! Check-in: the guard's drop, discard and detach.

pub(in crate::shared) mod evict;
pub(in crate::shared) mod reset;

use crate::clock::{coarse_now, real_now};
use crate::shared::pooled::{Flag, Freshness, Held, PooledConnection, span};
use crate::shared::{PoolCheckout, PoolEngine, PoolReturnResult, Shared};
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::sync::Arc;
use std::time::Duration;

/// Checks a connection in: calls the hooks and stores the connection in its slot with one swap, unless the
/// slot is marked.
#[inline]
pub(crate) fn check_in<M: ConnectionManager>(guarded: &mut Option<Held<M>>) {
    // Read the clock first: values loaded before the call would have to be saved across the call.
    let now = coarse_now();
    let Some(mut held) = guarded.take() else {
        return;
    };
    let pooled = &mut *held.pooled;
    let panicked = std::thread::panicking();
    // At the tick of its checkout the connection had not expired, and a hold time too short for the clock is
    // not recorded.
    let flags = pooled.flags;
    if panicked || flags & !(Flag::Observed as u8) != 0 || !held.slot.is_in_use_since(now) {
        return check_in_slow(held, panicked, now);
    }
    match check_in_hooks(&pooled.shared, &mut pooled.connection) {
        Next::Keep => {}
        Next::Reset => return reset_held(held, now),
        Next::Evict(reason) => return evict_held(held, reason, now),
    }
    if flags != 0 {
        pooled.flags = 0;
        observe_check_in(pooled, Duration::ZERO);
    }
    if let Err(held) = try_return(held, now) {
        return_held(held, now);
    }
}

/// Reports the check-in to the observer. False if the pool has none.
#[inline]
fn observe_check_in<M: ConnectionManager>(
    pooled: &mut PooledConnection<M>,
    held: Duration,
) -> bool {
    let Some(events) = &mut pooled.events else {
        return false;
    };
    pooled.shared.observe(events.checked_in(held));
    true
}

/// Stores the connection in its slot with one swap. Err if the connection must be handed off or the slot is
/// marked.
#[inline]
fn try_return<M: ConnectionManager>(held: Held<M>, now: u64) -> Result<(), Held<M>> {
    let Held { slot, pooled } = held;
    let engine = &pooled.shared.engine;
    let stored = match engine.has_waiters() && must_hand_off(engine) {
        true => Err(pooled),
        false => slot.try_return(pooled, now),
    };
    stored.map_err(|pooled| Held { slot, pooled })
}

/// Returns whether a check-in must hand its connection off instead of skipping the waiters.
#[cold]
#[inline(never)]
fn must_hand_off<M: ConnectionManager>(engine: &PoolEngine<M>) -> bool {
    !engine.may_skip_handoff(real_now)
}

/// What happens to a connection after its check-in hooks.
enum Next {
    Keep,
    Reset,
    Evict(EvictReason),
}

/// Calls the check-in hooks.
#[inline]
fn check_in_hooks<M: ConnectionManager>(
    shared: &Shared<M>,
    connection: &mut M::Connection,
) -> Next {
    match shared.call("has_broken", |manager| manager.has_broken(connection)) {
        Ok(false) => {}
        Ok(true) => return Next::Evict(EvictReason::Broken),
        Err(_) => return Next::Evict(EvictReason::Panicked),
    }
    // Drop the error inside of `call`: its Drop is user code too.
    match shared.call("on_checkin", |manager| {
        let result = manager.on_checkin(connection);
        let logged = result.map_err(|error| shared.log_failed_hook("on_checkin", &error));
        logged.is_ok()
    }) {
        Ok(true) => {}
        Ok(false) => return Next::Evict(EvictReason::HookFailed),
        Err(_) => return Next::Evict(EvictReason::Panicked),
    }
    match shared.call("needs_reset", |manager| manager.needs_reset(connection)) {
        Ok(false) => Next::Keep,
        Ok(true) => Next::Reset,
        Err(_) => Next::Evict(EvictReason::Panicked),
    }
}

/// Checks in a connection whose check-in must record, report or decide something.
#[cold]
#[inline(never)]
fn check_in_slow<M: ConnectionManager>(mut held: Held<M>, panicked: bool, now: u64) {
    let pooled = &mut *held.pooled;
    let now = match pooled.is(Flag::CustomClock) {
        true => pooled.shared.ticker.tick(),
        false => now,
    };
    // A panic that drops a guard leaves its connection in an unknown state, so no hook is called.
    let next = if panicked && !pooled.is(Flag::Panicking) {
        Next::Evict(EvictReason::Panicked)
    } else {
        check_in_hooks(&pooled.shared, &mut pooled.connection)
    };
    let (reason, must_reset) = match next {
        Next::Evict(reason) => (Some(reason), false),
        Next::Keep => (None, false),
        Next::Reset => (None, true),
    };
    let used_up = pooled.is(Flag::LastUse).then_some(EvictReason::MaxUses);
    let expired = (now >= pooled.expires).then_some(EvictReason::MaxLifetime);
    if let Some(reason) = reason.or(used_up).or(expired) {
        return evict_held(held, reason, now);
    }
    if must_reset {
        return reset_held(held, now);
    }
    // Clone the Arc only where it must outlive the return: its count would be contended between threads.
    let inline = pooled.shared.executor.is_inline();
    let sweeping = inline.then(|| Arc::clone(&pooled.shared));
    record_check_in(&mut held, now);
    held.pooled.flags &= Flag::LASTING;
    if let Err(held) = try_return(held, now) {
        return return_held(held, now);
    }
    if let Some(shared) = sweeping {
        shared.sweep_some();
    }
}

/// Evicts a connection at its check-in.
#[cold]
#[inline(never)]
fn evict_held<M: ConnectionManager>(mut held: Held<M>, reason: EvictReason, now: u64) {
    let shared = Arc::clone(&held.pooled.shared);
    record_check_in(&mut held, now);
    let reason = shared.reason_of(&held, reason);
    if reason == EvictReason::Broken {
        shared.log_broken(held.pooled.id);
        shared.record_failure();
    }
    shared.evict(held.into_checkout(), reason);
}

/// Begins the reset of a connection at its check-in.
#[cold]
#[inline(never)]
fn reset_held<M: ConnectionManager>(mut held: Held<M>, now: u64) {
    let shared = Arc::clone(&held.pooled.shared);
    record_check_in(&mut held, now);
    held.pooled.flags &= Flag::LASTING;
    held.slot.remember();
    shared.reset(held.into_checkout());
}

/// Returns a connection whose slot was marked: by a waiter, or because the pool was closed, cleared or
/// shrunk.
#[cold]
#[inline(never)]
fn return_held<M: ConnectionManager>(held: Held<M>, now: u64) {
    let shared = Arc::clone(&held.pooled.shared);
    // The connection may go to a waiter, and the check for that waiter may take long.
    held.slot.clear_holder();
    held.slot.remember();
    shared.return_used(held.into_checkout(), now);
}

/// Records the end of a checkout, whether the connection is kept or not.
fn record_check_in<M: ConnectionManager>(held: &mut Held<M>, now: u64) {
    let span = span(held.slot.in_use_since(), now);
    let pooled = &mut *held.pooled;
    pooled.shared.record_use_end(now);
    if !span.is_zero() {
        // The slots count the hold times that are too short for the clock.
        pooled.shared.meter.held.record(span);
        pooled.shared.learned.checkout_took(span);
    }
    // The checkout is over before the reports of its end, which user code may answer with a sweep.
    held.slot.clear_holder();
    let leaks = pooled.shared.leaks.as_ref();
    let leak = leaks.and_then(|leaks| leaks.take(held.slot));
    if !observe_check_in(pooled, span) && pooled.is(Flag::Reported) {
        let (id, held) = (pooled.id, span);
        let event = |pool| PoolEvent::CheckedIn { pool, id, held };
        pooled.shared.emit(event);
    }
    if let Some(leak) = leak {
        pooled.shared.emit_leak_resolved(leak, now);
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Returns the reason to evict a connection at its check-in: an interrupt explains every other reason.
    fn reason_of(&self, held: &Held<M>, reason: EvictReason) -> EvictReason {
        let interruptible = held.pooled.is_interruptible;
        match interruptible && self.engine.is_interrupted(held.slot.index()) {
            true => EvictReason::Interrupted,
            false => reason,
        }
    }

    /// Returns a connection through the lock.
    ///
    /// `fresh` marks a connection that was just created, checked or added. A fresh connection goes to the
    /// head waiter even if the head is not due.
    pub(in crate::shared) fn return_connection(
        self: &Arc<Self>,
        checkout: PoolCheckout<M>,
        idle_since: u64,
        fresh: bool,
    ) {
        let generation = checkout.entry.generation;
        let engine = &self.engine;
        self.run_returned(engine.return_entry(checkout, idle_since, generation, fresh, real_now()));
    }

    /// Runs the actions of a return, or evicts the connection that the engine rejected.
    pub(in crate::shared) fn run_returned(self: &Arc<Self>, returned: PoolReturnResult<M>) {
        match returned {
            Ok(actions) => self.run(actions),
            Err((evicted, reason)) => self.evict_rejected(evicted, reason),
        }
    }

    /// Returns a used connection through the lock, idle since this tick.
    pub(in crate::shared) fn return_used(
        self: &Arc<Self>,
        mut checkout: PoolCheckout<M>,
        idle_since: u64,
    ) {
        checkout.entry.freshness = Freshness::Not;
        self.renew_expiry(&mut checkout);
        self.return_connection(checkout, idle_since, false);
        if self.executor.is_inline() {
            self.sweep_some();
        }
    }

    /// Returns a connection that was taken but not used. Its idle time goes on.
    pub(crate) fn return_unused(self: &Arc<Self>, checkout: PoolCheckout<M>) {
        let idle_since = checkout.idle_since;
        self.return_used(checkout, idle_since);
    }

    /// Evicts a connection that its caller reports as unusable. No check-in hook is called.
    pub(crate) fn discard(self: &Arc<Self>, mut held: Held<M>) {
        record_check_in(&mut held, self.ticker.tick());
        let reason = self.reason_of(&held, EvictReason::Discarded);
        self.evict(held.into_checkout(), reason);
    }

    /// Gives a connection to the caller for good. Its slot becomes free, and `dispose` is not called.
    pub(crate) fn detach(self: &Arc<Self>, mut held: Held<M>) -> M::Connection {
        record_check_in(&mut held, self.ticker.tick());
        let (pooled, actions) = self.engine.detach(held.into_checkout(), real_now());
        self.run(actions);
        if pooled.is_interruptible {
            self.interrupts.forget(pooled.id);
        }
        self.connection_closed();
        self.ready.note(false);
        self.wake_collector();
        pooled.connection
    }
}
