//! The concurrent core: slots, counts, the line of waiters. No manager, no user code, no I/O, no
//! clock: "now" is an argument. Generic over the entry `T` and over the failure `F` that ends a wait.
//!
//! # Two regimes
//!
//! While nobody waits, a checkout and a check-in are one swap each on a slot (see [`slot`]); nothing
//! else is touched. Everything else goes through one lock around the [`Ledger`] and the [`Queue`].
//! The two meet in the slots' marks and in the **gate**, one word that every checkout
//! reads and that changes only when the regime does:
//!
//! | gate | checkout | check-in |
//! |---|---|---|
//! | 0 | takes an idle entry | one swap |
//! | YOUNG and TELL: the head waiter came less than the fairness bound ago | may overtake it | stores it under the lock, and tells the head that there is something to look for |
//! | YOUNG alone: the head was told; it looks, and again when it is due | may overtake it | one swap, if it is not due by now |
//! | DUE and TELL: the head has waited longer | queues behind it | hands the entry to the head |
//! | SUSPENDED | queues | stores it under the lock if somebody waits |
//! | CLOSED | fails | the entry is surplus |
//!
//! Handing over at every check-in would cost a context switch per cycle at tiny holds; never handing
//! over starves. The bound is where the one turns into the other (parking_lot's eventual fairness is
//! the same idea). New, checked and added connections always go to the head.
//!
//! A head that was told will search every slot, so what comes back in the meantime needs no lock. If
//! another waiter becomes the head before that, it is told at once: a check-in may have read the gate
//! of before and store its entry after, and only a search is sure to meet it (see [`slot`]).
//!
//! # Invariants
//!
//! - size = idle + in use + creating; size + disposing never grows above `max_size`.
//! - An entry is at any instant in exactly one place: a slot's cell, a [`Loan`] (guard, letter box or
//!   hook), or on its way to dispose.
//! - A ticket ends exactly once: by mail under the lock, or by its waiter's own leaving under the lock.
//! - A waiter sleeps only when, under the lock, no idle entry was found with every empty slot watched,
//!   and no create could start. Every event that changes that calls [`Engine::settle`], which serves
//!   the head, pokes it or starts a create.
//! - An idle entry has its ready bit set (see [`table`]), or its storer is about to set it.
//! - Lock order: the engine's lock, then one letter box. Nothing of type `T` is dropped under either.

mod hint;
mod ledger;
mod moves;
#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod naive;
mod permit;
mod queue;
mod settle;
mod sharing;
mod slot;
mod table;
#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests;
mod ticket;
mod total;
mod wait;

pub(crate) use hint::this_thread;
pub(crate) use ledger::{BACKGROUND_CHECKS, Birth, CHECK_PATIENCE, CheckFor, Job, JobKind, Ledger};
pub(crate) use moves::CheckId;
pub(crate) use permit::{Leaving, Permit};
pub(crate) use queue::{Effects, Queue};
pub(crate) use sharing::Need;
pub(crate) use slot::{Loan, Slot, Stamp};
pub(crate) use table::{Near, Table};
pub(crate) use ticket::{Mail, Ticket};
pub(crate) use total::{Elsewhere, Share, Total};

use crate::sync::{AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};
use crossbeam_utils::CachePadded;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLOSED: u32 = 1;
const SUSPENDED: u32 = 2;
const YOUNG: u32 = 4;
const DUE: u32 = 8;
/// Somebody waits and does not know of what comes back from now on.
const TELL: u32 = 64;
/// The collector wants to hear of the next checkout.
const LISTENING: u32 = 16;
/// No checkout of this pool is silent.
const LOUD: u32 = 32;
/// A check-in must ask the [`Total`] as well.
const SHARED: u32 = 128;
/// What does not stand in the way of a checkout.
const PASSABLE: u32 = YOUNG | TELL | SHARED;
/// What is not the regime's to change.
const KEPT: u32 = LISTENING | LOUD | SHARED;

/// Now, in both reckonings: the tick of the pool's clock for ages, and real time for waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) tick: u64,
    pub(crate) real: Instant,
}

/// What the lock protects.
pub(crate) struct Core<T: Send + 'static, F: Send + 'static> {
    pub(crate) ledger: Ledger,
    pub(crate) queue: Queue<T, F>,
    /// Engines that slots of this one went to, not yet told.
    elsewhere: Vec<Elsewhere>,
}

impl<T: Send + 'static, F: Send + 'static> Deref for Core<T, F> {
    type Target = Ledger;
    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

impl<T: Send + 'static, F: Send + 'static> DerefMut for Core<T, F> {
    fn deref_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

impl<T: Send + 'static, F: Send + 'static> Core<T, F> {
    /// Waiters that no create and no check is under way for.
    pub(crate) fn uncovered(&self) -> usize {
        self.queue.len().saturating_sub(self.covering())
    }

