//! The builder of a keyed pool.

use super::KeyedPool;
use super::keys::{Keys, PoolCollector};
use crate::builder::setters;
use crate::error::BuildError;
use crate::shared::PoolGroup;
use crate::{
    Backoff, Clock, ConfigError, ConnectionManager, Fairness, HealthCheck, IdleOrder, LeakAction,
    OnSuspend, PoolConfig, PoolObserver,
};
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

const MAX_TOTAL: usize = 100;
const MAX_PER_KEY: usize = 10;

/// Builds a [`KeyedPool`]. Besides `max_total` it has every setting of a [`PoolBuilder`](crate::PoolBuilder),
/// which applies to each key.
///
/// Setters never panic. [`build`](Self::build) checks every value, and returns an error that names the field,
/// the value and the rule.
#[must_use = "a builder does nothing until it builds"]
pub struct KeyedPoolBuilder<K, M: ConnectionManager> {
    config: PoolConfig,
    max_total: usize,
    max_per_key: Option<usize>,
    clock: Option<Arc<dyn Clock>>,
    observer: Option<Arc<dyn PoolObserver>>,
    of: PhantomData<fn(K, M)>,
}

impl<K, M> KeyedPoolBuilder<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// Creates a builder with the default settings.
    pub fn new() -> Self {
        Self {
            config: PoolConfig::default(),
            max_total: MAX_TOTAL,
            max_per_key: None,
            clock: None,
            observer: None,
            of: PhantomData,
        }
    }

    /// Sets the maximum number of connections over all keys. Default 100; at least 1.
    pub fn max_total(mut self, max_total: usize) -> Self {
        self.max_total = max_total;
        self
    }

    /// Sets the maximum number of connections of one key. Default 10, or `max_total` if that is less; at
    /// least 1, at most `max_total`.
    pub fn max_per_key(mut self, max_per_key: usize) -> Self {
        self.max_per_key = Some(max_per_key);
        self
    }

    /// Sets [`max_per_key`](Self::max_per_key), by the name that the setting has in a pool.
    pub fn max_size(self, max_size: usize) -> Self {
        self.max_per_key(max_size)
    }

    setters!();

    /// Builds the keyed pool. Nothing is opened before the first `get` of a key, which calls `factory` for
    /// the manager of the key.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::Config`] for an invalid setting, and [`BuildError::Thread`] if the collector
    /// thread cannot be started.
    pub fn build(
        self,
        factory: impl Fn(&K) -> M + Send + Sync + 'static,
    ) -> Result<KeyedPool<K, M>, BuildError<M::Error>> {
        let config = self.checked()?;
        let group = PoolGroup::new(&config, self.max_total, self.clock, self.observer);
        let keys = Keys::new(group, Box::new(factory));
        let collector = Arc::new(PoolCollector(Arc::clone(&keys)));
        keys.group.start(collector).map_err(BuildError::Thread)?;
        Ok(KeyedPool::open(keys))
    }

    /// Validates the settings and returns those of each key.
    fn checked(&self) -> Result<PoolConfig, ConfigError> {
        if self.max_total == 0 {
            return Err(ConfigError::new("max_total", 0, "must be at least 1"));
        }
        let max_per_key = self.max_per_key.unwrap_or(MAX_PER_KEY.min(self.max_total));
        check_max_per_key(max_per_key, Some(self.max_total))?;
        let config = PoolConfig {
            max_size: max_per_key,
            max_total: Some(self.max_total),
            ..self.config.clone()
        };
        config.validate()?;
        Ok(config)
    }
}

/// Checks a value of `max_per_key`.
pub(super) fn check_max_per_key(n: usize, max_total: Option<usize>) -> Result<(), ConfigError> {
    let rule = match (n, max_total) {
        (0, _) => "must be at least 1".to_owned(),
        (_, Some(total)) if n > total => format!("must be at most max_total ({total})"),
        _ => return Ok(()),
    };
    Err(ConfigError::new("max_per_key", n, rule))
}

impl<K, M> Default for KeyedPoolBuilder<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, M> From<PoolConfig> for KeyedPoolBuilder<K, M>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    M: ConnectionManager,
{
    /// Takes over a pool's settings. `max_size` becomes `max_per_key`; `max_total` is 100 unless the
    /// configuration sets it.
    fn from(config: PoolConfig) -> Self {
        Self {
            max_per_key: Some(config.max_size),
            max_total: config.max_total.unwrap_or(MAX_TOTAL),
            config,
            ..Self::new()
        }
    }
}

impl<K, M: ConnectionManager> Clone for KeyedPoolBuilder<K, M> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            max_total: self.max_total,
            max_per_key: self.max_per_key,
            clock: self.clock.clone(),
            observer: self.observer.clone(),
            of: PhantomData,
        }
    }
}

impl<K, M: ConnectionManager> fmt::Debug for KeyedPoolBuilder<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPoolBuilder")
            .field("max_total", &self.max_total)
            .field("max_per_key", &self.max_per_key)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
