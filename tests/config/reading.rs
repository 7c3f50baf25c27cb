//! Texts that a file can contain.

use super::{json, toml, yaml};
use crate::common::{ms, secs};
use conpool::{Fairness, HealthCheck, PoolConfig};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// The aliases, with a value that each setting accepts and that is not its default.
const ALIASES: [(&str, &str, &[&str]); 9] = [
    (
        "max_size",
        "7",
        &[
            "max_connections",
            "maximum_pool_size",
            "max_open",
            "max_per_host",
            "max_per_key",
        ],
    ),
    (
        "min_idle",
        "3",
        &["min_connections", "minimum_idle", "min_size"],
    ),
    (
        "get_timeout",
        r#""7s""#,
        &[
            "acquire_timeout",
            "connection_timeout",
            "checkout_timeout",
            "wait_timeout",
        ],
    ),
    (
        "idle_timeout",
        r#""7s""#,
        &["max_idle_time", "connection_idle_timeout"],
    ),
    (
        "max_lifetime",
        r#""7s""#,
        &["connection_max_age", "max_age", "max_life_time"],
    ),
    (
        "keepalive_interval",
        r#""7s""#,
        &["health_check_interval", "keepalive_time", "check_interval"],
    ),
    ("create_timeout", r#""7s""#, &["connect_timeout"]),
    ("check_timeout", r#""7s""#, &["validation_timeout"]),
    ("leak_threshold", r#""7s""#, &["leak_detection_threshold"]),
];

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        camel += &word[..1].to_uppercase();
        camel += &word[1..];
    }
    camel
}

#[test]
fn every_setting_is_read_and_what_is_left_out_keeps_its_default() {
    let config = toml(
        r#"
        name = "orders"
        max_size = 20
        min_idle = 5
        get_timeout = "2s"
        idle_timeout = "1h"
        max_lifetime = "1h30m"
        lifetime_jitter = 0.25
        max_uses = 1000
        health_check = "1s"
        check_timeout = "300ms"
        keepalive_interval = "1 min"
        create_timeout = "unlimited"
        dispose_timeout = "1.5s"
        max_creating = 2
        max_waiters = 50
        fairness = "strict"
        leak_threshold = "10m"
        background_collector = false
        [backoff]
        initial = "100ms"
        factor = 1.5
        max = "1m"
        jitter = 1
        "#,
    );
    let mut expected = PoolConfig::new();
    expected.name = "orders".into();
    expected.max_size = 20;
    expected.min_idle = 5;
    expected.get_timeout = secs(2);
    expected.idle_timeout = Some(secs(3600));
    expected.max_lifetime = Some(secs(5400));
    expected.lifetime_jitter = 0.25;
    expected.max_uses = Some(1000);
    expected.health_check = HealthCheck::AfterIdle(secs(1));
    expected.check_timeout = ms(300);
    expected.keepalive_interval = Some(secs(60));
    expected.create_timeout = Duration::MAX;
    expected.dispose_timeout = ms(1500);
    expected.max_creating = 2;
    expected.max_waiters = Some(50);
    expected.fairness = Fairness::Strict;
    expected.leak_threshold = Some(secs(600));
    expected.background_collector = false;
    expected.backoff = expected
        .backoff
        .with_initial(ms(100))
        .with_factor(1.5)
        .with_max(secs(60))
        .with_jitter(1.0);
    assert_eq!(config, expected);

    assert_eq!(toml(""), PoolConfig::new());
    assert_eq!(json("{}"), PoolConfig::new());
    assert_eq!(yaml("{}"), PoolConfig::new());
    assert_eq!(yaml("# nothing set\n"), PoolConfig::new());
}

#[test]
fn the_names_that_other_pools_use_mean_the_same_setting_in_every_style() {
    for (name, value, aliases) in ALIASES {
        let expected = json(&format!(r#"{{ "{name}": {value} }}"#));
        assert_ne!(expected, PoolConfig::new(), "{name}");
        for alias in aliases.iter().chain([&name]) {
            for spelled in [
                (*alias).to_owned(),
                camel(alias),
                alias.replace('_', "-"),
                alias.replace('_', "."),
                alias.to_uppercase(),
            ] {
                let config = json(&format!(r#"{{ "{spelled}": {value} }}"#));
                assert_eq!(config, expected, "{spelled}");
            }
        }
    }
    assert_eq!(json(r#"{ "maxWaiting": 3 }"#).max_waiters, Some(3));
}

#[test]
fn the_two_choices_are_words_durations_or_tables() {
    let health = |text: &str| json(&format!(r#"{{ "health_check": {text} }}"#)).health_check;
    assert_eq!(health(r#""never""#), HealthCheck::Never);
    assert_eq!(health(r#""on_checkout""#), HealthCheck::OnCheckout);
    assert_eq!(health(r#""onCheckout""#), HealthCheck::OnCheckout);
    let after = HealthCheck::AfterIdle(ms(250));
    assert_eq!(health(r#""250ms""#), after);
    assert_eq!(health(r#"{ "after_idle": "250ms" }"#), after);
    assert_eq!(health(r#"{ "afterIdle": "250ms" }"#), after);
    assert_eq!(health("0"), HealthCheck::AfterIdle(Duration::ZERO));
    let unlimited = HealthCheck::AfterIdle(Duration::MAX);
    assert_eq!(health(r#""unlimited""#), unlimited);

    let fairness = |text: &str| json(&format!(r#"{{ "fairness": {text} }}"#)).fairness;
    assert_eq!(fairness(r#""strict""#), Fairness::Strict);
    let bound = Fairness::Eventual(ms(2));
    assert_eq!(fairness(r#""2ms""#), bound);
    assert_eq!(fairness(r#"{ "eventual": "2ms" }"#), bound);
}

#[test]
fn what_can_be_switched_off_is_so_by_a_word_or_by_null() {
    for off in [r#""never""#, r#""none""#, r#""Never""#, "null"] {
        for name in [
            "idle_timeout",
            "max_lifetime",
            "keepalive_interval",
            "leak_threshold",
            "max_uses",
        ] {
            let config = json(&format!(r#"{{ "{name}": {off} }}"#));
            let mut shown = serde_json::to_value(&config).unwrap();
            assert_eq!(shown[name].take(), json!("never"), "{name} = {off}");
        }
    }
    for off in [r#""none""#, r#""unlimited""#, "null"] {
        let over = json(r#"{ "max_waiters": 3 }"#).overlay(
            serde_json::from_str::<serde_json::Value>(&format!(r#"{{ "max_waiters": {off} }}"#))
                .unwrap(),
        );
        assert_eq!(over.unwrap().max_waiters, None);
    }
    let config = yaml("idle_timeout: ~\nmax_lifetime: never\n");
    assert_eq!((config.idle_timeout, config.max_lifetime), (None, None));
}

#[test]
fn no_limit_is_a_duration_like_others() {
    for word in ["unlimited", "forever", "Unlimited"] {
        let config = json(&format!(
            r#"{{ "get_timeout": "{word}", "create_timeout": "{word}", "idle_timeout": "{word}" }}"#
        ));
        assert_eq!(config.get_timeout, Duration::MAX);
        assert_eq!(config.create_timeout, Duration::MAX);
        assert_eq!(config.idle_timeout, Some(Duration::MAX));
    }
}

#[test]
fn parts_of_the_backoff_may_stand_in_their_table_or_flat() {
    let nested = toml("backoff = { initial = '7ms', max = '7s' }");
    assert_eq!(toml("backoff_initial = '7ms'\nbackoffMax = '7s'"), nested);
    assert_eq!(
        toml("'backoff.initial' = '7ms'\nbackoff.max = '7s'"),
        nested
    );
    assert_eq!(nested.backoff.factor, PoolConfig::new().backoff.factor);
    assert_eq!(toml("[backoff]"), PoolConfig::new());
}

#[test]
fn a_file_can_hold_several_pools() {
    let text = "[orders]\nmax_size = 3\n[billing]\nmax_size = 4\n";
    let pools: BTreeMap<String, PoolConfig> = toml::from_str(text).unwrap();
    let sizes: Vec<_> = pools.values().map(|config| config.max_size).collect();
    assert_eq!(sizes, [4, 3]);
}

/// The code block of `language` on the page.
fn block(language: &str) -> &'static str {
    let page = include_str!("../../src/docs/settings.md");
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_examples_of_the_page_are_read_as_they_say() {
    let config = toml(block("toml"));
    assert_eq!((config.max_size, config.min_idle), (20, 5));
    assert_eq!(config.max_lifetime, None);
    assert_eq!(config.health_check, HealthCheck::AfterIdle(ms(500)));
    assert_eq!(config.backoff.initial, ms(100));
    assert_eq!(config.backoff.max, Duration::from_secs(90));
    assert_eq!(config.backoff.factor, 2.0);

    let config = yaml(block("yaml"));
    assert_eq!((config.max_size, config.min_idle), (10, 2));
    assert_eq!(config.idle_timeout, Some(Duration::from_secs(300)));
    assert_eq!(config.keepalive_interval, Some(Duration::from_secs(60)));
    assert_eq!(config.backoff.jitter, 0.0);
}
