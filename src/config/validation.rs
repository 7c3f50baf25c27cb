//! The rules for the values of the settings.

use super::{Backoff, ConfigError, LeakAction, PoolConfig};
use std::time::Duration;

impl PoolConfig {
    /// Checks every setting. Building a pool also calls this.
    ///
    /// # Errors
    ///
    /// Returns an error for the first setting, in the order of the fields, whose value its rule forbids.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_name()?;
        validate_at_least_one("max_size", self.max_size)?;
        if let Some(total) = self.max_total {
            validate_at_least_one("max_total", total)?;
            if self.max_size > total {
                let rule = format!("must be at most max_total ({total})");
                return Err(ConfigError::new("max_size", self.max_size, rule));
            }
        }
        if self.min_idle > self.max_size {
            return Err(ConfigError::new(
                "min_idle",
                self.min_idle,
                format!("must be at most max_size ({})", self.max_size),
            ));
        }
        if let Some(max_idle) = self.max_idle.filter(|max_idle| *max_idle < self.min_idle) {
            let rule = format!(
                "must be at least min_idle ({}), or None for no limit",
                self.min_idle
            );
            return Err(ConfigError::new("max_idle", max_idle, rule));
        }
        validate_above_zero_or_none("idle_timeout", self.idle_timeout)?;
        validate_above_zero_or_none("max_lifetime", self.max_lifetime)?;
        validate_share("lifetime_jitter", self.lifetime_jitter)?;
        if self.max_uses == Some(0) {
            return Err(ConfigError::new(
                "max_uses",
                0,
                "must be at least 1, or None for no limit",
            ));
        }
        validate_above_zero("check_timeout", self.check_timeout)?;
        validate_above_zero_or_none("keepalive_interval", self.keepalive_interval)?;
        validate_above_zero("create_timeout", self.create_timeout)?;
        validate_above_zero("dispose_timeout", self.dispose_timeout)?;
        validate_at_least_one("max_creating", self.max_creating)?;
        self.backoff.validate()?;
        validate_above_zero_or_none("leak_threshold", self.leak_threshold)?;
        self.validate_leak_action()
    }

    fn validate_leak_action(&self) -> Result<(), ConfigError> {
        let LeakAction::Interrupt { after } = self.leak_action else {
            return Ok(());
        };
        let rule = match self.leak_threshold {
            None => "needs a leak_threshold".to_owned(),
            Some(threshold) if after < threshold => {
                format!("must not be before leak_threshold ({threshold:?})")
            }
            Some(_) => return Ok(()),
        };
        Err(ConfigError::new("leak_action", self.leak_action, rule))
    }

    fn validate_name(&self) -> Result<(), ConfigError> {
        // The name of a thread cannot contain a NUL: spawning the thread would panic.
        let rule = if self.name.is_empty() {
            "must not be empty"
        } else if self.name.contains('\0') {
            "must not contain a NUL character"
        } else if self.name.contains(char::is_control) {
            // Errors and statistics are one line each.
            "must not contain control characters"
        } else {
            return Ok(());
        };
        Err(ConfigError::new("name", &self.name, rule))
    }
}

impl Backoff {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.initial.is_zero() {
            return Err(ConfigError::new(
                "backoff.initial",
                self.initial,
                "must be above zero",
            ));
        }
        // The condition is written so that NaN fails.
        if !(self.factor.is_finite() && self.factor >= 1.0) {
            return Err(ConfigError::new(
                "backoff.factor",
                self.factor,
                "must be finite and at least 1.0",
            ));
        }
        if self.max < self.initial {
            return Err(ConfigError::new(
                "backoff.max",
                self.max,
                format!("must be at least backoff.initial ({:?})", self.initial),
            ));
        }
        validate_share("backoff.jitter", self.jitter)
    }
}

fn validate_at_least_one(field: &'static str, value: usize) -> Result<(), ConfigError> {
    if value == 0 {
        return Err(ConfigError::new(field, value, "must be at least 1"));
    }
    Ok(())
}

fn validate_above_zero(field: &'static str, value: Duration) -> Result<(), ConfigError> {
    if value.is_zero() {
        return Err(ConfigError::new(field, value, "must be above zero"));
    }
    Ok(())
}

fn validate_above_zero_or_none(
    field: &'static str,
    value: Option<Duration>,
) -> Result<(), ConfigError> {
    match value {
        Some(zero) if zero.is_zero() => Err(ConfigError::new(
            field,
            zero,
            "must be above zero, or None for never",
        )),
        _ => Ok(()),
    }
}

