//! The pause between repeated creates, shared by every caller and the refill.
//!
//! After a failure creates are probed one at a time until one succeeds: a backend that is down or
//! drowning meets one attempt per pause, however many callers wait.
//!
//! Each failure decides two pauses, for one of which the engine takes the state of its queue: the
//! configured one, and a shorter one while somebody waits. A caller that comes in the middle of a long
//! pause thus ends it in time, and the pause is long again as soon as nobody waits.

use crate::shared::Shared;
use crate::{Backoff, ConnectionManager};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// While somebody waits the pause is at most this long: a caller finds a backend that is back within it.
const LONGEST_FOR_WAITERS: Duration = Duration::from_millis(500);
/// A pause is not cut below this, however small `get_timeout` is: a backend that refuses at once would
/// meet attempts without a pause.
const SHORTEST_CUT: Duration = Duration::from_millis(10);

/// A pause of `Duration::MAX` is legal, and this much of it is enough.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The longest pause while somebody waits. A `get_timeout` of zero says nothing of those who wait, who
/// bring a timeout of their own.
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
    /// When the last pause was decided: creates that began before belong to the same round.
    decided: Option<Instant>,
    /// When the latest create that succeeded began: the failure of an older one is old news.
    succeeded: Option<Instant>,
    /// Creates succeed, but on_checkout then fails: only a checkout is a success.
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

    pub(in crate::shared) fn failures(&self) -> u32 {
        self.failures
    }
}

/// A random number in 0.0..1.0.
pub(in crate::shared) fn random_unit() -> f64 {
    // The standard library's hash keys are random and differ at every call.
    let bits = RandomState::new().hash_one(0u8) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

impl<M: ConnectionManager> Shared<M> {
    /// A create that began at `since` has failed: nobody tries again before the pause is over.
    pub(in crate::shared) fn start_backoff(&self, since: Instant, now: Instant) {
        // The engine's lock inside this one: a success at the same moment must not mix with it.
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

    /// A create that began at `since` has succeeded, or (without) a new connection has passed its first
    /// checkout. Whoever waits because of the pause goes on.
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
