//! The results of health checks.

use std::fmt;

/// The result of [`Pool::check_health`](crate::Pool::check_health).
///
/// Each variant contains the number of checked connections and the number of failed checks. `check_health` checks the
/// idle connections. If `check_health` opens a connection, the counts include this connection, and a failed create
/// counts as a failed check. [`HealthState`] is the state that is available without a check.
///
/// # Example
///
/// ```
/// use conpool::Health;
///
/// let health = Health::Degraded { checked: 5, failed: 2 };
/// assert!(!health.is_healthy());
/// assert_eq!(health.to_string(), "degraded: 2 of 5 checks failed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Health {
    /// No check failed. The pool may have no open connection, if no operation has failed before.
    Healthy {
        /// Connections checked.
        checked: usize,
        /// Connections that failed their check.
        failed: usize,
    },
    /// A check or the last create failed, but a `get` is served.
    Degraded {
        /// Connections checked.
        checked: usize,
        /// Connections that failed their check.
        failed: usize,
    },
    /// A `get` would fail: no connection is open and creates fail, or the pool is closed.
    Unhealthy {
        /// Connections checked.
        checked: usize,
        /// Connections that failed their check.
        failed: usize,
    },
}

impl Health {
    /// Returns the number of checked connections.
    #[must_use]
    pub fn checked(&self) -> usize {
        self.counts().0
    }

    /// Returns the number of failed checks.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.counts().1
    }

    /// Returns true for `Healthy`.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        matches!(self, Self::Healthy { .. })
    }

    fn counts(self) -> (usize, usize) {
        match self {
            Self::Healthy { checked, failed }
            | Self::Degraded { checked, failed }
            | Self::Unhealthy { checked, failed } => (checked, failed),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Healthy { .. } => "healthy",
            Self::Degraded { .. } => "degraded",
            Self::Unhealthy { .. } => "unhealthy",
        };
        write!(
            f,
            "{word}: {} of {} checks failed",
            self.failed(),
            self.checked()
        )
    }
}

/// The health of a pool, as a caller would experience it. See [`Pool::health`](crate::Pool::health).
///
/// The state follows from creates, checks and connections that come back broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HealthState {
    /// The last create or check succeeded in time, or no create and no check has run.
    #[default]
    Healthy,
    /// An operation fails, but a `get` is served. Creates or checks fail while a connection is open, or only one or
    /// two failures occurred in a row, or the last check took more than half of `check_timeout`.
    Degraded,
    /// A `get` would fail: no connection is open, creates fail, and at least three failures occurred in a row.
    Unhealthy,
}

impl HealthState {
    /// Returns the name of the state in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_counts() {
        let (checked, failed) = (5, 2);
        for (health, healthy, word) in [
            (Health::Healthy { checked, failed }, true, "healthy"),
            (Health::Degraded { checked, failed }, false, "degraded"),
            (Health::Unhealthy { checked, failed }, false, "unhealthy"),
        ] {
            assert_eq!((health.checked(), health.failed()), (5, 2));
            assert_eq!(health.is_healthy(), healthy);
            assert_eq!(health.to_string(), format!("{word}: 2 of 5 checks failed"));
        }
    }
}