    /// When the pause after a failed create ends. It is shorter while somebody waits.
    pub(crate) fn pause(&self) -> Option<Instant> {
        match self.queue.is_empty() {
            true => self.paused_until,
            false => self.paused_for_waiters_until,
        }
    }

    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        self.pause().is_some_and(|until| until > now)
    }

    /// May a create start now?
    pub(crate) fn may_create(&self, now: Instant) -> bool {
        self.has_room()
            && !self.closed
            && !self.suspended
            && self.creating < self.max_creating
            && !self.is_paused(now)
    }

    /// The backend is down, as far as is known, and it is not yet time to try again, or another tries.
    pub(crate) fn is_out(&self, now: Instant) -> bool {
        let tried = self.is_paused(now) || self.creating > 0;
        self.failing && self.open == 0 && !self.closed && tried
    }

    /// Nothing is open or under way, and nobody waits.
    pub(crate) fn is_deserted(&self) -> bool {
        self.is_quiet() && self.queue.is_empty()
    }
}

/// Why an entry cannot go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surplus {
    Closed,
    Cleared,
    Shrunk,
    /// A waiter of another engine needs its slot more.
    MadeRoom,
}

/// What comes of handing an entry back: something to do, or the entry again, retired under the same
/// lock, where the pool has no place for it any more.
pub(crate) type Handed<T, F> = Result<Effects<T, F>, (Retired<T, F>, Surplus)>;

/// An entry on its way out.
#[must_use = "it has to be disposed"]
pub(crate) struct Retired<T: Send + 'static, F: Send + 'static> {
    pub(crate) entry: Box<T>,
    /// The count of uses of the slot it leaves.
    pub(crate) uses: u64,
    pub(crate) leaving: Leaving<T, F>,
}

/// How a wait ended.
pub(crate) enum Waited<T: Send + 'static, F: Send + 'static> {
    Mail(Mail<T, F>),
    /// Found by the waiter itself, in a slot.
    Found(Loan<T>),
    TimedOut,
}

