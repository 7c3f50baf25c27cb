//! Deadlines in real time, for waits on something outside of this process.

use std::{
    thread,
    time::{Duration, Instant},
};

/// The time at which waiting ends; `None` means no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

#[allow(
    dead_code,
    reason = "features select the managers that need a part of it"
)]
impl Deadline {
    pub(super) const NEVER: Self = Self(None);

    /// Returns the deadline after `length` from now. A length beyond the range of `Instant` means no limit.
    pub(super) fn after(length: Duration) -> Self {
        Self(now().checked_add(length))
    }

    /// Returns the remaining time; `Duration::MAX` without a limit.
    pub(super) fn left(self) -> Duration {
        self.0
            .map_or(Duration::MAX, |end| end.saturating_duration_since(now()))
    }

    pub(super) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// Returns the deadline of a wait of `length` from now, which never ends later than this deadline.
    pub(super) fn at_most(self, length: Duration) -> Self {
        Self::after(length.min(self.left()))
    }

    /// Returns the share of the remaining time for the first of `parts` steps.
    pub(super) fn share(self, parts: usize) -> Self {
        let parts = u32::try_from(parts).unwrap_or(u32::MAX).max(1);
        match self.0 {
            Some(_) if parts > 1 => Self::after(self.left() / parts),
            _ => self,
        }
    }

    /// Repeats an attempt while `try_again` holds for its error. The pauses start at `pause` and double up to
    /// `longest_pause`. At the deadline returns the last error.
    pub(super) fn retry<T, E>(
        self,
        mut pause: Duration,
        longest_pause: Duration,
        try_again: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            match attempt() {
                Err(error) if try_again(&error) && !self.is_over() => {
                    thread::sleep(pause.min(self.left()));
                    pause = (pause * 2).min(longest_pause);
                }
                result => return result,
            }
        }
    }
}

/// Rounds up to whole milliseconds, which the kernel and SQLite count in 31 bits.
#[cfg(any(target_os = "linux", feature = "sqlite"))]
pub(super) fn whole_millis(value: Duration) -> Duration {
    let millis = round_up(value, Duration::from_millis(1));
    Duration::from_millis(millis.min(i32::MAX as u64))
}

/// Returns the number of whole `unit`s that cover `value`.
pub(super) fn round_up(value: Duration, unit: Duration) -> u64 {
    u64::try_from(value.as_nanos().div_ceil(unit.as_nanos())).unwrap_or(u64::MAX)
}

#[allow(
    clippy::disallowed_methods,
    reason = "a real wait for something outside, not an age; the pool's clock does not apply"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_round_up_to_their_unit() {
        let second = Duration::from_secs(1);
        assert_eq!(round_up(Duration::from_millis(1), second), 1);
        assert_eq!(round_up(second, second), 1);
        assert_eq!(round_up(Duration::from_millis(1001), second), 2);
        assert_eq!(round_up(Duration::MAX, Duration::from_nanos(1)), u64::MAX);
    }

    #[cfg(any(target_os = "linux", feature = "sqlite"))]
    #[test]
    fn a_wait_is_rounded_up_to_what_sqlite_can_count() {
        assert_eq!(whole_millis(Duration::ZERO), Duration::ZERO);
        assert_eq!(
            whole_millis(Duration::from_nanos(1)),
            Duration::from_millis(1)
        );
        assert_eq!(
            whole_millis(Duration::MAX),
            Duration::from_millis(i32::MAX as u64)
        );
    }

    #[test]
    fn a_share_leaves_time_for_those_that_follow() {
        let deadline = Deadline::after(Duration::from_secs(9));
        let share = deadline.share(3).left();
        assert!(share <= Duration::from_secs(3), "{share:?}");
        assert!(share > Duration::from_secs(2), "{share:?}");
        assert!(deadline.share(1).left() > Duration::from_secs(8));
        assert_eq!(
            Deadline::after(Duration::MAX).share(2).left(),
            Duration::MAX
        );
        assert!(Deadline::after(Duration::ZERO).share(2).left().is_zero());
    }
}
