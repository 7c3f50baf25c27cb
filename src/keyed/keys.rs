//! Maps keys to pools. A pool is created on first use and removed when it has nothing to keep.
//!
//! Readers lock one shard of a [`ShardedLock`], so readers on different cores do not contend. They hold it
//! only to find the pool and to take an idle connection. No hook and no factory runs under the lock: a
//! hanging hook would block new keys, and the waiting writers would block all readers.
//!
//! A pool without open connections keeps its statistics, its backoff and its manager. It is removed when its
//! key was not used for `idle_timeout`, or at the next `sweep()`, or when there are about twice as many pools
//! as were left after the last removal. The number of pools therefore stays proportional to the number
//! needed, and each new key pays for at most a few lookups.

use super::building::{Building, wake};
use super::hints::Hints;
use crate::clock::real_now;
use crate::exec::Collector;
use crate::foreign::{Caught, guarded};
use crate::shared::{PoolGroup, Shared};
use crate::sync::outer::{Condvar, Mutex};
use crate::{ConnectionManager, GetError};
use crossbeam_utils::sync::ShardedLock;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};
use std::task::{Poll, Waker};
use std::time::Instant;

type Factory<K, M> = Box<dyn Fn(&K) -> M + Send + Sync>;

pub(super) struct Keys<K, M: ConnectionManager> {
    pub(super) group: Arc<PoolGroup<M>>,
    pools: ShardedLock<Pools<K, M>>,
    building: Mutex<Building<K>>,
    built: Condvar,
    /// Pools that were removed and that other threads may still use.
    removed: Mutex<Vec<Arc<Shared<M>>>>,
    factory: Caught<Factory<K, M>>,
    pub(super) hints: Hints<M>,
}

struct Pools<K, M: ConnectionManager> {
    by_key: HashMap<Key<K>, Arc<Shared<M>>>,
    closed: bool,
    /// The number of pools at which empty pools are removed.
    cleanup_at: usize,
}

enum LookUp<M: ConnectionManager> {
    Found(Arc<Shared<M>>),
    /// The caller must create the pool. The number marks its key as being built.
    Make(u64),
    /// Another caller creates the pool.
    Wait,
}

/// A key in the map. `Hash`, `Eq` and `Drop` of the key are user code; panics of the Drop are caught.
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

/// The number of pools below which empty pools are not removed.
const MIN_CLEANUP: usize = 64;

