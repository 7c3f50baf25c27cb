//! The slots of one pool, and how an idle one is found without a walk that hurts.
//!
//! Slots are made when first needed, in segments that double, so the table grows without moving
//! anything and readers take no lock.
//!
//! # The ready bits
//!
//! One bit per slot: *set* means "may hold an idle entry", *clear* means "watched: its check-in goes
//! through the lock and sets the bit again". A search looks only at slots whose bit is set, and a
//! thorough search ([`Table::watch_all`]) clears the bit of each slot it finds empty. So every slot
//! that is looked at in vain is paid for by one slow check-in later, and the warm path, whose bit
//! stays set, never writes the word.
//!
//! The clear comes *before* the watcher's swap, and whoever stores an entry under the lock looks at
//! `watched` once more *after* its swap and sets the bit again; with the order of swaps on one cell
//! (see `slot.rs`) an entry at rest therefore always has its bit set.
//!
//! # Why slots are never freed
//!
//! A guard must find its way back to its slot without a reference count (one shared count costs 10×
//! at two threads) and without borrowing the pool. So slots are `'static`: a finished pool leaves its
//! slots (128 bytes each) to the next pool of the same type, and a process keeps as many as it used
//! at its peak. That is the price of a `'static` guard without a count and without `unsafe`.

use super::slot::{Loan, Slot, Stamp};
use crate::sync::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::sync::OnceLock;

const NEAR: usize = 16;
const FIRST: usize = 64;
/// 64 slots, then segments that double the table: room for 2^32 slots.
const SEGMENTS: usize = 27;
/// How many slots in use a quick search passes before it hands over to the thorough one.
const QUICK: usize = 32;

pub(crate) struct Table<T: Send + 'static> {
    /// The lowest slots once more, without the steps through a segment: where warm checkouts look.
    near: [OnceLock<&'static Slot<T>>; NEAR],
    segments: [OnceLock<Segment<T>>; SEGMENTS],
}

struct Segment<T: 'static> {
    slots: Box<[OnceLock<&'static Slot<T>>]>,
    ready: Box<[AtomicU64]>,
}

impl<T: Send + 'static> Table<T> {
    pub(super) fn new() -> Self {
        Self {
            near: [const { OnceLock::new() }; NEAR],
            segments: [const { OnceLock::new() }; SEGMENTS],
        }
    }

    /// The slot with this index, if it was ever used.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&'static Slot<T>> {
        if let Some(near) = self.near.get(index as usize) {
            return near.get().copied();
        }
        let (segment, offset) = place(index);
        self.segments[segment].get()?.slots[offset].get().copied()
    }

    /// The slot with this index, made now if need be.
    pub(super) fn get_or_make(&self, index: u32) -> &'static Slot<T> {
        let (segment, offset) = place(index);
        let segment = self.segments[segment].get_or_init(|| Segment::new(segment));
        segment.slots[offset].get_or_init(|| {
            let slot = spare::take();
            slot.adopt(index);
            if let Some(near) = self.near.get(index as usize) {
                near.get_or_init(|| slot);
            }
            slot
        })
    }

    /// Says that the slot may hold an idle entry.
    pub(super) fn set_ready(&self, index: u32) {
        let (segment, offset) = place(index);
        if let Some(segment) = self.segments[segment].get() {
            let word = &segment.ready[offset / 64];
            word.fetch_or(1 << (offset % 64), AcqRel);
        }
    }

    fn clear_ready(&self, index: u32) {
        let (segment, offset) = place(index);
        if let Some(segment) = self.segments[segment].get() {
            let word = &segment.ready[offset / 64];
            word.fetch_and(!(1 << (offset % 64)), AcqRel);
        }
    }

    /// The ready slots, lowest first.
    fn ready(&self) -> impl Iterator<Item = &'static Slot<T>> + '_ {
        let used = self.segments.iter().map_while(|segment| segment.get());
        used.flat_map(|segment| {
            let words = segment.ready.iter().enumerate();
            words.flat_map(move |(number, word)| {
                let mut bits = word.load(Acquire);
                std::iter::from_fn(move || {
                    let bit = bits.trailing_zeros() as usize;
                    bits &= bits.wrapping_sub(1);
                    (bit < 64).then_some(number * 64 + bit)
                })
                .filter_map(|offset| segment.slots[offset].get().copied())
            })
        })
    }

    /// Every slot ever used, lowest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Slot<T>> + '_ {
        let used = self.segments.iter().map_while(|segment| segment.get());
        used.flat_map(|segment| segment.slots.iter())
            .map_while(|slot| slot.get().copied())
    }

    /// Takes the lowest idle entry it finds, without disturbing the slots in use. May miss one when
    /// many slots are in use; [`watch_all`](Self::watch_all) does not.
    pub(super) fn find(&self, now: u64) -> Option<Loan<T>> {
        let mut passed = 0;
        for slot in self.ready() {
            if let Stamp::Idle(_) = slot.stamp() {
                if let Some(loan) = slot.take(now) {
                    return Some(loan);
                }
            }
            passed += 1;
            if passed == QUICK {
                break;
            }
        }
        None
    }

    /// How many entries seem to be idle, counted up to `enough`.
    pub(super) fn seems_idle(&self, enough: usize) -> usize {
        let idle = |slot: &&'static Slot<T>| matches!(slot.stamp(), Stamp::Idle(_));
        self.ready().filter(idle).take(enough).count()
    }

    /// Takes the lowest idle entry; every slot passed on the way is watched from now on.
    pub(super) fn watch_all(&self, now: u64) -> Option<Loan<T>> {
        self.ready().find_map(|slot| self.watch(slot, now))
    }

    /// Watches every slot and leaves the entries where they are. Under the pool's lock.
    pub(super) fn watch_and_leave(&self, now: u64) {
        for slot in self.ready() {
            if let Some(loan) = self.watch(slot, now) {
                let idle_since = loan.idle_since;
                self.store_locked(loan, idle_since, true);
            }
        }
    }

    /// Takes the entry of this slot or watches the slot.
    pub(super) fn watch(&self, slot: &'static Slot<T>, now: u64) -> Option<Loan<T>> {
        self.clear_ready(slot.index());
        let found = slot.watch(now);
        if found.is_some() {
            // Still watched: its next check-in takes the slow way and settles both.
            self.set_ready(slot.index());
        }
        found
    }

    /// Stores an entry under the pool's lock. `watched`: its next check-in must go the slow way too.
    pub(super) fn store_locked(&self, loan: Loan<T>, now: u64, watched: bool) {
        let index = loan.slot.index();
        // In this order: a watcher that clears the bit after it was set here has not yet set `watched`
        // then, so what it sets is not undone, and is seen after the swap.
        loan.slot.set_watched(watched);
        self.set_ready(index);
        if loan.store_locked(now) {
            self.set_ready(index);
        }
    }
}

