//! Settings by name over a configuration that is already there.

use super::{
    names::{self, BACKOFF, Setting, UnknownSetting},
    spelling,
    value::Value,
};
use crate::config::{ConfigError, PoolConfig};

/// One source of settings: a file, or the environment.
pub(super) struct Overlay {
    config: PoolConfig,
    /// What was set, with the name that the source has for it.
    given: Vec<(&'static str, String)>,
}

impl Overlay {
    pub(super) fn over(config: PoolConfig) -> Self {
        Self {
            config,
            given: Vec::new(),
        }
    }

    /// Sets what a file says under this key, which may be the table of the backoff.
    pub(super) fn set(&mut self, key: &str, value: &Value) -> Result<(), ConfigError> {
        if spelling::normalised(key) == BACKOFF {
            let Value::Table(parts) = value else {
                let rule = "must be a table of initial, factor, max and jitter";
                return Err(ConfigError::new(key.to_owned(), value, rule));
            };
            self.once(BACKOFF, key)?;
            return parts
                .iter()
                .try_for_each(|(part, value)| self.set(&format!("{key}.{part}"), value));
        }
        let setting = names::find(key).map_err(|stranger| refusal(key, stranger, str::to_owned))?;
        self.set_value(setting, key, value)
    }

    /// Sets a setting that its source calls `given`.
    pub(super) fn set_value(
        &mut self,
        setting: &Setting,
        given: &str,
        value: &Value,
    ) -> Result<(), ConfigError> {
        self.once(setting.name, given)?;
        (setting.set)(&mut self.config, value)
            .map_err(|rule| ConfigError::new(given.to_owned(), value, rule))
    }

    fn once(&mut self, name: &'static str, given: &str) -> Result<(), ConfigError> {
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

    /// The configuration, once it holds as a whole.
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

/// Refuses a name that stands for no setting. What it was to be set to is not told: where a prefix is
/// shared, that may be a password.
pub(super) fn refusal(
    name: &str,
    stranger: UnknownSetting,
    spelled: impl FnOnce(&str) -> String,
) -> ConfigError {
    let rule = match stranger {
        UnknownSetting::Unknown(None) => "is no setting of a pool".to_owned(),
        UnknownSetting::Unknown(Some(close)) => {
            format!("is no setting of a pool; did you mean {}?", spelled(close))
        }
    };
    ConfigError::without_value(name, rule)
}
