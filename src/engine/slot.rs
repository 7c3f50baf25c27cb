//! One slot: the place of one connection, and the whole of a warm checkout and check-in.
//!
//! A checkout is one swap on the slot's cell, a check-in another. Everything a warm cycle writes lies
//! on this one cache line, which the thread that uses the slot owns: no shared reference count, no
//! shared counter, no lock.
//!
//! # Watching
//!
//! Somebody who found a slot empty and cares about its return (a waiter, close, clear, a shrink) sets
//! `watched` and *then* swaps the cell once more. Swaps on one cell have a single order, so either
//! that swap finds the entry that came back meanwhile, or the check-in's swap comes later, reads from
//! the watcher's swap and therefore sees `watched`: it takes the entry back and goes the slow way.
//! The same atomic step that returns a connection thus tells that somebody waits for it, with no
//! fence and no shared flag on the warm path.

use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, SwapCell};

/// One place for an entry. Slots live as long as the process and are handed from a finished pool to
/// the next one of the same type (see `table.rs`), so a guard can refer to its slot without a count.
#[cfg_attr(not(any(conpool_loom, conpool_shuttle)), repr(align(64)))]
pub(crate) struct Slot<T> {
    cell: SwapCell<T>,
    /// 0: vacant. Otherwise twice (the tick of the last change plus one), plus one while in use.
    stamp: AtomicU64,
    /// Checkouts by a `get` ever, of all the connections this slot held for this pool.
    gets: AtomicU64,
    /// Those by `try_get`.
    tries: AtomicU64,
    /// The tick at which the present connection expires.
    expires: AtomicU64,
    /// The tick at which the present connection was last proven alive.
    checked: AtomicU64,
    /// The thread that made the present checkout, 0 when there is none.
    holder: AtomicU64,
    index: AtomicU32,
    watched: AtomicU32,
}

/// What a slot's stamp says.
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
            stamp: AtomicU64::new(0),
            gets: AtomicU64::new(0),
            tries: AtomicU64::new(0),
            expires: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            holder: AtomicU64::new(0),
            index: AtomicU32::new(0),
            watched: AtomicU32::new(0),
        }
    }

    /// Makes a vacant slot ready for its next pool.
    pub(super) fn adopt(&self, index: u32) {
        debug_assert_eq!(
            self.stamp(),
            Stamp::Vacant,
            "bug: a slot changes pools in use"
        );
        self.index.store(index, Relaxed);
        for counter in [&self.gets, &self.tries, &self.holder] {
            counter.store(0, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn index(&self) -> u32 {
        self.index.load(Relaxed)
    }

    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        match self.stamp.load(Relaxed) {
            0 => Stamp::Vacant,
            raw if raw & 1 == 0 => Stamp::Idle((raw >> 1) - 1),
            raw => Stamp::InUse((raw >> 1) - 1),
        }
    }

    /// Since when the entry is out. Only its holder should ask.
    #[inline]
    pub(crate) fn out_since(&self) -> u64 {
        (self.stamp.load(Relaxed) >> 1).wrapping_sub(1)
    }

    /// All checkouts.
    #[inline]
    pub(crate) fn uses(&self) -> u64 {
        self.gets() + self.tries()
    }

    pub(crate) fn gets(&self) -> u64 {
        self.gets.load(Relaxed)
    }

    pub(crate) fn tries(&self) -> u64 {
        self.tries.load(Relaxed)
    }

    pub(crate) fn expires(&self) -> u64 {
        self.expires.load(Relaxed)
    }

    pub(crate) fn checked(&self) -> u64 {
        self.checked.load(Relaxed)
    }

    pub(crate) fn holder(&self) -> u64 {
        self.holder.load(Relaxed)
    }

    /// Takes the entry, if one is here. The slot then counts as in use since `now`.
    #[inline]
    pub(crate) fn take(&'static self, now: u64) -> Option<Loan<T>> {
        let entry = self.cell.swap(None)?;
        let idle_since = (self.stamp.load(Relaxed) >> 1).wrapping_sub(1);
        self.stamp.store(in_use(now), Relaxed);
        Some(Loan {
            slot: self,
            entry,
            idle_since,
        })
    }

    /// Like [`take`](Self::take), and if the slot is empty, whoever brings its entry back will notice.
    pub(super) fn watch(&'static self, now: u64) -> Option<Loan<T>> {
        // Before the swap: a check-in that does not see this has its entry found by the swap.
        self.watched.store(1, Relaxed);
        self.take(now)
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Relaxed) != 0
    }

    pub(super) fn set_watched(&self, on: bool) {
        self.watched.store(u32::from(on), Relaxed);
    }

    /// Marks a reserved slot as holding a connection that is in use.
    pub(super) fn occupy(&'static self, entry: Box<T>, now: u64, expires: u64) -> Loan<T> {
        self.expires.store(expires, Relaxed);
        self.checked.store(now, Relaxed);
        // The first check-in goes the slow way: waiters may have queued while this slot was vacant.
        self.watched.store(1, Relaxed);
        self.stamp.store(in_use(now), Relaxed);
        Loan {
            slot: self,
            entry,
            idle_since: now,
        }
    }

    pub(super) fn vacate(&self) {
        self.holder.store(0, Relaxed);
        self.stamp.store(0, Relaxed);
    }
}

