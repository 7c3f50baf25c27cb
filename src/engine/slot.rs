//! One slot: the place of one connection, and the fast path of a checkout and a check-in.
//!
//! A checkout is one swap on the slot's cell, and a check-in is another. Every write of a fast cycle goes to
//! this one cache line, which the thread that uses the slot owns. The fast path touches no shared reference
//! count, no shared counter and no lock.
//!
//! # The RETURN_SLOW mark
//!
//! A thread that found a slot empty and must notice the entry's return (a waiter, close, clear, a shrink)
//! first sets the slot's RETURN_SLOW mark and *then* swaps the cell once more. Swaps on one cell have a
//! single order, which leaves two cases. Either the marker's swap finds the entry that came back meanwhile.
//! Or the check-in's swap comes later, reads from the marker's swap and therefore sees the mark; the
//! check-in then takes the entry back and returns it through the lock. The atomic step that returns a
//! connection thus also reveals the mark, with no fence and no shared flag on the fast path.

use super::caller::Caller;
use super::thread_cache::{Tag, cache_slot};
use crate::sync::{AtomicU64, Ordering::Relaxed, SwapCell};

/// One place for an entry. Slots live as long as the process and are handed from a finished pool to
/// the next one of the same type (see `table.rs`), so a guard can refer to its slot without a
/// reference count.
#[cfg_attr(not(any(conpool_loom, conpool_shuttle)), repr(align(64)))]
pub(crate) struct Slot<T> {
    cell: SwapCell<T>,
    /// Twice the tick of the last checkout or check-in, plus one while in use; or [`VACANT`].
    stamp: AtomicU64,
    /// The number of checkouts by a `get`, over all connections that this slot held for this pool.
    gets: AtomicU64,
    /// The number of checkouts by `try_get`, over all connections that this slot held for this pool.
    try_gets: AtomicU64,
    /// The tick at which the present connection expires.
    expires: AtomicU64,
    /// The tick at which the present connection was last proven alive, and its [`STANDBY`] bit.
    checked: AtomicU64,
    /// The [`Caller`] of the present checkout, 0 when there is none.
    holder: AtomicU64,
    /// The pool and index of this slot, and its [`RETURN_SLOW`] bit.
    tag: AtomicU64,
}

/// Check-ins of this slot must go through the lock.
const RETURN_SLOW: u64 = 1 << 63;
const VACANT: u64 = u64::MAX;
/// A checkout takes the present connection only if no other is idle.
const STANDBY: u64 = 1 << 63;

/// The decoded stamp of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    Vacant,
    /// Idle since this tick.
    Idle(u64),
    /// In use since this tick.
    InUse(u64),
}

impl<T> Slot<T> {
    pub(super) fn new() -> Self {
        Self {
            cell: SwapCell::new(),
            stamp: AtomicU64::new(VACANT),
            gets: AtomicU64::new(0),
            try_gets: AtomicU64::new(0),
            expires: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            holder: AtomicU64::new(0),
            tag: AtomicU64::new(0),
        }
    }

