//! Real time: how long managers wait for what is outside this process.

use std::time::{Duration, Instant};

/// A point in time up to which waiting may go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// `None`: no limit.
    end: Option<Instant>,
}

impl Limit {
    /// From now on. A length that leads to no point in time is no limit.
    pub(super) fn of(length: Duration) -> Self {
        Self {
            end: now().checked_add(length),
        }
    }

    pub(super) fn left(self) -> Duration {
        self.end
            .map_or(Duration::MAX, |end| end.saturating_duration_since(now()))
    }

    /// The part of what is left for the first of `parts` that are still to come.
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
