//! Leak reports: which checkouts exceed `leak_threshold`, and which of those have come back.
//!
//! A checkout records nothing here. The slots tell who holds what (see `holders`), and the collector reports
//! the checkouts that are too old. A check-in looks here only while a reported checkout is out.

use super::collector::NextWake;
use super::running::limit;
use super::{Shared, Which};
use crate::clock::ticks;
use crate::engine::{HeldCheckout, Now, Slot, Stamp, Table};
use crate::sync::outer::{AtomicUsize, Mutex};
use crate::{ConnectionManager, Holder, LeakAction, PoolEvent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::fence;
use std::time::Duration;

pub(super) struct Leaks {
    pub(super) threshold: u64,
    /// How long after its checkout a connection is interrupted, in ticks. None: never.
    interrupt_after: Option<u64>,
    /// The reported checkouts that are still out.
    reported: Mutex<BTreeMap<CheckoutId, Leak>>,
    /// The length of `reported`, for check-ins.
    count: AtomicUsize,
}

/// The slot of a checkout, and the use count of the slot.
type CheckoutId = (u32, u64);

/// A reported checkout.
pub(super) struct Leak {
    holder: Holder,
    report: Report,
}

/// How far the report of a checkout is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Report {
    UnderWay,
    Made,
    /// The checkout has ended while the report was under way.
    Outdated,
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

    /// Removes the leak of the checkout that ends in this slot, whose holder is cleared already.
    ///
    /// None if the checkout was not reported. Also None while the report is under way: the thread that makes
    /// the report then reports the end too.
    pub(super) fn take<T>(&self, slot: &Slot<T>) -> Option<Leak> {
        // Either this thread reads the count that `begin` has stored, or `begin` reads the cleared holder.
        fence(SeqCst);
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        self.take_if((slot.index(), slot.uses()), Report::Made, Report::Outdated)
    }

    /// Removes a leak whose report is `now` so far. Otherwise notes that the report is `or` so far.
    fn take_if(&self, id: CheckoutId, now: Report, or: Report) -> Option<Leak> {
        let mut leaks = self.reported.lock();
        let leak = leaks.get_mut(&id)?;
        if leak.report != now {
            leak.report = or;
            return None;
        }
        let leak = leaks.remove(&id);
        self.count.store(leaks.len(), Relaxed);
        leak
    }

    /// Begins the report of a checkout. None if the checkout is reported already or has ended.
    fn begin<T>(
        &self,
        slot: &Slot<T>,
        checkout: &HeldCheckout,
        holder: impl FnOnce() -> Holder,
    ) -> Option<Holder> {
        let id = (checkout.slot, checkout.uses);
        let mut leaks = self.reported.lock();
        if leaks.contains_key(&id) {
            return None;
        }
        let holder = holder();
        let leak = Leak {
            holder: holder.clone(),
            report: Report::UnderWay,
        };
        leaks.insert(id, leak);
        self.count.store(leaks.len(), Relaxed);
        // See `take`.
        fence(SeqCst);
        let is_out = slot.holder() == Some(checkout.caller) && slot.uses() == checkout.uses;
        if !is_out {
            leaks.remove(&id);
            self.count.store(leaks.len(), Relaxed);
        }
        is_out.then_some(holder)
    }

    /// Notes that the report is made. Returns the leak if the checkout has ended meanwhile.
    fn end(&self, checkout: &HeldCheckout) -> Option<Leak> {
        let id = (checkout.slot, checkout.uses);
        self.take_if(id, Report::Outdated, Report::Made)
    }

    /// Removes a reported leak whose checkout has ended without a look at the leaks: its check-in has read the
    /// clock before the checkout became too old.
    fn take_missed<T: Send + 'static>(&self, table: &Table<T>) -> Option<Leak> {
        let has_ended = |(index, uses): CheckoutId| {
            let is_in_use =
                |slot: &Slot<T>| matches!(slot.stamp(), Stamp::InUse(_)) && slot.uses() == uses;
            !table.get(index).is_some_and(is_in_use)
        };
        let made = |(id, leak): (&CheckoutId, &Leak)| (leak.report == Report::Made).then_some(*id);
        let ended = self
            .reported
            .lock()
            .iter()
            .filter_map(made)
            .find(|id| has_ended(*id));
        self.take_if(ended?, Report::Made, Report::Outdated)
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Reports the checkouts that exceed `leak_threshold`, each once.
    pub(super) fn report_leaks(self: &Arc<Self>, now: Now, next: &mut NextWake) {
        let Some(leaks) = &self.leaks else { return };
        while let Some(leak) = leaks.take_missed(&self.engine.table) {
            self.emit_leak_resolved(leak, now.tick);
        }
        let out = self.engine.checkouts(&self.engine.lock());
        for checkout in &out {
            let due = checkout.since.saturating_add(leaks.threshold);
            if due > now.tick {
                next.at_tick(due);
                continue;
            }
            self.report_leak(leaks, checkout, now.tick);
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

    /// Reports a checkout, unless it is reported already.
    fn report_leak(&self, leaks: &Leaks, checkout: &HeldCheckout, now: u64) {
        let Some(slot) = self.engine.table.get(checkout.slot) else {
            return;
        };
        let Some(holder) = leaks.begin(slot, checkout, || self.holder(checkout, now)) else {
            return;
        };
        self.emit_leak(holder, false);
        if let Some(leak) = leaks.end(checkout) {
            self.emit_leak_resolved(leak, self.ticker.tick());
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
