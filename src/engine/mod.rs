//! The concurrent core: slots, counts and the wait queue.
//!
//! The engine calls no manager, does no I/O and reads no clock: "now" is an argument. The only user code that it
//! calls are the wakers of tasks, outside of its locks and with panics caught. The engine is generic over the entry `T` (the pooled connection) and over the failure `F` that ends a wait.
//!
//! # Fast path and slow path
//!
//! While the wait queue is empty, a checkout and a check-in are one swap each on a slot (see [`slot`]) and
//! touch nothing else. All other work goes through one lock around the [`Counts`] and the [`WaitQueue`].
//! The two paths meet in the slots' RETURN_SLOW marks and in the **gate**, one word that every checkout
//! reads. The gate changes only when one of the states in this table does:
//!
//! | gate | checkout | check-in |
//! |---|---|---|
//! | 0 | takes an idle entry | one swap |
//! | HEAD_WAITING, NOTIFY_HEAD | may barge | stores under the lock, notifies the head |
//! | HEAD_WAITING | may barge | one swap, unless the head is due by now |
//! | HEAD_DUE, NOTIFY_HEAD | queues behind the head | hands the entry to the head |
//! | SUSPENDED | queues | stores under the lock if the queue is not empty |
//! | CLOSED | fails | rejects the entry |
//!
//! The head is **due** once it has waited as long as the fairness bound, or earlier after a late head (see
//! [`WaitQueue`]). Until then HEAD_WAITING is set. A notified head searches at once, and again when it is
//! due, so NOTIFY_HEAD is clear in between.
//!
//! A hand-off at every check-in costs a context switch per cycle when connections are held only briefly. A
//! pool that never hands off starves waiters. The fairness bound separates the two cases (parking_lot's
//! eventual fairness is the same idea). New, checked and added connections always go to the head.
//!
//! A notified head searches every slot, so check-ins before that search need no lock. If another waiter
//! becomes the head before that search, the engine notifies the new head at once: a check-in may have read
//! the old gate and store its entry later, and only a search is sure to meet that entry (see [`slot`]).
//!
//! # Invariants
//!
//! - size = idle + in use + creating; size + disposing never grows above `max_size`.
//! - An entry is at any instant in exactly one place: a slot's cell, a [`Checkout`] (in a guard, a waiter's
//!   outcome or a hook), or on its way to dispose.
//! - A wait ends exactly once, under the lock: by an outcome, or by the waiter's own removal from the queue.
//! - A waiter sleeps only after it found, under the lock, that no entry is idle, that every empty slot is
//!   marked RETURN_SLOW and that no create can start. Every event that changes one of these calls
//!   [`Engine::settle`], which serves the head, notifies the head or starts a create.
//! - An idle entry has its ready bit set (see [`table`]), or the thread that stores the entry is about to
//!   set that bit.
//! - Lock order: the engine's lock, then one waiter's lock. Values of type `T` are dropped outside of both.

mod caller;
mod checkin;
mod counts;
mod growth;
mod handoff;
mod idle_order;
mod limit_member;
mod moves;
mod operations;
mod permits;
#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod reference_model;
mod shared_limit;
mod slot;
mod state;
mod table;
#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests;
mod thread_cache;
mod wait;
mod wait_queue;
mod waiter;

pub(crate) use caller::{Caller, this_thread};
pub(crate) use checkin::{RejectReason, ReturnResult};
pub(crate) use counts::{
    BACKGROUND_CHECKS, CHECK_SOFT_LIMIT, CheckFor, Counts, Job, JobKind, Opened,
};
pub(crate) use growth::Durations;
pub(crate) use limit_member::CreateReason;
pub(crate) use moves::CheckId;
pub(crate) use permits::{DisposePermit, Permit};
pub(crate) use shared_limit::{Followup, Member, SharedLimit};
pub(crate) use slot::{Checkout, Slot, Stamp};
pub(crate) use state::State;
pub(crate) use table::{SlotCache, Table};
pub(crate) use wait_queue::{Actions, WaitQueue};
pub(crate) use waiter::{Outcome, Waiter};

use crate::sync::{AtomicU32, AtomicU64, Condvar, Mutex, MutexGuard, Ordering};
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The engine is closed.
const CLOSED: u32 = 1;
/// The engine is suspended.
const SUSPENDED: u32 = 2;
/// The queue has a head, which is not due.
const HEAD_WAITING: u32 = 4;
/// The queue has a head, which is due.
const HEAD_DUE: u32 = 8;
/// Check-ins must notify the head.
const NOTIFY_HEAD: u32 = 64;
/// The next checkout must wake the collector.
const WAKE_COLLECTOR: u32 = 16;
/// Every checkout of this pool takes the slow path.
const SLOW_PATH: u32 = 32;
/// A check-in must ask the [`SharedLimit`] as well.
const SHARED: u32 = 128;
/// The bits with which a checkout may still use the fast path.
const FAST_PATH_OK: u32 = HEAD_WAITING | NOTIFY_HEAD | SHARED;
/// The bits that a recomputation of the gate from the locked state preserves.
const STICKY: u32 = WAKE_COLLECTOR | SLOW_PATH | SHARED;

/// The current time on both clocks: the tick of the pool's clock for ages, and real time for waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) tick: u64,
    pub(crate) real: Instant,
}

