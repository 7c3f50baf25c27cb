//! One slot: the place of one connection, and the whole of a warm checkout and check-in.
//!
//! A checkout is one swap on the slot's cell, a check-in another. Everything a warm cycle writes lies
//! on this one cache line, which the thread that uses the slot owns: no shared reference count, no
//! shared counter, no lock.
//!
//! # Watching
//!
//! Somebody who found a slot empty and cares about its return (a waiter, close, clear, a shrink) sets
//! the slot's mark and *then* swaps the cell once more. Swaps on one cell have a single order, so either
//! that swap finds the entry that came back meanwhile, or the check-in's swap comes later, reads from
//! the watcher's swap and therefore sees the mark: it takes the entry back and goes the slow way.
//! The same atomic step that returns a connection thus tells that somebody waits for it, with no
//! fence and no shared flag on the warm path.

use super::thread_cache::{Tag, cache_slot};
use crate::sync::{AtomicU64, Ordering::Relaxed, SwapCell};

/// One place for an entry. Slots live as long as the process and are handed from a finished pool to
/// the next one of the same type (see `table.rs`), so a guard can refer to its slot without a count.
#[cfg_attr(not(any(conpool_loom, conpool_shuttle)), repr(align(64)))]
pub(crate) struct Slot<T> {
    cell: SwapCell<T>,
    /// Twice the tick of the last change, plus one while in use.
    stamp: AtomicU64,
    /// Checkouts by a `get` ever, of all the connections this slot held for this pool.
    gets: AtomicU64,
    /// Those by `try_get`.
    tries: AtomicU64,
    /// The tick at which the present connection expires.
    expires: AtomicU64,
    /// The tick at which the present connection was last proven alive, and whether it is on [`STANDBY`].
    checked: AtomicU64,
    /// The thread that made the present checkout, 0 when there is none.
    holder: AtomicU64,
    /// Which slot of which pool this is, and whether it is [`RETURN_SLOW`].
    tag: AtomicU64,
}