const fn in_use(tick: u64) -> u64 {
    ((tick + 1) << 1) | 1
}

const fn idle(tick: u64) -> u64 {
    (tick + 1) << 1
}

/// An entry on its way between places, together with the slot it belongs to. Whoever has it must put
/// it somewhere: losing one loses a slot.
#[must_use = "a loan that is dropped loses a slot"]
pub(crate) struct Loan<T: 'static> {
    pub(crate) slot: &'static Slot<T>,
    pub(crate) entry: Box<T>,
    /// The tick at which it came to rest, before it was taken.
    pub(crate) idle_since: u64,
}

impl<T> Loan<T> {
    /// Counts a checkout and returns how many there were on this slot before.
    #[inline]
    pub(crate) fn count_use(&self, thread: u64) -> u64 {
        // A load and a store, no read-modify-write: only the holder of the entry writes these.
        let uses = self.slot.uses();
        self.slot.gets.store(self.slot.gets() + 1, Relaxed);
        self.slot.holder.store(thread, Relaxed);
        uses
    }

    /// The same for a checkout by `try_get`.
    pub(crate) fn count_try(&self, thread: u64) -> u64 {
        let uses = self.slot.uses();
        self.slot.tries.store(self.slot.tries() + 1, Relaxed);
        self.slot.holder.store(thread, Relaxed);
        uses
    }

    pub(crate) fn set_checked(&self, now: u64) {
        self.slot.checked.store(now, Relaxed);
    }

    /// Puts the entry back as idle since `now`, unless somebody watches the slot: then the loan comes
    /// back and has to go the slow way, through the lock.
    #[inline]
    pub(crate) fn put_back(self, now: u64) -> Result<(), Self> {
        let slot = self.slot;
        if slot.is_watched() {
            return Err(self);
        }
        let since = slot.stamp.load(Relaxed);
        self.store(now);
        if slot.is_watched() {
            return take_back(slot, since, now);
        }
        Ok(())
    }

    #[inline]
    fn store(self, now: u64) {
        let Self { slot, entry, .. } = self;
        slot.holder.store(0, Relaxed);
        slot.stamp.store(idle(now), Relaxed);
        let before = slot.cell.swap(Some(entry));
        debug_assert!(before.is_none(), "bug: two entries in one slot");
        if let Some(second) = before {
            // Never in a correct engine. Keep it rather than run its Drop here.
            std::mem::forget(second);
        }
    }

    /// Puts the entry back under the pool's lock, watched or not. True if a watcher came by while it
    /// was being stored and may have missed it.
    pub(super) fn store_locked(self, now: u64) -> bool {
        let slot = self.slot;
        self.store(now);
        slot.is_watched()
    }
}

#[cold]
fn take_back<T>(slot: &'static Slot<T>, stamp: u64, idle_since: u64) -> Result<(), Loan<T>> {
    match slot.cell.swap(None) {
        Some(entry) => {
            slot.stamp.store(stamp, Relaxed);
            Err(Loan {
                slot,
                entry,
                idle_since,
            })
        }
        // Somebody took it meanwhile; the slot is still watched, so that check-in will notice.
        None => Ok(()),
    }
}
