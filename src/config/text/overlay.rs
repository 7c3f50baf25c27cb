//! Applies settings by name over an existing configuration.

use super::{
    names::{self, BACKOFF, Setting},
    spelling,
    value::Value,
};
use crate::config::{ConfigError, PoolConfig};

/// Collects the settings of one source: a file, or the environment.
pub(super) struct Overlay {
    config: PoolConfig,
    /// The settings that were set, with the names that the source uses.
    given: Vec<(&'static str, String)>,
}

impl Overlay {
    pub(super) fn over(config: PoolConfig) -> Self {
        Self {
            config,
            given: Vec::new(),
        }
    }

    /// Sets the value of a key in a file. The key may name the backoff table.
    pub(super) fn set(&mut self, key: &str, value: &Value) -> Result<(), ConfigError> {
        if spelling::normalised(key) == BACKOFF {
            let Value::Table(parts) = value else {
                let rule = "must be a table of initial, factor, max and jitter";
                return Err(ConfigError::new(key.to_owned(), value, rule));
            };
            self.set_once(BACKOFF, key)?;
            return parts
                .iter()
                .try_for_each(|(part, value)| self.set(&format!("{key}.{part}"), value));
        }
        let setting = names::find(key).map_err(|unknown| refusal(key, unknown, str::to_owned))?;
        self.set_value(setting, key, value)
    }

    /// Sets a setting that its source calls `given`.
    pub(super) fn set_value(
        &mut self,
        setting: &Setting,
        given: &str,
        value: &Value,
    ) -> Result<(), ConfigError> {
        self.set_once(setting.name, given)?;
        (setting.set)(&mut self.config, value)
            .map_err(|rule| ConfigError::new(given.to_owned(), value, rule))
    }

    fn set_once(&mut self, name: &'static str, given: &str) -> Result<(), ConfigError> {
        let before = self.given.iter().find(|(known, _)| *known == name);
        let Some((_, before)) = before else {
            self.given.push((name, given.to_owned()));
            return Ok(());
        };
        let rule = if before == given {
            "is given twice".to_owned()
        } else {
            format!("is the same setting as {before}, which is given too")
        };
        Err(ConfigError::without_value(given, rule))
    }

    /// Validates and returns the configuration.
    pub(super) fn finish(self) -> Result<PoolConfig, ConfigError> {
        match self.config.validate() {
            Ok(()) => Ok(self.config),
            Err(error) => {
                let given = self
                    .given
                    .into_iter()
                    .find(|(name, _)| *name == error.field());
                Err(match given {
                    Some((_, given)) => error.renamed(given),
                    None => error,
                })
            }
        }
    }
}

/// Returns the error for a name that matches no setting. `close` is the closest known name, if one is close.
///
/// The error leaves out the value: where a prefix is shared, the value may be a password.
pub(super) fn refusal(
    name: &str,
    close: Option<&str>,
    spelled: impl FnOnce(&str) -> String,
) -> ConfigError {
    let rule = match close {
        None => "is no setting of a pool".to_owned(),
        Some(close) => {
            format!("is no setting of a pool; did you mean {}?", spelled(close))
        }
    };
    ConfigError::without_value(name, rule)
}
