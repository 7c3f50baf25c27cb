//! The concurrent core: slots, counts, the line of waiters. No manager, no user code, no I/O, no
//! clock: "now" is an argument. Generic over the entry `T` and over the failure `F` that ends a wait.
//!
//! # Two regimes
//!
//! While nobody waits, a checkout and a check-in are one swap each on a slot (see [`slot`]); nothing
//! else is touched. Everything else goes through one lock around the [`Counts`] and the [`WaitQueue`].
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
//! - An entry is at any instant in exactly one place: a slot's cell, a [`Checkout`] (guard, letter box or
//!   hook), or on its way to dispose.
//! - A ticket ends exactly once: by mail under the lock, or by its waiter's own leaving under the lock.
//! - A waiter sleeps only when, under the lock, no idle entry was found with every empty slot watched,
//!   and no create could start. Every event that changes that calls [`Engine::settle`], which serves
//!   the head, pokes it or starts a create.
//! - An idle entry has its ready bit set (see [`table`]), or its storer is about to set it.
//! - Lock order: the engine's lock, then one letter box. Nothing of type `T` is dropped under either.

mod counts;
mod handoff;
mod limit_member;
mod moves;
mod permits;
#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod reference_model;
mod shared_limit;
mod slot;
mod table;
#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests;
mod thread_cache;
mod wait;
mod wait_queue;
mod waiter;

pub(crate) use counts::{
    BACKGROUND_CHECKS, CHECK_SOFT_LIMIT, CheckFor, Counts, Job, JobKind, Opened,
};
pub(crate) use limit_member::CreateReason;
pub(crate) use moves::CheckId;
pub(crate) use permits::{DisposePermit, Permit};
pub(crate) use shared_limit::{Followup, Member, SharedLimit};
pub(crate) use slot::{Checkout, Slot, Stamp};
pub(crate) use table::{SlotCache, Table};
pub(crate) use thread_cache::this_thread;
pub(crate) use wait_queue::{Actions, WaitQueue};
pub(crate) use waiter::{Outcome, Waiter};

use crate::sync::{AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};
use crossbeam_utils::CachePadded;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLOSED: u32 = 1;
const SUSPENDED: u32 = 2;
const HEAD_WAITING: u32 = 4;
const HEAD_DUE: u32 = 8;
/// Somebody waits and does not know of what comes back from now on.
const NOTIFY_HEAD: u32 = 64;
/// The collector wants to hear of the next checkout.
const WAKE_COLLECTOR: u32 = 16;
/// No checkout of this pool is silent.
const INSTRUMENTED: u32 = 32;
/// A check-in must ask the [`SharedLimit`] as well.
const SHARED: u32 = 128;
/// What does not stand in the way of a checkout.
const FAST_PATH_OK: u32 = HEAD_WAITING | NOTIFY_HEAD | SHARED;
/// What is not the regime's to change.
const STICKY: u32 = WAKE_COLLECTOR | INSTRUMENTED | SHARED;

/// Now, in both reckonings: the tick of the pool's clock for ages, and real time for waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) tick: u64,
    pub(crate) real: Instant,
}

/// What the lock protects.
pub(crate) struct State<T: Send + 'static, F: Send + 'static> {
    pub(crate) counts: Counts,
    pub(crate) queue: WaitQueue<T, F>,
    /// Engines that slots of this one went to, not yet told.
    elsewhere: Vec<Followup>,
}

impl<T: Send + 'static, F: Send + 'static> Deref for State<T, F> {
    type Target = Counts;
    fn deref(&self) -> &Counts {
        &self.counts
    }
}

impl<T: Send + 'static, F: Send + 'static> DerefMut for State<T, F> {
    fn deref_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }
}

impl<T: Send + 'static, F: Send + 'static> State<T, F> {
    /// Waiters that no create and no check is under way for.
    pub(crate) fn waiters_without_job(&self) -> usize {
        self.queue.len().saturating_sub(self.jobs_with_waiter())
    }

    /// When the pause after a failed create ends. It is shorter while somebody waits.
    pub(crate) fn backoff_until(&self) -> Option<Instant> {
        match self.queue.is_empty() {
            true => self.paused_until,
            false => self.paused_for_waiters_until,
        }
    }

