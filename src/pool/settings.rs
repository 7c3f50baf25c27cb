//! The settings of a running pool, and their changes.

use super::Pool;
use crate::{ConfigError, ConnectionManager, PoolConfig};
use std::time::Duration;

impl<M: ConnectionManager> Pool<M> {
    /// Returns the current settings, including all later changes.
    #[must_use]
    pub fn config(&self) -> PoolConfig {
        self.shared().config()
    }

    /// Changes `max_size`. After growth, creates for waiters start at once. After a shrink, the pool evicts idle
    /// connections now and the remaining surplus at check-in.
    ///
    /// # Errors
    ///
    /// If `n` is zero or less than `min_idle`. The setting is unchanged after an error.
    pub fn set_max_size(&self, n: usize) -> Result<(), ConfigError> {
        self.set(|config| config.max_size = n)
    }

    /// Changes `min_idle`, the number of idle connections that the pool keeps ready.
    ///
    /// # Errors
    ///
    /// If `n` is more than `max_size`. The setting is unchanged after an error.
    pub fn set_min_idle(&self, n: usize) -> Result<(), ConfigError> {
        self.set(|config| config.min_idle = n)
    }

    /// Changes `max_idle`, the number of connections that may be idle after a check-in. The idle connections beyond a
    /// lower number are evicted at once ([`EvictReason::Surplus`](crate::EvictReason::Surplus)), the highest slots first.
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

    /// Changes `idle_timeout`, also for the connections that are idle now. `None` for never.
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

    /// Changes `max_lifetime`, also for the connections that are open now: for an idle connection at once, and for one in
    /// use at check-in. `None` for never. The jitter of each connection stays the same share.
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

    /// Changes `max_waiters`, for the callers that come from now on. `None` for no limit. Callers that wait already stay.
    ///
    /// # Errors
    ///
    /// None at present. The signature is that of the other setters.
    pub fn set_max_waiters(&self, n: impl Into<Option<usize>>) -> Result<(), ConfigError> {
        let n = n.into();
        self.set(|config| config.max_waiters = n)
    }

    /// Changes `keepalive_interval`, the idle time after which the collector checks a connection. `None` switches the
    /// checks off.
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

    /// Changes every setting that can change to the value in `config`: `max_size`, `min_idle`, `max_idle`,
    /// `get_timeout`, `idle_timeout`, `max_lifetime`, `keepalive_interval` and `max_waiters`. All of them change, or
    /// none.
    ///
    /// ```
    /// use conpool::{MemoryManager, Pool};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::new(MemoryManager::new())?;
    /// let mut config = pool.config();
    /// config.max_size = 20;
    /// config.max_lifetime = Some(Duration::from_secs(300));
    /// pool.reconfigure(&config)?;
    /// assert_eq!(pool.config(), config);
    ///
    /// config.name = "another".into();
    /// let error = pool.reconfigure(&config).unwrap_err();
    /// assert_eq!(error.to_string(), "name: cannot change while the pool runs");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a setting differs that cannot change while the pool runs, or if a value breaks its rule. The error names the
    /// first such setting, and the others in its rule. No setting has changed then.
    pub fn reconfigure(&self, config: &PoolConfig) -> Result<(), ConfigError> {
        self.shared().reconfigure(config)
    }

    fn set(&self, change: impl FnOnce(&mut PoolConfig)) -> Result<(), ConfigError> {
        self.shared().change(|config| {
            change(config);
            Ok(())
        })
    }
}