    /// Makes a vacant slot ready for its next pool.
    pub(super) fn assign(&self, tag: Tag) {
        debug_assert_eq!(
            self.stamp(),
            Stamp::Vacant,
            "bug: a slot changes pools in use"
        );
        self.tag.store(tag.0, Relaxed);
        for counter in [&self.gets, &self.try_gets, &self.holder] {
            counter.store(0, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn index(&self) -> u32 {
        Tag(self.tag.load(Relaxed)).slot()
    }

    /// Returns the pool and the index of this slot as one number.
    #[inline]
    pub(crate) fn tag(&self) -> u64 {
        self.tag.load(Relaxed) & !RETURN_SLOW
    }

    /// Makes this the first slot that the calling thread tries at its next checkout.
    pub(crate) fn remember(&self) {
        cache_slot(Tag(self.tag()));
    }

    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        match self.stamp.load(Relaxed) {
            VACANT => Stamp::Vacant,
            raw if raw & 1 == 0 => Stamp::Idle(raw >> 1),
            raw => Stamp::InUse(raw >> 1),
        }
    }

    /// Returns the tick since which the entry is in use. Meaningful only to the holder of the entry.
    #[inline]
    pub(crate) fn in_use_since(&self) -> u64 {
        self.stamp.load(Relaxed) >> 1
    }

    /// Whether the entry is in use since exactly this tick.
    #[inline]
    pub(crate) fn is_in_use_since(&self, tick: u64) -> bool {
        self.stamp.load(Relaxed) == in_use(tick)
    }

    /// The number of checkouts by `get` and `try_get`.
    #[inline]
    pub(crate) fn uses(&self) -> u64 {
        self.gets() + self.try_gets()
    }

    pub(crate) fn gets(&self) -> u64 {
        self.gets.load(Relaxed)
    }

    pub(crate) fn try_gets(&self) -> u64 {
        self.try_gets.load(Relaxed)
    }

    pub(crate) fn expires(&self) -> u64 {
        self.expires.load(Relaxed)
    }

    /// Changes the tick at which the present connection expires. Only the holder of the entry may call this.
    pub(crate) fn set_expires(&self, expires: u64) {
        self.expires.store(expires, Relaxed);
    }

    pub(crate) fn checked(&self) -> u64 {
        self.checked.load(Relaxed) & !STANDBY
    }

    /// Records a check. Only the holder of the entry may call this.
    pub(crate) fn set_checked(&self, now: u64) {
        let standby = self.checked.load(Relaxed) & STANDBY;
        self.checked.store(now | standby, Relaxed);
    }

    /// Whether a checkout takes the present connection only if no other is idle.
    pub(crate) fn is_on_standby(&self) -> bool {
        self.checked.load(Relaxed) & STANDBY != 0
    }

    /// Sets or clears standby. Only the holder of the entry may call this.
    pub(crate) fn set_on_standby(&self, on: bool) {
        let standby = if on { STANDBY } else { 0 };
        self.checked.store(self.checked() | standby, Relaxed);
    }

    /// Returns the caller that holds the present checkout.
    pub(crate) fn holder(&self) -> Option<Caller> {
        let caller = self.holder.load(Relaxed);
        (caller != 0).then_some(Caller(caller))
    }

    /// Records that the checkout is over, although the entry is not back in the slot yet.
    pub(crate) fn clear_holder(&self) {
        self.holder.store(0, Relaxed);
    }

    /// Returns the caller, the tick and the use count of the present checkout.
    pub(super) fn held(&self) -> Option<(Caller, u64, u64)> {
        // The holder changes these words without a lock, so they belong together only if none has changed.
        loop {
            let (uses, caller) = (self.uses(), self.holder()?);
            let Stamp::InUse(since) = self.stamp() else {
                return None;
            };
            if (self.uses(), self.holder()) == (uses, Some(caller)) {
                return Some((caller, since, uses));
            }
        }
    }

    /// Takes the entry, if the slot holds one. The slot then counts as in use since `now`.
    #[inline]
    pub(crate) fn take(&'static self, now: u64) -> Option<Checkout<T>> {
        let entry = self.cell.swap(None)?;
        let idle_since = self.stamp.load(Relaxed) >> 1;
        self.stamp.store(in_use(now), Relaxed);
        Some(Checkout {
            slot: self,
            entry,
            idle_since,
        })
    }

    /// Stores the entry as idle since `now` and remembers the slot for the calling thread.
    ///
    /// A slot that is marked RETURN_SLOW gives the entry back instead. The caller must then return the entry
    /// through the lock.
    #[inline]
    pub(crate) fn try_return(&self, entry: Box<T>, now: u64) -> Result<(), Box<T>> {
        let tag = self.tag.load(Relaxed);
        if tag & RETURN_SLOW != 0 {
            return Err(entry);
        }
        self.store(entry, now);
        if self.returns_slow() {
            return self.take_back(now);
        }
        cache_slot(Tag(tag));
        Ok(())
    }

    #[inline]
    fn store(&self, entry: Box<T>, now: u64) {
        self.clear_holder();
        self.stamp.store(idle(now), Relaxed);
        let before = self.cell.swap(Some(entry));
        debug_assert!(before.is_none(), "bug: two entries in one slot");
        if let Some(second) = before {
            // A correct engine never gets here. Leak the entry rather than run its Drop here.
            std::mem::forget(second);
        }
    }

    #[cold]
    fn take_back(&self, now: u64) -> Result<(), Box<T>> {
        match self.cell.swap(None) {
            Some(entry) => {
                self.stamp.store(in_use(now), Relaxed);
                Err(entry)
            }
            // Another thread took the entry meanwhile. The slot is still marked, so that thread's check-in
            // will see the mark.
            None => Ok(()),
        }
    }

    /// Takes the entry like [`take`](Self::take), and marks the slot RETURN_SLOW in either case.
    pub(super) fn take_or_mark(&'static self, now: u64) -> Option<Checkout<T>> {
        // Set the mark before the swap: the swap finds the entry of any check-in that misses the mark.
        self.set_return_slow(true);
        self.take(now)
    }

    pub(super) fn returns_slow(&self) -> bool {
        self.tag.load(Relaxed) & RETURN_SLOW != 0
    }

    pub(super) fn set_return_slow(&self, on: bool) {
        match on {
            true => self.tag.fetch_or(RETURN_SLOW, Relaxed),
            false => self.tag.fetch_and(!RETURN_SLOW, Relaxed),
        };
    }

    /// Turns a reserved slot into one whose connection is in use.
    pub(super) fn occupy(&'static self, entry: Box<T>, now: u64, expires: u64) -> Checkout<T> {
        self.expires.store(expires, Relaxed);
        self.checked.store(now, Relaxed);
        // The first check-in must go through the lock: waiters may have queued while this slot was vacant.
        self.set_return_slow(true);
        self.stamp.store(in_use(now), Relaxed);
        Checkout {
            slot: self,
            entry,
            idle_since: now,
        }
    }

    pub(super) fn vacate(&self) {
        self.clear_holder();
        self.stamp.store(VACANT, Relaxed);
    }
}

const fn in_use(tick: u64) -> u64 {
    tick << 1 | 1
}

const fn idle(tick: u64) -> u64 {
    tick << 1
}

/// An entry outside of its slot's cell, together with that slot. The owner must return, detach or evict the
/// entry: a checkout that is dropped loses its slot.
#[must_use = "a checkout that is dropped loses a slot"]
pub(crate) struct Checkout<T: 'static> {
    pub(crate) slot: &'static Slot<T>,
    pub(crate) entry: Box<T>,
    /// The tick since which the entry had been idle when it was taken.
    pub(crate) idle_since: u64,
}

impl<T> Checkout<T> {
    /// Counts a checkout by `get` and records its caller as the holder.
    #[inline]
    pub(crate) fn count_get(&self, caller: Caller) {
        // A load and a store suffice in place of a read-modify-write: only the holder of the entry writes
        // these counters.
        self.slot.gets.store(self.slot.gets() + 1, Relaxed);
        self.slot.holder.store(caller.0, Relaxed);
    }

    /// Counts a checkout by `try_get` and records its caller as the holder.
    #[inline]
    pub(crate) fn count_try_get(&self, caller: Caller) {
        self.slot.try_gets.store(self.slot.try_gets() + 1, Relaxed);
        self.slot.holder.store(caller.0, Relaxed);
    }

    /// Sets the tick at which the holder received the entry, after a hand-off or a check.
    pub(crate) fn set_in_use_since(&self, tick: u64) {
        self.slot.stamp.store(in_use(tick), Relaxed);
    }

    /// Stores the entry under the pool's lock, whether or not the slot is marked.
    ///
    /// Returns true if the slot is marked after the store. The thread that marked the slot may then have
    /// missed the entry.
    pub(super) fn store_locked(self, now: u64) -> bool {
        let slot = self.slot;
        slot.store(self.entry, now);
        slot.returns_slow()
    }
}