    pub(crate) fn is_paused(&self, now: Instant) -> bool {
        self.backoff_until().is_some_and(|until| until > now)
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
    pub(crate) fn is_in_outage(&self, now: Instant) -> bool {
        let tried = self.is_paused(now) || self.creating > 0;
        self.failing && self.open == 0 && !self.closed && tried
    }

    /// Nothing is open or under way, and nobody waits.
    pub(crate) fn is_empty_and_unused(&self) -> bool {
        self.is_drained() && self.queue.is_empty()
    }
}

/// Why an entry cannot go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RejectReason {
    Closed,
    Cleared,
    Shrunk,
    /// A waiter of another engine needs its slot more.
    MadeRoom,
}

/// What comes of handing an entry back: something to do, or the entry again, retired under the same
/// lock, where the pool has no place for it any more.
pub(crate) type ReturnResult<T, F> = Result<Actions<T, F>, (Evicted<T, F>, RejectReason)>;

/// An entry on its way out.
#[must_use = "it has to be disposed"]
pub(crate) struct Evicted<T: Send + 'static, F: Send + 'static> {
    pub(crate) entry: Box<T>,
    /// The count of uses of the slot it leaves.
    pub(crate) uses: u64,
    pub(crate) leaving: DisposePermit<T, F>,
}

/// How a wait ended.
pub(crate) enum WaitResult<T: Send + 'static, F: Send + 'static> {
    Outcome(Outcome<T, F>),
    /// Found by the waiter itself, in a slot.
    Found(Checkout<T>),
    TimedOut,
}

