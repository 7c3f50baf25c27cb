//! Many pools of one kind: one for each key, within one total.

mod builder;
mod keys;

pub use builder::KeyedPoolBuilder;

use crate::clock::real_now;
use crate::error::{GetError, StillInUse};
use crate::shared::{Found, GetTimeout, PoolCheckout, Shared};
use crate::{
    ConnectionManager, HealthState, Holder, PoolConfig, PoolStats, PooledConnection, SweepReport,
};
use keys::Keys;
use std::fmt;
use std::hash::Hash;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pool for each key: for each host, database, tenant or device, made on first use.
///
/// Each key has a pool of its own, with the settings of the builder and at most `max_per_key`
/// connections. All of them together have at most `max_total`, those on their way out included. They
/// share one collector and the threads that run hooks.
///
/// Cloning makes another handle. When the last one is dropped the pool closes, as [`Pool`](crate::Pool)
/// does.
///
/// ```
/// use conpool::{KeyedPool, MemoryManager};
///
/// let pool = KeyedPool::<String, MemoryManager>::builder()
///     .max_total(100)
///     .max_per_key(30)
///     .build(|_host: &String| MemoryManager::new())?;
///
/// let mut connection = pool.get(&"db-1".to_owned())?;
/// assert_eq!(connection.execute("PING")?, "PONG");
/// drop(connection);
///
/// assert_eq!(pool.keys(), ["db-1"]);
/// assert_eq!(pool.stats().idle, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # When the total is reached
///
/// A caller that could open a connection but for the total does not wait for its own key alone:
///
/// - The connection of another key that has been idle longest makes room
///   ([`EvictReason::MadeRoom`](crate::EvictReason::MadeRoom)); the new one is opened when its `dispose`
///   has ended.
/// - Where none is idle, a check-in counts as a slot that comes free. It goes to whoever has waited
///   longest, of its own key or of another, for whom the connection is evicted then. So a key that is
///   always busy starves no other, and two keys that want more than there is take turns, at the price of
///   a connection each time: a total that is reached often is too small.
/// - `min_idle` of a key is filled only from slots that nobody waits for, does not protect from making
///   room, and lapses when the key was not used for `idle_timeout`.
///
/// A backend that hangs costs other keys the slots it holds, until its hooks time out, and nothing else.
///
/// # Keys that are not used any more
///
/// A key with nothing open and nobody waiting takes no memory after [`sweep`](Self::sweep). Without it,
/// such keys go when they were not used for `idle_timeout`, or earlier where many have gathered. What they
/// counted stays in [`stats`](Self::stats).
///
/// # What a key must do
///
/// `Eq`, `Hash` and `Clone` of the key run under a lock of the pool: they must not block, panic or call it.
///
/// # The factory
///
/// It makes the manager of a key, on the thread of the first caller, under no lock; other callers of that
/// key wait for it, those of other keys do not. It should not talk to the backend: that is for `create`,
/// which has a timeout. Where it panics the caller is told ([`GetError::Panicked`]) and the next one tries
/// again.
pub struct KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    keys: Arc<Keys<K, M>>,
    handle: Arc<Handle<K, M>>,
}

/// What the handles share: the pools live as long as this.
struct Handle<K, M>(Arc<Keys<K, M>>)
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager;

