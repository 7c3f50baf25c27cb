//! Backoff: the pause between repeated creates, shared by every caller and the refill.
//!
//! After a failure the pool tries one create at a time until one succeeds. A backend that is down or
//! overloaded therefore sees one attempt per pause, however many callers wait.
//!
//! Each failure sets two pauses: the configured pause, and a shorter pause that applies while there are
//! waiters. The engine picks one of them by the state of its queue. A caller that arrives during a long pause
//! therefore ends that pause in time, and the long pause applies again as soon as the queue is empty.

use crate::shared::Shared;
use crate::{Backoff, ConnectionManager};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest pause while there are waiters. A caller finds within this time that a backend has recovered.
const LONGEST_FOR_WAITERS: Duration = Duration::from_millis(500);
/// The lower bound of the pause for waiters, however small `get_timeout` is. Without this bound a backend
/// that refuses at once would see attempts without a pause.
const SHORTEST_CUT: Duration = Duration::from_millis(10);

/// The upper bound of any pause. A configured pause of `Duration::MAX` is legal.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Returns the longest pause while there are waiters.
///
/// A `get_timeout` of zero says nothing about waiters, because every waiter then has a timeout of its own.
fn longest_for_waiters(get_timeout: Duration) -> Duration {
    match get_timeout.is_zero() {
        true => LONGEST_FOR_WAITERS,
        false => (get_timeout / 4).clamp(SHORTEST_CUT, LONGEST_FOR_WAITERS),
    }
}

pub(in crate::shared) struct BackoffState {
    rule: Backoff,
    longest_for_waiters: Duration,
    failures: u32,
    /// When the last pause was set. A create that began before then belongs to the same round of attempts.
    decided: Option<Instant>,
    /// When the latest successful create began. The failure of an older create is outdated.
    succeeded: Option<Instant>,
    /// True if `on_checkout` fails for new connections. Then only a checkout counts as a success.
    pub(in crate::shared) fails_at_checkout: bool,
}

impl BackoffState {
    pub(in crate::shared) fn new(rule: Backoff, get_timeout: Duration) -> Self {
        Self {
            rule,
            longest_for_waiters: longest_for_waiters(get_timeout),
            failures: 0,
            decided: None,
            succeeded: None,
            fails_at_checkout: false,
        }
    }

    pub(in crate::shared) fn set_get_timeout(&mut self, get_timeout: Duration) {
        self.longest_for_waiters = longest_for_waiters(get_timeout);
    }

    pub(in crate::shared) fn failures(&self) -> u32 {
        self.failures
    }
}

/// Returns a random number in 0.0..1.0.
pub(in crate::shared) fn random_unit() -> f64 {
    // The hash keys of the standard library are random and differ at every call.
    let bits = RandomState::new().hash_one(0u8) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

impl<M: ConnectionManager> Shared<M> {
    /// Starts the pause after the failure of a create that began at `since`. No create starts before the
    /// pause is over.
    pub(in crate::shared) fn start_backoff(&self, since: Instant, now: Instant) {
        // Take the engine's lock while this lock is held, so that a concurrent success does not interleave.
        let mut backoff = self.backoff.lock();
        let known = backoff.decided.max(backoff.succeeded);
        if known.is_some_and(|known| since < known) {
            return;
        }
        backoff.failures = backoff.failures.saturating_add(1);
        backoff.decided = Some(now);
        let pause = backoff.rule.pause(backoff.failures, random_unit());
        let longest = backoff.rule.cut(backoff.longest_for_waiters, random_unit());
        let pause = pause.min(LONGEST);
        let mut state = self.engine.lock();
        state.paused_until = now.checked_add(pause);
        state.paused_for_waiters_until = now.checked_add(pause.min(longest));
        let until = state.backoff_until();
        state.failing = true;
        state.max_creating = 1;
        drop(state);
        drop(backoff);
        self.wake_by(until);
    }

    /// Ends the backoff after a success, and serves the waiters that the pause held up.
    ///
    /// `since` is the start of the create that succeeded. None: a new connection has passed its first
    /// checkout.
    pub(in crate::shared) fn reset_backoff(self: &Arc<Self>, since: Option<Instant>) {
        let mut backoff = self.backoff.lock();
        if backoff.fails_at_checkout && since.is_some() {
            return;
        }
        let succeeded = backoff.succeeded.max(since);
        backoff.succeeded = succeeded;
        if backoff.failures == 0 {
            return;
        }
        *backoff = BackoffState {
            succeeded,
            failures: 0,
            decided: None,
            fails_at_checkout: false,
            ..*backoff
        };
        let mut state = self.engine.lock();
        state.paused_until = None;
        state.paused_for_waiters_until = None;
        state.failing = false;
        state.max_creating = self.config.max_creating;
        drop(state);
        drop(backoff);
        self.set_last_create_failure(None);
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_of_those_who_wait_follows_get_timeout_within_its_bounds() {
        for (get_timeout, longest) in [
            (Duration::ZERO, 500),
            (Duration::from_millis(1), 10),
            (Duration::from_millis(400), 100),
            (Duration::from_secs(1), 250),
            (Duration::from_secs(30), 500),
            (Duration::MAX, 500),
        ] {
            let expected = Duration::from_millis(longest);
            assert_eq!(longest_for_waiters(get_timeout), expected);
        }
    }
}
