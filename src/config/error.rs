//! The error for a setting that breaks its rule.

use std::{borrow::Cow, fmt};

/// A setting has a value that its rule forbids. The error names the field, the value and the rule.
///
/// # Example
///
/// ```
/// let mut config = conpool::PoolConfig::new();
/// config.max_size = 0;
///
/// let error = config.validate().unwrap_err();
/// assert_eq!(error.field(), "max_size");
/// assert_eq!(error.value(), "0");
/// assert_eq!(error.to_string(), "max_size = 0: must be at least 1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}{}{value}: {rule}", if .value.is_empty() { "" } else { " = " })]
pub struct ConfigError {
    field: Cow<'static, str>,
    value: String,
    rule: Cow<'static, str>,
}

impl ConfigError {
    /// Creates the error. `value` is kept as its Debug text, which quotes strings and fits on one line.
    pub(crate) fn new(
        field: impl Into<Cow<'static, str>>,
        value: impl fmt::Debug,
        rule: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            field: field.into(),
            value: format!("{value:?}"),
            rule: rule.into(),
        }
    }

    /// Creates the error for a name that is wrong whatever its value.
    pub(crate) fn without_value(field: &str, rule: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field: field.to_owned().into(),
            value: String::new(),
            rule: rule.into(),
        }
    }

    /// Replaces the field with the name that the setting has in its source.
    #[cfg(feature = "serde")]
    pub(super) fn renamed(mut self, field: String) -> Self {
        self.field = field.into();
        self
    }

    /// The name of the setting, as the builder and [`PoolConfig`](crate::PoolConfig) spell it. A part of a
    /// setting is written with a dot, as in `backoff.factor`. A setting that came from a file or the
    /// environment has the name that the source uses.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The refused value as text; empty if the name itself is refused.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The rule for the value, as text.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_values_stay_on_one_line() {
        let error = ConfigError::new("name", "a\nb", "must be one line".to_owned());
        assert_eq!(error.to_string(), r#"name = "a\nb": must be one line"#);
        assert_eq!(error.rule(), "must be one line");
    }
}
