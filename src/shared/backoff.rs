//! The pause between repeated creates, shared by every caller and the refill.
//!
//! After a failure creates are probed one at a time until one succeeds: a backend that is down or
//! drowning meets one attempt per pause, however many callers wait.

use super::Shared;
use crate::{Backoff, ConnectionManager};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Backing {
    rule: Backoff,
    failures: u32,
    /// When the last pause was decided: creates that began before belong to the same round.
    decided: Option<Instant>,
    /// When the latest create that succeeded began: the failure of an older one is old news.
    succeeded: Option<Instant>,
    /// Creates succeed, but on_checkout then fails: only a checkout is a success.
    pub(super) fails_at_checkout: bool,
}

impl Backing {
    pub(super) fn new(rule: Backoff) -> Self {
        Self {
            rule,
            failures: 0,
            decided: None,
            succeeded: None,
            fails_at_checkout: false,
        }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

/// A random number in 0.0..1.0.
pub(super) fn random_unit() -> f64 {
    // The standard library's hash keys are random and differ at every call.
    let bits = RandomState::new().hash_one(0u8) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

impl<M: ConnectionManager> Shared<M> {
    /// A create that began at `since` has failed: nobody tries again before the pause is over.
    pub(super) fn back_off(&self, since: Instant, now: Instant) {
        // The engine's lock inside this one: a success at the same moment must not mix with it.
        let mut backing = self.backing.lock();
        let known = backing.decided.max(backing.succeeded);
        if known.is_some_and(|known| since < known) {
            return;
        }
        backing.failures = backing.failures.saturating_add(1);
        backing.decided = Some(now);
        let pause = backing.rule.pause(backing.failures, random_unit());
        let until = now.checked_add(pause);
        let mut core = self.engine.lock();
        core.paused_until = until;
        core.failing = true;
        core.max_creating = 1;
        drop(core);
        drop(backing);
        self.call_at(until);
    }

    /// A create that began at `since` has succeeded, or (without) a new connection has passed its first
    /// checkout. Whoever waits because of the pause goes on.
    pub(super) fn back_on(self: &Arc<Self>, since: Option<Instant>) {
        let mut backing = self.backing.lock();
        if backing.fails_at_checkout && since.is_some() {
            return;
        }
        let succeeded = backing.succeeded.max(since);
        backing.succeeded = succeeded;
        if backing.failures == 0 {
            return;
        }
        *backing = Backing {
            succeeded,
            ..Backing::new(backing.rule)
        };
        let mut core = self.engine.lock();
        core.paused_until = None;
        core.failing = false;
        core.max_creating = self.config.max_creating;
        drop(core);
        drop(backing);
        self.set_last_create_failure(None);
        self.settle();
    }
}