/// An entry that left its slot and waits for its dispose.
#[must_use = "an evicted entry must be disposed"]
pub(crate) struct Evicted<T: Send + 'static, F: Send + 'static> {
    pub(crate) entry: Box<T>,
    /// The use count of the slot that the entry left.
    pub(crate) uses: u64,
    pub(crate) permit: DisposePermit<T, F>,
}

/// A checkout that a caller holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeldCheckout {
    pub(crate) slot: u32,
    /// The id of the connection.
    pub(crate) connection: u64,
    pub(crate) caller: Caller,
    /// The tick of the checkout.
    pub(crate) since: u64,
    /// The use count of the slot, which identifies the checkout.
    pub(crate) uses: u64,
}

/// The slots, counts and waiters of one pool.
pub(crate) struct Engine<T: Send + 'static, F: Send + 'static> {
    gate: CachePadded<AtomicU32>,
    /// When the head is due, in nanoseconds after `epoch`.
    head_due_at: AtomicU64,
    epoch: Instant,
    pub(crate) table: Table<T>,
    state: Mutex<State<T, F>>,
    drained: Condvar,
    /// How long other callers may barge ahead of the head. None: without limit.
    fairness_bound: Option<Duration>,
    /// Whether the oldest idle entry is checked out first.
    fifo: AtomicBool,
    /// True in a pool without threads, where waiters run their creates themselves.
    inline: bool,
    /// The membership in a shared limit, if other engines share this engine's slots.
    member: Option<Member<T, F>>,
}

impl<T: Send + 'static, F: Send + 'static> Engine<T, F> {
    pub(crate) fn new(
        max_size: usize,
        max_creating: usize,
        fairness_bound: Option<Duration>,
        inline: bool,
        now: Instant,
        limit: Option<&Arc<SharedLimit<T, F>>>,
    ) -> Arc<Self> {
        let member = limit.map(SharedLimit::join);
        let gate = if member.is_some() { SHARED } else { 0 };
        let engine = Arc::new(Self {
            gate: CachePadded::new(AtomicU32::new(gate)),
            head_due_at: AtomicU64::new(0),
            epoch: now,
            table: Table::new(thread_cache::Tag::next_pool(), max_size),
            state: Mutex::new(State {
                counts: Counts::new(max_size, max_creating),
                queue: WaitQueue::new(),
                followups: Vec::new(),
                idle_order: None,
            }),
            drained: Condvar::new(),
            fairness_bound,
            fifo: AtomicBool::new(false),
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

    // ---- the fast path -------------------------------------------------------------------------

    /// Whether a checkout may use the fast path: the queue is empty, or callers may still barge.
    #[inline]
    pub(crate) fn fast_path_open(&self) -> bool {
        self.gate.load(Ordering::Acquire) & !FAST_PATH_OK == 0
    }

    /// Whether this engine has waiters, or another engine under the same shared limit may have some.
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.gate.load(Ordering::Acquire) & FAST_PATH_OK != 0
    }

    /// Whether a check-in may store its entry with one swap and skip the hand-off.
    ///
    /// This holds while the shared limit has no waiters and the queue is empty, or its head is notified and
    /// not due yet. Once the head is due the check-in must hand off: the head's own alarm may fire late,
    /// because barging threads can keep every core busy.
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

    fn nanos(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// Closes the fast path for good.
    pub(crate) fn disable_fast_path(&self) {
        self.gate.fetch_or(SLOW_PATH, Ordering::AcqRel);
    }

    /// Whether a caller may take an idle entry without queueing.
    pub(crate) fn may_barge(&self) -> bool {
        self.gate.load(Ordering::Acquire) & (CLOSED | SUSPENDED | HEAD_DUE) == 0
    }

    /// Sets or clears the request that the next checkout wake the collector. Returns the previous setting.
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

    /// Takes an idle entry: the slot this thread used last, else the lowest slot; in a FIFO pool the oldest.
    ///
    /// The search finds every entry that was idle when the search began.
    pub(crate) fn take_idle(&self, now: u64) -> Option<Checkout<T>> {
        if self.fifo.load(std::sync::atomic::Ordering::Relaxed) {
            return self.take_oldest(&mut self.lock(), now);
        }
        let last_used = self.table.last_used_slot();
        last_used
            .and_then(|slot| slot.take(now))
            .or_else(|| self.table.find_idle(now))
            .or_else(|| self.table.take_or_mark_all(now))
    }

    /// Counts the connections that this thread checked out and has not returned.
    pub(crate) fn held_by(&self, thread: u32) -> usize {
        let held = |slot: &&'static Slot<T>| {
            slot.holder()
                .is_some_and(|caller| caller.thread() == thread)
        };
        self.table.all().filter(held).count()
    }

    /// Returns the checkouts that callers hold at present. The caller must hold the lock.
    ///
    /// A checkout takes no lock, so one that begins or ends meanwhile may be missing.
    pub(crate) fn checkouts(&self, state: &State<T, F>) -> Vec<HeldCheckout> {
        let held = |slot: &'static Slot<T>| {
            let index = slot.index();
            let (caller, since, uses) = slot.held()?;
            let connection = state.opened_in(index).connection;
            Some(HeldCheckout {
                slot: index,
                connection,
                caller,
                since,
                uses,
            })
        };
        self.table.all().filter_map(held).collect()
    }
}

#[cfg(all(test, conpool_loom))]
mod loom_models;
