//! Reads settings from the environment of the process.

use super::{
    names::{self, BACKOFF},
    overlay::{self, Overlay},
    spelling,
    value::Value,
};
use crate::config::{ConfigError, PoolConfig};
use std::{env, ffi::OsString};

impl PoolConfig {
    /// Applies the environment over the default settings. A variable is read if its name is `prefix` followed
    /// by a setting, as in `MYAPP_DB_MAX_SIZE` and `MYAPP_DB_BACKOFF_INITIAL`.
    ///
    /// Other variables may share the prefix and are ignored, such as `MYAPP_DB_URL`, `MYAPP_DB_PASSWORD` and
    /// the `MYAPP_DB_SERVICE_HOST` that Kubernetes sets for a service. A name that is nearly a setting's
    /// name, such as `MYAPP_DB_MAX_SISE`, is refused. `MYAPP_DB_NAME` sets the name of the pool, and not the
    /// name of a database.
    ///
    /// Needs the feature `serde`. [`with_env`](Self::with_env) applies the environment over settings from a
    /// file.
    ///
    /// # Errors
    ///
    /// Returns an error that names the variable for:
    ///
    /// - a variable with the prefix whose name is nearly a setting's: at most two letters are wrong, missing,
    ///   added or swapped, and at most one in every three of a word. The error suggests the right name.
    /// - a variable of a setting that is empty, is not UTF-8 or has a value that the setting forbids.
    /// - a setting that two variables name.
    /// - an empty prefix.
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::PoolConfig;
    ///
    /// // Nothing is set here, so these are the defaults.
    /// let config = PoolConfig::from_env("MYAPP_DB_")?;
    /// assert_eq!(config, PoolConfig::default());
    /// # Ok::<(), conpool::ConfigError>(())
    /// ```
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        Self::default().with_env(prefix)
    }

    /// Applies the environment over this configuration.
    ///
    /// # Errors
    ///
    /// See [`from_env`](Self::from_env).
    ///
    /// # Example
    ///
    /// ```
    /// use conpool::PoolConfig;
    ///
    /// let file: PoolConfig = serde_json::from_str(r#"{ "max_size": 20 }"#)?;
    /// let config = file.with_env("MYAPP_DB_")?;
    /// assert_eq!(config.max_size, 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_env(self, prefix: &str) -> Result<Self, ConfigError> {
        with_variables(self, prefix, env::vars_os())
    }
}