impl<K, M> Keys<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    pub(super) fn new(group: Arc<PoolGroup<M>>, factory: Factory<K, M>) -> Arc<Self> {
        let hints = Hints::new(group.max_total());
        Arc::new(Self {
            group,
            pools: ShardedLock::new(Pools {
                by_key: HashMap::new(),
                closed: false,
                cleanup_at: MIN_CLEANUP,
            }),
            building: Mutex::new(Building::new()),
            built: Condvar::new(),
            removed: Mutex::default(),
            factory: Caught::new(factory),
            hints,
        })
    }

    /// Calls `look` with the pool of this key; returns None if the key has no pool. `look` runs under the
    /// lock, so it must be short and must not run user code.
    #[inline]
    pub(super) fn with<R>(&self, key: &K, look: impl FnOnce(&Arc<Shared<M>>) -> R) -> Option<R> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.by_key.get(key).map(look)
    }

    /// Returns the key of a pool, if it is a pool of this keyed pool.
    #[inline]
    pub(super) fn key_of<'a>(&self, pool: &'a Shared<M>) -> Option<&'a K> {
        pool.key_in::<Caught<K>>(&self.group).map(|key| &**key)
    }

    pub(super) fn find(&self, key: &K) -> Option<Arc<Shared<M>>> {
        self.with(key, Arc::clone)
    }

    pub(super) fn is_closed(&self) -> bool {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.closed
    }

    /// Returns every key with its pool, in arbitrary order.
    pub(super) fn all(&self) -> Vec<(K, Arc<Shared<M>>)> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let all = pools.by_key.iter();
        all.map(|(key, pool)| ((*key.0).clone(), Arc::clone(pool)))
            .collect()
    }

    /// Returns the pool of this key. One caller creates a missing pool while the others wait.
    pub(super) fn find_or_make(
        &self,
        key: &K,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Result<Arc<Shared<M>>, GetError<M::Error>> {
        let mut building = self.building.lock();
        let number = loop {
            match self.look_up(&mut building, key, since, deadline)? {
                LookUp::Found(pool) => return Ok(pool),
                LookUp::Make(number) => break number,
                LookUp::Wait => {}
            }
            match deadline {
                None => self.built.wait(&mut building),
                Some(deadline) => {
                    // The deadline is checked at the top of the loop.
                    let _timed_out = self.built.wait_until(&mut building, deadline);
                }
            }
        };
        drop(building);
        self.make(number, key)
    }

    /// Returns the pool of this key, as [`find_or_make`](Self::find_or_make) does. Pending: the waker is kept until the
    /// manager of a key has been created, or until the deadline.
    pub(super) fn poll_find_or_make(
        &self,
        key: &K,
        (since, deadline): (Instant, Option<Instant>),
        waker: &Waker,
    ) -> Poll<Result<Arc<Shared<M>>, GetError<M::Error>>> {
        let waker = Caught::new(waker.clone());
        let mut building = self.building.lock();
        match self.look_up(&mut building, key, since, deadline)? {
            LookUp::Found(pool) => Poll::Ready(Ok(pool)),
            LookUp::Make(number) => {
                drop(building);
                Poll::Ready(self.make(number, key))
            }
            LookUp::Wait => {
                let Some(workers) = self.group.workers() else {
                    let pool = Arc::clone(self.group.name());
                    return Poll::Ready(Err(GetError::NoCollector { pool }));
                };
                let before = building.add_task((deadline, waker));
                drop(building);
                drop(before);
                if let Some(deadline) = deadline {
                    workers.wake_by(deadline);
                }
                Poll::Pending
            }
        }
    }

    fn look_up(
        &self,
        building: &mut Building<K>,
        key: &K,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Result<LookUp<M>, GetError<M::Error>> {
        if let Some(pool) = self.find(key) {
            return Ok(LookUp::Found(pool));
        }
        if self.is_closed() {
            return Err(self.group.closed());
        }
        let now = real_now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            let waited = now.saturating_duration_since(since);
            return Err(self.group.timed_out(waited));
        }
        Ok(building.begin(key).map_or(LookUp::Wait, LookUp::Make))
    }

    /// Creates the pool of a key that is marked as being built.
    fn make(&self, number: u64, key: &K) -> Result<Arc<Shared<M>>, GetError<M::Error>> {
        let manager = catch_unwind(AssertUnwindSafe(|| (self.factory)(key)));
        // Inserting the key runs its Hash and Eq, which may panic. The callers that wait must be notified
        // even then.
        let made = catch_unwind(AssertUnwindSafe(|| match manager {
            Ok(manager) => self.insert(key, manager),
            Err(payload) => Err(self.group.factory_panicked(payload)),
        }));
        let (own, tasks) = self.building.lock().end(number);
        drop(own);
        self.built.notify_all();
        wake(tasks);
        made.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Wakes the tasks whose deadline has passed while they wait for a manager. Returns the next deadline.
    fn wake_overdue(&self) -> Option<Instant> {
        let (overdue, next) = self.building.lock().take_overdue(real_now());
        wake(overdue);
        next
    }

    fn insert(&self, key: &K, manager: M) -> Result<Arc<Shared<M>>, GetError<M::Error>> {
        let [in_map, in_pool] = [Caught::new(key.clone()), Caught::new(key.clone())];
        let pool = self.group.add(manager, Box::new(in_pool));
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        if pools.closed {
            drop(pools);
            pool.close();
            return Err(self.group.closed());
        }
        let inserted = catch_unwind(AssertUnwindSafe(|| {
            pools.by_key.insert(Key(in_map), Arc::clone(&pool));
        }));
        if let Err(payload) = inserted {
            // The key's Hash or Eq panicked, so no lookup can find this pool.
            drop(pools);
            self.group.remove(&pool, false);
            self.drop_outside_lock([pool]);
            resume_unwind(payload);
        }
        let crowded = pools.by_key.len() > pools.cleanup_at;
        drop(pools);
        if crowded {
            self.remove_empty(Some(&pool));
        }
        Ok(pool)
    }

    /// Removes the pools without open connections and waiters, except `except`, which is about to be used.
    pub(super) fn remove_empty(&self, except: Option<&Arc<Shared<M>>>) {
        let mut removed = Vec::new();
        let mut guard = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let pools = &mut *guard;
        if pools.closed {
            return;
        }
        let is_kept =
            |pool: &Arc<Shared<M>>| except.is_some_and(|except| Arc::ptr_eq(except, pool));
        pools.by_key.retain(|_, pool| {
            let removable = !is_kept(pool) && self.group.remove(pool, false);
            if removable {
                removed.push(Arc::clone(pool));
            }
            !removable
        });
        pools.cleanup_at = (pools.by_key.len() * 2).max(MIN_CLEANUP);
        if pools.by_key.capacity() > pools.cleanup_at * 4 {
            // Shrinking hashes the keys again. If a key panics, the map stays as it was.
            guarded(|| pools.by_key.shrink_to(pools.cleanup_at));
        }
        drop(guard);
        self.drop_outside_lock(removed);
    }

    /// Drops removed pools once no other thread uses them. A manager whose Drop panics then does so in this
    /// function, where the panic is caught, and not on the thread that happens to use the pool last.
    fn drop_outside_lock(&self, removed: impl IntoIterator<Item = Arc<Shared<M>>>) {
        let mut removed_all = self.removed.lock();
        removed_all.extend(removed);
        let pools = std::mem::take(&mut *removed_all);
        let (unused, still_used): (Vec<_>, Vec<_>) =
            (pools.into_iter()).partition(|pool| Arc::strong_count(pool) == 1);
        *removed_all = still_used;
        drop(removed_all);
        for pool in unused {
            guarded(|| drop(pool));
        }
    }

    /// Removes this pool if its key is no longer used.
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
        let mut removed_pool = None;
        guarded(|| removed_pool = self.key_of(pool).and_then(|key| pools.by_key.remove(key)));
        if removed_pool.is_none() {
            // The key's Hash or Eq panics or has changed, so the pool is found by its address.
            pools.by_key.retain(|_, other| {
                let found = Arc::ptr_eq(other, pool);
                if found {
                    removed_pool = Some(Arc::clone(other));
                }
                !found
            });
        }
        drop(pools);
        self.drop_outside_lock(removed_pool);
    }

    /// Closes every pool; returns false if the pools were closed before.
    pub(super) fn close(&self) -> bool {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let first = !std::mem::replace(&mut pools.closed, true);
        drop(pools);
        if first {
            self.group.close();
            // Notifies the callers that wait for a manager. Taking the lock first ensures that no caller
            // misses the notification.
            let tasks = self.building.lock().take_tasks();
            self.built.notify_all();
            wake(tasks);
        }
        first
    }
}

/// The collector's view of a keyed pool.
pub(super) struct PoolCollector<K, M: ConnectionManager>(pub(super) Arc<Keys<K, M>>);

impl<K, M> Collector for PoolCollector<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn collect(&self) -> Option<Instant> {
        let next = self.0.group.collect(|pool| self.0.remove_if_idle(pool));
        [next, self.0.wake_overdue()].into_iter().flatten().min()
    }
}