impl<K, M> Drop for Handle<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<K, M> KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// Settings for a keyed pool.
    pub fn builder() -> KeyedPoolBuilder<K, M> {
        KeyedPoolBuilder::new()
    }

    fn open(keys: Arc<Keys<K, M>>) -> Self {
        let handle = Arc::new(Handle(Arc::clone(&keys)));
        Self { keys, handle }
    }

    /// Checks a connection of this key out, waiting at most `get_timeout` for it.
    ///
    /// # Errors
    ///
    /// As [`Pool::get`](crate::Pool::get); also [`GetError::Panicked`] where the factory panicked. The
    /// numbers in the error are those of the key.
    #[inline]
    #[track_caller]
    pub fn get(&self, key: &K) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_warm(key, false) {
            Ok(guard) => Ok(guard),
            Err(found) => self.get_cold(key, None, found),
        }
    }

    /// The same, waiting at most `timeout`. Zero takes an idle connection or fails; `Duration::MAX` waits
    /// for ever.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[inline]
    #[track_caller]
    pub fn get_timeout(
        &self,
        key: &K,
        timeout: Duration,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_warm(key, false) {
            Ok(guard) => Ok(guard),
            Err(found) => self.get_cold(key, Some(GetTimeout::For(timeout)), found),
        }
    }

    /// The same, waiting until `deadline`; one that has passed waits for nothing.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[inline]
    #[track_caller]
    pub fn get_deadline(
        &self,
        key: &K,
        deadline: Instant,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        match self.get_warm(key, false) {
            Ok(guard) => Ok(guard),
            Err(found) => self.get_cold(key, Some(GetTimeout::Until(deadline)), found),
        }
    }

    /// An idle connection of this key now, or none. Never waits, never creates, and never calls the
    /// factory.
    #[must_use = "the connection, if there is one, goes back when this is dropped"]
    #[inline]
    #[track_caller]
    pub fn try_get(&self, key: &K) -> Option<PooledConnection<M>> {
        match self.get_warm(key, true) {
            Ok(guard) => Some(guard),
            Err(found) => self.try_cold(key, found),
        }
    }

    /// What lies ready for this key. Err with what it took and could not vouch for.
    #[inline]
    fn get_warm(
        &self,
        key: &K,
        tries: bool,
    ) -> Result<PooledConnection<M>, Option<PoolCheckout<M>>> {
        let now = self.keys.group.tick();
        let found = self.keys.with(key, |pool| pool.try_fast(now));
        match found {
            None | Some(Found::Nothing) => Err(None),
            Some(Found::Stale(checkout)) => Err(Some(checkout)),
            Some(Found::Fresh(checkout)) => {
                let checkout = Shared::finish_fast(checkout, tries);
                checkout.map(PooledConnection::new).ok_or(None)
            }
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn get_cold(
        &self,
        key: &K,
        budget: Option<GetTimeout>,
        mut found: Option<PoolCheckout<M>>,
    ) -> Result<PooledConnection<M>, GetError<M::Error>> {
        let at = Location::caller();
        let group = &self.keys.group;
        let budget = budget.unwrap_or(GetTimeout::For(group.config().get_timeout));
        let (since, deadline) = budget.from(real_now());
        loop {
            let pool = match &found {
                Some(checkout) => Arc::clone(&checkout.entry.shared),
                None => self.keys.find_or_make(key, since, deadline)?,
            };
            let budget = GetTimeout::Since(since, deadline);
            match pool.get_slow(budget, at, found.take()) {
                Ok(checkout) => return Ok(PooledConnection::new(checkout)),
                // The pool of this key was removed between the look for it and the look into it.
                Err(GetError::Closed { .. }) if !self.keys.is_closed() => {}
                Err(GetError::Closed { .. }) => return Err(group.closed()),
                Err(error) => return Err(error),
            }
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn try_cold(&self, key: &K, found: Option<PoolCheckout<M>>) -> Option<PooledConnection<M>> {
        let at = Location::caller();
        let pool = match &found {
            Some(checkout) => Arc::clone(&checkout.entry.shared),
            None => self.keys.find(key)?,
        };
        pool.try_get_slow(at, found).map(PooledConnection::new)
    }

    /// The sums over all keys, in one consistent look: `size` + `disposing` ≤ `max_total`, which is what
    /// `max_size` says here. Counts of keys that are gone are in it. The peaks are those that a call of
    /// this function saw, or one key alone. Holds the locks of all keys while it reads the counts of the
    /// connections: fractions of a microsecond for each key, during which their slow paths wait.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.keys.group.stats()
    }

    /// The statistics of one key; `None` if it has no pool now.
    #[must_use]
    pub fn stats_for(&self, key: &K) -> Option<PoolStats> {
        self.keys.find(key).map(|pool| pool.stats())
    }

    /// The worst health of all keys: one dead host makes it [`HealthState::Unhealthy`]. Each key that has
    /// nothing open and has failed before is opened a connection, as by [`Pool::health`](crate::Pool::health),
    /// as far as `max_total` permits.
    #[must_use]
    pub fn health(&self) -> HealthState {
        let all = self.keys.all().into_iter();
        all.map(|(_, pool)| pool.health()).max().unwrap_or_default()
    }

    /// The health of one key, as [`Pool::health`](crate::Pool::health); `None` if it has no pool now.
    #[must_use]
    pub fn health_for(&self, key: &K) -> Option<HealthState> {
        self.keys.find(key).map(|pool| pool.health())
    }

    /// The keys that have a pool now, in no order.
    #[must_use]
    pub fn keys(&self) -> Vec<K> {
        let all = self.keys.all();
        all.into_iter().map(|(key, _)| key).collect()
    }

    /// Who holds what, of all keys. Empty unless `leak_threshold` is set.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        self.keys.group.holders()
    }

    /// Evicts every connection of today's generation, of all keys, as [`Pool::clear`](crate::Pool::clear)
    /// does.
    pub fn clear(&self) {
        for (_, pool) in self.keys.all() {
            pool.clear();
        }
    }

    /// The same for one key; nothing happens if it has no pool.
    pub fn clear_key(&self, key: &K) {
        if let Some(pool) = self.keys.find(key) {
            pool.clear();
        }
    }

    /// One whole pass of the collector over every key, as [`Pool::sweep`](crate::Pool::sweep); then keys
    /// with nothing open and nobody waiting are removed.
    pub fn sweep(&self) -> SweepReport {
        let report = self.keys.group.sweep();
        self.keys.remove_empty(None);
        report
    }

    /// Closes all of it, as [`Pool::close`](crate::Pool::close). Idempotent.
    pub fn close(&self) {
        self.keys.close();
    }

    /// Closes all of it and waits until every connection is back and disposed and the threads have ended.
    ///
    /// # Errors
    ///
    /// At the timeout: what is still in use, over all keys.
    pub fn close_timeout(&self, timeout: Duration) -> Result<(), StillInUse> {
        let deadline = real_now().checked_add(timeout);
        self.close();
        let mut left: Option<StillInUse> = None;
        for (_, pool) in self.keys.all() {
            let Err(more) = pool.close_by(deadline) else {
                continue;
            };
            match &mut left {
                None => left = Some(more),
                Some(left) => left.add(more),
            }
        }
        let gone = self.keys.group.wait_gone(deadline);
        match left {
            Some(left) => Err(left),
            None if gone => Ok(()),
            // A thread that has not ended is in a hook, or about to leave one.
            None => Err(StillInUse {
                pool: Arc::clone(self.keys.group.name()),
                in_use: 0,
                hooks_running: 1,
                holders: Vec::new(),
            }),
        }
    }

    /// True once it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.keys.is_closed()
    }

    /// The name, which all keys share.
    #[must_use]
    pub fn name(&self) -> &str {
        self.keys.group.name()
    }

    /// The settings, which hold for each key. `max_size` is `max_per_key`.
    #[must_use]
    pub fn config(&self) -> PoolConfig {
        self.keys.group.config().clone()
    }
}

impl<K, M> Clone for KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn clone(&self) -> Self {
        Self {
            keys: Arc::clone(&self.keys),
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<K, M> fmt::Debug for KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("KeyedPool")
            .field("name", &self.name())
            .field("max_total", &stats.max_size)
            .field("idle", &stats.idle)
            .field("in_use", &stats.in_use)
            .field("waiters", &stats.waiters)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

// As for `Pool`: every hook runs with panics caught, and no lock is held meanwhile.
impl<K, M> UnwindSafe for KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
}
impl<K, M> RefUnwindSafe for KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
}