pub(crate) struct Engine<T: Send + 'static, F: Send + 'static> {
    gate: CachePadded<AtomicU32>,
    /// When the head that was told is due, in nanoseconds after `epoch`.
    head_due_at: AtomicU64,
    epoch: Instant,
    pub(crate) table: Table<T>,
    state: Mutex<State<T, F>>,
    drained: Condvar,
    /// How long the head may be overtaken; None for as long as it likes.
    fairness_bound: Option<Duration>,
    /// True where waiters run their creates themselves.
    inline: bool,
    /// Where the slots are shared with other engines.
    member: Option<Member<T, F>>,
}

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    pub(crate) fn new(
        max_size: usize,
        max_creating: usize,
        fairness_bound: Option<Duration>,
        inline: bool,
        now: Instant,
        total: Option<&Arc<SharedLimit<T, F>>>,
    ) -> Arc<Self> {
        let member = total.map(SharedLimit::join);
        let gate = if member.is_some() { SHARED } else { 0 };
        let engine = Arc::new(Self {
            gate: CachePadded::new(AtomicU32::new(gate)),
            head_due_at: AtomicU64::new(0),
            epoch: now,
            table: Table::new(thread_cache::Tag::next_pool(), max_size),
            state: Mutex::new(State {
                counts: Counts::new(max_size, max_creating),
                queue: WaitQueue::new(),
                elsewhere: Vec::new(),
            }),
            drained: Condvar::new(),
            fairness_bound,
            inline,
            member,
        });
        if let Some(member) = &engine.member {
            member.attach(&engine);
        }
        engine
    }

    pub(crate) fn member(&self) -> Option<&Member<T, F>> {
        self.member.as_ref()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<T, F>> {
        self.state.lock()
    }

    // ---- the fast side -------------------------------------------------------------------------

    /// Nothing stands in the way of a checkout: nobody waits, or the head may still be overtaken.
    #[inline]
    pub(crate) fn fast_path_open(&self) -> bool {
        self.gate.load(Ordering::Acquire) & !FAST_PATH_OK == 0
    }

    /// Somebody waits, or may do so elsewhere.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.gate.load(Ordering::Acquire) & FAST_PATH_OK != 0
    }

    /// Whoever waits knows that something may come back, and is not due yet; and nobody waits for a slot
    /// elsewhere. When it is due, its own alarm may come late, where those that pass the connections
    /// round leave it no core.
    pub(crate) fn may_skip_handoff(&self, now: impl FnOnce() -> Instant) -> bool {
        let gate = self.gate.load(Ordering::Acquire);
        if gate & SHARED != 0 && self.limit_has_waiters() {
            return false;
        }
        match gate & (HEAD_WAITING | NOTIFY_HEAD) {
            0 => true,
            HEAD_WAITING => self.nanos(now()) < self.head_due_at.load(Ordering::Relaxed),
            _ => false,
        }
    }

    fn limit_has_waiters(&self) -> bool {
        (self.member.as_ref()).is_some_and(|member| member.limit().has_waiters())
    }

    fn nanos(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// From now on there is always something to do at a checkout: the road is never open.
    pub(crate) fn disable_fast_path(&self) {
        self.gate.fetch_or(INSTRUMENTED, Ordering::AcqRel);
    }

    /// Nothing stands in the way of a checkout but what there is to do at each.
    pub(crate) fn is_instrumented(&self) -> bool {
        self.gate.load(Ordering::Acquire) & !FAST_PATH_OK == INSTRUMENTED
    }

    /// May a caller take an idle entry without queueing?
    pub(crate) fn may_barge(&self) -> bool {
        self.gate.load(Ordering::Acquire) & (CLOSED | SUSPENDED | HEAD_DUE) == 0
    }

    /// Asks the next checkout to ring the collector, or stops asking. True if it was asked before.
    pub(crate) fn set_wake_collector(&self, on: bool) -> bool {
        let before = if on {
            self.gate.fetch_or(WAKE_COLLECTOR, Ordering::AcqRel)
        } else {
            self.gate.fetch_and(!WAKE_COLLECTOR, Ordering::AcqRel)
        };
        before & WAKE_COLLECTOR != 0
    }

    pub(crate) fn has_wake_collector(&self) -> bool {
        self.gate.load(Ordering::Relaxed) & WAKE_COLLECTOR != 0
    }

    /// Any idle entry, lowest slot first. Misses none that was at rest when the search began.
    pub(crate) fn take_idle(&self, now: u64) -> Option<Checkout<T>> {
        let hinted = self.table.last_used_slot();
        hinted
            .and_then(|slot| slot.take(now))
            .or_else(|| self.table.find_idle(now))
            .or_else(|| self.table.take_or_mark_all(now))
    }

    // ---- check-in, the slow way ----------------------------------------------------------------

    /// Brings an entry back through the lock. `fresh`: it was just created, checked or added, and
    /// goes to the head waiter however young. A surplus entry comes back, retired under the same lock.
    pub(crate) fn return_entry(
        self: &Arc<Self>,
        checkout: Checkout<T>,
        idle_since: u64,
        generation: u64,
        fresh: bool,
        now: Instant,
    ) -> ReturnResult<T, F> {
        let mut state = self.lock();
        self.return_locked(&mut state, checkout, idle_since, generation, fresh, now)
    }

    /// Why an entry of this generation cannot go back, if it cannot.
    pub(crate) fn reject_reason(
        &self,
        state: &State<T, F>,
        generation: u64,
    ) -> Option<RejectReason> {
        if state.closed {
            return Some(RejectReason::Closed);
        }
        if generation != state.generation {
            return Some(RejectReason::Cleared);
        }
        state.is_over_limit().then_some(RejectReason::Shrunk)
    }

    pub(crate) fn return_locked(
        self: &Arc<Self>,
        state: &mut State<T, F>,
        checkout: Checkout<T>,
        idle_since: u64,
        generation: u64,
        fresh: bool,
        now: Instant,
    ) -> ReturnResult<T, F> {
        if let Some(surplus) = self.reject_reason(state, generation) {
            return Err((self.begin_dispose_locked(state, checkout, now), surplus));
        }
        if self.is_owed_to_peer(state, fresh, now) {
            let evicted = self.begin_dispose_locked(state, checkout, now);
            return Err((evicted, RejectReason::MadeRoom));
        }
        if !state.queue.is_empty() && !state.suspended && (fresh || self.head_is_due(state, now)) {
            let mut actions = Actions::new();
            let checkout = Checkout {
                idle_since,
                ..checkout
            };
            actions
                .wakes
                .extend(state.queue.hand_off(Outcome::Checkout(checkout)));
            self.settle_into(state, now, &mut actions);
            return Ok(actions);
        }
        let mut actions = Actions::new();
        if !state.queue.is_empty() && !state.suspended {
            // The head is young. Tell it once that there is something to look for; when it comes,
            // others may have been faster, and then its alarm is set for when it is due.
            actions.wakes.extend(state.queue.notify_head(false));
            self.update_gate(state, now);
        }
        state.queue.has_unseen_return |= !state.queue.is_empty();
        let tell = self.gate.load(Ordering::Relaxed) & NOTIFY_HEAD != 0;
        self.table.store_locked(checkout, idle_since, tell);
        Ok(actions)
    }

    /// How many connections this thread checked out and has not given back.
    pub(crate) fn held_by(&self, thread: u64) -> usize {
        let held = |slot: &&'static Slot<T>| slot.holder() == thread;
        self.table.all().filter(held).count()
    }
}

#[cfg(all(test, conpool_loom))]
mod loom_models;