impl<T: 'static> Segment<T> {
    fn new(number: usize) -> Self {
        let len = if number == 0 {
            FIRST
        } else {
            FIRST << (number - 1)
        };
        Self {
            slots: (0..len).map(|_| OnceLock::new()).collect(),
            ready: (0..len / 64).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// Segment and offset of an index.
#[inline]
const fn place(index: u32) -> (usize, usize) {
    let index = index as usize;
    if index < FIRST {
        return (0, index);
    }
    let segment = (index / FIRST).ilog2() as usize + 1;
    (segment, index - (FIRST << (segment - 1)))
}

impl<T: Send + 'static> Drop for Table<T> {
    fn drop(&mut self) {
        // The last reference is gone, so no entry and no guard of this pool exists.
        let slots = self.segments.iter_mut().filter_map(OnceLock::take);
        let slots = slots.flat_map(|segment| segment.slots);
        spare::put(slots.filter_map(OnceLock::into_inner));
    }
}

impl<T: Send + 'static> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

/// Slots that finished pools left, by type.
#[cfg(not(any(conpool_loom, conpool_shuttle)))]
mod spare {
    use super::Slot;
    use parking_lot::Mutex;
    use std::any::{Any, TypeId};
    use std::collections::HashMap;
    use std::sync::LazyLock;

    type Shelf = HashMap<TypeId, Box<dyn Any + Send>>;
    static SHELF: LazyLock<Mutex<Shelf>> = LazyLock::new(Mutex::default);

    pub(super) fn take<T: Send + 'static>() -> &'static Slot<T> {
        let mut shelf = SHELF.lock();
        let slots = shelf.get_mut(&TypeId::of::<T>());
        let slots = slots.and_then(|slots| slots.downcast_mut::<Vec<&'static Slot<T>>>());
        let spare = slots.and_then(Vec::pop);
        drop(shelf);
        spare.unwrap_or_else(|| Box::leak(Box::new(Slot::new())))
    }

    pub(super) fn put<T: Send + 'static>(slots: impl Iterator<Item = &'static Slot<T>>) {
        let mut shelf = SHELF.lock();
        let entry = shelf.entry(TypeId::of::<T>());
        let kept = entry.or_insert_with(|| Box::new(Vec::<&'static Slot<T>>::new()));
        if let Some(kept) = kept.downcast_mut::<Vec<&'static Slot<T>>>() {
            kept.extend(slots);
        }
    }
}

/// Loom's atomics live for one execution only, so a model hands nothing on.
#[cfg(any(conpool_loom, conpool_shuttle))]
mod spare {
    use super::Slot;

    pub(super) fn take<T: Send + 'static>() -> &'static Slot<T> {
        Box::leak(Box::new(Slot::new()))
    }

    pub(super) fn put<T: Send + 'static>(_: impl Iterator<Item = &'static Slot<T>>) {}
}

#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_without_gap_or_overlap() {
        let (mut segment, mut offset) = (0, 0);
        for index in 0..100_000 {
            assert_eq!(place(index), (segment, offset), "index {index}");
            offset += 1;
            let len = if segment == 0 {
                FIRST
            } else {
                FIRST << (segment - 1)
            };
            if offset == len {
                (segment, offset) = (segment + 1, 0);
            }
        }
        assert!(place(u32::MAX).0 < SEGMENTS);
    }

    #[test]
    fn a_finished_table_leaves_its_slots_to_the_next() {
        struct OnlyHere;
        let table = Table::<OnlyHere>::new();
        let mut first: Vec<_> = (0..100)
            .map(|n| std::ptr::from_ref(table.get_or_make(n)))
            .collect();
        drop(table);
        let table = Table::<OnlyHere>::new();
        let mut second: Vec<_> = (0..100)
            .map(|n| std::ptr::from_ref(table.get_or_make(n)))
            .collect();
        first.sort();
        second.sort();
        assert_eq!(first, second);
    }

    #[test]
    fn a_slot_with_its_box_stays_small() {
        assert_eq!(
            std::mem::size_of::<Slot<u64>>(),
            64 + 64 * usize::from(cfg!(conpool_loom))
        );
    }
}
