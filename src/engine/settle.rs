//! Settling: after any event, who can be served is served, and what has to start starts.

use super::{Core, Effects, Engine, Mail, Need};
use std::sync::Arc;
use std::time::Instant;

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    /// After any event: serves who can be served, starts what has to start.
    pub(crate) fn settle(self: &Arc<Self>, core: &mut Core<T, F>, now: Instant) -> Effects<T, F> {
        let mut effects = Effects::new();
        self.settle_into(core, now, &mut effects);
        effects
    }

    pub(super) fn settle_into(
        self: &Arc<Self>,
        core: &mut Core<T, F>,
        now: Instant,
        effects: &mut Effects<T, F>,
    ) {
        self.serve_and_start(core, now, effects);
        while self.tell_total(core, now, effects) {
            self.serve_and_start(core, now, effects);
        }
    }

    pub(super) fn serve_and_start(
        self: &Arc<Self>,
        core: &mut Core<T, F>,
        now: Instant,
        effects: &mut Effects<T, F>,
    ) {
        while core.covering() > core.queue.len() {
            core.uncover_one();
        }
        self.set_gate(core, now);
        if core.queue.is_empty() || core.suspended || core.closed {
            return;
        }
        let idle = self.table.seems_idle(core.queue.len());
        // The idle ones will be found, each by the head of its time; the others count on checks that began
        // for the pool itself, or need creates.
        while core.uncovered() > idle {
            let Some(until) = core.cover_by_check(now) else {
                break;
            };
            let earliest = effects.settle_at.map_or(until, |known| known.min(until));
            effects.settle_at = Some(earliest);
        }
        while core.uncovered() > idle && core.may_create(now) {
            let Some(permit) = self.reserve(core, Need::Waiter, now) else {
                break;
            };
            if self.inline {
                effects.wakes.extend(core.queue.serve(Mail::Permit(permit)));
                self.set_gate(core, now);
            } else {
                effects.permits.push(permit);
            }
        }
        // An entry that came back while an earlier head was young lies in its slot: whoever is head
        // now must look at it. And in a pool without threads the head looks after itself.
        let paused = self.inline && core.is_paused(now);
        // What rests unproven beside a check that is under way is no news, though: one caller would
        // have every idle connection checked.
        let news = idle > 0 && (core.queue.unseen || core.uncovered() > 0);
        if core.queue.take_unheard() || news || paused && core.has_room() {
            effects.wakes.extend(core.queue.poke_head(true));
        }
    }
}
