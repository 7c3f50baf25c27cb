//! The answer to a health check.

use std::fmt;

/// What [`Pool::check_health`](crate::Pool::check_health) found. Each variant has the number of
/// connections checked and how many of them failed: the idle ones, or, where none was idle and nothing
/// else was open, the one opened for the question, which has failed too if it could not be opened.
/// [`HealthState`] is the judgement that costs nothing.
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
    /// Nothing failed. Nothing may be open either: then nothing has failed before.
    Healthy {
        /// Connections checked.
        checked: usize,
        /// Connections that failed their check.
        failed: usize,
    },
    /// Something failed, a check or the last create, but a `get` is served.
    Degraded {
        /// Connections checked.
        checked: usize,
        /// Connections that failed their check.
        failed: usize,
    },
    /// A `get` would fail: nothing is open and creates fail, or the pool is closed.
    Unhealthy {
        /// Connections checked.
        checked: usize,
        /// Connections that failed their check.
        failed: usize,
    },
}

impl Health {
    /// How many connections were checked.
    #[must_use]
    pub fn checked(&self) -> usize {
        self.counts().0
    }

    /// How many of them failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.counts().1
    }

    /// Is all well?
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

/// What a caller would meet, judged by creates, checks and broken returns as they happen.
/// See [`Pool::health`](crate::Pool::health).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HealthState {
    /// The last create or check succeeded in good time, or there was none yet.
    #[default]
    Healthy,
    /// Something fails, but a `get` is served: a connection is open while creates or checks fail, or there
    /// were only one or two failures in a row; or the last check took more than half of `check_timeout`.
    Degraded,
    /// A `get` would fail: no connection is open, creates fail, and there were three failures or more in
    /// a row.
    Unhealthy,
}

impl HealthState {
    /// As metrics and logs name it.
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
