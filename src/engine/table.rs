//! The slots of one pool, and a search for an idle one that skips slots in use.
//!
//! Slots lie side by side in segments of doubling size. Each segment is made when first needed, so the table
//! grows without moving a slot and readers take no lock. The first segment exists from the beginning, so a
//! fast checkout reads that segment without a lookup.
//!
//! # The ready bits
//!
//! Each slot has one bit. *Set* means that the slot may hold an idle entry. *Clear* means that the slot is
//! marked RETURN_SLOW: its check-in goes through the lock and sets the bit again. A search visits only slots
//! whose bit is set, and a thorough search ([`Table::take_or_mark_all`]) clears the bit of each slot it finds
//! empty. So each visit to an empty slot costs one slow check-in later. On the fast path the bit stays set,
//! and the fast path never writes the word.
//!
//! The marker clears the bit *before* its swap. A thread that stores an entry under the lock reads the mark
//! once more *after* its swap, and sets the bit again if the slot is marked. With the single order of swaps
//! on one cell (see `slot.rs`), an idle entry therefore always has its bit set.
//!
//! # Why slots are never freed
//!
//! A guard must reach its slot without a reference count (one shared count costs 10× at two threads) and
//! without borrowing the pool. So slots are `'static`: a finished pool leaves its segments (64 bytes a slot)
//! to the next pool of the same type, and a process keeps as many slots as it used at its peak. This memory
//! is the price of a `'static` guard without a reference count and without `unsafe`.

use super::slot::{Checkout, Slot, Stamp};
use super::thread_cache::{Tag, cached_slot};
use crate::sync::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::sync::OnceLock;

/// The maximum size of the first segment. A pool with a smaller size starts with fewer slots.
const FIRST: usize = 64;
/// The number of segments that each double the table. From one slot on, they hold 2^32 slots.
const SEGMENTS: usize = 32;
/// How many slots in use a quick search passes before it gives up. The thorough search follows.
const QUICK: usize = 32;

pub(crate) struct Table<T: Send + 'static> {
    /// The tag of slot 0.
    tag: Tag,
    first: Segment<T>,
    more: [OnceLock<Segment<T>>; SEGMENTS],
}

/// The immutable part of a table, which every pool handle copies. The copy saves dependent loads: a fast
/// cycle waits, between its two swaps, for every load that needs another load first.
pub(crate) struct SlotCache<T: 'static> {
    tag: Tag,
    slots: &'static [Slot<T>],
}

impl<T> Clone for SlotCache<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SlotCache<T> {}

impl<T> SlotCache<T> {
    /// Returns the slot that this thread used last in this pool, if that slot is in the first segment.
    #[inline]
    pub(crate) fn last_used_slot(self) -> Option<&'static Slot<T>> {
        self.slots.get(cached_slot(self.tag) as usize)
    }
}

struct Segment<T: 'static> {
    slots: &'static [Slot<T>],
    ready: Box<[AtomicU64]>,
}