pub(crate) struct Engine<T: Send + 'static, F: Send + 'static> {
    gate: CachePadded<AtomicU32>,
    /// When the head that was told is due, in nanoseconds after `epoch`.
    due_at: AtomicU64,
    epoch: Instant,
    pub(crate) table: Table<T>,
    core: Mutex<Core<T, F>>,
    quiet: Condvar,
    /// How long the head may be overtaken; None for as long as it likes.
    bound: Option<Duration>,
    /// True where waiters run their creates themselves.
    inline: bool,
    /// Where the slots are shared with other engines.
    share: Option<Share<T, F>>,
}

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    pub(crate) fn new(
        max_size: usize,
        max_creating: usize,
        bound: Option<Duration>,
        inline: bool,
        now: Instant,
        total: Option<&Arc<Total<T, F>>>,
    ) -> Arc<Self> {
        let share = total.map(Total::share);
        let gate = if share.is_some() { SHARED } else { 0 };
        let engine = Arc::new(Self {
            gate: CachePadded::new(AtomicU32::new(gate)),
            due_at: AtomicU64::new(0),
            epoch: now,
            table: Table::new(hint::Tag::next_pool(), max_size),
            core: Mutex::new(Core {
                ledger: Ledger::new(max_size, max_creating),
                queue: Queue::new(),
                elsewhere: Vec::new(),
            }),
            quiet: Condvar::new(),
            bound,
            inline,
            share,
        });
        if let Some(share) = &engine.share {
            share.present(&engine);
        }
        engine
    }

    pub(crate) fn share(&self) -> Option<&Share<T, F>> {
        self.share.as_ref()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Core<T, F>> {
        self.core.lock()
    }

    // ---- the fast side -------------------------------------------------------------------------

    /// Nothing stands in the way of a checkout: nobody waits, or the head may still be overtaken.
    #[inline]
    pub(crate) fn is_open_road(&self) -> bool {
        self.gate.load(Ordering::Acquire) & !PASSABLE == 0
    }

    /// Somebody waits, or may do so elsewhere.
    #[inline]
    pub(crate) fn has_line(&self) -> bool {
        self.gate.load(Ordering::Acquire) & PASSABLE != 0
    }

    /// Whoever waits knows that something may come back, and is not due yet; and nobody waits for a slot
    /// elsewhere. When it is due, its own alarm may come late, where those that pass the connections
    /// round leave it no core.
    pub(crate) fn may_pass_line(&self, now: impl FnOnce() -> Instant) -> bool {
        let gate = self.gate.load(Ordering::Acquire);
        if gate & SHARED != 0 && self.is_hungry() {
            return false;
        }
        match gate & (YOUNG | TELL) {
            0 => true,
            YOUNG => self.nanos(now()) < self.due_at.load(Ordering::Relaxed),
            _ => false,
        }
    }

    fn is_hungry(&self) -> bool {
        (self.share.as_ref()).is_some_and(|share| share.total().is_hungry())
    }

    fn nanos(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// From now on there is always something to do at a checkout: the road is never open.
    pub(crate) fn close_road(&self) {
        self.gate.fetch_or(LOUD, Ordering::AcqRel);
    }

    /// Nothing stands in the way of a checkout but what there is to do at each.
    pub(crate) fn is_loud_road(&self) -> bool {
        self.gate.load(Ordering::Acquire) & !PASSABLE == LOUD
    }

    /// May a caller take an idle entry without queueing?
    pub(crate) fn may_overtake(&self) -> bool {
        self.gate.load(Ordering::Acquire) & (CLOSED | SUSPENDED | DUE) == 0
    }

    /// Asks the next checkout to ring the collector, or stops asking. True if it was asked before.
    pub(crate) fn listen(&self, on: bool) -> bool {
        let before = if on {
            self.gate.fetch_or(LISTENING, Ordering::AcqRel)
        } else {
            self.gate.fetch_and(!LISTENING, Ordering::AcqRel)
        };
        before & LISTENING != 0
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & LISTENING != 0
    }

    /// Any idle entry, lowest slot first. Misses none that was at rest when the search began.
    pub(crate) fn take_any(&self, now: u64) -> Option<Loan<T>> {
        let hinted = self.table.hinted();
        hinted
            .and_then(|slot| slot.take(now))
            .or_else(|| self.table.find(now))
            .or_else(|| self.table.watch_all(now))
    }

    // ---- check-in, the slow way ----------------------------------------------------------------

    /// Brings an entry back through the lock. `fresh`: it was just created, checked or added, and
    /// goes to the head waiter however young. A surplus entry comes back, retired under the same lock.
    pub(crate) fn give(
        self: &Arc<Self>,
        loan: Loan<T>,
        idle_since: u64,
        generation: u64,
        fresh: bool,
        now: Instant,
    ) -> Handed<T, F> {
        let mut core = self.lock();
        self.give_locked(&mut core, loan, idle_since, generation, fresh, now)
    }

    /// Why an entry of this generation cannot go back, if it cannot.
    pub(crate) fn surplus(&self, core: &Core<T, F>, generation: u64) -> Option<Surplus> {
        if core.closed {
            return Some(Surplus::Closed);
        }
        if generation != core.generation {
            return Some(Surplus::Cleared);
        }
        core.is_over().then_some(Surplus::Shrunk)
    }

    pub(crate) fn give_locked(
        self: &Arc<Self>,
        core: &mut Core<T, F>,
        loan: Loan<T>,
        idle_since: u64,
        generation: u64,
        fresh: bool,
        now: Instant,
    ) -> Handed<T, F> {
        if let Some(surplus) = self.surplus(core, generation) {
            return Err((self.retire_locked(core, loan, now), surplus));
        }
        if self.is_claimed(core, fresh, now) {
            let retired = self.retire_locked(core, loan, now);
            return Err((retired, Surplus::MadeRoom));
        }
        if !core.queue.is_empty() && !core.suspended && (fresh || self.head_is_due(core, now)) {
            let mut effects = Effects::new();
            let loan = Loan { idle_since, ..loan };
            effects.wakes.extend(core.queue.serve(Mail::Loan(loan)));
            self.settle_into(core, now, &mut effects);
            return Ok(effects);
        }
        let mut effects = Effects::new();
        if !core.queue.is_empty() && !core.suspended {
            // The head is young. Tell it once that there is something to look for; when it comes,
            // others may have been faster, and then its alarm is set for when it is due.
            effects.wakes.extend(core.queue.poke_head(false));
            self.set_gate(core, now);
        }
        core.queue.unseen |= !core.queue.is_empty();
        let tell = self.gate.load(Ordering::Relaxed) & TELL != 0;
        self.table.store_locked(loan, idle_since, tell);
        Ok(effects)
    }

    /// How many connections this thread checked out and has not given back.
    pub(crate) fn held_by(&self, thread: u64) -> usize {
        let held = |slot: &&'static Slot<T>| slot.holder() == thread;
        self.table.all().filter(held).count()
    }
}

#[cfg(all(test, conpool_loom))]
mod models;
