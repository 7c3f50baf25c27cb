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
use crate::shared::{Family, Shared};
use crate::sync::outer::{Condvar, Mutex};
use crate::workers::{Tend, guarded};
use crate::{ConnectionManager, GetError};
use crossbeam_utils::sync::ShardedLock;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

type Factory<K, M> = Box<dyn Fn(&K) -> M + Send + Sync>;

pub(super) struct Keys<K, M: ConnectionManager> {
    pub(super) family: Arc<Family<M>>,
    pools: ShardedLock<Pools<K, M>>,
    /// Keys whose manager is being made.
    making: Mutex<HashSet<K>>,
    made: Condvar,
    /// Removed, and perhaps still looked at by somebody.
    removed: Mutex<Vec<Arc<Shared<M>>>>,
    factory: Factory<K, M>,
}

struct Pools<K, M: ConnectionManager> {
    by_key: HashMap<K, Arc<Shared<M>>>,
    /// The key of each pool, by the pool's number.
    keys: HashMap<u64, K>,
    closed: bool,
    /// With so many it is time to clear out.
    enough: usize,
}

/// Fewer pools than this are not worth clearing out.
const FEW: usize = 64;

impl<K, M> Keys<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    pub(super) fn new(family: Arc<Family<M>>, factory: Factory<K, M>) -> Arc<Self> {
        Arc::new(Self {
            family,
            pools: ShardedLock::new(Pools {
                by_key: HashMap::new(),
                keys: HashMap::new(),
                closed: false,
                enough: FEW,
            }),
            making: Mutex::default(),
            made: Condvar::new(),
            removed: Mutex::default(),
            factory,
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
        all.map(|(key, pool)| (key.clone(), Arc::clone(pool)))
            .collect()
    }

    /// The pool of this key, made now if need be, by one caller while the others wait for it.
    pub(super) fn find_or_make(
        &self,
        key: &K,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Result<Arc<Shared<M>>, GetError<M::Error>> {
        let mut making = self.making.lock();
        loop {
            if let Some(pool) = self.find(key) {
                return Ok(pool);
            }
            if self.is_closed() {
                return Err(self.family.closed());
            }
            let now = real_now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                let waited = now.saturating_duration_since(since);
                return Err(self.family.timed_out(waited));
            }
            if making.insert(key.clone()) {
                break;
            }
            match deadline {
                None => self.made.wait(&mut making),
                Some(deadline) => {
                    // Looked at above.
                    let _timed_out = self.made.wait_until(&mut making, deadline);
                }
            }
        }
        drop(making);
        let manager = catch_unwind(AssertUnwindSafe(|| (self.factory)(key)));
        let made = match manager {
            Ok(manager) => self.insert(key, manager),
            Err(payload) => Err(self.family.factory_panicked(payload)),
        };
        self.making.lock().remove(key);
        self.made.notify_all();
        made
    }

    fn insert(&self, key: &K, manager: M) -> Result<Arc<Shared<M>>, GetError<M::Error>> {
        let pool = self.family.add(manager);
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        if pools.closed {
            drop(pools);
            pool.close();
            return Err(self.family.closed());
        }
        pools.by_key.insert(key.clone(), Arc::clone(&pool));
        pools.keys.insert(pool.id_in_family(), key.clone());
        let crowded = pools.by_key.len() > pools.enough;
        drop(pools);
        if crowded {
            self.clear_out(Some(&pool));
        }
        Ok(pool)
    }

    /// Removes the pools that have nothing open and nobody waiting. `but`: it is about to be used.
    pub(super) fn clear_out(&self, but: Option<&Arc<Shared<M>>>) {
        let mut removed = Vec::new();
        let mut guard = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let pools = &mut *guard;
        if pools.closed {
            return;
        }
        let is_kept = |pool: &Arc<Shared<M>>| but.is_some_and(|but| Arc::ptr_eq(but, pool));
        pools.by_key.retain(|_, pool| {
            let goes = !is_kept(pool) && self.family.remove(pool, false);
            if goes {
                pools.keys.remove(&pool.id_in_family());
                removed.push(Arc::clone(pool));
            }
            !goes
        });
        pools.enough = (pools.by_key.len() * 2).max(FEW);
        if pools.by_key.capacity() > pools.enough * 4 {
            pools.by_key.shrink_to(pools.enough);
            pools.keys.shrink_to(pools.enough);
        }
        drop(guard);
        self.bury(removed);
    }

    /// Lets removed pools end here, where a manager that panics as it is dropped harms nobody, and not on
    /// whichever thread happens to look at one last.
    fn bury(&self, removed: impl IntoIterator<Item = Arc<Shared<M>>>) {
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
    fn let_go(&self, pool: &Arc<Shared<M>>) {
        if !self.family.is_done_with(pool) {
            return;
        }
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        if pools.closed {
            return;
        }
        if !self.family.remove(pool, true) {
            return;
        }
        let key = pools.keys.remove(&pool.id_in_family());
        let gone = key.and_then(|key| pools.by_key.remove(&key));
        drop(pools);
        self.bury(gone);
    }

    /// Closes every pool; false if that was done before.
    pub(super) fn close(&self) -> bool {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let first = !std::mem::replace(&mut pools.closed, true);
        drop(pools);
        if first {
            self.family.close();
            // Who waits for a manager has to hear of it; with the lock, or one of them misses it.
            drop(self.making.lock());
            self.made.notify_all();
        }
        first
    }
}

/// What the collector of a keyed pool tends.
pub(super) struct Tended<K, M: ConnectionManager>(pub(super) Arc<Keys<K, M>>);

impl<K, M> Tend for Tended<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn tend(&self) -> Option<Instant> {
        self.0.family.tend(|pool| self.0.let_go(pool))
    }
}