impl<T: Send + 'static> Table<T> {
    /// Creates a table for about `size` slots. The table grows on demand.
    pub(super) fn new(tag: Tag, size: usize) -> Self {
        let len = size.clamp(1, FIRST).next_power_of_two();
        Self {
            tag,
            first: Segment::new(tag, 0, len),
            more: [const { OnceLock::new() }; SEGMENTS],
        }
    }

    pub(crate) fn slot_cache(&self) -> SlotCache<T> {
        let (tag, slots) = (self.tag, self.first.slots);
        SlotCache { tag, slots }
    }

    /// Returns the slot that this thread used last in this pool.
    #[inline(never)]
    pub(crate) fn last_used_slot(&self) -> Option<&'static Slot<T>> {
        self.get(u32::try_from(cached_slot(self.tag)).ok()?)
    }

    /// Returns the slot with this index, if that slot was ever made.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&'static Slot<T>> {
        let (segment, offset) = self.find_segment(index)?;
        Some(&segment.slots[offset])
    }

    fn find_segment(&self, index: u32) -> Option<(&Segment<T>, usize)> {
        match locate(index as usize, self.first.slots.len()) {
            (0, offset) => Some((&self.first, offset)),
            (segment, offset) => Some((self.more[segment - 1].get()?, offset)),
        }
    }

    /// Returns the slot with this index, and makes the slot if necessary.
    pub(super) fn get_or_make(&self, index: u32) -> &'static Slot<T> {
        let first = self.first.slots.len();
        let (segment, offset) = match locate(index as usize, first) {
            (0, offset) => (&self.first, offset),
            (number, offset) => {
                let len = first << (number - 1);
                let make = || Segment::new(self.tag, len, len);
                (self.more[number - 1].get_or_init(make), offset)
            }
        };
        &segment.slots[offset]
    }

    fn segments(&self) -> impl Iterator<Item = &Segment<T>> {
        let more = self.more.iter().map_while(|segment| segment.get());
        std::iter::once(&self.first).chain(more)
    }

    /// Sets the bit that says that the slot may hold an idle entry.
    pub(super) fn set_ready(&self, index: u32) {
        if let Some((segment, offset)) = self.find_segment(index) {
            let word = &segment.ready[offset / 64];
            word.fetch_or(1 << (offset % 64), AcqRel);
        }
    }

    fn clear_ready(&self, index: u32) {
        if let Some((segment, offset)) = self.find_segment(index) {
            let word = &segment.ready[offset / 64];
            word.fetch_and(!(1 << (offset % 64)), AcqRel);
        }
    }

    /// Iterates over the slots whose ready bit is set, lowest first.
    fn ready(&self) -> impl Iterator<Item = &'static Slot<T>> + '_ {
        self.segments().flat_map(|segment| {
            let words = segment.ready.iter().enumerate();
            words.flat_map(move |(number, word)| {
                let mut bits = word.load(Acquire);
                std::iter::from_fn(move || {
                    let bit = bits.trailing_zeros() as usize;
                    bits &= bits.wrapping_sub(1);
                    (bit < 64).then_some(number * 64 + bit)
                })
                .map(|offset| &segment.slots[offset])
            })
        })
    }

    /// Iterates over every slot that was made, lowest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Slot<T>> + '_ {
        self.segments().flat_map(|segment| segment.slots.iter())
    }

    /// Takes the lowest idle entry that a quick search finds, without marking the slots in use.
    ///
    /// The quick search may miss an entry when many slots are in use;
    /// [`take_or_mark_all`](Self::take_or_mark_all) misses none.
    pub(super) fn find_idle(&self, now: u64) -> Option<Checkout<T>> {
        self.find_below(u32::MAX, now)
    }

    /// Takes the lowest idle entry that a quick search finds in a slot below `end`.
    pub(crate) fn find_below(&self, end: u32, now: u64) -> Option<Checkout<T>> {
        let mut passed = 0;
        for slot in self.ready().take_while(|slot| slot.index() < end) {
            if let Stamp::Idle(_) = slot.stamp() {
                if let Some(checkout) = slot.take(now) {
                    return Some(checkout);
                }
            }
            passed += 1;
            if passed == QUICK {
                break;
            }
        }
        None
    }

    /// Counts the entries that seem to be idle, up to `enough`.
    pub(super) fn count_idle(&self, enough: usize) -> usize {
        let idle = |slot: &&'static Slot<T>| matches!(slot.stamp(), Stamp::Idle(_));
        self.ready().filter(idle).take(enough).count()
    }

    /// Takes the lowest idle entry and marks every slot on the way RETURN_SLOW.
    pub(super) fn take_or_mark_all(&self, now: u64) -> Option<Checkout<T>> {
        self.ready().find_map(|slot| self.take_or_mark(slot, now))
    }

    /// Marks every slot RETURN_SLOW and leaves the entries in place. The caller must hold the pool's lock.
    pub(super) fn mark_all(&self, now: u64) {
        for slot in self.ready() {
            if let Some(checkout) = self.take_or_mark(slot, now) {
                let idle_since = checkout.idle_since;
                self.store_locked(checkout, idle_since, true);
            }
        }
    }

    /// Marks this slot RETURN_SLOW and takes its entry, if the slot holds one.
    pub(super) fn take_or_mark(&self, slot: &'static Slot<T>, now: u64) -> Option<Checkout<T>> {
        self.clear_ready(slot.index());
        let found = slot.take_or_mark(now);
        if found.is_some() {
            // The slot is still marked, so its next check-in goes through the lock, where the store sets
            // both the mark and the bit anew.
            self.set_ready(slot.index());
        }
        found
    }

    /// Stores an entry under the pool's lock. With `marked`, the slot's next check-in is slow too.
    pub(super) fn store_locked(&self, checkout: Checkout<T>, now: u64, marked: bool) {
        let index = checkout.slot.index();
        // The mark changes before the bit. A marker that clears the bit after `set_ready` here sets its mark
        // later still. So this thread does not undo that mark, and reads the mark after the swap.
        checkout.slot.set_return_slow(marked);
        self.set_ready(index);
        if checkout.store_locked(now) {
            self.set_ready(index);
        }
    }
}

