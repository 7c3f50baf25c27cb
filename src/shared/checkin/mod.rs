//! The way of a connection back: the guard's drop, discard and detach.

pub(in crate::shared) mod evict;

use crate::shared::pooled::{Flag, Freshness, Held, span};
use crate::shared::{PoolCheckout, PoolEngine, Shared};
use crate::clock::{coarse_now, real_now};
use crate::{ConnectionManager, EvictReason, PoolEvent};
use std::sync::Arc;

/// A check-in: the hooks, then back into the slot with one swap, unless somebody watches it.
#[inline]
pub(crate) fn check_in<M: ConnectionManager>(guarded: &mut Option<Held<M>>) {
    // Read first: what is loaded before the call would have to be saved across it.
    let now = coarse_now();
    let Some(mut held) = guarded.take() else {
        return;
    };
    let pooled = &mut *held.pooled;
    let panicked = std::thread::panicking();
    // At the tick of its checkout it had not expired, and a hold too short for the clock is not noted.
    if panicked || pooled.flags != 0 || !held.slot.is_in_use_since(now) {
        return check_in_slow(held, panicked);
    }
    if let Some(reason) = check_in_hooks(&pooled.shared, &mut pooled.connection) {
        return evict(held, reason, now);
    }
    if let Err(held) = put_back(held, now) {
        return_through_lock(held, now);
    }
}

/// Into the slot with one swap; Err if somebody waits for what comes back, or watches the slot.
#[inline]
fn put_back<M: ConnectionManager>(held: Held<M>, now: u64) -> Result<(), Held<M>> {
    let Held { slot, pooled } = held;
    let engine = &pooled.shared.engine;
    let put = match engine.has_waiters() && must_hand_off(engine) {
        true => Err(pooled),
        false => slot.try_return(pooled, now),
    };
    put.map_err(|pooled| Held { slot, pooled })
}

#[cold]
#[inline(never)]
fn must_hand_off<M: ConnectionManager>(engine: &PoolEngine<M>) -> bool {
    !engine.may_skip_handoff(real_now)
}

/// Asks the hooks whether this connection may go back.
#[inline]
fn check_in_hooks<M: ConnectionManager>(
    shared: &Shared<M>,
    connection: &mut M::Connection,
) -> Option<EvictReason> {
    match shared.call("has_broken", |manager| manager.has_broken(connection)) {
        Ok(false) => {}
        Ok(true) => return Some(EvictReason::Broken),
        Err(_) => return Some(EvictReason::Panicked),
    }
    // The error is dropped inside: its Drop is user code too.
    match shared.call("on_checkin", |manager| {
        let result = manager.on_checkin(connection);
        let logged = result.map_err(|error| shared.log_failed_hook("on_checkin", &error));
        logged.is_ok()
    }) {
        Ok(true) => None,
        Ok(false) => Some(EvictReason::HookFailed),
        Err(_) => Some(EvictReason::Panicked),
    }
}

#[cold]
#[inline(never)]
fn check_in_slow<M: ConnectionManager>(mut held: Held<M>, panicked: bool) {
    let pooled = &mut *held.pooled;
    let now = pooled.shared.ticker.tick();
    // A connection that a panic drops is not asked: nobody knows what state it is in.
    let reason = if panicked && !pooled.is(Flag::Panicking) {
        Some(EvictReason::Panicked)
    } else {
        check_in_hooks(&pooled.shared, &mut pooled.connection)
    };
    let spent = pooled.is(Flag::LastUse).then_some(EvictReason::MaxUses);
    let expired = (now >= pooled.expires).then_some(EvictReason::MaxLifetime);
    if let Some(reason) = reason.or(spent).or(expired) {
        return evict(held, reason, now);
    }
    pooled.flags &= Flag::LASTING;
    // Only where it must outlive the connection's return: two threads must not meet at its count.
    let inline = pooled.shared.executor.is_inline();
    let sweeping = inline.then(|| Arc::clone(&pooled.shared));
    held.pooled.shared.record_check_in(&held, now);
    if let Err(held) = put_back(held, now) {
        return return_through_lock(held, now);
    }
    if let Some(shared) = sweeping {
        shared.sweep_some();
    }
}

#[cold]
#[inline(never)]
fn evict<M: ConnectionManager>(held: Held<M>, reason: EvictReason, now: u64) {
    let shared = Arc::clone(&held.pooled.shared);
    shared.record_check_in(&held, now);
    if reason == EvictReason::Broken {
        shared.log_broken(held.pooled.id);
        shared.record_failure();
    }
    shared.evict(held.into_checkout(), reason);
}

/// Somebody watches the slot: a waiter, or one who closed, cleared or shrank the pool.
#[cold]
#[inline(never)]
fn return_through_lock<M: ConnectionManager>(held: Held<M>, now: u64) {
    let shared = Arc::clone(&held.pooled.shared);
    held.slot.remember();
    shared.return_through_lock(held.into_checkout(), now);
}

impl<M: ConnectionManager> Shared<M> {
    /// Brings a connection back through the lock, idle since this tick.
    pub(in crate::shared) fn return_through_lock(
        self: &Arc<Self>,
        mut checkout: PoolCheckout<M>,
        idle_since: u64,
    ) {
        checkout.entry.freshness = Freshness::Not;
        self.return_connection(checkout, idle_since, false);
        if self.executor.is_inline() {
            self.sweep_some();
        }
    }

    /// Brings back a connection that was only looked at: it has been idle as long as before.
    pub(in crate::shared) fn put_back(self: &Arc<Self>, checkout: PoolCheckout<M>) {
        let idle_since = checkout.idle_since;
        self.return_through_lock(checkout, idle_since);
    }

    /// The end of a checkout, whatever becomes of the connection.
    fn record_check_in(&self, held: &Held<M>, now: u64) {
        self.record_use_end(now);
        let span = span(held.slot.in_use_since(), now);
        if !span.is_zero() {
            // Holds shorter than the clock can tell are counted by the slots.
            self.meter.held.record(span);
        }
        let reported = self.leaks.as_ref();
        let reported = reported.and_then(|leaks| leaks.forget(held.slot.index()));
        let id = held.pooled.id;
        self.emit_as(&held.pooled.name, |pool| PoolEvent::CheckedIn {
            pool,
            id,
            held: span,
        });
        if let Some(record) = reported {
            self.emit_leak(&record, now, true);
        }
    }

    /// This one is bad: it is evicted without asking its hooks.
    pub(crate) fn discard(self: &Arc<Self>, held: Held<M>) {
        self.record_check_in(&held, self.ticker.tick());
        self.evict(held.into_checkout(), EvictReason::Discarded);
    }

    /// This one is the caller's now: its slot is free, dispose is not called.
    pub(crate) fn detach(self: &Arc<Self>, held: Held<M>) -> M::Connection {
        self.record_check_in(&held, self.ticker.tick());
        let (pooled, actions) = self.engine.detach(held.into_checkout(), real_now());
        self.run(actions);
        self.connection_closed();
        self.fail_all_in_outage();
        self.wake_collector();
        pooled.connection
    }
}
