//! Leak reports: which checkouts exceed `leak_threshold`, and which of those have come back.
//!
//! A checkout records nothing here. The slots tell who holds what (see `holders`), and the collector reports
//! the checkouts that are too old. A check-in looks here only while a reported checkout is out.

use super::collector::NextWake;
use super::running::limit;
use super::{Shared, Which};
use crate::clock::ticks;
use crate::engine::{HeldCheckout, Now, Slot};
use crate::sync::outer::{AtomicUsize, Mutex};
use crate::{ConnectionManager, Holder, LeakAction, PoolEvent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub(super) struct Leaks {
    pub(super) threshold: u64,
    /// How long after its checkout a connection is interrupted, in ticks. None: never.
    interrupt_after: Option<u64>,
    /// The reported checkouts that are still out, by slot.
    reported: Mutex<BTreeMap<u32, Leak>>,
    /// The length of `reported`, for check-ins.
    count: AtomicUsize,
}

/// A reported checkout.
pub(super) struct Leak {
    /// The use count of the slot, which identifies the checkout.
    uses: u64,
    holder: Holder,
}

impl Leaks {
    pub(super) fn new(threshold: Duration, action: LeakAction) -> Self {
        Self {
            threshold: ticks(threshold),
            interrupt_after: match action {
                LeakAction::Interrupt { after } => limit(Some(after)),
                LeakAction::Report => None,
            },
            reported: Mutex::default(),
            count: AtomicUsize::new(0),
        }
    }

    /// Removes the report of the checkout that ends in this slot. None if it was not reported.
    pub(super) fn take_reported<T>(&self, slot: &Slot<T>) -> Option<Leak> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let mut reported = self.reported.lock();
        let leak = reported.remove(&slot.index());
        self.count.store(reported.len(), Relaxed);
        leak.filter(|leak| leak.uses == slot.uses())
    }

    /// Records a report. False if the checkout is reported already.
    fn record(&self, checkout: &HeldCheckout, holder: &Holder) -> bool {
        let mut reported = self.reported.lock();
        let leak = Leak {
            uses: checkout.uses,
            holder: holder.clone(),
        };
        let before = reported.insert(checkout.slot, leak);
        self.count.store(reported.len(), Relaxed);
        before.is_none_or(|before| before.uses != checkout.uses)
    }

    fn is_reported(&self, checkout: &HeldCheckout) -> bool {
        let reported = self.reported.lock();
        let leak = reported.get(&checkout.slot);
        leak.is_some_and(|leak| leak.uses == checkout.uses)
    }

    /// Removes the reports whose checkout is not among these.
    fn take_ended(&self, out: &[HeldCheckout]) -> Vec<Leak> {
        let mut reported = self.reported.lock();
        let is_out = |slot: &u32, leak: &Leak| {
            let same = |out: &HeldCheckout| (out.slot, out.uses) == (*slot, leak.uses);
            out.iter().any(same)
        };
        let ended: Vec<_> = reported
            .iter()
            .filter(|(slot, leak)| !is_out(slot, leak))
            .map(|(slot, _)| *slot)
            .collect();
        let ended = ended
            .iter()
            .filter_map(|slot| reported.remove(slot))
            .collect();
        self.count.store(reported.len(), Relaxed);
        ended
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Reports the checkouts that exceed `leak_threshold`, each once.
    pub(super) fn report_leaks(self: &Arc<Self>, now: Now, next: &mut NextWake) {
        let Some(leaks) = &self.leaks else { return };
        let out = self.engine.checkouts(&self.engine.lock());
        // A checkout that ended at the moment of its report found no report to end.
        for leak in leaks.take_ended(&out) {
            self.emit_leak_resolved(leak, now.tick);
        }
        for checkout in &out {
            let due = checkout.since.saturating_add(leaks.threshold);
            if due > now.tick {
                next.at_tick(due);
            } else if !leaks.is_reported(checkout) {
                let holder = self.holder(checkout, now.tick);
                if leaks.record(checkout, &holder) {
                    self.emit_leak(holder, false);
                }
            }
            let Some(after) = leaks.interrupt_after else {
                continue;
            };
            let due = checkout.since.saturating_add(after);
            if due > now.tick {
                next.at_tick(due);
            } else {
                self.interrupt(Which::One(checkout.connection));
            }
        }
    }

    /// Reports the end of a checkout that was reported.
    pub(super) fn emit_leak_resolved(&self, leak: Leak, now: u64) {
        let mut holder = leak.holder;
        let held = self
            .ticker
            .instant(now)
            .saturating_duration_since(holder.since);
        holder.held = held;
        self.emit_leak(holder, true);
    }

    fn emit_leak(&self, holder: Holder, resolved: bool) {
        let Holder {
            connection_id: id,
            file,
            line,
            thread,
            since,
            held,
        } = holder;
        self.emit(|pool| match resolved {
            false => PoolEvent::LeakSuspected {
                pool,
                id,
                file,
                line,
                thread,
                since,
                held,
            },
            true => PoolEvent::LeakResolved {
                pool,
                id,
                file,
                line,
                thread,
                since,
                held,
            },
        });
    }
}
