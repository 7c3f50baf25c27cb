//! What each thread remembers: which slot of which pool it used last.
//!
//! A small table, not a single hint, so that a thread which uses several pools in turn stays fast on
//! all of them. It holds plain numbers: no destructor, nothing of a finished pool is kept alive, and
//! a stale hint costs one failed look.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const POOLS: usize = 8;

struct Memory {
    thread: Cell<u64>,
    slots: [Cell<(u64, u32)>; POOLS],
}

crate::sync::thread_local! {
    static MEMORY: Memory = const {
        Memory { thread: Cell::new(0), slots: [const { Cell::new((0, 0)) }; POOLS] }
    };
}

/// The slot this thread used last in the pool with this id.
#[inline]
pub(crate) fn recall(pool: u64) -> Option<u32> {
    let (known, slot) = MEMORY.with(|memory| memory.slots[pool as usize % POOLS].get());
    (known == pool).then_some(slot)
}

#[inline]
pub(crate) fn remember(pool: u64, slot: u32) {
    MEMORY.with(|memory| memory.slots[pool as usize % POOLS].set((pool, slot)));
}

/// A number for the calling thread, never 0, never used again in this process.
#[inline]
pub(crate) fn this_thread() -> u64 {
    match MEMORY.with(|memory| memory.thread.get()) {
        0 => number_this_thread(),
        number => number,
    }
}

#[cold]
fn number_this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Relaxed);
    MEMORY.with(|memory| memory.thread.set(number));
    number
}

/// A number for a pool, never 0, never used again in this process.
pub(super) fn next_pool() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

#[cfg(all(test, not(any(conpool_loom, conpool_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_remembers_a_slot_for_each_of_eight_pools() {
        let pools: Vec<u64> = (0..POOLS).map(|_| next_pool()).collect();
        let first = pools[0];
        // Ids of neighbours may be taken by tests in other threads; only fill free places.
        for (slot, pool) in pools.iter().enumerate() {
            remember(*pool, slot as u32);
        }
        assert_eq!(recall(pools[POOLS - 1]), Some(POOLS as u32 - 1));
        let stranger = first + 8 * 1_000_000;
        assert_eq!(recall(stranger), None);
    }

    #[test]
    fn thread_numbers_are_stable_and_distinct() {
        let mine = this_thread();
        assert_eq!(mine, this_thread());
        let theirs = std::thread::spawn(this_thread).join().unwrap();
        assert_ne!(mine, theirs);
    }
}
