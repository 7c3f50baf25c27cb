//! An engine's side of a [`Total`](super::Total): tokens for its slots, room made for others.

use super::{Core, Effects, Engine, Moment, Retired, Slot, Stamp};
use std::sync::Arc;
use std::time::Instant;

/// What a create is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Somebody who waits.
    Waiter,
    /// Nobody yet.
    Spare,
}

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// Another slot may be taken, as far as the counts go.
    pub(crate) fn has_room(&self, core: &Core<T, F>) -> bool {
        core.has_room() && self.share.as_ref().is_none_or(super::Share::has_room)
    }

    pub(super) fn take_token(&self, need: Need) -> bool {
        let share = self.share.as_ref();
        share.is_none_or(|share| share.take(need == Need::Waiter))
    }

    pub(super) fn note_leaving(&self, job: u64, since: Instant) {
        if let Some(share) = &self.share {
            share.note_leaving(job, since);
        }
    }

    /// A slot is free; `job`: what emptied it, if one did. The caller settles.
    pub(super) fn free_slot(&self, core: &mut Core<T, F>, slot: u32, job: u64) {
        core.vacate(slot);
        if let Some(share) = &self.share {
            core.elsewhere.extend(share.release(job));
        }
    }

    /// Ends a create that made nothing; false if it was abandoned before.
    pub(super) fn release_create(&self, core: &mut Core<T, F>, job: u64) -> bool {
        let Some(ended) = core.end(job) else {
            core.abandoned -= 1;
            return false;
        };
        self.free_slot(core, ended.slot, job);
        true
    }

    /// Tells the total what is lacking here; true if there is a token after all.
    pub(super) fn tell_total(
        &self,
        core: &mut Core<T, F>,
        now: Instant,
        effects: &mut Effects<T, F>,
    ) -> bool {
        let Some(share) = &self.share else {
            return false;
        };
        let (lacking, since) = self.lacking(core, now);
        effects.elsewhere.append(&mut core.elsewhere);
        let told = share.tell(lacking, since, now, &mut effects.elsewhere);
        effects.lacks_room |= told.lacks_room;
        told.again
    }

    /// How many creates could start but for the total, and since when the first waiter that they would
    /// be for has waited.
    fn lacking(&self, core: &Core<T, F>, now: Instant) -> (usize, Option<Instant>) {
        if core.queue.is_empty() || !core.may_create(now) {
            return (0, None);
        }
        let served = core.covering() + self.table.seems_idle(core.queue.len());
        let lacking = core.queue.len().saturating_sub(served);
        let room = core.max_size - core.taken();
        let lacking = lacking.min(room).min(core.max_creating - core.creating);
        let first = core.queue.behind(served);
        (lacking, first.map(|ticket| ticket.since()))
    }

    /// Closes, if nothing is open, under way or waiting; false if something is.
    pub(crate) fn retire_if_empty(&self, now: Instant) -> bool {
        let mut core = self.lock();
        let empty = core.is_deserted() && !core.closed;
        if empty {
            core.closed = true;
            self.set_gate(&mut core, now);
        }
        empty
    }

    /// Whether a connection that comes back has to make room for a waiter elsewhere. One that was
    /// created or checked (`fresh`) goes to the waiter whose it is.
    pub(super) fn is_claimed(&self, core: &Core<T, F>, fresh: bool, now: Instant) -> bool {
        let Some(share) = &self.share else {
            return false;
        };
        if !share.total().is_hungry() {
            return false;
        }
        let own = core.queue.head().filter(|_| !core.suspended);
        let own = own.map(|head| head.since());
        !(fresh && own.is_some()) && share.is_claimed(own, now)
    }

    /// Retires the idle connection of this slot for a waiter elsewhere, unless somebody here has waited
    /// longer.
    pub(super) fn make_way(
        self: &Arc<Self>,
        slot: &'static Slot<T>,
        since: Instant,
        now: Moment,
    ) -> Option<Retired<T, F>> {
        let mut core = self.lock();
        if core.closed || !yields(&core, since) {
            return None;
        }
        let loan = slot.take(now.tick)?;
        Some(self.retire_locked(&mut core, loan, now.real))
    }

    /// Watches every slot in use, and retires what has just come to rest in one, as long as `in_need`
    /// says that somebody waits elsewhere and since when.
    pub(super) fn make_way_as_they_come<K>(
        self: &Arc<Self>,
        now: Moment,
        in_need: impl Fn() -> Option<(Instant, K)>,
    ) -> Vec<Retired<T, F>> {
        // Under one lock: a connection that is installed later comes back after this, and is asked.
        let mut core = self.lock();
        let mut retired = Vec::new();
        let slots = self.table.all();
        for slot in slots.filter(|slot| slot.stamp() != Stamp::Vacant) {
            let Some(loan) = self.table.watch(slot, now.tick) else {
                continue;
            };
            if !core.closed && in_need().is_some_and(|(since, _)| yields(&core, since)) {
                retired.push(self.retire_locked(&mut core, loan, now.real));
            } else {
                let idle_since = loan.idle_since;
                self.table.store_locked(loan, idle_since, true);
            }
        }
        retired
    }
}

/// Nobody here has waited as long as somebody elsewhere has, since then.
fn yields<T: Send, F: Send>(core: &Core<T, F>, since: Instant) -> bool {
    let head = core.queue.head().filter(|_| !core.suspended);
    head.is_none_or(|head| since < head.since())
}
