//! The settings of a running keyed pool, and their changes. Each applies to all keys, present and future.

use super::KeyedPool;
use super::builder::check_max_per_key;
use crate::{ConfigError, ConnectionManager, PoolConfig};
use std::hash::Hash;
use std::time::Duration;

impl<K, M> KeyedPool<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// Returns the settings of each key, including all later changes. `max_size` is `max_per_key`.
    #[must_use]
    pub fn config(&self) -> PoolConfig {
        self.keys.group.config()
    }

    /// Changes `max_per_key`, for all keys, as [`Pool::set_max_size`](crate::Pool::set_max_size) does.
    ///
    /// # Errors
    ///
    /// If `n` is zero, less than `min_idle`, or more than `max_total`. The setting is unchanged after an error.
    pub fn set_max_per_key(&self, n: usize) -> Result<(), ConfigError> {
        self.keys.group.change(|config| {
            check_max_per_key(n, config.max_total)?;
            config.max_size = n;
            Ok(())
        })
    }

    /// Changes `min_idle`, for all keys, as [`Pool::set_min_idle`](crate::Pool::set_min_idle) does. A key whose `min_idle`
    /// has lapsed gets the new one when it is used again.
    ///
    /// # Errors
    ///
    /// If `n` is more than `max_per_key`. The setting is unchanged after an error.
    pub fn set_min_idle(&self, n: usize) -> Result<(), ConfigError> {
        self.set(|config| config.min_idle = n)
    }

    /// Changes `max_idle`, for all keys, as [`Pool::set_max_idle`](crate::Pool::set_max_idle) does.
    ///
    /// # Errors
    ///
    /// If `n` is less than `min_idle`. The setting is unchanged after an error.
    pub fn set_max_idle(&self, n: impl Into<Option<usize>>) -> Result<(), ConfigError> {
        let n = n.into();
        self.set(|config| config.max_idle = n)
    }

    /// Changes `get_timeout`, for the calls of `get` that begin from now on.
    ///
    /// # Errors
    ///
    /// None at present. The signature is that of the other setters.
    pub fn set_get_timeout(&self, timeout: Duration) -> Result<(), ConfigError> {
        self.set(|config| config.get_timeout = timeout)
    }

    /// Changes `idle_timeout`, for all keys, also for the connections that are idle now and for the time after which an
    /// unused key is removed. `None` for never.
    ///
    /// # Errors
    ///
    /// If `timeout` is zero. The setting is unchanged after an error.
    pub fn set_idle_timeout(
        &self,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<(), ConfigError> {
        let timeout = timeout.into();
        self.set(|config| config.idle_timeout = timeout)
    }

    /// Changes `max_lifetime`, for all keys, as [`Pool::set_max_lifetime`](crate::Pool::set_max_lifetime) does. `None` for
    /// never.
    ///
    /// # Errors
    ///
    /// If `lifetime` is zero. The setting is unchanged after an error.
    pub fn set_max_lifetime(
        &self,
        lifetime: impl Into<Option<Duration>>,
    ) -> Result<(), ConfigError> {
        let lifetime = lifetime.into();
        self.set(|config| config.max_lifetime = lifetime)
    }

    /// Changes `max_waiters` of each key, for the callers that come from now on. `None` for no limit. Callers that wait
    /// already stay.
    ///
    /// # Errors
    ///
    /// None at present. The signature is that of the other setters.
    pub fn set_max_waiters(&self, n: impl Into<Option<usize>>) -> Result<(), ConfigError> {
        let n = n.into();
        self.set(|config| config.max_waiters = n)
    }

    /// Changes `keepalive_interval`, for all keys, as
    /// [`Pool::set_keepalive_interval`](crate::Pool::set_keepalive_interval) does. `None` switches the checks off.
    ///
    /// # Errors
    ///
    /// If `interval` is zero. The setting is unchanged after an error.
    pub fn set_keepalive_interval(
        &self,
        interval: impl Into<Option<Duration>>,
    ) -> Result<(), ConfigError> {
        let interval = interval.into();
        self.set(|config| config.keepalive_interval = interval)
    }

    /// Changes every setting that can change to the value in `config`, as
    /// [`Pool::reconfigure`](crate::Pool::reconfigure) does: all of them for all keys, present and future, or none.
    /// `max_size` is `max_per_key`; `max_total` cannot change.
    ///
    /// ```
    /// use conpool::{KeyedPool, MemoryManager};
    /// use std::time::Duration;
    ///
    /// let pool = KeyedPool::<&str, _>::builder().build(|_| MemoryManager::new())?;
    /// drop(pool.get(&"db-1")?);
    /// let mut config = pool.config();
    /// config.max_size = 20;
    /// config.get_timeout = Duration::from_secs(5);
    /// pool.reconfigure(&config)?;
    /// assert_eq!(pool.stats_for(&"db-1").expect("a pool").max_size, 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a setting differs that cannot change while the pool runs, or if a value breaks its rule. No setting has changed
    /// then.
    pub fn reconfigure(&self, config: &PoolConfig) -> Result<(), ConfigError> {
        self.keys.group.reconfigure(config)
    }

    fn set(&self, change: impl FnOnce(&mut PoolConfig)) -> Result<(), ConfigError> {
        self.keys.group.change(|config| {
            change(config);
            Ok(())
        })
    }
}
