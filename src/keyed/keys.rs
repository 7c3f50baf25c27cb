//! Which pool belongs to which key. Made on first use, removed when it has nothing to keep.
//!
//! Readers take one shard of a [`ShardedLock`], which no other core writes, and only to find the pool and
//! to take what lies ready there. No hook and no factory runs under it: one that hangs would keep new keys
//! out, and those who wait to write would keep out everybody else.
//!
//! A pool with nothing open keeps its statistics, its pause after failures and its manager. It goes when
//! its key was not used for `idle_timeout`, at the next `sweep()`, or, whichever comes first, when there
//! are about twice as many pools as there were left after the last clearing out: so their number stays
//! proportional to those that are needed, at no more than a look or two for each new key.

use crate::clock::real_now;
use crate::foreign::{Caught, guarded};
use crate::shared::{PoolGroup, Shared};
use crate::sync::outer::{AtomicU64, Condvar, Mutex};
use crate::exec::Collector;
use crate::{ConnectionManager, GetError};
use crossbeam_utils::sync::ShardedLock;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

type Factory<K, M> = Box<dyn Fn(&K) -> M + Send + Sync>;

pub(super) struct Keys<K, M: ConnectionManager> {
    pub(super) group: Arc<PoolGroup<M>>,
    pools: ShardedLock<Pools<K, M>>,
    /// Keys whose manager is being made, with a number each: one is removed without asking the key.
    building: Mutex<Vec<(u64, Caught<K>)>>,
    last_build: AtomicU64,
    made: Condvar,
    /// Removed, and perhaps still looked at by somebody.
    removed: Mutex<Vec<Arc<Shared<M>>>>,
    factory: Caught<Factory<K, M>>,
}

struct Pools<K, M: ConnectionManager> {
    by_key: HashMap<Key<K>, Arc<Shared<M>>>,
    /// The key of each pool, by the pool's number.
    keys: HashMap<u64, Caught<K>>,
    closed: bool,
    /// With so many it is time to clear out.
    enough: usize,
}

/// A key in the map, dropped with panics caught. Its Hash and Eq are the user's.
#[derive(Clone)]
struct Key<K>(Caught<K>);

impl<K: PartialEq> PartialEq for Key<K> {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl<K: Eq> Eq for Key<K> {}

impl<K: Hash> Hash for Key<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (*self.0).hash(state);
    }
}

impl<K> Borrow<K> for Key<K> {
    fn borrow(&self) -> &K {
        &self.0
    }
}

/// Fewer pools than this are not worth clearing out.
const FEW: usize = 64;

