//! The age rule: when a connection is too old, and when it has been idle for too long.

use crate::clock::ticks;
use crate::config::is_unlimited;
use crate::{EvictReason, PoolConfig};
use std::time::Duration;

/// The age limits in ticks. None: no limit.
pub(super) struct Ages {
    pub(super) idle: Option<u64>,
    pub(super) lifetime: Option<u64>,
}

impl Ages {
    pub(super) fn new(config: &PoolConfig) -> Self {
        Self {
            idle: limit(config.idle_timeout),
            lifetime: limit(config.max_lifetime),
        }
    }

    /// Returns the reason to evict a connection because of its age, if there is one.
    ///
    /// The caller must apply the rule that an idle timeout leaves min_idle connections open, because only
    /// the caller knows which connections count.
    pub(super) fn verdict(&self, expires: u64, idle_since: u64, now: u64) -> Option<EvictReason> {
        if expires <= now {
            return Some(EvictReason::MaxLifetime);
        }
        let idled_out = |limit: u64| idle_since.saturating_add(limit) < now;
        self.idle
            .is_some_and(idled_out)
            .then_some(EvictReason::IdleTimeout)
    }
}

/// Returns the limit in ticks. None: no limit.
pub(super) fn limit(age: Option<Duration>) -> Option<u64> {
    age.filter(|age| !is_unlimited(*age)).map(ticks)
}
