//! Sources over each other: the environment over files over the defaults.

use super::{json, toml};
use crate::common::{ms, secs};
use conpool::PoolConfig;
use serde_json::json;
use std::{env, process::Command};

#[test]
fn a_later_source_sets_single_settings_over_an_earlier_one() {
    let base = toml(
        r#"
        max_size = 20
        min_idle = 2
        idle_timeout = "5m"
        [backoff]
        initial = "200ms"
        max = "1m"
        "#,
    );
    let text = "maxConnections: 50\nidle_timeout: never\nbackoff: { max: 30s }\n";
    let config = serde_saphyr::with_deserializer_from_str(text, |source| base.overlay(source));
    let config = config.unwrap();
    assert_eq!((config.max_size, config.min_idle), (50, 2));
    assert_eq!(config.idle_timeout, None);
    assert_eq!(config.backoff.initial, ms(200));
    assert_eq!(config.backoff.max, secs(30));
    assert_eq!(config.max_lifetime, PoolConfig::new().max_lifetime);

    let source = toml::Deserializer::parse("min_size = 3").unwrap();
    assert_eq!(config.overlay(source).unwrap().min_idle, 3);
}

#[test]
fn a_source_that_breaks_the_whole_is_refused() {
    let base = json(r#"{ "min_idle": 5 }"#);
    let error = base.overlay(json!({ "max_size": 4 })).unwrap_err();
    assert_eq!(
        error.to_string(),
        "min_idle = 5: must be at most max_size (4)"
    );
}

/// The test runs again in a child process, because a process cannot safely change its own environment.
#[test]
fn the_environment_of_the_process_is_read_over_a_file_and_over_the_defaults() {
    const ROLE: &str = "CONPOOL_CONFIG_TEXT_CHILD";
    const PREFIX: &str = "CONPOOL_CONFIG_TEXT_DB_";
    if env::var_os(ROLE).is_some() {
        let file = toml("max_size = 3\nmin_idle = 2\n");
        let show = |config: Result<PoolConfig, conpool::ConfigError>| match config {
            Ok(config) => format!(
                "{} {} {:?}",
                config.max_size, config.min_idle, config.idle_timeout
            ),
            Err(error) => error.to_string(),
        };
        println!("<{}>", show(PoolConfig::from_env(PREFIX)));
        println!("<{}>", show(file.with_env(PREFIX)));
        return;
    }
    let child = |name: &str, value: &str| {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("layers::the_environment_of_the_process_is_read_over_a_file_and_over_the_defaults")
            .env(ROLE, "1")
            .env(format!("{PREFIX}IDLE_TIMEOUT"), "1h")
            .env(format!("{PREFIX}{name}"), value)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let shown = text
            .lines()
            .filter_map(|line| line.split_once('<')?.1.strip_suffix('>'));
        shown.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        child("MAX_CONNECTIONS", "7"),
        ["7 0 Some(3600s)", "7 2 Some(3600s)"]
    );
    let refusal =
        format!("{PREFIX}MAX_SISE: is no setting of a pool; did you mean {PREFIX}MAX_SIZE?");
    assert_eq!(child("MAX_SISE", "7"), [refusal.clone(), refusal]);
    for other in ["URL", "PASSWORD", "SERVICE_HOST", "PORT_5432_TCP"] {
        assert_eq!(
            child(other, "7"),
            ["10 0 Some(3600s)", "3 2 Some(3600s)"],
            "{other}"
        );
    }
}