impl<K, M> Keys<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    pub(super) fn new(group: Arc<PoolGroup<M>>, factory: Factory<K, M>) -> Arc<Self> {
        Arc::new(Self {
            group,
            pools: ShardedLock::new(Pools {
                by_key: HashMap::new(),
                keys: HashMap::new(),
                closed: false,
                enough: FEW,
            }),
            building: Mutex::default(),
            made: Condvar::new(),
            removed: Mutex::default(),
            factory: Caught::new(factory),
            last_build: AtomicU64::new(0),
        })
    }

    /// Looks at the pool of this key; None if there is none. What `look` does must be quick and must not
    /// be anybody else's code.
    #[inline]
    pub(super) fn with<R>(&self, key: &K, look: impl FnOnce(&Arc<Shared<M>>) -> R) -> Option<R> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.by_key.get(key).map(look)
    }

    pub(super) fn find(&self, key: &K) -> Option<Arc<Shared<M>>> {
        self.with(key, Arc::clone)
    }

    pub(super) fn is_closed(&self) -> bool {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.closed
    }

    /// Every key and its pool, in no order.
    pub(super) fn all(&self) -> Vec<(K, Arc<Shared<M>>)> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let all = pools.by_key.iter();
        all.map(|(key, pool)| ((*key.0).clone(), Arc::clone(pool)))
            .collect()
    }

    /// The pool of this key, made now if need be, by one caller while the others wait for it.
    pub(super) fn find_or_make(
        &self,
        key: &K,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Result<Arc<Shared<M>>, GetError<M::Error>> {
        let number = self.last_build.fetch_add(1, Relaxed);
        let mut building = self.building.lock();
        loop {
            if let Some(pool) = self.find(key) {
                return Ok(pool);
            }
            if self.is_closed() {
                return Err(self.group.closed());
            }
            let now = real_now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                let waited = now.saturating_duration_since(since);
                return Err(self.group.timed_out(waited));
            }
            if !building.iter().any(|(_, other)| **other == *key) {
                building.push((number, Caught::new(key.clone())));
                break;
            }
            match deadline {
                None => self.made.wait(&mut building),
                Some(deadline) => {
                    // Looked at above.
                    let _timed_out = self.made.wait_until(&mut building, deadline);
                }
            }
        }
        drop(building);
        let manager = catch_unwind(AssertUnwindSafe(|| (self.factory)(key)));
        // The key's own code may panic as it is put into the map, and others wait for this one.
        let made = catch_unwind(AssertUnwindSafe(|| match manager {
            Ok(manager) => self.insert(key, manager),
            Err(payload) => Err(self.group.factory_panicked(payload)),
        }));
        let mut building = self.building.lock();
        let own = building.iter().position(|(other, _)| *other == number);
        let own = own.map(|at| building.swap_remove(at));
        drop(building);
        drop(own);
        self.made.notify_all();
        made.unwrap_or_else(|payload| resume_unwind(payload))
    }

    fn insert(&self, key: &K, manager: M) -> Result<Arc<Shared<M>>, GetError<M::Error>> {
        let keys = [Caught::new(key.clone()), Caught::new(key.clone())];
        let pool = self.group.add(manager);
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        if pools.closed {
            drop(pools);
            pool.close();
            return Err(self.group.closed());
        }
        let [in_map, by_number] = keys;
        let inserted = catch_unwind(AssertUnwindSafe(|| {
            pools.by_key.insert(Key(in_map), Arc::clone(&pool));
        }));
        if let Err(payload) = inserted {
            // Its Hash or its Eq panicked: nobody will find this pool.
            drop(pools);
            self.group.remove(&pool, false);
            self.drop_outside_lock([pool]);
            resume_unwind(payload);
        }
        pools.keys.insert(pool.id_in_group(), by_number);
        let crowded = pools.by_key.len() > pools.enough;
        drop(pools);
        if crowded {
            self.remove_empty(Some(&pool));
        }
        Ok(pool)
    }

    /// Removes the pools that have nothing open and nobody waiting. `but`: it is about to be used.
    pub(super) fn remove_empty(&self, but: Option<&Arc<Shared<M>>>) {
        let mut removed = Vec::new();
        let mut guard = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let pools = &mut *guard;
        if pools.closed {
            return;
        }
        let is_kept = |pool: &Arc<Shared<M>>| but.is_some_and(|but| Arc::ptr_eq(but, pool));
        pools.by_key.retain(|_, pool| {
            let goes = !is_kept(pool) && self.group.remove(pool, false);
            if goes {
                pools.keys.remove(&pool.id_in_group());
                removed.push(Arc::clone(pool));
            }
            !goes
        });
        pools.enough = (pools.by_key.len() * 2).max(FEW);
        if pools.by_key.capacity() > pools.enough * 4 {
            // Hashes the keys anew; one that panics leaves the map as it was.
            guarded(|| pools.by_key.shrink_to(pools.enough));
            pools.keys.shrink_to(pools.enough);
        }
        drop(guard);
        self.drop_outside_lock(removed);
    }

    /// Lets removed pools end here, where a manager that panics as it is dropped harms nobody, and not on
    /// whichever thread happens to look at one last.
    fn drop_outside_lock(&self, removed: impl IntoIterator<Item = Arc<Shared<M>>>) {
        let mut removed_all = self.removed.lock();
        removed_all.extend(removed);
        let pools = std::mem::take(&mut *removed_all);
        let (over, looked_at): (Vec<_>, Vec<_>) =
            (pools.into_iter()).partition(|pool| Arc::strong_count(pool) == 1);
        *removed_all = looked_at;
        drop(removed_all);
        for pool in over {
            guarded(|| drop(pool));
        }
    }

    /// Removes this pool if its key is not used any more.
    fn remove_if_idle(&self, pool: &Arc<Shared<M>>) {
        if !self.group.may_remove(pool) {
            return;
        }
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        if pools.closed {
            return;
        }
        if !self.group.remove(pool, true) {
            return;
        }
        let key = pools.keys.remove(&pool.id_in_group());
        let mut gone = None;
        guarded(|| gone = key.and_then(|key| pools.by_key.remove(&*key)));
        if gone.is_none() {
            // A key whose Hash or Eq panics, or is no longer what it was: found without asking it.
            pools.by_key.retain(|_, other| {
                let found = Arc::ptr_eq(other, pool);
                if found {
                    gone = Some(Arc::clone(other));
                }
                !found
            });
        }
        drop(pools);
        self.drop_outside_lock(gone);
    }

    /// Closes every pool; false if that was done before.
    pub(super) fn close(&self) -> bool {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let first = !std::mem::replace(&mut pools.closed, true);
        drop(pools);
        if first {
            self.group.close();
            // Who waits for a manager has to hear of it; with the lock, or one of them misses it.
            drop(self.building.lock());
            self.made.notify_all();
        }
        first
    }
}

/// What the collector of a keyed pool tends.
pub(super) struct PoolCollector<K, M: ConnectionManager>(pub(super) Arc<Keys<K, M>>);

impl<K, M> Collector for PoolCollector<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn collect(&self) -> Option<Instant> {
        self.0.group.collect(|pool| self.0.remove_if_idle(pool))
    }
}
