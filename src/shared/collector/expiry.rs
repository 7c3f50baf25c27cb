//! Expiry: the part of a pass that evicts the connections past their lifetime or idle timeout.

use crate::engine::{Now, Slot, Stamp};
use crate::shared::collector::{SweepActions, SweepState};
use crate::shared::pooled::Freshness;
use crate::shared::{Entry, PoolCheckout, Shared};
use crate::{ConnectionManager, EvictReason};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl<M: ConnectionManager> Shared<M> {
    /// Counts the idle connections that have not expired, up to `enough`.
    pub(in crate::shared) fn live_idle(&self, now: u64, enough: usize) -> usize {
        let live = |slot: &&'static Slot<_>| {
            matches!(slot.stamp(), Stamp::Idle(_)) && slot.expires() > now
        };
        self.engine.table.all().filter(live).take(enough).count()
    }

    /// Collects the connections past their idle timeout or lifetime, and starts replacements for min_idle.
    ///
    /// `coming` is the number of connections that are idle or will be after a create or a check.
    pub(in crate::shared) fn evict_due(
        self: &Arc<Self>,
        sweep_state: &mut SweepState,
        now: Now,
        coming: &mut usize,
        found: &mut SweepActions<M>,
    ) {
        let (min_idle, keepalive) = (self.min_idle.load(Relaxed), self.keepalive());
        // The idle connections that have not expired. The loop adds those whose replacement is under way.
        let mut live = self.live_idle(now.tick, usize::MAX);
        let slots: Vec<_> = self.engine.table.all().collect();
        // Visit the highest slot first, so that surplus connections idle out from the top and the lowest
        // slots stay in use.
        for slot in slots.into_iter().rev() {
            let stamp = slot.stamp();
            let next = &mut found.next;
            if slot.expires() > now.tick && stamp != Stamp::Vacant && slot.expires() < u64::MAX >> 2
            {
                next.at_tick(slot.expires());
            }
            let Stamp::Idle(since) = stamp else {
                if let Stamp::InUse(_) = stamp {
                    let ages = [self.running.idle(), keepalive].into_iter().flatten();
                    ages.for_each(|age| next.at_tick(now.tick.saturating_add(age)));
                }
                continue;
            };
            match self.running.verdict(slot.expires(), since, now.tick) {
                None => {
                    let idles_out = self.running.idle().map(|limit| since.saturating_add(limit));
                    idles_out
                        .into_iter()
                        .for_each(|last| next.at_tick(last + 1));
                }
                Some(EvictReason::IdleTimeout) => {
                    if live > min_idle
                        && self.evict_aged(slot, now, EvictReason::IdleTimeout, found)
                    {
                        live -= 1;
                    }
                }
                Some(reason) => {
                    if live < min_idle
                        && self.replace_expired(sweep_state, slot.index(), coming, now.real, found)
                    {
                        live += 1;
                    } else if !sweep_state.replacing.contains_key(&slot.index()) {
                        self.evict_aged(slot, now, reason, found);
                    }
                }
            }
        }
    }

    /// Evicts the connection in this slot if `reason` is its verdict under the lock too. True if so.
    pub(in crate::shared) fn evict_aged(
        self: &Arc<Self>,
        slot: &'static Slot<Entry<M>>,
        now: Now,
        reason: EvictReason,
        found: &mut SweepActions<M>,
    ) -> bool {
        self.take_if(slot, now, found, |checkout| {
            let verdict = self
                .running
                .verdict(slot.expires(), checkout.idle_since, now.tick);
            verdict.filter(|verdict| *verdict == reason)
        })
    }

    /// Takes a connection out of its slot and evicts it if `due` names a reason.
    ///
    /// True if the connection will be evicted. The decision happens under the lock, so that a connection
    /// which is returned at once was never missing from the counts.
    pub(in crate::shared) fn take_if(
        self: &Arc<Self>,
        slot: &'static Slot<Entry<M>>,
        now: Now,
        found: &mut SweepActions<M>,
        due: impl FnOnce(&mut PoolCheckout<M>) -> Option<EvictReason>,
    ) -> bool {
        let engine = &self.engine;
        let mut state = engine.lock();
        let Some(mut checkout) = slot.take(now.tick) else {
            return false;
        };
        if let Some(reason) = due(&mut checkout) {
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

    /// Evicts the expired connections at the end of a sweep in a pool without a collector.
    ///
    /// They stayed because max_creating let no replacement start. By now the replacement has opened or
    /// failed.
    pub(in crate::shared) fn evict_expired(self: &Arc<Self>, now: Now) -> usize {
        let mut found = SweepActions::new();
        {
            let _one_pass_at_a_time = self.sweep_state.lock();
            for slot in self.engine.table.all() {
                if matches!(slot.stamp(), Stamp::Idle(_)) && slot.expires() <= now.tick {
                    self.evict_aged(slot, now, EvictReason::MaxLifetime, &mut found);
                }
            }
        }
        self.run_sweep_actions(found)
    }

    /// Runs the evictions and the returns of a pass, and returns how many connections were evicted.
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
}
