//! The age rule: when a connection is too old, and when it has been idle for too long.

use super::running::Running;
use crate::EvictReason;
use crate::clock::ticks;
use crate::config::is_unlimited;
use std::time::Duration;

impl Running {
    /// Returns the reason to evict a connection because of its age, if there is one.
    ///
    /// The caller must apply the rule that an idle timeout leaves min_idle connections open, because only
    /// the caller knows which connections count.
    pub(super) fn verdict(&self, expires: u64, idle_since: u64, now: u64) -> Option<EvictReason> {
        if expires <= now {
            return Some(EvictReason::MaxLifetime);
        }
        let idled_out = |limit: u64| idle_since.saturating_add(limit) < now;
        self.idle()
            .is_some_and(idled_out)
            .then_some(EvictReason::IdleTimeout)
    }
}

/// Returns the limit in ticks. None: no limit.
pub(super) fn limit(age: Option<Duration>) -> Option<u64> {
    age.filter(|age| !is_unlimited(*age)).map(ticks)
}
