//! Hints: for each key and thread, the slot of the connection that served the key last.
//!
//! A hint lets a checkout skip the map of keys and its lock. A hint proves nothing: the checkout takes the
//! connection and then compares the key, so a hint that is stale, or that two keys share, costs time and never
//! hands out the connection of another key. Two keys with the same hash lose their hint at the first mistake,
//! because a checkout that takes the connection of another key hides it from the callers of that key.

use crate::ConnectionManager;
use crate::engine::{Slot, this_thread};
use crate::shared::PoolEntry;
use crossbeam_utils::atomic::AtomicCell;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// An odd number without a pattern in its bits: the fraction of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// The least and the largest number of hints.
const HINTS: (usize, usize) = (64, 4096);

/// The tag of no slot.
const GIVEN_UP: u64 = u64::MAX;

type EntrySlot<M> = &'static Slot<PoolEntry<M>>;

pub(super) struct Hints<M: ConnectionManager> {
    /// Makes the places of keys differ between pools and processes.
    seed: u64,
    hints: Box<[Hint<M>]>,
}

struct Hint<M: ConnectionManager> {
    /// The hash of the key, 0 while the hint is empty.
    hash: AtomicU64,
    /// The pool and the index of the slot. A slot of another pool has another tag.
    tag: AtomicU64,
    slot: AtomicCell<Option<EntrySlot<M>>>,
}

impl<M: ConnectionManager> Hints<M> {
    /// Makes hints for a pool of this many connections.
    pub(super) fn new(max_total: usize) -> Self {
        // Few keys share a place in a table that is mostly empty.
        let len = max_total.saturating_mul(4).clamp(HINTS.0, HINTS.1);
        let len = len.next_power_of_two();
        let empty = || Hint {
            hash: AtomicU64::new(0),
            tag: AtomicU64::new(0),
            slot: AtomicCell::new(None),
        };
        Self {
            seed: RandomState::new().hash_one(0),
            hints: (0..len).map(|_| empty()).collect(),
        }
    }

    /// Returns the hash of a key, which is never 0.
    #[inline]
    pub(super) fn hash<K: Hash>(&self, key: &K) -> u64 {
        let mut hasher = QuickHasher(self.seed);
        key.hash(&mut hasher);
        hasher.finish() | 1
    }

    /// The hint for a key with this hash on the calling thread. Threads have hints of their own, so that two
    /// threads that use one key do not take turns at one slot.
    #[inline]
    fn hint(&self, hash: u64) -> &Hint<M> {
        let thread = u64::from(this_thread()).wrapping_mul(FACTOR);
        let last = self.hints.len() - 1;
        &self.hints[((hash ^ thread) >> 32) as usize & last]
    }

    /// Returns the slot that served the key with this hash last, on the calling thread.
    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<EntrySlot<M>> {
        let hint = self.hint(hash);
        if hint.hash.load(Acquire) != hash {
            return None;
        }
        let slot = hint.slot.load()?;
        (slot.tag() == hint.tag.load(Relaxed)).then_some(slot)
    }

    /// Forgets the slot that served the key with this hash, on the calling thread.
    #[cold]
    pub(super) fn forget(&self, hash: u64) {
        self.hint(hash).hash.store(0, Relaxed);
    }

    /// Gives up the hint for this hash on the calling thread, because two keys have the hash.
    #[cold]
    pub(super) fn give_up(&self, hash: u64) {
        self.hint(hash).tag.store(GIVEN_UP, Relaxed);
    }

    /// Remembers the slot that served the key with this hash.
    pub(super) fn remember(&self, hash: u64, slot: EntrySlot<M>) {
        let hint = self.hint(hash);
        if hint.hash.load(Relaxed) == hash && hint.tag.load(Relaxed) == GIVEN_UP {
            return;
        }
        hint.hash.store(0, Relaxed);
        hint.slot.store(Some(slot));
        hint.tag.store(slot.tag(), Relaxed);
        hint.hash.store(hash, Release);
    }
}

/// A quick hasher for places in the table. The map of keys uses the hasher of the standard library, which
/// resists chosen keys: keys that were chosen to share a place here only lose their hints.
struct QuickHasher(u64);

impl QuickHasher {
    #[inline]
    fn add(&mut self, word: u64, factor: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(factor);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}

/// Reads eight bytes.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

impl Hasher for QuickHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(FACTOR)
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        let mut rest = bytes;
        // Sixteen bytes take one multiplication. The last words overlap those before, which loses nothing.
        while let Some((pair, more)) = rest.split_at_checked(16) {
            self.add(word(&pair[..8]), word(&pair[8..]) ^ FACTOR);
            rest = more;
        }
        let (first, last) = match rest.len() {
            9.. => (word(&rest[..8]), word(&rest[rest.len() - 8..])),
            1.. if length >= 8 => (word(&bytes[length - 8..]), 0),
            _ => {
                let shifted = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
                (rest.iter().fold(0, shifted), 0)
            }
        };
        self.add(first ^ (length as u64) << 56, last ^ FACTOR);
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.0 = self.0.rotate_left(8) ^ u64::from(value);
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.add(u64::from(value), FACTOR);
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.add(value, FACTOR);
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.add(value as u64, FACTOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryManager;
    use std::collections::BTreeSet;

    #[test]
    fn keys_that_differ_little_have_hashes_that_differ() {
        let hints = Hints::<MemoryManager>::new(10);
        let hashes = |count: usize, hash: &dyn Fn(usize) -> u64| {
            let all: BTreeSet<_> = (0..count).map(|n| hash(n) >> 32).collect();
            all.len()
        };
        assert!(hashes(10_000, &|n| hints.hash(&n)) > 9_990);
        assert!(hashes(10_000, &|n| hints.hash(&(n as u32))) > 9_990);
        assert!(hashes(10_000, &|n| hints.hash(&format!("db-{n:05}.example.com"))) > 9_990);
        assert!(hashes(10_000, &|n| hints.hash(&"x".repeat(n % 100))) == 100);
        assert!(hashes(10_000, &|n| hints.hash(&(n / 100, n % 100))) > 9_990);
    }
}