const RETURN_SLOW: u64 = 1 << 63;
const VACANT: u64 = u64::MAX;
const STANDBY: u64 = 1 << 63;

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
            stamp: AtomicU64::new(VACANT),
            gets: AtomicU64::new(0),
            tries: AtomicU64::new(0),
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
        for counter in [&self.gets, &self.tries, &self.holder] {
            counter.store(0, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn index(&self) -> u32 {
        Tag(self.tag.load(Relaxed)).slot()
    }

    /// Lets the calling thread look here first next time.
    pub(crate) fn remember(&self) {
        cache_slot(Tag(self.tag.load(Relaxed) & !RETURN_SLOW));
    }

    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        match self.stamp.load(Relaxed) {
            VACANT => Stamp::Vacant,
            raw if raw & 1 == 0 => Stamp::Idle(raw >> 1),
            raw => Stamp::InUse(raw >> 1),
        }
    }

    /// Since when the entry is out. Only its holder should ask.
    #[inline]
    pub(crate) fn in_use_since(&self) -> u64 {
        self.stamp.load(Relaxed) >> 1
    }

    /// Whether it went out at this very tick.
    #[inline]
    pub(crate) fn is_in_use_since(&self, tick: u64) -> bool {
        self.stamp.load(Relaxed) == in_use(tick)
    }

    /// All checkouts.
    #[inline]
    pub(crate) fn uses(&self) -> u64 {
        self.gets() + self.try_gets()
    }

    pub(crate) fn gets(&self) -> u64 {
        self.gets.load(Relaxed)
    }

    pub(crate) fn try_gets(&self) -> u64 {
        self.tries.load(Relaxed)
    }

    pub(crate) fn expires(&self) -> u64 {
        self.expires.load(Relaxed)
    }

    pub(crate) fn checked(&self) -> u64 {
        self.checked.load(Relaxed) & !STANDBY
    }

    /// Whether a checkout takes the present connection only where no other is idle.
    pub(crate) fn is_on_standby(&self) -> bool {
        self.checked.load(Relaxed) & STANDBY != 0
    }

    /// Only who has the entry may set it.
    pub(crate) fn set_on_standby(&self, on: bool) {
        let standby = if on { STANDBY } else { 0 };
        self.checked.store(self.checked() | standby, Relaxed);
    }

    pub(crate) fn holder(&self) -> u64 {
        self.holder.load(Relaxed)
    }

    /// Takes the entry, if one is here. The slot then counts as in use since `now`.
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

    /// Puts the entry back as idle since `now` and remembers the slot, unless somebody watches it: then
    /// the entry comes back and has to go the slow way, through the lock.
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
        self.holder.store(0, Relaxed);
        self.stamp.store(idle(now), Relaxed);
        let before = self.cell.swap(Some(entry));
        debug_assert!(before.is_none(), "bug: two entries in one slot");
        if let Some(second) = before {
            // Never in a correct engine. Keep it rather than run its Drop here.
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
            // Somebody took it meanwhile; the slot is still watched, so that check-in will notice.
            None => Ok(()),
        }
    }

    /// Like [`take`](Self::take), and if the slot is empty, whoever brings its entry back will notice.
    pub(super) fn take_or_mark(&'static self, now: u64) -> Option<Checkout<T>> {
        // Before the swap: a check-in that does not see this has its entry found by the swap.
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

    /// Marks a reserved slot as holding a connection that is in use.
    pub(super) fn occupy(&'static self, entry: Box<T>, now: u64, expires: u64) -> Checkout<T> {
        self.expires.store(expires, Relaxed);
        self.checked.store(now, Relaxed);
        // The first check-in goes the slow way: waiters may have queued while this slot was vacant.
        self.set_return_slow(true);
        self.stamp.store(in_use(now), Relaxed);
        Checkout {
            slot: self,
            entry,
            idle_since: now,
        }
    }

    pub(super) fn vacate(&self) {
        self.holder.store(0, Relaxed);
        self.stamp.store(VACANT, Relaxed);
    }
}

const fn in_use(tick: u64) -> u64 {
    tick << 1 | 1
}

const fn idle(tick: u64) -> u64 {
    tick << 1
}

/// An entry on its way between places, together with the slot it belongs to. Whoever has it must put
/// it somewhere: losing one loses a slot.
#[must_use = "a checkout that is dropped loses a slot"]
pub(crate) struct Checkout<T: 'static> {
    pub(crate) slot: &'static Slot<T>,
    pub(crate) entry: Box<T>,
    /// The tick at which it came to rest, before it was taken.
    pub(crate) idle_since: u64,
}

impl<T> Checkout<T> {
    /// Counts a checkout by this thread.
    #[inline]
    pub(crate) fn count_get(&self, thread: u64) {
        // A load and a store, no read-modify-write: only the holder of the entry writes these.
        self.slot.gets.store(self.slot.gets() + 1, Relaxed);
        self.slot.holder.store(thread, Relaxed);
    }

    /// The same for a checkout by `try_get`.
    #[inline]
    pub(crate) fn count_try_get(&self, thread: u64) {
        self.slot.tries.store(self.slot.try_gets() + 1, Relaxed);
        self.slot.holder.store(thread, Relaxed);
    }

    /// It goes to its holder at this tick, after it was handed over or checked.
    pub(crate) fn set_in_use_since(&self, tick: u64) {
        self.slot.stamp.store(in_use(tick), Relaxed);
    }

    pub(crate) fn set_checked(&self, now: u64) {
        let standby = self.slot.checked.load(Relaxed) & STANDBY;
        self.slot.checked.store(now | standby, Relaxed);
    }

    /// Puts the entry back under the pool's lock, watched or not. True if a watcher came by while it
    /// was being stored and may have missed it.
    pub(super) fn store_locked(self, now: u64) -> bool {
        let slot = self.slot;
        slot.store(self.entry, now);
        slot.returns_slow()
    }
}
