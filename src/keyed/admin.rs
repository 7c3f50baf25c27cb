//! The operations on a running keyed pool: clear, sweep, suspend, interrupt, wait until ready, and close.

use super::KeyedPool;
use crate::clock::real_now;
use crate::config::deadline;
use crate::error::{ReadyError, StillInUse};
use crate::{ConnectionManager, SweepReport};
use std::error::Error;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl<K, M> KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// Evicts every connection of the current generation, over all keys, as
    /// [`Pool::clear`](crate::Pool::clear) does.
    pub fn clear(&self) {
        for (_, pool) in self.keys.all() {
            pool.clear();
        }
    }

    /// Evicts every connection of the current generation of one key. Does nothing if the key has no pool.
    pub fn clear_key(&self, key: &K) {
        if let Some(pool) = self.keys.find(key) {
            pool.clear();
        }
    }

    /// Clears all keys as [`clear`](Self::clear) does, and interrupts the connections of earlier generations that are in
    /// use, as [`Pool::clear_interrupting`](crate::Pool::clear_interrupting) does. Returns the number of interrupts.
    pub fn clear_interrupting(&self) -> usize {
        self.keys.group.clear_interrupting()
    }

    /// Clears one key as [`clear_key`](Self::clear_key) does, and interrupts its connections of earlier generations that
    /// are in use. Returns the number of interrupts, which is zero if the key has no pool.
    ///
    /// After the failover of one host the callers that hang on connections to the old server get the errors of their
    /// drivers. The other keys are not affected.
    ///
    /// ```
    /// use conpool::{Hook, KeyedPool, MemoryManager};
    /// use std::thread;
    ///
    /// let backend = MemoryManager::new();
    /// let of_key = backend.clone();
    /// let pool = KeyedPool::<&str, _>::builder().build(move |_| of_key.clone())?;
    /// let mut held = pool.get(&"db-1")?;
    /// let other = pool.get(&"db-2")?;
    ///
    /// backend.hang(Hook::Execute);
    /// let stuck = thread::spawn(move || held.execute("PING"));
    /// assert_eq!(pool.clear_key_interrupting(&"db-1"), 1);
    /// assert!(stuck.join().expect("no panic").is_err());
    /// # drop(other);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_key_interrupting(&self, key: &K) -> usize {
        let pool = self.keys.find(key);
        pool.map_or(0, |pool| pool.clear_interrupting())
    }

    /// Interrupts the connection with this id, as [`holders`](Self::holders) lists it, whichever its key is. Returns true
    /// if the connection is in use, has an interrupter and was not interrupted before.
    ///
    /// The ids are unique over all keys. See [`Pool::interrupt`](crate::Pool::interrupt).
    ///
    /// ```
    /// use conpool::{KeyedPool, MemoryManager};
    ///
    /// let pool = KeyedPool::<&str, _>::builder().build(|_| MemoryManager::new())?;
    /// let held = pool.get(&"db-1")?;
    /// let longest = pool.holders()[0].connection_id;
    /// assert!(pool.interrupt(longest));
    /// assert!(!pool.interrupt(longest));
    /// # drop(held);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn interrupt(&self, connection_id: u64) -> bool {
        self.keys.group.interrupt(connection_id)
    }

    /// Fails every caller that waits for a connection, over all keys, with
    /// [`GetError::Cleared`](crate::GetError::Cleared), and returns their number. See
    /// [`Pool::clear_waiters`](crate::Pool::clear_waiters).
    ///
    /// A caller that waits for the factory of its key goes on.
    pub fn clear_waiters(&self) -> usize {
        self.keys.group.clear_waiters(None)
    }

    /// Fails every caller that waits, as [`clear_waiters`](Self::clear_waiters) does, and gives them this cause as the
    /// [`source`](std::error::Error::source) of their errors.
    pub fn clear_waiters_with(&self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> usize {
        self.keys.group.clear_waiters(Some(Arc::from(cause.into())))
    }

    /// Suspends all keys as [`Pool::suspend`](crate::Pool::suspend) does, and those that are used for the first time
    /// before the [`resume`](Self::resume). The call is idempotent.
    ///
    /// The factory of a new key is called, because only the pool of the key can wait. It creates no connection.
    pub fn suspend(&self) {
        if !self.is_closed() {
            self.keys.group.suspend(true);
        }
    }

    /// Ends a [`suspend`](Self::suspend) of all keys, and serves the waiting callers. The call is idempotent.
    ///
    /// ```
    /// use conpool::{KeyedPool, MemoryManager};
    ///
    /// let pool = KeyedPool::<&str, _>::builder()
    ///     .suspended(true)
    ///     .build(|_| MemoryManager::new())?;
    /// assert!(pool.get_timeout(&"db-1", std::time::Duration::ZERO).is_err());
    /// pool.resume();
    /// assert!(pool.get(&"db-1").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(&self) {
        if !self.is_closed() {
            self.keys.group.suspend(false);
        }
    }

    /// Waits until `n` connections of this key are open, idle or in use, and opens those that are missing, as
    /// [`Pool::wait_ready`](crate::Pool::wait_ready) does.
    ///
    /// The factory of a new key is called. As for `min_idle`, a connection is opened only in a slot of `max_total` that no
    /// caller waits for, and no connection of another key is evicted for it. While the total is reached the call
    /// therefore waits for a free slot. With a zero timeout a new key is not ready, and its factory is not called.
    ///
    /// # Errors
    ///
    /// [`ReadyError::Config`] if `n` is more than `max_per_key`, or than `max_idle` while fewer are open. [`ReadyError::Get`] if the pool is closed, if the
    /// timeout has passed, or if a create or the factory fails permanently while no connection of the key is open.
    ///
    /// ```
    /// use conpool::{KeyedPool, MemoryManager};
    /// use std::time::Duration;
    ///
    /// let pool = KeyedPool::<&str, _>::builder().build(|_| MemoryManager::new())?;
    /// pool.wait_ready(&"db-1", 2, Duration::from_secs(10))?;
    /// assert_eq!(pool.stats().idle, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_ready(
        &self,
        key: &K,
        n: usize,
        timeout: Duration,
    ) -> Result<(), ReadyError<M::Error>> {
        let since = real_now();
        let deadline = deadline(since, timeout);
        loop {
            let pool = self.keys.find_or_make(key, since, deadline)?;
            match pool.wait_ready_until(n, since, deadline) {
                // The pool of this key was removed, so the lookup is repeated.
                Err(error) if error.is_closed() && !self.is_closed() => {}
                ready => return ready,
            }
        }
    }

    /// Runs one full pass of the collector over every key, as [`Pool::sweep`](crate::Pool::sweep) does, and
    /// then removes the keys without open connections and waiters.
    pub fn sweep(&self) -> SweepReport {
        let report = self.keys.group.sweep();
        self.keys.remove_empty(None);
        report
    }

    /// Closes the pools of all keys, as [`Pool::close`](crate::Pool::close) does. Idempotent.
    pub fn close(&self) {
        self.keys.close();
    }

    /// Closes the pools of all keys, and waits until every connection is back and disposed and the threads
    /// have ended.
    ///
    /// # Errors
    ///
    /// At the timeout, returns the connections and hooks still in use, over all keys.
    pub fn close_timeout(&self, timeout: Duration) -> Result<(), StillInUse> {
        self.close_by(real_now().checked_add(timeout))
    }

    /// Closes the pools of all keys as [`close_timeout`](Self::close_timeout) does, and interrupts the connections that are
    /// still in use after `grace`. `timeout` counts from the call and includes `grace`. See
    /// [`Pool::close_interrupting`](crate::Pool::close_interrupting).
    ///
    /// # Errors
    ///
    /// At the timeout, returns the connections and hooks still in use, over all keys.
    pub fn close_interrupting(&self, grace: Duration, timeout: Duration) -> Result<(), StillInUse> {
        let now = real_now();
        self.close();
        let grace = now.checked_add(grace.min(timeout));
        self.keys.group.interrupt_undrained(grace);
        self.close_by(now.checked_add(timeout))
    }

    fn close_by(&self, deadline: Option<Instant>) -> Result<(), StillInUse> {
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
            // A thread that has not ended runs a hook or is about to leave one.
            None => Err(StillInUse {
                pool: Arc::clone(self.keys.group.name()),
                in_use: 0,
                hooks_running: 1,
                holders: Vec::new(),
            }),
        }
    }
}
