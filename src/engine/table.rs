//! The slots of one pool, and how an idle one is found without a walk that hurts.
//!
//! Slots lie side by side in segments that double, each made when first needed, so the table grows
//! without moving anything and readers take no lock. The first segment is there from the beginning:
//! where warm checkouts look, nothing has to be asked for.
//!
//! # The ready bits
//!
//! One bit per slot: *set* means "may hold an idle entry", *clear* means "watched: its check-in goes
//! through the lock and sets the bit again". A search looks only at slots whose bit is set, and a
//! thorough search ([`Table::take_or_mark_all`]) clears the bit of each slot it finds empty. So every slot
//! that is looked at in vain is paid for by one slow check-in later, and the warm path, whose bit
//! stays set, never writes the word.
//!
//! The clear comes *before* the watcher's swap, and whoever stores an entry under the lock looks at
//! the mark once more *after* its swap and sets the bit again; with the order of swaps on one cell
//! (see `slot.rs`) an entry at rest therefore always has its bit set.
//!
//! # Why slots are never freed
//!
//! A guard must find its way back to its slot without a reference count (one shared count costs 10×
//! at two threads) and without borrowing the pool. So slots are `'static`: a finished pool leaves its
//! segments (64 bytes a slot) to the next pool of the same type, and a process keeps as many as it
//! used at its peak. That is the price of a `'static` guard without a count and without `unsafe`.

use super::slot::{Checkout, Slot, Stamp};
use super::thread_cache::{Tag, cached_slot};
use crate::sync::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::sync::OnceLock;

/// The most slots that a pool has from the beginning; fewer if it needs no more.
const FIRST: usize = 64;
/// Segments that double the table, from one slot on: room for 2^32 slots.
const SEGMENTS: usize = 32;
/// How many slots in use a quick search passes before it hands over to the thorough one.
const QUICK: usize = 32;

pub(crate) struct Table<T: Send + 'static> {
    /// The tag of slot 0.
    tag: Tag,
    first: Segment<T>,
    more: [OnceLock<Segment<T>>; SEGMENTS],
}

/// What of a table never changes, for every handle to have a copy: between its two swaps a warm cycle
/// waits for every load that needs another load first.
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
    /// The slot that this thread used last here, if it is one of the first segment.
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
    /// A table for about so many slots; it grows when more are asked for.
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

    /// The slot that this thread used last here.
    #[inline(never)]
    pub(crate) fn last_used_slot(&self) -> Option<&'static Slot<T>> {
        self.get(u32::try_from(cached_slot(self.tag)).ok()?)
    }

    /// The slot with this index, if there ever was one.
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

    /// The slot with this index, made now if need be.
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

    /// Says that the slot may hold an idle entry.
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

    /// The ready slots, lowest first.
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

    /// Every slot there is, lowest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Slot<T>> + '_ {
        self.segments().flat_map(|segment| segment.slots.iter())
    }

    /// Takes the lowest idle entry it finds, without disturbing the slots in use. May miss one when
    /// many slots are in use; [`take_or_mark_all`](Self::take_or_mark_all) does not.
    pub(super) fn find_idle(&self, now: u64) -> Option<Checkout<T>> {
        self.find_below(u32::MAX, now)
    }

    /// Takes the lowest idle entry it finds in a slot below this one.
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

    /// How many entries seem to be idle, counted up to `enough`.
    pub(super) fn count_idle(&self, enough: usize) -> usize {
        let idle = |slot: &&'static Slot<T>| matches!(slot.stamp(), Stamp::Idle(_));
        self.ready().filter(idle).take(enough).count()
    }

    /// Takes the lowest idle entry; every slot passed on the way is watched from now on.
    pub(super) fn take_or_mark_all(&self, now: u64) -> Option<Checkout<T>> {
        self.ready().find_map(|slot| self.take_or_mark(slot, now))
    }

    /// Watches every slot and leaves the entries where they are. Under the pool's lock.
    pub(super) fn mark_all(&self, now: u64) {
        for slot in self.ready() {
            if let Some(checkout) = self.take_or_mark(slot, now) {
                let idle_since = checkout.idle_since;
                self.store_locked(checkout, idle_since, true);
            }
        }
    }

    /// Takes the entry of this slot or watches the slot.
    pub(super) fn take_or_mark(&self, slot: &'static Slot<T>, now: u64) -> Option<Checkout<T>> {
        self.clear_ready(slot.index());
        let found = slot.take_or_mark(now);
        if found.is_some() {
            // Still watched: its next check-in takes the slow way and settles both.
            self.set_ready(slot.index());
        }
        found
    }

    /// Stores an entry under the pool's lock. `marked`: its next check-in must go the slow way too.
    pub(super) fn store_locked(&self, checkout: Checkout<T>, now: u64, watched: bool) {
        let index = checkout.slot.index();
        // In this order: a watcher that clears the bit after it was set here has not yet set `marked`
        // then, so what it sets is not undone, and is seen after the swap.
        checkout.slot.set_return_slow(watched);
        self.set_ready(index);
        if checkout.store_locked(now) {
            self.set_ready(index);
        }
    }
}

impl<T: Send + 'static> Segment<T> {
    /// The slots from this index on.
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

/// Segment and offset of an index, where the first segment has so many slots.
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
        // The last reference is gone, so no entry and no guard of this pool should exist. Slots of a pool in
        // which something went wrong all the same are left alone: the next pool would find them taken.
        let whole = self.segments().filter(|segment| {
            let vacant = |slot: &Slot<T>| slot.stamp() == Stamp::Vacant;
            segment.slots.iter().all(vacant)
        });
        whole.for_each(|segment| free_list::put(segment.slots));
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

/// Slots that finished pools left, by type and number.
#[cfg(not(any(conpool_loom, conpool_shuttle)))]
mod free_list {
    use super::Slot;
    use parking_lot::Mutex;
    use std::any::{Any, TypeId};
    use std::collections::HashMap;
    use std::sync::LazyLock;

    type FreeLists = HashMap<(TypeId, usize), Box<dyn Any + Send>>;
    type Kept<T> = Vec<&'static [Slot<T>]>;
    static FREE_LISTS: LazyLock<Mutex<FreeLists>> = LazyLock::new(Mutex::default);

    pub(super) fn take<T: Send + 'static>(len: usize) -> &'static [Slot<T>] {
        let mut shelf = FREE_LISTS.lock();
        let kept = shelf.get_mut(&(TypeId::of::<T>(), len));
        let kept = kept.and_then(|kept| kept.downcast_mut::<Kept<T>>());
        let spare = kept.and_then(Vec::pop);
        drop(shelf);
        spare.unwrap_or_else(|| super::leak(len))
    }

    pub(super) fn put<T: Send + 'static>(slots: &'static [Slot<T>]) {
        let mut shelf = FREE_LISTS.lock();
        let kept = shelf.entry((TypeId::of::<T>(), slots.len()));
        let kept = kept.or_insert_with(|| Box::new(Kept::<T>::new()));
        if let Some(kept) = kept.downcast_mut::<Kept<T>>() {
            kept.push(slots);
        }
    }
}

/// Loom's atomics live for one execution only, so a model hands nothing on.
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
    fn places_follow_each_other_without_gap_or_overlap() {
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
