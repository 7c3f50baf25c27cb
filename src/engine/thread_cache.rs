//! The thread-local cache of the slot that each thread used last, per pool.
//!
//! The cache is a small table in place of a single hint, so that a thread which uses several pools in turn
//! stays fast on all of them. The table holds plain numbers: it has no destructor and keeps no part of a
//! finished pool alive. A stale hint costs one failed look at a slot.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const POOLS: usize = 8;

crate::sync::thread_local! {
    static CACHE: [Cell<Tag>; POOLS] = const { [const { Cell::new(Tag(0)) }; POOLS] };
}

/// A pool and a slot of that pool in one number, which each slot stores in the form that the cache needs.
/// The high bits hold the pool, the low bits hold the slot, and the highest bit is free for the slot's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag(pub(super) u64);

const SLOT_BITS: u32 = 32;
const POOL_BITS: u32 = 31;

impl Tag {
    /// Returns the tag of slot 0 of a new pool, with a pool number that is unique in this process. (The
    /// numbers repeat after two thousand million pools. A wrong hint only costs one failed look at a slot.)
    pub(super) fn next_pool() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Relaxed) & ((1 << POOL_BITS) - 1);
        Self(number << SLOT_BITS)
    }

    pub(super) fn with_slot(self, index: u32) -> Self {
        Self(self.0 | u64::from(index))
    }

    #[inline]
    pub(super) fn slot(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    fn place(self) -> usize {
        (self.0 >> SLOT_BITS) as usize % POOLS
    }
}

/// Returns the index of the slot that this thread used last in this pool, or a value above every index.
#[inline]
pub(super) fn cached_slot(pool: Tag) -> u64 {
    let cached = CACHE.with(|cache| cache[pool.place()].get());
    cached.0.wrapping_sub(pool.0)
}

#[inline]
pub(super) fn cache_slot(tag: Tag) {
    CACHE.with(|cache| cache[tag.place()].set(tag));
}

#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_remembers_a_slot_for_each_of_eight_pools() {
        let first = Tag::next_pool().0 + (1 << 60);
        let pools: Vec<_> = (0..POOLS as u64)
            .map(|n| Tag(first + (n << SLOT_BITS)))
            .collect();
        for (slot, pool) in pools.iter().enumerate() {
            cache_slot(pool.with_slot(slot as u32));
        }
        for (slot, pool) in pools.iter().enumerate() {
            assert_eq!(cached_slot(*pool), slot as u64);
        }
        let ninth = Tag(first + (8 << SLOT_BITS));
        assert!(cached_slot(ninth) > u64::from(u32::MAX));
    }
}