fn with_variables(
    config: PoolConfig,
    prefix: &str,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<PoolConfig, ConfigError> {
    if prefix.is_empty() {
        return Err(ConfigError::new("prefix", prefix, "must not be empty"));
    }
    let mut ours: Vec<_> = variables
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
        .collect();
    // The system's order is arbitrary. Sorting makes the first error reproducible.
    ours.sort();
    let mut overlay = Overlay::over(config);
    for (name, value) in ours {
        // The names of all settings are UTF-8.
        if let Some(name) = name.to_str() {
            set(&mut overlay, prefix, name, value)?;
        }
    }
    overlay.finish()
}

fn set(
    overlay: &mut Overlay,
    prefix: &str,
    name: &str,
    value: OsString,
) -> Result<(), ConfigError> {
    let key = &name[prefix.len()..];
    let variable = |setting: &str| {
        let setting = spelling::normalised(setting).to_uppercase();
        format!("{prefix}{setting}")
    };
    if spelling::normalised(key) == BACKOFF {
        let parts = ["initial", "factor", "max", "jitter"]
            .map(|part| variable(&format!("{BACKOFF}.{part}")))
            .join(", ");
        let rule = format!("is set by its parts: {parts}");
        return Err(ConfigError::without_value(name, rule));
    }
    let setting = match names::find(key) {
        Ok(setting) => setting,
        // Other variables may share the prefix: the password of a database, or variables of Kubernetes.
        Err(None) => return Ok(()),
        Err(near) => return Err(overlay::refusal(name, near, variable)),
    };
    let value = value
        .into_string()
        .map_err(|value| ConfigError::new(name.to_owned(), value, "is not UTF-8"))?;
    if value.is_empty() {
        let rule = "must not be empty; unset the variable for the default";
        return Err(ConfigError::new(name.to_owned(), value, rule));
    }
    overlay.set_value(setting, name, &Value::Word(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fairness, HealthCheck};
    use std::time::Duration;

    fn read(variables: &[(&str, &str)]) -> Result<PoolConfig, ConfigError> {
        over(PoolConfig::default(), variables)
    }

    fn over(config: PoolConfig, variables: &[(&str, &str)]) -> Result<PoolConfig, ConfigError> {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        with_variables(config, "APP_", variables)
    }

    fn refusal(name: &str, value: &str) -> String {
        read(&[(name, value)]).unwrap_err().to_string()
    }

    #[test]
    fn each_type_of_setting_is_read_from_its_text() {
        let config = read(&[
            ("APP_NAME", "5"),
            ("APP_MAX_SIZE", "20"),
            ("APP_GET_TIMEOUT", "0"),
            ("APP_IDLE_TIMEOUT", "never"),
            ("APP_MAX_LIFETIME", "1 h 30 min"),
            ("APP_LIFETIME_JITTER", "0.5"),
            ("APP_MAX_USES", "1000"),
            ("APP_HEALTH_CHECK", "on_checkout"),
            ("APP_MAX_WAITERS", "0"),
            ("APP_FAIRNESS", "1ms"),
            ("APP_BACKGROUND_COLLECTOR", "0"),
            ("APP_BACKOFF_INITIAL", "1s"),
            ("APP_BACKOFF_FACTOR", "3"),
        ])
        .unwrap();
        let mut expected = PoolConfig::new();
        expected.name = "5".into();
        expected.max_size = 20;
        expected.get_timeout = Duration::ZERO;
        expected.idle_timeout = None;
        expected.max_lifetime = Some(Duration::from_secs(5400));
        expected.lifetime_jitter = 0.5;
        expected.max_uses = Some(1000);
        expected.health_check = HealthCheck::OnCheckout;
        expected.max_waiters = Some(0);
        expected.fairness = Fairness::Eventual(Duration::from_millis(1));
        expected.background_collector = false;
        expected.backoff.initial = Duration::from_secs(1);
        expected.backoff.factor = 3.0;
        assert_eq!(config, expected);
    }

    #[test]
    fn truth_values_are_words_or_digits_and_nothing_else() {
        for (text, value) in [("true", true), ("1", true), ("false", false), ("0", false)] {
            let config = read(&[("APP_BACKGROUND_COLLECTOR", text)]).unwrap();
            assert_eq!(config.background_collector, value);
        }
        assert_eq!(
            refusal("APP_BACKGROUND_COLLECTOR", "yes"),
            r#"APP_BACKGROUND_COLLECTOR = "yes": must be true, false, 1 or 0"#
        );
    }

    #[test]
    fn other_variables_are_let_alone() {
        let others = [
            ("PATH", "/bin"),
            ("APPLE", "red"),
            ("app_max_size", "3"),
            ("", ""),
        ];
        assert_eq!(read(&others), Ok(PoolConfig::default()));
    }

    #[test]
    fn only_what_is_set_changes() {
        let mut file = PoolConfig::new();
        file.min_idle = 3;
        file.max_size = 8;
        file.backoff.max = Duration::from_secs(60);
        let config = over(
            file.clone(),
            &[("APP_MAX_CONNECTIONS", "9"), ("APP_BACKOFF_JITTER", "0")],
        );
        file.max_size = 9;
        file.backoff.jitter = 0.0;
        assert_eq!(config, Ok(file));
    }

    #[test]
    fn a_variable_that_nearly_names_a_setting_is_refused_with_the_right_name() {
        for (name, meant) in [
            ("APP_MAX_SISE", "APP_MAX_SIZE"),
            ("APP_MAXSIZE", "APP_MAX_SIZE"),
            ("APP_MX_SIZE", "APP_MAX_SIZE"),
            ("APP_IDLE_TIMOUT", "APP_IDLE_TIMEOUT"),
            ("APP_MAX_CONECTION", "APP_MAX_CONNECTIONS"),
            ("APP_NMAE", "APP_NAME"),
            ("APP_BACKOFF_INITAL", "APP_BACKOFF_INITIAL"),
        ] {
            assert_eq!(
                refusal(name, "5"),
                format!("{name}: is no setting of a pool; did you mean {meant}?")
            );
        }
        // The value may be a secret.
        let error = read(&[("APP_NAEM", "hunter2")]).unwrap_err();
        assert_eq!((error.field(), error.value()), ("APP_NAEM", ""));
    }

    #[test]
    fn other_variables_with_the_prefix_are_passed_over() {
        for name in [
            "",
            "URL",
            "URI",
            "DSN",
            "HOST",
            "HOSTNAME",
            "PORT",
            "USER",
            "USERNAME",
            "PASSWORD",
            "PASS",
            "PASSWORD_FILE",
            "DATABASE",
            "DBNAME",
            "SCHEMA",
            "SSLMODE",
            "SSL_MODE",
            "SSLROOTCERT",
            "CHARSET",
            "DRIVER",
            "TYPE",
            "MODE",
            "NODE",
            "ROLE",
            "TOKEN",
            "REGION",
            "OPTIONS",
            "DEBUG",
            "LOG_LEVEL",
            "TIMEOUT",
            "TIMEZONE",
            "READ_TIMEOUT",
            "WRITE_TIMEOUT",
            "QUERY_TIMEOUT",
            "STATEMENT_TIMEOUT",
            "MAX_RETRIES",
            "REPLICA_URL",
            "MIGRATIONS",
            // Kubernetes and Docker links, for a service called APP.
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_POSTGRES",
            "SERVICE_PORT_HTTPS",
            "PORT_5432_TCP",
            "PORT_5432_TCP_PROTO",
            "PORT_5432_TCP_PORT",
            "PORT_5432_TCP_ADDR",
            "ENV_POSTGRES_PASSWORD",
        ] {
            let read = read(&[(&format!("APP_{name}"), "x"), ("APP_MAX_SIZE", "20")]);
            let config = read.unwrap_or_else(|error| panic!("{error}"));
            let mut expected = PoolConfig::new();
            expected.max_size = 20;
            assert_eq!(config, expected, "{name}");
        }
    }

    #[test]
    fn the_table_of_the_backoff_has_no_variable_of_its_own() {
        assert_eq!(
            refusal("APP_BACKOFF", "1s"),
            "APP_BACKOFF: is set by its parts: APP_BACKOFF_INITIAL, APP_BACKOFF_FACTOR, \
             APP_BACKOFF_MAX, APP_BACKOFF_JITTER"
        );
    }

    #[test]
    fn an_empty_value_is_refused_even_where_text_is_wanted() {
        for name in ["APP_MAX_SIZE", "APP_NAME", "APP_IDLE_TIMEOUT"] {
            assert_eq!(
                refusal(name, ""),
                format!(r#"{name} = "": must not be empty; unset the variable for the default"#)
            );
        }
    }

    #[test]
    fn a_bad_value_is_named_with_its_variable_and_the_rule() {
        for (name, value, rule) in [
            ("APP_MAX_SIZE", "ten", "must be a whole number"),
            ("APP_MAX_SIZE", "-1", "must not be negative"),
            ("APP_MAX_OPEN", "99999999999999999999", "is too large"),
            ("APP_LIFETIME_JITTER", "some", "must be a number"),
            (
                "APP_GET_TIMEOUT",
                "30",
                r#"a duration needs a unit, such as "30s""#,
            ),
        ] {
            assert_eq!(refusal(name, value), format!("{name} = {value:?}: {rule}"));
        }
        // These errors show only after all variables are read.
        assert_eq!(
            refusal("APP_MAX_OPEN", "0"),
            "APP_MAX_OPEN = 0: must be at least 1"
        );
        assert_eq!(
            refusal("APP_BACKOFF_FACTOR", "0.5"),
            "APP_BACKOFF_FACTOR = 0.5: must be finite and at least 1.0"
        );
        assert_eq!(
            refusal("APP_LIFETIME_JITTER", "NaN"),
            "APP_LIFETIME_JITTER = NaN: must be in 0.0..=1.0"
        );
    }

    #[test]
    fn a_setting_that_two_variables_name_is_refused_in_the_same_words_every_time() {
        let mut variables = [("APP_MAX_SIZE", "3"), ("APP_MAX_CONNECTIONS", "3")];
        for _ in 0..2 {
            assert_eq!(
                read(&variables).unwrap_err().to_string(),
                "APP_MAX_SIZE: is the same setting as APP_MAX_CONNECTIONS, which is given too"
            );
            variables.reverse();
        }
    }

    #[test]
    fn an_empty_prefix_is_refused() {
        let error = PoolConfig::from_env("").unwrap_err();
        assert_eq!(error.to_string(), r#"prefix = "": must not be empty"#);
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_utf_8_is_refused_by_name_and_such_a_name_is_passed_over() {
        use std::os::unix::ffi::OsStringExt;
        let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
        let read = |name, value| {
            let variables = [(bytes(b"OTHER\xff"), bytes(b"\xff")), (name, value)];
            with_variables(PoolConfig::default(), "APP_", variables.into_iter())
        };
        assert_eq!(
            read("APP_NAME".into(), bytes(b"a\xff"))
                .unwrap_err()
                .to_string(),
            r#"APP_NAME = "a\xFF": is not UTF-8"#
        );
        let defaults = Ok(PoolConfig::default());
        assert_eq!(read(bytes(b"APP_N\xff"), "a".into()), defaults);
        assert_eq!(read("APP_PASSWORD".into(), bytes(b"a\xff")), defaults);
    }
}
