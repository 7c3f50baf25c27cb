//! Deadlines in real time, for waits on something outside of this process.

use std::time::{Duration, Instant};

/// A deadline for waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// The deadline; `None` means no limit.
    end: Option<Instant>,
}

impl Limit {
    /// Starts a limit now. A length beyond the range of `Instant` means no limit.
    pub(super) fn of(length: Duration) -> Self {
        Self {
            end: now().checked_add(length),
        }
    }

    pub(super) fn left(self) -> Duration {
        self.end
            .map_or(Duration::MAX, |end| end.saturating_duration_since(now()))
    }

    /// Returns the share of the remaining time for the first of `parts` steps.
    pub(super) fn share(self, parts: usize) -> Self {
        let parts = u32::try_from(parts).unwrap_or(u32::MAX).max(1);
        match self.end {
            Some(_) if parts > 1 => Self::of(self.left() / parts),
            _ => self,
        }
    }
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
    fn a_share_leaves_time_for_those_that_follow() {
        let budget = Limit::of(Duration::from_secs(9));
        let share = budget.share(3).left();
        assert!(share <= Duration::from_secs(3), "{share:?}");
        assert!(share > Duration::from_secs(2), "{share:?}");
        assert!(budget.share(1).left() > Duration::from_secs(8));
        assert_eq!(Limit::of(Duration::MAX).share(2).left(), Duration::MAX);
        assert!(Limit::of(Duration::ZERO).share(2).left().is_zero());
    }
}