impl<T: Send + 'static> Segment<T> {
    /// Takes `len` slots for the indices from `start` on.
    fn new(tag: Tag, start: usize, len: usize) -> Self {
        let slots = free_list::take(len);
        for (index, slot) in (start as u32..).zip(slots) {
            slot.assign(tag.with_slot(index));
        }
        Self {
            slots,
            ready: (0..len.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// Returns the segment and the offset of an index. `first` is the size of the first segment.
#[inline]
const fn locate(index: usize, first: usize) -> (usize, usize) {
    if index < first {
        return (0, index);
    }
    let doublings = (index / first).ilog2() as usize;
    (doublings + 1, index - (first << doublings))
}

impl<T: Send + 'static> Drop for Table<T> {
    fn drop(&mut self) {
        // The last reference is gone, so no entry and no guard of this pool should exist. If a slot is still
        // occupied after a bug, leak its segment: the next pool would find the slot taken.
        let vacant_segments = self.segments().filter(|segment| {
            let vacant = |slot: &Slot<T>| slot.stamp() == Stamp::Vacant;
            segment.slots.iter().all(vacant)
        });
        vacant_segments.for_each(|segment| free_list::put(segment.slots));
    }
}

impl<T: Send + 'static> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

fn leak<T>(len: usize) -> &'static [Slot<T>] {
    Box::leak((0..len).map(|_| Slot::new()).collect())
}

/// The segments that finished pools left for reuse, by entry type and segment size.
#[cfg(not(any(conpool_loom, conpool_shuttle)))]
mod free_list {
    use super::Slot;
    use parking_lot::Mutex;
    use std::any::{Any, TypeId};
    use std::collections::HashMap;
    use std::sync::LazyLock;

    type FreeLists = HashMap<(TypeId, usize), Box<dyn Any + Send>>;
    type Segments<T> = Vec<&'static [Slot<T>]>;
    static FREE_LISTS: LazyLock<Mutex<FreeLists>> = LazyLock::new(Mutex::default);

    pub(super) fn take<T: Send + 'static>(len: usize) -> &'static [Slot<T>] {
        let mut lists = FREE_LISTS.lock();
        let list = lists.get_mut(&(TypeId::of::<T>(), len));
        let list = list.and_then(|list| list.downcast_mut::<Segments<T>>());
        let segment = list.and_then(Vec::pop);
        drop(lists);
        segment.unwrap_or_else(|| super::leak(len))
    }

    pub(super) fn put<T: Send + 'static>(slots: &'static [Slot<T>]) {
        let mut lists = FREE_LISTS.lock();
        let list = lists.entry((TypeId::of::<T>(), slots.len()));
        let list = list.or_insert_with(|| Box::new(Segments::<T>::new()));
        if let Some(list) = list.downcast_mut::<Segments<T>>() {
            list.push(slots);
        }
    }
}

/// Reuses no segment: loom's atomics live for one execution only.
#[cfg(any(conpool_loom, conpool_shuttle))]
mod free_list {
    use super::Slot;

    pub(super) use super::leak as take;

    pub(super) fn put<T: Send + 'static>(_: &'static [Slot<T>]) {}
}

#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_each_other_without_gap_or_overlap() {
        for first in [1, 2, 16, FIRST] {
            let (mut segment, mut offset, mut len) = (0, 0, first);
            for index in 0..100_000 {
                assert_eq!(locate(index, first), (segment, offset), "index {index}");
                offset += 1;
                if offset == len {
                    len = first << segment;
                    (segment, offset) = (segment + 1, 0);
                }
            }
            assert!(locate(u32::MAX as usize, first).0 <= SEGMENTS);
        }
    }

    #[test]
    fn every_slot_knows_its_index_also_in_a_table_that_grew() {
        let table = Table::<String>::new(Tag::next_pool(), 3);
        for index in 0..1000 {
            assert_eq!(table.get_or_make(index).index(), index);
            assert_eq!(table.get(index).map(Slot::index), Some(index));
        }
        let all: Vec<_> = table.all().map(Slot::index).collect();
        assert_eq!(all, (0..1024).collect::<Vec<_>>());
        table.get_or_make(700).remember();
        assert_eq!(table.last_used_slot().map(Slot::index), Some(700));
    }

    #[test]
    fn a_finished_table_leaves_its_slots_to_the_next() {
        struct OnlyHere;
        let slots = || {
            let table = Table::<OnlyHere>::new(Tag::next_pool(), 10);
            let mut slots: Vec<_> = (0..100)
                .map(|n| std::ptr::from_ref(table.get_or_make(n)))
                .collect();
            slots.sort();
            slots
        };
        assert_eq!(slots(), slots());
    }

    #[test]
    fn a_slot_fills_one_cache_line() {
        assert_eq!(std::mem::size_of::<Slot<u64>>(), 64);
    }
}