fn validate_share(field: &'static str, value: f64) -> Result<(), ConfigError> {
    // The range contains no NaN, so NaN is refused.
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(field, value, "must be in 0.0..=1.0"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fairness, HealthCheck, is_unlimited};

    fn refusal(change: impl FnOnce(&mut PoolConfig)) -> String {
        let mut config = PoolConfig::new();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    fn accepts(change: impl FnOnce(&mut PoolConfig)) {
        let mut config = PoolConfig::new();
        change(&mut config);
        assert_eq!(config.validate(), Ok(()), "{config:?}");
    }

    #[test]
    fn the_defaults_are_valid() {
        accepts(|_| ());
    }

    #[test]
    fn numbers_below_their_floor_are_refused() {
        assert_eq!(
            refusal(|c| c.max_size = 0),
            "max_size = 0: must be at least 1"
        );
        assert_eq!(
            refusal(|c| c.min_idle = 11),
            "min_idle = 11: must be at most max_size (10)"
        );
        assert_eq!(
            refusal(|c| c.max_creating = 0),
            "max_creating = 0: must be at least 1"
        );
        assert_eq!(
            refusal(|c| c.max_uses = Some(0)),
            "max_uses = 0: must be at least 1, or None for no limit"
        );
    }

    #[test]
    fn a_total_is_no_less_than_the_share_of_one_key() {
        accepts(|c| c.max_total = Some(10));
        assert_eq!(
            refusal(|c| c.max_total = Some(9)),
            "max_size = 10: must be at most max_total (9)"
        );
        assert_eq!(
            refusal(|c| c.max_total = Some(0)),
            "max_total = 0: must be at least 1"
        );
    }

    #[test]
    fn zero_durations_are_refused_where_they_make_no_sense() {
        const ZERO: Duration = Duration::ZERO;
        for (refusal, field) in [
            (refusal(|c| c.idle_timeout = Some(ZERO)), "idle_timeout"),
            (refusal(|c| c.max_lifetime = Some(ZERO)), "max_lifetime"),
            (
                refusal(|c| c.keepalive_interval = Some(ZERO)),
                "keepalive_interval",
            ),
            (refusal(|c| c.leak_threshold = Some(ZERO)), "leak_threshold"),
            (refusal(|c| c.create_timeout = ZERO), "create_timeout"),
            (refusal(|c| c.check_timeout = ZERO), "check_timeout"),
            (refusal(|c| c.dispose_timeout = ZERO), "dispose_timeout"),
            (refusal(|c| c.backoff.initial = ZERO), "backoff.initial"),
        ] {
            let expected = format!("{field} = 0ns: must be above zero");
            assert!(refusal.starts_with(&expected), "{refusal}");
        }
    }

    #[test]
    fn shares_outside_of_zero_to_one_are_refused() {
        for bad in [-0.01, 1.01, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(
                refusal(|c| c.lifetime_jitter = bad),
                format!("lifetime_jitter = {bad:?}: must be in 0.0..=1.0")
            );
        }
        accepts(|c| c.lifetime_jitter = 0.0);
        accepts(|c| c.lifetime_jitter = 1.0);
    }

    #[test]
    fn a_name_that_no_thread_could_carry_is_refused() {
        assert_eq!(
            refusal(|c| c.name.clear()),
            r#"name = "": must not be empty"#
        );
        assert_eq!(
            refusal(|c| c.name = "a\0b".into()),
            r#"name = "a\0b": must not contain a NUL character"#
        );
    }

    #[test]
    fn zero_is_legal_where_it_means_something() {
        accepts(|c| c.get_timeout = Duration::ZERO);
        accepts(|c| c.max_waiters = Some(0));
        accepts(|c| c.fairness = Fairness::Eventual(Duration::ZERO));
        accepts(|c| c.health_check = HealthCheck::AfterIdle(Duration::ZERO));
    }

    #[test]
    fn the_longest_duration_is_legal_everywhere() {
        const MAX: Duration = Duration::MAX;
        accepts(|c| {
            c.get_timeout = MAX;
            c.idle_timeout = Some(MAX);
            c.max_lifetime = Some(MAX);
            c.health_check = HealthCheck::AfterIdle(MAX);
            c.check_timeout = MAX;
            c.keepalive_interval = Some(MAX);
            c.create_timeout = MAX;
            c.dispose_timeout = MAX;
            c.backoff = c.backoff.with_initial(MAX).with_max(MAX);
            c.fairness = Fairness::Eventual(MAX);
            c.leak_threshold = Some(MAX);
        });
        assert!(is_unlimited(MAX));
        assert!(!is_unlimited(MAX.saturating_sub(Duration::from_nanos(1))));
    }
}
